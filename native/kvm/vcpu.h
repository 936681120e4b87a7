/* The run loop of one KVM vCPU. */
#ifndef PYKVM_KVM_VCPU_H
#define PYKVM_KVM_VCPU_H

#include <linux/kvm.h>
#include <sys/types.h>
#include <time.h>

#include "../pykvm.h"
#include "file.h"

#define PYKVM_PENDING_WRITE 1 /* the rest of it may be more exits */
#define PYKVM_PENDING_READ 2  /* it changes state once it has its answer */

struct pykvm_vcpu {
    struct pykvm_exit exit;
    struct pykvm_file file;
    struct kvm_run *run; /* once closed: a page of nothing, so that nobody has to ask first */
    size_t run_bytes;
    struct pykvm_natives *natives;
    uint8_t *answer;  /* where the answer to the pending read goes, or NULL */
    bool answered;    /* a native device dealt with this exit */
    bool msr_pending; /* an MSR exit waits for exit.error */
    uint8_t pending;  /* PYKVM_PENDING_*: the last exit's instruction is not complete */
    bool held;        /* registers wait to be set until it is: pykvm_vcpu_hold */
    struct kvm_regs held_regs, held_base;
    uint64_t runs; /* how often it was entered */
    uint64_t counts[PYKVM_KINDS];
    uint64_t native_count; /* of those in counts, answered without Python */
    uint64_t deadline_ns;  /* CLOCK_MONOTONIC; 0: none */
    timer_t timer;
    bool timer_armed;
    pid_t timer_tid; /* the thread that the tick goes to */
    atomic_bool stop;
    atomic_int tid; /* of the thread inside, or 0, or -1 once closed */
};

int pykvm_signal_init(void);
void pykvm_forget_tick(void);

/* Whether KVM_RUN comes back at once: written by other threads and by signal handlers, too. */
static inline void pykvm_set_immediate_exit(struct pykvm_vcpu *vcpu, bool on)
{
    __atomic_store_n(&vcpu->run->immediate_exit, on, __ATOMIC_SEQ_CST);
}

bool pykvm_vcpu_close(struct pykvm_vcpu *vcpu);
void pykvm_vcpu_free(struct pykvm_vcpu *vcpu);
int pykvm_vcpu_begin(struct pykvm_vcpu *vcpu, uint64_t deadline_ns);
void pykvm_vcpu_end(struct pykvm_vcpu *vcpu);
int64_t pykvm_vcpu_run(struct pykvm_vcpu *vcpu);
int64_t pykvm_vcpu_complete(struct pykvm_vcpu *vcpu);
void pykvm_vcpu_abandon(struct pykvm_vcpu *vcpu);
int pykvm_vcpu_hold(struct pykvm_vcpu *vcpu, const struct kvm_regs *regs);
void pykvm_vcpu_stop(struct pykvm_vcpu *vcpu);

#endif
