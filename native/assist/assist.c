/* What KVM refuses (KVM_EXIT_INTERNAL_ERROR, KVM_INTERNAL_ERROR_EMULATION) is executed in
 * the emulator, on the same memory, and what follows it as long as that pays.
 *
 * How long: nobody knows when the next refusal would come. A processor that stays as long
 * as its move took costs at most twice what the best choice would have cost. Where the next
 * refusal comes sooner than that again, patience is doubled; where KVM went on for long, it
 * is halved. So a loop of refused instructions soon runs in the emulator altogether.
 *
 * Where KVM has an instruction emulator of its own for CPL 0 (host kind 3: 1.5 million
 * instructions a second), this one is faster whatever the guest does there: it keeps the
 * processor until that goes to CPL 3, or something comes that KVM has to see. There a guest
 * that computes for a whole tick without an exit is taken over, too. */
#define _GNU_SOURCE
#include "assist.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PYKVM_ASSIST_FREE, PYKVM_ASSIST_RUNS, PYKVM_ASSIST_SYNCS, PYKVM_ASSIST_CLOSED };

#define EMULATION 1 /* KVM_INTERNAL_ERROR_EMULATION */
#define EVEX 0x62   /* in 64-bit mode */
#define TICK_NS UINT64_C(50000000)
#define FIRST_MOVE_NS UINT64_C(40000)
#define PATIENCE_MAX UINT64_C(1024)
#define WAIT_NS 50000L
#define INSNS_PER_US UINT64_C(300) /* of the emulator, roughly */

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static int64_t failure(int error)
{
    return (int64_t)error << PYKVM_PORT_SHIFT | PYKVM_ERROR;
}

/* In zeroed memory. `xsave_bytes`: what KVM_GET_XSAVE2 fills, 0 where it is not there. */
void pykvm_assist_init(struct pykvm_assist *assist, struct pykvm_vcpu *vcpu, struct pykvm_vm *kvm,
                       uint32_t xsave_bytes, bool interrupts, bool one_only, bool stays)
{
    assist->vcpu = vcpu;
    assist->kvm = kvm;
    assist->xsave_bytes = xsave_bytes;
    assist->interrupts = interrupts;
    assist->one_only = one_only;
    assist->stays = stays;
    assist->enabled = xsave_bytes <= PYKVM_XSAVE_BYTES_MAX;
    assist->move_ns = FIRST_MOVE_NS;
    assist->patience = 1;
}

static void lock(struct pykvm_assist *assist)
{
    while (atomic_flag_test_and_set_explicit(&assist->guard, memory_order_acquire))
        ;
}

static void unlock(struct pykvm_assist *assist)
{
    atomic_flag_clear_explicit(&assist->guard, memory_order_release);
}

/* Let others know of the processor, or not. */
static struct emu_cpu *swap(struct pykvm_assist *assist, struct emu_cpu *cpu)
{
    lock(assist);
    struct emu_cpu *before = assist->cpu;
    assist->cpu = cpu;
    unlock(assist);
    return before;
}

static void drop(struct pykvm_assist *assist)
{
    struct emu_cpu *cpu = swap(assist, NULL);
    if (cpu)
        emu_cpu_destroy(cpu);
    if (assist->vm)
        emu_vm_destroy(assist->vm);
    free(assist->transfer);
    assist->vm = NULL;
    assist->transfer = NULL;
}

static int map_all(struct pykvm_assist *assist)
{
    struct kvm_userspace_memory_region slots[PYKVM_SLOTS_KEPT];
    uint32_t count = pykvm_slots_get(assist->kvm, slots, &assist->layout);
    for (uint32_t i = 0; i < assist->mapped_count; i++)
        emu_vm_unmap(assist->vm, assist->mapped_gpa[i]);
    assist->mapped_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct kvm_userspace_memory_region *slot = &slots[i];
        int error = emu_vm_map(assist->vm, slot->guest_phys_addr, slot->memory_size,
                               (void *)(uintptr_t)slot->userspace_addr,
                               slot->flags & KVM_MEM_READONLY ? EMU_MAP_READONLY : 0);
        if (error)
            return error;
        assist->mapped_gpa[assist->mapped_count++] = slot->guest_phys_addr;
    }
    return 0;
}

/* An emulated machine of the same memory and devices, with one processor. */
static int make(struct pykvm_assist *assist)
{
    assist->mapped_count = 0;
    assist->transfer = aligned_alloc(_Alignof(struct pykvm_transfer), sizeof(*assist->transfer));
    assist->vm = emu_vm_create(assist->vcpu->natives);
    if (!assist->vm || !assist->transfer)
        return -ENOMEM;
    memset(assist->transfer, 0, sizeof(*assist->transfer));
    assist->transfer->xsave_bytes = assist->xsave_bytes;
    int error = map_all(assist);
    if (error)
        return error;
    swap(assist, emu_cpu_create(assist->vm, 0));
    return assist->cpu ? pykvm_transfer_cpuid(assist->transfer, assist->vcpu->file.fd, assist->vm,
                                              assist->cpu)
                       : -ENOMEM;
}

static int bring(struct pykvm_assist *assist, bool refused)
{
    int error = 0;
    assist->writes = atomic_load(&assist->kvm->writes); /* the visit begins without code */
    if (assist->layout != assist->kvm->layout)
        error = map_all(assist);
    if (!error)
        error = pykvm_transfer_in(assist->transfer, assist->vcpu->file.fd, assist->cpu, refused);
    if (error)
        return error;
    emu_cpu_end(assist->cpu); /* a stop that KVM saw */
    emu_cpu_begin(assist->cpu, assist->vcpu->deadline_ns);
    emu_cpu_begin_visit(assist->cpu, assist->interrupts);
    return 0;
}

/* Has KVM refused AVX-512, on a processor that has it? The emulator does not know it either. */
static bool beyond(const struct pykvm_assist *assist)
{
    const struct kvm_run *run = assist->vcpu->run;
    return assist->transfer->evex && assist->transfer->sregs.cs.l &&
           run->emulation_failure.insn_size &&
           (run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) &&
           run->emulation_failure.insn_bytes[0] == EVEX;
}

/* Take the processor in: KVM has refused an instruction, or is slow. */
static int move_in(struct pykvm_assist *assist, bool refused)
{
    atomic_store(&assist->inside, true); /* before it looks at the layout: pykvm_assist_follow */
    int error = assist->cpu ? 0 : make(assist);
    uint64_t begun_ns = now_ns();
    if (begun_ns - assist->left_ns < assist->stay_ns)
        assist->patience += assist->patience < PATIENCE_MAX ? assist->patience : 0;
    else if (assist->patience > 1)
        assist->patience /= 2;
    error = error ? error : bring(assist, refused);
    bool is_beyond = !error && refused && beyond(assist);
    if (error || is_beyond)
        atomic_store(&assist->inside, false);
    if (is_beyond)
        return -EOPNOTSUPP;
    if (error) {
        drop(assist);
        return error;
    }
    assist->synced = assist->changed = false;
    assist->entries++;
    uint64_t took_ns = 2 * (now_ns() - begun_ns); /* there and back */
    assist->move_ns = (7 * assist->move_ns + took_ns) / 8;
    assist->stay_ns = assist->move_ns * assist->patience;
    return 0;
}

/* Let KVM's copy be what the processor is. Returns 0 or -errno. */
static int sync_copy(struct pykvm_assist *assist)
{
    if (!assist->inside || assist->synced)
        return 0;
    assist->synced = true;
    return pykvm_transfer_out(assist->transfer, assist->vcpu->file.fd, assist->cpu);
}

static int move_out(struct pykvm_assist *assist)
{
    int error = sync_copy(assist);
    assist->inside = false;
    assist->left_ns = now_ns();
    pykvm_forget_tick(); /* it is no sign that KVM is slow */
    return error;
}

/* The last exit's answer, and what was changed since, go to the emulator. */
static int resume(struct pykvm_assist *assist)
{
    struct pykvm_exit *exit = emu_cpu_exit(assist->cpu);
    exit->value = assist->vcpu->exit.value;
    exit->error = assist->vcpu->exit.error;
    uint64_t writes = atomic_load(&assist->kvm->writes);
    if (assist->writes != writes)
        emu_vm_note_write(assist->vm, 0, UINT64_MAX);
    assist->writes = writes;
    int error = assist->layout != assist->kvm->layout ? map_all(assist) : 0;
    if (!error && assist->changed)
        error = pykvm_transfer_in(assist->transfer, assist->vcpu->file.fd, assist->cpu, false);
    assist->synced = assist->changed = false;
    return error;
}

static int64_t emulate(struct pykvm_assist *assist)
{
    uint64_t budget = assist->stays ? 0 : assist->stay_ns * INSNS_PER_US / 1000 + 1;
    if (assist->one_only || !assist->enabled)
        budget = 1;
    uint64_t before = emu_cpu_retired(assist->cpu);
    int64_t key = emu_cpu_run(assist->cpu, budget);
    assist->instructions += emu_cpu_retired(assist->cpu) - before;
    assist->vcpu->exit = *emu_cpu_exit(assist->cpu);
    return key;
}

/* Are there signals for Python to see, or is the time over? KVM looks at its own tick. */
static int tick(const struct pykvm_assist *assist, uint64_t entered_ns)
{
    uint64_t now = now_ns();
    if (assist->vcpu->deadline_ns && now >= assist->vcpu->deadline_ns)
        return PYKVM_TIMEOUT;
    return now - entered_ns >= TICK_NS ? PYKVM_AGAIN : PYKVM_KINDS;
}

/* Has KVM executed a whole tick long what the emulator executes faster? Not if the visit
 * would be over at once. */
static bool crawls(struct pykvm_assist *assist)
{
    uint64_t exits = 0;
    for (int kind = 0; kind < PYKVM_KINDS; kind++)
        exits += assist->vcpu->counts[kind];
    bool computes = exits == assist->exits;
    assist->exits = exits;
    return computes && assist->stays && !assist->one_only &&
           pykvm_transfer_privileged(assist->vcpu->file.fd, assist->interrupts);
}

/* KVM came back with this key: is it better to go on in the emulator? */
static bool wanted(struct pykvm_assist *assist, int64_t key)
{
    int kind = key & PYKVM_KIND_MASK;
    if (!assist->enabled || assist->kvm->overflowed)
        return false;
    if (kind == PYKVM_AGAIN)
        return crawls(assist);
    return kind == PYKVM_INTERNAL_ERROR && assist->vcpu->exit.address == EMULATION;
}

static int64_t serve(struct pykvm_assist *assist)
{
    uint64_t entered_ns = 0;
    for (;;) {
        int64_t key;
        if (!assist->inside) {
            key = pykvm_vcpu_run(assist->vcpu);
            bool refused = (key & PYKVM_KIND_MASK) == PYKVM_INTERNAL_ERROR;
            if (!wanted(assist, key) || move_in(assist, refused))
                return key;
            if (refused)
                assist->vcpu->counts[PYKVM_INTERNAL_ERROR]--;
        }
        if (!entered_ns)
            entered_ns = now_ns();
        key = emulate(assist);
        int kind = key & PYKVM_KIND_MASK;
        if (kind != PYKVM_AGAIN && kind != PYKVM_INTERRUPTED && kind != PYKVM_TIMEOUT)
            return key;
        if (kind == PYKVM_AGAIN && assist->stays && !assist->one_only && assist->enabled &&
            !emu_cpu_visit_ended(assist->cpu))
            return key;
        int error = move_out(assist);
        if (error)
            return failure(-error);
        if (kind == PYKVM_INTERRUPTED) {
            pykvm_set_immediate_exit(assist->vcpu, false);
            atomic_store(&assist->vcpu->stop, false);
        }
        if (kind == PYKVM_AGAIN)
            kind = tick(assist, entered_ns);
        if (kind != PYKVM_KINDS)
            return pykvm_key(kind, &assist->vcpu->exit) | (key & PYKVM_OUTPUT_PENDING);
    }
}

static void sleep_ns(long ns)
{
    nanosleep(&(struct timespec){.tv_nsec = ns}, NULL);
}

/* Be the only one to use it, for that; who syncs is soon done. False, with an error's key, while
 * another thread runs it, and once it is closed. */
static bool take(struct pykvm_assist *assist, int what_for, int64_t *key)
{
    int now = PYKVM_ASSIST_FREE;
    while (!atomic_compare_exchange_strong(&assist->use, &now, what_for)) {
        if (now != PYKVM_ASSIST_SYNCS) {
            *key = failure(now == PYKVM_ASSIST_CLOSED ? EBADF : EBUSY);
            return false;
        }
        sleep_ns(WAIT_NS);
        now = PYKVM_ASSIST_FREE;
    }
    return true;
}

/* The same by any thread, as soon as no other one is inside; -EBADF once it is closed. What
 * `changes` the copy is taken over from there. */
int pykvm_assist_sync(struct pykvm_assist *assist, bool changes)
{
    int64_t key;
    int error = 0;
    atomic_fetch_add(&assist->waiting, 1);
    while (!take(assist, PYKVM_ASSIST_SYNCS, &key) && !error)
        if (key >> PYKVM_PORT_SHIFT == EBADF)
            error = -EBADF;
        else
            sleep_ns(WAIT_NS);
    atomic_fetch_sub(&assist->waiting, 1);
    if (error)
        return error;
    error = sync_copy(assist);
    assist->changed |= changes;
    atomic_store(&assist->use, PYKVM_ASSIST_FREE);
    return error;
}

/* Slots have changed: the emulator uses none of the old ones any more once this returns. Any
 * thread. */
void pykvm_assist_follow(struct pykvm_assist *assist)
{
    if (atomic_load(&assist->inside))
        pykvm_assist_sync(assist, false);
}

/* Whether refused instructions are executed in the emulator; if not, it executes no more than the
 * one at hand once this returns. Any thread. */
void pykvm_assist_enable(struct pykvm_assist *assist, bool on)
{
    atomic_store(&assist->enabled, on);
    if (!on)
        pykvm_assist_follow(assist);
}

/* As pykvm_vcpu_run. Exits of the emulator are put where those of the vCPU are. */
int64_t pykvm_assist_run(struct pykvm_assist *assist)
{
    int64_t key;
    if (atomic_load_explicit(&assist->waiting, memory_order_relaxed))
        sleep_ns(2 * WAIT_NS);
    if (!take(assist, PYKVM_ASSIST_RUNS, &key))
        return key;
    int error = assist->inside ? resume(assist) : 0;
    key = error ? failure(-error) : serve(assist);
    atomic_store(&assist->use, PYKVM_ASSIST_FREE);
    return key;
}

/* As pykvm_vcpu_complete. */
int64_t pykvm_assist_complete(struct pykvm_assist *assist)
{
    int64_t key;
    if (!take(assist, PYKVM_ASSIST_RUNS, &key))
        return key;
    if (assist->inside) {
        int error = resume(assist);
        key = error ? failure(-error) : emu_cpu_complete(assist->cpu);
        assist->vcpu->exit = *emu_cpu_exit(assist->cpu);
    } else {
        key = pykvm_vcpu_complete(assist->vcpu);
    }
    atomic_store(&assist->use, PYKVM_ASSIST_FREE);
    return key;
}

/* As pykvm_vcpu_abandon. */
void pykvm_assist_abandon(struct pykvm_assist *assist)
{
    int64_t key;
    if (!take(assist, PYKVM_ASSIST_RUNS, &key))
        return;
    if (assist->inside)
        emu_cpu_abandon(assist->cpu);
    else
        pykvm_vcpu_abandon(assist->vcpu);
    atomic_store(&assist->use, PYKVM_ASSIST_FREE);
}

/* Shut the vCPU and its emulator for ever. False while a thread is inside. */
bool pykvm_assist_close(struct pykvm_assist *assist)
{
    int free = PYKVM_ASSIST_FREE;
    pykvm_file_shut(&assist->vcpu->file); /* first: by that a run that comes now knows why */
    if (atomic_compare_exchange_strong(&assist->use, &free, PYKVM_ASSIST_CLOSED)) {
        drop(assist);
        assist->inside = false;
    } else if (free != PYKVM_ASSIST_CLOSED) {
        return false;
    }
    return pykvm_vcpu_close(assist->vcpu);
}

/* The bound of the runs that follow is the vCPU's. */
void pykvm_assist_begin(struct pykvm_assist *assist)
{
    lock(assist);
    if (assist->cpu)
        emu_cpu_begin(assist->cpu, assist->vcpu->deadline_ns);
    unlock(assist);
}

void pykvm_assist_end(struct pykvm_assist *assist)
{
    lock(assist);
    if (assist->cpu)
        emu_cpu_end(assist->cpu);
    unlock(assist);
}

void pykvm_assist_stop(struct pykvm_assist *assist)
{
    lock(assist);
    if (assist->cpu)
        emu_cpu_stop(assist->cpu);
    unlock(assist);
}

/* Exits that came from the emulator, by kind; its own ticks are none. */
uint64_t pykvm_assist_count(struct pykvm_assist *assist, int kind)
{
    lock(assist);
    uint64_t count = assist->cpu && kind != PYKVM_AGAIN ? emu_cpu_count(assist->cpu, kind) : 0;
    unlock(assist);
    return count;
}

uint64_t pykvm_assist_native_count(struct pykvm_assist *assist)
{
    lock(assist);
    uint64_t count = assist->cpu ? emu_cpu_native_count(assist->cpu) : 0;
    unlock(assist);
    return count;
}
