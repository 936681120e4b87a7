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

#define PYKVM_SLOTS_KEPT 64

/* What native code keeps of a VM: its slots as KVM was told of them, and its last failure. */
struct pykvm_vm {
    struct pykvm_failure failed;
    struct pykvm_file file;
    atomic_uint_fast64_t layout; /* another number: slots have come, gone or moved */
    atomic_uint_fast64_t
        writes;             /* another number: their bytes have changed from outside the guest */
    atomic_bool overflowed; /* there was no room for one */
    atomic_flag guard;      /* of the slots below: any thread sets them */
    uint32_t count;
    struct kvm_userspace_memory_region slot[PYKVM_SLOTS_KEPT];
};

bool pykvm_vm_create(struct pykvm_vm *vm, int kvm_fd, uint64_t tss_gpa, uint64_t identity_map_gpa,
                     struct pykvm_vcpu *first, size_t run_bytes, const struct kvm_cpuid2 *cpuid,
                     struct pykvm_natives *natives);
void pykvm_slot_plan(struct pykvm_vm *vm, uint32_t flags, uint64_t gpa, uint64_t size_bytes,
                     uint64_t hva);
int pykvm_slot_set(struct pykvm_vm *vm, uint32_t slot, uint32_t flags, uint64_t gpa,
                   uint64_t size_bytes, uint64_t hva);
uint32_t pykvm_slots_get(struct pykvm_vm *vm, struct kvm_userspace_memory_region *slots,
                         uint64_t *layout);
void pykvm_note_write(void *vm, uint64_t gpa, uint64_t size_bytes);
bool pykvm_vcpu_create(struct pykvm_vm *vm, struct pykvm_vcpu *vcpu, uint32_t index,
                       size_t run_bytes, const struct kvm_cpuid2 *cpuid,
                       struct pykvm_natives *natives);

#endif
