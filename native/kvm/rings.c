/* Taking entries out of rings that the kernel fills at the same time.
 *
 * KVM api.rst §8.29 (dirty ring: a page's entry is read between an acquire of its flags
 * and the release that marks it as harvested) and §4.116 (coalesced MMIO). */
#include "rings.h"

/* Move the entries from position `next` on to `out`, `size` of them at most, and mark
 * them as harvested. Returns how many; the caller's next position is next + that. */
uint32_t pykvm_dirty_ring_take(struct kvm_dirty_gfn *ring, uint32_t size, uint32_t next,
                               struct kvm_dirty_gfn *out)
{
    uint32_t taken = 0;
    while (taken < size) {
        struct kvm_dirty_gfn *entry = &ring[(next + taken) % size];
        uint32_t flags = __atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE);
        if ((flags & (KVM_DIRTY_GFN_F_DIRTY | KVM_DIRTY_GFN_F_RESET)) != KVM_DIRTY_GFN_F_DIRTY)
            break;
        out[taken++] = *entry;
        __atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
    }
    return taken;
}

/* Move all waiting writes to `out`, which holds `size` entries as the ring does, oldest
 * first. Returns how many. One thread at a time may do so. */
uint32_t pykvm_coalesced_take(struct kvm_coalesced_mmio_ring *ring, uint32_t size,
                              struct kvm_coalesced_mmio *out)
{
    uint32_t first = ring->first % size;
    uint32_t last = __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE) % size;
    uint32_t taken = 0;
    for (; first != last; first = (first + 1) % size)
        out[taken++] = ring->coalesced_mmio[first];
    __atomic_store_n(&ring->first, last, __ATOMIC_RELEASE);
    return taken;
}
