/* The guest's x87 stack, status and pointers, for the files that have its instructions.
 *
 * Intel SDM vol. 1 chapter 8. An instruction first reports what an earlier one left pending
 * (emu_x87_wait), then reads its operands, and changes state only when nothing can fault. */
#ifndef PYKVM_EMU_X87_H
#define PYKVM_EMU_X87_H

#include "fp80.h"
#include "ops.h"

#define X87_CONTROL_FIXED 0x40u
#define X87_CONTROL_MASK 0x1f3fu
#define X87_UNDERFLOW (FP80_IE | FP80_SF)
#define X87_OVERFLOW (FP80_IE | FP80_SF | FP80_C1)

/* Numbers of ten bytes are read and written as eight and two. */
static inline uint32_t emu_x87_part(uint32_t distance_bytes)
{
    return distance_bytes % 10 ? 2 : 8;
}

static inline struct emu_st *emu_x87_st(struct emu_fpu *fpu, unsigned i)
{
    return &fpu->reg[(fpu->top + i) & 7];
}

static inline bool emu_x87_empty(const struct emu_fpu *fpu, unsigned i)
{
    return !(fpu->used >> ((fpu->top + i) & 7) & 1);
}

static inline void emu_x87_set(struct emu_fpu *fpu, unsigned i, struct emu_st value)
{
    unsigned reg = (fpu->top + i) & 7;
    fpu->reg[reg] = value;
    fpu->used |= (uint8_t)(1u << reg);
}

static inline void emu_x87_free(struct emu_fpu *fpu, unsigned i)
{
    fpu->used &= (uint8_t)~(1u << ((fpu->top + i) & 7));
}

static inline void emu_x87_pop(struct emu_fpu *fpu)
{
    emu_x87_free(fpu, 0);
    fpu->top = (fpu->top + 1) & 7;
}

static inline void emu_x87_push(struct emu_fpu *fpu, struct emu_st value)
{
    fpu->top = (fpu->top - 1) & 7;
    emu_x87_set(fpu, 0, value);
}

/* ES and B follow from exceptions and masks. */
static inline void emu_x87_summarise(struct emu_fpu *fpu)
{
    bool pending = fpu->status & ~fpu->control & FP80_EXCEPTIONS;
    fpu->status &= (uint16_t)~(FP80_ES | FP80_BUSY);
    fpu->status |= pending ? FP80_ES | FP80_BUSY : 0;
}

static inline void emu_x87_set_control(struct emu_fpu *fpu, uint16_t control)
{
    fpu->control = (control & X87_CONTROL_MASK) | X87_CONTROL_FIXED;
    emu_x87_summarise(fpu);
}

static inline void emu_x87_set_status(struct emu_fpu *fpu, uint16_t status)
{
    fpu->top = (status >> 11) & 7;
    fpu->status = (uint16_t)(status & ~FP80_TOP);
    emu_x87_summarise(fpu);
}

static inline uint16_t emu_x87_status(const struct emu_fpu *fpu)
{
    return (uint16_t)(fpu->status | fpu->top << 11);
}

/* Report what is pending. With CR0.NE clear it would take an interrupt through the chips; as
 * under hardware virtualization, which holds NE set, it is #MF all the same. */
static inline void emu_x87_wait(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    if (EMU_UNLIKELY(cpu->fpu.status & FP80_ES))
        emu_raise(cpu, insn, EXC_MF);
}

/* Where an exception handler finds the instruction. Selectors are not kept: CPUID says so. */
static inline void emu_x87_note(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    cpu->fpu.ip = emu_insn_rip(cpu, insn);
    cpu->fpu.opcode = (uint16_t)insn->imm;
}

static inline void emu_x87_note_memory(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    emu_x87_note(cpu, insn);
    cpu->fpu.dp = emu_offset(cpu, insn);
}

/* Take over exceptions, and the condition bits that `condition` names. Returns whether an
 * unmasked one keeps the instruction from having any other effect. */
static inline bool emu_x87_report(struct emu_fpu *fpu, uint16_t status, unsigned condition,
                                  unsigned before)
{
    fpu->status = (uint16_t)((fpu->status & ~condition) | (status & condition) |
                             (status & (FP80_EXCEPTIONS | FP80_SF)));
    if (EMU_UNLIKELY(status & ~fpu->control & FP80_EXCEPTIONS))
        fpu->status |= FP80_ES | FP80_BUSY;
    return status & ~fpu->control & before;
}

/* ops_x87_env.c */
uint16_t emu_x87_tags(const struct emu_fpu *fpu);

#endif
