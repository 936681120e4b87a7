/* Handlers that compute by the host's own instructions; empty where it has none.
 *
 * VEX.128 encodings do for all forms: they need no alignment, and leave the upper halves
 * of the host's registers clean. Scalars move by themselves, as wider loads would have to
 * wait for narrower stores. */
#ifndef PYKVM_EMU_FP_HOST_H
#define PYKVM_EMU_FP_HOST_H

#include "fp_exact.h"
#include "vec.h"

#if EMU_FP_HOST

/* A kernel (vec.h) that is one instruction, of two sources or of the second alone. */
#define EMU_FP_HOST_BINARY(name, mnemonic)                                                         \
    EMU_KERNEL(name)                                                                               \
    {                                                                                              \
        emu_lane x;                                                                                \
        __asm__ volatile(mnemonic " %2, %1, %0" : "=x"(x) : "x"(a), "x"(b));                       \
        return x;                                                                                  \
    }
#define EMU_FP_HOST_UNARY(name, mnemonic)                                                          \
    EMU_KERNEL(name)                                                                               \
    {                                                                                              \
        emu_lane x;                                                                                \
        __asm__ volatile(mnemonic " %1, %0" : "=x"(x) : "x"(b));                                   \
        return x;                                                                                  \
    }

static inline emu_lane emu_fp_low_d(const union emu_vec *vec)
{
    return (emu_lane)(emu_f32x4){vec->f32[0], 0, 0, 0};
}

static inline emu_lane emu_fp_low_q(const union emu_vec *vec)
{
    return (emu_lane)(emu_f64x2){vec->f64[0], 0};
}

static inline void emu_fp_set_low_d(union emu_vec *vec, emu_lane value)
{
    vec->f32[0] = ((emu_f32x4)value)[0];
}

static inline void emu_fp_set_low_q(union emu_vec *vec, emu_lane value)
{
    vec->f64[0] = ((emu_f64x2)value)[0];
}

/* A VEX scalar's result: the first source's bits beside it, zero above. */
static inline void emu_fp_set_vex_q(struct emu_cpu *cpu, const struct emu_insn *insn,
                                    emu_lane value)
{
    union emu_vec *to = &cpu->vec[insn->reg];
    to->u64[1] = cpu->vec[insn->src].u64[1];
    to->u64[2] = to->u64[3] = 0;
    emu_fp_set_low_q(to, value);
}

static inline void emu_fp_set_vex_d(struct emu_cpu *cpu, const struct emu_insn *insn,
                                    emu_lane value)
{
    union emu_vec *to = &cpu->vec[insn->reg];
    to->u32[1] = cpu->vec[insn->src].u32[1];
    to->u64[1] = cpu->vec[insn->src].u64[1];
    to->u64[2] = to->u64[3] = 0;
    emu_fp_set_low_d(to, value);
}

/* op_NAME_r, _m and op_vNAME_r, _m. `from`, `to`: d or q, the sizes of source and result. */
#define EMU_FP_HOST_SCALAR(name, kernel, size_bytes, from, to)                                     \
    EMU_FP_HOST_SHAPE(op_##name, kernel, size_bytes, from, to, reg,                                \
                      emu_fp_set_low_##to(&cpu->vec[insn->reg], x))                                \
    EMU_FP_HOST_SHAPE(op_v##name, kernel, size_bytes, from, to, src,                               \
                      emu_fp_set_vex_##to(cpu, insn, x))

#define EMU_FP_HOST_SHAPE(name, kernel, size_bytes, from, to, first, set)                          \
    static EMU_OP(name##_r)                                                                        \
    {                                                                                              \
        emu_lane b = emu_fp_low_##from(&cpu->vec[insn->rm]);                                       \
        emu_lane x = kernel(cpu, insn, emu_fp_low_##to(&cpu->vec[insn->first]), b);                \
        set;                                                                                       \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_VEC_LOAD_OP(name##_m, size_bytes, 0,                                                       \
                    emu_lane x = kernel(cpu, insn, emu_fp_low_##to(&cpu->vec[insn->first]), b);    \
                    set)

/* op_NAME, op_vNAME, op_yNAME. */
#define EMU_FP_HOST_PACKED(name, kernel)                                                           \
    EMU_VEC_LEGACY(name, kernel, 16, 15, )                                                         \
    EMU_VEC_128(name, kernel, 16, )                                                                \
    EMU_VEC_256(name, kernel, )

#else
#define EMU_FP_HOST_BINARY(name, mnemonic)
#define EMU_FP_HOST_UNARY(name, mnemonic)
#define EMU_FP_HOST_SCALAR(name, kernel, size_bytes, from, to)
#define EMU_FP_HOST_PACKED(name, kernel)
#endif

#endif
