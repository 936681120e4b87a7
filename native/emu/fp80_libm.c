/* Transcendental functions where the host has no x87 unit: by the C library's functions on numbers
 * of 113 bits, rounded once, so that the last bit may differ from a processor's. */
#define __STDC_WANT_IEC_60559_TYPES_EXT__
#include "fp80_soft.h"

#if !defined(__x86_64__) || defined(EMU_FP80_SOFT)
#include <float.h>
#include <math.h>

/* The C library's long double where it has the bits (AArch64, RISC-V) and where there is nothing
 * better; glibc has another type for hosts like x86-64. */
#if LDBL_MANT_DIG < 113 && defined(__GLIBC__) && defined(__HAVE_FLOAT128) && !defined(__clang__)
typedef _Float128 real;
#define M(function) function##f128
#else
typedef long double real;
#define M(function) function##l
#endif

static const real ln2 = (real)0x162e42fefa39ef35 * 0x1p-61 + (real)0x793c7673007e5ed5 * 0x1p-125;

static real value_of(const struct emu_st *a)
{
    if (fp80_is_infinite(a))
        return fp80_negative(a) ? -(real)HUGE_VAL : (real)HUGE_VAL;
    struct fp80_number number = fp80_unpack(a);
    real value = M(ldexp)((real)number.high, number.exponent - FP80_BIAS - 63);
    return number.negative ? -value : value;
}

/* Back to a register. None of the results that get here is exact, and an infinity is too large a
 * number. */
static uint16_t give(uint16_t control, real value, struct emu_st *to)
{
    int exponent;
    bool negative = signbit(value);
    if (isinf(value))
        return fp80_pack(control, 64, (struct fp80_number){negative, 0x8000, FP80_INTEGER, 1}, to);
    real fraction = M(ldexp)(M(frexp)(M(fabs)(value), &exponent), 64);
    uint64_t high = (uint64_t)fraction;
    real rest = M(ldexp)(fraction - (real)high, 64);
    struct fp80_number number = {negative, exponent - 1 + FP80_BIAS, high, (uint64_t)rest};
    if (high)
        number.low |= 1;
    return fp80_pack(control, 64, number, to);
}

static uint16_t invalid(struct emu_st *a)
{
    *a = FP80_INDEFINITE;
    return FP80_IE;
}

/* Sines and the like: C2 from 2^63 up. Vol. 2A, FSIN. */
static bool out_of_range(const struct emu_st *a)
{
    return (a->exponent & FP80_MAX) >= FP80_BIAS + 63;
}

static const struct emu_st one = {FP80_INTEGER, FP80_BIAS};

static uint16_t circular(uint16_t control, enum fp80_function function, struct emu_st st[2])
{
    struct emu_st angle = st[0];
    if (fp80_is_infinite(&angle)) {
        st[1] = FP80_INDEFINITE;
        return invalid(&st[0]);
    }
    if (out_of_range(&angle))
        return FP80_C2;
    bool zero = fp80_is_zero(&angle);
    real x = value_of(&angle);
    uint16_t status = zero ? 0 : give(control, M(sin)(x), &st[1]);
    if (zero)
        st[1] = angle;
    switch (function) {
    case FP80_FSIN:
        st[0] = st[1];
        return status;
    case FP80_FPTAN:
        st[0] = one;
        return zero ? 0 : give(control, M(tan)(x), &st[1]);
    default: /* FCOS, and FSINCOS with the sine below */
        st[0] = one;
        return zero ? 0 : (uint16_t)(status | give(control, M(cos)(x), &st[0]));
    }
}

static uint16_t exponential(uint16_t control, struct emu_st *a)
{
    if (fp80_is_zero(a))
        return 0;
    if (fp80_is_infinite(a)) {
        if (fp80_negative(a))
            *a = fp80_signed(true, FP80_BIAS, FP80_INTEGER);
        return 0;
    }
    return give(control, M(expm1)(value_of(a) * ln2), a);
}

/* y times log2 of x, or of x + 1. */
static uint16_t logarithm(uint16_t control, bool plus_one, struct emu_st st[2])
{
    struct emu_st x = st[0], y = st[1];
    real log = plus_one ? M(log1p)(value_of(&x)) / ln2 : M(log2)(value_of(&x));
    bool exact = !plus_one && x.mantissa == FP80_INTEGER;
    if (!plus_one && fp80_is_zero(&x)) {
        if (fp80_is_zero(&y))
            return invalid(&st[0]);
        st[0] = fp80_infinity(!fp80_negative(&y));
        return fp80_is_infinite(&y) ? 0 : FP80_ZE;
    }
    if (isnan(log) || (fp80_is_infinite(&y) && log == 0) || (isinf(log) && fp80_is_zero(&y)))
        return invalid(&st[0]);
    if (log == 0 || isinf(log) || fp80_is_zero(&y) || fp80_is_infinite(&y)) {
        bool negative = (signbit(log) != 0) != fp80_negative(&y);
        bool infinite = isinf(log) || fp80_is_infinite(&y);
        st[0] = infinite ? fp80_infinity(negative) : fp80_signed(negative, 0, 0);
        return 0;
    }
    if (exact) {
        int32_t power = (int32_t)log;
        fp80_load(FP80_I32, &power, &st[0]);
        return fp80_arith((uint16_t)(control | FP80_PRECISION), FP80_MUL, FP80_ST, &st[0], &y);
    }
    return give(control, value_of(&y) * log, &st[0]);
}

static uint16_t arc(uint16_t control, struct emu_st st[2])
{
    bool zero = fp80_is_zero(&st[1]) || fp80_is_infinite(&st[0]);
    if (zero && !fp80_negative(&st[0]) && !fp80_is_infinite(&st[1])) {
        st[0] = fp80_signed(fp80_negative(&st[1]), 0, 0);
        return 0;
    }
    return give(control, M(atan2)(value_of(&st[1]), value_of(&st[0])), &st[0]);
}

uint16_t fp80_transcendental(uint16_t control, enum fp80_function function, struct emu_st st[2])
{
    switch (function) {
    case FP80_F2XM1:
        return exponential(control, &st[0]);
    case FP80_FYL2X:
    case FP80_FYL2XP1:
        return logarithm(control, function == FP80_FYL2XP1, st);
    case FP80_FPATAN:
        return arc(control, st);
    default:
        return circular(control, function, st);
    }
}

#endif
