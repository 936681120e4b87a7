#include "chain.h"

#define CHAIN_BYTES_MAX (UINT64_C(1) << 32) /* §2.7.5 */

static const struct pykvm_span *span_of(const struct pykvm_ring *ring, uint64_t gpa,
                                        uint64_t size_bytes)
{
    for (uint32_t i = 0; i < ring->spans; i++) {
        const struct pykvm_span *span = &ring->span[i];
        uint64_t offset = gpa - span->gpa;
        if (offset < span->size_bytes && size_bytes <= span->size_bytes - offset)
            return span;
    }
    return NULL;
}

uint8_t *pykvm_chain_memory(const struct pykvm_ring *ring, uint64_t gpa, uint64_t size_bytes)
{
    const struct pykvm_span *span = span_of(ring, gpa, size_bytes);
    return span ? span->memory + (gpa - span->gpa) : NULL;
}

void pykvm_chain_tell(struct pykvm_ring *ring, uint64_t gpa, uint64_t size_bytes)
{
    if (size_bytes)
        ring->told[ring->tolds++] = (struct pykvm_buffer){gpa, size_bytes};
}

void pykvm_chain_tell_listeners(struct pykvm_ring *ring)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < ring->tolds; i++) {
        const struct pykvm_buffer told = ring->told[i];
        const struct pykvm_span *span = span_of(ring, told.gpa, told.size_bytes);
        /* Once, since the machine may close meanwhile. */
        void (*tell)(void *, uint64_t, uint64_t) =
            span ? __atomic_load_n(&span->listener->tell, __ATOMIC_ACQUIRE) : NULL;
        if (tell)
            tell(span->listener->who, told.gpa, told.size_bytes);
        else
            ring->told[left++] = told;
    }
    ring->tolds = left;
}

const uint8_t *pykvm_chain_table(const struct pykvm_ring *ring, const struct descriptor *descriptor)
{
    uint32_t size_bytes = descriptor->size_bytes;
    if (!ring->indirect || size_bytes == 0 || size_bytes % 16 || size_bytes / 16 > ring->size)
        return NULL;
    return pykvm_chain_memory(ring, descriptor->gpa, size_bytes);
}

bool pykvm_chain_add(struct pykvm_ring *ring, struct pykvm_chain *chain,
                     const struct descriptor *descriptor)
{
    uint64_t size_bytes = descriptor->size_bytes;
    if (size_bytes == 0 || ring->buffers == PYKVM_RING_BUFFERS)
        return false;
    const struct pykvm_span *span = span_of(ring, descriptor->gpa, size_bytes);
    if (!span || (descriptor->flags & DESC_WRITE && !span->writable))
        return false;
    if (descriptor->flags & DESC_WRITE) {
        chain->writers++;
        chain->write_bytes += size_bytes;
    } else if (chain->writers) {
        return false; /* §2.7.4.2 */
    } else {
        chain->readers++;
        chain->read_bytes += size_bytes;
    }
    ring->buffer[ring->buffers++] = (struct pykvm_buffer){descriptor->gpa, size_bytes};
    return chain->read_bytes + chain->write_bytes <= CHAIN_BYTES_MAX;
}
