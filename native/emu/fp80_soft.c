/* Portable 80-bit arithmetic, exact in everything but the transcendental functions: what
 * fp80_host.c leaves to the host's unit. Rules: Intel SDM vol. 1 §4.8.3.5, §8.5. */
#include "fp80_soft.h"

#if !defined(__x86_64__) || defined(EMU_FP80_SOFT)

/* Of two NaNs the quiet one stays, or else the one with the larger significand. Table 4-7. */
static const struct emu_st *stronger(const struct emu_st *a, const struct emu_st *b)
{
    if (!fp80_is_nan(a) || !fp80_is_nan(b))
        return fp80_is_nan(a) ? a : b;
    if (fp80_is_signalling(a) != fp80_is_signalling(b))
        return fp80_is_signalling(a) ? b : a;
    if (a->mantissa != b->mantissa)
        return a->mantissa > b->mantissa ? a : b;
    return fp80_negative(a) ? b : a;
}

bool fp80_not_numbers(const struct emu_st *a, const struct emu_st *b, struct emu_st *result,
                      uint16_t *status)
{
    *status = 0;
    if (fp80_is_unsupported(a) || fp80_is_unsupported(b)) {
        *status = FP80_IE;
        *result = FP80_INDEFINITE;
        return true;
    }
    if (!fp80_is_nan(a) && !fp80_is_nan(b))
        return false;
    if (fp80_is_signalling(a) || fp80_is_signalling(b))
        *status = FP80_IE;
    struct emu_st nan = *stronger(a, b);
    nan.mantissa |= FP80_QUIET;
    *result = nan;
    return true;
}

static uint16_t invalid(struct emu_st *a)
{
    *a = FP80_INDEFINITE;
    return FP80_IE;
}

static struct fp80_number normalised(bool negative, int exponent, fp80_wide value)
{
    uint64_t high = (uint64_t)(value >> 64), low = (uint64_t)value;
    if (!high) {
        high = low;
        low = 0;
        exponent -= 64;
    }
    if (high) {
        int shift = __builtin_clzll(high);
        exponent -= shift;
        if (shift) {
            high = high << shift | low >> (64 - shift);
            low <<= shift;
        }
    }
    return (struct fp80_number){negative, exponent, high, low};
}

static fp80_wide shift_sticky(fp80_wide value, int count)
{
    if (count > 126)
        return value != 0;
    fp80_wide shifted = value >> count;
    return shifted | (shifted << count != value);
}

static uint16_t zero_sum(uint16_t control, bool a, bool b, struct emu_st *to)
{
    bool down = (control & FP80_ROUNDING) == 0x400;
    *to = fp80_signed(a == b ? a : down, 0, 0);
    return 0;
}

/* Larger exponent first, and one bit of headroom, so that the sum fits. */
static uint16_t add(uint16_t control, struct fp80_number a, struct fp80_number b, struct emu_st *to)
{
    if (!a.high && !b.high)
        return zero_sum(control, a.negative, b.negative, to);
    if (!a.high || (b.high && a.exponent < b.exponent)) {
        struct fp80_number swap = a;
        a = b;
        b = swap;
    }
    int distance = b.high ? a.exponent - b.exponent : 0;
    fp80_wide x = (fp80_wide)a.high << 63, y = shift_sticky((fp80_wide)b.high << 63, distance);
    fp80_wide sum = a.negative == b.negative ? x + y : x < y ? y - x : x - y;
    bool negative = a.negative != b.negative && x < y ? b.negative : a.negative;
    if (!sum)
        return zero_sum(control, a.negative, b.negative, to);
    return fp80_pack(control, fp80_precision(control), normalised(negative, a.exponent + 1, sum),
                     to);
}

static uint16_t add_any(uint16_t control, struct emu_st *a, const struct emu_st *b)
{
    bool infinite_a = fp80_is_infinite(a), infinite_b = fp80_is_infinite(b);
    if (infinite_a && infinite_b && fp80_negative(a) != fp80_negative(b))
        return invalid(a);
    if (infinite_a)
        return 0;
    if (infinite_b) {
        *a = *b;
        return 0;
    }
    return add(control, fp80_unpack(a), fp80_unpack(b), a);
}

static uint16_t multiply(uint16_t control, struct emu_st *a, const struct emu_st *b)
{
    bool negative = fp80_negative(a) != fp80_negative(b);
    if (fp80_is_infinite(a) || fp80_is_infinite(b)) {
        if (fp80_is_zero(a) || fp80_is_zero(b))
            return invalid(a);
        *a = fp80_infinity(negative);
        return 0;
    }
    struct fp80_number x = fp80_unpack(a), y = fp80_unpack(b);
    if (!x.high || !y.high) {
        *a = fp80_signed(negative, 0, 0);
        return 0;
    }
    int exponent = x.exponent + y.exponent - FP80_BIAS + 1;
    return fp80_pack(control, fp80_precision(control),
                     normalised(negative, exponent, (fp80_wide)x.high * y.high), a);
}

/* More than half of the last place, half, less, or nothing: as a fraction's bits. */
static uint64_t fraction_of(fp80_wide rest, fp80_wide whole)
{
    if (rest == 0)
        return 0;
    fp80_wide other = whole - rest;
    return rest > other ? UINT64_C(3) << 62 : rest == other ? UINT64_C(1) << 63 : 1;
}

static uint16_t divide(uint16_t control, struct emu_st *to, const struct emu_st *a,
                       const struct emu_st *b)
{
    bool negative = fp80_negative(a) != fp80_negative(b);
    if (fp80_is_infinite(a) || fp80_is_infinite(b)) {
        if (fp80_is_infinite(a) && fp80_is_infinite(b))
            return invalid(to);
        *to = fp80_is_infinite(a) ? fp80_infinity(negative) : fp80_signed(negative, 0, 0);
        return 0;
    }
    struct fp80_number x = fp80_unpack(a), y = fp80_unpack(b);
    if (!y.high) {
        if (!x.high)
            return invalid(to);
        *to = fp80_infinity(negative);
        return FP80_ZE;
    }
    if (!x.high) {
        *to = fp80_signed(negative, 0, 0);
        return 0;
    }
    bool less = x.high < y.high;
    fp80_wide dividend = (fp80_wide)x.high << (less ? 64 : 63);
    struct fp80_number quotient = {negative, x.exponent - y.exponent + FP80_BIAS - less,
                                   (uint64_t)(dividend / y.high), 0};
    quotient.low = fraction_of(dividend % y.high, y.high);
    return fp80_pack(control, fp80_precision(control), quotient, to);
}

/* Exceptions of operands that are numbers. An invalid operation and a division by zero hide
 * that one was denormal; unmasked, that it was hides all that the operation would have raised. */
static uint16_t with_denormals(uint16_t control, uint16_t status, bool denormal)
{
    if (!denormal || (status & (FP80_IE | FP80_ZE)))
        return status;
    return (uint16_t)(control & FP80_DE ? status | FP80_DE : FP80_DE);
}

uint16_t fp80_arith(uint16_t control, enum fp80_operation op, enum fp80_format format,
                    struct emu_st *a, const void *operand)
{
    struct emu_st b, original = *a;
    uint16_t status, loaded = fp80_load(format, operand, &b);
    if (fp80_not_numbers(a, &b, a, &status))
        return status;
    bool denormal = fp80_is_denormal(a) || fp80_is_denormal(&b) || (loaded & FP80_DE);
    switch (op) {
    case FP80_SUB:
        b.exponent ^= FP80_SIGN;
        status = add_any(control, a, &b);
        break;
    case FP80_SUBR:
        a->exponent ^= FP80_SIGN;
        status = add_any(control, a, &b);
        break;
    case FP80_ADD:
        status = add_any(control, a, &b);
        break;
    case FP80_MUL:
        status = multiply(control, a, &b);
        break;
    case FP80_DIV:
        status = divide(control, a, &original, &b);
        break;
    default:
        status = divide(control, a, &b, &original);
        break;
    }
    return with_denormals(control, status, denormal);
}

static int order(const struct emu_st *a, const struct emu_st *b)
{
    struct fp80_number x = fp80_unpack(a), y = fp80_unpack(b);
    if (!x.high && !y.high)
        return 0;
    if (x.negative != y.negative || !x.high || !y.high) {
        if (!x.high)
            return y.negative ? 1 : -1;
        return x.negative ? -1 : 1;
    }
    int by = x.exponent != y.exponent ? (x.exponent < y.exponent ? -1 : 1)
                                      : (x.high > y.high) - (x.high < y.high);
    return x.negative ? -by : by;
}

static uint16_t compare(const struct emu_st *a, const struct emu_st *b, bool denormal, bool quiet)
{
    struct emu_st ignored;
    uint16_t status;
    if (fp80_not_numbers(a, b, &ignored, &status))
        return (uint16_t)((quiet ? status : FP80_IE) | FP80_C0 | FP80_C2 | FP80_C3);
    int by = order(a, b);
    return (uint16_t)((denormal ? FP80_DE : 0) | (by < 0 ? FP80_C0 : by == 0 ? FP80_C3 : 0));
}

uint16_t fp80_compare(uint16_t control, enum fp80_format format, const struct emu_st *a,
                      const void *operand)
{
    struct emu_st b;
    bool denormal = fp80_load(format, operand, &b) & FP80_DE;
    (void)control;
    return compare(a, &b, denormal || fp80_is_denormal(a) || fp80_is_denormal(&b), false);
}

uint16_t fp80_compare_unordered(uint16_t control, const struct emu_st *a, const struct emu_st *b)
{
    (void)control;
    return compare(a, b, fp80_is_denormal(a) || fp80_is_denormal(b), true);
}

/* The root bit by bit; a guess is right while its square is not above. */
static uint16_t square_root(uint16_t control, struct emu_st *a)
{
    if (fp80_is_zero(a))
        return 0;
    if (fp80_negative(a))
        return invalid(a);
    if (fp80_is_infinite(a))
        return 0;
    struct fp80_number value = fp80_unpack(a);
    int half = value.exponent - FP80_BIAS;
    fp80_wide square = (fp80_wide)value.high << (half & 1 ? 64 : 63);
    uint64_t root = 0;
    for (uint64_t bit = FP80_INTEGER; bit; bit >>= 1)
        if ((fp80_wide)(root | bit) * (root | bit) <= square)
            root |= bit;
    fp80_wide rest = square - (fp80_wide)root * root;
    struct fp80_number number = {false, (half - (half & 1)) / 2 + FP80_BIAS, root, 0};
    number.low = rest == 0 ? 0 : rest > root ? UINT64_C(3) << 62 : 1;
    return fp80_pack(control, fp80_precision(control), number, a);
}

/* FPREM, FPREM1: exact. Up to 63 places at once, else a part and C2. Vol. 2A, FPREM. */
static uint16_t remainder_of(uint16_t control, struct emu_st st[2], bool nearest)
{
    if (fp80_is_infinite(&st[0]) || fp80_is_zero(&st[1]))
        return invalid(&st[0]);
    struct fp80_number a = fp80_unpack(&st[0]), b = fp80_unpack(&st[1]);
    int distance = fp80_is_infinite(&st[1]) || !a.high ? -2 : a.exponent - b.exponent;
    bool partial = distance > 63;
    int places = partial ? 32 + distance % 32 : distance;
    if (places < (nearest ? -1 : 0)) /* nothing to do but to normalise */
        return fp80_pack(control, 64, a, &st[0]);
    uint64_t quotient = 0;
    fp80_wide rest = (fp80_wide)a.high, divisor = (fp80_wide)b.high;
    if (places < 0) {
        divisor <<= 1; /* half of it may still be below */
        places = 0;
    }
    for (int i = 0; i <= places; i++) {
        if (i)
            rest <<= 1;
        quotient <<= 1;
        if (distance >= 0 && rest >= divisor) {
            rest -= divisor;
            quotient |= 1;
        }
    }
    int exponent = partial ? a.exponent - places : distance < 0 ? a.exponent : b.exponent;
    bool negative = a.negative;
    if (nearest && !partial) {
        fp80_wide other = divisor - rest;
        if (rest > other || (rest == other && (quotient & 1))) {
            rest = other;
            negative = !negative;
            quotient++;
        }
    }
    struct fp80_number result = normalised(negative, exponent + 64, rest);
    uint16_t status = fp80_pack(control, 64, result, &st[0]);
    if (partial)
        return (uint16_t)(status | FP80_C2);
    return (uint16_t)(status | (quotient & 1 ? FP80_C1 : 0) | (quotient & 2 ? FP80_C3 : 0) |
                      (quotient & 4 ? FP80_C0 : 0));
}

/* ST(0) by 2 to the power of ST(1), cut to an integer. */
static uint16_t scale(uint16_t control, struct emu_st st[2])
{
    bool up = !fp80_negative(&st[1]);
    if (fp80_is_infinite(&st[1])) {
        if (up ? fp80_is_zero(&st[0]) : fp80_is_infinite(&st[0]))
            return invalid(&st[0]);
        if (up)
            st[0] = fp80_infinity(fp80_negative(&st[0]));
        else
            st[0] = fp80_signed(fp80_negative(&st[0]), 0, 0);
        return 0;
    }
    if (fp80_is_infinite(&st[0]) || fp80_is_zero(&st[0]))
        return 0;
    int32_t by = 0;
    if (fp80_store(control, FP80_I32, true, &st[1], &by) & FP80_IE || by > 0x10000 || by < -0x10000)
        by = up ? 0x10000 : -0x10000;
    struct fp80_number value = fp80_unpack(&st[0]);
    value.exponent += by;
    return fp80_pack(control, 64, value, &st[0]);
}

/* Significand and exponent. Of zero: minus infinity, and a division by zero. */
static uint16_t extract(struct emu_st st[2])
{
    struct emu_st from = st[0];
    st[1] = fp80_infinity(false);
    st[0] = from;
    if (fp80_is_infinite(&from))
        return 0;
    if (fp80_is_zero(&from)) {
        st[1] = fp80_infinity(true);
        return FP80_ZE;
    }
    struct fp80_number value = fp80_unpack(&from);
    int32_t exponent = value.exponent - FP80_BIAS;
    fp80_load(FP80_I32, &exponent, &st[1]);
    st[0] = fp80_signed(value.negative, FP80_BIAS, value.high);
    return 0;
}

static bool has_two_operands(enum fp80_function function)
{
    return function == FP80_FPREM || function == FP80_FPREM1 || function == FP80_FSCALE ||
           function == FP80_FYL2X || function == FP80_FYL2XP1 || function == FP80_FPATAN;
}

uint16_t fp80_function(uint16_t control, enum fp80_function function, struct emu_st st[2])
{
    uint16_t status;
    const struct emu_st *second = has_two_operands(function) ? &st[1] : &st[0];
    bool denormal = fp80_is_denormal(&st[0]) || fp80_is_denormal(second);
    if (fp80_not_numbers(&st[0], second, &st[0], &status)) {
        if (!has_two_operands(function))
            st[1] = st[0];
        return status;
    }
    switch (function) {
    case FP80_FSQRT:
        status = square_root(control, &st[0]);
        break;
    case FP80_FRNDINT:
        status = fp80_round_to_integer(control, &st[0]);
        break;
    case FP80_FSCALE:
        status = scale(control, st);
        break;
    case FP80_FXTRACT:
        status = extract(st);
        break;
    case FP80_FPREM:
    case FP80_FPREM1:
        status = remainder_of(control, st, function == FP80_FPREM1);
        break;
    default:
        status = fp80_transcendental(control, function, st);
        break;
    }
    return with_denormals(control, status, denormal);
}

/* Cut to 64 bits, and whether the nearest number is the next one up. */
struct emu_st fp80_constant(uint16_t control, unsigned number)
{
    static const struct {
        uint64_t mantissa;
        uint16_t exponent;
        bool nearer_above, exact;
    } constants[] = {
        {FP80_INTEGER, 0x3fff, false, true},
        {UINT64_C(0xd49a784bcd1b8afe), 0x4000, false, false},
        {UINT64_C(0xb8aa3b295c17f0bb), 0x3fff, true, false},
        {UINT64_C(0xc90fdaa22168c234), 0x4000, true, false},
        {UINT64_C(0x9a209a84fbcff798), 0x3ffd, true, false},
        {UINT64_C(0xb17217f7d1cf79ab), 0x3ffe, true, false},
        {0, 0, false, true},
    };
    unsigned rounding = control & FP80_ROUNDING;
    bool above = rounding == 0       ? constants[number].nearer_above
                 : rounding == 0x800 ? !constants[number].exact
                                     : false;
    return fp80_signed(false, constants[number].exponent, constants[number].mantissa + above);
}

#endif
