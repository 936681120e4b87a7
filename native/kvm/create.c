/* Making VMs: the calls that always come together, in one crossing from Python.
 *
 * After a call that keeps the kernel busy for long the caller's code is cold in every
 * cache, and the few lines of Python between two such calls cost tens of microseconds. */
#include "create.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static void note(struct pykvm_failure *failure, const char *call)
{
    failure->call = call;
    failure->error = errno;
}

static bool set_slots(int vm_fd, const struct kvm_userspace_memory_region *slots, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &slots[i]) < 0)
            return false;
    return true;
}

/* A VM with its private pages placed and memory in its first slots (KVM api.rst §4.2, §4.36,
 * §4.40, §4.35): a descriptor or -1. */
int pykvm_vm_create(int kvm_fd, uint64_t tss_gpa, uint64_t identity_map_gpa,
                    const struct kvm_userspace_memory_region *slots, uint32_t count,
                    struct pykvm_failure *failure)
{
    int fd = ioctl(kvm_fd, KVM_CREATE_VM, 0UL);
    if (fd < 0) {
        note(failure, "KVM_CREATE_VM");
        return -1;
    }
    if (ioctl(fd, KVM_SET_TSS_ADDR, tss_gpa) < 0)
        note(failure, "KVM_SET_TSS_ADDR");
    else if (ioctl(fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map_gpa) < 0)
        note(failure, "KVM_SET_IDENTITY_MAP_ADDR");
    else if (!set_slots(fd, slots, count))
        note(failure, "KVM_SET_USER_MEMORY_REGION");
    else
        return fd;
    close(fd);
    return -1;
}

/* Returns 0 or -1 with errno. */
int pykvm_slot_set(int vm_fd, uint32_t slot, uint32_t flags, uint64_t gpa, uint64_t size_bytes,
                   uint64_t hva)
{
    struct kvm_userspace_memory_region region = {
        .slot = slot,
        .flags = flags,
        .guest_phys_addr = gpa,
        .memory_size = size_bytes,
        .userspace_addr = hva,
    };
    return ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
}

/* Make a vCPU in zeroed memory: map its run page, set its CPUID. False leaves nothing open. */
bool pykvm_vcpu_init(struct pykvm_vcpu *vcpu, int vm_fd, uint32_t index, size_t run_bytes,
                     const struct kvm_cpuid2 *cpuid, struct pykvm_natives *natives,
                     struct pykvm_failure *failure)
{
    vcpu->run_bytes = run_bytes;
    vcpu->natives = natives;
    vcpu->fd = ioctl(vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
    if (vcpu->fd < 0) {
        note(failure, "KVM_CREATE_VCPU");
        return false;
    }
    vcpu->run = mmap(NULL, run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
    if (vcpu->run == MAP_FAILED) {
        note(failure, "mmap of a vCPU's run page");
    } else if (ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid) < 0) {
        note(failure, "KVM_SET_CPUID2");
        munmap(vcpu->run, run_bytes);
    } else {
        return true;
    }
    close(vcpu->fd);
    return false;
}

/* All registers at once (KVM api.rst §4.14, §4.12). */
bool pykvm_vcpu_reset(int fd, const struct kvm_sregs *special, const struct kvm_regs *general,
                      struct pykvm_failure *failure)
{
    if (ioctl(fd, KVM_SET_SREGS, special) < 0)
        note(failure, "KVM_SET_SREGS");
    else if (ioctl(fd, KVM_SET_REGS, general) < 0)
        note(failure, "KVM_SET_REGS");
    else
        return true;
    return false;
}
