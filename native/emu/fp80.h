/* Arithmetic on 80-bit numbers as the x87 unit does it. Behind this header is the host's own
 * unit where it has one (fp80_host.c), portable code elsewhere (fp80_soft.c).
 *
 * Each function gets the guest's control word and returns what the operation left in the status
 * word: exceptions, condition bits. Where it raised an unmasked one of FP80_BEFORE, or where a
 * store raised an unmasked one of FP80_NOT_STORED, the results are meaningless: nothing happens. */
#ifndef PYKVM_EMU_FP80_H
#define PYKVM_EMU_FP80_H

#include "cpu.h"

/* Status word, Intel SDM vol. 1 §8.1.3. */
#define FP80_IE 0x01u
#define FP80_DE 0x02u
#define FP80_ZE 0x04u
#define FP80_OE 0x08u
#define FP80_UE 0x10u
#define FP80_PE 0x20u
#define FP80_SF 0x40u
#define FP80_ES 0x80u
#define FP80_C0 0x100u
#define FP80_C1 0x200u
#define FP80_C2 0x400u
#define FP80_C3 0x4000u
#define FP80_TOP 0x3800u
#define FP80_BUSY 0x8000u
#define FP80_EXCEPTIONS 0x3fu
#define FP80_CONDITION (FP80_C0 | FP80_C1 | FP80_C2 | FP80_C3)
#define FP80_BEFORE (FP80_IE | FP80_DE | FP80_ZE)
#define FP80_NOT_STORED (FP80_IE | FP80_OE | FP80_UE)

/* Control word, §8.1.5. */
#define FP80_PRECISION 0x300u
#define FP80_ROUNDING 0xc00u

#define FP80_SIGN 0x8000u
#define FP80_MAX 0x7fffu /* exponent of infinities and NaNs */
#define FP80_INTEGER (UINT64_C(1) << 63)
#define FP80_QUIET (UINT64_C(1) << 62)
#define FP80_INDEFINITE                                                                            \
    (struct emu_st)                                                                                \
    {                                                                                              \
        FP80_INTEGER | FP80_QUIET, FP80_SIGN | FP80_MAX                                            \
    }

/* Numbered as ModRM.reg numbers them in D8. */
enum fp80_operation {
    FP80_ADD,
    FP80_MUL,
    FP80_COM,
    FP80_COMP,
    FP80_SUB,
    FP80_SUBR,
    FP80_DIV,
    FP80_DIVR
};

/* Numbered as the low four bits of D9 F0 .. D9 FF. */
enum fp80_function {
    FP80_F2XM1,
    FP80_FYL2X,
    FP80_FPTAN,
    FP80_FPATAN,
    FP80_FXTRACT,
    FP80_FPREM1,
    FP80_FDECSTP,
    FP80_FINCSTP,
    FP80_FPREM,
    FP80_FYL2XP1,
    FP80_FSQRT,
    FP80_FSINCOS,
    FP80_FRNDINT,
    FP80_FSCALE,
    FP80_FSIN,
    FP80_FCOS
};

enum fp80_format { FP80_ST, FP80_F32, FP80_F64, FP80_I16, FP80_I32, FP80_I64, FP80_BCD };

/* *a = *a op operand, which is a struct emu_st or lies in memory as `format` says. */
uint16_t fp80_arith(uint16_t control, enum fp80_operation op, enum fp80_format format,
                    struct emu_st *a, const void *operand);

/* Condition bits as FCOM and FUCOM set them. */
uint16_t fp80_compare(uint16_t control, enum fp80_format format, const struct emu_st *a,
                      const void *operand);
uint16_t fp80_compare_unordered(uint16_t control, const struct emu_st *a, const struct emu_st *b);

/* st[0] = f(st[0]), or f(st[0], st[1]). FPTAN, FSINCOS and FXTRACT yield two results, st[0] and
 * below it st[1], unless C2 says that the operand was out of range. */
uint16_t fp80_function(uint16_t control, enum fp80_function function, struct emu_st st[2]);

/* FLD1, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2, FLDZ by the low three bits of D9 E8 .. D9 EE. */
struct emu_st fp80_constant(uint16_t control, unsigned number);

/* Rounds *a to a number in memory: 2, 4, 8 or 10 bytes. `chop`: as FISTTP does. */
uint16_t fp80_store(uint16_t control, enum fp80_format format, bool chop, const struct emu_st *a,
                    void *to);

/* fp80_load.c: exact, but for denormals and signalling NaNs that FP80_F32 and FP80_F64 report. */
uint16_t fp80_load(enum fp80_format format, const void *from, struct emu_st *to);

static inline bool fp80_is_nan(const struct emu_st *a)
{
    return (a->exponent & FP80_MAX) == FP80_MAX && (a->mantissa & FP80_INTEGER) &&
           a->mantissa != FP80_INTEGER;
}

/* Encodings that the 387 and its successors refuse, §8.2.2. */
static inline bool fp80_is_unsupported(const struct emu_st *a)
{
    return (a->exponent & FP80_MAX) && !(a->mantissa & FP80_INTEGER);
}

#endif
