/* Time: the host's, and the guest's time stamp counter. */
#define _POSIX_C_SOURCE 200809L
#include <time.h>

#include "cpu.h"

#define TSC_TICKS_PER_NS 2

uint64_t emu_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

uint64_t emu_tsc(struct emu_cpu *cpu)
{
    uint64_t ticks =
        cpu->vm->instruction_clock ? emu_cpu_retired(cpu) : TSC_TICKS_PER_NS * emu_now_ns();
    return ticks + cpu->msr.tsc_offset;
}
