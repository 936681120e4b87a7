/* Shuffles and blends within lanes. */
#include "mmx.h"

#define EACH(name, field, count, expression)                                                       \
    EMU_KERNEL(k_##name)                                                                           \
    {                                                                                              \
        union emu_elements p = {a}, q = {b}, r;                                                    \
        unsigned imm = (unsigned)insn->imm;                                                        \
        (void)p, (void)imm;                                                                        \
        for (unsigned i = 0; i < (count); i++)                                                     \
            r.field[i] = expression;                                                               \
        return r.lane;                                                                             \
    }
#define PACKED(name) EMU_VEC_PACKED(name, k_##name, )
#define PACKED_PAIR(name) EMU_VEC_PACKED_PAIR(name, k_##name, k_##name##_high, )
/* What only VEX has. */
#define VEX(name, high)                                                                            \
    EMU_VEC_128(name, k_##name, 16, )                                                              \
    EMU_VEC_256_PAIR(name, k_##name, high, )                                                       \
    EMU_VEC_TABLE(v##name)                                                                         \
    EMU_VEC_TABLE(y##name)

/* Two bits of the immediate for each element. */
#define TWO_BITS(i) (imm >> (2 * (i)) & 3)
EACH(pshufd, u32, 4, q.u32[TWO_BITS(i)])
EACH(pshuflw, u16, 8, i < 4 ? q.u16[TWO_BITS(i)] : q.u16[i])
EACH(pshufhw, u16, 8, i < 4 ? q.u16[i] : q.u16[4 + TWO_BITS(i - 4)])
EACH(shufps, u32, 4, i < 2 ? p.u32[TWO_BITS(i)] : q.u32[TWO_BITS(i)])
EACH(shufpd, u64, 2, i ? q.u64[imm >> 1 & 1] : p.u64[imm & 1])
EACH(shufpd_high, u64, 2, i ? q.u64[imm >> 3 & 1] : p.u64[imm >> 2 & 1])
EACH(permilpd, u64, 2, q.u64[imm >> i & 1])
EACH(permilpd_high, u64, 2, q.u64[imm >> (2 + i) & 1])
PACKED(pshufd)
PACKED(pshuflw)
PACKED(pshufhw)
PACKED(shufps)
PACKED_PAIR(shufpd)
VEX(permilpd, k_permilpd_high)
EMU_MMX_OPS(pshufw, k_pshuflw, 8)

/* By indexes in a register. */
EACH(pshufb, u8, 16, q.u8[i] & 0x80 ? 0 : p.u8[q.u8[i] & 15])
EACH(mpshufb, u8, 8, q.u8[i] & 0x80 ? 0 : p.u8[q.u8[i] & 7])
EACH(permilps_v, u32, 4, p.u32[q.u32[i] & 3])
EACH(permilpd_v, u64, 2, p.u64[q.u64[i] >> 1 & 1])
PACKED(pshufb)
EMU_MMX_OPS(pshufb, k_mpshufb, 8)
VEX(permilps_v, k_permilps_v)
VEX(permilpd_v, k_permilpd_v)

/* By a bit for each element. */
EACH(pblendw, u16, 8, imm >> i & 1 ? q.u16[i] : p.u16[i])
EACH(blendps, u32, 4, imm >> i & 1 ? q.u32[i] : p.u32[i])
EACH(blendps_high, u32, 4, imm >> (4 + i) & 1 ? q.u32[i] : p.u32[i])
EACH(blendpd, u64, 2, imm >> i & 1 ? q.u64[i] : p.u64[i])
EACH(blendpd_high, u64, 2, imm >> (2 + i) & 1 ? q.u64[i] : p.u64[i])
PACKED(pblendw)
PACKED_PAIR(blendps)
PACKED_PAIR(blendpd)

/* By the top bits of a mask: XMM0, or a register that the immediate names. */
#define BLEND(mask, type, signed_type)                                                             \
    ((emu_lane)(((type)(b) & (type)((signed_type)(mask) < 0)) |                                    \
                ((type)(a) & ~(type)((signed_type)(mask) < 0))))
static inline unsigned mask_register(const struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return (unsigned)insn->imm >> 4 & (emu_code64(cpu) ? 15 : 7);
}
#define BLENDV(name, type, signed_type)                                                            \
    EMU_KERNEL(k_##name)                                                                           \
    {                                                                                              \
        return BLEND(cpu->vec[0].lane[0], type, signed_type);                                      \
    }                                                                                              \
    EMU_KERNEL(k_v##name)                                                                          \
    {                                                                                              \
        return BLEND(cpu->vec[mask_register(cpu, insn)].lane[0], type, signed_type);               \
    }                                                                                              \
    EMU_KERNEL(k_v##name##_high)                                                                   \
    {                                                                                              \
        return BLEND(cpu->vec[mask_register(cpu, insn)].lane[1], type, signed_type);               \
    }                                                                                              \
    EMU_VEC_LEGACY(name, k_##name, 16, 15, )                                                       \
    EMU_VEC_128(name, k_v##name, 16, )                                                             \
    EMU_VEC_256_PAIR(name, k_v##name, k_v##name##_high, )                                          \
    EMU_VEC_TABLE(name) EMU_VEC_TABLE(v##name) EMU_VEC_TABLE(y##name)
BLENDV(pblendvb, emu_u8x16, emu_i8x16)
BLENDV(blendvps, emu_u32x4, emu_i32x4)
BLENDV(blendvpd, emu_lane, emu_i64x2)

#define ROWS(map, opcode, match, name)                                                             \
    EMU_VEC_ROWS_PACKED(map, opcode, match, EMU_IMM_U8 | EMU_PURE, 0, name)
#define UNARY_ROWS(opcode, match, name)                                                            \
    EMU_VEC_ROWS_PACKED(0F, opcode, match, EMU_IMM_U8 | EMU_PURE, EMU_VVVV0, name)
#define VEX_ROWS(map, opcode, match, shape, name)                                                  \
    EMU_VEC_ROW_VEX(map, opcode, EMU_P66 | EMU_L0 | (match), EMU_PURE | (shape), v##name),         \
        EMU_VEC_ROW_VEX(map, opcode, EMU_P66 | EMU_L1 | (match), EMU_PURE | (shape), y##name)
#define BLENDV_ROWS(legacy, vex, name)                                                             \
    EMU_VEC_ROW_LEGACY(38, legacy, P66, EMU_PURE, name), VEX_ROWS(3A, vex, EMU_W0, EMU_IMM_U8, name)

static const struct emu_row rows[] = {
    UNARY_ROWS(0x70, P66, pshufd),
    UNARY_ROWS(0x70, PF3, pshufhw),
    UNARY_ROWS(0x70, PF2, pshuflw),
    EMU_MMX_ROW(0F, 0x70, EMU_IMM_U8, pshufw),
    ROWS(0F, 0xc6, NP, shufps),
    ROWS(0F, 0xc6, P66, shufpd),
    EMU_MMX_ROW(38, 0x00, 0, pshufb),
    EMU_VEC_ROWS_PACKED(38, 0x00, P66, EMU_PURE, 0, pshufb),
    VEX_ROWS(38, 0x0c, EMU_W0, 0, permilps_v),
    VEX_ROWS(38, 0x0d, EMU_W0, 0, permilpd_v),
    VEX_ROWS(3A, 0x04, EMU_W0 | EMU_VVVV0, EMU_IMM_U8, pshufd), /* VPERMILPS */
    VEX_ROWS(3A, 0x05, EMU_W0 | EMU_VVVV0, EMU_IMM_U8, permilpd),
    ROWS(3A, 0x0e, P66, pblendw),
    ROWS(3A, 0x0c, P66, blendps),
    ROWS(3A, 0x0d, P66, blendpd),
    VEX_ROWS(3A, 0x02, EMU_W0, EMU_IMM_U8, blendps), /* VPBLENDD */
    BLENDV_ROWS(0x10, 0x4c, pblendvb),
    BLENDV_ROWS(0x14, 0x4a, blendvps),
    BLENDV_ROWS(0x15, 0x4b, blendvpd),
};
EMU_FAMILY(emu_family_vshuffle, rows);
