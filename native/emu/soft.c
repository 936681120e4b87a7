/* Arithmetic in integers. Intel SDM vol. 1 §4.8, §4.9, §11.5. */
#include "soft_parts.h"

void emu_soft_begin(struct emu_soft *soft, uint32_t mxcsr)
{
    uint32_t inexact_masked = MXCSR_PE << MXCSR_MASKS_SHIFT;
    soft->control = mxcsr & ~MXCSR_FLAGS;
    soft->flags = soft->settled = 0;
    /* Where the host's MXCSR is the guest's, C's arithmetic would leave its flags there. */
    soft->quick = !EMU_FP_HOST && (mxcsr & MXCSR_PE) && (mxcsr & inexact_masked) &&
                  !(mxcsr >> MXCSR_RC_SHIFT & 3);
}

enum emu_rounding emu_soft_rounding(const struct emu_soft *soft)
{
    return (enum emu_rounding)(soft->control >> MXCSR_RC_SHIFT & 3);
}

static bool masked(const struct emu_soft *soft, uint32_t flag)
{
    return soft->control & flag << MXCSR_MASKS_SHIFT;
}

static struct emu_parts normalized(struct emu_parts parts, unsigned bits, uint64_t fraction)
{
    unsigned up = (unsigned)__builtin_clzll(fraction);
    parts.kind = EMU_IS_FINITE;
    parts.sig = fraction << up;
    parts.exp = 1 - emu_bias(bits) + 63 - (int)emu_fraction_bits(bits) - (int)up;
    return parts;
}

struct emu_parts emu_take_apart(const struct emu_soft *soft, unsigned bits, uint64_t raw)
{
    unsigned width = emu_fraction_bits(bits);
    uint64_t fraction = raw & ((UINT64_C(1) << width) - 1);
    int exponent = (int)(raw >> width) & (2 * emu_bias(bits) + 1);
    struct emu_parts parts = {.sign = raw >> (bits - 1) & 1, .raw = raw};
    if (exponent == 2 * emu_bias(bits) + 1) {
        parts.kind = !fraction                        ? EMU_IS_INFINITE
                     : fraction & emu_quiet_bit(bits) ? EMU_IS_QUIET
                                                      : EMU_IS_SIGNALLING;
        return parts;
    }
    if (exponent) {
        parts.kind = EMU_IS_FINITE;
        parts.exp = exponent - emu_bias(bits);
        parts.sig = UINT64_C(1) << 63 | fraction << (63 - width);
        return parts;
    }
    if (fraction && (soft->control & MXCSR_DAZ) && bits != 16)
        parts.raw = emu_sign_bit(bits, parts.sign);
    if (!fraction || parts.raw != raw)
        return parts; /* EMU_IS_ZERO */
    parts.denormal = true;
    return normalized(parts, bits, fraction);
}

/* Is the magnitude to grow? `lost` is what is cut off, in units of which `half` is one half. */
static bool rounds_up(enum emu_rounding rounding, bool sign, bool odd, uint64_t lost, uint64_t half)
{
    switch (rounding) {
    case EMU_ROUND_NEAREST:
        return lost > half || (lost == half && odd);
    case EMU_ROUND_DOWN:
        return sign && lost;
    case EMU_ROUND_UP:
        return !sign && lost;
    default:
        return false;
    }
}

uint64_t emu_round_off(enum emu_rounding rounding, bool sign, uint64_t sig, unsigned drop)
{
    uint64_t lost = sig & ((UINT64_C(1) << drop) - 1), kept = sig >> drop;
    return kept + rounds_up(rounding, sign, kept & 1, lost, UINT64_C(1) << (drop - 1));
}

/* A result below the normal range. Masked: §4.9.1.5, and FTZ §10.2.3.3. */
static uint64_t tiny(struct emu_soft *soft, unsigned bits, bool sign, int exp, uint64_t sig)
{
    unsigned drop = 63 - emu_fraction_bits(bits);
    if (!masked(soft, MXCSR_UE)) {
        soft->flags |= MXCSR_UE | (sig << (64 - drop) ? MXCSR_PE : 0);
        return 0;
    }
    if ((soft->control & MXCSR_FTZ) && bits != 16) {
        soft->flags |= MXCSR_UE | MXCSR_PE;
        return emu_sign_bit(bits, sign);
    }
    sig = emu_shift_jam(sig, (unsigned)(1 - emu_bias(bits) - exp));
    if (sig << (64 - drop))
        soft->flags |= MXCSR_UE | MXCSR_PE;
    return emu_sign_bit(bits, sign) | emu_round_off(emu_soft_rounding(soft), sign, sig, drop);
}

static uint64_t too_large(struct emu_soft *soft, unsigned bits, bool sign, bool inexact)
{
    enum emu_rounding rounding = emu_soft_rounding(soft);
    bool to_infinity =
        rounding == EMU_ROUND_NEAREST || rounding == (sign ? EMU_ROUND_DOWN : EMU_ROUND_UP);
    soft->flags |= MXCSR_OE | (inexact || masked(soft, MXCSR_OE) ? MXCSR_PE : 0);
    return emu_infinity(bits, sign) - !to_infinity;
}

/* Tininess is found after rounding: §4.9.1.5. */
uint64_t emu_put_together(struct emu_soft *soft, unsigned bits, bool sign, int exp, uint64_t sig)
{
    unsigned width = emu_fraction_bits(bits), drop = 63 - width;
    bool inexact = sig << (64 - drop);
    uint64_t kept = emu_round_off(emu_soft_rounding(soft), sign, sig, drop);
    int rounded_exp = exp + (int)(kept >> (width + 1));
    if (rounded_exp < 1 - emu_bias(bits))
        return tiny(soft, bits, sign, exp, sig);
    if (rounded_exp > emu_bias(bits))
        return too_large(soft, bits, sign, inexact);
    soft->flags |= inexact ? MXCSR_PE : 0;
    /* A carry out of the fraction leaves it 0 and is the exponent's. */
    return emu_sign_bit(bits, sign) | (((uint64_t)(exp + emu_bias(bits) - 1) << width) + kept);
}

static uint64_t invalid(struct emu_soft *soft, unsigned bits)
{
    soft->flags |= MXCSR_IE;
    return emu_default_nan(bits);
}

/* Is an operand a NaN? The first that is one is the result, quiet: §4.8.3.5, table 4-7. */
static bool takes_nan(struct emu_soft *soft, unsigned bits, const struct emu_parts *const *operand,
                      unsigned count, uint64_t *result)
{
    bool found = false;
    for (unsigned i = 0; i < count; i++) {
        if (operand[i]->kind == EMU_IS_SIGNALLING)
            soft->flags |= MXCSR_IE;
        if (emu_is_nan(operand[i]) && !found)
            *result = operand[i]->raw | emu_quiet_bit(bits);
        found |= emu_is_nan(operand[i]);
    }
    return found;
}

static bool nan_of_two(struct emu_soft *soft, unsigned bits, const struct emu_parts *a,
                       const struct emu_parts *b, uint64_t *result)
{
    return takes_nan(soft, bits, (const struct emu_parts *const[]){a, b}, 2, result);
}

static void note_denormal(struct emu_soft *soft, bool denormal)
{
    soft->flags |= denormal ? MXCSR_DE : 0;
}

/* sig * 2^(exp - 126), below 2^127; 0 for zero. */
struct wide {
    bool sign;
    int exp;
    emu_uint128 sig;
};

static struct wide widen(const struct emu_parts *parts)
{
    if (parts->kind != EMU_IS_FINITE)
        return (struct wide){parts->sign, 0, 0};
    return (struct wide){parts->sign, parts->exp, (emu_uint128)parts->sig << 63};
}

static struct wide product(const struct emu_parts *a, const struct emu_parts *b)
{
    bool sign = a->sign != b->sign;
    if (a->kind != EMU_IS_FINITE || b->kind != EMU_IS_FINITE)
        return (struct wide){sign, 0, 0};
    /* At most 2 * 53 bits of the 128 are used: none is lost. */
    return (struct wide){sign, a->exp + b->exp + 1, (emu_uint128)a->sig * b->sig >> 1};
}

static emu_uint128 shift_jam_wide(emu_uint128 sig, int count)
{
    if (count >= 128)
        return sig != 0;
    return count ? sig >> count | ((sig << (128 - count)) != 0) : sig;
}

static uint64_t put_wide_together(struct emu_soft *soft, unsigned bits, struct wide value)
{
    uint64_t high = (uint64_t)(value.sig >> 64);
    int up = high ? __builtin_clzll(high) : 64 + __builtin_clzll((uint64_t)value.sig);
    emu_uint128 sig = value.sig << up;
    return emu_put_together(soft, bits, value.sign, value.exp + 1 - up,
                            (uint64_t)(sig >> 64) | ((uint64_t)sig != 0));
}

static uint64_t add_wide(struct emu_soft *soft, unsigned bits, struct wide a, struct wide b)
{
    bool down = emu_soft_rounding(soft) == EMU_ROUND_DOWN;
    if (!a.sig && !b.sig)
        return emu_sign_bit(bits, a.sign == b.sign ? a.sign : down);
    if (!b.sig || (a.sig && a.exp > b.exp)) {
        struct wide swap = a;
        a = b;
        b = swap;
    }
    /* b is the larger one now, or a is zero. */
    emu_uint128 small = a.sig ? shift_jam_wide(a.sig, b.exp - a.exp) : 0;
    if (a.sign == b.sign) {
        b.sig += small;
    } else if (b.sig >= small) {
        b.sig -= small;
    } else {
        b.sig = small - b.sig;
        b.sign = a.sign;
    }
    return b.sig ? put_wide_together(soft, bits, b) : emu_sign_bit(bits, down);
}

/* C's arithmetic where its result and flags cannot be others: normal numbers that stay
 * clear of both ends. */
static bool plain(unsigned bits, uint64_t raw)
{
    uint64_t top = UINT64_C(1) << (bits - 1);
    return (raw & (top - 1)) >> emu_fraction_bits(bits) > 1 &&
           (raw & (top - 1)) < emu_infinity(bits, false);
}

#define QUICKLY(operator)                                                                          \
    if (soft->quick && plain(bits, a) && plain(bits, b)) {                                         \
        uint64_t result = 0;                                                                       \
        if (bits == 64) {                                                                          \
            double x, y;                                                                           \
            memcpy(&x, &a, sizeof(x));                                                             \
            memcpy(&y, &b, sizeof(y));                                                             \
            x = x operator y;                                                                      \
            memcpy(&result, &x, sizeof(x));                                                        \
        } else {                                                                                   \
            float x, y;                                                                            \
            memcpy(&x, &a, sizeof(x));                                                             \
            memcpy(&y, &b, sizeof(y));                                                             \
            x = x operator y;                                                                      \
            memcpy(&result, &x, sizeof(x));                                                        \
        }                                                                                          \
        if (plain(bits, result))                                                                   \
            return result;                                                                         \
    }

static uint64_t add_parts(struct emu_soft *soft, unsigned bits, const struct emu_parts *a,
                          const struct emu_parts *b)
{
    if (a->kind == EMU_IS_INFINITE && b->kind == EMU_IS_INFINITE && a->sign != b->sign)
        return invalid(soft, bits);
    note_denormal(soft, a->denormal || b->denormal);
    if (a->kind == EMU_IS_INFINITE || b->kind == EMU_IS_INFINITE)
        return emu_infinity(bits, a->kind == EMU_IS_INFINITE ? a->sign : b->sign);
    return add_wide(soft, bits, widen(a), widen(b));
}

uint64_t emu_soft_add(struct emu_soft *soft, unsigned bits, uint64_t a, uint64_t b)
{
    QUICKLY(+)
    struct emu_parts x = emu_take_apart(soft, bits, a), y = emu_take_apart(soft, bits, b);
    uint64_t nan = 0;
    return nan_of_two(soft, bits, &x, &y, &nan) ? nan : add_parts(soft, bits, &x, &y);
}

uint64_t emu_soft_sub(struct emu_soft *soft, unsigned bits, uint64_t a, uint64_t b)
{
    QUICKLY(-)
    struct emu_parts x = emu_take_apart(soft, bits, a), y = emu_take_apart(soft, bits, b);
    uint64_t nan = 0;
    if (nan_of_two(soft, bits, &x, &y, &nan))
        return nan;
    y.sign = !y.sign;
    return add_parts(soft, bits, &x, &y);
}

static bool infinite_times_zero(const struct emu_parts *a, const struct emu_parts *b)
{
    return (a->kind == EMU_IS_INFINITE && b->kind == EMU_IS_ZERO) ||
           (a->kind == EMU_IS_ZERO && b->kind == EMU_IS_INFINITE);
}

uint64_t emu_soft_mul(struct emu_soft *soft, unsigned bits, uint64_t a, uint64_t b)
{
    QUICKLY(*)
    struct emu_parts x = emu_take_apart(soft, bits, a), y = emu_take_apart(soft, bits, b);
    uint64_t nan = 0;
    if (nan_of_two(soft, bits, &x, &y, &nan))
        return nan;
    if (infinite_times_zero(&x, &y))
        return invalid(soft, bits);
    note_denormal(soft, x.denormal || y.denormal);
    if (x.kind == EMU_IS_INFINITE || y.kind == EMU_IS_INFINITE)
        return emu_infinity(bits, x.sign != y.sign);
    struct wide wide = product(&x, &y);
    return wide.sig ? put_wide_together(soft, bits, wide) : emu_sign_bit(bits, wide.sign);
}

static uint64_t divide(struct emu_soft *soft, unsigned bits, const struct emu_parts *a,
                       const struct emu_parts *b)
{
    emu_uint128 dividend = (emu_uint128)a->sig << 63;
    int exp = a->exp - b->exp;
    if (a->sig < b->sig) {
        dividend <<= 1;
        exp--;
    }
    uint64_t quotient = (uint64_t)(dividend / b->sig);
    quotient |= dividend % b->sig != 0;
    return emu_put_together(soft, bits, a->sign != b->sign, exp, quotient);
}

uint64_t emu_soft_div(struct emu_soft *soft, unsigned bits, uint64_t a, uint64_t b)
{
    QUICKLY(/)
    struct emu_parts x = emu_take_apart(soft, bits, a), y = emu_take_apart(soft, bits, b);
    uint64_t nan = 0;
    if (nan_of_two(soft, bits, &x, &y, &nan))
        return nan;
    bool sign = x.sign != y.sign;
    if (x.kind == y.kind && x.kind != EMU_IS_FINITE)
        return invalid(soft, bits);
    if (y.kind == EMU_IS_ZERO && x.kind == EMU_IS_FINITE) {
        soft->flags |= MXCSR_ZE;
        return emu_infinity(bits, sign);
    }
    note_denormal(soft, x.denormal || y.denormal);
    if (x.kind == EMU_IS_INFINITE)
        return emu_infinity(bits, sign);
    if (x.kind == EMU_IS_ZERO || y.kind == EMU_IS_INFINITE)
        return emu_sign_bit(bits, sign);
    return divide(soft, bits, &x, &y);
}

/* The square root's 64 bits, one by one; the lowest set where it goes on behind them. */
static uint64_t root(emu_uint128 square)
{
    emu_uint128 rest = 0;
    uint64_t result = 0;
    for (int i = 0; i < 64; i++) {
        rest = rest << 2 | square >> 126;
        square <<= 2;
        emu_uint128 trial = (emu_uint128)result << 2 | 1;
        result <<= 1;
        if (rest >= trial) {
            rest -= trial;
            result |= 1;
        }
    }
    return result | (rest != 0);
}

uint64_t emu_soft_sqrt(struct emu_soft *soft, unsigned bits, uint64_t a)
{
    struct emu_parts x = emu_take_apart(soft, bits, a);
    uint64_t nan = 0;
    if (nan_of_two(soft, bits, &x, &x, &nan))
        return nan;
    if (x.kind == EMU_IS_ZERO)
        return x.raw;
    if (x.sign)
        return invalid(soft, bits);
    note_denormal(soft, x.denormal);
    if (x.kind == EMU_IS_INFINITE)
        return x.raw;
    bool odd = x.exp & 1;
    return emu_put_together(soft, bits, false, (x.exp - odd) / 2,
                            root((emu_uint128)x.sig << (63 + odd)));
}

uint64_t emu_soft_fma(struct emu_soft *soft, unsigned bits, uint64_t a, uint64_t b, uint64_t c,
                      bool negate_product, bool negate_addend)
{
    struct emu_parts x = emu_take_apart(soft, bits, a), y = emu_take_apart(soft, bits, b);
    struct emu_parts z = emu_take_apart(soft, bits, c);
    uint64_t nan = 0;
    if (takes_nan(soft, bits, (const struct emu_parts *const[]){&x, &y, &z}, 3, &nan))
        return nan;
    if (infinite_times_zero(&x, &y))
        return invalid(soft, bits);
    struct wide sum = product(&x, &y);
    sum.sign ^= negate_product;
    z.sign ^= negate_addend;
    bool infinite = x.kind == EMU_IS_INFINITE || y.kind == EMU_IS_INFINITE;
    if (infinite && z.kind == EMU_IS_INFINITE && z.sign != sum.sign)
        return invalid(soft, bits);
    note_denormal(soft, x.denormal || y.denormal || z.denormal);
    if (infinite || z.kind == EMU_IS_INFINITE)
        return emu_infinity(bits, infinite ? sum.sign : z.sign);
    return add_wide(soft, bits, sum, widen(&z));
}
