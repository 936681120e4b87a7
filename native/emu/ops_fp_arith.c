/* ADD, SUB, MUL, DIV, MIN, MAX and SQRT: four types each, in ten encodings. */
#include "fp_host.h"

#define EXACT(op, function)                                                                        \
    EMU_FP_EXACT(op_##op##ss, emu_fp_lanes, function, 32, 1, 4, true, false, 0)                    \
    EMU_FP_EXACT(op_##op##sd, emu_fp_lanes, function, 64, 1, 8, true, false, 0)                    \
    EMU_FP_EXACT(op_##op##ps, emu_fp_lanes, function, 32, 4, 16, false, false, 0)                  \
    EMU_FP_EXACT(op_##op##pd, emu_fp_lanes, function, 64, 2, 16, false, false, 0)                  \
    EMU_FP_EXACT(op_v##op##ss, emu_fp_lanes, function, 32, 1, 4, true, true, 0)                    \
    EMU_FP_EXACT(op_v##op##sd, emu_fp_lanes, function, 64, 1, 8, true, true, 0)                    \
    EMU_FP_EXACT(op_v##op##ps, emu_fp_lanes, function, 32, 4, 16, false, true, 0)                  \
    EMU_FP_EXACT(op_v##op##pd, emu_fp_lanes, function, 64, 2, 16, false, true, 0)                  \
    EMU_FP_EXACT(op_y##op##ps, emu_fp_lanes, function, 32, 8, 32, false, true, 0)                  \
    EMU_FP_EXACT(op_y##op##pd, emu_fp_lanes, function, 64, 4, 32, false, true, 0)

#define HOST(op)                                                                                   \
    EMU_FP_HOST_SCALAR(op##ss, op##ss_kernel, 4, d, d)                                             \
    EMU_FP_HOST_SCALAR(op##sd, op##sd_kernel, 8, q, q)                                             \
    EMU_FP_HOST_PACKED(op##ps, op##ps_kernel)                                                      \
    EMU_FP_HOST_PACKED(op##pd, op##pd_kernel)

/* In the order of ROWS. */
#define TABLE(op)                                                                                  \
    static const struct emu_forms op##_forms[] = {                                                 \
        EMU_FP_FORMS(op_##op##ps),  EMU_FP_FORMS(op_##op##pd),  EMU_FP_FORMS(op_##op##ss),         \
        EMU_FP_FORMS(op_##op##sd),  EMU_FP_FORMS(op_v##op##ps), EMU_FP_FORMS(op_v##op##pd),        \
        EMU_FP_FORMS(op_v##op##ss), EMU_FP_FORMS(op_v##op##sd), EMU_FP_FORMS(op_y##op##ps),        \
        EMU_FP_FORMS(op_y##op##pd)};

#define BINARY(op)                                                                                 \
    EMU_FP_HOST_BINARY(op##ss_kernel, "v" #op "ss")                                                \
    EMU_FP_HOST_BINARY(op##sd_kernel, "v" #op "sd")                                                \
    EMU_FP_HOST_BINARY(op##ps_kernel, "v" #op "ps")                                                \
    EMU_FP_HOST_BINARY(op##pd_kernel, "v" #op "pd")                                                \
    EXACT(op, emu_soft_##op)                                                                       \
    HOST(op)                                                                                       \
    TABLE(op)

BINARY(add)
BINARY(sub)
BINARY(mul)
BINARY(div)
BINARY(min)
BINARY(max)

static uint64_t square_root(struct emu_soft *soft, unsigned bits, uint64_t a, uint64_t b)
{
    (void)a;
    return emu_soft_sqrt(soft, bits, b);
}

EMU_FP_HOST_BINARY(sqrtss_kernel, "vsqrtss")
EMU_FP_HOST_BINARY(sqrtsd_kernel, "vsqrtsd")
EMU_FP_HOST_UNARY(sqrtps_kernel, "vsqrtps")
EMU_FP_HOST_UNARY(sqrtpd_kernel, "vsqrtpd")
EXACT(sqrt, square_root)
HOST(sqrt)
TABLE(sqrt)

#define ROWS(opcode, forms, unused)                                                                \
    {EMU_MAP_0F, opcode, EMU_NP, EMU_FP_LEGACY, &(forms)[0], NULL},                                \
        {EMU_MAP_0F, opcode, EMU_P66, EMU_FP_LEGACY, &(forms)[1], NULL},                           \
        {EMU_MAP_0F, opcode, EMU_PF3, EMU_FP_LEGACY, &(forms)[2], NULL},                           \
        {EMU_MAP_0F, opcode, EMU_PF2, EMU_FP_LEGACY, &(forms)[3], NULL},                           \
        {EMU_MAP_V0F, opcode, EMU_NP | EMU_L0 | (unused), EMU_FP_VEX, &(forms)[4], NULL},          \
        {EMU_MAP_V0F, opcode, EMU_P66 | EMU_L0 | (unused), EMU_FP_VEX, &(forms)[5], NULL},         \
        {EMU_MAP_V0F, opcode, EMU_PF3, EMU_FP_VEX, &(forms)[6], NULL},                             \
        {EMU_MAP_V0F, opcode, EMU_PF2, EMU_FP_VEX, &(forms)[7], NULL},                             \
        {EMU_MAP_V0F, opcode, EMU_NP | EMU_L1 | (unused), EMU_FP_VEX, &(forms)[8], NULL},          \
    {                                                                                              \
        EMU_MAP_V0F, opcode, EMU_P66 | EMU_L1 | (unused), EMU_FP_VEX, &(forms)[9], NULL            \
    }

static const struct emu_row rows[] = {
    ROWS(0x51, sqrt_forms, EMU_VVVV0), ROWS(0x58, add_forms, 0), ROWS(0x59, mul_forms, 0),
    ROWS(0x5c, sub_forms, 0),          ROWS(0x5d, min_forms, 0), ROWS(0x5e, div_forms, 0),
    ROWS(0x5f, max_forms, 0),
};
EMU_FAMILY(emu_family_fp_arith, rows);
