#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "assist/assist.h"
#include "emu/emu.h"
#include "kvm/create.h"
#include "kvm/rings.h"
#include "kvm/vcpu.h"
#include "pykvm.h"
#include "ring/ring.h"
#include "routes.h"

/* What headers before Linux 6.1 do not know is absent for a build against them. */
#ifndef KVM_CAP_XSAVE2
#define KVM_CAP_XSAVE2 (-1)
#define KVM_GET_XSAVE2 0
#endif
#ifndef KVM_CAP_X86_TRIPLE_FAULT_EVENT
#define KVM_CAP_X86_TRIPLE_FAULT_EVENT (-1)
#endif
#ifndef KVM_CAP_DIRTY_LOG_RING_ACQ_REL
#define KVM_CAP_DIRTY_LOG_RING_ACQ_REL (-1)
#endif

/* ioctl is variadic; Python passes a pointer or a number, never both. */
static inline int pykvm_ioctl(int fd, unsigned long request, void *argument)
{
    return ioctl(fd, request, argument);
}

static inline int pykvm_ioctl_number(int fd, unsigned long request, unsigned long number)
{
    return ioctl(fd, request, number);
}

/* Where KVM_SYNC_REGS has the registers copied at each exit. */
static inline struct kvm_regs *pykvm_shared_regs(struct kvm_run *run)
{
    return &run->s.regs.regs;
}

static inline struct kvm_sregs *pykvm_shared_sregs(struct kvm_run *run)
{
    return &run->s.regs.sregs;
}

/* Let the next run begin with these registers, and all others 0. */
static inline void pykvm_stage(struct kvm_run *run, const struct kvm_sregs *special, uint64_t rip,
                               uint64_t rsp, uint64_t rflags)
{
    run->s.regs.sregs = *special;
    run->s.regs.regs = (struct kvm_regs){.rip = rip, .rsp = rsp, .rflags = rflags};
    run->kvm_dirty_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
}

/* In a hot loop Python calls a function of one argument. */
static inline int64_t pykvm_emu_run(struct emu_cpu *cpu)
{
    return emu_cpu_run(cpu, 0);
}

/* Enter again at once after each exit of one kind, as the least that an owner can do about it.
 * Returns the key of the first other one. */
static inline int64_t pykvm_vcpu_pass(struct pykvm_vcpu *vcpu, int kind)
{
    int64_t key;
    do
        key = pykvm_vcpu_run(vcpu);
    while ((key & PYKVM_KIND_MASK) == kind);
    return key;
}

static inline int64_t pykvm_emu_pass(struct emu_cpu *cpu, int kind)
{
    int64_t key;
    do
        key = emu_cpu_run(cpu, 0);
    while ((key & PYKVM_KIND_MASK) == kind);
    return key;
}
