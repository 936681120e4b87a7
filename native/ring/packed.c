#include <stdatomic.h>
#include <string.h>

#include "chain.h"

enum { AVAIL = 1 << 7, USED = 1 << 15 }; /* §2.8.1 */

/* A place in the ring; `wrap` is the device's wrap counter there. */
struct place {
    uint32_t index;
    bool wrap;
};

static struct place after(const struct pykvm_ring *ring, struct place place)
{
    if (place.index + 1 < ring->size)
        return (struct place){place.index + 1, place.wrap};
    return (struct place){0, !place.wrap};
}

/* A copy as in split.c, of one that has its ID before its flags. */
static struct descriptor load(const uint8_t *entry)
{
    struct descriptor copy;
    memcpy(&copy.gpa, entry, 8);
    memcpy(&copy.size_bytes, entry + 8, 4);
    memcpy(&copy.other, entry + 12, 2);
    memcpy(&copy.flags, entry + 14, 2);
    atomic_signal_fence(memory_order_acquire);
    return copy;
}

/* The flags are looked at before the rest, which they make valid. */
static bool load_available(const struct pykvm_ring *ring, struct place place,
                           struct descriptor *descriptor)
{
    const uint8_t *entry = ring->descriptors + (size_t)16 * place.index;
    uint16_t flags;
    memcpy(&flags, entry + 14, sizeof flags);
    if ((flags & (AVAIL | USED)) != (place.wrap ? AVAIL : USED))
        return false;
    atomic_thread_fence(memory_order_acquire);
    *descriptor = load(entry);
    descriptor->flags = flags;
    return true;
}

/* Of the flags in an indirect table only WRITE counts. §2.8.7. */
static bool walk_table(struct pykvm_ring *ring, struct pykvm_chain *chain,
                       const struct descriptor *descriptor)
{
    const uint8_t *table = pykvm_chain_table(ring, descriptor);
    if (!table)
        return false;
    for (uint32_t i = 0; i < descriptor->size_bytes / 16; i++) {
        struct descriptor each = load(table + (size_t)16 * i);
        if (!pykvm_chain_add(ring, chain, &each))
            return false;
    }
    return true;
}

/* Follows a list from `place`, which is moved behind it; the last one's ID is the chain's.
 * §2.8.6. */
static bool walk(struct pykvm_ring *ring, struct pykvm_chain *chain, struct place *place,
                 uint32_t room)
{
    while (chain->slots < room) {
        struct descriptor each;
        if (!load_available(ring, *place, &each))
            return false;
        *place = after(ring, *place);
        chain->slots++;
        chain->head = each.other;
        if (each.flags & DESC_INDIRECT)
            return chain->slots == 1 && !(each.flags & DESC_NEXT) && walk_table(ring, chain, &each);
        if (!pykvm_chain_add(ring, chain, &each))
            return false;
        if (!(each.flags & DESC_NEXT))
            return true;
    }
    return false;
}

uint32_t pykvm_packed_take(struct pykvm_ring *ring, uint32_t next, bool wrap, uint32_t limit,
                           uint32_t room)
{
    struct place place = {next, wrap};
    uint32_t chains = 0;
    ring->buffers = 0;
    for (; chains < limit && chains < PYKVM_RING_CHAINS; chains++) {
        struct pykvm_chain *chain = &ring->chain[chains];
        *chain = (struct pykvm_chain){0};
        if (!walk(ring, chain, &place, room))
            break;
        room -= chain->slots;
    }
    return chains;
}
