/* Floating point in integers: IEEE 754 as SSE and AVX have it, with every flag.
 *
 * Values are bit patterns of 16, 32 or 64 bits. Flags accumulate in `flags`; a result
 * that an unmasked exception makes void is arbitrary. */
#ifndef PYKVM_EMU_SOFT_H
#define PYKVM_EMU_SOFT_H

#include <stdbool.h>
#include <stdint.h>

struct emu_soft {
    uint32_t control; /* MXCSR: DAZ, masks, rounding, FTZ */
    uint32_t flags;   /* MXCSR's low six */
    uint32_t settled; /* flags of an instruction's earlier steps, which raised nothing */
    bool quick;       /* to nearest, and PE is neither news nor unmasked */
};

enum emu_rounding { EMU_ROUND_NEAREST, EMU_ROUND_DOWN, EMU_ROUND_UP, EMU_ROUND_ZERO };

enum emu_relation { EMU_LESS, EMU_EQUAL, EMU_GREATER, EMU_UNORDERED };

void emu_soft_begin(struct emu_soft *soft, uint32_t mxcsr);
uint64_t emu_soft_add(struct emu_soft *soft, unsigned bits, uint64_t a, uint64_t b);
uint64_t emu_soft_sub(struct emu_soft *soft, unsigned bits, uint64_t a, uint64_t b);
uint64_t emu_soft_mul(struct emu_soft *soft, unsigned bits, uint64_t a, uint64_t b);
uint64_t emu_soft_div(struct emu_soft *soft, unsigned bits, uint64_t a, uint64_t b);
uint64_t emu_soft_min(struct emu_soft *soft, unsigned bits, uint64_t a, uint64_t b);
uint64_t emu_soft_max(struct emu_soft *soft, unsigned bits, uint64_t a, uint64_t b);
uint64_t emu_soft_sqrt(struct emu_soft *soft, unsigned bits, uint64_t a);

/* (negate_product ? -(a * b) : a * b) + (negate_addend ? -c : c), rounded once. */
uint64_t emu_soft_fma(struct emu_soft *soft, unsigned bits, uint64_t a, uint64_t b, uint64_t c,
                      bool negate_product, bool negate_addend);

/* `signals`: a quiet NaN is invalid too. */
enum emu_relation emu_soft_compare(struct emu_soft *soft, unsigned bits, uint64_t a, uint64_t b,
                                   bool signals);

uint64_t emu_soft_convert(struct emu_soft *soft, unsigned from, unsigned to, uint64_t a);
uint64_t emu_soft_from_int(struct emu_soft *soft, unsigned bits, int64_t value);

/* To an integer of int_bits; out of range and NaN: the lowest. */
uint64_t emu_soft_to_int(struct emu_soft *soft, unsigned bits, unsigned int_bits, uint64_t a,
                         enum emu_rounding rounding);
uint64_t emu_soft_round(struct emu_soft *soft, unsigned bits, uint64_t a,
                        enum emu_rounding rounding, bool says_inexact);

enum emu_rounding emu_soft_rounding(const struct emu_soft *soft);

#endif
