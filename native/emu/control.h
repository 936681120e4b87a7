/* Between control registers, MSRs and the instructions that write them. */
#ifndef PYKVM_EMU_CONTROL_H
#define PYKVM_EMU_CONTROL_H

#include "ops.h"

void emu_write_cr0(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t value);
void emu_write_cr3(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t value);
void emu_write_cr4(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t value);
bool emu_write_efer(struct emu_cpu *cpu, uint64_t value);
bool emu_write_xcr0(struct emu_cpu *cpu, uint64_t value);

/* cpuid.c */
void emu_cpuid(struct emu_cpu *cpu, uint32_t leaf, uint32_t subleaf, struct emu_cpuid *out);

static inline void emu_require_cpl0(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    if (cpu->cpl)
        emu_raise_error(cpu, insn, EXC_GP, 0);
}

#endif
