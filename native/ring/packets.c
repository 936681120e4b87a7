#include <string.h>

#include "chain.h"

enum { REQUEST_BYTES = 2 }; /* flags and gso_type, at the start of a packet's header: §5.1.6 */

/* The chain was found, so its buffers each lie in a span. */
static uint8_t *memory_of(const struct pykvm_ring *ring, const struct pykvm_buffer *buffer)
{
    return pykvm_chain_memory(ring, buffer->gpa, buffer->size_bytes);
}

static void gather(const struct pykvm_ring *ring, const struct pykvm_buffer *buffer, uint32_t count,
                   uint8_t *out)
{
    for (; count; count--, buffer++) {
        memcpy(out, memory_of(ring, buffer), buffer->size_bytes);
        out += buffer->size_bytes;
    }
}

static void scatter(struct pykvm_ring *ring, const struct pykvm_buffer *buffer, const uint8_t *data,
                    uint64_t size_bytes)
{
    for (; size_bytes; buffer++) {
        uint64_t length = buffer->size_bytes < size_bytes ? buffer->size_bytes : size_bytes;
        memcpy(memory_of(ring, buffer), data, length);
        pykvm_chain_tell(ring, buffer->gpa, length);
        data += length;
        size_bytes -= length;
    }
}

/* The first of the chains found go back. */
static void pass(struct pykvm_ring *ring, uint32_t count, const uint32_t *written)
{
    struct pykvm_used used[PYKVM_RING_CHAINS];
    ring->buffers = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct pykvm_chain *chain = &ring->chain[i];
        used[i] = (struct pykvm_used){chain->head, chain->slots, written ? written[i] : 0};
        ring->buffers += chain->readers + chain->writers;
    }
    pykvm_chain_advance(ring, count);
    pykvm_chain_give(ring, used, count);
}

/* The copy is looked at, since the driver may change the original at any time. */
static uint32_t copy(struct pykvm_ring *ring, uint32_t chains, uint64_t least, uint64_t most,
                     uint8_t *out, uint64_t room)
{
    const struct pykvm_buffer *buffer = ring->buffer;
    for (uint32_t i = 0; i < chains; i++) {
        const struct pykvm_chain *chain = &ring->chain[i];
        uint64_t size_bytes = chain->read_bytes;
        if (size_bytes < REQUEST_BYTES || size_bytes < least || size_bytes > most ||
            size_bytes > room)
            return i;
        gather(ring, buffer, chain->readers, out);
        if (out[0] | out[1])
            return i;
        ring->packet_bytes[i] = (uint32_t)size_bytes;
        out += size_bytes;
        room -= size_bytes;
        buffer += chain->readers + chain->writers;
    }
    return chains;
}

uint32_t pykvm_packets_read(struct pykvm_ring *ring, uint32_t limit, uint64_t least, uint64_t most,
                            uint8_t *out, uint64_t room)
{
    uint32_t count = copy(ring, pykvm_chain_find(ring, limit), least, most, out, room);
    ring->tolds = 0;
    pass(ring, count, NULL);
    if (count == limit || (count && ring->event_idx)) /* few are soon read: two stores more */
        pykvm_chain_quiet(ring);
    ring->drained = count < limit && pykvm_chain_settle(ring);
    pykvm_chain_tell_listeners(ring);
    return count;
}

uint32_t pykvm_packets_write(struct pykvm_ring *ring, uint32_t count, const uint8_t *data,
                             const uint32_t *sizes)
{
    const struct pykvm_buffer *buffer = ring->buffer;
    uint32_t chains = pykvm_chain_find(ring, count), i = 0;
    ring->tolds = 0;
    for (; i < chains; i++) {
        const struct pykvm_chain *chain = &ring->chain[i];
        if (chain->readers || chain->write_bytes < sizes[i])
            break;
        scatter(ring, buffer, data, sizes[i]);
        data += sizes[i];
        buffer += chain->writers;
    }
    pass(ring, i, sizes);
    if (i)
        pykvm_chain_quiet(ring);
    pykvm_chain_tell_listeners(ring);
    return i;
}
