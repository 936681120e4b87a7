/* The eight operations of opcodes 00 to 3F share their encodings: so do their handlers.
 *
 * An operation is a function alu_MN_S(cpu, a, b, quiet) per operand size S that returns
 * the result and, unless quiet, sets the flags. */
#ifndef PYKVM_EMU_ALU_H
#define PYKVM_EMU_ALU_H

#include "ops.h"

/* Two sources, one destination. `mn` names the handlers, `fn` the function. */
#define ALU_HANDLERS(mn, fn, s, quiet)                                                             \
    static EMU_OP(op_##mn##_e##s##_g##s##_r)                                                       \
    {                                                                                              \
        emu_set_##s(                                                                               \
            cpu, insn->rm,                                                                         \
            fn##_##s(cpu, emu_get_##s(cpu, insn->src), emu_get_##s(cpu, insn->reg), quiet));       \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static EMU_OP(op_##mn##_e##s##_i##s##_r)                                                       \
    {                                                                                              \
        emu_set_##s(cpu, insn->rm,                                                                 \
                    fn##_##s(cpu, emu_get_##s(cpu, insn->src), (EMU_TYPE_##s)insn->imm, quiet));   \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_MODIFY_OP(op_##mn##_e##s##_g##s##_m, s,                                                    \
                  value = fn##_##s(cpu, value, emu_get_##s(cpu, insn->reg), quiet))                \
    EMU_MODIFY_OP(op_##mn##_e##s##_i##s##_m, s,                                                    \
                  value = fn##_##s(cpu, value, (EMU_TYPE_##s)insn->imm, quiet))                    \
    EMU_LOAD_OP(                                                                                   \
        op_##mn##_g##s##_e##s##_m, s,                                                              \
        emu_set_##s(cpu, insn->reg, fn##_##s(cpu, emu_get_##s(cpu, insn->reg), value, quiet)))

/* The same where only flags come of it: CMP, TEST. */
#define ALU_COMPARE_HANDLERS(mn, fn, s)                                                            \
    static EMU_OP(op_##mn##_e##s##_g##s##_r)                                                       \
    {                                                                                              \
        (void)fn##_##s(cpu, emu_get_##s(cpu, insn->rm), emu_get_##s(cpu, insn->reg), false);       \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static EMU_OP(op_##mn##_e##s##_i##s##_r)                                                       \
    {                                                                                              \
        (void)fn##_##s(cpu, emu_get_##s(cpu, insn->rm), (EMU_TYPE_##s)insn->imm, false);           \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_LOAD_OP(op_##mn##_e##s##_g##s##_m, s,                                                      \
                (void)fn##_##s(cpu, value, emu_get_##s(cpu, insn->reg), false))                    \
    EMU_LOAD_OP(op_##mn##_e##s##_i##s##_m, s,                                                      \
                (void)fn##_##s(cpu, value, (EMU_TYPE_##s)insn->imm, false))

/* Tables for E,G; E,I; and G,E, whose register form is that of E,G with operands swapped. */
#define ALU_FORMS(mn)                                                                              \
    static const struct emu_forms mn##_e_g =                                                       \
        EMU_FORMS(op_##mn##_eb_gb_r, op_##mn##_ew_gw_r, op_##mn##_ed_gd_r, op_##mn##_eq_gq_r,      \
                  op_##mn##_eb_gb_m, op_##mn##_ew_gw_m, op_##mn##_ed_gd_m, op_##mn##_eq_gq_m);     \
    static const struct emu_forms mn##_e_i =                                                       \
        EMU_FORMS(op_##mn##_eb_ib_r, op_##mn##_ew_iw_r, op_##mn##_ed_id_r, op_##mn##_eq_iq_r,      \
                  op_##mn##_eb_ib_m, op_##mn##_ew_iw_m, op_##mn##_ed_id_m, op_##mn##_eq_iq_m);
#define ALU_FORMS_G_E(mn)                                                                          \
    static const struct emu_forms mn##_g_e =                                                       \
        EMU_FORMS(op_##mn##_eb_gb_r, op_##mn##_ew_gw_r, op_##mn##_ed_gd_r, op_##mn##_eq_gq_r,      \
                  op_##mn##_gb_eb_m, op_##mn##_gw_ew_m, op_##mn##_gd_ed_m, op_##mn##_gq_eq_m);

/* Everything for one operation: loud and quiet handlers of all sizes, and their tables. */
#define ALU_DEFINE_SIZE(mn, s)                                                                     \
    ALU_HANDLERS(mn, alu_##mn, s, false) ALU_HANDLERS(mn##_quiet, alu_##mn, s, true)
#define ALU_DEFINE(mn)                                                                             \
    ALU_DEFINE_SIZE(mn, b)                                                                         \
    ALU_DEFINE_SIZE(mn, w)                                                                         \
    ALU_DEFINE_SIZE(mn, d)                                                                         \
    ALU_DEFINE_SIZE(mn, q)                                                                         \
    ALU_FORMS(mn)                                                                                  \
    ALU_FORMS_G_E(mn)                                                                              \
    ALU_FORMS(mn##_quiet)                                                                          \
    ALU_FORMS_G_E(mn##_quiet)

/* Rows of operation number `n`: opcodes 8n .. 8n + 5 and group 1. */
#define ALU_ROWS(n, attr, lock, fold, reg_fold, mn, quiet_e_g, quiet_g_e, quiet_e_i)               \
    {EMU_MAP_1, 8 * (n) + 0, 0, EMU_MODRM | EMU_BYTE_E | EMU_BYTE_G | (attr) | (lock),             \
     &mn##_e_g, quiet_e_g},                                                                        \
        {EMU_MAP_1, 8 * (n) + 1, 0, EMU_MODRM | EMU_SIZE_V | (attr) | (lock) | (reg_fold),         \
         &mn##_e_g, quiet_e_g},                                                                    \
        {EMU_MAP_1, 8 * (n) + 2, 0, EMU_MODRM | EMU_BYTE_E | EMU_BYTE_G | EMU_SWAP | (attr),       \
         &mn##_g_e, quiet_g_e},                                                                    \
        {EMU_MAP_1, 8 * (n) + 3, 0, EMU_MODRM | EMU_SIZE_V | EMU_SWAP | (attr) | (reg_fold),       \
         &mn##_g_e, quiet_g_e},                                                                    \
        {EMU_MAP_1, 8 * (n) + 4, 0, EMU_IMM_8 | (attr), &mn##_e_i, quiet_e_i},                     \
        {EMU_MAP_1, 8 * (n) + 5, 0, EMU_IMM_Z | EMU_SIZE_V | (attr), &mn##_e_i, quiet_e_i},        \
        {EMU_MAP_1, 0x80,     EMU_REG(n), EMU_MODRM | EMU_BYTE_E | EMU_IMM_8 | (attr) | (lock),    \
         &mn##_e_i, quiet_e_i},                                                                    \
        {EMU_MAP_1,  0x81,                                                                         \
         EMU_REG(n), EMU_MODRM | EMU_SIZE_V | EMU_IMM_Z | (attr) | (lock) | (fold),                \
         &mn##_e_i,  quiet_e_i},                                                                   \
        {EMU_MAP_1,                                                                                \
         0x82,                                                                                     \
         EMU_REG(n) | EMU_NO64,                                                                    \
         EMU_MODRM | EMU_BYTE_E | EMU_IMM_8 | (attr) | (lock),                                     \
         &mn##_e_i,                                                                                \
         quiet_e_i},                                                                               \
    {                                                                                              \
        EMU_MAP_1, 0x83, EMU_REG(n),                                                               \
            EMU_MODRM | EMU_SIZE_V | EMU_IMM_8 | (attr) | (lock) | (fold), &mn##_e_i, quiet_e_i    \
    }
#define ALU_CHANGING_ROWS(n, attr, mn)                                                             \
    ALU_ROWS(n, attr, EMU_LOCKABLE, EMU_FOLDS, EMU_FOLDS_REG, mn, &mn##_quiet_e_g,                 \
             &mn##_quiet_g_e, &mn##_quiet_e_i)

#endif
