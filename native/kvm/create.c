/* Making VMs: the calls that always come together, in one crossing from Python.
 *
 * After a call that keeps the kernel busy for long the caller's code is cold in every
 * cache, and the few lines of Python between two such calls cost tens of microseconds. */
#include "create.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static void note(struct pykvm_vm *vm, const char *call)
{
    vm->failed.call = call;
    vm->failed.error = errno;
}

static bool set_slots(int vm_fd, const struct pykvm_vm *vm)
{
    for (uint32_t i = 0; i < vm->count; i++)
        if (ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &vm->slot[i]) < 0)
            return false;
    return true;
}

/* A VM with its private pages placed, memory in its slots, and its first vCPU where that is
 * given (KVM api.rst §4.2, §4.36, §4.40, §4.35). False leaves nothing open. */
bool pykvm_vm_create(struct pykvm_vm *vm, int kvm_fd, uint64_t tss_gpa, uint64_t identity_map_gpa,
                     struct pykvm_vcpu *first, size_t run_bytes, const struct kvm_cpuid2 *cpuid,
                     struct pykvm_natives *natives)
{
    int fd;
    do /* a signal may come meanwhile */
        fd = ioctl(kvm_fd, KVM_CREATE_VM, 0UL);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        note(vm, "KVM_CREATE_VM");
        return false;
    }
    vm->file.fd = fd;
    if (ioctl(fd, KVM_SET_TSS_ADDR, tss_gpa) < 0)
        note(vm, "KVM_SET_TSS_ADDR");
    else if (ioctl(fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map_gpa) < 0)
        note(vm, "KVM_SET_IDENTITY_MAP_ADDR");
    else if (!set_slots(fd, vm))
        note(vm, "KVM_SET_USER_MEMORY_REGION");
    else if (!first || pykvm_vcpu_create(vm, first, 0, run_bytes, cpuid, natives))
        return true;
    pykvm_file_close(&vm->file);
    return false;
}

static void lock(struct pykvm_vm *vm)
{
    while (atomic_flag_test_and_set_explicit(&vm->guard, memory_order_acquire))
        ;
}

static void unlock(struct pykvm_vm *vm)
{
    atomic_flag_clear_explicit(&vm->guard, memory_order_release);
}

static void keep(struct pykvm_vm *vm, const struct kvm_userspace_memory_region *region)
{
    uint32_t at = 0;
    lock(vm);
    while (at < vm->count && vm->slot[at].slot != region->slot)
        at++;
    if (region->memory_size == 0) {
        if (at < vm->count)
            vm->slot[at] = vm->slot[--vm->count];
    } else if (at < PYKVM_SLOTS_KEPT) {
        vm->slot[at] = *region;
        vm->count += at == vm->count;
    } else {
        atomic_store(&vm->overflowed, true);
    }
    atomic_fetch_add(&vm->layout, 1);
    unlock(vm);
}

/* Copy the slots, at most PYKVM_SLOTS_KEPT; returns how many. Any thread. */
uint32_t pykvm_slots_get(struct pykvm_vm *vm, struct kvm_userspace_memory_region *slots,
                         uint64_t *layout)
{
    lock(vm);
    uint32_t count = vm->count;
    memcpy(slots, vm->slot, count * sizeof(*slots));
    *layout = atomic_load(&vm->layout);
    unlock(vm);
    return count;
}

/* Memory was written from outside: what emulators know of code is void, wherever that was. A
 * listener for a struct pykvm_vm; any thread. */
void pykvm_note_write(void *vm, uint64_t gpa, uint64_t size_bytes)
{
    (void)gpa;
    (void)size_bytes;
    atomic_fetch_add(&((struct pykvm_vm *)vm)->writes, 1);
}

/* Another slot that the VM is to have from the start. */
void pykvm_slot_plan(struct pykvm_vm *vm, uint32_t flags, uint64_t gpa, uint64_t size_bytes,
                     uint64_t hva)
{
    struct kvm_userspace_memory_region region = {vm->count, flags, gpa, size_bytes, hva};
    keep(vm, &region);
}

/* Returns 0 or -1 with errno. */
int pykvm_slot_set(struct pykvm_vm *vm, uint32_t slot, uint32_t flags, uint64_t gpa,
                   uint64_t size_bytes, uint64_t hva)
{
    struct kvm_userspace_memory_region region = {
        .slot = slot,
        .flags = flags,
        .guest_phys_addr = gpa,
        .memory_size = size_bytes,
        .userspace_addr = hva,
    };
    if (pykvm_file_ioctl(&vm->file, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        return -1;
    keep(vm, &region);
    return 0;
}

/* Make a vCPU in zeroed memory: map its run page, set its CPUID. False leaves nothing open. */
bool pykvm_vcpu_create(struct pykvm_vm *vm, struct pykvm_vcpu *vcpu, uint32_t index,
                       size_t run_bytes, const struct kvm_cpuid2 *cpuid,
                       struct pykvm_natives *natives)
{
    vcpu->run_bytes = run_bytes;
    vcpu->natives = natives;
    vcpu->file.fd = pykvm_file_ioctl(&vm->file, KVM_CREATE_VCPU, (void *)(uintptr_t)index);
    if (vcpu->file.fd < 0) {
        note(vm, "KVM_CREATE_VCPU");
        return false;
    }
    vcpu->run = mmap(NULL, run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->file.fd, 0);
    if (vcpu->run == MAP_FAILED) {
        note(vm, "mmap of a vCPU's run page");
    } else if (ioctl(vcpu->file.fd, KVM_SET_CPUID2, cpuid) < 0) {
        note(vm, "KVM_SET_CPUID2");
        munmap(vcpu->run, run_bytes);
    } else {
        return true;
    }
    vcpu->run = NULL;
    close(vcpu->file.fd);
    return false;
}
