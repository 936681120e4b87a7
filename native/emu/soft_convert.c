/* Comparisons and conversions in integers. */
#include "soft_parts.h"

static enum emu_relation relate(const struct emu_parts *a, const struct emu_parts *b)
{
    if (a->kind == EMU_IS_ZERO && b->kind == EMU_IS_ZERO)
        return EMU_EQUAL;
    if (a->sign != b->sign)
        return a->sign ? EMU_LESS : EMU_GREATER;
    if (a->raw == b->raw)
        return EMU_EQUAL;
    return (a->raw < b->raw) != a->sign ? EMU_LESS : EMU_GREATER;
}

static enum emu_relation compare(struct emu_soft *soft, const struct emu_parts *a,
                                 const struct emu_parts *b, bool signals)
{
    if (emu_is_nan(a) || emu_is_nan(b)) {
        if (signals || a->kind == EMU_IS_SIGNALLING || b->kind == EMU_IS_SIGNALLING)
            soft->flags |= MXCSR_IE;
        return EMU_UNORDERED;
    }
    soft->flags |= a->denormal || b->denormal ? MXCSR_DE : 0;
    return relate(a, b);
}

enum emu_relation emu_soft_compare(struct emu_soft *soft, unsigned bits, uint64_t a, uint64_t b,
                                   bool signals)
{
    struct emu_parts x = emu_take_apart(soft, bits, a), y = emu_take_apart(soft, bits, b);
    return compare(soft, &x, &y, signals);
}

/* The second operand where they are equal or one is a NaN: Intel SDM vol. 2B, MINPS. */
static uint64_t choose(struct emu_soft *soft, unsigned bits, uint64_t a, uint64_t b,
                       enum emu_relation first)
{
    struct emu_parts x = emu_take_apart(soft, bits, a), y = emu_take_apart(soft, bits, b);
    return compare(soft, &x, &y, true) == first ? x.raw : y.raw;
}

uint64_t emu_soft_min(struct emu_soft *soft, unsigned bits, uint64_t a, uint64_t b)
{
    return choose(soft, bits, a, b, EMU_LESS);
}

uint64_t emu_soft_max(struct emu_soft *soft, unsigned bits, uint64_t a, uint64_t b)
{
    return choose(soft, bits, a, b, EMU_GREATER);
}

/* A NaN keeps its sign and as much of its fraction as there is room for, and is quiet. */
static uint64_t convert_nan(unsigned from, unsigned to, const struct emu_parts *nan)
{
    unsigned have = emu_fraction_bits(from), want = emu_fraction_bits(to);
    uint64_t fraction = nan->raw & ((UINT64_C(1) << have) - 1);
    fraction = have > want ? fraction >> (have - want) : fraction << (want - have);
    return emu_infinity(to, nan->sign) | fraction | emu_quiet_bit(to);
}

/* Denormals of 16 bits are no matter: Intel SDM vol. 2D, VCVTPH2PS. */
uint64_t emu_soft_convert(struct emu_soft *soft, unsigned from, unsigned to, uint64_t a)
{
    struct emu_parts x = emu_take_apart(soft, from, a);
    if (x.kind == EMU_IS_SIGNALLING)
        soft->flags |= MXCSR_IE;
    if (emu_is_nan(&x))
        return convert_nan(from, to, &x);
    if (x.denormal && from != 16)
        soft->flags |= MXCSR_DE;
    if (x.kind == EMU_IS_INFINITE)
        return emu_infinity(to, x.sign);
    if (x.kind == EMU_IS_ZERO)
        return emu_sign_bit(to, x.sign);
    return emu_put_together(soft, to, x.sign, x.exp, x.sig);
}

uint64_t emu_soft_from_int(struct emu_soft *soft, unsigned bits, int64_t value)
{
    if (!value)
        return 0;
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    int up = __builtin_clzll(magnitude);
    return emu_put_together(soft, bits, value < 0, 63 - up, magnitude << up);
}

/* Round a finite number to an integer's magnitude; exp < 64. */
static uint64_t integral(const struct emu_parts *parts, enum emu_rounding rounding, bool *inexact)
{
    if (parts->exp == 63) {
        *inexact = false;
        return parts->sig;
    }
    /* One bit for halves, and one for what lies below. */
    unsigned drop = 63 - (unsigned)(parts->exp < -2 ? -2 : parts->exp);
    uint64_t sig = parts->sig;
    if (drop > 62) {
        sig = emu_shift_jam(sig, drop - 62);
        if (parts->exp < -2)
            sig = 1;
        drop = 62;
    }
    *inexact = sig & ((UINT64_C(1) << drop) - 1);
    return emu_round_off(rounding, parts->sign, sig, drop);
}

uint64_t emu_soft_to_int(struct emu_soft *soft, unsigned bits, unsigned int_bits, uint64_t a,
                         enum emu_rounding rounding)
{
    struct emu_parts x = emu_take_apart(soft, bits, a);
    uint64_t lowest = UINT64_C(1) << (int_bits - 1), magnitude = 0;
    bool inexact = false, fits = x.kind == EMU_IS_ZERO || x.kind == EMU_IS_FINITE;
    if (x.kind == EMU_IS_FINITE) {
        fits = x.exp < 64;
        magnitude = fits ? integral(&x, rounding, &inexact) : 0;
    }
    if (!fits || magnitude > lowest - !x.sign) {
        soft->flags |= MXCSR_IE;
        return lowest;
    }
    soft->flags |= inexact ? MXCSR_PE : 0;
    uint64_t value = x.sign ? 0 - magnitude : magnitude;
    return int_bits == 32 ? (uint32_t)value : value;
}

uint64_t emu_soft_round(struct emu_soft *soft, unsigned bits, uint64_t a,
                        enum emu_rounding rounding, bool says_inexact)
{
    struct emu_parts x = emu_take_apart(soft, bits, a);
    if (x.kind == EMU_IS_SIGNALLING)
        soft->flags |= MXCSR_IE;
    if (emu_is_nan(&x))
        return x.raw | emu_quiet_bit(bits);
    if (x.kind != EMU_IS_FINITE || x.exp >= (int)emu_fraction_bits(bits))
        return x.raw;
    bool inexact;
    uint64_t magnitude = integral(&x, rounding, &inexact);
    soft->flags |= inexact && says_inexact ? MXCSR_PE : 0;
    if (!magnitude)
        return emu_sign_bit(bits, x.sign);
    struct emu_soft exact = {.control = MXCSR_RESET};
    int up = __builtin_clzll(magnitude);
    return emu_put_together(&exact, bits, x.sign, 63 - up, magnitude << up);
}
