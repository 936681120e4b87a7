/* Conversions between vector registers: among floating-point types, and to and from 32-bit
 * integers. Intel SDM vol. 2A, CVTxx2xx; VCVTPH2PS and VCVTPS2PH vol. 2C. */
#include "fp_host.h"

/* emu_fp_kind.variant: the result's bits, or whether to truncate. */
static void convert_lanes(struct emu_soft *soft, const struct emu_fp_kind *kind,
                          const struct emu_insn *insn, union emu_vec *to,
                          const union emu_vec *first, const union emu_vec *source)
{
    (void)insn;
    if (kind->scalar)
        memcpy(to, first, 16);
    for (unsigned i = 0; i < kind->lanes; i++)
        emu_set_element(
            to, kind->variant, i,
            emu_soft_convert(soft, kind->bits, kind->variant, emu_element(source, kind->bits, i)));
}

static void from_int_lanes(struct emu_soft *soft, const struct emu_fp_kind *kind,
                           const struct emu_insn *insn, union emu_vec *to,
                           const union emu_vec *first, const union emu_vec *source)
{
    (void)insn;
    (void)first;
    for (unsigned i = 0; i < kind->lanes; i++)
        emu_set_element(to, kind->variant, i,
                        emu_soft_from_int(soft, kind->variant, (int32_t)source->u32[i]));
}

static void to_int_lanes(struct emu_soft *soft, const struct emu_fp_kind *kind,
                         const struct emu_insn *insn, union emu_vec *to, const union emu_vec *first,
                         const union emu_vec *source)
{
    (void)insn;
    (void)first;
    enum emu_rounding rounding = kind->variant ? EMU_ROUND_ZERO : emu_soft_rounding(soft);
    for (unsigned i = 0; i < kind->lanes; i++)
        to->u32[i] = (uint32_t)emu_soft_to_int(soft, kind->bits, 32,
                                               emu_element(source, kind->bits, i), rounding);
}

/* Legacy, VEX.128 and VEX.256 forms: lanes and bytes are those of the first two. */
#define EXACT(name, kernel, bits, lanes, bytes, variant)                                           \
    EMU_FP_EXACT(op_##name, kernel, NULL, bits, lanes, bytes, false, false, variant)               \
    EMU_FP_EXACT(op_v##name, kernel, NULL, bits, lanes, bytes, false, true, variant)               \
    EMU_FP_EXACT(op_y##name, kernel, NULL, bits, 2 * (lanes), 2 * (bytes), false, true, variant)

EXACT(cvtps2pd, convert_lanes, 32, 2, 8, 64)
EXACT(cvtpd2ps, convert_lanes, 64, 2, 16, 32)
EXACT(cvtdq2ps, from_int_lanes, 32, 4, 16, 32)
EXACT(cvtdq2pd, from_int_lanes, 32, 2, 8, 64)
EXACT(cvtps2dq, to_int_lanes, 32, 4, 16, false)
EXACT(cvttps2dq, to_int_lanes, 32, 4, 16, true)
EXACT(cvtpd2dq, to_int_lanes, 64, 2, 16, false)
EXACT(cvttpd2dq, to_int_lanes, 64, 2, 16, true)
EMU_FP_EXACT(op_cvtss2sd, convert_lanes, NULL, 32, 1, 4, true, false, 64)
EMU_FP_EXACT(op_vcvtss2sd, convert_lanes, NULL, 32, 1, 4, true, true, 64)
EMU_FP_EXACT(op_cvtsd2ss, convert_lanes, NULL, 64, 1, 8, true, false, 32)
EMU_FP_EXACT(op_vcvtsd2ss, convert_lanes, NULL, 64, 1, 8, true, true, 32)
EMU_FP_EXACT(op_vcvtph2ps, convert_lanes, NULL, 16, 4, 8, false, true, 32)
EMU_FP_EXACT(op_ycvtph2ps, convert_lanes, NULL, 16, 8, 16, false, true, 32)

EMU_FP_HOST_BINARY(cvtss2sd_kernel, "vcvtss2sd")
EMU_FP_HOST_BINARY(cvtsd2ss_kernel, "vcvtsd2ss")
EMU_FP_HOST_UNARY(cvtps2pd_kernel, "vcvtps2pd")
EMU_FP_HOST_UNARY(cvtpd2ps_kernel, "vcvtpd2psx")
EMU_FP_HOST_UNARY(cvtdq2ps_kernel, "vcvtdq2ps")
EMU_FP_HOST_UNARY(cvtdq2pd_kernel, "vcvtdq2pd")
EMU_FP_HOST_UNARY(cvtps2dq_kernel, "vcvtps2dq")
EMU_FP_HOST_UNARY(cvttps2dq_kernel, "vcvttps2dq")
EMU_FP_HOST_UNARY(cvtpd2dq_kernel, "vcvtpd2dqx")
EMU_FP_HOST_UNARY(cvttpd2dq_kernel, "vcvttpd2dqx")
EMU_FP_HOST_UNARY(cvtph2ps_kernel, "vcvtph2ps")

EMU_FP_HOST_SCALAR(cvtss2sd, cvtss2sd_kernel, 4, d, q)
EMU_FP_HOST_SCALAR(cvtsd2ss, cvtsd2ss_kernel, 8, q, d)
EMU_FP_HOST_PACKED(cvtdq2ps, cvtdq2ps_kernel)
EMU_FP_HOST_PACKED(cvtps2dq, cvtps2dq_kernel)
EMU_FP_HOST_PACKED(cvttps2dq, cvttps2dq_kernel)

#if EMU_FP_HOST
/* Half a lane becomes a lane. */
#define HOST_WIDENS(name)                                                                          \
    EMU_VEC_128(name, name##_kernel, 8, )                                                          \
    static EMU_OP(op_y##name##_r)                                                                  \
    {                                                                                              \
        emu_lane b = EMU_LANE(rm, 0), upper = {b[1], 0};                                           \
        emu_lane low = name##_kernel(cpu, insn, b, b);                                             \
        emu_set_256(cpu, insn->reg, low, name##_kernel(cpu, insn, upper, upper));                  \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_VEC_LOAD_OP(op_y##name##_m, 16, 0, emu_lane upper = {b[1]};                                \
                    emu_lane low = name##_kernel(cpu, insn, b, b);                                 \
                    emu_set_256(cpu, insn->reg, low, name##_kernel(cpu, insn, upper, upper)))

/* Lanes become half as wide; the instruction itself clears the rest. */
#define HOST_NARROWS(name)                                                                         \
    EMU_VEC_LEGACY(name, name##_kernel, 16, 15, )                                                  \
    EMU_VEC_128(name, name##_kernel, 16, )                                                         \
    static inline void host_##name(struct emu_cpu *cpu, const struct emu_insn *insn, emu_lane low, \
                                   emu_lane high)                                                  \
    {                                                                                              \
        low = name##_kernel(cpu, insn, low, low);                                                  \
        high = name##_kernel(cpu, insn, high, high);                                               \
        emu_set_128(cpu, insn->reg, (emu_lane){low[0], high[0]});                                  \
    }                                                                                              \
    static EMU_OP(op_y##name##_r)                                                                  \
    {                                                                                              \
        host_##name(cpu, insn, EMU_LANE(rm, 0), EMU_LANE(rm, 1));                                  \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_VEC_LOAD_OP(op_y##name##_m, 32, 0, host_##name(cpu, insn, b, b1))

EMU_VEC_LEGACY(cvtps2pd, cvtps2pd_kernel, 8, 0, )
EMU_VEC_LEGACY(cvtdq2pd, cvtdq2pd_kernel, 8, 0, )
HOST_WIDENS(cvtps2pd)
HOST_WIDENS(cvtdq2pd)
HOST_WIDENS(cvtph2ps)
HOST_NARROWS(cvtpd2ps)
HOST_NARROWS(cvtpd2dq)
HOST_NARROWS(cvttpd2dq)
#endif

#define TABLE(name)                                                                                \
    static const struct emu_forms name = EMU_FP_FORMS(op_##name),                                  \
                                  v##name = EMU_FP_FORMS(op_v##name),                              \
                                  y##name = EMU_FP_FORMS(op_y##name);
#define TABLE_SCALAR(name)                                                                         \
    static const struct emu_forms name = EMU_FP_FORMS(op_##name),                                  \
                                  v##name = EMU_FP_FORMS(op_v##name);
TABLE(cvtps2pd)
TABLE(cvtpd2ps)
TABLE(cvtdq2ps)
TABLE(cvtdq2pd)
TABLE(cvtps2dq)
TABLE(cvttps2dq)
TABLE(cvtpd2dq)
TABLE(cvttpd2dq)
TABLE_SCALAR(cvtss2sd)
TABLE_SCALAR(cvtsd2ss)
static const struct emu_forms vcvtph2ps = EMU_FP_FORMS(op_vcvtph2ps),
                              ycvtph2ps = EMU_FP_FORMS(op_ycvtph2ps);

/* VCVTPS2PH: E is the destination, of 8 or 16 bytes; the immediate may name the rounding.
 * FTZ does not count. */
static void narrow_to_half(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned lanes,
                           union emu_vec *to)
{
    struct emu_soft soft;
    uint32_t mxcsr = emu_mxcsr(cpu);
    if (!(insn->imm & 4))
        mxcsr = (mxcsr & ~(3u << MXCSR_RC_SHIFT)) | (uint32_t)(insn->imm & 3) << MXCSR_RC_SHIFT;
    emu_soft_begin(&soft, mxcsr);
    memset(to, 0, sizeof(*to));
    for (unsigned i = 0; i < lanes; i++)
        to->u16[i] = (uint16_t)emu_soft_convert(&soft, 32, 16, cpu->vec[insn->reg].u32[i]);
    emu_fp_finish(cpu, insn, &soft);
}

#define TO_HALF(name, lanes)                                                                       \
    static EMU_OP(name##_r)                                                                        \
    {                                                                                              \
        union emu_vec to;                                                                          \
        narrow_to_half(cpu, insn, lanes, &to);                                                     \
        cpu->vec[insn->rm] = to;                                                                   \
        EMU_NEXT_UNCHAINED;                                                                        \
    }                                                                                              \
    static EMU_OP(name##_m)                                                                        \
    {                                                                                              \
        union emu_vec to;                                                                          \
        uint64_t linear = emu_ea(cpu, insn, 2 * (lanes), true);                                    \
        emu_probe_write(cpu, insn, linear, 2 * (lanes));                                           \
        narrow_to_half(cpu, insn, lanes, &to);                                                     \
        emu_store_vec(cpu, insn, linear, &to, 2 * (lanes));                                        \
        EMU_NEXT_UNCHAINED;                                                                        \
    }                                                                                              \
    static const struct emu_forms name = EMU_FORMS_RM(name##_r, name##_m);
TO_HALF(vcvtps2ph, 4)
TO_HALF(ycvtps2ph, 8)

#define ROW(map, opcode, match, shape, name) {EMU_MAP_##map, opcode, match, shape, &name, NULL}
#define ROWS_PACKED(opcode, prefix, name)                                                          \
    ROW(0F, opcode, prefix, EMU_FP_LEGACY, name),                                                  \
        ROW(V0F, opcode, (prefix) | EMU_L0 | EMU_VVVV0, EMU_FP_VEX, v##name),                      \
        ROW(V0F, opcode, (prefix) | EMU_L1 | EMU_VVVV0, EMU_FP_VEX, y##name)
#define ROWS_SCALAR(opcode, prefix, name)                                                          \
    ROW(0F, opcode, prefix, EMU_FP_LEGACY, name), ROW(V0F, opcode, prefix, EMU_FP_VEX, v##name)
#define HALF (EMU_P66 | EMU_W0 | EMU_VVVV0)

static const struct emu_row rows[] = {
    ROWS_PACKED(0x5a, EMU_NP, cvtps2pd),
    ROWS_PACKED(0x5a, EMU_P66, cvtpd2ps),
    ROWS_SCALAR(0x5a, EMU_PF3, cvtss2sd),
    ROWS_SCALAR(0x5a, EMU_PF2, cvtsd2ss),
    ROWS_PACKED(0x5b, EMU_NP, cvtdq2ps),
    ROWS_PACKED(0x5b, EMU_P66, cvtps2dq),
    ROWS_PACKED(0x5b, EMU_PF3, cvttps2dq),
    ROWS_PACKED(0xe6, EMU_P66, cvttpd2dq),
    ROWS_PACKED(0xe6, EMU_PF3, cvtdq2pd),
    ROWS_PACKED(0xe6, EMU_PF2, cvtpd2dq),
    ROW(V38, 0x13, HALF | EMU_L0, EMU_FP_VEX, vcvtph2ps),
    ROW(V38, 0x13, HALF | EMU_L1, EMU_FP_VEX, ycvtph2ps),
    ROW(V3A, 0x1d, HALF | EMU_L0, EMU_MODRM | EMU_AVX | EMU_IMM_U8, vcvtps2ph),
    ROW(V3A, 0x1d, HALF | EMU_L1, EMU_MODRM | EMU_AVX | EMU_IMM_U8, ycvtps2ph),
};
EMU_FAMILY(emu_family_fp_convert, rows);
