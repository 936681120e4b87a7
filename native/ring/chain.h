/* One chain as it is found, for the two forms of a ring. */
#ifndef PYKVM_RING_CHAIN_H
#define PYKVM_RING_CHAIN_H

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

/* Where guest memory lies, if one span holds all of it. */
uint8_t *pykvm_chain_memory(const struct pykvm_ring *ring, uint64_t gpa, uint64_t size_bytes);

/* An indirect table's memory, if it is one. §2.7.5.3, §2.8.7. */
const uint8_t *pykvm_chain_table(const struct pykvm_ring *ring,
                                 const struct descriptor *descriptor);

#endif
