/* The floor: what pykvm does, in plain C and with nothing else around it.
 *
 * Reads commands from standard input, one a line, and answers each with a line of
 * nanoseconds per operation, so that a caller can take turns with its own measurements:
 *   create N   N times: make a VM, run it to its first exit
 *   life N     N times seven figures: KVM_CREATE_VM, memory, vCPU, CPUID, registers and page
 *              tables, first exit, close
 *   port N     N port writes in one run: the mean of one exit
 *   enter N    N times KVM_RUN without guest code: the mean
 *   syscall N  N cheap system calls: the mean
 *   out N, in N, write N, read N, cpuid N
 *              N samples of one operation by the guest's own counter, see timed.c
 *   quit */
#define _GNU_SOURCE
#include "vm.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COMMAND_S 120

/* out 0xe9, al; dec ecx; jnz back; hlt */
static const uint8_t port_loop[] = {0xe6, 0xe9, 0xff, 0xc9, 0x75, 0xfa, 0xf4};

static uint64_t written; /* the sum of what the guest wrote: its bytes are really read */

/* Run to the end; returns how many port writes there were. */
static uint64_t run(struct vm *vm, uint64_t limit)
{
    uint64_t exits = 0;
    while (exits < limit) {
        call(vm->vcpu_fd, KVM_RUN, NULL, "KVM_RUN");
        if (vm->run->exit_reason == KVM_EXIT_HLT)
            break;
        if (vm->run->exit_reason != KVM_EXIT_IO || vm->run->io.port != PORT)
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
        vm_create(&vm, port_loop, sizeof(port_loop), 1);
        run(&vm, 1);
        printf("%s%" PRIu64, i ? " " : "", now_ns() - start_ns);
        vm_destroy(&vm);
    }
    putchar('\n');
}

static void measure_port(uint64_t count)
{
    struct vm vm;
    vm_create(&vm, port_loop, sizeof(port_loop), count);
    uint64_t start_ns = now_ns();
    uint64_t exits = run(&vm, UINT64_MAX);
    printf("%.3f\n", (double)(now_ns() - start_ns) / (double)exits);
    vm_destroy(&vm);
}

/* One VM for all batches: creating one takes as long as many entries. */
static void measure_enter(uint64_t count)
{
    static struct vm vm;
    if (!vm.run)
        vm_create(&vm, port_loop, sizeof(port_loop), 1);
    vm.run->immediate_exit = 1;
    uint64_t start_ns = now_ns();
    for (uint64_t i = 0; i < count; i++)
        if (ioctl(vm.vcpu_fd, KVM_RUN, 0) == 0 || errno != EINTR)
            fail("KVM_RUN with immediate_exit");
    printf("%.3f\n", (double)(now_ns() - start_ns) / (double)count);
}

static void measure_syscall(uint64_t count)
{
    uint64_t start_ns = now_ns();
    for (uint64_t i = 0; i < count; i++)
        syscall(SYS_getppid);
    printf("%.3f\n", (double)(now_ns() - start_ns) / (double)count);
}

static uint64_t lap(uint64_t *start_ns)
{
    uint64_t end_ns = now_ns(), took_ns = end_ns - *start_ns;
    *start_ns = end_ns;
    return took_ns;
}

/* Seven steps of one VM's life. */
static void live(uint64_t steps_ns[7])
{
    struct vm vm;
    uint64_t at_ns = now_ns();
    vm_open(&vm);
    steps_ns[0] = lap(&at_ns);
    vm_map(&vm);
    steps_ns[1] = lap(&at_ns);
    vm_add_vcpu(&vm);
    steps_ns[2] = lap(&at_ns);
    vm_set_cpuid(&vm);
    steps_ns[3] = lap(&at_ns);
    vm_start(&vm, port_loop, sizeof(port_loop), 1);
    steps_ns[4] = lap(&at_ns);
    run(&vm, 1);
    steps_ns[5] = lap(&at_ns);
    vm_destroy(&vm);
    steps_ns[6] = lap(&at_ns);
}

static void measure_life(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t steps_ns[7];
        live(steps_ns);
        for (int step = 0; step < 7; step++)
            printf("%s%" PRIu64, i || step ? " " : "", steps_ns[step]);
    }
    putchar('\n');
}

int main(void)
{
    char verb[16];
    uint64_t count;
    while (scanf("%15s %" SCNu64, verb, &count) == 2 && count) {
        alarm(COMMAND_S); /* a guest that never comes back ends this program */
        if (!strcmp(verb, "create"))
            measure_create(count);
        else if (!strcmp(verb, "port"))
            measure_port(count);
        else if (!strcmp(verb, "enter"))
            measure_enter(count);
        else if (!strcmp(verb, "syscall"))
            measure_syscall(count);
        else if (!strcmp(verb, "life"))
            measure_life(count);
        else if (!strcmp(verb, "quit"))
            break;
        else
            measure_timed(verb, count);
        fflush(stdout);
        alarm(0);
    }
    return 0;
}
