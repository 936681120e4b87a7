/* The floor: what pykvm does, in plain C and with nothing else around it.
 *
 * Reads commands from standard input, one a line, and answers each with a line of
 * nanoseconds per operation, so that a caller can take turns with its own measurements:
 *   create N   N times: make a VM, run it to its first exit
 *   port N     N port writes in one run: the mean of one exit
 *   enter N    N times KVM_RUN without guest code: the mean
 *   syscall N  N cheap system calls: the mean
 *   quit */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
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

struct vm {
    int fd, vcpu_fd;
    uint8_t *memory;
    struct kvm_run *run;
};

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int call(int fd, unsigned long request, const void *argument, const char *name)
{
    int result = ioctl(fd, request, argument);
    if (result < 0)
        fail(name);
    return result;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

/* out 0xe9, al; dec ecx; jnz back; hlt */
static const uint8_t port_loop[] = {0xe6, 0xe9, 0xff, 0xc9, 0x75, 0xfa, 0xf4};

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
    struct kvm_regs regs = {.rip = CODE_GPA, .rsp = 0x80000, .rflags = 2, .rcx = count};

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

static void vm_create(struct vm *vm, uint64_t count)
{
    uint64_t identity_gpa = KVM_IDENTITY_MAP_GPA;
    vm->fd = call(kvm_fd, KVM_CREATE_VM, NULL, "KVM_CREATE_VM");
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
    vm->vcpu_fd = call(vm->fd, KVM_CREATE_VCPU, NULL, "KVM_CREATE_VCPU");
    vm->run = mmap(NULL, (size_t)run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu_fd, 0);
    if (vm->run == MAP_FAILED)
        fail("mmap of the run page");
    call(vm->vcpu_fd, KVM_SET_CPUID2, cpuid, "KVM_SET_CPUID2");
    build_page_tables(vm->memory);
    memcpy(vm->memory + CODE_GPA, port_loop, sizeof(port_loop));
    enter_long_mode(vm->vcpu_fd, count);
}

static void vm_destroy(struct vm *vm)
{
    munmap(vm->run, (size_t)run_bytes);
    munmap(vm->memory, MEMORY_BYTES);
    close(vm->vcpu_fd);
    close(vm->fd);
}

static uint64_t written; /* the sum of what the guest wrote: its bytes are really read */

/* Run to the end; returns how many port writes there were. */
static uint64_t run(struct vm *vm, uint64_t limit)
{
    uint64_t exits = 0;
    while (exits < limit) {
        call(vm->vcpu_fd, KVM_RUN, NULL, "KVM_RUN");
        if (vm->run->exit_reason == KVM_EXIT_HLT)
            break;
        if (vm->run->exit_reason != KVM_EXIT_IO || vm->run->io.port != 0xe9)
            fail("an exit that the guest does not make");
        written += *((uint8_t *)vm->run + vm->run->io.data_offset);
        exits++;
    }
    return exits;
}

static void measure_create(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        struct vm vm;
        uint64_t start_ns = now_ns();
        vm_create(&vm, 1);
        run(&vm, 1);
        printf("%s%" PRIu64, i ? " " : "", now_ns() - start_ns);
        vm_destroy(&vm);
    }
    putchar('\n');
}

static void measure_port(uint64_t count)
{
    struct vm vm;
    vm_create(&vm, count);
    uint64_t start_ns = now_ns();
    uint64_t exits = run(&vm, UINT64_MAX);
    printf("%.3f\n", (double)(now_ns() - start_ns) / (double)exits);
    vm_destroy(&vm);
}

static void measure_enter(uint64_t count)
{
    struct vm vm;
    vm_create(&vm, 1);
    vm.run->immediate_exit = 1;
    uint64_t start_ns = now_ns();
    for (uint64_t i = 0; i < count; i++)
        if (ioctl(vm.vcpu_fd, KVM_RUN, 0) == 0 || errno != EINTR)
            fail("KVM_RUN with immediate_exit");
    printf("%.3f\n", (double)(now_ns() - start_ns) / (double)count);
    vm_destroy(&vm);
}

static void measure_syscall(uint64_t count)
{
    uint64_t start_ns = now_ns();
    for (uint64_t i = 0; i < count; i++)
        syscall(SYS_getppid);
    printf("%.3f\n", (double)(now_ns() - start_ns) / (double)count);
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

int main(void)
{
    char verb[16];
    uint64_t count;
    open_kvm();
    while (scanf("%15s %" SCNu64, verb, &count) == 2 && count) {
        if (!strcmp(verb, "create"))
            measure_create(count);
        else if (!strcmp(verb, "port"))
            measure_port(count);
        else if (!strcmp(verb, "enter"))
            measure_enter(count);
        else if (!strcmp(verb, "syscall"))
            measure_syscall(count);
        else
            break;
        fflush(stdout);
    }
    return 0;
}
