/* Between the files that return to other privilege levels. */
#ifndef PYKVM_EMU_FAR_H
#define PYKVM_EMU_FAR_H

#include "segment.h"

void emu_far(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t selector, uint64_t rip,
             bool is_call);
void emu_return_code(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t selector,
                     struct emu_descriptor *code);
void emu_return_to(struct emu_cpu *cpu, const struct emu_insn *insn, struct emu_descriptor *code,
                   uint64_t rip, uint16_t ss, uint64_t sp);

emu_op emu_op_iret;

/* Which flags POPF and IRET may change at the present level (SDM vol. 2B, POPF). */
static inline uint32_t emu_flags_mask(const struct emu_cpu *cpu)
{
    uint32_t mask = FLAGS_STATUS | FLAG_TF | FLAG_DF | FLAG_NT | FLAG_AC | FLAG_ID;
    unsigned iopl = (cpu->rflags & FLAG_IOPL) >> 12;
    if (cpu->cpl == 0)
        mask |= FLAG_IOPL;
    if (cpu->cpl <= iopl)
        mask |= FLAG_IF;
    return mask;
}

static inline void emu_set_flags(struct emu_cpu *cpu, uint32_t flags, uint32_t mask)
{
    uint32_t all = (emu_rflags(cpu) & ~mask) | (flags & mask);
    cpu->rflags = (all & ~FLAGS_STATUS) | FLAG_FIXED;
    emu_set_status_flags(cpu, all);
    emu_mode_changed(cpu);
}

#endif
