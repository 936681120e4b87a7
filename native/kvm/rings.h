/* The rings that KVM shares with user space: dirty pages and coalesced writes. */
#ifndef PYKVM_KVM_RINGS_H
#define PYKVM_KVM_RINGS_H

#include <linux/kvm.h>
#include <stdint.h>

uint32_t pykvm_dirty_ring_take(struct kvm_dirty_gfn *ring, uint32_t size, uint32_t next,
                               struct kvm_dirty_gfn *out);
uint32_t pykvm_coalesced_take(struct kvm_coalesced_mmio_ring *ring, uint32_t size,
                              struct kvm_coalesced_mmio *out);

#endif
