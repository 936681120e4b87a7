/* What the two forms of a ring have in common, and what each has of its own. */
#ifndef PYKVM_RING_CHAIN_H
#define PYKVM_RING_CHAIN_H

#include <stdatomic.h>

#include "ring.h"

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 }; /* §2.7.5 */

/* Both forms have 16 bytes: §2.7.5, and §2.8.13 with the ID before the flags. */
struct descriptor {
    uint64_t gpa;
    uint32_t size_bytes;
    uint16_t flags;
    uint16_t other; /* the next one's index, or the ID */
};

/* Add a descriptor's buffer to a chain, behind all that the ring has; false where it breaks a rule
 * or there is no room. */
bool pykvm_chain_add(struct pykvm_ring *ring, struct pykvm_chain *chain,
                     const struct descriptor *descriptor);

/* Fields that both sides use at the same time are loaded and stored whole. */
static inline uint16_t load_half(const uint8_t *field)
{
    return atomic_load_explicit((const _Atomic uint16_t *)(const void *)field,
                                memory_order_acquire);
}

static inline void store_half(uint8_t *field, uint32_t value)
{
    atomic_store_explicit((_Atomic uint16_t *)(void *)field, (uint16_t)value, memory_order_release);
}

/* Note that guest memory was written there; at a call's end, tell its listeners of all of that. */
void pykvm_chain_tell(struct pykvm_ring *ring, uint64_t gpa, uint64_t size_bytes);
void pykvm_chain_tell_listeners(struct pykvm_ring *ring);

/* Where guest memory lies, if one span holds all of it. */
uint8_t *pykvm_chain_memory(const struct pykvm_ring *ring, uint64_t gpa, uint64_t size_bytes);

/* An indirect table's memory, if it is one. §2.7.5.3, §2.8.7. */
const uint8_t *pykvm_chain_table(const struct pykvm_ring *ring,
                                 const struct descriptor *descriptor);

/* Find chains without taking them; take the first of those found. */
uint32_t pykvm_chain_find(struct pykvm_ring *ring, uint32_t limit);
void pykvm_chain_advance(struct pykvm_ring *ring, uint32_t chains);

/* The same as pykvm_ring_give and pykvm_ring_settle, in the middle of a call. */
void pykvm_chain_give(struct pykvm_ring *ring, const struct pykvm_used *used, uint32_t count);
bool pykvm_chain_settle(struct pykvm_ring *ring);

/* The driver need not notify: the device looks by itself. With the event index nothing is to be
 * stored: the one that was asked for is past. */
void pykvm_chain_quiet(struct pykvm_ring *ring);

/* Of a split ring, §2.7. */
uint32_t pykvm_split_find(struct pykvm_ring *ring, uint32_t limit);
void pykvm_split_advance(struct pykvm_ring *ring, uint32_t chains);
void pykvm_split_give(struct pykvm_ring *ring, const struct pykvm_used *used, uint32_t count);
bool pykvm_split_is_empty(const struct pykvm_ring *ring);
void pykvm_split_suppress(struct pykvm_ring *ring, bool quiet);
bool pykvm_split_wants_interrupt(const struct pykvm_ring *ring, uint32_t given);

/* Of a packed one, §2.8. */
uint32_t pykvm_packed_find(struct pykvm_ring *ring, uint32_t limit);
void pykvm_packed_advance(struct pykvm_ring *ring, uint32_t chains);
void pykvm_packed_give(struct pykvm_ring *ring, const struct pykvm_used *used, uint32_t count);
bool pykvm_packed_is_empty(const struct pykvm_ring *ring);
void pykvm_packed_suppress(struct pykvm_ring *ring, bool quiet);
bool pykvm_packed_wants_interrupt(const struct pykvm_ring *ring, uint32_t given);

#endif
