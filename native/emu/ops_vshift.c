/* Shifts of vectors: all elements by one count, each by its own, and whole lanes by bytes. */
#include "mmx.h"

/* One lane by one count; counts beyond the width leave nothing, or the sign. */
#define LOGICAL(name, type, bits, op, element)                                                     \
    static inline emu_lane name(emu_lane a, uint64_t count)                                        \
    {                                                                                              \
        return count < (bits) ? (emu_lane)((type)a op(element) count) : (emu_lane){0};             \
    }
#define ARITHMETIC(name, type, bits, element)                                                      \
    static inline emu_lane name(emu_lane a, uint64_t count)                                        \
    {                                                                                              \
        return (emu_lane)((type)a >> (element)(count < (bits) ? count : (bits) - 1));              \
    }
LOGICAL(psllw, emu_u16x8, 16, <<, uint16_t)
LOGICAL(pslld, emu_u32x4, 32, <<, uint32_t)
LOGICAL(psllq, emu_lane, 64, <<, uint64_t)
LOGICAL(psrlw, emu_u16x8, 16, >>, uint16_t)
LOGICAL(psrld, emu_u32x4, 32, >>, uint32_t)
LOGICAL(psrlq, emu_lane, 64, >>, uint64_t)
ARITHMETIC(psraw, emu_i16x8, 16, int16_t)
ARITHMETIC(psrad, emu_i32x4, 32, int32_t)

static inline emu_lane bytes_from(emu_lane low, emu_lane high, unsigned first)
{
    uint8_t bytes[32];
    emu_lane result;
    memcpy(bytes, &low, 16);
    memcpy(bytes + 16, &high, 16);
    memcpy(&result, bytes + first, 16);
    return result;
}

static inline emu_lane pslldq(emu_lane a, uint64_t count)
{
    return bytes_from((emu_lane){0}, a, 16 - (unsigned)(count < 16 ? count : 16));
}

static inline emu_lane psrldq(emu_lane a, uint64_t count)
{
    return bytes_from(a, (emu_lane){0}, (unsigned)(count < 16 ? count : 16));
}

/* By a count in the second source's low quadword; in VEX.256 that has one lane too. */
#define BY_VECTOR(name)                                                                            \
    EMU_KERNEL(k_##name)                                                                           \
    {                                                                                              \
        return name(a, b[0]);                                                                      \
    }                                                                                              \
    EMU_VEC_LEGACY(name, k_##name, 16, 15, )                                                       \
    EMU_VEC_128(name, k_##name, 16, )                                                              \
    static EMU_OP(op_y##name##_r)                                                                  \
    {                                                                                              \
        uint64_t count = EMU_LANE(rm, 0)[0];                                                       \
        emu_set_256(cpu, insn->reg, name(EMU_LANE(src, 0), count), name(EMU_LANE(src, 1), count)); \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_VEC_LOAD_OP(                                                                               \
        op_y##name##_m, 16, 0,                                                                     \
        emu_set_256(cpu, insn->reg, name(EMU_LANE(src, 0), b[0]), name(EMU_LANE(src, 1), b[0])))   \
    EMU_MMX_OPS(name, k_##name, 8)                                                                 \
    static const struct emu_forms t_##name = EMU_FORMS_RM(op_##name##_r, op_##name##_m);           \
    static const struct emu_forms vt_##name = EMU_FORMS_RM(op_v##name##_r, op_v##name##_m);        \
    static const struct emu_forms yt_##name = EMU_FORMS_RM(op_y##name##_r, op_y##name##_m);

/* By an immediate: E is the source, and the destination E or VEX.vvvv. */
#define BY_IMMEDIATE(name)                                                                         \
    static EMU_OP(op_i_##name)                                                                     \
    {                                                                                              \
        emu_set_legacy(cpu, insn->rm, name(EMU_LANE(rm, 0), insn->imm));                           \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static EMU_OP(op_i_v##name)                                                                    \
    {                                                                                              \
        emu_set_128(cpu, insn->src, name(EMU_LANE(rm, 0), insn->imm));                             \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static EMU_OP(op_i_y##name)                                                                    \
    {                                                                                              \
        emu_set_256(cpu, insn->src, name(EMU_LANE(rm, 0), insn->imm),                              \
                    name(EMU_LANE(rm, 1), insn->imm));                                             \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static const struct emu_forms i_##name = EMU_FORMS_RM(op_i_##name, NULL);                      \
    static const struct emu_forms i_v##name = EMU_FORMS_RM(op_i_v##name, NULL);                    \
    static const struct emu_forms i_y##name = EMU_FORMS_RM(op_i_y##name, NULL);
#define BY_IMMEDIATE_MMX(name)                                                                     \
    static EMU_OP(op_i_m##name)                                                                    \
    {                                                                                              \
        emu_mmx_begin(cpu, insn);                                                                  \
        emu_mmx_set(cpu, insn->rm, name(emu_mmx_get(cpu, insn->rm), insn->imm)[0]);                \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static const struct emu_forms i_m##name = EMU_FORMS_RM(op_i_m##name, NULL);

#define SHIFT(name) BY_VECTOR(name) BY_IMMEDIATE(name) BY_IMMEDIATE_MMX(name)
SHIFT(psllw)
SHIFT(pslld)
SHIFT(psllq)
SHIFT(psrlw)
SHIFT(psrld)
SHIFT(psrlq)
SHIFT(psraw)
SHIFT(psrad)
BY_IMMEDIATE(pslldq)
BY_IMMEDIATE(psrldq)

/* PALIGNR: bytes of both sources in a row. MMX has half as many. */
EMU_KERNEL(k_palignr)
{
    return insn->imm < 16   ? bytes_from(b, a, (unsigned)insn->imm)
           : insn->imm < 32 ? bytes_from(a, (emu_lane){0}, (unsigned)insn->imm - 16)
                            : (emu_lane){0};
}
EMU_KERNEL(k_mpalignr)
{
    return insn->imm < 16 ? bytes_from((emu_lane){b[0], a[0]}, (emu_lane){0}, (unsigned)insn->imm)
                          : (emu_lane){0};
}
EMU_VEC_PACKED(palignr, k_palignr, )
EMU_MMX_OPS(palignr, k_mpalignr, 8)

/* VPSLLV and kin: every element by its own count. */
#define EACH(name, field, count, expression)                                                       \
    EMU_KERNEL(k_##name)                                                                           \
    {                                                                                              \
        union emu_elements p = {a}, q = {b}, r;                                                    \
        for (unsigned i = 0; i < (count); i++)                                                     \
            r.field[i] = expression;                                                               \
        return r.lane;                                                                             \
    }                                                                                              \
    EMU_VEC_128(name, k_##name, 16, )                                                              \
    EMU_VEC_256(name, k_##name, )                                                                  \
    EMU_VEC_TABLE(v##name)                                                                         \
    EMU_VEC_TABLE(y##name)
EACH(psllvd, u32, 4, q.u32[i] < 32 ? p.u32[i] << q.u32[i] : 0)
EACH(psllvq, u64, 2, q.u64[i] < 64 ? p.u64[i] << q.u64[i] : 0)
EACH(psrlvd, u32, 4, q.u32[i] < 32 ? p.u32[i] >> q.u32[i] : 0)
EACH(psrlvq, u64, 2, q.u64[i] < 64 ? p.u64[i] >> q.u64[i] : 0)
EACH(psravd, i32, 4, p.i32[i] >> (q.u32[i] < 32 ? q.u32[i] : 31))

#define VECTOR_ROWS(opcode, name)                                                                  \
    EMU_MMX_ROW(0F, opcode, 0, name), EMU_VEC_ROWS_PACKED(0F, opcode, P66, EMU_PURE, 0, t_##name)
#define IMMEDIATE_ROWS(opcode, n, name)                                                            \
    EMU_VEC_ROW_LEGACY(0F, opcode, P66 | EMU_REG(n), EMU_IMM_U8 | EMU_PURE, i_##name),             \
        EMU_VEC_ROW_VEX(0F, opcode, EMU_P66 | EMU_REG(n) | EMU_L0, EMU_IMM_U8 | EMU_PURE,          \
                        i_v##name),                                                                \
        EMU_VEC_ROW_VEX(0F, opcode, EMU_P66 | EMU_REG(n) | EMU_L1, EMU_IMM_U8 | EMU_PURE,          \
                        i_y##name)
#define IMMEDIATE_ROWS_MMX(opcode, n, name)                                                        \
    {EMU_MAP_0F, opcode, EMU_NP | EMU_REG(n), EMU_MODRM | EMU_MMX | EMU_IMM_U8, &i_m##name, NULL}, \
        IMMEDIATE_ROWS(opcode, n, name)
#define VARIABLE_ROWS(opcode, w, name)                                                             \
    EMU_VEC_ROW_VEX(38, opcode, EMU_P66 | EMU_L0 | (w), EMU_PURE, v##name),                        \
        EMU_VEC_ROW_VEX(38, opcode, EMU_P66 | EMU_L1 | (w), EMU_PURE, y##name)

static const struct emu_row rows[] = {
    VECTOR_ROWS(0xf1, psllw),
    VECTOR_ROWS(0xf2, pslld),
    VECTOR_ROWS(0xf3, psllq),
    VECTOR_ROWS(0xd1, psrlw),
    VECTOR_ROWS(0xd2, psrld),
    VECTOR_ROWS(0xd3, psrlq),
    VECTOR_ROWS(0xe1, psraw),
    VECTOR_ROWS(0xe2, psrad),
    IMMEDIATE_ROWS_MMX(0x71, 2, psrlw),
    IMMEDIATE_ROWS_MMX(0x71, 4, psraw),
    IMMEDIATE_ROWS_MMX(0x71, 6, psllw),
    IMMEDIATE_ROWS_MMX(0x72, 2, psrld),
    IMMEDIATE_ROWS_MMX(0x72, 4, psrad),
    IMMEDIATE_ROWS_MMX(0x72, 6, pslld),
    IMMEDIATE_ROWS_MMX(0x73, 2, psrlq),
    IMMEDIATE_ROWS(0x73, 3, psrldq),
    IMMEDIATE_ROWS_MMX(0x73, 6, psllq),
    IMMEDIATE_ROWS(0x73, 7, pslldq),
    EMU_MMX_ROW(3A, 0x0f, EMU_IMM_U8, palignr),
    EMU_VEC_ROWS_PACKED(3A, 0x0f, P66, EMU_IMM_U8 | EMU_PURE, 0, palignr),
    VARIABLE_ROWS(0x47, EMU_W0, psllvd),
    VARIABLE_ROWS(0x47, EMU_W1, psllvq),
    VARIABLE_ROWS(0x45, EMU_W0, psrlvd),
    VARIABLE_ROWS(0x45, EMU_W1, psrlvq),
    VARIABLE_ROWS(0x46, EMU_W0, psravd),
};
EMU_FAMILY(emu_family_vshift, rows);
