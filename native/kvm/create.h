/* Making VMs: the calls that always come together, in one crossing from Python. */
#ifndef PYKVM_KVM_CREATE_H
#define PYKVM_KVM_CREATE_H

#include <linux/kvm.h>

#include "vcpu.h"

/* The call that failed and its errno. */
struct pykvm_failure {
    const char *call;
    int error;
};

int pykvm_vm_create(int kvm_fd, uint64_t tss_gpa, uint64_t identity_map_gpa,
                    const struct kvm_userspace_memory_region *slots, uint32_t count,
                    struct pykvm_failure *failure);
int pykvm_slot_set(int vm_fd, uint32_t slot, uint32_t flags, uint64_t gpa, uint64_t size_bytes,
                   uint64_t hva);
bool pykvm_vcpu_init(struct pykvm_vcpu *vcpu, int vm_fd, uint32_t index, size_t run_bytes,
                     const struct kvm_cpuid2 *cpuid, struct pykvm_natives *natives,
                     struct pykvm_failure *failure);
bool pykvm_vcpu_reset(int fd, const struct kvm_sregs *special, const struct kvm_regs *general,
                      struct pykvm_failure *failure);

#endif
