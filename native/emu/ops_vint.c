/* Sums, differences, comparisons, minima and averages of integers in vectors. */
#include "mmx.h"

/* A result by elements of one type, from p and q: SSE2 and AVX; with MMX forms; all lanes at
 * once by the compiler's vector arithmetic. */
#define BINARY(name, type, expression)                                                             \
    EMU_KERNEL(k_##name)                                                                           \
    {                                                                                              \
        type p = (type)a, q = (type)b;                                                             \
        (void)p;                                                                                   \
        return (emu_lane)(expression);                                                             \
    }                                                                                              \
    EMU_VEC_PACKED(name, k_##name, )
#define BINARY_MMX(name, type, expression)                                                         \
    BINARY(name, type, expression)                                                                 \
    EMU_MMX_OPS(name, k_##name, 8)

#define CHOOSE(type, mask, yes, no) (((type)(mask) & (type)(yes)) | (~(type)(mask) & (type)(no)))

BINARY_MMX(paddb, emu_u8x16, p + q)
BINARY_MMX(paddw, emu_u16x8, p + q)
BINARY_MMX(paddd, emu_u32x4, p + q)
BINARY_MMX(paddq, emu_lane, p + q)
BINARY_MMX(psubb, emu_u8x16, p - q)
BINARY_MMX(psubw, emu_u16x8, p - q)
BINARY_MMX(psubd, emu_u32x4, p - q)
BINARY_MMX(psubq, emu_lane, p - q)

/* Saturation: where the sum wrapped, all ones; where the signs say overflow, the limit that
 * has the first source's sign. */
#define SIGNED_SUM(u, i, bits, sum, overflow)                                                      \
    CHOOSE(u, (i)(overflow) < 0, ((i)p >> (bits - 1)) ^ (i)(((u)p & 0) + (1u << (bits - 1)) - 1),  \
           sum)
#define ADDS(u, i, bits) SIGNED_SUM(u, i, bits, p + q, (p ^ (p + q)) & (q ^ (p + q)))
#define SUBS(u, i, bits) SIGNED_SUM(u, i, bits, p - q, (p ^ q) & (p ^ (p - q)))
BINARY_MMX(paddusb, emu_u8x16, (p + q) | (emu_u8x16)(p + q < p))
BINARY_MMX(paddusw, emu_u16x8, (p + q) | (emu_u16x8)(p + q < p))
BINARY_MMX(psubusb, emu_u8x16, (p - q) & (emu_u8x16)(p > q))
BINARY_MMX(psubusw, emu_u16x8, (p - q) & (emu_u16x8)(p > q))
BINARY_MMX(paddsb, emu_u8x16, ADDS(emu_u8x16, emu_i8x16, 8))
BINARY_MMX(paddsw, emu_u16x8, ADDS(emu_u16x8, emu_i16x8, 16))
BINARY_MMX(psubsb, emu_u8x16, SUBS(emu_u8x16, emu_i8x16, 8))
BINARY_MMX(psubsw, emu_u16x8, SUBS(emu_u16x8, emu_i16x8, 16))

BINARY_MMX(pcmpeqb, emu_u8x16, p == q)
BINARY_MMX(pcmpeqw, emu_u16x8, p == q)
BINARY_MMX(pcmpeqd, emu_u32x4, p == q)
BINARY(pcmpeqq, emu_lane, p == q)
BINARY_MMX(pcmpgtb, emu_i8x16, p > q)
BINARY_MMX(pcmpgtw, emu_i16x8, p > q)
BINARY_MMX(pcmpgtd, emu_i32x4, p > q)
BINARY(pcmpgtq, emu_i64x2, p > q)

#define MIN(type) CHOOSE(type, p < q, p, q)
#define MAX(type) CHOOSE(type, p > q, p, q)
BINARY_MMX(pminub, emu_u8x16, MIN(emu_u8x16))
BINARY_MMX(pmaxub, emu_u8x16, MAX(emu_u8x16))
BINARY_MMX(pminsw, emu_i16x8, MIN(emu_i16x8))
BINARY_MMX(pmaxsw, emu_i16x8, MAX(emu_i16x8))
BINARY(pminsb, emu_i8x16, MIN(emu_i8x16))
BINARY(pmaxsb, emu_i8x16, MAX(emu_i8x16))
BINARY(pminuw, emu_u16x8, MIN(emu_u16x8))
BINARY(pmaxuw, emu_u16x8, MAX(emu_u16x8))
BINARY(pminud, emu_u32x4, MIN(emu_u32x4))
BINARY(pmaxud, emu_u32x4, MAX(emu_u32x4))
BINARY(pminsd, emu_i32x4, MIN(emu_i32x4))
BINARY(pmaxsd, emu_i32x4, MAX(emu_i32x4))
BINARY_MMX(pavgb, emu_u8x16, (p | q) - ((p ^ q) >> 1))
BINARY_MMX(pavgw, emu_u16x8, (p | q) - ((p ^ q) >> 1))

/* Computed unsigned: the most negative number is its own negation. */
#define ABS(u, i) CHOOSE(u, (i)q < 0, 0 - (u)q, q)
#define SIGN(u, i) CHOOSE(u, (i)q < 0, 0 - (u)p, (u)p & (u)((i)q > 0))
BINARY_MMX(pabsb, emu_u8x16, ABS(emu_u8x16, emu_i8x16))
BINARY_MMX(pabsw, emu_u16x8, ABS(emu_u16x8, emu_i16x8))
BINARY_MMX(pabsd, emu_u32x4, ABS(emu_u32x4, emu_i32x4))
BINARY_MMX(psignb, emu_u8x16, SIGN(emu_u8x16, emu_i8x16))
BINARY_MMX(psignw, emu_u16x8, SIGN(emu_u16x8, emu_i16x8))
BINARY_MMX(psignd, emu_u32x4, SIGN(emu_u32x4, emu_i32x4))

#define ROWS(map, opcode, name) EMU_VEC_ROWS_PACKED(map, opcode, P66, EMU_PURE, 0, name)
#define UNARY(map, opcode, name)                                                                   \
    EMU_MMX_ROW(map, opcode, 0, name),                                                             \
        EMU_VEC_ROWS_PACKED(map, opcode, P66, EMU_PURE, EMU_VVVV0, name)
#define BOTH(map, opcode, name) EMU_MMX_ROW(map, opcode, 0, name), ROWS(map, opcode, name)

static const struct emu_row rows[] = {
    BOTH(0F, 0xfc, paddb),   BOTH(0F, 0xfd, paddw),   BOTH(0F, 0xfe, paddd),
    BOTH(0F, 0xd4, paddq),   BOTH(0F, 0xf8, psubb),   BOTH(0F, 0xf9, psubw),
    BOTH(0F, 0xfa, psubd),   BOTH(0F, 0xfb, psubq),   BOTH(0F, 0xdc, paddusb),
    BOTH(0F, 0xdd, paddusw), BOTH(0F, 0xd8, psubusb), BOTH(0F, 0xd9, psubusw),
    BOTH(0F, 0xec, paddsb),  BOTH(0F, 0xed, paddsw),  BOTH(0F, 0xe8, psubsb),
    BOTH(0F, 0xe9, psubsw),  BOTH(0F, 0x74, pcmpeqb), BOTH(0F, 0x75, pcmpeqw),
    BOTH(0F, 0x76, pcmpeqd), ROWS(38, 0x29, pcmpeqq), BOTH(0F, 0x64, pcmpgtb),
    BOTH(0F, 0x65, pcmpgtw), BOTH(0F, 0x66, pcmpgtd), ROWS(38, 0x37, pcmpgtq),
    BOTH(0F, 0xda, pminub),  BOTH(0F, 0xde, pmaxub),  BOTH(0F, 0xea, pminsw),
    BOTH(0F, 0xee, pmaxsw),  ROWS(38, 0x38, pminsb),  ROWS(38, 0x3c, pmaxsb),
    ROWS(38, 0x3a, pminuw),  ROWS(38, 0x3e, pmaxuw),  ROWS(38, 0x3b, pminud),
    ROWS(38, 0x3f, pmaxud),  ROWS(38, 0x39, pminsd),  ROWS(38, 0x3d, pmaxsd),
    BOTH(0F, 0xe0, pavgb),   BOTH(0F, 0xe3, pavgw),   UNARY(38, 0x1c, pabsb),
    UNARY(38, 0x1d, pabsw),  UNARY(38, 0x1e, pabsd),  BOTH(38, 0x08, psignb),
    BOTH(38, 0x09, psignw),  BOTH(38, 0x0a, psignd),
};
EMU_FAMILY(emu_family_vint, rows);
