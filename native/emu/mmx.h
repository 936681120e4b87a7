/* MMX registers: the mantissas of the x87 ones. Intel SDM vol. 1 §9.2. */
#ifndef PYKVM_EMU_MMX_H
#define PYKVM_EMU_MMX_H

#include "vec.h"

#define FSW_ES 0x80u

/* Exceptions that the x87 unit has pending come before any fault of a memory operand. */
static inline void emu_mmx_wait(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    if (EMU_UNLIKELY(cpu->fpu.status & FSW_ES))
        emu_raise(cpu, insn, EXC_MF);
}

/* Every MMX instruction but EMMS: TOP is 0 and all registers are in use (§9.5.1). */
static inline void emu_mmx_begin(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    emu_mmx_wait(cpu, insn);
    cpu->fpu.top = 0;
    cpu->fpu.used = 0xff;
}

static inline emu_lane emu_mmx_get(const struct emu_cpu *cpu, unsigned reg)
{
    return (emu_lane){cpu->fpu.reg[reg & 7].mantissa};
}

static inline void emu_mmx_set(struct emu_cpu *cpu, unsigned reg, uint64_t value)
{
    cpu->fpu.reg[reg & 7] = (struct emu_st){value, 0xffff};
}

/* As EMU_VEC_LOAD_OP; nothing is loaded while an exception is pending. */
#define EMU_MMX_LOAD_OP(name, size_bytes, ...)                                                     \
    EMU_VEC_LOAD_OP(name##_ready, size_bytes, 0, emu_mmx_begin(cpu, insn); __VA_ARGS__)            \
    static EMU_OP(name)                                                                            \
    {                                                                                              \
        emu_mmx_wait(cpu, insn);                                                                   \
        return name##_ready(cpu, insn);                                                            \
    }

/* op_mNAME_r, _m and their table mNAME, from a kernel whose upper halves do not matter. */
#define EMU_MMX_OPS(name, kernel, size_bytes)                                                      \
    static EMU_OP(op_m##name##_r)                                                                  \
    {                                                                                              \
        emu_lane x = kernel(cpu, insn, emu_mmx_get(cpu, insn->reg), emu_mmx_get(cpu, insn->rm));   \
        emu_mmx_begin(cpu, insn);                                                                  \
        emu_mmx_set(cpu, insn->reg, x[0]);                                                         \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_MMX_LOAD_OP(op_m##name##_m, size_bytes,                                                    \
                    emu_lane x = kernel(cpu, insn, emu_mmx_get(cpu, insn->reg), b);                \
                    emu_mmx_set(cpu, insn->reg, x[0]))                                             \
    EMU_VEC_TABLE(m##name)

#define EMU_MMX_ROW(map, opcode, shape, name)                                                      \
    {EMU_MAP_##map, opcode, EMU_NP, EMU_MODRM | EMU_MMX | (shape), &m##name, NULL}

#endif
