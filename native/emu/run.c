/* The run loop: blocks one after the other, and what has to happen between them. */
#include <errno.h>
#include <stdlib.h>

#include "fp.h"

#define SLICE_INSNS 32768       /* the slowest take a microsecond each, or a few */
#define SLICE_TIMED_INSNS 16384 /* while a timer runs by the wall clock, or irqfds are there */
#define SLICE_MIN_INSNS 256
#define TICK_NS UINT64_C(50000000)
#define UNLIMITED UINT64_MAX

/* Must the next instruction run alone? */
static bool must_step(const struct emu_cpu *cpu)
{
    return cpu->alone || cpu->shadow || (cpu->debug & EMU_DEBUG_STEP) || cpu->replay.answers ||
           (cpu->rflags & (FLAG_TF | FLAG_RF)) || (emu_dr(cpu)[7] & DR7_ENABLED);
}

/* The instruction being stepped ends in a fault, or begins anew later: it has not trapped. */
static void forget_traps(struct emu_cpu *cpu)
{
    if (cpu->stepping)
        cpu->trap = cpu->trap_kept;
}

static void leave_step(struct emu_cpu *cpu)
{
    cpu->stepping = false;
    atomic_fetch_and_explicit(&cpu->attention, ~EMU_ATTEND_STEP, memory_order_relaxed);
}

/* Execute the instruction at rip by itself. RF holds off breakpoints on it, and is gone
 * after it (SDM vol. 3B §17.3.1.1). */
static void step(struct emu_cpu *cpu)
{
    cpu->traced = cpu->rflags & FLAG_TF;
    if (!cpu->resuming && !cpu->holds_traps)
        emu_check_code_breakpoints(cpu);
    cpu->trap_kept = cpu->trap;
    cpu->stepping = true;
    cpu->holds_traps = cpu->repeating = false;
    cpu->replay.next = 0;
    emu_attend(cpu, EMU_ATTEND_STEP);
    emu_block_build_step(cpu);
    cpu->rflags &= ~FLAG_RF;
    cpu->left--;
    const struct emu_insn *insn = cpu->step.insn;
    while (insn)
        insn = insn->op(cpu, insn);
    leave_step(cpu);
    cpu->alone = cpu->resuming = false;
    cpu->replay.answers = 0;
    cpu->stepped = true;
    if (cpu->shadow)
        cpu->shadow--;
    if (cpu->traced)
        cpu->trap |= DR6_BS;
}

static void run_blocks(struct emu_cpu *cpu)
{
    struct emu_block *block = emu_block_find(cpu, cpu->gpr[EMU_RIP]);
    if (!block || block->count > cpu->left) {
        step(cpu);
        return;
    }
    cpu->repeating = false;
    const struct emu_insn *insn = emu_block_enter(cpu, block);
    while (insn)
        insn = insn->op(cpu, insn);
}

static int64_t lesser(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Instructions before the next timer has to be seen to. By the wall clock half of those
 * that may fit, then half of the rest, and so on: the emulator executes less than one in a
 * nanosecond. */
static int64_t before_timer(const struct emu_cpu *cpu)
{
    uint64_t next_ns = atomic_load_explicit(&cpu->vm->next_timer_ns, memory_order_relaxed);
    if (EMU_LIKELY(next_ns == EMU_NEVER))
        return cpu->vm->irqfds ? SLICE_TIMED_INSNS : SLICE_INSNS;
    uint64_t now_ns = emu_guest_ns(cpu), left_ns = next_ns > now_ns ? next_ns - now_ns : 0;
    int64_t left = left_ns < SLICE_INSNS ? (int64_t)left_ns : SLICE_INSNS;
    if (cpu->vm->instruction_clock)
        return left;
    left = lesser(left / 2, SLICE_TIMED_INSNS);
    return left > SLICE_MIN_INSNS ? left : SLICE_MIN_INSNS;
}

static void begin_slice(struct emu_cpu *cpu)
{
    int64_t slice = before_timer(cpu);
    if (cpu->vm->cpu_count > 1) {
        int64_t most = lesser(cpu->quantum, cpu->spin.left);
        slice = lesser(slice, most > 0 ? most : 0);
    }
    cpu->slice = cpu->budget < (uint64_t)slice ? (int64_t)cpu->budget : slice;
    cpu->budget -= (uint64_t)cpu->slice;
    cpu->left = cpu->slice;
}

static void end_slice(struct emu_cpu *cpu)
{
    int64_t left = cpu->left; /* below 0 where repetitions counted beyond the slice */
    uint64_t done = (uint64_t)(cpu->slice - left);
    cpu->retired += done;
    cpu->quantum -= (int64_t)done;
    cpu->spin.left -= (int64_t)done;
    if (done && cpu->vm->instruction_clock)
        cpu->vm->elapsed_ns += done;
    cpu->budget = left < 0 && cpu->budget < (uint64_t)-left ? 0 : cpu->budget + (uint64_t)left;
    cpu->slice = cpu->left = 0;
}

uint64_t emu_cpu_retired(const struct emu_cpu *cpu)
{
    return cpu->retired + (uint64_t)(cpu->slice - cpu->left);
}

static void run_timers(struct emu_cpu *cpu)
{
    struct emu_vm *vm = cpu->vm;
    if (EMU_LIKELY(atomic_load_explicit(&vm->next_timer_ns, memory_order_relaxed) == EMU_NEVER))
        return;
    uint64_t now_ns = emu_guest_ns(cpu);
    if (vm->next_timer_ns > now_ns)
        return;
    emu_vm_lock(vm);
    emu_timers_run(vm, now_ns);
    emu_vm_unlock(vm);
}

static int pass_turn(struct emu_cpu *cpu)
{
    emu_fp_leave(cpu);
    int kind = emu_turn_pass(cpu, cpu->yields);
    emu_fp_enter(cpu);
    return kind;
}

/* A slice is used up, or cut short because timers have changed: are the time, the budget
 * or the turn? */
static int slice_over(struct emu_cpu *cpu)
{
    int kind = EMU_STAY;
    end_slice(cpu);
    if (!cpu->budget)
        return PYKVM_AGAIN;
    run_timers(cpu);
    if (EMU_UNLIKELY(cpu->vm->irqfds))
        emu_irqfds_look(cpu->vm, emu_now_ns());
    if (cpu->vm->cpu_count > 1) {
        cpu->yields |= emu_spins(cpu);
        if (cpu->quantum <= 0 || cpu->yields || cpu->gives_way)
            kind = pass_turn(cpu);
    }
    cpu->yields = cpu->gives_way = false;
    begin_slice(cpu);
    if (kind != EMU_STAY)
        return kind;
    uint64_t now = emu_now_ns();
    if (cpu->deadline_ns && now >= cpu->deadline_ns)
        return PYKVM_TIMEOUT;
    return now >= cpu->tick_ns ? PYKVM_AGAIN : EMU_STAY;
}

/* HLT, or waiting to be started. */
static bool idles(const struct emu_cpu *cpu)
{
    return EMU_UNLIKELY(cpu->halted || cpu->mp_state != EMU_MP_RUNNABLE);
}

/* The instruction that began the sleep has ended an interrupt shadow. Whatever wakes it, the time
 * is looked at: some states that the owner can set would wake it for ever. */
static int idle(struct emu_cpu *cpu)
{
    cpu->shadow = 0;
    cpu->resliced = true;
    end_slice(cpu);
    emu_fp_leave(cpu);
    int kind = emu_turn_idle(cpu);
    emu_fp_enter(cpu);
    begin_slice(cpu);
    return kind;
}

/* What the owner has to know between instructions, if it asked for that. */
static int tell_owner(struct emu_cpu *cpu)
{
    int kind = cpu->debug ? emu_debug_due(cpu) : EMU_STAY;
    if (kind == EMU_STAY && cpu->ended_vector >= 0) {
        cpu->exit.address = (uint8_t)cpu->ended_vector;
        cpu->ended_vector = -1;
        kind = PYKVM_IOAPIC_EOI;
    }
    return kind;
}

static bool takes_interrupts(const struct emu_cpu *cpu)
{
    return (cpu->rflags & FLAG_IF) && !cpu->shadow && cpu->interrupt < 0 && !cpu->event.pending;
}

/* The vector to take: the owner's, or the chips'. -1: none, or its priority is too low; the
 * chips say when that changes. */
static int take_vector(struct emu_cpu *cpu)
{
    int vector = cpu->interrupt;
    cpu->interrupt = -1;
    if (vector >= 0 || !atomic_load_explicit(&cpu->irq_wanted, memory_order_relaxed))
        return vector;
    emu_vm_lock(cpu->vm);
    vector = emu_lapic_take(cpu);
    atomic_store(&cpu->irq_wanted, vector >= 0);
    emu_vm_unlock(cpu->vm);
    return vector;
}

/* Interrupts, where the guest can take one now. Priorities: SDM vol. 3A table 6-2. */
static void take_interrupt(struct emu_cpu *cpu)
{
    int vector;
    if (cpu->mp_state != EMU_MP_RUNNABLE)
        return;
    if (cpu->nmi_pending && !cpu->nmi_blocked && !cpu->shadow) {
        cpu->nmi_pending = false;
        emu_deliver(cpu, &(struct emu_event){.vector = EXC_NMI, .type = EMU_EVENT_NMI});
    } else if ((cpu->rflags & FLAG_IF) && !cpu->shadow && (vector = take_vector(cpu)) >= 0) {
        emu_deliver(cpu,
                    &(struct emu_event){.vector = (uint8_t)vector, .type = EMU_EVENT_INTERRUPT});
    }
}

/* Traps of the instruction just completed. */
static void take_trap(struct emu_cpu *cpu)
{
    struct emu_event event = {.vector = EXC_DB, .type = EMU_EVENT_FAULT, .dr6 = cpu->trap};
    cpu->trap = 0;
    emu_deliver(cpu, &event);
}

/* One that was under way when the owner set the state. */
static void take_event(struct emu_cpu *cpu)
{
    struct emu_event event = cpu->event;
    emu_deliver(cpu, &event);
}

/* Whoever waits for that may ask for MXCSR, which is in this thread's own. */
static void park(struct emu_cpu *cpu)
{
    emu_fp_leave(cpu);
    emu_turn_park(cpu);
    emu_fp_enter(cpu);
}

static int attend_flags(struct emu_cpu *cpu)
{
    unsigned why = atomic_load_explicit(&cpu->attention, memory_order_acquire);
    if (!why)
        return EMU_STAY;
    atomic_fetch_and_explicit(&cpu->attention, ~why, memory_order_relaxed);
    cpu->resliced |= why & (EMU_ATTEND_EVENT | EMU_ATTEND_TURN);
    cpu->gives_way |= !!(why & EMU_ATTEND_TURN);
    if (why & EMU_ATTEND_PARK)
        park(cpu);
    if (why & EMU_ATTEND_WRITES)
        emu_vm_take_notes(cpu->vm);
    return (why & EMU_ATTEND_STOP) && atomic_exchange(&cpu->stop, false) ? PYKVM_INTERRUPTED
                                                                         : EMU_STAY;
}

/* A visit is over where KVM does better (it runs CPL 3 on the processor) or where KVM may
 * have an interrupt for the guest. */
static bool visit_over(struct emu_cpu *cpu)
{
    if (cpu->alone || cpu->replay.answers || emu_cpu_retired(cpu) == cpu->visit_start)
        return false;
    cpu->visit_ended =
        cpu->cpl == 3 || (cpu->visit_interrupts && (cpu->rflags & FLAG_IF) && !cpu->shadow);
    return cpu->visit_ended;
}

/* Everything that can happen between two instructions. Returns the kind of the exit that
 * is due, or EMU_STAY. */
static int attend(struct emu_cpu *cpu)
{
    int kind = cpu->leave;
    cpu->leave = EMU_STAY;
    if (kind == EMU_STAY && cpu->replay.writes)
        kind = emu_bus_flush(cpu);
    if (kind == EMU_STAY)
        kind = attend_flags(cpu);
    if (kind != EMU_STAY) {
        cpu->stepped &= kind != PYKVM_HALT; /* no exit for that step, as in KVM */
        return kind;
    }
    if (cpu->lapic && !cpu->alone)
        emu_cpu_take_startup(cpu);
    if (cpu->event.pending)
        take_event(cpu);
    if (!cpu->alone && (kind = tell_owner(cpu)) != EMU_STAY)
        return kind;
    if (cpu->trap && !cpu->alone && !cpu->holds_traps)
        take_trap(cpu);
    if (cpu->completing && !cpu->alone)
        return PYKVM_AGAIN;
    if (EMU_UNLIKELY(cpu->visiting) && visit_over(cpu))
        return PYKVM_AGAIN;
    if ((cpu->left <= 0 || cpu->resliced || cpu->yields) && (kind = slice_over(cpu)) != EMU_STAY)
        return kind;
    cpu->resliced = false;
    if (EMU_UNLIKELY(cpu->wants_window) && !cpu->alone && takes_interrupts(cpu))
        return PYKVM_IRQ_WINDOW;
    if (!cpu->alone)
        take_interrupt(cpu);
    return EMU_STAY;
}

static int loop(struct emu_cpu *cpu)
{
    for (;;) {
        int kind = attend(cpu);
        if (kind != EMU_STAY)
            return kind;
        cpu->stepped = false;
        if (idles(cpu)) {
            kind = idle(cpu);
            if (kind != EMU_STAY)
                return kind;
        } else if (must_step(cpu)) {
            step(cpu);
        } else {
            run_blocks(cpu);
        }
    }
}

static void forget_replay(struct emu_cpu *cpu)
{
    struct emu_replay *replay = &cpu->replay;
    replay->answers = replay->next = replay->writes = replay->written = 0;
    replay->string_used = replay->string_have = 0;
}

/* Enter the loop, again after each longjmp out of an instruction. */
static int run(struct emu_cpu *cpu)
{
    switch (setjmp(cpu->env)) {
    case EMU_JUMP_FAULT:
        forget_traps(cpu);
        leave_step(cpu);
        forget_replay(cpu);
        cpu->alone = cpu->resuming = false;
        cpu->resliced = true; /* no budget bounds a guest that only faults: the time does */
        emu_escalate(cpu);
        break;
    case EMU_JUMP_DEBUG:
        leave_step(cpu);
        forget_replay(cpu);
        cpu->alone = cpu->resuming = false;
        break;
    case EMU_JUMP_RETRY:
        cpu->alone = true;
        break;
    case EMU_JUMP_EXIT:
        forget_traps(cpu);
        leave_step(cpu);
        cpu->replay.writes = 0;
        cpu->alone = cpu->resuming = true;
        return cpu->exit_kind;
    default:
        break;
    }
    return loop(cpu);
}

static int run_turn(struct emu_cpu *cpu)
{
    begin_slice(cpu);
    emu_fp_enter(cpu);
    int kind = run(cpu);
    emu_fp_leave(cpu);
    end_slice(cpu);
    return kind;
}

/* Another thread may read it meanwhile. */
static void count(struct emu_cpu *cpu, int kind)
{
    uint64_t before = atomic_load_explicit(&cpu->counts[kind], memory_order_relaxed);
    atomic_store_explicit(&cpu->counts[kind], before + 1, memory_order_relaxed);
}

/* Only one thread may be inside; a second one gets PYKVM_ERROR with EBUSY, and EBADF
 * whoever comes once the processor is closed. */
static int64_t enter(struct emu_cpu *cpu, uint64_t budget)
{
    bool nobody = false;
    if (!atomic_compare_exchange_strong(&cpu->inside, &nobody, true))
        return (int64_t)(atomic_load(&cpu->closed) ? EBADF : EBUSY) << PYKVM_PORT_SHIFT |
               PYKVM_ERROR;
    if (EMU_UNLIKELY(atomic_load(&cpu->vm->freezers)))
        emu_turn_park(cpu); /* its state is another thread's */
    emu_bus_answer(cpu);
    uint64_t now = emu_now_ns();
    cpu->tick_ns = now + TICK_NS;
    cpu->budget = budget;
    if (EMU_UNLIKELY(cpu->vm->irqfds))
        emu_irqfds_look(cpu->vm, now);
    /* Looked at here too: a guest may exit at every instruction. */
    bool late = cpu->deadline_ns && now >= cpu->deadline_ns && !cpu->completing;
    cpu->completing |= late;
    int kind = emu_turn_take(cpu);
    if (kind == EMU_STAY)
        kind = run_turn(cpu);
    emu_turn_give(cpu);
    if (late) {
        cpu->completing = false;
        kind = kind == PYKVM_AGAIN ? PYKVM_TIMEOUT : kind;
    }
    count(cpu, kind);
    cpu->exit_kind = kind;
    int64_t key = pykvm_key(kind, &cpu->exit);
    struct pykvm_natives *natives = cpu->vm->natives;
    if (natives && pykvm_natives_pending(natives))
        key |= PYKVM_OUTPUT_PENDING;
    atomic_store(&cpu->inside, false);
    emu_turn_left(cpu->vm);
    return key;
}

/* Run until an exit that the owner has to see, or for `budget` instructions (then
 * PYKVM_AGAIN); 0: no limit. Returns the exit's key, as pykvm_vcpu_run does. */
int64_t emu_cpu_run(struct emu_cpu *cpu, uint64_t budget)
{
    return enter(cpu, budget ? budget : UNLIMITED);
}

/* Finish the instruction of the last exit and run nothing more. A stop and the time are the next
 * run's. */
int64_t emu_cpu_complete(struct emu_cpu *cpu)
{
    uint64_t deadline_ns = cpu->deadline_ns;
    bool stopped = false;
    int64_t key;
    cpu->deadline_ns = 0;
    do {
        cpu->completing = true;
        key = enter(cpu, UNLIMITED);
        cpu->completing = false;
        stopped |= (key & PYKVM_KIND_MASK) == PYKVM_INTERRUPTED;
    } while ((key & PYKVM_KIND_MASK) == PYKVM_INTERRUPTED);
    cpu->deadline_ns = deadline_ns;
    if (stopped)
        emu_cpu_stop(cpu);
    return key;
}

/* Bound the runs that follow: CLOCK_MONOTONIC, 0 for no bound. */
void emu_cpu_begin(struct emu_cpu *cpu, uint64_t deadline_ns)
{
    cpu->deadline_ns = deadline_ns;
}

/* The runs are over: a stop that came too late for them is forgotten. */
void emu_cpu_end(struct emu_cpu *cpu)
{
    cpu->deadline_ns = 0;
    atomic_store(&cpu->stop, false);
}

/* Make the run under way, or else the next one, return PYKVM_INTERRUPTED. Any thread. */
void emu_cpu_stop(struct emu_cpu *cpu)
{
    atomic_store(&cpu->stop, true);
    emu_attend(cpu, EMU_ATTEND_STOP);
    emu_turn_wake(cpu);
}

/* An external interrupt for the guest, taken once it can be. -EBUSY: one waits already. Any
 * thread. */
int emu_cpu_interrupt(struct emu_cpu *cpu, uint8_t vector)
{
    emu_vm_freeze(cpu->vm);
    bool waits = cpu->interrupt >= 0;
    if (!waits) {
        cpu->interrupt = vector;
        emu_turn_wake(cpu);
    }
    emu_vm_thaw(cpu->vm);
    return waits ? -EBUSY : 0;
}

void emu_cpu_nmi(struct emu_cpu *cpu)
{
    atomic_store(&cpu->nmi_pending, true);
    emu_turn_wake(cpu);
}

/* How many exits of a kind there were, those that native devices answered among them. */
uint64_t emu_cpu_count(const struct emu_cpu *cpu, int kind)
{
    return atomic_load_explicit(&cpu->counts[kind], memory_order_relaxed);
}

uint64_t emu_cpu_native_count(const struct emu_cpu *cpu)
{
    return cpu->native_count;
}

/* Would an interrupt that is injected now be taken at once? Any thread. */
bool emu_cpu_ready_for_interrupt(struct emu_cpu *cpu)
{
    emu_vm_freeze(cpu->vm);
    bool ready = takes_interrupts(cpu);
    emu_vm_thaw(cpu->vm);
    return ready;
}

/* Leave with PYKVM_IRQ_WINDOW as soon as that is so. Any thread. */
void emu_cpu_want_window(struct emu_cpu *cpu, bool on)
{
    emu_vm_freeze(cpu->vm);
    cpu->wants_window = on;
    emu_vm_thaw(cpu->vm);
}
