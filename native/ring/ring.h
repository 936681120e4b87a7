/* A virtqueue's chains, walked many at a time: what its device finds in guest memory.
 *
 * Only chains that break no rule are taken here, of buffers that each lie in one span of memory;
 * before any other the walk stops, and Python looks at that one and says what is wrong with it.
 * Only packets are written to guest memory, into the chains' own buffers; giving chains back is
 * Python's. Source: VIRTIO 1.2 §2.7, §2.8. */
#ifndef PYKVM_RING_H
#define PYKVM_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PYKVM_RING_SPANS 8
#define PYKVM_RING_CHAINS 64
#define PYKVM_RING_BUFFERS 512

/* Guest memory that is contiguous in this process too. */
struct pykvm_span {
    uint64_t gpa, size_bytes;
    uint8_t *memory;
    bool writable; /* by the guest and its devices */
};

struct pykvm_buffer {
    uint64_t gpa, size_bytes;
};

/* One that was found. */
struct pykvm_chain {
    uint32_t head;  /* or its ID */
    uint32_t slots; /* descriptors that it takes up in the ring */
    uint32_t readers, writers;
    uint64_t read_bytes, write_bytes;
};

struct pykvm_ring {
    const uint8_t *descriptors; /* the table, or the packed ring */
    const uint8_t *heads;       /* of the available ring; unused in a packed one */
    uint32_t size;
    bool indirect; /* VIRTIO_F_INDIRECT_DESC was negotiated */
    uint32_t spans;
    struct pykvm_span span[PYKVM_RING_SPANS];
    struct pykvm_chain chain[PYKVM_RING_CHAINS];
    struct pykvm_buffer buffer[PYKVM_RING_BUFFERS]; /* of all of them, in order */
    uint32_t buffers;
};

/* Both return how many chains they found. `next` is the first entry that the device has not seen;
 * at most `limit` chains are taken, and of a packed ring at most `room` descriptors. */
uint32_t pykvm_split_take(struct pykvm_ring *ring, uint32_t next, uint32_t limit);
uint32_t pykvm_packed_take(struct pykvm_ring *ring, uint32_t next, bool wrap, uint32_t limit,
                           uint32_t room);

/* Packets of a network device, §5.1.6, through the first chains that were found; both return how
 * many. They stop before the first chain that wants more than a copy, which Python looks at.
 *
 * What is read lands in `out`, one behind the other: packets of `least` to `most` bytes, header and
 * all, whose header asks for nothing. What is written lies in `data` in the same way. */
uint32_t pykvm_packets_read(const struct pykvm_ring *ring, uint32_t chains, uint64_t least,
                            uint64_t most, uint8_t *out, uint64_t room);
uint32_t pykvm_packets_write(struct pykvm_ring *ring, uint32_t chains, const uint8_t *data,
                             const uint32_t *sizes);

/* The ones' complement sum of 16-bit big-endian words in data[start, end); an odd byte is the high
 * half of the last. RFC 1071. */
uint32_t pykvm_ones_sum(const uint8_t *data, size_t start, size_t end);

#endif
