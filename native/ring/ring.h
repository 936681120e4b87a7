/* The device's side of a virtqueue: chains are walked, and given back, many at a time.
 *
 * Only chains that break no rule are taken here, of buffers that each lie in one span of memory;
 * before any other the walk stops, and Python looks at that one and says what is wrong with it.
 * Guest memory is written in the ring's own parts and, of packets, in the chains' buffers; its
 * listeners are told before a call returns, and `told` says where Python has to do that. Source:
 * VIRTIO 1.2 §2.7, §2.8. */
#ifndef PYKVM_RING_H
#define PYKVM_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PYKVM_RING_SPANS 8
#define PYKVM_RING_CHAINS 64
#define PYKVM_RING_BUFFERS 512
#define PYKVM_RING_TOLD (PYKVM_RING_BUFFERS + PYKVM_RING_CHAINS + 4)

/* Who is told of what is written to guest memory from outside the guest. */
struct pykvm_listener {
    void (*tell)(void *who, uint64_t gpa, uint64_t size_bytes); /* NULL: Python knows who */
    void *who;
};

/* Guest memory that is contiguous in this process too. */
struct pykvm_span {
    uint64_t gpa, size_bytes;
    uint8_t *memory;
    const struct pykvm_listener *listener;
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

/* How one goes back. */
struct pykvm_used {
    uint32_t head, slots, written_bytes;
};

/* How far the device is. A split ring's entries are counted in 16 bits; a packed one's are indices
 * with wrap counters. */
struct pykvm_place {
    uint32_t available, used;       /* the next one to take, and to give back */
    bool available_wrap, used_wrap; /* both begin with 1, §2.8.1 */
    bool quiet;                     /* the driver need not notify, or the event asked for is past */
    uint32_t out;                   /* descriptors that were taken, of a split ring chains */
    uint32_t unsignalled;           /* given back since the driver was last told, or not */
};

struct pykvm_ring {
    uint8_t *descriptors;  /* the table, or the packed ring */
    const uint8_t *driver; /* the available ring, or the driver's event suppression */
    uint8_t *device;       /* the used ring, or the device's event suppression */
    uint64_t descriptors_gpa, device_gpa;
    uint32_t size;
    bool packed, indirect, event_idx; /* which features were negotiated */
    struct pykvm_place at;
    uint32_t spans;
    struct pykvm_span span[PYKVM_RING_SPANS];
    struct pykvm_chain chain[PYKVM_RING_CHAINS];
    struct pykvm_buffer buffer[PYKVM_RING_BUFFERS]; /* of all of them, in order */
    uint32_t buffers;
    /* What the last call wrote to guest memory and Python has to tell of. */
    struct pykvm_buffer told[PYKVM_RING_TOLD];
    uint32_t tolds;
    uint32_t packet_bytes[PYKVM_RING_CHAINS]; /* of those that were read */
    bool drained; /* then nothing was left, and the driver notifies of what comes */
};

/* Take up to `limit` chains: how many there are now in `chain`. Of none Python has to find out
 * whether nothing is there or something is wrong. */
uint32_t pykvm_ring_take(struct pykvm_ring *ring, uint32_t limit);

/* Give chains back; the driver sees all at once. */
void pykvm_ring_give(struct pykvm_ring *ring, const struct pykvm_used *used, uint32_t count);

/* Let the driver notify of what it puts in from now on: false where something is there already. */
bool pykvm_ring_settle(struct pykvm_ring *ring);

/* Whether the driver wants to hear of what was given back since it was last asked. */
bool pykvm_ring_wants_interrupt(struct pykvm_ring *ring);

/* Packets of a network device, §5.1.6, through a chain each, which goes back at once; both return
 * how many, and leave in `buffers` through how many of these. They stop before the first chain that
 * wants more than a copy, which Python looks at.
 *
 * What is read lands in `out`, one behind the other: packets of `least` to `most` bytes, header and
 * all, whose header asks for nothing. What is written lies in `data` in the same way. */
uint32_t pykvm_packets_read(struct pykvm_ring *ring, uint32_t limit, uint64_t least, uint64_t most,
                            uint8_t *out, uint64_t room);
uint32_t pykvm_packets_write(struct pykvm_ring *ring, uint32_t count, const uint8_t *data,
                             const uint32_t *sizes);

/* The ones' complement sum of 16-bit big-endian words in data[start, end); an odd byte is the high
 * half of the last. RFC 1071. */
uint32_t pykvm_ones_sum(const uint8_t *data, size_t start, size_t end);

#endif
