/* MOV, MOVZX, MOVSX, LEA, CMOVcc, CBW and CWD, XLAT, NOP. */
#include "ops.h"

#define MOV_SIZE(s)                                                                                \
    static EMU_OP(op_mov_e##s##_g##s##_r)                                                          \
    {                                                                                              \
        emu_set_##s(cpu, insn->rm, emu_get_##s(cpu, insn->reg));                                   \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static EMU_OP(op_mov_e##s##_i##s##_r)                                                          \
    {                                                                                              \
        emu_set_##s(cpu, insn->rm, (EMU_TYPE_##s)insn->imm);                                       \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_STORE_OP(op_mov_e##s##_g##s##_m, s, value = emu_get_##s(cpu, insn->reg))                   \
    EMU_STORE_OP(op_mov_e##s##_i##s##_m, s, value = (EMU_TYPE_##s)insn->imm)                       \
    EMU_LOAD_OP(op_mov_g##s##_e##s##_m, s, emu_set_##s(cpu, insn->reg, value))
EMU_ALL_SIZES(MOV_SIZE)

static const struct emu_forms mov_e_g =
    EMU_FORMS(op_mov_eb_gb_r, op_mov_ew_gw_r, op_mov_ed_gd_r, op_mov_eq_gq_r, op_mov_eb_gb_m,
              op_mov_ew_gw_m, op_mov_ed_gd_m, op_mov_eq_gq_m);
static const struct emu_forms mov_g_e =
    EMU_FORMS(op_mov_eb_gb_r, op_mov_ew_gw_r, op_mov_ed_gd_r, op_mov_eq_gq_r, op_mov_gb_eb_m,
              op_mov_gw_ew_m, op_mov_gd_ed_m, op_mov_gq_eq_m);
static const struct emu_forms mov_e_i =
    EMU_FORMS(op_mov_eb_ib_r, op_mov_ew_iw_r, op_mov_ed_id_r, op_mov_eq_iq_r, op_mov_eb_ib_m,
              op_mov_ew_iw_m, op_mov_ed_id_m, op_mov_eq_iq_m);

/* MOV between the accumulator and [imm]: the address does not fit a displacement. */
static uint64_t offset_linear(struct emu_cpu *cpu, const struct emu_insn *insn, uint32_t size_bytes,
                              bool write)
{
    unsigned segment = insn->ea & EMU_EA_SEG;
    if (emu_code64(cpu))
        return insn->ea && segment != EMU_EA_NOSEG ? cpu->seg[segment].base + insn->imm : insn->imm;
    if (!(insn->ea & EMU_EA_CHECK))
        return insn->imm;
    return emu_linear_checked(cpu, insn, segment, insn->imm, size_bytes, write);
}

#define MOFFS_SIZE(s)                                                                              \
    static EMU_OP(op_mov_acc##s##_o)                                                               \
    {                                                                                              \
        emu_set_##s(                                                                               \
            cpu, RAX,                                                                              \
            emu_load_##s(cpu, insn, offset_linear(cpu, insn, sizeof(EMU_TYPE_##s), false)));       \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static EMU_OP(op_mov_o_acc##s)                                                                 \
    {                                                                                              \
        emu_store_##s(cpu, insn, offset_linear(cpu, insn, sizeof(EMU_TYPE_##s), true),             \
                      emu_get_##s(cpu, RAX));                                                      \
        EMU_NEXT;                                                                                  \
    }
EMU_ALL_SIZES(MOFFS_SIZE)
static const struct emu_forms mov_acc_o = {
    .m = {op_mov_accb_o, op_mov_accw_o, op_mov_accd_o, op_mov_accq_o}};
static const struct emu_forms mov_o_acc = {
    .m = {op_mov_o_accb, op_mov_o_accw, op_mov_o_accd, op_mov_o_accq}};

/* Widening moves: destination letter, source letter, and how the source is read. */
#define WIDEN(mn, d, s, CAST)                                                                      \
    static EMU_OP(op_##mn##_g##d##_e##s##_r)                                                       \
    {                                                                                              \
        emu_set_##d(cpu, insn->reg, (EMU_TYPE_##d)(CAST)emu_get_##s(cpu, insn->rm));               \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_LOAD_OP(op_##mn##_g##d##_e##s##_m, s,                                                      \
                emu_set_##d(cpu, insn->reg, (EMU_TYPE_##d)(CAST)value))
WIDEN(movzx, w, b, uint8_t)
WIDEN(movzx, d, b, uint8_t)
WIDEN(movzx, q, b, uint8_t)
WIDEN(movzx, w, w, uint16_t)
WIDEN(movzx, d, w, uint16_t)
WIDEN(movzx, q, w, uint16_t)
WIDEN(movsx, w, b, int8_t)
WIDEN(movsx, d, b, int8_t)
WIDEN(movsx, q, b, int8_t)
WIDEN(movsx, w, w, int16_t)
WIDEN(movsx, d, w, int16_t)
WIDEN(movsx, q, w, int16_t)
WIDEN(movsx, d, d, int32_t)
WIDEN(movsx, q, d, int32_t)
#define WIDEN_FORMS(mn, s)                                                                         \
    static const struct emu_forms mn##_g_e##s =                                                    \
        EMU_FORMS(NULL, op_##mn##_gw_e##s##_r, op_##mn##_gd_e##s##_r, op_##mn##_gq_e##s##_r, NULL, \
                  op_##mn##_gw_e##s##_m, op_##mn##_gd_e##s##_m, op_##mn##_gq_e##s##_m);
WIDEN_FORMS(movzx, b)
WIDEN_FORMS(movzx, w)
WIDEN_FORMS(movsx, b)
WIDEN_FORMS(movsx, w)

/* MOVSXD: with 66 its source has 16 bits too. SDM vol. 2B, MOVSX/MOVSXD */
static const struct emu_forms movsxd =
    EMU_FORMS(NULL, op_movsx_gw_ew_r, op_movsx_gd_ed_r, op_movsx_gq_ed_r, NULL, op_movsx_gw_ew_m,
              op_movsx_gd_ed_m, op_movsx_gq_ed_m);

/* LEA with its address at full width, which is nearly always, and the rest. */
static EMU_OP(op_lea_gq)
{
    cpu->gpr[insn->reg] = emu_offset(cpu, insn);
    EMU_NEXT;
}

static EMU_OP(op_lea_gd)
{
    cpu->gpr[insn->reg] = (uint32_t)emu_offset(cpu, insn);
    EMU_NEXT;
}

static EMU_OP(op_lea_gw)
{
    emu_set_w(cpu, insn->reg, (uint16_t)emu_offset(cpu, insn));
    EMU_NEXT;
}
static const struct emu_forms lea_g_m = {.m = {NULL, op_lea_gw, op_lea_gd, op_lea_gq}};

/* CMOVcc reads its source, and clears the upper half of a 32-bit target, in any case. */
#define CMOV_SIZE(cc, s)                                                                           \
    static EMU_OP(op_cmov##cc##_g##s##_e##s##_r)                                                   \
    {                                                                                              \
        unsigned from = emu_condition(cpu, cc) ? insn->rm : insn->reg;                             \
        emu_set_##s(cpu, insn->reg, emu_get_##s(cpu, from));                                       \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_LOAD_OP(                                                                                   \
        op_cmov##cc##_g##s##_e##s##_m, s,                                                          \
        emu_set_##s(cpu, insn->reg, emu_condition(cpu, cc) ? value : emu_get_##s(cpu, insn->reg)))
#define CMOV(cc)                                                                                   \
    CMOV_SIZE(cc, w)                                                                               \
    CMOV_SIZE(cc, d)                                                                               \
    CMOV_SIZE(cc, q)                                                                               \
    static const struct emu_forms cmov##cc =                                                       \
        EMU_FORMS(NULL, op_cmov##cc##_gw_ew_r, op_cmov##cc##_gd_ed_r, op_cmov##cc##_gq_eq_r, NULL, \
                  op_cmov##cc##_gw_ew_m, op_cmov##cc##_gd_ed_m, op_cmov##cc##_gq_eq_m);
EMU_CONDITIONS(CMOV)

static EMU_OP(op_cbw)
{
    emu_set_w(cpu, RAX, (uint16_t)(int8_t)cpu->gpr[RAX]);
    EMU_NEXT;
}

static EMU_OP(op_cwde)
{
    emu_set_d(cpu, RAX, (uint32_t)(int16_t)cpu->gpr[RAX]);
    EMU_NEXT;
}

static EMU_OP(op_cdqe)
{
    cpu->gpr[RAX] = (uint64_t)(int32_t)cpu->gpr[RAX];
    EMU_NEXT;
}

static EMU_OP(op_cwd)
{
    emu_set_w(cpu, RDX, (uint16_t)((int16_t)cpu->gpr[RAX] >> 15));
    EMU_NEXT;
}

static EMU_OP(op_cdq)
{
    emu_set_d(cpu, RDX, (uint32_t)((int32_t)cpu->gpr[RAX] >> 31));
    EMU_NEXT;
}

static EMU_OP(op_cqo)
{
    cpu->gpr[RDX] = (uint64_t)((int64_t)cpu->gpr[RAX] >> 63);
    EMU_NEXT;
}
static const struct emu_forms cbw = {.r = {NULL, op_cbw, op_cwde, op_cdqe}};
static const struct emu_forms cwd = {.r = {NULL, op_cwd, op_cdq, op_cqo}};

static EMU_OP(op_xlat)
{
    unsigned segment = insn->ea ? insn->ea & EMU_EA_SEG : EMU_EA_NOSEG;
    uint64_t offset = emu_cut_address(cpu->gpr[RBX] + (uint8_t)cpu->gpr[RAX], emu_asize(insn));
    uint64_t linear =
        emu_linear(cpu, insn, segment == EMU_EA_NOSEG ? EMU_DS : segment, offset, 1, false);
    emu_set_b(cpu, RAX, emu_load_b(cpu, insn, linear));
    EMU_NEXT;
}

static EMU_OP(op_nop)
{
    EMU_NEXT;
}
static const struct emu_forms xlat = EMU_FORMS_1(op_xlat);
static const struct emu_forms nop = EMU_FORMS_1(op_nop);

#define MOV_ROW(opcode, shape, forms) {EMU_MAP_1, opcode, 0, EMU_PURE | (shape), &forms, NULL}
#define WIDEN_ROW(opcode, shape, forms)                                                            \
    {EMU_MAP_0F, opcode, 0, EMU_MODRM | EMU_SIZE_V | EMU_PURE | (shape), &forms, NULL}
#define CMOV_ROW(cc)                                                                               \
    {EMU_MAP_0F, 0x40 + cc, 0, EMU_MODRM | EMU_SIZE_V | EMU_PURE | EMU_READS_ALL, &cmov##cc, NULL},
#define HINT_ROW(opcode) {EMU_MAP_0F, opcode, 0, EMU_MODRM | EMU_SIZE_V | EMU_PURE, &nop, NULL}

static const struct emu_row rows[] = {
    MOV_ROW(0x88, EMU_MODRM | EMU_BYTE_E | EMU_BYTE_G, mov_e_g),
    MOV_ROW(0x89, EMU_MODRM | EMU_SIZE_V | EMU_MOVES, mov_e_g),
    MOV_ROW(0x8a, EMU_MODRM | EMU_BYTE_E | EMU_BYTE_G | EMU_SWAP, mov_g_e),
    MOV_ROW(0x8b, EMU_MODRM | EMU_SIZE_V | EMU_SWAP | EMU_MOVES, mov_g_e),
    MOV_ROW(0x8d, EMU_MODRM | EMU_SIZE_V, lea_g_m),
    MOV_ROW(0xa0, EMU_IMM_OFFS, mov_acc_o),
    MOV_ROW(0xa1, EMU_IMM_OFFS | EMU_SIZE_V, mov_acc_o),
    MOV_ROW(0xa2, EMU_IMM_OFFS, mov_o_acc),
    MOV_ROW(0xa3, EMU_IMM_OFFS | EMU_SIZE_V, mov_o_acc),
    MOV_ROW(0xb0, EMU_OPREG | EMU_BYTE_E | EMU_IMM_8, mov_e_i),
    MOV_ROW(0xb8, EMU_OPREG | EMU_SIZE_V | EMU_IMM_V, mov_e_i),
    {EMU_MAP_1, 0xc6, EMU_REG(0), EMU_MODRM | EMU_BYTE_E | EMU_IMM_8 | EMU_PURE, &mov_e_i, NULL},
    {EMU_MAP_1, 0xc7, EMU_REG(0), EMU_MODRM | EMU_SIZE_V | EMU_IMM_Z | EMU_PURE, &mov_e_i, NULL},
    {EMU_MAP_1, 0x63, EMU_ONLY64, EMU_MODRM | EMU_SIZE_V | EMU_PURE, &movsxd, NULL},
    WIDEN_ROW(0xb6, EMU_BYTE_E, movzx_g_eb),
    WIDEN_ROW(0xb7, 0, movzx_g_ew),
    WIDEN_ROW(0xbe, EMU_BYTE_E, movsx_g_eb),
    WIDEN_ROW(0xbf, 0, movsx_g_ew),
    EMU_CONDITIONS(CMOV_ROW) MOV_ROW(0x98, EMU_SIZE_V, cbw),
    MOV_ROW(0x99, EMU_SIZE_V, cwd),
    {EMU_MAP_1, 0xd7, 0, EMU_IMPLICIT, &xlat, NULL},
    HINT_ROW(0x0d),
    HINT_ROW(0x18),
    HINT_ROW(0x19),
    HINT_ROW(0x1a),
    HINT_ROW(0x1b),
    HINT_ROW(0x1c),
    HINT_ROW(0x1d),
    HINT_ROW(0x1e),
    HINT_ROW(0x1f),
};
EMU_FAMILY(emu_family_mov, rows);
