/* FMA3. Intel SDM vol. 2C, VFMADD132PD and its kin. Of the operands 1 (destination), 2
 * (VEX.vvvv) and 3 (E) the first two digits of the name are multiplied, the last is added. */
#include "fp_host.h"

/* emu_fp_kind.variant */
#define ORDER_132 0u
#define ORDER_213 1u
#define ORDER_231 2u
#define ORDER 3u
#define NEGATE_PRODUCT 4u
#define SUBTRACT_EVEN 8u
#define SUBTRACT_ODD 16u

static void fma_lanes(struct emu_soft *soft, const struct emu_fp_kind *kind,
                      const struct emu_insn *insn, union emu_vec *to, const union emu_vec *first,
                      const union emu_vec *source)
{
    (void)insn;
    unsigned order = kind->variant & ORDER;
    for (unsigned i = 0; i < kind->lanes; i++) {
        uint64_t one = emu_element(to, kind->bits, i), two = emu_element(first, kind->bits, i);
        uint64_t three = emu_element(source, kind->bits, i);
        uint64_t a = order == ORDER_132 ? one : two;
        uint64_t b = order == ORDER_213 ? one : three;
        uint64_t c = order == ORDER_132 ? two : order == ORDER_213 ? three : one;
        bool subtract = kind->variant & (i & 1 ? SUBTRACT_ODD : SUBTRACT_EVEN);
        emu_set_element(
            to, kind->bits, i,
            emu_soft_fma(soft, kind->bits, a, b, c, kind->variant & NEGATE_PRODUCT, subtract));
    }
    if (kind->source_bytes < 32)
        to->u64[2] = to->u64[3] = 0;
}

#if EMU_FP_HOST
#define HOST_FMA(name, mnemonic)                                                                   \
    static inline emu_lane name##_host(emu_lane one, emu_lane two, emu_lane three)                 \
    {                                                                                              \
        __asm__ volatile(mnemonic " %2, %1, %0" : "+x"(one) : "x"(two), "x"(three));               \
        return one;                                                                                \
    }

#define HOST_SCALAR(name, s, size_bytes)                                                           \
    HOST_FMA(name, #name)                                                                          \
    static EMU_OP(op_##name##_r)                                                                   \
    {                                                                                              \
        emu_lane x = name##_host(emu_fp_low_##s(&cpu->vec[insn->reg]),                             \
                                 emu_fp_low_##s(&cpu->vec[insn->src]),                             \
                                 emu_fp_low_##s(&cpu->vec[insn->rm]));                             \
        emu_fp_set_low_##s(&cpu->vec[insn->reg], x);                                               \
        cpu->vec[insn->reg].lane[1] = (emu_lane){0};                                               \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_VEC_LOAD_OP(op_##name##_m, size_bytes, 0,                                                  \
                    emu_lane x = name##_host(emu_fp_low_##s(&cpu->vec[insn->reg]),                 \
                                             emu_fp_low_##s(&cpu->vec[insn->src]), b);             \
                    emu_fp_set_low_##s(&cpu->vec[insn->reg], x);                                   \
                    cpu->vec[insn->reg].lane[1] = (emu_lane){0})

#define HOST_PACKED(name)                                                                          \
    HOST_FMA(name, #name)                                                                          \
    static EMU_OP(op_##name##_r)                                                                   \
    {                                                                                              \
        emu_set_128(cpu, insn->reg,                                                                \
                    name##_host(EMU_LANE(reg, 0), EMU_LANE(src, 0), EMU_LANE(rm, 0)));             \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_VEC_LOAD_OP(                                                                               \
        op_##name##_m, 16, 0,                                                                      \
        emu_set_128(cpu, insn->reg, name##_host(EMU_LANE(reg, 0), EMU_LANE(src, 0), b)))           \
    static EMU_OP(op_y##name##_r)                                                                  \
    {                                                                                              \
        emu_lane low = name##_host(EMU_LANE(reg, 0), EMU_LANE(src, 0), EMU_LANE(rm, 0));           \
        emu_lane high = name##_host(EMU_LANE(reg, 1), EMU_LANE(src, 1), EMU_LANE(rm, 1));          \
        emu_set_256(cpu, insn->reg, low, high);                                                    \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_VEC_LOAD_OP(op_y##name##_m, 32, 0,                                                         \
                    emu_lane low = name##_host(EMU_LANE(reg, 0), EMU_LANE(src, 0), b);             \
                    emu_lane high = name##_host(EMU_LANE(reg, 1), EMU_LANE(src, 1), b1);           \
                    emu_set_256(cpu, insn->reg, low, high))
#else
#define HOST_SCALAR(name, s, size_bytes)
#define HOST_PACKED(name)
#endif

#define SCALAR(name, variant)                                                                      \
    EMU_FP_EXACT(op_##name##ss, fma_lanes, NULL, 32, 1, 4, true, true, (variant) | EMU_FP_KEEPS)   \
    EMU_FP_EXACT(op_##name##sd, fma_lanes, NULL, 64, 1, 8, true, true, (variant) | EMU_FP_KEEPS)   \
    HOST_SCALAR(name##ss, d, 4)                                                                    \
    HOST_SCALAR(name##sd, q, 8)                                                                    \
    static const struct emu_forms name##ss = EMU_FP_FORMS(op_##name##ss),                          \
                                  name##sd = EMU_FP_FORMS(op_##name##sd);

#define PACKED(name, variant)                                                                      \
    EMU_FP_EXACT(op_##name##ps, fma_lanes, NULL, 32, 4, 16, false, true, (variant) | EMU_FP_KEEPS) \
    EMU_FP_EXACT(op_##name##pd, fma_lanes, NULL, 64, 2, 16, false, true, (variant) | EMU_FP_KEEPS) \
    EMU_FP_EXACT(op_y##name##ps, fma_lanes, NULL, 32, 8, 32, false, true,                          \
                 (variant) | EMU_FP_KEEPS)                                                         \
    EMU_FP_EXACT(op_y##name##pd, fma_lanes, NULL, 64, 4, 32, false, true,                          \
                 (variant) | EMU_FP_KEEPS)                                                         \
    HOST_PACKED(name##ps)                                                                          \
    HOST_PACKED(name##pd)                                                                          \
    static const struct emu_forms name##ps = EMU_FP_FORMS(op_##name##ps),                          \
                                  name##pd = EMU_FP_FORMS(op_##name##pd),                          \
                                  y##name##ps = EMU_FP_FORMS(op_y##name##ps),                      \
                                  y##name##pd = EMU_FP_FORMS(op_y##name##pd);

#define SUBTRACT (SUBTRACT_EVEN | SUBTRACT_ODD)
#define ALL_OF(order)                                                                              \
    PACKED(vfmaddsub##order, ORDER_##order | SUBTRACT_EVEN)                                        \
    PACKED(vfmsubadd##order, ORDER_##order | SUBTRACT_ODD)                                         \
    PACKED(vfmadd##order, ORDER_##order)                                                           \
    SCALAR(vfmadd##order, ORDER_##order)                                                           \
    PACKED(vfmsub##order, ORDER_##order | SUBTRACT)                                                \
    SCALAR(vfmsub##order, ORDER_##order | SUBTRACT)                                                \
    PACKED(vfnmadd##order, ORDER_##order | NEGATE_PRODUCT)                                         \
    SCALAR(vfnmadd##order, ORDER_##order | NEGATE_PRODUCT)                                         \
    PACKED(vfnmsub##order, ORDER_##order | NEGATE_PRODUCT | SUBTRACT)                              \
    SCALAR(vfnmsub##order, ORDER_##order | NEGATE_PRODUCT | SUBTRACT)
ALL_OF(132)
ALL_OF(213)
ALL_OF(231)

#define ROW(opcode, match, name) {EMU_MAP_V38, opcode, EMU_P66 | (match), EMU_FP_VEX, &name, NULL}
#define ROWS_PACKED(opcode, name)                                                                  \
    ROW(opcode, EMU_W0 | EMU_L0, name##ps), ROW(opcode, EMU_W1 | EMU_L0, name##pd),                \
        ROW(opcode, EMU_W0 | EMU_L1, y##name##ps), ROW(opcode, EMU_W1 | EMU_L1, y##name##pd)
#define ROWS_SCALAR(opcode, name) ROW(opcode, EMU_W0, name##ss), ROW(opcode, EMU_W1, name##sd)
#define ROWS_OF(base, order)                                                                       \
    ROWS_PACKED((base) + 0x6, vfmaddsub##order), ROWS_PACKED((base) + 0x7, vfmsubadd##order),      \
        ROWS_PACKED((base) + 0x8, vfmadd##order), ROWS_SCALAR((base) + 0x9, vfmadd##order),        \
        ROWS_PACKED((base) + 0xa, vfmsub##order), ROWS_SCALAR((base) + 0xb, vfmsub##order),        \
        ROWS_PACKED((base) + 0xc, vfnmadd##order), ROWS_SCALAR((base) + 0xd, vfnmadd##order),      \
        ROWS_PACKED((base) + 0xe, vfnmsub##order), ROWS_SCALAR((base) + 0xf, vfnmsub##order)

static const struct emu_row rows[] = {
    ROWS_OF(0x90, 132),
    ROWS_OF(0xa0, 213),
    ROWS_OF(0xb0, 231),
};
EMU_FAMILY(emu_family_fp_fma, rows);
