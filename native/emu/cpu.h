/* The processor's state and the machine around it, as the emulator's own files see them. */
#ifndef PYKVM_EMU_CPU_H
#define PYKVM_EMU_CPU_H

#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>

#include "block.h"
#include "emu.h"
#include "features.h"
#include "insn.h"
#include "mmu.h"

#define EMU_LIKELY(x) __builtin_expect(!!(x), 1)
#define EMU_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* Fields of the machine word are read as they lie: guest memory is little-endian. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "a little-endian host is needed");

enum emu_gpr { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };

/* RFLAGS, Intel SDM vol. 1 §3.4.3. */
#define FLAG_CF 0x1u
#define FLAG_FIXED 0x2u
#define FLAG_PF 0x4u
#define FLAG_AF 0x10u
#define FLAG_ZF 0x40u
#define FLAG_SF 0x80u
#define FLAG_TF 0x100u
#define FLAG_IF 0x200u
#define FLAG_DF 0x400u
#define FLAG_OF 0x800u
#define FLAG_IOPL 0x3000u
#define FLAG_NT 0x4000u
#define FLAG_RF 0x10000u
#define FLAG_VM 0x20000u
#define FLAG_AC 0x40000u
#define FLAG_VIF 0x80000u
#define FLAG_VIP 0x100000u
#define FLAG_ID 0x200000u
#define FLAGS_STATUS (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

/* Control registers, Intel SDM vol. 3A §2.5; EFER §2.2.1. */
#define CR0_PE 0x1u
#define CR0_MP 0x2u
#define CR0_EM 0x4u
#define CR0_TS 0x8u
#define CR0_ET 0x10u
#define CR0_NE 0x20u
#define CR0_WP 0x10000u
#define CR0_AM 0x40000u
#define CR0_NW 0x20000000u
#define CR0_CD 0x40000000u
#define CR0_PG 0x80000000u
#define CR4_VME 0x1u
#define CR4_PVI 0x2u
#define CR4_TSD 0x4u
#define CR4_DE 0x8u
#define CR4_PSE 0x10u
#define CR4_PAE 0x20u
#define CR4_MCE 0x40u
#define CR4_PGE 0x80u
#define CR4_PCE 0x100u
#define CR4_OSFXSR 0x200u
#define CR4_OSXMMEXCPT 0x400u
#define CR4_UMIP 0x800u
#define CR4_LA57 0x1000u
#define CR4_FSGSBASE 0x10000u
#define CR4_PCIDE 0x20000u
#define CR4_OSXSAVE 0x40000u
#define CR4_SMEP 0x100000u
#define CR4_SMAP 0x200000u
#define CR4_PKE 0x400000u
#define CR4_PKS 0x1000000u
#define EFER_SCE 0x1u
#define EFER_LME 0x100u
#define EFER_LMA 0x400u
#define EFER_NXE 0x800u
#define DR6_FIXED 0xffff0ff0u
#define DR6_HITS 0xfu /* B0 to B3 */
#define DR6_BS 0x4000u
#define DR6_BD 0x2000u
#define DR6_BT 0x8000u
#define DR7_FIXED 0x400u
#define DR7_GD 0x2000u
#define DR7_ENABLED 0xffu
#define DR7_LOCAL 0x155u /* L0 to L3 and LE */
#define APIC_BASE_BSP 0x100u
#define APIC_BASE_X2APIC 0x400u
#define APIC_BASE_ENABLED 0x800u
#define XCR0_X87 0x1u
#define XCR0_SSE 0x2u
#define XCR0_AVX 0x4u
#define XCR0_PKRU 0x200u

/* What decoding depends on: the key of a block, beside its address. At most 16 bits. */
#define EMU_MODE_CODE32 0x1u
#define EMU_MODE_CODE64 0x2u
#define EMU_MODE_STACK32 0x4u
#define EMU_MODE_STACK64 0x8u
#define EMU_MODE_USER 0x10u      /* CPL 3 */
#define EMU_MODE_PROTECTED 0x20u /* CR0.PE and not virtual-8086 */
#define EMU_MODE_FLAT 0x40u      /* CS, DS, ES, SS: base 0, limit 4 GiB, writable; 32-bit code */
#define EMU_MODE_EM 0x80u
#define EMU_MODE_TS 0x100u
#define EMU_MODE_MP 0x200u
#define EMU_MODE_FXSR 0x400u
#define EMU_MODE_YMM 0x800u       /* CR4.OSXSAVE, and XCR0 enables SSE and AVX */
#define EMU_MODE_FP_EXACT 0x1000u /* SSE and AVX floating point one by one, in software: fp.h */
#define EMU_MODE_MODEL_SHIFT 13   /* which of the machine's models: cpuid.c */
#define EMU_MODELS 8u

/* Exceptions, Intel SDM vol. 3A table 6-1. */
enum emu_vector {
    EXC_DE = 0,
    EXC_DB = 1,
    EXC_NMI = 2,
    EXC_BP = 3,
    EXC_OF = 4,
    EXC_BR = 5,
    EXC_UD = 6,
    EXC_NM = 7,
    EXC_DF = 8,
    EXC_TS = 10,
    EXC_NP = 11,
    EXC_SS = 12,
    EXC_GP = 13,
    EXC_PF = 14,
    EXC_MF = 16,
    EXC_AC = 17,
    EXC_MC = 18,
    EXC_XM = 19,
    EXC_NONE = 0xff
};

/* A segment register with its hidden part; attr is bits 8..23 of the descriptor's high
 * half, with the limit's bits replaced by "unusable". */
struct emu_seg {
    uint64_t base;
    uint32_t limit;
    uint16_t selector;
    uint16_t attr;
};

#define SEG_TYPE 0x000fu
#define SEG_ACCESSED 0x0001u
#define SEG_WRITABLE 0x0002u /* data; code: readable */
#define SEG_DOWN 0x0004u     /* data: expand-down; code: conforming */
#define SEG_CODE 0x0008u
#define SEG_S 0x0010u
#define SEG_DPL 0x0060u
#define SEG_DPL_SHIFT 5
#define SEG_P 0x0080u
#define SEG_UNUSABLE 0x0100u
#define SEG_AVL 0x1000u
#define SEG_L 0x2000u
#define SEG_DB 0x4000u
#define SEG_G 0x8000u

/* Status flags, not yet put together: see flags.h. */
struct emu_flags {
    uint64_t zero;  /* ZF where 0 */
    uint64_t sign;  /* bit 63: SF; low byte: PF by its parity */
    uint64_t carry; /* bit 63: CF; bit 62 xor bit 63: OF; bit 3: AF */
};

/* Sixteen bytes: most vector instructions treat every such lane of a register alike. */
typedef uint64_t emu_lane __attribute__((vector_size(16)));

union emu_vec {
    emu_lane lane[2];
    uint8_t u8[32];
    uint16_t u16[16];
    uint32_t u32[8];
    uint64_t u64[4];
    float f32[8];
    double f64[4];
};

/* An x87 register as it lies in memory: Intel SDM vol. 1 §8.1.2. */
struct emu_st {
    uint64_t mantissa;
    uint16_t exponent; /* with the sign in bit 15 */
};

struct emu_fpu {
    struct emu_st reg[8]; /* physical registers, not ST(i); MMX registers are the mantissas */
    uint16_t control, status, opcode; /* status without TOP */
    uint8_t top;
    uint8_t used; /* bit n: physical register n is not empty */
    uint16_t cs, ds;
    uint64_t ip, dp;
};

/* Why the run loop must look before it enters another block. */
#define EMU_ATTEND_STOP 0x1u   /* emu_cpu_stop */
#define EMU_ATTEND_EVENT 0x2u  /* an interrupt or NMI may be due */
#define EMU_ATTEND_STEP 0x4u   /* one instruction at a time: see run.c */
#define EMU_ATTEND_WRITES 0x8u /* emu_vm_note_write has left addresses */
#define EMU_ATTEND_TURN 0x10u  /* another processor has something urgent to do */
#define EMU_ATTEND_PARK 0x20u  /* stand still: emu_vm_freeze */

/* An exception or interrupt on its way to the guest. */
struct emu_event {
    bool pending;
    bool has_error;
    uint8_t vector;
    uint8_t type; /* enum emu_event_type */
    uint32_t error;
    uint64_t cr2;
    uint64_t dr6;      /* #DB: bits to set */
    bool checked;      /* the gate's privilege counts: INT n */
    uint64_t next_rip; /* EMU_EVENT_SOFTWARE: behind the instruction */
};

/* Reads that left the emulator, by the instruction at hand, in order: it is executed
 * again from its start with each answer. Writes wait here until it is complete. */
#define EMU_ANSWERS 80
#define EMU_WRITES 80
#define EMU_STRING_BYTES 1024
struct emu_replay {
    uint32_t answers, next; /* recorded, and used by this attempt */
    uint64_t answer[EMU_ANSWERS];
    bool error;               /* the owner refused the MSR */
    uint32_t writes, written; /* waiting, and already handed out */
    struct emu_pending_write {
        uint64_t address, value;
        uint8_t size;
        bool is_port;
    } write[EMU_WRITES];
    uint32_t string_used, string_have; /* bytes of an answer to INS */
    uint8_t string[EMU_STRING_BYTES];
};

#define EMU_STAY (-1)
#define EMU_NEVER UINT64_MAX /* a time that does not come */

/* How an instruction was left in its middle: the value of setjmp. */
enum emu_jump { EMU_JUMP_NONE, EMU_JUMP_FAULT, EMU_JUMP_EXIT, EMU_JUMP_RETRY, EMU_JUMP_DEBUG };

/* Between slices, of a processor among several: spin.c. */
struct emu_spin {
    uint64_t gpr[EMU_RIP + 1]; /* as they were when it was looked at last */
    int64_t left;              /* instructions until it is again */
    uint32_t step;
    bool watches; /* no store takes the fast path */
    bool stored;  /* one has changed memory, or gone to a device */
};

struct emu_msrs {
    uint64_t star, lstar, cstar, fmask, kernel_gs_base, tsc_aux;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pat, misc_enable, apic_base, tsc_offset, tsc_adjust, tsc_deadline, debugctl;
    uint64_t mtrr_def_type, mtrr_fixed[11], mtrr_variable[16];
    uint64_t spec_ctrl, mcg_status, smi_count, bios_signature, pkrs;
};

/* Filters of the TLBs, in 64-bit words. */
#define EMU_LARGE_WORDS 8
#define EMU_CODE_WORDS 128

struct emu_cpu {
    uint64_t gpr[EMU_GPRS]; /* first: handlers address it by number */
    struct emu_flags flags;
    int64_t left;      /* instructions until the run loop must look */
    uint64_t code_gen; /* what a link or jump cache entry must carry to be valid */
    struct emu_tlb *tlb;
    struct emu_jump_entry *jumps;
    atomic_uint attention;
    uint32_t mode;   /* EMU_MODE_* */
    uint32_t rflags; /* all but the status flags */
    uint8_t cpl;
    bool stepping;    /* the instruction at hand runs alone, in cpu->step */
    bool alone;       /* the next one must */
    bool resuming;    /* it was left for an answer: its breakpoints have been seen to */
    bool stepped;     /* an instruction has just run alone, to its end */
    bool traced;      /* the instruction at hand ends with a single-step trap */
    bool holds_traps; /* MOV SS, POP SS: none before the next instruction's end */
    bool repeating;   /* the last instruction was a repeated one that is not done */
    bool completing;  /* the owner wants no more than the end of the instruction at hand */
    uint8_t shadow;   /* instructions before which no interrupt may come: emu_shadow */
    bool halted;
    bool nmi_blocked;
    uint8_t debug;     /* EMU_DEBUG_*, for the owner, not the guest */
    bool wants_window; /* leave once an interrupt could be taken */
    struct emu_seg seg[EMU_SEGMENTS];
    union emu_vec vec[16] __attribute__((aligned(32)));
    uint32_t pkru;
    uint32_t pkru_offset; /* in images of the standard form: what CPUID says */
    uint32_t mxcsr;       /* while the processor runs: by emu_mxcsr and emu_set_mxcsr */
    bool fp_live;         /* the host's MXCSR holds the guest's */
    uint32_t host_mxcsr;
    struct emu_fpu fpu;

    uint64_t cr0, cr2, cr3, cr4, cr8, efer, xcr0;
    uint64_t dr[8], owner_dr[8];
    uint64_t trap;      /* bits of DR6: #DB is due before the next instruction */
    uint64_t trap_kept; /* those that were due before this one, should it not complete */
    uint64_t pdpte[4];  /* PAE paging's four, as loaded with CR3 */
    struct emu_table gdt, idt;
    struct emu_msrs msr;

    struct emu_tlb *tlbs[EMU_TLBS];
    uint64_t large[2][EMU_LARGE_WORDS]; /* where larger pages are: tlb.c */
    uint64_t code_epoch[2];             /* of CPL 0..2, and of CPL 3 */
    bool local_code;                    /* code of CPL 0..2 came from pages that are not global */
    uint64_t code_seen[EMU_CODE_WORDS]; /* hashed pages that code came from: tlb.c */

    struct emu_event fault; /* raised, not yet looked at */
    struct emu_event event; /* under way to the guest's handler */
    int16_t interrupt;      /* vector the owner injected, or -1 */
    struct emu_replay replay;
    struct pykvm_exit exit;
    int leave;     /* exit that is due, the instruction being complete; or EMU_STAY */
    int exit_kind; /* the last exit's: says whether an answer is on its way */
    uint64_t deadline_ns, tick_ns;
    int64_t slice;    /* what `left` began with */
    uint64_t budget;  /* instructions that may follow this slice */
    uint64_t retired; /* instructions completed before this slice */
    _Atomic uint64_t counts[PYKVM_KINDS];
    uint64_t native_count;
    bool visiting;         /* emu_cpu_visit: KVM has the processor otherwise */
    bool visit_interrupts; /* and KVM has its interrupts and devices too */
    bool visit_ended;      /* the last run ended because the visit is over */
    uint64_t visit_start;  /* what was retired when it came */

    struct emu_vm *vm;
    struct emu_cpu *next; /* of the same machine */
    uint32_t index;
    uint32_t cpuid_count;
    struct emu_cpuid *cpuid;
    const struct emu_features *features; /* what that offers: in vm->model */
    uint32_t model_mode;                 /* its place there, as part of the mode */
    atomic_bool stop, inside, closed;
    struct emu_lapic *lapic; /* NULL where the machine has no irqchip */
    atomic_bool nmi_pending;
    atomic_bool irq_wanted;  /* the chips may have an interrupt for it */
    atomic_bool init_wanted; /* an INIT has come */
    atomic_int startup;      /* vector of the SIPI that has come, or -1 */
    uint8_t mp_state;        /* enum emu_mp_state, without EMU_MP_HALTED: that is `halted` */
    bool yields;             /* PAUSE: let another processor run */
    bool gives_way;          /* EMU_ATTEND_TURN: the same */
    bool resliced;           /* the slice may be too long: timers have changed */
    bool wants_turn;         /* turn.c */
    int64_t quantum;         /* instructions until the turn goes on */
    struct emu_spin spin;
    uint64_t sleeps_until_ns;
    bool parked;          /* stands still while vm->freezers */
    bool polls;           /* sleeps in poll, not on `changed`: irqfd.c */
    int wake_fd;          /* what wakes it there; -1 as long as it never has */
    int16_t ended_vector; /* the owner's I/O APIC has to know, or -1 */
    pthread_cond_t changed;
    struct {
        struct emu_block block;
        struct emu_insn insn[4];
    } step; /* the block of the instruction that runs alone */
    jmp_buf env;
};

struct emu_region {
    uint64_t gpa, size_bytes;
    uint8_t *hva;
    uint32_t flags;
    bool logged;
    uint64_t *dirty; /* a bit for each page written while it was logged: dirty.c */
};

#define EMU_REGIONS_MAX 64
#define EMU_NOTES_MAX 64

struct emu_vm {
    atomic_uint users; /* the owner, and the processors that are not destroyed */
    bool closed;       /* nothing comes any more: emu_vm_close */
    struct pykvm_natives *natives;
    struct emu_cpu *cpus;
    struct emu_cache cache;
    uint32_t region_count;
    struct emu_region region[EMU_REGIONS_MAX];
    struct emu_region *last_region;
    uint64_t random;
    atomic_uint_fast64_t gen; /* of the last code epoch handed out */
    bool instruction_clock;   /* time is the count of instructions, not the host's */
    uint32_t msr_exits;       /* EMU_MSR_* */
    uint32_t msr_trap_count;
    struct emu_msr_trap msr_trap[EMU_MSR_TRAPS_MAX];
    uint32_t logged_count;             /* regions with a dirty log */
    struct emu_doorbells *doorbells;   /* NULL as long as there never was one */
    struct emu_irqfds *_Atomic irqfds; /* the same */
    atomic_flag notes_lock;
    uint32_t note_count; /* more than EMU_NOTES_MAX: everything */
    struct emu_note {
        uint64_t gpa, size_bytes;
    } note[EMU_NOTES_MAX];

    struct emu_features model[EMU_MODELS]; /* of its processors, as far as decoding goes */

    enum emu_irqchip irqchip;
    struct emu_chips *chips;
    pthread_mutex_t lock; /* of the chips, and of whose turn it is; recursive */
    struct emu_cpu *holder;
    atomic_uint freezers;  /* threads that change what processors work on */
    uint32_t freeze_depth; /* of the one whose processors stand still: freezes nest */
    pthread_cond_t frozen; /* a processor stands still, or may go on */
    uint32_t cpu_count;
    uint32_t tsc_khz;
    uint64_t start_ns;                  /* guest time 0 by the host's clock */
    uint64_t elapsed_ns;                /* guest time of an instruction clock, between slices */
    atomic_uint_fast64_t next_timer_ns; /* guest time of the chips' next deed */
    uint64_t line_ns;                   /* emu_vm_raise_line_at */
    uint32_t line_gsi;
};

/* The debug registers in force: the owner's, or the guest's. */
static inline const uint64_t *emu_dr(const struct emu_cpu *cpu)
{
    return cpu->debug & EMU_DEBUG_HARDWARE ? cpu->owner_dr : cpu->dr;
}

static inline bool emu_long_mode(const struct emu_cpu *cpu)
{
    return cpu->efer & EFER_LMA;
}

static inline bool emu_code64(const struct emu_cpu *cpu)
{
    return cpu->mode & EMU_MODE_CODE64;
}

static inline bool emu_protected(const struct emu_cpu *cpu)
{
    return cpu->mode & EMU_MODE_PROTECTED;
}

static inline bool emu_vm86(const struct emu_cpu *cpu)
{
    return cpu->rflags & FLAG_VM;
}

static inline void emu_attend(struct emu_cpu *cpu, unsigned why)
{
    atomic_fetch_or_explicit(&cpu->attention, why, memory_order_release);
}

/* rip of an instruction of the running block. */
static inline uint64_t emu_insn_rip(const struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t rip = cpu->gpr[EMU_RIP] + insn->offset;
    return emu_code64(cpu) ? rip : (uint32_t)rip;
}

static inline uint64_t emu_next_rip(const struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t rip = cpu->gpr[EMU_RIP] + insn->offset + insn->length;
    return emu_code64(cpu) ? rip : (uint32_t)rip;
}

/* state.c */
void emu_cpu_reset(struct emu_cpu *cpu);
void emu_cpu_take_startup(struct emu_cpu *cpu);
void emu_mode_changed(struct emu_cpu *cpu);
void emu_code_changed(struct emu_cpu *cpu);
void emu_code_switched(struct emu_cpu *cpu);

/* leave.c: faults. They do not return; rip stays at the instruction. */
_Noreturn void emu_raise(struct emu_cpu *cpu, const struct emu_insn *insn, uint8_t vector);
_Noreturn void emu_raise_error(struct emu_cpu *cpu, const struct emu_insn *insn, uint8_t vector,
                               uint32_t error);
_Noreturn void emu_raise_page_fault(struct emu_cpu *cpu, const struct emu_insn *insn,
                                    uint64_t linear, uint32_t error);
_Noreturn void emu_raise_debug(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t dr6);

/* interrupt.c */
void emu_deliver(struct emu_cpu *cpu, const struct emu_event *event);
void emu_escalate(struct emu_cpu *cpu);
void emu_software_interrupt(struct emu_cpu *cpu, const struct emu_insn *insn, uint8_t vector,
                            bool checked);

/* leave.c: leaving the instruction at hand before its end. */
_Noreturn void emu_exit(struct emu_cpu *cpu, const struct emu_insn *insn, int kind);
_Noreturn void emu_retry_alone(struct emu_cpu *cpu, const struct emu_insn *insn);
void emu_go_home(struct emu_cpu *cpu, const struct emu_insn *insn);
void emu_unwind(struct emu_cpu *cpu, const struct emu_insn *insn);

/* io.c: ports, and memory that is none. */
uint64_t emu_bus_read(struct emu_cpu *cpu, const struct emu_insn *insn, bool is_port,
                      uint64_t address, uint32_t size_bytes);
void emu_bus_write(struct emu_cpu *cpu, const struct emu_insn *insn, bool is_port, uint64_t address,
                   uint32_t size_bytes, uint64_t value);
int emu_bus_flush(struct emu_cpu *cpu);
void emu_bus_answer(struct emu_cpu *cpu);
uint64_t emu_await_answer(struct emu_cpu *cpu, const struct emu_insn *insn, int kind);
uint32_t emu_port_string(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t port,
                         uint32_t size_bytes, uint32_t count, uint64_t *value);

/* No interrupt before the next instruction: STI, MOV SS, POP SS (SDM vol. 3A §6.8.3). */
static inline void emu_set_shadow(struct emu_cpu *cpu)
{
    cpu->shadow = cpu->stepping ? 2 : 1;
}

/* debug.c */
void emu_check_code_breakpoints(struct emu_cpu *cpu);
int emu_debug_due(struct emu_cpu *cpu);
_Noreturn void emu_debug_exit(struct emu_cpu *cpu, const struct emu_insn *insn, uint8_t vector,
                              uint64_t dr6);

/* cpuid.c */
void emu_models_init(struct emu_vm *vm);

/* vm.c */
void emu_vm_take_notes(struct emu_vm *vm);
void emu_vm_drop(struct emu_vm *vm);
struct emu_region *emu_region_at(struct emu_vm *vm, uint64_t gpa);

/* dirty.c */
void emu_log_write(struct emu_vm *vm, uint64_t gpa);
bool emu_log_wants(struct emu_vm *vm, uint64_t gpa);

/* doorbell.c: writes that need no exit */
bool emu_doorbell_write(struct emu_vm *vm, const struct emu_pending_write *write);
void emu_doorbells_destroy(struct emu_vm *vm);

/* irqfd.c: eventfds that raise lines. All but the first with vm->lock held. */
void emu_irqfds_look(struct emu_vm *vm, uint64_t now_ns);
void emu_irqfds_sleep(struct emu_cpu *cpu, uint64_t until_ns);
void emu_irqfds_wake(struct emu_cpu *cpu);
void emu_irqfds_ended(struct emu_vm *vm, uint32_t gsi);
void emu_irqfds_destroy(struct emu_vm *vm);

/* clock.c */
uint64_t emu_now_ns(void);
uint64_t emu_guest_ns(const struct emu_cpu *cpu);
uint64_t emu_tsc(const struct emu_cpu *cpu);
uint64_t emu_tsc_to_ns(const struct emu_cpu *cpu, uint64_t tsc, uint64_t now_ns);

/* chips.c, lapic.c, lapic_timer.c */
bool emu_lapic_create(struct emu_cpu *cpu);
bool emu_chips_read(struct emu_cpu *cpu, bool is_port, uint64_t address, uint32_t size_bytes,
                    uint64_t *value);
bool emu_chips_write(struct emu_cpu *cpu, bool is_port, uint64_t address, uint32_t size_bytes,
                     uint64_t value);
void emu_timers_run(struct emu_vm *vm, uint64_t now_ns);
int emu_lapic_take(struct emu_cpu *cpu);
void emu_lapic_reset(struct emu_cpu *cpu);
int emu_lapic_get_msr(struct emu_cpu *cpu, uint32_t index, uint64_t *value);
int emu_lapic_set_msr(struct emu_cpu *cpu, uint32_t index, uint64_t value);
int emu_lapic_set_base(struct emu_cpu *cpu, uint64_t value, bool by_guest);
void emu_lapic_set_cr8(struct emu_cpu *cpu, uint64_t value);
void emu_lapic_set_deadline(struct emu_cpu *cpu, uint64_t tsc);

/* turn.c */
void emu_vm_lock(struct emu_vm *vm);
void emu_vm_unlock(struct emu_vm *vm);
void emu_vm_freeze(struct emu_vm *vm);
void emu_vm_thaw(struct emu_vm *vm);
void emu_turn_park(struct emu_cpu *cpu);
void emu_turn_left(struct emu_vm *vm);
int emu_turn_init(struct emu_cpu *cpu);
int emu_turn_take(struct emu_cpu *cpu);
void emu_turn_give(struct emu_cpu *cpu);
int emu_turn_pass(struct emu_cpu *cpu, bool spinning);
int emu_turn_idle(struct emu_cpu *cpu);
void emu_turn_wake(struct emu_cpu *cpu);

/* spin.c */
void emu_spin_begin(struct emu_cpu *cpu);
bool emu_spins(struct emu_cpu *cpu);

#endif
