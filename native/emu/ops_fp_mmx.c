/* Conversions between vector and MMX registers: CVTPI2PS, CVTPI2PD, CVTPS2PI, CVTPD2PI and
 * their truncating forms. Intel SDM vol. 2A. In software always. */
#include "fp_exact.h"
#include "mmx.h"

/* Two integers to the low half of a register, or to the whole. */
static void from_mmx(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned bits,
                     uint64_t source)
{
    struct emu_soft soft;
    union emu_vec to = {.u64 = {0}};
    emu_soft_begin(&soft, emu_mxcsr(cpu));
    for (unsigned i = 0; i < 2; i++)
        emu_set_element(&to, bits, i,
                        emu_soft_from_int(&soft, bits, (int32_t)(source >> (32 * i))));
    emu_fp_finish(cpu, insn, &soft);
    memcpy(&cpu->vec[insn->reg], &to, bits / 4);
}

/* With a memory operand no MMX register is used and the x87 unit is left alone; of CVTPI2PS the
 * manual says otherwise, but processors of both makers do it too. */
#define FROM_MMX(name, bits)                                                                       \
    static EMU_OP(op_##name##_r)                                                                   \
    {                                                                                              \
        uint64_t source = emu_mmx_get(cpu, insn->rm)[0];                                           \
        emu_mmx_wait(cpu, insn);                                                                   \
        from_mmx(cpu, insn, bits, source);                                                         \
        emu_mmx_begin(cpu, insn);                                                                  \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static EMU_OP(op_##name##_m)                                                                   \
    {                                                                                              \
        uint64_t linear = emu_ea(cpu, insn, 8, false);                                             \
        from_mmx(cpu, insn, bits, emu_load_q(cpu, insn, linear));                                  \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static const struct emu_forms name = EMU_FORMS_RM(op_##name##_r, op_##name##_m);
FROM_MMX(cvtpi2ps, 32)
FROM_MMX(cvtpi2pd, 64)

static void to_mmx(struct emu_cpu *cpu, const struct emu_insn *insn, const struct emu_fp_kind *kind,
                   const union emu_vec *source)
{
    struct emu_soft soft;
    uint64_t to = 0;
    emu_soft_begin(&soft, emu_mxcsr(cpu));
    enum emu_rounding rounding = kind->variant ? EMU_ROUND_ZERO : emu_soft_rounding(&soft);
    for (unsigned i = 0; i < 2; i++)
        to |= emu_soft_to_int(&soft, kind->bits, 32, emu_element(source, kind->bits, i), rounding)
              << (32 * i);
    emu_fp_finish(cpu, insn, &soft);
    emu_mmx_begin(cpu, insn);
    emu_mmx_set(cpu, insn->reg, to);
}

#define TO_MMX(name, bits, bytes, truncates)                                                       \
    static const struct emu_fp_kind name##_kind = {NULL,  NULL,  bits,  2,                         \
                                                   bytes, false, false, truncates};                \
    static EMU_OP(op_##name##_r)                                                                   \
    {                                                                                              \
        emu_mmx_wait(cpu, insn);                                                                   \
        to_mmx(cpu, insn, &name##_kind, &cpu->vec[insn->rm]);                                      \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static EMU_OP(op_##name##_m)                                                                   \
    {                                                                                              \
        union emu_vec source;                                                                      \
        emu_mmx_wait(cpu, insn);                                                                   \
        emu_fp_source_m(cpu, insn, &name##_kind, &source);                                         \
        to_mmx(cpu, insn, &name##_kind, &source);                                                  \
        EMU_NEXT_UNCHAINED;                                                                        \
    }                                                                                              \
    static const struct emu_forms name = EMU_FORMS_RM(op_##name##_r, op_##name##_m);
TO_MMX(cvtps2pi, 32, 8, false)
TO_MMX(cvttps2pi, 32, 8, true)
TO_MMX(cvtpd2pi, 64, 16, false)
TO_MMX(cvttpd2pi, 64, 16, true)

#define ROW(opcode, prefix, name) {EMU_MAP_0F, opcode, prefix, EMU_MODRM | EMU_SSE, &name, NULL}
static const struct emu_row rows[] = {
    ROW(0x2a, EMU_NP, cvtpi2ps), ROW(0x2a, EMU_P66, cvtpi2pd),  ROW(0x2c, EMU_NP, cvttps2pi),
    ROW(0x2d, EMU_NP, cvtps2pi), ROW(0x2c, EMU_P66, cvttpd2pi), ROW(0x2d, EMU_P66, cvtpd2pi),
};
EMU_FAMILY(emu_family_fp_mmx, rows);
