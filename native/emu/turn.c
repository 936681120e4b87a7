/* Whose turn it is. One processor of a machine executes at a time, each in the thread that
 * entered it: memory, TLBs and decoded code need no locks, and LOCK is nothing special.
 *
 * By the wall clock the turn goes round among those that wait for it, and leaving to the
 * owner gives it up. By the instruction clock it is kept until its instructions are used up
 * or the processor has nothing to do, so that runs repeat exactly; the owner's time does not
 * count. vm->lock guards all of this. */
#define _POSIX_C_SOURCE 200809L
#include "chips.h"

#include <time.h>

#define QUANTUM 400000
#define QUANTUM_SPUN 50000 /* while another one spins in a loop of PAUSEs */
#define JUMPS_FREE 10000
#define JUMP_PAUSE_NS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

void emu_vm_lock(struct emu_vm *vm)
{
    pthread_mutex_lock(&vm->lock);
}

void emu_vm_unlock(struct emu_vm *vm)
{
    pthread_mutex_unlock(&vm->lock);
}

/* Executes, or may begin to at any moment. */
static bool executes(const struct emu_cpu *cpu)
{
    return atomic_load(&cpu->inside) && !cpu->parked && !cpu->sleeps_until_ns;
}

static struct emu_cpu *first_executing(const struct emu_vm *vm)
{
    struct emu_cpu *cpu = vm->cpus;
    while (cpu && !executes(cpu))
        cpu = cpu->next;
    return cpu;
}

static void bring_to_rest(struct emu_vm *vm)
{
    atomic_fetch_add(&vm->freezers, 1);
    for (struct emu_cpu *cpu = vm->cpus; cpu; cpu = cpu->next)
        atomic_fetch_or(&cpu->attention, EMU_ATTEND_PARK);
    while (first_executing(vm))
        pthread_cond_wait(&vm->frozen, &vm->lock);
}

/* Wait until every processor stands still between two instructions, or is with its owner, and
 * keep it so. Any thread that is in none of them. vm->lock is held from here to the thaw: within it
 * a second freeze finds all at rest, or on their way to emu_turn_park, and must not wait for them,
 * as that would give back only its own hold of the lock. */
void emu_vm_freeze(struct emu_vm *vm)
{
    emu_vm_lock(vm);
    if (!vm->freeze_depth)
        bring_to_rest(vm);
    vm->freeze_depth++;
}

void emu_vm_thaw(struct emu_vm *vm)
{
    if (--vm->freeze_depth == 0) {
        atomic_fetch_sub(&vm->freezers, 1);
        pthread_cond_broadcast(&vm->frozen);
    }
    emu_vm_unlock(vm);
}

/* A processor has left its owner's call, or sleeps: who wants to freeze looks again. */
void emu_turn_left(struct emu_vm *vm)
{
    if (EMU_LIKELY(!atomic_load(&vm->freezers)))
        return;
    emu_vm_lock(vm);
    pthread_cond_broadcast(&vm->frozen);
    emu_vm_unlock(vm);
}

/* Between two instructions: stand still while somebody wants that. */
void emu_turn_park(struct emu_cpu *cpu)
{
    struct emu_vm *vm = cpu->vm;
    emu_vm_lock(vm);
    cpu->parked = true;
    pthread_cond_broadcast(&vm->frozen);
    while (atomic_load(&vm->freezers))
        pthread_cond_wait(&vm->frozen, &vm->lock);
    cpu->parked = false;
    emu_vm_unlock(vm);
}

int emu_turn_init(struct emu_cpu *cpu)
{
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes))
        return -1;
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    int error = pthread_cond_init(&cpu->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    cpu->quantum = QUANTUM;
    emu_spin_begin(cpu);
    return error;
}

static bool by_instructions(const struct emu_cpu *cpu)
{
    return cpu->vm->instruction_clock;
}

/* There is something for it to execute or to take. */
static bool awake(const struct emu_cpu *cpu)
{
    if (atomic_load(&cpu->init_wanted))
        return true;
    if (cpu->mp_state == EMU_MP_INIT_RECEIVED)
        return atomic_load(&cpu->startup) >= 0;
    if (cpu->mp_state != EMU_MP_RUNNABLE)
        return false;
    bool interrupt = atomic_load(&cpu->irq_wanted) || cpu->interrupt >= 0;
    return !cpu->halted || cpu->event.pending || (cpu->nmi_pending && !cpu->nmi_blocked) ||
           (interrupt && (cpu->rflags & FLAG_IF));
}

static bool fits(const struct emu_cpu *cpu)
{
    return by_instructions(cpu) ? awake(cpu) : cpu->wants_turn;
}

/* The next one in order of numbers, round after round, that can use the turn; or NULL. */
static struct emu_cpu *next_after(const struct emu_vm *vm, const struct emu_cpu *cpu)
{
    struct emu_cpu *above = NULL, *first = NULL;
    for (struct emu_cpu *each = vm->cpus; each; each = each->next) {
        if (each == cpu || !fits(each))
            continue;
        if (!first || each->index < first->index)
            first = each;
        if (cpu && each->index > cpu->index && (!above || each->index < above->index))
            above = each;
    }
    return above ? above : first;
}

/* Wake one that sleeps. */
static void nudge(struct emu_cpu *cpu)
{
    if (cpu->polls)
        emu_irqfds_wake(cpu);
    else
        pthread_cond_signal(&cpu->changed);
}

static void hand(struct emu_vm *vm, struct emu_cpu *next, int64_t quantum)
{
    vm->holder = next;
    if (!next)
        return;
    next->quantum = quantum;
    emu_spin_begin(next);
    nudge(next);
}

/* Nobody has the turn: may this one take it? */
static bool may_claim(const struct emu_cpu *cpu)
{
    if (!by_instructions(cpu))
        return true;
    const struct emu_cpu *first = next_after(cpu->vm, NULL);
    return first == cpu;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The host's time at some time of the guest's, which may be far beyond all that the host counts. */
static uint64_t host_ns(const struct emu_vm *vm, uint64_t guest_ns, uint64_t now_ns)
{
    uint64_t guest_now_ns = now_ns - vm->start_ns;
    uint64_t left_ns = guest_ns > guest_now_ns ? guest_ns - guest_now_ns : 0;
    return left_ns < UINT64_MAX - now_ns ? now_ns + left_ns : UINT64_MAX;
}

/* Is it time to leave to the owner? */
static int overdue(struct emu_cpu *cpu, uint64_t now_ns)
{
    if (atomic_load(&cpu->stop) && atomic_exchange(&cpu->stop, false))
        return PYKVM_INTERRUPTED;
    if (cpu->deadline_ns && now_ns >= cpu->deadline_ns)
        return PYKVM_TIMEOUT;
    return now_ns >= cpu->tick_ns ? PYKVM_AGAIN : EMU_STAY;
}

/* Sleep until something changes, the owner has to be asked, or `until_ns` of its clock. */
static void sleep_until(struct emu_cpu *cpu, uint64_t until_ns)
{
    until_ns = sooner(until_ns, cpu->tick_ns);
    if (cpu->deadline_ns)
        until_ns = sooner(until_ns, cpu->deadline_ns);
    struct timespec until = {(time_t)(until_ns / NS_PER_S), (long)(until_ns % NS_PER_S)};
    cpu->sleeps_until_ns = until_ns;
    if (atomic_load(&cpu->vm->freezers))
        pthread_cond_broadcast(&cpu->vm->frozen);
    if (EMU_UNLIKELY(cpu->vm->irqfds))
        emu_irqfds_sleep(cpu, until_ns);
    else
        pthread_cond_timedwait(&cpu->changed, &cpu->vm->lock, &until);
    cpu->sleeps_until_ns = 0;
}

static int wait_for_turn(struct emu_cpu *cpu)
{
    struct emu_vm *vm = cpu->vm;
    int kind = EMU_STAY;
    cpu->wants_turn = true;
    while (vm->holder != cpu) {
        if (!vm->holder && may_claim(cpu)) {
            hand(vm, cpu, QUANTUM);
            break;
        }
        kind = overdue(cpu, emu_now_ns());
        if (kind != EMU_STAY)
            break;
        sleep_until(cpu, UINT64_MAX);
    }
    cpu->wants_turn = false;
    return kind;
}

/* On entering. EMU_STAY once it is this one's turn, or the exit that is due before. */
int emu_turn_take(struct emu_cpu *cpu)
{
    if (cpu->vm->cpu_count == 1)
        return EMU_STAY;
    emu_vm_lock(cpu->vm);
    int kind = wait_for_turn(cpu);
    emu_vm_unlock(cpu->vm);
    return kind;
}

/* On leaving to the owner. */
void emu_turn_give(struct emu_cpu *cpu)
{
    struct emu_vm *vm = cpu->vm;
    if (vm->cpu_count == 1 || by_instructions(cpu))
        return;
    emu_vm_lock(vm);
    if (vm->holder == cpu)
        hand(vm, next_after(vm, cpu), QUANTUM);
    emu_vm_unlock(vm);
}

/* Between slices: let another one run, where one wants to, and wait for the turn to come
 * round. `spinning`: this one waits for something that another has to do. */
int emu_turn_pass(struct emu_cpu *cpu, bool spinning)
{
    struct emu_vm *vm = cpu->vm;
    int kind = EMU_STAY;
    emu_vm_lock(vm);
    struct emu_cpu *next = next_after(vm, cpu);
    cpu->quantum = QUANTUM;
    emu_spin_begin(cpu);
    if (next) {
        hand(vm, next, spinning ? QUANTUM_SPUN : QUANTUM);
        kind = wait_for_turn(cpu);
    }
    emu_vm_unlock(vm);
    return kind;
}

/* The wall clock: sleep, and run timers that are due meanwhile. */
static int idle_by_wall(struct emu_cpu *cpu)
{
    struct emu_vm *vm = cpu->vm;
    if (vm->holder == cpu)
        hand(vm, next_after(vm, cpu), QUANTUM);
    while (!awake(cpu) && !atomic_load(&cpu->attention)) {
        uint64_t now_ns = emu_now_ns(), next_ns = atomic_load(&vm->next_timer_ns);
        int kind = overdue(cpu, now_ns);
        if (kind != EMU_STAY)
            return kind;
        if (next_ns <= now_ns - vm->start_ns)
            emu_timers_run(vm, now_ns - vm->start_ns);
        else
            sleep_until(cpu, host_ns(vm, next_ns, now_ns));
    }
    if (vm->cpu_count == 1)
        return EMU_STAY;
    if (vm->holder)
        emu_attend(vm->holder, EMU_ATTEND_TURN);
    return wait_for_turn(cpu);
}

/* The instruction clock: the turn goes on, and where nobody has anything to do, time does;
 * at leisure, if that wakes nobody in the long run: a masked timer that repeats. */
static int idle_by_instructions(struct emu_cpu *cpu)
{
    struct emu_vm *vm = cpu->vm;
    for (unsigned jumps = 0; !awake(cpu); jumps++) {
        if (jumps > JUMPS_FREE)
            sleep_until(cpu, emu_now_ns() + JUMP_PAUSE_NS);
        struct emu_cpu *next = next_after(vm, cpu);
        uint64_t next_ns = atomic_load(&vm->next_timer_ns);
        int kind = overdue(cpu, emu_now_ns());
        if (kind != EMU_STAY)
            return kind;
        if (next || next_ns == EMU_NEVER) {
            hand(vm, next, QUANTUM);
            return wait_for_turn(cpu);
        }
        if (next_ns > vm->elapsed_ns)
            vm->elapsed_ns = next_ns;
        emu_timers_run(vm, vm->elapsed_ns);
    }
    return EMU_STAY;
}

/* HLT, or not yet started: until there is something to do. Between slices. */
int emu_turn_idle(struct emu_cpu *cpu)
{
    emu_vm_lock(cpu->vm);
    int kind = by_instructions(cpu) ? idle_by_instructions(cpu) : idle_by_wall(cpu);
    emu_vm_unlock(cpu->vm);
    return kind;
}

/* A timer comes sooner than all others did: those that run look again at how far they may,
 * those that sleep at how long. */
void emu_turn_retime(struct emu_vm *vm, uint64_t next_ns)
{
    uint64_t until_ns = host_ns(vm, next_ns, emu_now_ns());
    for (struct emu_cpu *cpu = vm->cpus; cpu; cpu = cpu->next) {
        emu_attend(cpu, EMU_ATTEND_EVENT);
        if (cpu->sleeps_until_ns > until_ns)
            nudge(cpu);
    }
}

/* Have a processor look at what has just changed for it, and wake it. vm->lock is held. */
void emu_turn_rouse(struct emu_cpu *cpu)
{
    emu_attend(cpu, EMU_ATTEND_EVENT);
    nudge(cpu);
}

void emu_turn_wake(struct emu_cpu *cpu)
{
    emu_vm_lock(cpu->vm);
    emu_turn_rouse(cpu);
    emu_vm_unlock(cpu->vm);
}

void emu_want_interrupt(struct emu_cpu *cpu)
{
    atomic_store(&cpu->irq_wanted, true);
    emu_turn_rouse(cpu);
}

void emu_want_nmi(struct emu_cpu *cpu)
{
    atomic_store(&cpu->nmi_pending, true);
    emu_turn_rouse(cpu);
}

void emu_want_init(struct emu_cpu *cpu)
{
    atomic_store(&cpu->startup, -1);
    atomic_store(&cpu->init_wanted, true);
    emu_turn_rouse(cpu);
}

void emu_want_startup(struct emu_cpu *cpu, uint8_t vector)
{
    atomic_store(&cpu->startup, vector);
    emu_turn_rouse(cpu);
}
