/* Moving a processor's state between a KVM vCPU and the emulator. */
#ifndef PYKVM_TRANSFER_H
#define PYKVM_TRANSFER_H

#include <linux/kvm.h>

#include "../emu/emu.h"

#define PYKVM_TRANSFER_MSRS 16
#define PYKVM_XSAVE_BYTES_MAX 16384

/* What KVM last gave: only what differs from it is written back. */
struct pykvm_transfer {
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_xcrs xcrs;
    struct kvm_vcpu_events events;
    struct kvm_debugregs debug;
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry[PYKVM_TRANSFER_MSRS];
    } msrs;
    bool msrs_known;
    bool evex;            /* CPUID tells of AVX-512 */
    uint32_t pkru_offset; /* in that area; 0: the guest has none */
    uint32_t xsave_bytes; /* of KVM_GET_XSAVE2; 0: KVM_GET_XSAVE */
    uint8_t xsave[PYKVM_XSAVE_BYTES_MAX];
};

int pykvm_transfer_cpuid(struct pykvm_transfer *transfer, int vcpu_fd, struct emu_vm *vm,
                         struct emu_cpu *cpu);
bool pykvm_transfer_privileged(int vcpu_fd, bool masked);
int pykvm_transfer_in(struct pykvm_transfer *transfer, int vcpu_fd, struct emu_cpu *cpu,
                      bool refused);
int pykvm_transfer_out(struct pykvm_transfer *transfer, int vcpu_fd, struct emu_cpu *cpu);

#endif
