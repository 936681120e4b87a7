/* KVM_RUN, bounded in time and stoppable, and the translation of its exits.
 *
 * Nothing here blocks for ever: while a vCPU is between begin and end a timer
 * signals its thread every TICK_NS. The handler sets immediate_exit, so that a
 * signal that arrives just before KVM_RUN is not lost (KVM api.rst, "immediate_exit");
 * one that arrives while the thread serves an exit is noted for the next entry.
 *
 * Only KVM_RUN completes the instruction of an exit (api.rst §5, KVM_EXIT_IO), and writes then
 * what it held back, rip among it: pykvm_vcpu_abandon comes before a new state. Registers that are
 * set at a read would make KVM forget where its answer goes: pykvm_vcpu_hold. */
#define _GNU_SOURCE
#include "vcpu.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOBODY 0
#define CLOSED (-1) /* in place of a thread's id: nobody may enter any more */
#define TICK_NS 50000000ULL
#define NS_PER_S 1000000000ULL
#define PARTS_MAX 1024 /* exits of one instruction */

/* glibc has no public name for the field that SIGEV_THREAD_ID reads. */
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* Read by a signal handler on every vCPU exit's path: the plainest form of thread-local. */
#define THREAD_LOCAL _Thread_local __attribute__((tls_model("initial-exec")))

static THREAD_LOCAL struct pykvm_vcpu *volatile entered;
static THREAD_LOCAL volatile sig_atomic_t missed; /* a tick came while none was entered */
static THREAD_LOCAL pid_t own_tid;

static int kick_signal(void)
{
    return SIGRTMIN + 6;
}

static void on_kick(int signal)
{
    (void)signal;
    struct pykvm_vcpu *vcpu = entered;
    if (vcpu)
        pykvm_set_immediate_exit(vcpu, true);
    else
        missed = 1;
}

static void forget_tid(void)
{
    own_tid = 0;
}

/* Install the signal handler. Returns 0 or -errno; call it once per process.
 * SA_RESTART is for what devices do between exits: KVM_RUN returns all the same. */
int pykvm_signal_init(void)
{
    struct sigaction action = {.sa_handler = on_kick, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    int error = pthread_atfork(NULL, NULL, forget_tid);
    if (error)
        return -error;
    return sigaction(kick_signal(), &action, NULL) ? -errno : 0;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void disarm(struct pykvm_vcpu *vcpu)
{
    if (vcpu->timer_armed)
        timer_delete(vcpu->timer);
    vcpu->timer_armed = false;
    vcpu->deadline_ns = 0;
}

/* Shut the vCPU for ever and give back what it holds. False while a thread is inside. */
bool pykvm_vcpu_close(struct pykvm_vcpu *vcpu)
{
    int nobody = NOBODY;
    if (!pykvm_file_shut(&vcpu->file))
        return false;
    if (!atomic_compare_exchange_strong(&vcpu->tid, &nobody, CLOSED))
        return nobody == CLOSED;
    disarm(vcpu);
    mmap(vcpu->run, vcpu->run_bytes, PROT_READ | PROT_WRITE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    return pykvm_file_close(&vcpu->file);
}

/* Nobody knows the vCPU any more; one that was never made is all zeros. */
void pykvm_vcpu_free(struct pykvm_vcpu *vcpu)
{
    if (!vcpu->run)
        return;
    pykvm_vcpu_close(vcpu);
    munmap(vcpu->run, vcpu->run_bytes);
}

/* The calling thread's id. */
static pid_t thread_id(void)
{
    if (!own_tid)
        own_tid = (pid_t)syscall(SYS_gettid);
    return own_tid;
}

/* Bound the runs that follow, by this thread: start the tick, note the deadline.
 * deadline_ns is CLOCK_MONOTONIC, 0 for none. Returns 0 or -errno. */
int pykvm_vcpu_begin(struct pykvm_vcpu *vcpu, uint64_t deadline_ns)
{
    struct sigevent event = {
        .sigev_notify = SIGEV_THREAD_ID,
        .sigev_signo = kick_signal(),
    };
    vcpu->timer_tid = thread_id();
    event.sigev_notify_thread_id = vcpu->timer_tid;
    disarm(vcpu);
    if (timer_create(CLOCK_MONOTONIC, &event, &vcpu->timer))
        return -errno;
    vcpu->timer_armed = true;
    vcpu->deadline_ns = deadline_ns;

    uint64_t first_ns = TICK_NS;
    if (deadline_ns) {
        uint64_t now = now_ns();
        uint64_t left_ns = deadline_ns > now ? deadline_ns - now : 1;
        first_ns = left_ns < TICK_NS ? left_ns : TICK_NS;
    }
    struct itimerspec spec = {
        .it_value = {.tv_nsec = (long)first_ns},
        .it_interval = {.tv_nsec = (long)TICK_NS},
    };
    return timer_settime(vcpu->timer, 0, &spec, NULL) ? -errno : 0;
}

/* The runs are over: a stop that came too late for them is forgotten. */
void pykvm_vcpu_end(struct pykvm_vcpu *vcpu)
{
    disarm(vcpu);
    pykvm_set_immediate_exit(vcpu, false);
    atomic_store(&vcpu->stop, false);
}

/* Aim the timer at a deadline that comes before the next tick. */
static void retime(struct pykvm_vcpu *vcpu, uint64_t now)
{
    uint64_t left_ns = vcpu->deadline_ns - now;
    if (!vcpu->timer_armed || left_ns >= TICK_NS)
        return;
    struct itimerspec spec = {
        .it_value = {.tv_nsec = (long)left_ns},
        .it_interval = {.tv_nsec = (long)TICK_NS},
    };
    timer_settime(vcpu->timer, 0, &spec, NULL);
}

/* Why did a signal end KVM_RUN? immediate_exit is cleared before `stop` is read:
 * stop() sets them in the other order, so a stop is seen now or at the next entry. */
static int interrupted(struct pykvm_vcpu *vcpu)
{
    pykvm_set_immediate_exit(vcpu, false);
    if (atomic_exchange(&vcpu->stop, false))
        return PYKVM_INTERRUPTED;
    if (vcpu->deadline_ns) {
        uint64_t now = now_ns();
        if (now >= vcpu->deadline_ns)
            return PYKVM_TIMEOUT;
        retime(vcpu, now);
    }
    return PYKVM_AGAIN;
}

static uint64_t load(const uint8_t *data, uint32_t size)
{
    uint64_t value = 0;
    memcpy(&value, data, size <= sizeof(value) ? size : sizeof(value));
    return value;
}

static int translate_io(struct pykvm_vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    struct pykvm_exit *exit = &vcpu->exit;
    bool is_out = run->io.direction == KVM_EXIT_IO_OUT;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;

    vcpu->answered = pykvm_natives_answer(vcpu->natives, true, is_out, run->io.port, run->io.size,
                                          run->io.count, data);
    if (vcpu->answered)
        return is_out ? PYKVM_PORT_OUT : PYKVM_PORT_IN;
    vcpu->pending = is_out ? PYKVM_PENDING_WRITE : PYKVM_PENDING_READ;
    exit->address = run->io.port;
    exit->size = run->io.size;
    exit->count = run->io.count;
    exit->data = data;
    if (run->io.count != 1)
        return is_out ? PYKVM_PORT_OUT_STRING : PYKVM_PORT_IN_STRING;
    if (is_out) {
        exit->value = load(data, run->io.size);
        return PYKVM_PORT_OUT;
    }
    vcpu->answer = data;
    return PYKVM_PORT_IN;
}

static int translate_mmio(struct pykvm_vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    struct pykvm_exit *exit = &vcpu->exit;

    vcpu->answered = pykvm_natives_answer(vcpu->natives, false, run->mmio.is_write,
                                          run->mmio.phys_addr, run->mmio.len, 1, run->mmio.data);
    if (vcpu->answered)
        return run->mmio.is_write ? PYKVM_MMIO_WRITE : PYKVM_MMIO_READ;
    vcpu->pending = run->mmio.is_write ? PYKVM_PENDING_WRITE : PYKVM_PENDING_READ;
    exit->address = run->mmio.phys_addr;
    exit->size = run->mmio.len;
    exit->count = 1;
    if (run->mmio.is_write) {
        exit->value = load(run->mmio.data, run->mmio.len);
        return PYKVM_MMIO_WRITE;
    }
    vcpu->answer = run->mmio.data;
    return PYKVM_MMIO_READ;
}

static int translate_msr(struct pykvm_vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    struct pykvm_exit *exit = &vcpu->exit;

    exit->address = run->msr.index;
    exit->size = sizeof(uint64_t);
    exit->count = 1;
    exit->error = 0;
    vcpu->msr_pending = true;
    vcpu->pending = PYKVM_PENDING_READ;
    if (run->exit_reason == KVM_EXIT_X86_WRMSR) {
        exit->value = run->msr.data;
        return PYKVM_MSR_WRITE;
    }
    vcpu->answer = (uint8_t *)&run->msr.data;
    return PYKVM_MSR_READ;
}

static void set_args(struct pykvm_exit *exit, const __u64 *args, uint32_t count)
{
    exit->nargs = count < 16 ? count : 16;
    for (uint32_t i = 0; i < exit->nargs; i++)
        exit->args[i] = args[i];
}

static int translate_debug(struct pykvm_vcpu *vcpu)
{
    const struct kvm_debug_exit_arch *arch = &vcpu->run->debug.arch;
    const __u64 args[] = {arch->pc, arch->dr6, arch->dr7};
    vcpu->exit.address = arch->exception;
    set_args(&vcpu->exit, args, 3);
    return PYKVM_DEBUG;
}

static int translate_hypercall(struct pykvm_vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    vcpu->exit.address = run->hypercall.nr;
    vcpu->exit.size = sizeof(uint64_t);
    set_args(&vcpu->exit, run->hypercall.args, 6);
    vcpu->answer = (uint8_t *)&run->hypercall.ret;
    vcpu->pending = PYKVM_PENDING_READ;
    return PYKVM_HYPERCALL;
}

/* The kind of the exit that the run page holds; `answered` when nobody else need see it. */
static int translate(struct pykvm_vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    struct pykvm_exit *exit = &vcpu->exit;

    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        return translate_io(vcpu);
    case KVM_EXIT_MMIO:
        return translate_mmio(vcpu);
    case KVM_EXIT_HLT:
        return PYKVM_HALT;
    case KVM_EXIT_HYPERCALL:
        return translate_hypercall(vcpu);
    case KVM_EXIT_SHUTDOWN:
        return PYKVM_SHUTDOWN;
    case KVM_EXIT_FAIL_ENTRY:
        exit->address = run->fail_entry.hardware_entry_failure_reason;
        exit->value = run->fail_entry.cpu;
        return PYKVM_FAIL_ENTRY;
    case KVM_EXIT_INTERNAL_ERROR:
        exit->address = run->internal.suberror;
        set_args(exit, run->internal.data, run->internal.ndata);
        return PYKVM_INTERNAL_ERROR;
    case KVM_EXIT_DEBUG:
        return translate_debug(vcpu);
    case KVM_EXIT_X86_RDMSR:
    case KVM_EXIT_X86_WRMSR:
        return translate_msr(vcpu);
    case KVM_EXIT_SYSTEM_EVENT:
        exit->address = run->system_event.type;
#ifdef KVM_CAP_SYSTEM_EVENT_DATA /* headers since Linux 5.19 */
        set_args(exit, run->system_event.data, run->system_event.ndata);
#else
        exit->nargs = 0;
#endif
        return PYKVM_SYSTEM_EVENT;
    case KVM_EXIT_IRQ_WINDOW_OPEN:
        return PYKVM_IRQ_WINDOW;
    case KVM_EXIT_IOAPIC_EOI:
        exit->address = run->eoi.vector;
        return PYKVM_IOAPIC_EOI;
    case KVM_EXIT_DIRTY_RING_FULL:
        return PYKVM_DIRTY_RING_FULL;
    case KVM_EXIT_INTR:
        return interrupted(vcpu);
    default:
        exit->address = run->exit_reason;
        return PYKVM_UNKNOWN;
    }
}

/* Put Python's answer where KVM looks for it when the vCPU is entered again. */
static void deliver_answer(struct pykvm_vcpu *vcpu)
{
    if (vcpu->answer)
        memcpy(vcpu->answer, &vcpu->exit.value, vcpu->exit.size);
    if (vcpu->msr_pending)
        vcpu->run->msr.error = vcpu->exit.error;
    vcpu->answer = NULL;
    vcpu->msr_pending = false;
    vcpu->pending = 0;
}

static int64_t failure(int error)
{
    return (int64_t)error << PYKVM_PORT_SHIFT | PYKVM_ERROR;
}

/* A signal ended KVM_RUN, or this was no run: a stop and the time are the next one's. */
static int signalled(struct pykvm_vcpu *vcpu, bool only_complete)
{
    return only_complete ? PYKVM_AGAIN : interrupted(vcpu);
}

static int64_t enter(struct pykvm_vcpu *vcpu, bool only_complete)
{
    deliver_answer(vcpu);
    for (;;) {
        if (ioctl(vcpu->file.fd, KVM_RUN, 0) < 0)
            return errno == EINTR || errno == EAGAIN ? signalled(vcpu, only_complete)
                                                     : failure(errno);
        int kind = translate(vcpu);
        vcpu->counts[kind]++;
        if (!vcpu->answered)
            return pykvm_key(kind, &vcpu->exit);
        vcpu->answered = false;
        vcpu->native_count++;
    }
}

/* The calling thread has looked at the time itself. */
void pykvm_forget_tick(void)
{
    missed = 0;
}

/* A tick came while this thread served an exit: look at the time without delay. */
static void catch_up(struct pykvm_vcpu *vcpu)
{
    missed = 0;
    pykvm_set_immediate_exit(vcpu, true);
}

/* The tick has to come to the thread that runs, which need not be the one that began. */
static int follow_thread(struct pykvm_vcpu *vcpu)
{
    if (!vcpu->timer_armed || vcpu->timer_tid == own_tid)
        return 0;
    return pykvm_vcpu_begin(vcpu, vcpu->deadline_ns);
}

/* Nothing was run: a stop that came meanwhile ends the next entry. Cleared before `stop` is
 * read, as above. */
static void keep_stop(struct pykvm_vcpu *vcpu)
{
    pykvm_set_immediate_exit(vcpu, false);
    if (atomic_load(&vcpu->stop))
        pykvm_set_immediate_exit(vcpu, true);
}

/* Set those of the held registers that somebody changed; the instruction has written others. */
static int release(struct pykvm_vcpu *vcpu)
{
    const __u64 *base = (const __u64 *)&vcpu->held_base, *set = (const __u64 *)&vcpu->held_regs;
    struct kvm_regs regs;
    if (ioctl(vcpu->file.fd, KVM_GET_REGS, &regs) < 0)
        return -1;
    __u64 *now = (__u64 *)&regs;
    for (size_t i = 0; i < sizeof(regs) / sizeof(*now); i++)
        if (set[i] != base[i])
            now[i] = set[i];
    return ioctl(vcpu->file.fd, KVM_SET_REGS, &regs);
}

/* Finish the instruction of the last exit, and set the registers that waited for that. */
static int64_t finish(struct pykvm_vcpu *vcpu)
{
    pykvm_set_immediate_exit(vcpu, true);
    int64_t key = enter(vcpu, true);
    keep_stop(vcpu);
    if (!vcpu->held || vcpu->pending)
        return key;
    vcpu->held = false;
    return release(vcpu) ? failure(errno) : key;
}

static int64_t go(struct pykvm_vcpu *vcpu, bool only_complete)
{
    int error = follow_thread(vcpu);
    if (error)
        return failure(-error);
    if (only_complete)
        return finish(vcpu);
    if (vcpu->held) {
        int64_t key = finish(vcpu);
        if ((key & PYKVM_KIND_MASK) != PYKVM_AGAIN)
            return key;
    }
    return enter(vcpu, false);
}

static int64_t run(struct pykvm_vcpu *vcpu, bool only_complete)
{
    int nobody = NOBODY;
    if (!atomic_compare_exchange_strong(&vcpu->tid, &nobody, thread_id()))
        return failure(nobody == CLOSED ? EBADF : EBUSY);
    if (pykvm_file_is_shut(&vcpu->file)) {
        atomic_store(&vcpu->tid, NOBODY);
        return failure(EBADF);
    }
    vcpu->runs++;
    entered = vcpu;
    if (missed)
        catch_up(vcpu);
    int64_t key = go(vcpu, only_complete);
    entered = NULL;
    if (pykvm_natives_pending(vcpu->natives))
        key |= PYKVM_OUTPUT_PENDING;
    atomic_store_explicit(&vcpu->tid, NOBODY, memory_order_release);
    return key;
}

/* Run until an exit that Python has to see. Returns its key; an error's holds errno in
 * place of an address. Only one thread may be inside: a second one gets EBUSY. */
int64_t pykvm_vcpu_run(struct pykvm_vcpu *vcpu)
{
    return run(vcpu, false);
}

/* Finish the instruction of the last exit, so that registers are consistent, and
 * run nothing more: PYKVM_AGAIN, or the next part of a split access. */
int64_t pykvm_vcpu_complete(struct pykvm_vcpu *vcpu)
{
    return run(vcpu, true);
}

/* Let nothing of the last exit's instruction come later: finish all its parts, with the answers
 * that happen to be there. */
void pykvm_vcpu_abandon(struct pykvm_vcpu *vcpu)
{
    vcpu->held = false;
    for (unsigned parts = 0; vcpu->pending && parts < PARTS_MAX; parts++)
        pykvm_vcpu_complete(vcpu);
}

/* Set registers, rip left alone, once the instruction of a read exit is complete. Its answer is
 * still delivered. Returns 0 or -1 with errno. */
int pykvm_vcpu_hold(struct pykvm_vcpu *vcpu, const struct kvm_regs *regs)
{
    if (!vcpu->held && pykvm_file_ioctl(&vcpu->file, KVM_GET_REGS, &vcpu->held_base) < 0)
        return -1;
    vcpu->held_regs = *regs;
    vcpu->held = true;
    return 0;
}

/* Make the run under way, or else the next one, return PYKVM_INTERRUPTED. Any thread. */
void pykvm_vcpu_stop(struct pykvm_vcpu *vcpu)
{
    atomic_store(&vcpu->stop, true);
    pykvm_set_immediate_exit(vcpu, true);
    atomic_thread_fence(memory_order_seq_cst);
    int tid = atomic_load(&vcpu->tid);
    if (tid && entered != vcpu)
        syscall(SYS_tgkill, getpid(), tid, kick_signal());
}
