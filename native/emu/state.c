/* A processor's life, and its state as the owner reads and writes it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fp.h"
#include "x87.h"
#include "xstate.h"

#define FLAGS_WRITABLE 0x3f7fd5u

/* What links and jump cache entries must carry. The mode is part of it, so that changing it
 * and back keeps them. */
static void set_code_gen(struct emu_cpu *cpu)
{
    cpu->code_gen = cpu->code_epoch[cpu->cpl == 3] << 16 | cpu->mode;
}

/* A mapping or the code behind one has changed: links and the jump cache are void. */
void emu_code_changed(struct emu_cpu *cpu)
{
    cpu->code_epoch[0] = cpu->code_epoch[1] = atomic_fetch_add(&cpu->vm->gen, 1) + 1;
    set_code_gen(cpu);
}

/* Local mappings have changed. A kernel that runs from global ones keeps its links. */
void emu_code_switched(struct emu_cpu *cpu)
{
    cpu->code_epoch[1] = atomic_fetch_add(&cpu->vm->gen, 1) + 1;
    if (cpu->local_code)
        cpu->code_epoch[0] = cpu->code_epoch[1];
    cpu->local_code = false;
    set_code_gen(cpu);
}

/* Base 0, limit 4 GiB, readable and writable (or code that may be read). */
static bool flat(const struct emu_seg *seg)
{
    return seg->base == 0 && seg->limit == UINT32_MAX && !(seg->attr & SEG_UNUSABLE) &&
           (seg->attr & (SEG_P | SEG_S)) == (SEG_P | SEG_S) && (seg->attr & SEG_WRITABLE) &&
           !(seg->attr & SEG_DOWN);
}

static bool all_flat(const struct emu_cpu *cpu)
{
    return flat(&cpu->seg[EMU_CS]) && flat(&cpu->seg[EMU_SS]) && flat(&cpu->seg[EMU_DS]) &&
           flat(&cpu->seg[EMU_ES]) && (cpu->seg[EMU_CS].attr & SEG_CODE) &&
           !((cpu->seg[EMU_DS].attr | cpu->seg[EMU_ES].attr) & SEG_CODE);
}

static uint32_t code_mode(const struct emu_cpu *cpu)
{
    const struct emu_seg *cs = &cpu->seg[EMU_CS], *ss = &cpu->seg[EMU_SS];
    if (emu_long_mode(cpu) && (cs->attr & SEG_L))
        return EMU_MODE_CODE64 | EMU_MODE_STACK64;
    return (cs->attr & SEG_DB ? EMU_MODE_CODE32 : 0) | (ss->attr & SEG_DB ? EMU_MODE_STACK32 : 0) |
           (all_flat(cpu) ? EMU_MODE_FLAT : 0);
}

static uint32_t unit_mode(const struct emu_cpu *cpu)
{
    uint64_t ymm = XCR0_SSE | XCR0_AVX;
    bool avx = (cpu->cr4 & CR4_OSXSAVE) && (cpu->xcr0 & ymm) == ymm;
    return (cpu->cr0 & CR0_EM ? EMU_MODE_EM : 0) | (cpu->cr0 & CR0_TS ? EMU_MODE_TS : 0) |
           (cpu->cr0 & CR0_MP ? EMU_MODE_MP : 0) | (cpu->cr4 & CR4_OSFXSR ? EMU_MODE_FXSR : 0) |
           (avx ? EMU_MODE_YMM : 0) | (emu_fp_exact(cpu) ? EMU_MODE_FP_EXACT : 0);
}

/* Something that decoding or privileges depend on has changed. */
void emu_mode_changed(struct emu_cpu *cpu)
{
    bool protected = (cpu->cr0 & CR0_PE) && !emu_vm86(cpu);
    cpu->mode = code_mode(cpu) | unit_mode(cpu) | (cpu->cpl == 3 ? EMU_MODE_USER : 0) |
                (protected ? EMU_MODE_PROTECTED : 0) | cpu->model_mode;
    set_code_gen(cpu);
    emu_tlb_select(cpu);
}

static void reset_segment(struct emu_cpu *cpu, unsigned index, uint16_t attr)
{
    cpu->seg[index] = (struct emu_seg){.limit = 0xffff, .attr = attr};
}

static void reset_control(struct emu_cpu *cpu)
{
    cpu->cr0 = CR0_CD | CR0_NW | CR0_ET;
    cpu->cr2 = cpu->cr3 = cpu->cr4 = cpu->cr8 = cpu->efer = 0;
    cpu->xcr0 = XCR0_X87;
    cpu->pkru = 0;
    cpu->dr[6] = DR6_FIXED;
    cpu->dr[7] = DR7_FIXED;
    cpu->gdt = cpu->idt = (struct emu_table){.limit = 0xffff};
    cpu->msr = (struct emu_msrs){
        .apic_base = cpu->index ? 0xfee00800 : 0xfee00900,
        .pat = UINT64_C(0x0007040600070406),
        .misc_enable = 1,
        .mtrr_def_type = 0xc06,
    };
}

/* Intel SDM vol. 3A table 9-1. */
void emu_cpu_reset(struct emu_cpu *cpu)
{
    memset(cpu->gpr, 0, sizeof(cpu->gpr));
    memset(cpu->vec, 0, sizeof(cpu->vec));
    cpu->gpr[EMU_RIP] = 0xfff0;
    cpu->gpr[RDX] = 0x600;
    cpu->rflags = FLAG_FIXED;
    emu_set_status_flags(cpu, 0);
    for (unsigned i = 0; i < EMU_LDTR; i++)
        reset_segment(cpu, i, SEG_P | SEG_S | SEG_WRITABLE | SEG_ACCESSED);
    cpu->seg[EMU_CS].attr |= SEG_CODE;
    cpu->seg[EMU_CS].selector = 0xf000;
    cpu->seg[EMU_CS].base = 0xffff0000;
    reset_segment(cpu, EMU_LDTR, SEG_P | 2);
    reset_segment(cpu, EMU_TR, SEG_P | 11);
    reset_control(cpu);
    emu_set_mxcsr(cpu, MXCSR_RESET);
    cpu->fpu = (struct emu_fpu){.control = 0x37f};
    cpu->cpl = 0;
    cpu->interrupt = -1;
    cpu->startup = -1;
    cpu->ended_vector = -1;
    cpu->leave = cpu->exit_kind = EMU_STAY;
    emu_tlb_flush(cpu, true);
    emu_mode_changed(cpu);
}

static bool create_parts(struct emu_cpu *cpu)
{
    bool all = emu_turn_init(cpu) == 0 && emu_lapic_create(cpu);
    for (uint32_t i = 0; i < EMU_TLBS; i++)
        all &= (cpu->tlbs[i] = emu_tlb_create()) != NULL;
    cpu->jumps = calloc(EMU_JUMPS, sizeof(*cpu->jumps));
    return all && cpu->jumps;
}

struct emu_cpu *emu_cpu_create(struct emu_vm *vm, uint32_t index)
{
    struct emu_cpu *cpu = aligned_alloc(64, (sizeof(*cpu) + 63) & ~(size_t)63);
    if (!cpu)
        return NULL;
    memset(cpu, 0, sizeof(*cpu));
    atomic_fetch_add(&vm->users, 1);
    cpu->vm = vm;
    cpu->index = index;
    cpu->wake_fd = -1;
    cpu->pkru_offset = XSTATE_PKRU;
    cpu->features = vm->model; /* the first one is the emulator's own */
    if (!create_parts(cpu)) {
        emu_cpu_destroy(cpu);
        return NULL;
    }
    emu_cpu_reset(cpu);
    emu_vm_lock(vm);
    cpu->next = vm->cpus;
    vm->cpus = cpu;
    vm->cpu_count++;
    if (cpu->lapic) {
        cpu->mp_state = index ? EMU_MP_UNINITIALIZED : EMU_MP_RUNNABLE;
        emu_lapic_reset(cpu);
    }
    emu_vm_unlock(vm);
    return cpu;
}

static void leave_vm(struct emu_cpu *cpu)
{
    emu_vm_lock(cpu->vm);
    for (struct emu_cpu **at = &cpu->vm->cpus; *at; at = &(*at)->next)
        if (*at == cpu) {
            *at = cpu->next;
            cpu->vm->cpu_count--;
            break;
        }
    if (cpu->vm->holder == cpu)
        cpu->vm->holder = NULL;
    if (cpu->wake_fd >= 0)
        close(cpu->wake_fd);
    cpu->wake_fd = -1;
    pthread_cond_broadcast(&cpu->vm->frozen);
    emu_vm_unlock(cpu->vm);
}

/* Shut the processor for ever: it runs no more, and whoever still asks it for something does
 * no harm. False while a thread is inside. */
bool emu_cpu_close(struct emu_cpu *cpu)
{
    bool nobody = false;
    if (!atomic_compare_exchange_strong(&cpu->inside, &nobody, true))
        return atomic_load(&cpu->closed);
    atomic_store(&cpu->closed, true);
    leave_vm(cpu);
    return true;
}

/* Free it: nobody knows it any more. */
void emu_cpu_destroy(struct emu_cpu *cpu)
{
    emu_cpu_close(cpu);
    pthread_cond_destroy(&cpu->changed);
    free(cpu->lapic);
    for (uint32_t i = 0; i < EMU_TLBS; i++)
        free(cpu->tlbs[i]);
    free(cpu->jumps);
    free(cpu->cpuid);
    emu_vm_drop(cpu->vm);
    free(cpu);
}

struct pykvm_exit *emu_cpu_exit(struct emu_cpu *cpu)
{
    return &cpu->exit;
}

static struct emu_segment segment_out(const struct emu_seg *seg)
{
    return (struct emu_segment){
        .base = seg->base,
        .limit = seg->limit,
        .selector = seg->selector,
        .type = seg->attr & SEG_TYPE,
        .s = !!(seg->attr & SEG_S),
        .dpl = (uint8_t)((seg->attr & SEG_DPL) >> SEG_DPL_SHIFT),
        .present = !!(seg->attr & SEG_P),
        .avl = !!(seg->attr & SEG_AVL),
        .l = !!(seg->attr & SEG_L),
        .db = !!(seg->attr & SEG_DB),
        .g = !!(seg->attr & SEG_G),
        .unusable = !!(seg->attr & SEG_UNUSABLE),
    };
}

static struct emu_seg segment_in(const struct emu_segment *in)
{
    return (struct emu_seg){
        .base = in->base,
        .limit = in->limit,
        .selector = in->selector,
        .attr = (uint16_t)((in->type & 15u) | (in->s ? SEG_S : 0) |
                           (uint32_t)(in->dpl & 3) << SEG_DPL_SHIFT | (in->present ? SEG_P : 0) |
                           (in->avl ? SEG_AVL : 0) | (in->l ? SEG_L : 0) | (in->db ? SEG_DB : 0) |
                           (in->g ? SEG_G : 0) | (in->unusable ? SEG_UNUSABLE : 0)),
    };
}

static void fpu_out(const struct emu_cpu *cpu, struct emu_state *state)
{
    const struct emu_fpu *fpu = &cpu->fpu;
    for (unsigned i = 0; i < 8; i++) {
        const struct emu_st *st = &fpu->reg[(fpu->top + i) & 7];
        state->st[i][0] = st->mantissa;
        state->st[i][1] = st->exponent;
    }
    state->fcw = fpu->control;
    state->fsw = emu_x87_status(fpu);
    state->fop = fpu->opcode;
    state->ftw = fpu->used;
    state->fip = fpu->ip;
    state->fdp = fpu->dp;
    state->fcs = fpu->cs;
    state->fds = fpu->ds;
}

static void fpu_in(struct emu_cpu *cpu, const struct emu_state *state)
{
    struct emu_fpu *fpu = &cpu->fpu;
    fpu->control = (state->fcw & X87_CONTROL_MASK) | X87_CONTROL_FIXED;
    emu_x87_set_status(fpu, state->fsw);
    fpu->opcode = state->fop & 0x7ff;
    fpu->used = state->ftw;
    fpu->ip = state->fip;
    fpu->dp = state->fdp;
    fpu->cs = state->fcs;
    fpu->ds = state->fds;
    for (unsigned i = 0; i < 8; i++)
        fpu->reg[(fpu->top + i) & 7] = (struct emu_st){state->st[i][0], (uint16_t)state->st[i][1]};
}

static void state_out(const struct emu_cpu *cpu, struct emu_state *state)
{
    memset(state, 0, sizeof(*state));
    memcpy(state->gpr, cpu->gpr, sizeof(state->gpr));
    state->rip = cpu->gpr[EMU_RIP];
    state->rflags = emu_rflags(cpu);
    for (unsigned i = 0; i < EMU_SEGMENTS; i++)
        state->segment[i] = segment_out(&cpu->seg[i]);
    state->gdt = cpu->gdt;
    state->idt = cpu->idt;
    state->cr0 = cpu->cr0;
    state->cr2 = cpu->cr2;
    state->cr3 = cpu->cr3;
    state->cr4 = cpu->cr4;
    state->cr8 = cpu->cr8;
    state->efer = cpu->efer;
    state->apic_base = cpu->msr.apic_base;
    state->xcr0 = cpu->xcr0;
    memcpy(state->dr, cpu->dr, sizeof(state->dr));
    memcpy(state->vec, cpu->vec, sizeof(state->vec));
    state->mxcsr = emu_mxcsr(cpu);
    state->pkru = cpu->pkru;
    fpu_out(cpu, state);
    state->halted = cpu->halted;
    state->nmi_pending = cpu->nmi_pending;
    state->nmi_blocked = cpu->nmi_blocked;
    state->shadow = cpu->shadow;
    state->event_pending = cpu->event.pending;
    state->event_vector = cpu->event.vector;
    state->event_type = cpu->event.type;
    state->event_has_error = cpu->event.has_error;
    state->event_error = cpu->event.error;
    state->trap = cpu->trap;
    state->interrupt_waits = cpu->interrupt >= 0;
    state->interrupt_vector = (uint8_t)(cpu->interrupt >= 0 ? cpu->interrupt : 0);
}

/* Any thread, also while the processor runs. */
void emu_cpu_get_state(struct emu_cpu *cpu, struct emu_state *state)
{
    emu_vm_freeze(cpu->vm);
    state_out(cpu, state);
    emu_vm_thaw(cpu->vm);
}

static void control_in(struct emu_cpu *cpu, const struct emu_state *state)
{
    cpu->gdt = state->gdt;
    cpu->idt = state->idt;
    cpu->cr0 = state->cr0 | CR0_ET;
    cpu->cr2 = state->cr2;
    cpu->cr3 = state->cr3;
    cpu->cr4 = state->cr4;
    cpu->efer = state->efer;
    cpu->xcr0 = state->xcr0 | XCR0_X87;
    emu_lapic_set_base(cpu, state->apic_base, false);
    emu_lapic_set_cr8(cpu, state->cr8 & 15);
    memcpy(cpu->dr, state->dr, sizeof(cpu->dr));
    cpu->dr[6] = (uint32_t)cpu->dr[6] | DR6_FIXED;
    cpu->dr[7] = (uint32_t)cpu->dr[7] | DR7_FIXED;
}

static void events_in(struct emu_cpu *cpu, const struct emu_state *state)
{
    cpu->halted = state->halted && cpu->lapic;
    cpu->nmi_pending = state->nmi_pending;
    cpu->nmi_blocked = state->nmi_blocked;
    cpu->shadow = state->shadow;
    cpu->trap = state->trap;
    cpu->holds_traps = cpu->trap && cpu->shadow;
    cpu->repeating = false;
    cpu->interrupt = state->interrupt_waits ? state->interrupt_vector : -1;
    cpu->event = (struct emu_event){
        .pending = state->event_pending,
        .has_error = state->event_has_error,
        .vector = state->event_vector,
        .type = state->event_type,
        .error = state->event_error,
        .checked = state->event_vector != EXC_DB, /* INT n rather than INT1 */
        .cr2 = state->cr2,
        .next_rip = state->rip,
    };
}

/* A processor starts up. INIT leaves MSRs and the units' registers as they are (SDM vol. 3A
 * table 9-1); all but the first then wait for SIPI, whose vector is the page to begin at
 * (§8.4.4). With vm->lock: other processors' messages ask for what is not itself meanwhile. */
static void take_init(struct emu_cpu *cpu)
{
    struct emu_msrs msr = cpu->msr;
    struct emu_fpu fpu = cpu->fpu;
    union emu_vec vec[16];
    uint64_t xcr0 = cpu->xcr0, caching = cpu->cr0 & (CR0_CD | CR0_NW);
    uint32_t mxcsr = cpu->mxcsr, pkru = cpu->pkru;
    memcpy(vec, cpu->vec, sizeof(vec));
    int startup = cpu->startup;
    emu_cpu_reset(cpu);
    cpu->startup = startup;
    cpu->msr = msr;
    cpu->fpu = fpu;
    memcpy(cpu->vec, vec, sizeof(vec));
    cpu->xcr0 = xcr0;
    cpu->cr0 = caching | CR0_ET;
    cpu->mxcsr = mxcsr;
    cpu->pkru = pkru;
    cpu->halted = cpu->nmi_blocked = false;
    cpu->nmi_pending = false;
    cpu->shadow = 0;
    cpu->trap = 0;
    cpu->mp_state = cpu->index ? EMU_MP_INIT_RECEIVED : EMU_MP_RUNNABLE;
    emu_lapic_reset(cpu);
}

static void take_sipi(struct emu_cpu *cpu)
{
    int vector = atomic_exchange(&cpu->startup, -1);
    if (vector < 0 || cpu->mp_state != EMU_MP_INIT_RECEIVED)
        return;
    cpu->seg[EMU_CS].selector = (uint16_t)(vector << 8);
    cpu->seg[EMU_CS].base = (uint64_t)vector << 12;
    cpu->gpr[EMU_RIP] = 0;
    cpu->mp_state = EMU_MP_RUNNABLE;
}

void emu_cpu_take_startup(struct emu_cpu *cpu)
{
    if (EMU_LIKELY(!atomic_load(&cpu->init_wanted) && atomic_load(&cpu->startup) < 0))
        return;
    emu_vm_lock(cpu->vm);
    if (atomic_exchange(&cpu->init_wanted, false))
        take_init(cpu);
    take_sipi(cpu);
    emu_vm_unlock(cpu->vm);
}

enum emu_mp_state emu_cpu_get_mp_state(struct emu_cpu *cpu)
{
    emu_vm_freeze(cpu->vm);
    uint8_t state = cpu->halted ? EMU_MP_HALTED : cpu->mp_state;
    emu_vm_thaw(cpu->vm);
    return (enum emu_mp_state)state;
}

/* Without an irqchip a processor runs, whatever is said here. */
void emu_cpu_set_mp_state(struct emu_cpu *cpu, enum emu_mp_state state)
{
    if (!cpu->lapic)
        return;
    emu_vm_freeze(cpu->vm);
    cpu->halted = state == EMU_MP_HALTED;
    if (cpu->halted)
        emu_cpu_abandon(cpu);
    cpu->mp_state = (uint8_t)(cpu->halted ? EMU_MP_RUNNABLE : state);
    emu_vm_thaw(cpu->vm);
}

static void cpl_from_state(struct emu_cpu *cpu)
{
    cpu->cpl = !(cpu->cr0 & CR0_PE) ? 0
               : emu_vm86(cpu)      ? 3
                                    : (cpu->seg[EMU_SS].attr & SEG_DPL) >> SEG_DPL_SHIFT;
}

/* Let nothing of the last exit's instruction come later: it has not happened, but for writes
 * that the owner has seen. */
void emu_cpu_abandon(struct emu_cpu *cpu)
{
    emu_vm_freeze(cpu->vm);
    cpu->alone = cpu->resuming = false;
    cpu->exit_kind = EMU_STAY;
    memset(&cpu->replay, 0, offsetof(struct emu_replay, string));
    emu_vm_thaw(cpu->vm);
}

/* The processor comes from KVM, with the state set since, to return to it soon: runs end
 * with PYKVM_AGAIN where KVM should go on. `interrupts`: KVM has interrupt chips, so that
 * devices, HLT and a set IF are its business. Memory may have changed meanwhile. */
void emu_cpu_begin_visit(struct emu_cpu *cpu, bool interrupts)
{
    emu_cpu_abandon(cpu);
    cpu->visiting = true;
    cpu->visit_ended = false;
    cpu->visit_interrupts = interrupts;
    cpu->visit_start = emu_cpu_retired(cpu);
    cpu->vm->cache.flush_wanted = true;
    emu_code_changed(cpu);
}

/* Whether it should go now, rather than being run again. */
bool emu_cpu_visit_ended(const struct emu_cpu *cpu)
{
    return cpu->visit_ended;
}

static void registers_in(struct emu_cpu *cpu, const uint64_t *values)
{
    uint32_t rflags = (uint32_t)values[17];
    bool vm86 = emu_vm86(cpu);
    if (values[16] != cpu->gpr[EMU_RIP] && !cpu->replay.writes)
        emu_cpu_abandon(cpu); /* an answer goes to its own instruction only */
    memcpy(cpu->gpr, values, 16 * sizeof(*values));
    cpu->gpr[EMU_RIP] = values[16];
    cpu->rflags = (rflags & FLAGS_WRITABLE & ~FLAGS_STATUS) | FLAG_FIXED;
    emu_set_status_flags(cpu, rflags);
    if (emu_vm86(cpu) != vm86)
        cpl_from_state(cpu);
    emu_mode_changed(cpu);
    emu_attend(cpu, EMU_ATTEND_EVENT);
}

/* gpr[16] in encoding order, rip, rflags: as struct emu_state begins. Any thread. */
void emu_cpu_set_registers(struct emu_cpu *cpu, const uint64_t *values)
{
    emu_vm_freeze(cpu->vm);
    registers_in(cpu, values);
    emu_vm_thaw(cpu->vm);
}

static void state_in(struct emu_cpu *cpu, const struct emu_state *state)
{
    registers_in(cpu, state->gpr);
    for (unsigned i = 0; i < EMU_SEGMENTS; i++)
        cpu->seg[i] = segment_in(&state->segment[i]);
    control_in(cpu, state);
    memcpy(cpu->vec, state->vec, sizeof(state->vec));
    emu_set_mxcsr(cpu, state->mxcsr);
    cpu->pkru = state->pkru;
    fpu_in(cpu, state);
    events_in(cpu, state);
    cpl_from_state(cpu);
    if ((cpu->cr0 & CR0_PG) && (cpu->cr4 & CR4_PAE) && !emu_long_mode(cpu))
        emu_pdptes_load(cpu, cpu->cr3);
    emu_tlb_flush(cpu, true);
    emu_mode_changed(cpu);
}

/* Returns 0, or -EINVAL where long mode's switches contradict each other. Any thread. */
int emu_cpu_set_state(struct emu_cpu *cpu, const struct emu_state *state)
{
    if ((state->efer & EFER_LMA) && !((state->cr0 & CR0_PG) && (state->cr4 & CR4_PAE)))
        return -EINVAL;
    emu_vm_freeze(cpu->vm);
    state_in(cpu, state);
    emu_vm_thaw(cpu->vm);
    return 0;
}
