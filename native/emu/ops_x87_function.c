/* x87 functions of one or two registers: Intel SDM vol. 1 §8.3.5 to §8.3.10. */
#include "x87.h"

#define DONE EMU_NEXT_UNCHAINED

static void begin(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    emu_x87_wait(cpu, insn);
    emu_x87_note(cpu, insn);
}

static enum fp80_function function(const struct emu_insn *insn)
{
    return (enum fp80_function)(insn->imm & 15);
}

/* Take over what a function left in the status word, its result being `result`. A remainder
 * sets C0 and C3, its quotient's bits, only where there is one. */
static bool report(struct emu_fpu *fpu, enum fp80_function f, uint16_t status,
                   const struct emu_st *result)
{
    bool remainder = f == FP80_FPREM || f == FP80_FPREM1;
    bool reduces = f == FP80_FSIN || f == FP80_FCOS || f == FP80_FSINCOS || f == FP80_FPTAN;
    bool quotient = !fp80_is_nan(result) && !(status & ~fpu->control & FP80_BEFORE);
    unsigned condition = remainder && quotient  ? FP80_CONDITION
                         : remainder || reduces ? FP80_C1 | FP80_C2
                                                : FP80_C1;
    return emu_x87_report(fpu, status, condition, FP80_BEFORE);
}

/* ST(0) = f(ST(0)) */
static EMU_OP(op_unary)
{
    struct emu_fpu *fpu = &cpu->fpu;
    begin(cpu, insn);
    struct emu_st st[2] = {FP80_INDEFINITE, {0, 0}};
    uint16_t status = X87_UNDERFLOW;
    if (!emu_x87_empty(fpu, 0)) {
        st[0] = *emu_x87_st(fpu, 0);
        status = fp80_function(fpu->control, function(insn), st);
    }
    if (!report(fpu, function(insn), status, &st[0]))
        emu_x87_set(fpu, 0, st[0]);
    DONE;
}

static bool two_operands(struct emu_cpu *cpu, const struct emu_insn *insn, struct emu_st st[2])
{
    struct emu_fpu *fpu = &cpu->fpu;
    uint16_t status = X87_UNDERFLOW;
    begin(cpu, insn);
    st[0] = FP80_INDEFINITE;
    if (!emu_x87_empty(fpu, 0) && !emu_x87_empty(fpu, 1)) {
        st[0] = *emu_x87_st(fpu, 0);
        st[1] = *emu_x87_st(fpu, 1);
        status = fp80_function(fpu->control, function(insn), st);
    }
    return !report(fpu, function(insn), status, &st[0]);
}

/* ST(0) = f(ST(0), ST(1)) */
static EMU_OP(op_binary)
{
    struct emu_st st[2];
    if (two_operands(cpu, insn, st))
        emu_x87_set(&cpu->fpu, 0, st[0]);
    DONE;
}

/* ST(1) = f(ST(0), ST(1)), then pop */
static EMU_OP(op_binary_pop)
{
    struct emu_st st[2];
    if (two_operands(cpu, insn, st)) {
        emu_x87_pop(&cpu->fpu);
        emu_x87_set(&cpu->fpu, 0, st[0]);
    }
    DONE;
}

/* ST(0) = f(ST(0)), then push another result */
static EMU_OP(op_unary_push)
{
    struct emu_fpu *fpu = &cpu->fpu;
    begin(cpu, insn);
    struct emu_st st[2] = {FP80_INDEFINITE, FP80_INDEFINITE};
    uint16_t status = 0;
    if (emu_x87_empty(fpu, 0)) {
        status = X87_UNDERFLOW;
    } else if (!emu_x87_empty(fpu, 7)) {
        status = X87_OVERFLOW;
    } else {
        st[0] = *emu_x87_st(fpu, 0);
        status = fp80_function(fpu->control, function(insn), st);
    }
    bool out_of_range = (status & FP80_C2) && function(insn) != FP80_FXTRACT;
    if (report(fpu, function(insn), status, &st[0]) || out_of_range)
        DONE;
    emu_x87_set(fpu, 0, st[1]);
    emu_x87_push(fpu, st[0]);
    DONE;
}

/* FCHS and FABS look at nothing but the sign. */
static void set_sign(struct emu_fpu *fpu, unsigned keep, unsigned flip)
{
    bool empty = emu_x87_empty(fpu, 0);
    struct emu_st value = empty ? FP80_INDEFINITE : *emu_x87_st(fpu, 0);
    if (emu_x87_report(fpu, empty ? X87_UNDERFLOW : 0, FP80_C1, FP80_BEFORE))
        return;
    if (!empty)
        value.exponent = (uint16_t)((value.exponent & keep) ^ flip);
    emu_x87_set(fpu, 0, value);
}

static EMU_OP(op_fchs)
{
    begin(cpu, insn);
    set_sign(&cpu->fpu, 0xffff, FP80_SIGN);
    DONE;
}

static EMU_OP(op_fabs)
{
    begin(cpu, insn);
    set_sign(&cpu->fpu, FP80_MAX, 0);
    DONE;
}

/* Table 8-3 of vol. 2A, FXAM. */
static unsigned class_of(const struct emu_st *a)
{
    unsigned exponent = a->exponent & FP80_MAX;
    if (!exponent)
        return a->mantissa ? FP80_C3 | FP80_C2 : FP80_C3;
    if (fp80_is_unsupported(a))
        return 0;
    if (exponent < FP80_MAX)
        return FP80_C2;
    return fp80_is_nan(a) ? FP80_C0 : FP80_C2 | FP80_C0;
}

static EMU_OP(op_fxam)
{
    struct emu_fpu *fpu = &cpu->fpu;
    begin(cpu, insn);
    const struct emu_st *a = emu_x87_st(fpu, 0);
    unsigned class = emu_x87_empty(fpu, 0) ? FP80_C3 | FP80_C0 : class_of(a);
    class |= a->exponent & FP80_SIGN ? FP80_C1 : 0;
    emu_x87_report(fpu, (uint16_t)class, FP80_CONDITION, 0);
    DONE;
}

#define R(name) static const struct emu_forms name = {.r = {op_##name}};
R(unary)
R(binary)
R(binary_pop)
R(unary_push)
R(fchs)
R(fabs)
R(fxam)

#define ONE(digit, rm, forms)                                                                      \
    {EMU_MAP_1, 0xd9, EMU_MOD_R | EMU_REG(digit) | EMU_RM(rm), EMU_MODRM | EMU_X87, &forms, NULL}
#define FUNCTION(f, forms) ONE(6 + (f) / 8, (f) % 8, forms)

static const struct emu_row rows[] = {
    ONE(4, 0, fchs),
    ONE(4, 1, fabs),
    ONE(4, 5, fxam),
    FUNCTION(FP80_F2XM1, unary),
    FUNCTION(FP80_FYL2X, binary_pop),
    FUNCTION(FP80_FPTAN, unary_push),
    FUNCTION(FP80_FPATAN, binary_pop),
    FUNCTION(FP80_FXTRACT, unary_push),
    FUNCTION(FP80_FPREM1, binary),
    FUNCTION(FP80_FPREM, binary),
    FUNCTION(FP80_FYL2XP1, binary_pop),
    FUNCTION(FP80_FSQRT, unary),
    FUNCTION(FP80_FSINCOS, unary_push),
    FUNCTION(FP80_FRNDINT, unary),
    FUNCTION(FP80_FSCALE, binary),
    FUNCTION(FP80_FSIN, unary),
    FUNCTION(FP80_FCOS, unary),
};
EMU_FAMILY(emu_family_x87_function, rows);
