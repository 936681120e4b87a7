/* Time: the host's, the guest's, and the guest's time stamp counter. */
#define _POSIX_C_SOURCE 200809L
#include <time.h>

#include "chips.h"

#define NS_PER_MS UINT64_C(1000000)

uint64_t emu_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* Guest time between runs. */
uint64_t emu_vm_ns(const struct emu_vm *vm)
{
    return vm->instruction_clock ? vm->elapsed_ns : emu_now_ns() - vm->start_ns;
}

static uint64_t ticks(const struct emu_cpu *cpu, uint64_t ns)
{
    uint64_t khz = cpu->vm->tsc_khz;
    return ns / NS_PER_MS * khz + ns % NS_PER_MS * khz / NS_PER_MS;
}

/* Set guest time. What timers have left and the time stamp counters stay as they are. */
void emu_vm_set_ns(struct emu_vm *vm, uint64_t ns)
{
    emu_vm_freeze(vm);
    uint64_t delta_ns = ns - emu_vm_ns(vm);
    if (vm->instruction_clock)
        vm->elapsed_ns += delta_ns;
    else
        vm->start_ns -= delta_ns;
    for (struct emu_cpu *cpu = vm->cpus; cpu; cpu = cpu->next)
        cpu->msr.tsc_offset -= ticks(cpu, ns) - ticks(cpu, ns - delta_ns);
    if (vm->chips)
        emu_timers_shift(vm, delta_ns);
    emu_vm_thaw(vm);
}

/* Nanoseconds since the machine was made, as the processor whose turn it is sees them. By
 * the instruction clock each instruction, of any processor, takes one. */
uint64_t emu_guest_ns(const struct emu_cpu *cpu)
{
    uint64_t ns = emu_vm_ns(cpu->vm);
    return cpu->vm->instruction_clock ? ns + (uint64_t)(cpu->slice - cpu->left) : ns;
}

uint64_t emu_tsc(const struct emu_cpu *cpu)
{
    return ticks(cpu, emu_guest_ns(cpu)) + cpu->msr.tsc_offset;
}

/* When the time stamp counter reaches a value; now, where it has passed it, and never, where that
 * is beyond what counts the time. */
uint64_t emu_tsc_to_ns(const struct emu_cpu *cpu, uint64_t tsc, uint64_t now_ns)
{
    uint64_t khz = cpu->vm->tsc_khz, now = ticks(cpu, now_ns) + cpu->msr.tsc_offset;
    if (tsc <= now)
        return now_ns;
    uint64_t ms = (tsc - now) / khz, rest = (tsc - now) % khz;
    if (ms >= (EMU_NEVER - now_ns) / NS_PER_MS - 1)
        return EMU_NEVER;
    return now_ns + ms * NS_PER_MS + (rest * NS_PER_MS + khz - 1) / khz;
}

uint32_t emu_vm_tsc_khz(const struct emu_vm *vm)
{
    return vm->tsc_khz;
}

/* The time stamp counters' frequency, from where they are; 1 GHz at first, so that a tick is a
 * nanosecond. */
void emu_vm_set_tsc_khz(struct emu_vm *vm, uint32_t khz)
{
    emu_vm_freeze(vm);
    uint64_t ns = emu_vm_ns(vm);
    for (struct emu_cpu *cpu = vm->cpus; cpu; cpu = cpu->next)
        cpu->msr.tsc_offset += ticks(cpu, ns);
    vm->tsc_khz = khz ? khz : 1;
    for (struct emu_cpu *cpu = vm->cpus; cpu; cpu = cpu->next)
        cpu->msr.tsc_offset -= ticks(cpu, ns);
    emu_vm_thaw(vm);
}
