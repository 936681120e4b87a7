/* What all string instructions share: pointers, counter, repetition. */
#ifndef PYKVM_EMU_STRINGS_H
#define PYKVM_EMU_STRINGS_H

#include "ops.h"

/* So many elements of a repetition take a slice's time, and the guest's by the instruction clock,
 * as one instruction does. */
#define EMU_ELEMENTS_SHIFT 4

static inline bool emu_repeats(const struct emu_insn *insn)
{
    return insn->prefix & (EMU_PREFIX_REP | EMU_PREFIX_REPNE);
}

static inline enum emu_size emu_asize_register(const struct emu_insn *insn)
{
    return (enum emu_size)(emu_asize(insn) + 1);
}

static inline uint64_t emu_counter(const struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return emu_cut_address(cpu->gpr[RCX], emu_asize(insn));
}

/* Is there nothing to repeat? Then registers of 32 bits lose their upper halves all the same, on
 * Intel's processors: the counter, and of what moves many elements at once the pointers (a set of
 * registers). */
static inline bool emu_counts_none(struct emu_cpu *cpu, const struct emu_insn *insn,
                                   uint32_t pointers)
{
    if (EMU_LIKELY(emu_counter(cpu, insn)))
        return false;
    if (emu_asize(insn) != 1)
        return true;
    for (unsigned reg = RAX; reg <= RDI; reg++)
        if ((pointers | 1u << RCX) >> reg & 1)
            cpu->gpr[reg] = (uint32_t)cpu->gpr[reg];
    return true;
}

static inline void emu_advance(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned reg,
                               uint64_t distance_bytes)
{
    uint64_t signed_distance = cpu->rflags & FLAG_DF ? 0 - distance_bytes : distance_bytes;
    emu_set(cpu, reg, emu_asize_register(insn), cpu->gpr[reg] + signed_distance);
}

static inline void emu_count_down(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t count)
{
    emu_set(cpu, RCX, emu_asize_register(insn), cpu->gpr[RCX] - count);
}

/* Note that `count` elements are done. The charge follows from the counter alone, so that runs
 * repeat exactly wherever a repetition stops on its way. False where it has to stop here. */
static inline bool emu_repeat_on(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t count)
{
    uint64_t before = emu_counter(cpu, insn);
    emu_count_down(cpu, insn, count);
    if (cpu->stepping)
        return false;
    cpu->left -=
        (int64_t)((before >> EMU_ELEMENTS_SHIFT) - ((before - count) >> EMU_ELEMENTS_SHIFT));
    return cpu->left >= 0 && !atomic_load_explicit(&cpu->attention, memory_order_relaxed);
}

/* DS:rSI, or another segment by prefix; and ES:rDI, always. */
static inline uint64_t emu_source(struct emu_cpu *cpu, const struct emu_insn *insn,
                                  uint32_t size_bytes)
{
    uint64_t offset = emu_cut_address(cpu->gpr[RSI], emu_asize(insn));
    unsigned segment = insn->ea ? insn->ea & EMU_EA_SEG : EMU_EA_NOSEG;
    return emu_linear(cpu, insn, segment == EMU_EA_NOSEG ? EMU_DS : segment, offset, size_bytes,
                      false);
}

static inline uint64_t emu_target(struct emu_cpu *cpu, const struct emu_insn *insn,
                                  uint32_t size_bytes, bool write)
{
    uint64_t offset = emu_cut_address(cpu->gpr[RDI], emu_asize(insn));
    return emu_linear(cpu, insn, EMU_ES, offset, size_bytes, write);
}

/* Addresses run upward and segments need no checks: whole stretches can be done at once. */
static inline bool emu_bulk(const struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return !(cpu->rflags & FLAG_DF) && !cpu->stepping && !(insn->ea & EMU_EA_CHECK) &&
           (cpu->mode & (EMU_MODE_CODE64 | EMU_MODE_FLAT));
}

/* Stop in the middle of a repetition: the instruction goes on when the run loop has seen
 * to everything else. Where it runs alone, each element counts as an instruction. */
static inline const struct emu_insn *emu_pause(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    emu_unwind(cpu, insn);
    cpu->left -= cpu->stepping;
    cpu->repeating = true;
    return NULL;
}

#endif
