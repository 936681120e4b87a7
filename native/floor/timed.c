/* Single exits timed by the guest's own counter: what `pykvm bench exits --check` compares with.
 *
 * Each guest comes twice: with the operation, and without it for what the clock takes. */
#define _GNU_SOURCE
#include "vm.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#define SAMPLES_MAX 0x4000

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

/* r15 samples, 8 bytes of cycles each, to r14 on; r12 is where nothing but a device is. */
#define BEGIN "1: lfence\n rdtsc\n shl $32, %rdx\n lea (%rdx, %rax), %r13\n"
#define END                                                                                        \
    "\n lfence\n rdtsc\n shl $32, %rdx\n add %rdx, %rax\n sub %r13, %rax\n"                        \
    "mov %rax, (%r14)\n add $8, %r14\n dec %r15\n jnz 1b\n hlt\n"

/* The assembler makes position-independent guest code. */
#define GUEST(name, given, operation)                                                              \
    extern const uint8_t guest_##name[], guest_##name##_end[];                                     \
    __asm__(".pushsection .rodata\n"                                                               \
            "guest_" #name ":\n" BEGIN given "\n" operation END "guest_" #name "_end:\n"           \
            ".popsection")

#define PAIR(name, given, operation)                                                               \
    GUEST(name, given, operation);                                                                 \
    GUEST(name##_clock, given, "")

PAIR(out, "mov $" TEXT(PORT) ", %edx", "outb %al, %dx");
PAIR(in, "mov $" TEXT(PORT) ", %edx", "inb %dx, %al");
PAIR(write, "", "movl %eax, (%r12)");
PAIR(read, "", "movl (%r12), %eax");
PAIR(cpuid, "mov $1, %eax", "cpuid");

#define CODE(name) guest_##name, guest_##name##_end
#define ROW(name) {#name, CODE(name), CODE(name##_clock)}

static const struct {
    const char *name;
    const uint8_t *code, *end, *clock, *clock_end;
} rows[] = {ROW(out), ROW(in), ROW(write), ROW(read), ROW(cpuid)};

/* The least that an owner can do: take what was written, answer a read with 0. */
static uint64_t answer(struct kvm_run *run, uint64_t sum)
{
    uint8_t *data =
        run->exit_reason == KVM_EXIT_IO ? (uint8_t *)run + run->io.data_offset : run->mmio.data;
    bool is_read =
        run->exit_reason == KVM_EXIT_IO ? run->io.direction == KVM_EXIT_IO_IN : !run->mmio.is_write;
    if (!is_read)
        return sum + data[0];
    memset(data, 0, 4);
    return sum;
}

/* Run to HLT, and print the samples. */
static void run_timed(const uint8_t *code, size_t code_bytes, uint64_t count)
{
    struct vm vm;
    volatile uint64_t sum = 0;
    vm_create(&vm, code, code_bytes, count);
    for (;;) {
        call(vm.vcpu_fd, KVM_RUN, NULL, "KVM_RUN");
        if (vm.run->exit_reason == KVM_EXIT_HLT)
            break;
        if (vm.run->exit_reason != KVM_EXIT_IO && vm.run->exit_reason != KVM_EXIT_MMIO)
            fail("an exit that the guest does not make");
        sum = answer(vm.run, sum);
    }
    double khz = call(vm.vcpu_fd, KVM_GET_TSC_KHZ, NULL, "KVM_GET_TSC_KHZ");
    for (uint64_t i = 0; i < count; i++) {
        uint64_t cycles;
        memcpy(&cycles, vm.memory + SAMPLES_GPA + 8 * i, sizeof(cycles));
        printf("%.1f ", (double)cycles * 1e6 / khz);
    }
    vm_destroy(&vm);
}

/* `count` samples of the operation, then as many without it. */
void measure_timed(const char *name, uint64_t count)
{
    if (count > SAMPLES_MAX)
        count = SAMPLES_MAX;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (strcmp(name, rows[i].name))
            continue;
        run_timed(rows[i].code, (size_t)(rows[i].end - rows[i].code), count);
        run_timed(rows[i].clock, (size_t)(rows[i].clock_end - rows[i].clock), count);
    }
    putchar('\n');
}
