#include <string.h>

#include "chain.h"

enum { AVAIL = 1 << 7, USED = 1 << 15 };                            /* §2.8.1 */
enum { LENGTH = 8, ID = 12, FLAGS = 14 };                           /* of a descriptor, in bytes */
enum { EVENT_ENABLE = 0, EVENT_DISABLE = 1, EVENT_DESCRIPTOR = 2 }; /* §2.8.10 */

/* A place in the ring; `wrap` is the device's wrap counter there. */
struct place {
    uint32_t index;
    bool wrap;
};

static struct place after(const struct pykvm_ring *ring, struct place place, uint32_t slots)
{
    uint32_t index = place.index + slots;
    if (index < ring->size)
        return (struct place){index, place.wrap};
    return (struct place){index - ring->size, !place.wrap};
}

/* A copy as in split.c, of one that has its ID before its flags. */
static struct descriptor load(const uint8_t *entry)
{
    struct descriptor copy;
    memcpy(&copy.gpa, entry, 8);
    memcpy(&copy.size_bytes, entry + LENGTH, 4);
    memcpy(&copy.other, entry + ID, 2);
    memcpy(&copy.flags, entry + FLAGS, 2);
    atomic_signal_fence(memory_order_acquire);
    return copy;
}

static bool is_available(uint16_t flags, bool wrap)
{
    return (flags & (AVAIL | USED)) == (wrap ? AVAIL : USED);
}

/* The flags are looked at before the rest, which they make valid. */
static bool load_available(const struct pykvm_ring *ring, struct place place,
                           struct descriptor *descriptor)
{
    const uint8_t *entry = ring->descriptors + (size_t)16 * place.index;
    uint16_t flags = load_half(entry + FLAGS);
    if (!is_available(flags, place.wrap))
        return false;
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
        *place = after(ring, *place, 1);
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

uint32_t pykvm_packed_find(struct pykvm_ring *ring, uint32_t limit)
{
    struct place place = {ring->at.available, ring->at.available_wrap};
    uint32_t chains = 0, room = ring->size - ring->at.out;
    for (; chains < limit && chains < PYKVM_RING_CHAINS; chains++) {
        struct pykvm_chain *chain = &ring->chain[chains];
        *chain = (struct pykvm_chain){0};
        if (!walk(ring, chain, &place, room))
            break;
        room -= chain->slots;
    }
    return chains;
}

void pykvm_packed_advance(struct pykvm_ring *ring, uint32_t chains)
{
    uint32_t slots = 0;
    for (uint32_t i = 0; i < chains; i++)
        slots += ring->chain[i].slots;
    struct place next = {ring->at.available, ring->at.available_wrap};
    next = after(ring, next, slots);
    ring->at.available = next.index;
    ring->at.available_wrap = next.wrap;
    ring->at.out += slots;
}

/* The used descriptors of many chains are told of as the whole ring. */
static void tell_used(struct pykvm_ring *ring, uint32_t index, uint32_t count)
{
    if (count <= PYKVM_RING_CHAINS)
        pykvm_chain_tell(ring, ring->descriptors_gpa + (uint64_t)16 * index + LENGTH, 16 - LENGTH);
    else if (ring->tolds == 0)
        pykvm_chain_tell(ring, ring->descriptors_gpa, (uint64_t)16 * ring->size);
}

/* One used descriptor for each chain, whose flags come last; those of the first one wait for the
 * others, since the driver looks no further than these. §2.8.1, §2.8.6. */
void pykvm_packed_give(struct pykvm_ring *ring, const struct pykvm_used *used, uint32_t count)
{
    struct place place = {ring->at.used, ring->at.used_wrap};
    uint8_t *first = ring->descriptors + (size_t)16 * place.index;
    uint32_t first_flags = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *entry = ring->descriptors + (size_t)16 * place.index;
        uint32_t flags = (place.wrap ? AVAIL | USED : 0) | (used[i].written_bytes ? DESC_WRITE : 0);
        memcpy(entry + LENGTH, &used[i].written_bytes, 4);
        store_half(entry + ID, used[i].head);
        if (i)
            store_half(entry + FLAGS, flags);
        else
            first_flags = flags;
        tell_used(ring, place.index, count);
        place = after(ring, place, used[i].slots);
        ring->at.out -= used[i].slots;
        ring->at.unsignalled += used[i].slots;
    }
    store_half(first + FLAGS, first_flags);
    ring->at.used = place.index;
    ring->at.used_wrap = place.wrap;
}

bool pykvm_packed_is_empty(const struct pykvm_ring *ring)
{
    const uint8_t *entry = ring->descriptors + (size_t)16 * ring->at.available;
    return !is_available(load_half(entry + FLAGS), ring->at.available_wrap);
}

/* §2.8.10; with the event index for the next one, where that is not there already. */
void pykvm_packed_suppress(struct pykvm_ring *ring, bool quiet)
{
    bool next = ring->event_idx && pykvm_packed_is_empty(ring);
    uint32_t place = ring->at.available | (uint32_t)ring->at.available_wrap << 15;
    store_half(ring->device, next ? place : 0);
    store_half(ring->device + 2, next ? EVENT_DESCRIPTOR : quiet ? EVENT_DISABLE : EVENT_ENABLE);
    pykvm_chain_tell(ring, ring->device_gpa, 4);
}

bool pykvm_packed_wants_interrupt(const struct pykvm_ring *ring, uint32_t given)
{
    uint16_t place = load_half(ring->driver), flags = load_half(ring->driver + 2) & 3;
    if (flags != EVENT_DESCRIPTOR || !ring->event_idx)
        return flags != EVENT_DISABLE;
    int64_t back = (int64_t)ring->at.used - (place & 0x7FFF);
    if (place >> 15 != ring->at.used_wrap)
        back += ring->size;
    return 0 < back && back <= given;
}
