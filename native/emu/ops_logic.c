/* AND, OR, XOR, TEST, NOT. CF and OF are cleared; AF, undefined, too. */
#include "alu.h"

#define LOGIC_FUNCTION(mn, s, EXPRESSION)                                                          \
    static inline EMU_TYPE_##s alu_##mn##_##s(struct emu_cpu *cpu, EMU_TYPE_##s a, EMU_TYPE_##s b, \
                                              bool quiet)                                          \
    {                                                                                              \
        EMU_TYPE_##s r = (EMU_TYPE_##s)(EXPRESSION);                                               \
        if (!quiet)                                                                                \
            emu_flags_result(cpu, (EMU_SIGNED_##s)r, 0);                                           \
        return r;                                                                                  \
    }
#define LOGIC_FUNCTIONS(s)                                                                         \
    LOGIC_FUNCTION(and, s, a &b)                                                                   \
    LOGIC_FUNCTION(or, s, a | b)                                                                   \
    LOGIC_FUNCTION(xor, s, a ^ b)                                                                  \
    LOGIC_FUNCTION(test, s, a &b)
EMU_ALL_SIZES(LOGIC_FUNCTIONS)

ALU_DEFINE(and)
ALU_DEFINE(or)
ALU_DEFINE(xor)
ALU_COMPARE_HANDLERS(test, alu_test, b)
ALU_COMPARE_HANDLERS(test, alu_test, w)
ALU_COMPARE_HANDLERS(test, alu_test, d)
ALU_COMPARE_HANDLERS(test, alu_test, q)
ALU_FORMS(test)

#define NOT_SIZE(s)                                                                                \
    static EMU_OP(op_not_e##s##_r)                                                                 \
    {                                                                                              \
        emu_set_##s(cpu, insn->rm, (EMU_TYPE_##s) ~emu_get_##s(cpu, insn->src));                   \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_MODIFY_OP(op_not_e##s##_m, s, value = (EMU_TYPE_##s) ~value)
EMU_ALL_SIZES(NOT_SIZE)
static const struct emu_forms not_e = EMU_FORMS(op_not_eb_r, op_not_ew_r, op_not_ed_r, op_not_eq_r,
                                                op_not_eb_m, op_not_ew_m, op_not_ed_m, op_not_eq_m);

#define ALL (EMU_PURE | EMU_WRITES_ALL)
#define TEST_E_I(opcode, digit, shape)                                                             \
    {EMU_MAP_1, opcode, EMU_REG(digit), EMU_MODRM | ALL | (shape), &test_e_i, NULL}

static const struct emu_row rows[] = {
    ALU_CHANGING_ROWS(1, ALL, or),
    ALU_CHANGING_ROWS(4, ALL, and),
    ALU_CHANGING_ROWS(6, ALL, xor),
    {EMU_MAP_1, 0x84, 0, EMU_MODRM | EMU_BYTE_E | EMU_BYTE_G | ALL, &test_e_g, NULL},
    {EMU_MAP_1, 0x85, 0, EMU_MODRM | EMU_SIZE_V | ALL, &test_e_g, NULL},
    {EMU_MAP_1, 0xa8, 0, EMU_IMM_8 | ALL, &test_e_i, NULL},
    {EMU_MAP_1, 0xa9, 0, EMU_IMM_Z | EMU_SIZE_V | ALL, &test_e_i, NULL},
    TEST_E_I(0xf6, 0, EMU_BYTE_E | EMU_IMM_8),
    TEST_E_I(0xf6, 1, EMU_BYTE_E | EMU_IMM_8),
    TEST_E_I(0xf7, 0, EMU_SIZE_V | EMU_IMM_Z),
    TEST_E_I(0xf7, 1, EMU_SIZE_V | EMU_IMM_Z),
    {EMU_MAP_1, 0xf6, EMU_REG(2), EMU_MODRM | EMU_BYTE_E | EMU_PURE | EMU_LOCKABLE, &not_e, NULL},
    {EMU_MAP_1, 0xf7, EMU_REG(2), EMU_MODRM | EMU_SIZE_V | EMU_PURE | EMU_LOCKABLE | EMU_FOLDS,
     &not_e, NULL},
};
EMU_FAMILY(emu_family_logic, rows);
