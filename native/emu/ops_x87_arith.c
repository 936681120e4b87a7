/* x87 arithmetic and comparisons, D8 to DF: Intel SDM vol. 1 §8.3. */
#include "x87.h"

#define DONE EMU_NEXT_UNCHAINED

/* ModRM.reg as D8 numbers operations; with ST(i) as the destination DC and DE exchange the
 * reversed ones, so that it is always destination op source. */
static enum fp80_operation operation(const struct emu_insn *insn)
{
    return (enum fp80_operation)(insn->reg & 7);
}

/* ST(to) = ST(to) op operand. Returns false where an unmasked exception prevents it. */
static bool arith(struct emu_fpu *fpu, enum fp80_operation op, enum fp80_format format, unsigned to,
                  const void *operand, bool empty)
{
    struct emu_st result = *emu_x87_st(fpu, to);
    uint16_t status = X87_UNDERFLOW;
    if (EMU_UNLIKELY(empty || emu_x87_empty(fpu, to)))
        result = FP80_INDEFINITE;
    else
        status = fp80_arith(fpu->control, op, format, &result, operand);
    if (emu_x87_report(fpu, status, FP80_C1, FP80_BEFORE))
        return false;
    emu_x87_set(fpu, to, result);
    return true;
}

/* D8 /r */
static EMU_OP(op_arith_st0_sti)
{
    unsigned i = insn->rm & 7;
    emu_x87_wait(cpu, insn);
    emu_x87_note(cpu, insn);
    arith(&cpu->fpu, operation(insn), FP80_ST, 0, emu_x87_st(&cpu->fpu, i),
          emu_x87_empty(&cpu->fpu, i));
    DONE;
}

static bool arith_to_sti(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    emu_x87_wait(cpu, insn);
    emu_x87_note(cpu, insn);
    unsigned op = insn->reg & 7;
    return arith(&cpu->fpu, (enum fp80_operation)(op >= FP80_SUB ? op ^ 1 : op), FP80_ST,
                 insn->rm & 7, emu_x87_st(&cpu->fpu, 0), emu_x87_empty(&cpu->fpu, 0));
}

/* DC /r */
static EMU_OP(op_arith_sti_st0)
{
    arith_to_sti(cpu, insn);
    DONE;
}

/* DE /r */
static EMU_OP(op_arith_pop)
{
    if (arith_to_sti(cpu, insn))
        emu_x87_pop(&cpu->fpu);
    DONE;
}

#define MEMORY(name, format, size)                                                                 \
    static EMU_OP(op_arith_##name)                                                                 \
    {                                                                                              \
        uint64_t operand[2];                                                                       \
        emu_x87_wait(cpu, insn);                                                                   \
        emu_load_vec(cpu, insn, emu_ea(cpu, insn, size, false), operand, size);                    \
        emu_x87_note_memory(cpu, insn);                                                            \
        arith(&cpu->fpu, operation(insn), format, 0, operand, false);                              \
        DONE;                                                                                      \
    }                                                                                              \
    static EMU_OP(op_compare_##name)                                                               \
    {                                                                                              \
        uint64_t operand[2];                                                                       \
        emu_x87_wait(cpu, insn);                                                                   \
        emu_load_vec(cpu, insn, emu_ea(cpu, insn, size, false), operand, size);                    \
        emu_x87_note_memory(cpu, insn);                                                            \
        if (compare(&cpu->fpu, format, operand, false) && operation(insn) == FP80_COMP)            \
            emu_x87_pop(&cpu->fpu);                                                                \
        DONE;                                                                                      \
    }

#define UNORDERED (FP80_C0 | FP80_C2 | FP80_C3)

/* Condition bits. Returns false where an unmasked exception prevents the popping. */
static bool compare(struct emu_fpu *fpu, enum fp80_format format, const void *operand, bool empty)
{
    uint16_t status = X87_UNDERFLOW | UNORDERED;
    if (EMU_LIKELY(!empty && !emu_x87_empty(fpu, 0)))
        status = fp80_compare(fpu->control, format, emu_x87_st(fpu, 0), operand);
    return !emu_x87_report(fpu, status, FP80_CONDITION, FP80_BEFORE);
}

MEMORY(m32, FP80_F32, 4)
MEMORY(m64, FP80_F64, 8)
MEMORY(m16i, FP80_I16, 2)
MEMORY(m32i, FP80_I32, 4)

static bool compare_st(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    struct emu_fpu *fpu = &cpu->fpu;
    unsigned i = insn->rm & 7;
    emu_x87_wait(cpu, insn);
    emu_x87_note(cpu, insn);
    return compare(fpu, FP80_ST, emu_x87_st(fpu, i), emu_x87_empty(fpu, i));
}

static bool compare_unordered(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    struct emu_fpu *fpu = &cpu->fpu;
    unsigned i = insn->rm & 7;
    uint16_t status = X87_UNDERFLOW | UNORDERED;
    emu_x87_wait(cpu, insn);
    emu_x87_note(cpu, insn);
    if (!emu_x87_empty(fpu, 0) && !emu_x87_empty(fpu, i))
        status = fp80_compare_unordered(fpu->control, emu_x87_st(fpu, 0), emu_x87_st(fpu, i));
    return !emu_x87_report(fpu, status, FP80_CONDITION, FP80_BEFORE);
}

static void pop(struct emu_fpu *fpu, unsigned count)
{
    while (count--)
        emu_x87_pop(fpu);
}

/* FCOM, FCOMP, FCOMPP and their unordered kin. */
#define COMPARE(name, how, pops)                                                                   \
    static EMU_OP(op_##name)                                                                       \
    {                                                                                              \
        if (how(cpu, insn))                                                                        \
            pop(&cpu->fpu, pops);                                                                  \
        DONE;                                                                                      \
    }
COMPARE(fcom, compare_st, 0)
COMPARE(fcomp, compare_st, 1)
COMPARE(fcompp, compare_st, 2)
COMPARE(fucom, compare_unordered, 0)
COMPARE(fucomp, compare_unordered, 1)
COMPARE(fucompp, compare_unordered, 2)

/* FCOMI, FUCOMI: ZF, PF and CF instead of C3, C2 and C0, which stay; unmasked exceptions keep
 * only the popping from happening. C1 stays too, unless a register was empty. */
static bool compare_flags(struct emu_cpu *cpu, const struct emu_insn *insn,
                          bool (*how)(struct emu_cpu *, const struct emu_insn *))
{
    struct emu_fpu *fpu = &cpu->fpu;
    bool empty = emu_x87_empty(fpu, 0) || emu_x87_empty(fpu, insn->rm & 7);
    unsigned keep = empty ? UNORDERED : FP80_CONDITION;
    uint16_t kept = (uint16_t)(fpu->status & keep);
    bool done = how(cpu, insn);
    uint16_t status = fpu->status;
    fpu->status = (uint16_t)((status & ~keep) | kept);
    emu_set_status_flags(cpu, (status & FP80_C0 ? FLAG_CF : 0) | (status & FP80_C2 ? FLAG_PF : 0) |
                                  (status & FP80_C3 ? FLAG_ZF : 0));
    return done;
}

#define COMPARE_FLAGS(name, how, pops)                                                             \
    static EMU_OP(op_##name)                                                                       \
    {                                                                                              \
        if (compare_flags(cpu, insn, how) && (pops))                                               \
            emu_x87_pop(&cpu->fpu);                                                                \
        DONE;                                                                                      \
    }
COMPARE_FLAGS(fcomi, compare_st, 0)
COMPARE_FLAGS(fcomip, compare_st, 1)
COMPARE_FLAGS(fucomi, compare_unordered, 0)
COMPARE_FLAGS(fucomip, compare_unordered, 1)

static EMU_OP(op_ftst)
{
    static const struct emu_st zero = {0, 0};
    emu_x87_wait(cpu, insn);
    emu_x87_note(cpu, insn);
    compare(&cpu->fpu, FP80_ST, &zero, false);
    DONE;
}

#define R(name) static const struct emu_forms name = {.r = {op_##name}};
R(arith_st0_sti)
R(arith_sti_st0)
R(arith_pop)
R(fcom)
R(fcomp)
R(fcompp)
R(fucom)
R(fucomp)
R(fucompp)
R(fcomi)
R(fcomip)
R(fucomi)
R(fucomip)
R(ftst)
#define M(name) static const struct emu_forms name = {.m = {op_##name}};
M(arith_m32)
M(arith_m64)
M(arith_m16i)
M(arith_m32i)
M(compare_m32)
M(compare_m64)
M(compare_m16i)
M(compare_m32i)

#define X87 (EMU_MODRM | EMU_X87)
#define REGISTERS(opcode, digit, forms)                                                            \
    {EMU_MAP_1, opcode, EMU_MOD_R | EMU_REG(digit), X87, &forms, NULL}
#define MEMORY_ROW(opcode, digit, forms)                                                           \
    {EMU_MAP_1, opcode, EMU_MOD_M | EMU_REG(digit), X87, &forms, NULL}
#define ARITH_R(opcode, forms)                                                                     \
    REGISTERS(opcode, 0, forms), REGISTERS(opcode, 1, forms), REGISTERS(opcode, 4, forms),         \
        REGISTERS(opcode, 5, forms), REGISTERS(opcode, 6, forms), REGISTERS(opcode, 7, forms)
#define ARITH_M(opcode, type)                                                                      \
    MEMORY_ROW(opcode, 0, arith_##type), MEMORY_ROW(opcode, 1, arith_##type),                      \
        MEMORY_ROW(opcode, 2, compare_##type), MEMORY_ROW(opcode, 3, compare_##type),              \
        MEMORY_ROW(opcode, 4, arith_##type), MEMORY_ROW(opcode, 5, arith_##type),                  \
        MEMORY_ROW(opcode, 6, arith_##type), MEMORY_ROW(opcode, 7, arith_##type)

/* DC D0, DC D8 and DE D0 are in no manual, but processors take them for FCOM and FCOMP. */
static const struct emu_row rows[] = {
    ARITH_R(0xd8, arith_st0_sti),
    ARITH_R(0xdc, arith_sti_st0),
    ARITH_R(0xde, arith_pop),
    ARITH_M(0xd8, m32),
    ARITH_M(0xdc, m64),
    ARITH_M(0xda, m32i),
    ARITH_M(0xde, m16i),
    REGISTERS(0xd8, 2, fcom),
    REGISTERS(0xd8, 3, fcomp),
    REGISTERS(0xdc, 2, fcom),
    REGISTERS(0xdc, 3, fcomp),
    REGISTERS(0xde, 2, fcomp),
    {EMU_MAP_1, 0xde, EMU_MOD_R | EMU_REG(3) | EMU_RM(1), X87, &fcompp, NULL},
    REGISTERS(0xdd, 4, fucom),
    REGISTERS(0xdd, 5, fucomp),
    {EMU_MAP_1, 0xda, EMU_MOD_R | EMU_REG(5) | EMU_RM(1), X87, &fucompp, NULL},
    REGISTERS(0xdb, 5, fucomi),
    REGISTERS(0xdb, 6, fcomi),
    REGISTERS(0xdf, 5, fucomip),
    REGISTERS(0xdf, 6, fcomip),
    {EMU_MAP_1, 0xd9, EMU_MOD_R | EMU_REG(4) | EMU_RM(4), X87, &ftst, NULL},
};
EMU_FAMILY(emu_family_x87_arith, rows);
