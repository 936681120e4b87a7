/* Instructions computed in software: what one is described by, and its handlers. */
#ifndef PYKVM_EMU_FP_EXACT_H
#define PYKVM_EMU_FP_EXACT_H

#include "fp.h"
#include "soft.h"

struct emu_fp_kind;

/* Computes `to`, which comes zeroed, from the first source (the destination in legacy
 * forms, VEX.vvvv) and from operand E. */
typedef void emu_fp_kernel(struct emu_soft *soft, const struct emu_fp_kind *kind,
                           const struct emu_insn *insn, union emu_vec *to,
                           const union emu_vec *first, const union emu_vec *source);

typedef uint64_t emu_fp_binary(struct emu_soft *soft, unsigned bits, uint64_t a, uint64_t b);

struct emu_fp_kind {
    emu_fp_kernel *kernel;
    emu_fp_binary *lane; /* for kernels that apply it to each lane */
    uint8_t bits, lanes; /* of the source's elements */
    uint8_t source_bytes;
    bool scalar, vex;
    uint8_t variant; /* the kernel's own, and: */
};
#define EMU_FP_KEEPS 0x80u /* `to` comes as it was: the destination is a source too */

/* Is the memory operand to be aligned? Packed legacy ones of 16 bytes are. */
static inline bool emu_fp_aligned(const struct emu_fp_kind *kind)
{
    return !kind->vex && kind->source_bytes == 16;
}

/* The whole instruction, with a register or a memory operand. */
const struct emu_insn *emu_fp_exact_r(struct emu_cpu *cpu, const struct emu_insn *insn,
                                      const struct emu_fp_kind *kind);
const struct emu_insn *emu_fp_exact_m(struct emu_cpu *cpu, const struct emu_insn *insn,
                                      const struct emu_fp_kind *kind);

/* Its parts, for instructions of another form. */
void emu_fp_source_m(struct emu_cpu *cpu, const struct emu_insn *insn,
                     const struct emu_fp_kind *kind, union emu_vec *source);

/* Take the flags, and raise what the guest has unmasked. Changes nothing else. */
void emu_fp_finish(struct emu_cpu *cpu, const struct emu_insn *insn, const struct emu_soft *soft);

static inline uint64_t emu_element(const union emu_vec *vec, unsigned bits, unsigned i)
{
    return bits == 64 ? vec->u64[i] : bits == 32 ? vec->u32[i] : vec->u16[i];
}

static inline void emu_set_element(union emu_vec *vec, unsigned bits, unsigned i, uint64_t value)
{
    if (bits == 64)
        vec->u64[i] = value;
    else if (bits == 32)
        vec->u32[i] = (uint32_t)value;
    else
        vec->u16[i] = (uint16_t)value;
}

/* to[i] = lane(first[i], source[i]); above a scalar lies what lay above the first source. */
emu_fp_kernel emu_fp_lanes;

#define EMU_FP_EXACT(name, ...)                                                                    \
    static const struct emu_fp_kind name##_kind = {__VA_ARGS__};                                   \
    static EMU_OP(name##_exact_r)                                                                  \
    {                                                                                              \
        return emu_fp_exact_r(cpu, insn, &name##_kind);                                            \
    }                                                                                              \
    static EMU_OP(name##_exact_m)                                                                  \
    {                                                                                              \
        return emu_fp_exact_m(cpu, insn, &name##_kind);                                            \
    }

#define EMU_FP_LEGACY (EMU_MODRM | EMU_SSE_FP)
#define EMU_FP_VEX (EMU_MODRM | EMU_AVX_FP)

/* The handlers of a row with EMU_SSE_FP or EMU_AVX_FP: by the host, and in software; or in software
 * always. */
#if EMU_FP_HOST
#define EMU_FP_FORMS(name)                                                                         \
    EMU_FORMS(name##_r, name##_exact_r, NULL, NULL, name##_m, name##_exact_m, NULL, NULL)
#else
#define EMU_FP_FORMS(name) EMU_FP_SOFT_FORMS(name)
#endif
#define EMU_FP_SOFT_FORMS(name) EMU_FORMS_RM(name##_exact_r, name##_exact_m)

#endif
