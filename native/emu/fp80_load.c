/* Numbers in memory to 80-bit ones, Intel SDM vol. 1 §4.2, §8.1.2. Everything fits. */
#include <string.h>

#include "fp80.h"

static struct emu_st normalised(bool negative, int exponent, uint64_t mantissa)
{
    int shift = __builtin_clzll(mantissa);
    return (struct emu_st){mantissa << shift,
                           (uint16_t)((negative ? FP80_SIGN : 0) | (uint32_t)(exponent - shift))};
}

/* `bits` holds a number of `size` bits with `fraction` bits behind the point. */
static uint16_t from_float(uint64_t bits, unsigned size, unsigned fraction, struct emu_st *to)
{
    unsigned width = size - fraction - 1;
    int bias = (1 << (width - 1)) - 1, exponent = (int)(bits >> fraction) & ((1 << width) - 1);
    uint64_t mantissa = bits << (63 - fraction) & (FP80_INTEGER - 1);
    bool negative = bits >> (size - 1) & 1;
    uint16_t sign = negative ? FP80_SIGN : 0;
    if (exponent == (1 << width) - 1) {
        bool signalling = mantissa && !(mantissa & FP80_QUIET);
        *to = (struct emu_st){mantissa | FP80_INTEGER, (uint16_t)(sign | FP80_MAX)};
        return signalling ? FP80_IE : 0;
    }
    if (exponent) {
        *to = (struct emu_st){mantissa | FP80_INTEGER,
                              (uint16_t)(sign | (uint32_t)(exponent - bias + 0x3fff))};
        return 0;
    }
    *to = (struct emu_st){0, sign};
    if (!mantissa)
        return 0;
    *to = normalised(negative, 1 - bias + 0x3fff, mantissa);
    return FP80_DE;
}

static void from_integer(int64_t value, struct emu_st *to)
{
    *to = (struct emu_st){0, 0};
    if (value)
        *to = normalised(value < 0, 0x3fff + 63, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

/* Eighteen digits, then the sign. §4.7 */
static void from_bcd(const uint8_t *bytes, struct emu_st *to)
{
    uint64_t value = 0;
    for (int i = 8; i >= 0; i--)
        value = value * 100 + (bytes[i] >> 4) * 10u + (bytes[i] & 15u);
    from_integer((int64_t)value, to);
    to->exponent |= bytes[9] & 0x80 ? FP80_SIGN : 0;
}

uint16_t fp80_load(enum fp80_format format, const void *from, struct emu_st *to)
{
    static const uint8_t sizes[] = {10, 4, 8, 2, 4, 8, 0};
    uint64_t bits = 0;
    if (format == FP80_BCD) {
        from_bcd(from, to);
        return 0;
    }
    if (format == FP80_ST) {
        memcpy(to, from, sizeof(*to));
        return 0;
    }
    memcpy(&bits, from, sizes[format]);
    switch (format) {
    case FP80_F32:
        return from_float(bits, 32, 23, to);
    case FP80_F64:
        return from_float(bits, 64, 52, to);
    case FP80_I16:
        from_integer((int16_t)bits, to);
        return 0;
    case FP80_I32:
        from_integer((int32_t)bits, to);
        return 0;
    default:
        from_integer((int64_t)bits, to);
        return 0;
    }
}
