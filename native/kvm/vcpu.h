/* The run loop of one KVM vCPU. */
#ifndef PYKVM_KVM_VCPU_H
#define PYKVM_KVM_VCPU_H

#include <linux/kvm.h>
#include <sys/types.h>
#include <time.h>

#include "../pykvm.h"

struct pykvm_vcpu {
    struct pykvm_exit exit;
    int fd;
    struct kvm_run *run;
    size_t run_bytes;
    struct pykvm_natives *natives;
    uint8_t *answer;  /* where the answer to the pending read goes, or NULL */
    bool answered;    /* a native device dealt with this exit */
    bool msr_pending; /* an MSR exit waits for exit.error */
    uint64_t runs;    /* how often it was entered */
    uint64_t counts[PYKVM_KINDS];
    uint64_t native_count; /* of those in counts, answered without Python */
    uint64_t deadline_ns;  /* CLOCK_MONOTONIC; 0: none */
    timer_t timer;
    bool timer_armed;
    atomic_bool stop;
    atomic_int tid; /* of the thread inside, or 0, or -1 once closed */
};

int pykvm_signal_init(void);
bool pykvm_vcpu_close(struct pykvm_vcpu *vcpu);
int pykvm_vcpu_begin(struct pykvm_vcpu *vcpu, uint64_t deadline_ns);
void pykvm_vcpu_end(struct pykvm_vcpu *vcpu);
int64_t pykvm_vcpu_run(struct pykvm_vcpu *vcpu);
int64_t pykvm_vcpu_complete(struct pykvm_vcpu *vcpu);
void pykvm_vcpu_stop(struct pykvm_vcpu *vcpu);

#endif
