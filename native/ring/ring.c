#include "chain.h"

uint32_t pykvm_chain_find(struct pykvm_ring *ring, uint32_t limit)
{
    ring->buffers = 0;
    return ring->packed ? pykvm_packed_find(ring, limit) : pykvm_split_find(ring, limit);
}

void pykvm_chain_advance(struct pykvm_ring *ring, uint32_t chains)
{
    if (ring->packed)
        pykvm_packed_advance(ring, chains);
    else
        pykvm_split_advance(ring, chains);
}

uint32_t pykvm_ring_take(struct pykvm_ring *ring, uint32_t limit)
{
    uint32_t chains = pykvm_chain_find(ring, limit);
    pykvm_chain_advance(ring, chains);
    return chains;
}

void pykvm_chain_give(struct pykvm_ring *ring, const struct pykvm_used *used, uint32_t count)
{
    if (count == 0)
        return;
    if (ring->packed)
        pykvm_packed_give(ring, used, count);
    else
        pykvm_split_give(ring, used, count);
}

void pykvm_ring_give(struct pykvm_ring *ring, const struct pykvm_used *used, uint32_t count)
{
    ring->tolds = 0;
    pykvm_chain_give(ring, used, count);
    pykvm_chain_tell_listeners(ring);
}

static void suppress(struct pykvm_ring *ring, bool quiet)
{
    if (ring->packed)
        pykvm_packed_suppress(ring, quiet);
    else
        pykvm_split_suppress(ring, quiet);
}

static bool is_empty(const struct pykvm_ring *ring)
{
    return ring->packed ? pykvm_packed_is_empty(ring) : pykvm_split_is_empty(ring);
}

void pykvm_chain_quiet(struct pykvm_ring *ring)
{
    if (!ring->at.quiet && !ring->event_idx)
        suppress(ring, true);
    ring->at.quiet = true;
}

/* What came before the driver could see that is not notified of: look again. */
bool pykvm_chain_settle(struct pykvm_ring *ring)
{
    if (!is_empty(ring))
        return false;
    if (ring->at.quiet)
        suppress(ring, false);
    ring->at.quiet = false;
    atomic_thread_fence(memory_order_seq_cst);
    return is_empty(ring);
}

bool pykvm_ring_settle(struct pykvm_ring *ring)
{
    ring->tolds = 0;
    bool is_settled = pykvm_chain_settle(ring);
    pykvm_chain_tell_listeners(ring);
    return is_settled;
}

/* What was given back is seen before the driver's wish is loaded. §2.7.13.4.1. */
bool pykvm_ring_wants_interrupt(struct pykvm_ring *ring)
{
    uint32_t given = ring->at.unsignalled;
    ring->at.unsignalled = 0;
    if (given == 0)
        return false;
    atomic_thread_fence(memory_order_seq_cst);
    return ring->packed ? pykvm_packed_wants_interrupt(ring, given)
                        : pykvm_split_wants_interrupt(ring, given);
}
