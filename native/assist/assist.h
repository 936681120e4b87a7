/* A KVM vCPU that executes in the emulator what KVM refuses: docs/kvm.md, "Assist". */
#ifndef PYKVM_ASSIST_H
#define PYKVM_ASSIST_H

#include "../emu/emu.h"
#include "../kvm/create.h"
#include "transfer.h"

struct pykvm_assist {
    struct pykvm_vcpu *vcpu;
    struct pykvm_vm *kvm; /* the emulator maps the same slots */
    struct emu_vm *vm;    /* made when it is first needed, as are cpu and transfer */
    struct emu_cpu *cpu;
    struct pykvm_transfer *transfer;
    uint32_t xsave_bytes; /* of KVM_GET_XSAVE2; 0: KVM_GET_XSAVE */
    atomic_bool enabled;
    bool stays;         /* KVM is slower at CPL 0 than the emulator: no hurry to go back */
    bool one_only;      /* no more than the instruction that was refused */
    bool interrupts;    /* KVM has interrupt chips */
    atomic_bool inside; /* the emulator has the processor; KVM's copy is stale unless `synced` */
    bool synced;
    bool changed;            /* KVM's copy was changed: the emulator goes on from it */
    atomic_int use;          /* PYKVM_ASSIST_FREE and so on */
    atomic_int waiting;      /* threads that want to use it between two runs */
    atomic_flag guard;       /* `cpu` comes and goes under it: other threads stop and count it */
    uint64_t layout, writes; /* of the memory, as last seen */
    uint32_t mapped_count;
    uint64_t mapped_gpa[PYKVM_SLOTS_KEPT];
    uint64_t entries, instructions;
    uint64_t move_ns, stay_ns; /* measured; the time to stay that follows from it */
    uint64_t patience;
    uint64_t left_ns; /* when the processor went back to KVM */
    uint64_t exits;   /* of KVM's, at the last tick */
};

void pykvm_assist_init(struct pykvm_assist *assist, struct pykvm_vcpu *vcpu, struct pykvm_vm *kvm,
                       uint32_t xsave_bytes, bool interrupts, bool one_only, bool stays);
bool pykvm_assist_close(struct pykvm_assist *assist);
int64_t pykvm_assist_run(struct pykvm_assist *assist);
int64_t pykvm_assist_complete(struct pykvm_assist *assist);
void pykvm_assist_abandon(struct pykvm_assist *assist);
int pykvm_assist_sync(struct pykvm_assist *assist, bool changes);
void pykvm_assist_enable(struct pykvm_assist *assist, bool on);
void pykvm_assist_follow(struct pykvm_assist *assist);
void pykvm_assist_begin(struct pykvm_assist *assist);
void pykvm_assist_end(struct pykvm_assist *assist);
void pykvm_assist_stop(struct pykvm_assist *assist);
uint64_t pykvm_assist_count(struct pykvm_assist *assist, int kind);
uint64_t pykvm_assist_native_count(struct pykvm_assist *assist);

#endif
