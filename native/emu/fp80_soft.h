/* Between the files of the portable 80-bit arithmetic. */
#ifndef PYKVM_EMU_FP80_SOFT_H
#define PYKVM_EMU_FP80_SOFT_H

#include "fp80.h"

__extension__ typedef unsigned __int128 fp80_wide;

#define FP80_BIAS 0x3fff
#define FP80_WRAP 24576 /* what unmasked overflow and underflow add to the exponent, §8.5.4 */

/* A finite number: (high + low / 2^64) * 2^(exponent - FP80_BIAS - 63), with the highest bit of
 * `high` set unless it is zero. */
struct fp80_number {
    bool negative;
    int exponent;
    uint64_t high, low;
};

static inline bool fp80_negative(const struct emu_st *a)
{
    return a->exponent & FP80_SIGN;
}

static inline bool fp80_is_signalling(const struct emu_st *a)
{
    return fp80_is_nan(a) && !(a->mantissa & FP80_QUIET);
}

static inline bool fp80_is_infinite(const struct emu_st *a)
{
    return (a->exponent & FP80_MAX) == FP80_MAX && a->mantissa == FP80_INTEGER;
}

static inline bool fp80_is_zero(const struct emu_st *a)
{
    return !(a->exponent & FP80_MAX) && !a->mantissa;
}

static inline bool fp80_is_denormal(const struct emu_st *a)
{
    return !(a->exponent & FP80_MAX) && a->mantissa;
}

static inline struct emu_st fp80_signed(bool negative, unsigned exponent, uint64_t mantissa)
{
    return (struct emu_st){mantissa, (uint16_t)((negative ? FP80_SIGN : 0) | exponent)};
}

static inline struct emu_st fp80_infinity(bool negative)
{
    return fp80_signed(negative, FP80_MAX, FP80_INTEGER);
}

/* fp80_round.c. Must the magnitude be raised, `rest` of `unit` being cut off? */
bool fp80_rounds_up(uint16_t control, bool negative, bool odd, fp80_wide rest, fp80_wide unit);
struct fp80_number fp80_unpack(const struct emu_st *a);
uint16_t fp80_pack(uint16_t control, unsigned bits, struct fp80_number value, struct emu_st *to);
unsigned fp80_precision(uint16_t control);
uint16_t fp80_round_to_integer(uint16_t control, struct emu_st *a);

/* fp80_soft.c. Where an operand is no number: the NaN that comes of it, and true. */
bool fp80_not_numbers(const struct emu_st *a, const struct emu_st *b, struct emu_st *result,
                      uint16_t *status);

/* fp80_libm.c */
uint16_t fp80_transcendental(uint16_t control, enum fp80_function function, struct emu_st st[2]);

#endif
