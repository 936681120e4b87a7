#include <stdatomic.h>
#include <string.h>

#include "chain.h"

/* A copy, since the driver may change the original at any time: the compiler is kept from reading
 * that again in its place. */
static struct descriptor load(const uint8_t *table, uint32_t index)
{
    struct descriptor copy;
    memcpy(&copy, table + (size_t)16 * index, sizeof copy);
    atomic_signal_fence(memory_order_acquire);
    return copy;
}

/* At most as many buffers as the queue has entries, so a loop ends. §2.7.5.3.1. */
static bool walk(struct pykvm_ring *ring, struct pykvm_chain *chain)
{
    const uint8_t *table = ring->descriptors;
    uint32_t index = chain->head, count = ring->size, length = 0;
    while (length < ring->size && index < count) {
        struct descriptor each = load(table, index);
        if (each.flags & DESC_INDIRECT) {
            if (table != ring->descriptors || each.flags & DESC_NEXT)
                return false;
            table = pykvm_chain_table(ring, &each);
            if (!table)
                return false;
            count = each.size_bytes / 16;
            index = 0;
            continue;
        }
        if (!pykvm_chain_add(ring, chain, &each))
            return false;
        if (!(each.flags & DESC_NEXT))
            return true;
        index = each.other;
        length++;
    }
    return false;
}

uint32_t pykvm_split_take(struct pykvm_ring *ring, uint32_t next, uint32_t limit)
{
    uint32_t chains = 0;
    ring->buffers = 0;
    atomic_thread_fence(memory_order_acquire); /* §2.7.13.3.1 has its counterpart */
    for (; chains < limit && chains < PYKVM_RING_CHAINS; chains++) {
        uint16_t head;
        memcpy(&head, ring->heads + (size_t)2 * ((next + chains) % ring->size), sizeof head);
        atomic_signal_fence(memory_order_acquire);
        ring->chain[chains] = (struct pykvm_chain){.head = head, .slots = 1};
        if (!walk(ring, &ring->chain[chains]))
            break;
    }
    return chains;
}
