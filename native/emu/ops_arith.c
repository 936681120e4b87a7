/* ADD, ADC, SUB, SBB, CMP, INC, DEC, NEG. */
#include "alu.h"

#define ARITH_FUNCTION(mn, s, EXPRESSION, VECTOR)                                                  \
    static inline EMU_TYPE_##s alu_##mn##_##s(struct emu_cpu *cpu, EMU_TYPE_##s a, EMU_TYPE_##s b, \
                                              bool quiet)                                          \
    {                                                                                              \
        EMU_TYPE_##s r = (EMU_TYPE_##s)(EXPRESSION);                                               \
        if (!quiet)                                                                                \
            emu_flags_result(cpu, (EMU_SIGNED_##s)r,                                               \
                             emu_align_carries((EMU_TYPE_##s)VECTOR(a, b, r), EMU_BITS_##s));      \
        return r;                                                                                  \
    }
#define ARITH_FUNCTIONS(s)                                                                         \
    ARITH_FUNCTION(add, s, a + b, EMU_CARRIES)                                                     \
    ARITH_FUNCTION(adc, s, a + b + emu_cf(cpu), EMU_CARRIES)                                       \
    ARITH_FUNCTION(sub, s, a - b, EMU_BORROWS)                                                     \
    ARITH_FUNCTION(sbb, s, a - b - emu_cf(cpu), EMU_BORROWS)                                       \
    ARITH_FUNCTION(cmp, s, a - b, EMU_BORROWS)
EMU_ALL_SIZES(ARITH_FUNCTIONS)

ALU_DEFINE(add)
ALU_DEFINE(adc)
ALU_DEFINE(sub)
ALU_DEFINE(sbb)
ALU_COMPARE_HANDLERS(cmp, alu_cmp, b)
ALU_COMPARE_HANDLERS(cmp, alu_cmp, w)
ALU_COMPARE_HANDLERS(cmp, alu_cmp, d)
ALU_COMPARE_HANDLERS(cmp, alu_cmp, q)
#define CMP_G_E(s)                                                                                 \
    EMU_LOAD_OP(op_cmp_g##s##_e##s##_m, s,                                                         \
                (void)alu_cmp_##s(cpu, emu_get_##s(cpu, insn->reg), value, false))
EMU_ALL_SIZES(CMP_G_E)
ALU_FORMS(cmp)
ALU_FORMS_G_E(cmp)

/* INC and DEC leave CF alone: the other flags are those of adding or subtracting 1. */
#define STEP_FUNCTION(mn, s, base)                                                                 \
    static inline EMU_TYPE_##s alu_##mn##_##s(struct emu_cpu *cpu, EMU_TYPE_##s a, bool quiet)     \
    {                                                                                              \
        bool cf = emu_cf(cpu);                                                                     \
        EMU_TYPE_##s r = alu_##base##_##s(cpu, a, 1, quiet);                                       \
        if (!quiet)                                                                                \
            emu_set_cf(cpu, cf);                                                                   \
        return r;                                                                                  \
    }
#define NEG_FUNCTION(s)                                                                            \
    static inline EMU_TYPE_##s alu_neg_##s(struct emu_cpu *cpu, EMU_TYPE_##s a, bool quiet)        \
    {                                                                                              \
        return alu_sub_##s(cpu, 0, a, quiet);                                                      \
    }
#define UNARY_HANDLERS(mn, fn, s, quiet)                                                           \
    static EMU_OP(op_##mn##_e##s##_r)                                                              \
    {                                                                                              \
        emu_set_##s(cpu, insn->rm, fn##_##s(cpu, emu_get_##s(cpu, insn->src), quiet));             \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_MODIFY_OP(op_##mn##_e##s##_m, s, value = fn##_##s(cpu, value, quiet))
#define UNARY_SIZE(s)                                                                              \
    STEP_FUNCTION(inc, s, add)                                                                     \
    STEP_FUNCTION(dec, s, sub)                                                                     \
    NEG_FUNCTION(s)                                                                                \
    UNARY_HANDLERS(inc, alu_inc, s, false)                                                         \
    UNARY_HANDLERS(dec, alu_dec, s, false)                                                         \
    UNARY_HANDLERS(neg, alu_neg, s, false)                                                         \
    UNARY_HANDLERS(inc_quiet, alu_inc, s, true)                                                    \
    UNARY_HANDLERS(dec_quiet, alu_dec, s, true)                                                    \
    UNARY_HANDLERS(neg_quiet, alu_neg, s, true)
EMU_ALL_SIZES(UNARY_SIZE)

#define UNARY_FORMS(mn)                                                                            \
    static const struct emu_forms mn##_e =                                                         \
        EMU_FORMS(op_##mn##_eb_r, op_##mn##_ew_r, op_##mn##_ed_r, op_##mn##_eq_r, op_##mn##_eb_m,  \
                  op_##mn##_ew_m, op_##mn##_ed_m, op_##mn##_eq_m);
UNARY_FORMS(inc)
UNARY_FORMS(dec)
UNARY_FORMS(neg)
UNARY_FORMS(inc_quiet)
UNARY_FORMS(dec_quiet)
UNARY_FORMS(neg_quiet)

#define ALL (EMU_PURE | EMU_WRITES_ALL)
#define STEPS (EMU_PURE | EMU_WRITES_NOT_CF | EMU_LOCKABLE)
#define CARRY (EMU_PURE | EMU_WRITES_ALL | EMU_READS_CF)

static const struct emu_row rows[] = {
    ALU_CHANGING_ROWS(0, ALL, add),
    ALU_CHANGING_ROWS(2, CARRY, adc),
    ALU_CHANGING_ROWS(3, CARRY, sbb),
    ALU_CHANGING_ROWS(5, ALL, sub),
    ALU_ROWS(7, ALL, 0, 0, 0, cmp, NULL, NULL, NULL),
    {EMU_MAP_1, 0x40, EMU_NO64, EMU_OPREG | EMU_SIZE_V | STEPS | EMU_FOLDS, &inc_e, &inc_quiet_e},
    {EMU_MAP_1, 0x48, EMU_NO64, EMU_OPREG | EMU_SIZE_V | STEPS | EMU_FOLDS, &dec_e, &dec_quiet_e},
    {EMU_MAP_1, 0xfe, EMU_REG(0), EMU_MODRM | EMU_BYTE_E | STEPS, &inc_e, &inc_quiet_e},
    {EMU_MAP_1, 0xfe, EMU_REG(1), EMU_MODRM | EMU_BYTE_E | STEPS, &dec_e, &dec_quiet_e},
    {EMU_MAP_1, 0xff, EMU_REG(0), EMU_MODRM | EMU_SIZE_V | STEPS | EMU_FOLDS, &inc_e, &inc_quiet_e},
    {EMU_MAP_1, 0xff, EMU_REG(1), EMU_MODRM | EMU_SIZE_V | STEPS | EMU_FOLDS, &dec_e, &dec_quiet_e},
    {EMU_MAP_1, 0xf6, EMU_REG(3), EMU_MODRM | EMU_BYTE_E | ALL | EMU_LOCKABLE, &neg_e,
     &neg_quiet_e},
    {EMU_MAP_1, 0xf7, EMU_REG(3), EMU_MODRM | EMU_SIZE_V | ALL | EMU_LOCKABLE | EMU_FOLDS, &neg_e,
     &neg_quiet_e},
};
EMU_FAMILY(emu_family_arith, rows);
