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

/* The buffers' sizes become how much was written to each. */
static void scatter(const struct pykvm_ring *ring, struct pykvm_buffer *buffer, uint32_t count,
                    const uint8_t *data, uint64_t size_bytes)
{
    for (; count; count--, buffer++) {
        if (buffer->size_bytes > size_bytes)
            buffer->size_bytes = size_bytes;
        if (buffer->size_bytes)
            memcpy(memory_of(ring, buffer), data, buffer->size_bytes);
        data += buffer->size_bytes;
        size_bytes -= buffer->size_bytes;
    }
}

/* The copy is looked at, since the driver may change the original at any time. */
uint32_t pykvm_packets_read(const struct pykvm_ring *ring, uint32_t chains, uint64_t least,
                            uint64_t most, uint8_t *out, uint64_t room)
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
        out += size_bytes;
        room -= size_bytes;
        buffer += chain->readers + chain->writers;
    }
    return chains;
}

uint32_t pykvm_packets_write(struct pykvm_ring *ring, uint32_t chains, const uint8_t *data,
                             const uint32_t *sizes)
{
    struct pykvm_buffer *buffer = ring->buffer;
    for (uint32_t i = 0; i < chains; i++) {
        const struct pykvm_chain *chain = &ring->chain[i];
        if (chain->readers || chain->write_bytes < sizes[i])
            return i;
        scatter(ring, buffer, chain->writers, data, sizes[i]);
        data += sizes[i];
        buffer += chain->writers;
    }
    return chains;
}
