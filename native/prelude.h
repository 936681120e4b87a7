#define _GNU_SOURCE
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kvm/create.h"
#include "kvm/rings.h"
#include "kvm/vcpu.h"
#include "pykvm.h"

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
