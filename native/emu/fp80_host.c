/* The host's x87 unit does the guest's arithmetic, transcendentals included, to the last bit.
 *
 * An operation runs under the guest's control word, unmasked exceptions too, since the results
 * depend on the masks. The unit only notes such an exception; it would be reported by the next
 * waiting instruction, and FNCLEX comes before that one: the host never sees it. Its own control
 * word and exception flags are put back. No long double may be alive across these functions,
 * and in this file there is none. */
#include "fp80.h"

#if defined(__x86_64__) && !defined(EMU_FP80_SOFT)

#define MASKED 0x37f

struct host {
    uint16_t control, status;
    uint32_t environment[7];
};

#define ALL_ST "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)"

static inline void enter(struct host *host)
{
    __asm__ volatile("fnstcw %0\n\tfnstsw %1" : "=m"(host->control), "=m"(host->status));
    if (host->status & (FP80_EXCEPTIONS | FP80_SF))
        __asm__ volatile("fnstenv %0\n\tfnclex" : "=m"(host->environment));
}

static inline void leave(const struct host *host)
{
    if (host->status & (FP80_EXCEPTIONS | FP80_SF))
        __asm__ volatile("fldenv %0" : : "m"(host->environment));
    else if (host->control != MASKED)
        __asm__ volatile("fldcw %0" : : "m"(host->control));
}

/* `before` and `after` run with everything masked, `operation` as the guest would have it. */
#define RUN(before, operation, after, outputs, ...)                                                \
    do {                                                                                           \
        static const uint16_t masked_ = MASKED;                                                    \
        struct host host_;                                                                         \
        enter(&host_);                                                                             \
        __asm__ volatile(before "fldcw %[guest]\n\t" operation                                     \
                                "\n\tfnstsw %[status]\n\tfnclex\n\tfldcw %[masked]\n\t" after      \
                         : [status] "=m"(status), outputs                                          \
                         : [guest] "m"(control), [masked] "m"(masked_), __VA_ARGS__                \
                         : ALL_ST, "memory");                                                      \
        leave(&host_);                                                                             \
    } while (0)

/* An operand of ST(0) and ST(1), or of ST(0) and memory. */
#define BINARY_ST(operation)                                                                       \
    RUN("fldt %[b]\n\tfldt %[a]\n\t", operation " %%st(1), %%st",                                  \
        "fstpt %[a]\n\tfstp %%st(0)\n\tfnclex", [a] "+m"(*a),                                      \
        [b] "m"(*(const struct emu_st *)operand))
#define BINARY_MEMORY(operation)                                                                   \
    RUN("fldt %[a]\n\t", operation " %[b]",                                                        \
        "fstpt %[a]\n\tfnclex", [a] "+m"(*a), [b] "m"(*(const char (*)[8])operand))

#define BINARY(name)                                                                               \
    static uint16_t run_##name(uint16_t control, enum fp80_format format, struct emu_st *a,        \
                               const void *operand)                                                \
    {                                                                                              \
        uint16_t status;                                                                           \
        switch (format) {                                                                          \
        case FP80_F32:                                                                             \
            BINARY_MEMORY("f" #name "s");                                                          \
            break;                                                                                 \
        case FP80_F64:                                                                             \
            BINARY_MEMORY("f" #name "l");                                                          \
            break;                                                                                 \
        case FP80_I16:                                                                             \
            BINARY_MEMORY("fi" #name "s");                                                         \
            break;                                                                                 \
        case FP80_I32:                                                                             \
            BINARY_MEMORY("fi" #name "l");                                                         \
            break;                                                                                 \
        default:                                                                                   \
            BINARY_ST("f" #name);                                                                  \
            break;                                                                                 \
        }                                                                                          \
        return status;                                                                             \
    }
BINARY(add)
BINARY(mul)
BINARY(sub)
BINARY(subr)
BINARY(div)
BINARY(divr)

uint16_t fp80_arith(uint16_t control, enum fp80_operation op, enum fp80_format format,
                    struct emu_st *a, const void *operand)
{
    switch (op) {
    case FP80_ADD:
        return run_add(control, format, a, operand);
    case FP80_MUL:
        return run_mul(control, format, a, operand);
    case FP80_SUB:
        return run_sub(control, format, a, operand);
    case FP80_SUBR:
        return run_subr(control, format, a, operand);
    case FP80_DIV:
        return run_div(control, format, a, operand);
    default:
        return run_divr(control, format, a, operand);
    }
}

#define COMPARE_ST(operation)                                                                      \
    RUN("fldt %[b]\n\tfldt %[a]\n\t", operation " %%st(1)",                                        \
        "fstp %%st(0)\n\tfstp %%st(0)\n\tfnclex", [a] "+m"(copy),                                  \
        [b] "m"(*(const struct emu_st *)operand))
#define COMPARE_MEMORY(operation)                                                                  \
    RUN("fldt %[a]\n\t", operation " %[b]",                                                        \
        "fstp %%st(0)\n\tfnclex", [a] "+m"(copy), [b] "m"(*(const char (*)[8])operand))

uint16_t fp80_compare(uint16_t control, enum fp80_format format, const struct emu_st *a,
                      const void *operand)
{
    uint16_t status;
    struct emu_st copy = *a;
    switch (format) {
    case FP80_F32:
        COMPARE_MEMORY("fcoms");
        break;
    case FP80_F64:
        COMPARE_MEMORY("fcoml");
        break;
    case FP80_I16:
        COMPARE_MEMORY("ficoms");
        break;
    case FP80_I32:
        COMPARE_MEMORY("ficoml");
        break;
    default:
        COMPARE_ST("fcom");
        break;
    }
    return status;
}

uint16_t fp80_compare_unordered(uint16_t control, const struct emu_st *a,
                                const struct emu_st *operand)
{
    uint16_t status;
    struct emu_st copy = *a;
    COMPARE_ST("fucom");
    return status;
}

#define AND ,
/* FNINIT empties the stack, whatever the operation left on it. */
#define FUNCTION(operation)                                                                        \
    RUN("fldt %[b]\n\tfldt %[a]\n\t", operation,                                                   \
        "fstpt %[a]\n\tfstpt %[b]\n\tfninit", [a] "+m"(st[0])AND[b] "+m"(st[1]), [none] "i"(0))

uint16_t fp80_function(uint16_t control, enum fp80_function function, struct emu_st st[2])
{
    uint16_t status = 0;
#define CASE(number, mnemonic)                                                                     \
    case number:                                                                                   \
        FUNCTION(mnemonic);                                                                        \
        break;
    switch (function) {
        CASE(FP80_F2XM1, "f2xm1")
        CASE(FP80_FYL2X, "fyl2x")
        CASE(FP80_FPTAN, "fptan")
        CASE(FP80_FPATAN, "fpatan")
        CASE(FP80_FXTRACT, "fxtract")
        CASE(FP80_FPREM1, "fprem1")
        CASE(FP80_FPREM, "fprem")
        CASE(FP80_FYL2XP1, "fyl2xp1")
        CASE(FP80_FSQRT, "fsqrt")
        CASE(FP80_FSINCOS, "fsincos")
        CASE(FP80_FRNDINT, "frndint")
        CASE(FP80_FSCALE, "fscale")
        CASE(FP80_FSIN, "fsin")
        CASE(FP80_FCOS, "fcos")
    default:
        break;
    }
#undef CASE
    return status;
}

struct emu_st fp80_constant(uint16_t control, unsigned number)
{
    uint16_t status = 0;
    struct emu_st to = {0, 0};
#define CASE(n, mnemonic)                                                                          \
    case n:                                                                                        \
        RUN("", mnemonic, "fstpt %[to]", [to] "=m"(to), [none] "i"(0));                            \
        break;
    switch (number) {
        CASE(0, "fld1")
        CASE(1, "fldl2t")
        CASE(2, "fldl2e")
        CASE(3, "fldpi")
        CASE(4, "fldlg2")
        CASE(5, "fldln2")
    default:
        break;
    }
#undef CASE
    return to;
}

#define STORE(operation)                                                                           \
    RUN("fldt %[a]\n\tfldt %[a]\n\t", operation " %[to]",                                          \
        "fninit", [to] "+m"(*(char (*)[10])to), [a] "m"(*a))
#define STORE_FAST(operation)                                                                      \
    RUN("fldt %[a]\n\t", operation " %[to]",                                                       \
        "fstp %%st(0)\n\tfnclex", [to] "+m"(*(char (*)[10])to), [a] "m"(*a))

static uint16_t store_chopped(uint16_t control, enum fp80_format format, const struct emu_st *a,
                              void *to)
{
    uint16_t status;
    if (format == FP80_I16)
        STORE("fisttps");
    else if (format == FP80_I32)
        STORE("fisttpl");
    else
        STORE("fisttpll");
    return status;
}

uint16_t fp80_store(uint16_t control, enum fp80_format format, bool chop, const struct emu_st *a,
                    void *to)
{
    uint16_t status;
    if (chop)
        return store_chopped(control, format, a, to);
    switch (format) {
    case FP80_F32:
        STORE_FAST("fsts");
        break;
    case FP80_F64:
        STORE_FAST("fstl");
        break;
    case FP80_I16:
        STORE_FAST("fists");
        break;
    case FP80_I32:
        STORE_FAST("fistl");
        break;
    case FP80_I64:
        STORE("fistpll");
        break;
    default:
        STORE("fbstp");
        break;
    }
    return status;
}

#endif
