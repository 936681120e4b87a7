#include <string.h>

#include "chain.h"

/* Where fields of either ring are, in bytes. §2.7.6, §2.7.8. */
enum { FLAGS = 0, INDEX = 2, HEADS = 4 };
enum { USED_NO_NOTIFY = 1, AVAIL_NO_INTERRUPT = 1 };
enum { NEAR = 256 };

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

/* §2.7.13. Loading the index acquires what the driver stored before it. */
uint32_t pykvm_split_find(struct pykvm_ring *ring, uint32_t limit)
{
    const struct pykvm_place *at = &ring->at;
    uint32_t chains = 0, waiting = (uint16_t)(load_half(ring->driver + INDEX) - at->available);
    if (waiting > ring->size || at->out >= ring->size)
        return 0;
    if (limit > waiting)
        limit = waiting;
    if (limit > ring->size - at->out)
        limit = ring->size - at->out;
    for (; chains < limit && chains < PYKVM_RING_CHAINS; chains++) {
        uint16_t head =
            load_half(ring->driver + HEADS + (size_t)2 * ((at->available + chains) % ring->size));
        ring->chain[chains] = (struct pykvm_chain){.head = head, .slots = 1};
        if (!walk(ring, &ring->chain[chains]))
            break;
    }
    return chains;
}

void pykvm_split_advance(struct pykvm_ring *ring, uint32_t chains)
{
    ring->at.available = (uint16_t)(ring->at.available + chains);
    ring->at.out += chains;
}

/* Those near the index are told of together with it. */
static void tell_used(struct pykvm_ring *ring, uint32_t first, uint32_t end)
{
    if (first < end && end <= NEAR) {
        pykvm_chain_tell(ring, ring->device_gpa + INDEX, 8 * end + HEADS - INDEX);
    } else if (first < end) {
        pykvm_chain_tell(ring, ring->device_gpa + INDEX, 2);
        pykvm_chain_tell(ring, ring->device_gpa + HEADS + 8 * first, 8 * (end - first));
    } else {
        pykvm_chain_tell(ring, ring->device_gpa + INDEX, 8 * ring->size + HEADS - INDEX);
    }
}

/* Entries of the used ring; the index comes last. §2.7.8. */
void pykvm_split_give(struct pykvm_ring *ring, const struct pykvm_used *used, uint32_t count)
{
    uint32_t first = ring->at.used % ring->size, slot = first;
    for (uint32_t i = 0; i < count; i++, slot = (slot + 1) % ring->size) {
        uint8_t *entry = ring->device + HEADS + (size_t)8 * slot;
        memcpy(entry, &used[i].head, 4);
        memcpy(entry + 4, &used[i].written_bytes, 4);
    }
    ring->at.used = (uint16_t)(ring->at.used + count);
    ring->at.out -= count;
    ring->at.unsignalled += count;
    store_half(ring->device + INDEX, ring->at.used);
    tell_used(ring, first, slot);
}

bool pykvm_split_is_empty(const struct pykvm_ring *ring)
{
    return load_half(ring->driver + INDEX) == ring->at.available;
}

/* §2.7.10; with the event index for what comes after that which is there now. */
void pykvm_split_suppress(struct pykvm_ring *ring, bool quiet)
{
    uint32_t place = ring->event_idx ? HEADS + 8 * ring->size : FLAGS;
    if (ring->event_idx)
        store_half(ring->device + place, load_half(ring->driver + INDEX));
    else
        store_half(ring->device + place, quiet ? USED_NO_NOTIFY : 0);
    pykvm_chain_tell(ring, ring->device_gpa + place, 2);
}

/* §2.7.7, §2.7.10. */
bool pykvm_split_wants_interrupt(const struct pykvm_ring *ring, uint32_t given)
{
    if (!ring->event_idx)
        return !(load_half(ring->driver + FLAGS) & AVAIL_NO_INTERRUPT);
    uint16_t event = load_half(ring->driver + HEADS + (size_t)2 * ring->size);
    return (uint16_t)(ring->at.used - event - 1) < given;
}
