/* Making a virtual machine, and putting it into long mode. */
#define _GNU_SOURCE
#include "vm.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MEMORY_BYTES 0x100000UL
#define CODE_GPA 0x10000UL
#define PML4_GPA 0x1000UL
#define PDPT_GPA 0x2000UL
#define PD_GPA 0x3000UL
#define CPUID_ENTRIES 256
#define KVM_TSS_GPA 0xFEFFD000UL
#define KVM_IDENTITY_MAP_GPA 0xFEFFC000UL

static int kvm_fd;
static int run_bytes;
static struct kvm_cpuid2 *cpuid;

void fail(const char *what)
{
    perror(what);
    exit(1);
}

int call(int fd, unsigned long request, const void *argument, const char *name)
{
    int result = ioctl(fd, request, argument);
    if (result < 0)
        fail(name);
    return result;
}

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static void open_kvm(void)
{
    kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm_fd < 0)
        fail("/dev/kvm");
    run_bytes = call(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL, "KVM_GET_VCPU_MMAP_SIZE");
    cpuid = calloc(1, sizeof(*cpuid) + CPUID_ENTRIES * sizeof(cpuid->entries[0]));
    if (!cpuid)
        fail("calloc");
    cpuid->nent = CPUID_ENTRIES;
    call(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid, "KVM_GET_SUPPORTED_CPUID");
}

static void store64(uint8_t *memory, uint64_t gpa, uint64_t value)
{
    memcpy(memory + gpa, &value, sizeof(value));
}

/* Identity-map 4 GiB in 2 MiB pages, as pykvm's loader does. */
static void build_page_tables(uint8_t *memory)
{
    store64(memory, PML4_GPA, PDPT_GPA | 7);
    for (uint64_t i = 0; i < 4; i++)
        store64(memory, PDPT_GPA + i * 8, (PD_GPA + i * 0x1000) | 7);
    for (uint64_t i = 0; i < 4 * 512; i++)
        store64(memory, PD_GPA + i * 8, (i << 21) | 0x87);
}

static void enter_long_mode(int vcpu_fd, uint64_t count)
{
    struct kvm_sregs sregs;
    struct kvm_segment code = {.limit = 0xffffffff, .selector = 0x10, .type = 11, .present = 1};
    struct kvm_segment data = {.limit = 0xffffffff, .selector = 0x18, .type = 3, .present = 1};
    struct kvm_regs regs = {.rip = CODE_GPA,
                            .rsp = 0x80000,
                            .rflags = 2,
                            .rcx = count,
                            .r12 = MMIO_GPA,
                            .r14 = SAMPLES_GPA,
                            .r15 = count};

    code.s = code.l = code.g = 1;
    data.s = data.db = data.g = 1;
    call(vcpu_fd, KVM_GET_SREGS, &sregs, "KVM_GET_SREGS");
    sregs.cs = code;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
    sregs.cr0 = 0x80000033;
    sregs.cr3 = PML4_GPA;
    sregs.cr4 = 0x620;
    sregs.efer = 0x500;
    call(vcpu_fd, KVM_SET_SREGS, &sregs, "KVM_SET_SREGS");
    call(vcpu_fd, KVM_SET_REGS, &regs, "KVM_SET_REGS");
}

void vm_open(struct vm *vm)
{
    if (!cpuid)
        open_kvm();
    vm->fd = call(kvm_fd, KVM_CREATE_VM, NULL, "KVM_CREATE_VM");
}

void vm_map(struct vm *vm)
{
    uint64_t identity_gpa = KVM_IDENTITY_MAP_GPA;
    call(vm->fd, KVM_SET_TSS_ADDR, (void *)KVM_TSS_GPA, "KVM_SET_TSS_ADDR");
    call(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_gpa, "KVM_SET_IDENTITY_MAP_ADDR");
    vm->memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (vm->memory == MAP_FAILED)
        fail("mmap of guest memory");
    struct kvm_userspace_memory_region region = {
        .memory_size = MEMORY_BYTES,
        .userspace_addr = (uintptr_t)vm->memory,
    };
    call(vm->fd, KVM_SET_USER_MEMORY_REGION, &region, "KVM_SET_USER_MEMORY_REGION");
}

void vm_add_vcpu(struct vm *vm)
{
    vm->vcpu_fd = call(vm->fd, KVM_CREATE_VCPU, NULL, "KVM_CREATE_VCPU");
    vm->run = mmap(NULL, (size_t)run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu_fd, 0);
    if (vm->run == MAP_FAILED)
        fail("mmap of the run page");
}

void vm_set_cpuid(struct vm *vm)
{
    call(vm->vcpu_fd, KVM_SET_CPUID2, cpuid, "KVM_SET_CPUID2");
}

/* Let the vCPU begin with this code, position-independent, and `count` in rcx and r15. */
void vm_start(struct vm *vm, const uint8_t *code, size_t code_bytes, uint64_t count)
{
    build_page_tables(vm->memory);
    memcpy(vm->memory + CODE_GPA, code, code_bytes);
    enter_long_mode(vm->vcpu_fd, count);
}

void vm_create(struct vm *vm, const uint8_t *code, size_t code_bytes, uint64_t count)
{
    vm_open(vm);
    vm_map(vm);
    vm_add_vcpu(vm);
    vm_set_cpuid(vm);
    vm_start(vm, code, code_bytes, count);
}

void vm_destroy(struct vm *vm)
{
    munmap(vm->run, (size_t)run_bytes);
    munmap(vm->memory, MEMORY_BYTES);
    close(vm->vcpu_fd);
    close(vm->fd);
}
