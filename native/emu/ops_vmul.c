/* Products and sums across elements of integer vectors. */
#include "mmx.h"

/* r.FIELD[i] = expression, for elements of p and q; the MMX form computes twice the needed. */
#define EACH(name, field, count, expression)                                                       \
    EMU_KERNEL(k_##name)                                                                           \
    {                                                                                              \
        union emu_elements p = {a}, q = {b}, r;                                                    \
        for (unsigned i = 0; i < (count); i++)                                                     \
            r.field[i] = (__typeof__(r.field[0]))(expression);                                     \
        return r.lane;                                                                             \
    }
#define SSE(name) EMU_VEC_PACKED(name, k_##name, )
#define MMX(name) EMU_MMX_OPS(name, k_##name, 8)

static inline int16_t saturate_16(int32_t value)
{
    return (int16_t)(value < -32768 ? -32768 : value > 32767 ? 32767 : value);
}

EACH(pmullw, u16, 8, (uint32_t)p.u16[i] * q.u16[i])
EACH(pmulhw, i16, 8, p.i16[i] * q.i16[i] >> 16)
EACH(pmulhuw, u16, 8, (uint32_t)p.u16[i] * q.u16[i] >> 16)
EACH(pmulhrsw, i16, 8, ((p.i16[i] * q.i16[i] >> 14) + 1) >> 1)
EACH(pmaddwd, u32, 4,
     (uint32_t)(p.i16[2 * i] * q.i16[2 * i]) + (uint32_t)(p.i16[2 * i + 1] * q.i16[2 * i + 1]))
EACH(pmaddubsw, i16, 8, saturate_16(p.u8[2 * i] * q.i8[2 * i] + p.u8[2 * i + 1] * q.i8[2 * i + 1]))
EACH(pmulld, u32, 4, p.u32[i] * q.u32[i])
EACH(pmuludq, u64, 2, (uint64_t)p.u32[2 * i] * q.u32[2 * i])
EACH(pmuldq, i64, 2, (int64_t)p.i32[2 * i] * q.i32[2 * i])
SSE(pmullw)
SSE(pmulhw)
SSE(pmulhuw)
SSE(pmulhrsw)
SSE(pmaddwd)
SSE(pmaddubsw)
SSE(pmulld)
SSE(pmuludq)
SSE(pmuldq)
MMX(pmullw)
MMX(pmulhw)
MMX(pmulhuw)
MMX(pmulhrsw)
MMX(pmaddwd)
MMX(pmaddubsw)
MMX(pmuludq)

/* Horizontal: neighbours of the first source, then of the second; half as many in MMX. */
#define PAIR(field, count, i, n)                                                                   \
    ((i) < (count) / 2 ? p.field[2 * (i) + (n)] : q.field[2 * ((i) - (count) / 2) + (n)])
#define HORIZONTAL(name, field, count, expression)                                                 \
    EACH(name, field, count, expression(PAIR(field, count, i, 0), PAIR(field, count, i, 1)))       \
    EACH(m_##name, field, (count) / 2,                                                             \
         expression(PAIR(field, (count) / 2, i, 0), PAIR(field, (count) / 2, i, 1)))               \
    SSE(name)                                                                                      \
    EMU_MMX_OPS(name, k_m_##name, 8)
#define SUM(x, y) ((x) + (y))
#define DIFFERENCE(x, y) ((x) - (y))
#define SATURATED_SUM(x, y) saturate_16((x) + (y))
#define SATURATED_DIFFERENCE(x, y) saturate_16((x) - (y))
HORIZONTAL(phaddw, u16, 8, SUM)
HORIZONTAL(phaddd, u32, 4, SUM)
HORIZONTAL(phaddsw, i16, 8, SATURATED_SUM)
HORIZONTAL(phsubw, u16, 8, DIFFERENCE)
HORIZONTAL(phsubd, u32, 4, DIFFERENCE)
HORIZONTAL(phsubsw, i16, 8, SATURATED_DIFFERENCE)

/* Sums of eight absolute differences. */
static inline unsigned distance(uint8_t x, uint8_t y)
{
    return x > y ? (unsigned)(x - y) : (unsigned)(y - x);
}

EMU_KERNEL(k_psadbw)
{
    union emu_elements p = {a}, q = {b};
    uint64_t sum[2] = {0, 0};
    for (unsigned i = 0; i < 16; i++)
        sum[i / 8] += distance(p.u8[i], q.u8[i]);
    return (emu_lane){sum[0], sum[1]};
}
SSE(psadbw)
MMX(psadbw)

/* MPSADBW: eight sums of four differences, of a block of the second source with a sliding one of
 * the first: the immediate says where they begin. */
static inline emu_lane sums_of_four(emu_lane a, emu_lane b, unsigned control)
{
    union emu_elements p = {a}, q = {b}, r;
    unsigned slide = control & 4, fixed = 4 * (control & 3);
    for (unsigned i = 0; i < 8; i++) {
        unsigned sum = 0;
        for (unsigned k = 0; k < 4; k++)
            sum += distance(p.u8[slide + i + k], q.u8[fixed + k]);
        r.u16[i] = (uint16_t)sum;
    }
    return r.lane;
}
EMU_KERNEL(k_many_sad)
{
    return sums_of_four(a, b, (unsigned)insn->imm);
}
EMU_KERNEL(k_many_sad_high)
{
    return sums_of_four(a, b, (unsigned)insn->imm >> 3);
}
EMU_VEC_PACKED_PAIR(many_sad, k_many_sad, k_many_sad_high, )

/* The least of eight words, and the first place where it stands. */
EMU_KERNEL(k_phminposuw)
{
    union emu_elements q = {b};
    unsigned least = 0;
    for (unsigned i = 1; i < 8; i++)
        if (q.u16[i] < q.u16[least])
            least = i;
    return (emu_lane){q.u16[least] | (uint64_t)least << 16, 0};
}
EMU_VEC_LEGACY(phminposuw, k_phminposuw, 16, 15, )
EMU_VEC_128(phminposuw, k_phminposuw, 16, )
EMU_VEC_TABLE(phminposuw)
EMU_VEC_TABLE(vphminposuw)

#define ROWS(map, opcode, name) EMU_VEC_ROWS_PACKED(map, opcode, P66, EMU_PURE, 0, name)
#define BOTH(map, opcode, name) EMU_MMX_ROW(map, opcode, 0, name), ROWS(map, opcode, name)

static const struct emu_row rows[] = {
    BOTH(0F, 0xd5, pmullw),
    BOTH(0F, 0xe5, pmulhw),
    BOTH(0F, 0xe4, pmulhuw),
    BOTH(0F, 0xf4, pmuludq),
    BOTH(0F, 0xf5, pmaddwd),
    BOTH(0F, 0xf6, psadbw),
    BOTH(38, 0x0b, pmulhrsw),
    BOTH(38, 0x04, pmaddubsw),
    ROWS(38, 0x40, pmulld),
    ROWS(38, 0x28, pmuldq),
    BOTH(38, 0x01, phaddw),
    BOTH(38, 0x02, phaddd),
    BOTH(38, 0x03, phaddsw),
    BOTH(38, 0x05, phsubw),
    BOTH(38, 0x06, phsubd),
    BOTH(38, 0x07, phsubsw),
    EMU_VEC_ROWS_PACKED(3A, 0x42, P66, EMU_IMM_U8 | EMU_PURE, 0, many_sad),
    EMU_VEC_ROWS_SCALAR(38, 0x41, P66, EMU_PURE, EMU_L0 | EMU_VVVV0, phminposuw),
};
EMU_FAMILY(emu_family_vmul, rows);
