/* Numbers taken apart and put together again: what soft.c and soft_convert.c share. */
#ifndef PYKVM_EMU_SOFT_PARTS_H
#define PYKVM_EMU_SOFT_PARTS_H

#include "fp.h"
#include "soft.h"

#if !defined(__SIZEOF_INT128__)
#error "128-bit integers are needed: any 64-bit gcc or clang has them"
#endif
__extension__ typedef unsigned __int128 emu_uint128;

enum emu_kind { EMU_IS_ZERO, EMU_IS_FINITE, EMU_IS_INFINITE, EMU_IS_QUIET, EMU_IS_SIGNALLING };

/* sig * 2^(exp - 63), its top bit set. */
struct emu_parts {
    enum emu_kind kind;
    bool sign, denormal;
    int exp;
    uint64_t sig;
    uint64_t raw; /* as it came, or zero where DAZ made it so */
};

static inline unsigned emu_fraction_bits(unsigned bits)
{
    return bits == 64 ? 52 : bits == 32 ? 23 : 10;
}

static inline int emu_bias(unsigned bits)
{
    return bits == 64 ? 1023 : bits == 32 ? 127 : 15;
}

static inline uint64_t emu_sign_bit(unsigned bits, bool sign)
{
    return (uint64_t)sign << (bits - 1);
}

static inline uint64_t emu_quiet_bit(unsigned bits)
{
    return UINT64_C(1) << (emu_fraction_bits(bits) - 1);
}

static inline uint64_t emu_infinity(unsigned bits, bool sign)
{
    return emu_sign_bit(bits, sign) | (uint64_t)(2 * emu_bias(bits) + 1) << emu_fraction_bits(bits);
}

/* The answer to invalid operations: Intel SDM vol. 1 table 4-3. */
static inline uint64_t emu_default_nan(unsigned bits)
{
    return emu_infinity(bits, true) | emu_quiet_bit(bits);
}

static inline bool emu_is_nan(const struct emu_parts *parts)
{
    return parts->kind >= EMU_IS_QUIET;
}

struct emu_parts emu_take_apart(const struct emu_soft *soft, unsigned bits, uint64_t raw);

/* Round sig * 2^(exp - 63), whose lowest bit stands for all below it too. */
uint64_t emu_put_together(struct emu_soft *soft, unsigned bits, bool sign, int exp, uint64_t sig);

/* sig / 2^drop as an integer. */
uint64_t emu_round_off(enum emu_rounding rounding, bool sign, uint64_t sig, unsigned drop);

/* Bits that are shifted out stay visible in the lowest. */
static inline uint64_t emu_shift_jam(uint64_t sig, unsigned count)
{
    if (count >= 64)
        return sig != 0;
    return count ? sig >> count | ((sig << (64 - count)) != 0) : sig;
}

#endif
