/* Single elements between vector registers and general ones or memory; PTEST and kin. */
#include "mmx.h"

/* PINSR: E is a general register or memory. The MMX form has four words. */
#define INSERT(name, s, field, count)                                                              \
    static inline emu_lane put_##name(emu_lane a, unsigned index, EMU_TYPE_##s value)              \
    {                                                                                              \
        union emu_elements p = {a};                                                                \
        p.field[index & ((count) - 1)] = value;                                                    \
        return p.lane;                                                                             \
    }                                                                                              \
    static EMU_OP(op_##name##_r)                                                                   \
    {                                                                                              \
        emu_set_legacy(                                                                            \
            cpu, insn->reg,                                                                        \
            put_##name(EMU_LANE(reg, 0), (unsigned)insn->imm, (EMU_TYPE_##s)cpu->gpr[insn->rm]));  \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_LOAD_OP(                                                                                   \
        op_##name##_m, s,                                                                          \
        emu_set_legacy(cpu, insn->reg, put_##name(EMU_LANE(reg, 0), (unsigned)insn->imm, value)))  \
    static EMU_OP(op_v##name##_r)                                                                  \
    {                                                                                              \
        emu_set_128(                                                                               \
            cpu, insn->reg,                                                                        \
            put_##name(EMU_LANE(src, 0), (unsigned)insn->imm, (EMU_TYPE_##s)cpu->gpr[insn->rm]));  \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_LOAD_OP(                                                                                   \
        op_v##name##_m, s,                                                                         \
        emu_set_128(cpu, insn->reg, put_##name(EMU_LANE(src, 0), (unsigned)insn->imm, value)))
INSERT(pinsrb, b, u8, 16)
INSERT(pinsrw, w, u16, 8)
INSERT(pinsrd, d, u32, 4)
INSERT(pinsrq, q, u64, 2)
EMU_VEC_TABLE(pinsrb)
EMU_VEC_TABLE(vpinsrb)
EMU_VEC_TABLE(pinsrw)
EMU_VEC_TABLE(vpinsrw)
#define BY_WIDTH(name, d, q)                                                                       \
    static const struct emu_forms name =                                                           \
        EMU_FORMS(NULL, NULL, op_##d##_r, op_##q##_r, NULL, NULL, op_##d##_m, op_##q##_m);
BY_WIDTH(pinsr, pinsrd, pinsrq)
BY_WIDTH(vpinsr, vpinsrd, vpinsrq)

static EMU_OP(op_mpinsrw_r)
{
    emu_mmx_begin(cpu, insn);
    emu_mmx_set(
        cpu, insn->reg,
        put_pinsrw(emu_mmx_get(cpu, insn->reg), insn->imm & 3, (uint16_t)cpu->gpr[insn->rm])[0]);
    EMU_NEXT;
}
EMU_MMX_LOAD_OP(op_mpinsrw_m, 2,
                emu_mmx_set(cpu, insn->reg,
                            put_pinsrw(emu_mmx_get(cpu, insn->reg), insn->imm & 3,
                                       (uint16_t)b[0])[0]))
EMU_VEC_TABLE(mpinsrw)

/* PEXTR, EXTRACTPS: G to a general register, whose rest is cleared, or to memory. */
#define EXTRACT(name, s, field, count)                                                             \
    static EMU_OP(op_##name##_r)                                                                   \
    {                                                                                              \
        cpu->gpr[insn->rm] = cpu->vec[insn->reg].field[insn->imm & ((count) - 1)];                 \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_STORE_OP(op_##name##_m, s, value = cpu->vec[insn->reg].field[insn->imm & ((count) - 1)])
EXTRACT(pextrb, b, u8, 16)
EXTRACT(pextrw, w, u16, 8)
EXTRACT(pextrd, d, u32, 4)
EXTRACT(pextrq, q, u64, 2)
EMU_VEC_TABLE(pextrb)
EMU_VEC_TABLE(pextrw)
EMU_VEC_TABLE(pextrd)
BY_WIDTH(pextr, pextrd, pextrq)

/* 0F C5: from E to G. */
static EMU_OP(op_pextrw_g)
{
    cpu->gpr[insn->reg] = cpu->vec[insn->rm].u16[insn->imm & 7];
    EMU_NEXT;
}
static EMU_OP(op_mpextrw_g)
{
    emu_mmx_begin(cpu, insn);
    cpu->gpr[insn->reg] = (uint16_t)(emu_mmx_get(cpu, insn->rm)[0] >> 16 * (insn->imm & 3));
    EMU_NEXT;
}
static const struct emu_forms pextrw_g = EMU_FORMS_RM(op_pextrw_g, NULL);
static const struct emu_forms mpextrw_g = EMU_FORMS_RM(op_mpextrw_g, NULL);

/* INSERTPS: where from (not in memory), where to, and what is cleared. */
static inline emu_lane insert_float(emu_lane a, uint32_t value, unsigned imm)
{
    union emu_elements p = {a};
    p.u32[imm >> 4 & 3] = value;
    for (unsigned i = 0; i < 4; i++)
        p.u32[i] = imm >> i & 1 ? 0 : p.u32[i];
    return p.lane;
}
static inline uint32_t chosen(emu_lane b, unsigned imm)
{
    return ((union emu_elements){b}).u32[imm >> 6 & 3];
}
EMU_KERNEL(k_insertps)
{
    return insert_float(a, chosen(b, (unsigned)insn->imm), (unsigned)insn->imm);
}
EMU_KERNEL(k_insertps_m)
{
    return insert_float(a, (uint32_t)b[0], (unsigned)insn->imm);
}
EMU_VEC_SCALAR(insertps, k_insertps, 4, )
EMU_VEC_SCALAR(insertps_m, k_insertps_m, 4, )

/* ZF: no bit set in both; CF: none in b that a lacks. VTESTPS, VTESTPD: of the signs only. */
static inline void set_test_flags(struct emu_cpu *cpu, emu_lane both, emu_lane only_b)
{
    emu_set_status_flags(cpu,
                         (both[0] | both[1] ? 0 : FLAG_ZF) | (only_b[0] | only_b[1] ? 0 : FLAG_CF));
}
#define TEST(name, mask)                                                                           \
    static inline void name##_lanes(struct emu_cpu *cpu, emu_lane a, emu_lane b, emu_lane a1,      \
                                    emu_lane b1)                                                   \
    {                                                                                              \
        emu_lane kept = {mask, mask};                                                              \
        set_test_flags(cpu, ((a & b) | (a1 & b1)) & kept, ((~a & b) | (~a1 & b1)) & kept);         \
    }                                                                                              \
    static EMU_OP(op_##name##_r)                                                                   \
    {                                                                                              \
        emu_lane none = {0};                                                                       \
        name##_lanes(cpu, EMU_LANE(reg, 0), EMU_LANE(rm, 0), none, none);                          \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_VEC_LOAD_OP(op_##name##_m, 16, 15, name##_lanes(cpu, EMU_LANE(reg, 0), b, b1, b1))         \
    EMU_VEC_LOAD_OP(op_v##name##_m, 16, 0, name##_lanes(cpu, EMU_LANE(reg, 0), b, b1, b1))         \
    static EMU_OP(op_y##name##_r)                                                                  \
    {                                                                                              \
        name##_lanes(cpu, EMU_LANE(reg, 0), EMU_LANE(rm, 0), EMU_LANE(reg, 1), EMU_LANE(rm, 1));   \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_VEC_LOAD_OP(op_y##name##_m, 32, 0,                                                         \
                    name##_lanes(cpu, EMU_LANE(reg, 0), b, EMU_LANE(reg, 1), b1))                  \
    static const struct emu_forms name __attribute__((unused)) =                                   \
        EMU_FORMS_RM(op_##name##_r, op_##name##_m);                                                \
    static const struct emu_forms v##name = EMU_FORMS_RM(op_##name##_r, op_v##name##_m);           \
    static const struct emu_forms y##name = EMU_FORMS_RM(op_y##name##_r, op_y##name##_m);
TEST(ptest, UINT64_MAX)
TEST(testps, 0x8000000080000000)
TEST(testpd, 0x8000000000000000)

#define SCALAR(map, opcode, match, shape, name)                                                    \
    EMU_VEC_ROWS_SCALAR(map, opcode, match, EMU_IMM_U8 | (shape), EMU_L0, name)
#define EXTRACT_ROWS(opcode, shape, name)                                                          \
    EMU_VEC_ROW_LEGACY(3A, opcode, P66, EMU_IMM_U8 | EMU_PURE | (shape), name),                    \
        EMU_VEC_ROW_VEX(3A, opcode, EMU_P66 | EMU_L0 | EMU_VVVV0, EMU_IMM_U8 | EMU_PURE | (shape), \
                        name)
#define TEST_FLAGS (EMU_PURE | EMU_WRITES_ALL)
#define VTEST_ROWS(opcode, name)                                                                   \
    EMU_VEC_ROW_VEX(38, opcode, EMU_P66 | EMU_L0 | EMU_W0 | EMU_VVVV0, TEST_FLAGS, v##name),       \
        EMU_VEC_ROW_VEX(38, opcode, EMU_P66 | EMU_L1 | EMU_W0 | EMU_VVVV0, TEST_FLAGS, y##name)

static const struct emu_row rows[] = {
    SCALAR(3A, 0x20, P66, EMU_PURE, pinsrb),
    SCALAR(0F, 0xc4, P66, EMU_PURE, pinsrw),
    SCALAR(3A, 0x22, P66, EMU_PURE | EMU_SIZE_Y, pinsr),
    EMU_MMX_ROW(0F, 0xc4, EMU_IMM_U8, pinsrw),
    EXTRACT_ROWS(0x14, 0, pextrb),
    EXTRACT_ROWS(0x15, 0, pextrw),
    EXTRACT_ROWS(0x16, EMU_SIZE_Y, pextr),
    EXTRACT_ROWS(0x17, 0, pextrd), /* EXTRACTPS */
    EMU_VEC_ROW_LEGACY(0F, 0xc5, P66, EMU_IMM_U8 | EMU_PURE, pextrw_g),
    EMU_VEC_ROW_VEX(0F, 0xc5, EMU_P66 | EMU_L0 | EMU_VVVV0, EMU_IMM_U8 | EMU_PURE, pextrw_g),
    EMU_MMX_ROW(0F, 0xc5, EMU_IMM_U8, pextrw_g),
    SCALAR(3A, 0x21, P66 | EMU_MOD_R, EMU_PURE, insertps),
    SCALAR(3A, 0x21, P66 | EMU_MOD_M, 0, insertps_m),
    EMU_VEC_ROWS_PACKED(38, 0x17, P66, TEST_FLAGS, EMU_VVVV0, ptest),
    VTEST_ROWS(0x0e, testps),
    VTEST_ROWS(0x0f, testpd),
};
EMU_FAMILY(emu_family_vinsert, rows);
