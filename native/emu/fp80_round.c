/* Portable 80-bit arithmetic: rounding and storing. Intel SDM vol. 1 §4.8.4, §8.5. */
#include "fp80_soft.h"

#if !defined(__x86_64__) || defined(EMU_FP80_SOFT)
#include <string.h>

enum { TO_NEAREST, DOWN, UP, CHOP };

static unsigned mode(uint16_t control)
{
    return (control & FP80_ROUNDING) >> 10;
}

unsigned fp80_precision(uint16_t control)
{
    static const uint8_t bits[] = {24, 64, 53, 64};
    return bits[(control & FP80_PRECISION) >> 8];
}

bool fp80_rounds_up(uint16_t control, bool negative, bool odd, fp80_wide rest, fp80_wide unit)
{
    switch (mode(control)) {
    case TO_NEAREST:
        return rest > unit / 2 || (rest == unit / 2 && odd);
    case DOWN:
        return negative && rest;
    case UP:
        return !negative && rest;
    default:
        return false;
    }
}

struct fp80_number fp80_unpack(const struct emu_st *a)
{
    struct fp80_number number = {fp80_negative(a), a->exponent & FP80_MAX, a->mantissa, 0};
    if (!number.high)
        return number;
    int shift = __builtin_clzll(number.high);
    number.exponent += (number.exponent ? 0 : 1) - shift;
    number.high <<= shift;
    return number;
}

/* Cut to `bits` of mantissa; returns PE and C1 as they come of it. */
static uint16_t cut(uint16_t control, unsigned bits, struct fp80_number *value)
{
    uint64_t mask = bits == 64 ? 0 : UINT64_MAX >> bits;
    fp80_wide rest = (fp80_wide)(value->high & mask) << 64 | value->low;
    fp80_wide unit = ((fp80_wide)mask + 1) << 64;
    bool odd = value->high >> (64 - bits) & 1;
    bool up = fp80_rounds_up(control, value->negative, odd, rest, unit);
    value->high &= ~mask;
    value->low = 0;
    if (up && (value->high += mask + 1) <= mask) {
        value->high = FP80_INTEGER;
        value->exponent++;
    }
    return (uint16_t)((rest ? FP80_PE : 0) | (up ? FP80_C1 : 0));
}

/* Shift right, what falls off leaving a trace in the last bit. */
static void shift_right(struct fp80_number *value, unsigned count)
{
    fp80_wide whole = (fp80_wide)value->high << 64 | value->low, shifted = 0;
    if (count < 128)
        shifted = whole >> count;
    bool lost = count < 128 ? shifted << count != whole : whole != 0;
    value->high = (uint64_t)(shifted >> 64);
    value->low = (uint64_t)shifted | lost;
}

/* Too small for a normalised number. The smallest normalised one may come of it all the same. */
static uint16_t pack_tiny(uint16_t control, unsigned bits, struct fp80_number value, bool tiny,
                          struct emu_st *to)
{
    shift_right(&value, (unsigned)(1 - value.exponent));
    uint16_t status = cut(control, bits, &value);
    unsigned exponent = value.high & FP80_INTEGER ? 1 : 0;
    *to = fp80_signed(value.negative, exponent, value.high);
    return (uint16_t)(status | (tiny && (status & FP80_PE) ? FP80_UE : 0));
}

static uint16_t pack_huge(uint16_t control, unsigned bits, bool negative, struct emu_st *to)
{
    bool up = mode(control) == TO_NEAREST || mode(control) == (negative ? DOWN : UP);
    uint64_t largest = bits == 64 ? UINT64_MAX : ~(UINT64_MAX >> bits);
    *to = up ? fp80_infinity(negative) : fp80_signed(negative, FP80_MAX - 1, largest);
    return FP80_OE | FP80_PE | (up ? FP80_C1 : 0);
}

/* Round a finite number to `bits` of mantissa and make a register's content of it. */
uint16_t fp80_pack(uint16_t control, unsigned bits, struct fp80_number value, struct emu_st *to)
{
    struct fp80_number rounded = value;
    if (!value.high) {
        *to = fp80_signed(value.negative, 0, 0);
        return 0;
    }
    uint16_t status = cut(control, bits, &rounded);
    bool tiny = rounded.exponent < 1, huge = rounded.exponent >= (int)FP80_MAX;
    if (tiny && !(control & FP80_UE)) {
        rounded.exponent += FP80_WRAP;
        status |= FP80_UE;
    } else if (huge && !(control & FP80_OE)) {
        rounded.exponent -= FP80_WRAP;
        status |= FP80_OE;
    } else if (value.exponent < 1) {
        return pack_tiny(control, bits, value, tiny, to);
    } else if (huge) {
        return pack_huge(control, bits, value.negative, to);
    }
    if (rounded.exponent >= 1 && rounded.exponent < (int)FP80_MAX) {
        *to = fp80_signed(value.negative, (unsigned)rounded.exponent, rounded.high);
        return status;
    }
    /* FSCALE goes beyond what unmasked overflow and underflow can express. */
    *to = huge ? fp80_infinity(value.negative) : fp80_signed(value.negative, 0, 0);
    return (uint16_t)(status | FP80_PE | (huge ? FP80_C1 : 0));
}

/* The integer next to a finite number, by its magnitude; false where 64 bits do not hold it. */
static bool integer(uint16_t control, const struct emu_st *a, uint64_t *magnitude, uint16_t *status)
{
    struct fp80_number value = fp80_unpack(a);
    int places = FP80_BIAS + 63 - value.exponent;
    *status = 0;
    *magnitude = 0;
    if (!value.high)
        return true;
    if (places < 0)
        return false;
    if (places > 66)
        places = 66; /* less than a quarter, whatever it is */
    fp80_wide whole = (fp80_wide)value.high << 60, unit = (fp80_wide)1 << (places + 60);
    if (places == 66) {
        whole = 1;
        unit = (fp80_wide)1 << 126;
    }
    fp80_wide quotient = whole / unit, rest = whole % unit;
    bool up = fp80_rounds_up(control, value.negative, quotient & 1, rest, unit);
    quotient += up;
    *status = (uint16_t)((rest ? FP80_PE : 0) | (up ? FP80_C1 : 0));
    *magnitude = (uint64_t)quotient;
    return quotient >> 64 == 0;
}

/* FRNDINT of a finite number. */
uint16_t fp80_round_to_integer(uint16_t control, struct emu_st *a)
{
    uint64_t magnitude;
    uint16_t status;
    bool negative = fp80_negative(a);
    if ((a->exponent & FP80_MAX) >= FP80_BIAS + 63)
        return 0;
    integer(control, a, &magnitude, &status);
    struct fp80_number value = {negative, FP80_BIAS + 63, magnitude, 0};
    if (magnitude) {
        int shift = __builtin_clzll(magnitude);
        value.high <<= shift;
        value.exponent -= shift;
    }
    fp80_pack(control, 64, value, a);
    return status;
}

static uint16_t store_integer(uint16_t control, unsigned size_bits, const struct emu_st *a,
                              void *to)
{
    uint64_t magnitude, limit = UINT64_C(1) << (size_bits - 1);
    uint16_t status;
    bool negative = fp80_negative(a);
    bool number = (a->exponent & FP80_MAX) != FP80_MAX && !fp80_is_unsupported(a);
    if (!number || !integer(control, a, &magnitude, &status) || magnitude > limit - !negative) {
        memcpy(to, &limit, size_bits / 8);
        return FP80_IE;
    }
    uint64_t value = negative ? 0 - magnitude : magnitude;
    memcpy(to, &value, size_bits / 8);
    return status;
}

static uint16_t store_bcd(uint16_t control, const struct emu_st *a, uint8_t *to)
{
    static const uint8_t indefinite[] = {0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff};
    uint64_t magnitude;
    uint16_t status;
    bool number = (a->exponent & FP80_MAX) != FP80_MAX && !fp80_is_unsupported(a);
    if (!number || !integer(control, a, &magnitude, &status) ||
        magnitude >= UINT64_C(1000000000000000000)) {
        memcpy(to, indefinite, sizeof(indefinite));
        return FP80_IE;
    }
    for (unsigned i = 0; i < 9; i++, magnitude /= 100)
        to[i] = (uint8_t)(magnitude / 10 % 10 << 4 | magnitude % 10);
    to[9] = fp80_negative(a) ? 0x80 : 0;
    return status;
}

struct float_format {
    unsigned size_bits, fraction_bits;
};

static void put_float(const struct float_format *format, bool negative, uint64_t exponent,
                      uint64_t mantissa, void *to)
{
    uint64_t fraction = mantissa << 1 >> (64 - format->fraction_bits);
    uint64_t bits = exponent << format->fraction_bits | fraction;
    bits |= (uint64_t)negative << (format->size_bits - 1);
    memcpy(to, &bits, format->size_bits / 8);
}

static uint16_t store_special(const struct float_format *format, const struct emu_st *a, void *to)
{
    uint64_t top = (UINT64_C(1) << (format->size_bits - format->fraction_bits - 1)) - 1;
    if (fp80_is_unsupported(a)) {
        put_float(format, true, top, FP80_QUIET, to);
        return FP80_IE;
    }
    uint64_t quiet = fp80_is_nan(a) ? FP80_QUIET : 0;
    put_float(format, fp80_negative(a), top, a->mantissa | quiet, to);
    return fp80_is_signalling(a) ? FP80_IE : 0;
}

/* To 32 or 64 bits. Where overflow or underflow is unmasked nothing is stored. */
static uint16_t store_float(uint16_t control, const struct float_format *format,
                            const struct emu_st *a, void *to)
{
    unsigned bits = format->fraction_bits + 1;
    int top = (1 << (format->size_bits - bits)) - 1, bias = top / 2;
    if ((a->exponent & FP80_MAX) == FP80_MAX || fp80_is_unsupported(a))
        return store_special(format, a, to);
    struct fp80_number value = fp80_unpack(a);
    if (!value.high) {
        put_float(format, value.negative, 0, 0, to);
        return 0;
    }
    value.exponent += bias - FP80_BIAS;
    struct fp80_number rounded = value;
    uint16_t status = cut(control, bits, &rounded);
    bool tiny = rounded.exponent < 1;
    if (rounded.exponent >= top) {
        bool up = mode(control) == TO_NEAREST || mode(control) == (value.negative ? DOWN : UP);
        put_float(format, value.negative, (uint64_t)(up ? top : top - 1), up ? 0 : UINT64_MAX, to);
        if (!(control & FP80_OE))
            return FP80_OE;
        return FP80_OE | FP80_PE | (up ? FP80_C1 : 0);
    }
    if (value.exponent >= 1) {
        put_float(format, value.negative, (uint64_t)rounded.exponent, rounded.high, to);
        return status;
    }
    if (tiny && !(control & FP80_UE))
        return FP80_UE;
    shift_right(&value, (unsigned)(1 - value.exponent));
    status = cut(control, bits, &value);
    put_float(format, value.negative, value.high & FP80_INTEGER ? 1 : 0, value.high, to);
    return (uint16_t)(status | (tiny && (status & FP80_PE) ? FP80_UE : 0));
}

uint16_t fp80_store(uint16_t control, enum fp80_format format, bool chop, const struct emu_st *a,
                    void *to)
{
    static const struct float_format f32 = {32, 23}, f64 = {64, 52};
    if (chop)
        control |= FP80_ROUNDING;
    switch (format) {
    case FP80_F32:
        return store_float(control, &f32, a, to);
    case FP80_F64:
        return store_float(control, &f64, a, to);
    case FP80_I16:
        return store_integer(control, 16, a, to);
    case FP80_I32:
        return store_integer(control, 32, a, to);
    case FP80_I64:
        return store_integer(control, 64, a, to);
    default:
        return store_bcd(control, a, to);
    }
}

#endif
