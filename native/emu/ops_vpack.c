/* Elements made narrower, wider and interleaved. */
#include "mmx.h"

#define KERNEL(name, expression)                                                                   \
    EMU_KERNEL(k_##name)                                                                           \
    {                                                                                              \
        return expression;                                                                         \
    }

/* Both sources' elements side by side, with saturation; half as many in MMX. */
#define CLAMP(value, low, high) ((value) < (low) ? (low) : (value) > (high) ? (high) : (value))
#define PACK_KERNEL(name, to, from, count, low, high)                                              \
    EMU_KERNEL(name)                                                                               \
    {                                                                                              \
        union emu_elements p = {a}, q = {b}, r = {{0}};                                            \
        for (unsigned i = 0; i < (count) / 2; i++) {                                               \
            r.to[i] = (__typeof__(r.to[0]))CLAMP(p.from[i], low, high);                            \
            r.to[i + (count) / 2] = (__typeof__(r.to[0]))CLAMP(q.from[i], low, high);              \
        }                                                                                          \
        return r.lane;                                                                             \
    }
#define PACK(name, to, from, count, low, high)                                                     \
    PACK_KERNEL(k_##name, to, from, count, low, high)                                              \
    EMU_VEC_PACKED(name, k_##name, )
#define PACK_MMX(name, to, from, count, low, high)                                                 \
    PACK(name, to, from, count, low, high)                                                         \
    PACK_KERNEL(k_m##name, to, from, (count) / 2, low, high)                                       \
    EMU_MMX_OPS(name, k_m##name, 8)
PACK_MMX(packsswb, i8, i16, 16, -128, 127)
PACK_MMX(packuswb, u8, i16, 16, 0, 255)
PACK_MMX(packssdw, i16, i32, 8, -32768, 32767)
PACK(packusdw, u16, i32, 8, 0, 65535)

/* The lower or upper halves of both sources, interleaved. MMX's upper half is what SSE
 * makes of the lower halves' upper halves. */
KERNEL(punpcklbw,
       EMU_SHUFFLE(emu_u8x16, a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23))
KERNEL(punpckhbw,
       EMU_SHUFFLE(emu_u8x16, a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31))
KERNEL(punpcklwd, EMU_SHUFFLE(emu_u16x8, a, b, 0, 8, 1, 9, 2, 10, 3, 11))
KERNEL(punpckhwd, EMU_SHUFFLE(emu_u16x8, a, b, 4, 12, 5, 13, 6, 14, 7, 15))
KERNEL(punpckldq, EMU_SHUFFLE(emu_u32x4, a, b, 0, 4, 1, 5))
KERNEL(punpckhdq, EMU_SHUFFLE(emu_u32x4, a, b, 2, 6, 3, 7))
KERNEL(punpcklqdq, ((emu_lane){a[0], b[0]}))
KERNEL(punpckhqdq, ((emu_lane){a[1], b[1]}))
EMU_VEC_PACKED(punpcklbw, k_punpcklbw, )
EMU_VEC_PACKED(punpckhbw, k_punpckhbw, )
EMU_VEC_PACKED(punpcklwd, k_punpcklwd, )
EMU_VEC_PACKED(punpckhwd, k_punpckhwd, )
EMU_VEC_PACKED(punpckldq, k_punpckldq, )
EMU_VEC_PACKED(punpckhdq, k_punpckhdq, )
EMU_VEC_PACKED(punpcklqdq, k_punpcklqdq, )
EMU_VEC_PACKED(punpckhqdq, k_punpckhqdq, )
EMU_MMX_OPS(punpcklbw, k_punpcklbw, 4)
EMU_MMX_OPS(punpcklwd, k_punpcklwd, 4)
EMU_MMX_OPS(punpckldq, k_punpckldq, 4)
KERNEL(mpunpckhbw, ((emu_lane){k_punpcklbw(cpu, insn, a, b)[1]}))
KERNEL(mpunpckhwd, ((emu_lane){k_punpcklwd(cpu, insn, a, b)[1]}))
KERNEL(mpunpckhdq, ((emu_lane){k_punpckldq(cpu, insn, a, b)[1]}))
EMU_MMX_OPS(punpckhbw, k_mpunpckhbw, 8)
EMU_MMX_OPS(punpckhwd, k_mpunpckhwd, 8)
EMU_MMX_OPS(punpckhdq, k_mpunpckhdq, 8)

/* PMOVSX, PMOVZX: from `bytes` bytes, twice as many in VEX.256, where the second lane comes
 * from the second half of them. */
#define WIDEN(name, to, count, from, bytes)                                                        \
    EMU_KERNEL(k_##name)                                                                           \
    {                                                                                              \
        union emu_elements q = {b}, r;                                                             \
        for (unsigned i = 0; i < (count); i++)                                                     \
            r.to[i] = q.from[i];                                                                   \
        return r.lane;                                                                             \
    }                                                                                              \
    EMU_VEC_SCALAR(name, k_##name, bytes, )                                                        \
    static inline emu_lane upper_##name(emu_lane b)                                                \
    {                                                                                              \
        return (emu_lane){(bytes) == 8 ? b[1] : b[0] >> (8 * (bytes) % 64)};                       \
    }                                                                                              \
    static EMU_OP(op_y##name##_r)                                                                  \
    {                                                                                              \
        emu_lane b = EMU_LANE(rm, 0);                                                              \
        emu_set_256(cpu, insn->reg, k_##name(cpu, insn, b, b),                                     \
                    k_##name(cpu, insn, b, upper_##name(b)));                                      \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_VEC_LOAD_OP(op_y##name##_m, 2 * (bytes), 0,                                                \
                    emu_set_256(cpu, insn->reg, k_##name(cpu, insn, b, b),                         \
                                k_##name(cpu, insn, b, upper_##name(b))))                          \
    EMU_VEC_TABLE(y##name)
WIDEN(pmovsxbw, i16, 8, i8, 8)
WIDEN(pmovsxbd, i32, 4, i8, 4)
WIDEN(pmovsxbq, i64, 2, i8, 2)
WIDEN(pmovsxwd, i32, 4, i16, 8)
WIDEN(pmovsxwq, i64, 2, i16, 4)
WIDEN(pmovsxdq, i64, 2, i32, 8)
WIDEN(pmovzxbw, u16, 8, u8, 8)
WIDEN(pmovzxbd, u32, 4, u8, 4)
WIDEN(pmovzxbq, u64, 2, u8, 2)
WIDEN(pmovzxwd, u32, 4, u16, 8)
WIDEN(pmovzxwq, u64, 2, u16, 4)
WIDEN(pmovzxdq, u64, 2, u32, 8)

#define ROWS(map, opcode, match, name) EMU_VEC_ROWS_PACKED(map, opcode, match, EMU_PURE, 0, name)
#define BOTH(opcode, name) EMU_MMX_ROW(0F, opcode, 0, name), ROWS(0F, opcode, P66, name)
#define WIDEN_ROWS(opcode, name) EMU_VEC_ROWS_PACKED(38, opcode, P66, EMU_PURE, EMU_VVVV0, name)

static const struct emu_row rows[] = {
    BOTH(0x60, punpcklbw),
    BOTH(0x61, punpcklwd),
    BOTH(0x62, punpckldq),
    BOTH(0x68, punpckhbw),
    BOTH(0x69, punpckhwd),
    BOTH(0x6a, punpckhdq),
    ROWS(0F, 0x6c, P66, punpcklqdq),
    ROWS(0F, 0x6d, P66, punpckhqdq),
    ROWS(0F, 0x14, NP, punpckldq), /* UNPCKLPS and kin */
    ROWS(0F, 0x14, P66, punpcklqdq),
    ROWS(0F, 0x15, NP, punpckhdq),
    ROWS(0F, 0x15, P66, punpckhqdq),
    BOTH(0x63, packsswb),
    BOTH(0x67, packuswb),
    BOTH(0x6b, packssdw),
    ROWS(38, 0x2b, P66, packusdw),
    WIDEN_ROWS(0x20, pmovsxbw),
    WIDEN_ROWS(0x21, pmovsxbd),
    WIDEN_ROWS(0x22, pmovsxbq),
    WIDEN_ROWS(0x23, pmovsxwd),
    WIDEN_ROWS(0x24, pmovsxwq),
    WIDEN_ROWS(0x25, pmovsxdq),
    WIDEN_ROWS(0x30, pmovzxbw),
    WIDEN_ROWS(0x31, pmovzxbd),
    WIDEN_ROWS(0x32, pmovzxbq),
    WIDEN_ROWS(0x33, pmovzxwd),
    WIDEN_ROWS(0x34, pmovzxwq),
    WIDEN_ROWS(0x35, pmovzxdq),
};
EMU_FAMILY(emu_family_vpack, rows);
