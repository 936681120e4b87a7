/* The local APIC's timer: one-shot, periodic, TSC deadline. Intel SDM vol. 3A §10.5.4. It
 * counts a bus of 1 GHz, as KVM's does. */
#include "chips.h"

static uint32_t get(const struct emu_cpu *cpu, uint32_t offset)
{
    return cpu->lapic->reg[offset / 4];
}

static bool in_mode(const struct emu_cpu *cpu, uint32_t mode)
{
    return (get(cpu, LAPIC_LVT_TIMER) & LVT_TIMER_MODE) == mode;
}

/* Nanoseconds per count: 2, 4 .. 128, or 1. §10.5.4, figure 10-10 */
static uint64_t divisor(const struct emu_cpu *cpu)
{
    uint32_t value = get(cpu, LAPIC_TIMER_DIVIDE);
    return UINT64_C(1) << (((value & 3) + ((value & 8) >> 1) + 1) & 7);
}

static void arm(struct emu_cpu *cpu, uint64_t expires_ns)
{
    cpu->lapic->expires_ns = expires_ns;
    emu_timers_changed(cpu->vm);
}

void emu_lapic_timer_stop(struct emu_cpu *cpu)
{
    cpu->lapic->period_ns = 0;
    arm(cpu, EMU_NEVER);
}

/* The initial count was written: it begins at once. */
void emu_lapic_timer_start(struct emu_cpu *cpu, uint64_t now_ns)
{
    struct emu_lapic *lapic = cpu->lapic;
    uint64_t ns = get(cpu, LAPIC_TIMER_START) * divisor(cpu);
    if (in_mode(cpu, LVT_TIMER_DEADLINE))
        return;
    if (!ns) {
        emu_lapic_timer_stop(cpu);
        return;
    }
    if (in_mode(cpu, LVT_TIMER_PERIODIC) && ns < EMU_PERIOD_MIN_NS)
        ns = EMU_PERIOD_MIN_NS;
    lapic->period_ns = ns;
    arm(cpu, now_ns + ns);
}

/* Between counting and deadlines the timer is disarmed. */
void emu_lapic_timer_mode(struct emu_cpu *cpu, uint32_t before)
{
    if (((before ^ get(cpu, LAPIC_LVT_TIMER)) & LVT_TIMER_DEADLINE) == 0)
        return;
    *emu_lapic_reg(cpu->lapic, LAPIC_TIMER_START) = 0;
    cpu->msr.tsc_deadline = 0;
    emu_lapic_timer_stop(cpu);
}

/* What is left of the count goes on at the new pace. */
void emu_lapic_timer_divide(struct emu_cpu *cpu, uint32_t value, uint64_t now_ns)
{
    struct emu_lapic *lapic = cpu->lapic;
    uint64_t count = emu_lapic_timer_now(cpu, now_ns);
    *emu_lapic_reg(lapic, LAPIC_TIMER_DIVIDE) = value;
    if (in_mode(cpu, LVT_TIMER_DEADLINE) || !count)
        return;
    lapic->period_ns = get(cpu, LAPIC_TIMER_START) * divisor(cpu);
    if (in_mode(cpu, LVT_TIMER_PERIODIC) && lapic->period_ns < EMU_PERIOD_MIN_NS)
        lapic->period_ns = EMU_PERIOD_MIN_NS;
    arm(cpu, now_ns + count * divisor(cpu));
}

uint32_t emu_lapic_timer_now(struct emu_cpu *cpu, uint64_t now_ns)
{
    const struct emu_lapic *lapic = cpu->lapic;
    if (!lapic->period_ns || lapic->expires_ns == EMU_NEVER || lapic->expires_ns <= now_ns)
        return 0;
    return (uint32_t)((lapic->expires_ns - now_ns) / divisor(cpu));
}

static void set_deadline(struct emu_cpu *cpu, uint64_t tsc, uint64_t now_ns)
{
    cpu->msr.tsc_deadline = tsc;
    cpu->lapic->period_ns = 0;
    arm(cpu, tsc ? emu_tsc_to_ns(cpu, tsc, now_ns) : EMU_NEVER);
}

/* A snapshot was loaded: its current count says what is left. */
void emu_lapic_timer_resume(struct emu_cpu *cpu, uint64_t now_ns)
{
    uint64_t left = get(cpu, LAPIC_TIMER_NOW);
    if (in_mode(cpu, LVT_TIMER_DEADLINE)) {
        set_deadline(cpu, cpu->msr.tsc_deadline, now_ns);
        return;
    }
    emu_lapic_timer_stop(cpu);
    if (!left)
        return;
    emu_lapic_timer_start(cpu, now_ns);
    if (cpu->lapic->expires_ns != EMU_NEVER)
        arm(cpu, now_ns + left * divisor(cpu));
}

/* IA32_TSC_DEADLINE, or the counter itself, was written; 0 disarms. §10.5.4.1 */
void emu_lapic_set_deadline(struct emu_cpu *cpu, uint64_t tsc)
{
    if (!cpu->lapic || !in_mode(cpu, LVT_TIMER_DEADLINE))
        return;
    emu_vm_lock(cpu->vm);
    set_deadline(cpu, tsc, emu_guest_ns(cpu));
    emu_vm_unlock(cpu->vm);
}

/* Its time has come. Periods that have passed unseen make one interrupt. */
void emu_lapic_timer_expire(struct emu_cpu *cpu, uint64_t now_ns)
{
    struct emu_lapic *lapic = cpu->lapic;
    if (in_mode(cpu, LVT_TIMER_PERIODIC) && lapic->period_ns) {
        uint64_t periods = (now_ns - lapic->expires_ns) / lapic->period_ns + 1;
        lapic->expires_ns += periods * lapic->period_ns;
    } else {
        lapic->expires_ns = EMU_NEVER;
        cpu->msr.tsc_deadline = 0;
    }
    emu_lapic_local(cpu, LAPIC_LVT_TIMER);
}
