/* x87 loads, stores, constants and what moves registers: Intel SDM vol. 1 §8.3.3, §8.3.4. */
#include "x87.h"

#define DONE EMU_NEXT_UNCHAINED

static const uint8_t sizes[] = {10, 4, 8, 2, 4, 8, 10};
static const uint8_t alignments[] = {8, 4, 8, 2, 4, 8, 8}; /* SDM vol. 3A table 6-7 */

/* Denormals are reported, but even unmasked do not keep a load from happening. */
static void push(struct emu_fpu *fpu, uint16_t status, struct emu_st value)
{
    if (status != X87_UNDERFLOW && !emu_x87_empty(fpu, 7)) {
        status = X87_OVERFLOW;
        value = FP80_INDEFINITE;
    }
    if (!emu_x87_report(fpu, status, FP80_C1, FP80_IE))
        emu_x87_push(fpu, value);
}

static void load(struct emu_cpu *cpu, const struct emu_insn *insn, enum fp80_format format)
{
    uint64_t operand[2] = {0, 0};
    struct emu_st value;
    emu_x87_wait(cpu, insn);
    emu_load_parts(cpu, insn, operand, sizes[format], emu_x87_part, alignments[format]);
    emu_x87_note_memory(cpu, insn);
    uint16_t status = fp80_load(format, operand, &value);
    if (status & FP80_IE)
        value.mantissa |= FP80_QUIET;
    push(&cpu->fpu, status, value);
}

/* What a store of nothing stores. §4.8.3.7, table 4-1, table 4-4 */
static void store_indefinite(enum fp80_format format, uint8_t *to)
{
    static const uint64_t values[][2] = {
        [FP80_ST] = {UINT64_C(3) << 62, 0xffff},
        [FP80_F32] = {0xffc00000, 0},
        [FP80_F64] = {UINT64_C(0xfff8) << 48, 0},
        [FP80_I16] = {0x8000, 0},
        [FP80_I32] = {0x80000000, 0},
        [FP80_I64] = {UINT64_C(1) << 63, 0},
        [FP80_BCD] = {UINT64_C(3) << 62, 0xffff},
    };
    memcpy(to, values[format], sizes[format]);
}

/* Memory first: where it faults, nothing has happened. What an unmasked exception keeps from being
 * stored touches no memory. */
static void store(struct emu_cpu *cpu, const struct emu_insn *insn, enum fp80_format format,
                  bool chop, bool pop)
{
    struct emu_fpu *fpu = &cpu->fpu;
    uint8_t bytes[16];
    uint16_t status = 0;
    emu_x87_wait(cpu, insn);
    if (emu_x87_empty(fpu, 0)) {
        store_indefinite(format, bytes);
        status = X87_UNDERFLOW;
    } else if (format == FP80_ST) {
        memcpy(bytes, emu_x87_st(fpu, 0), sizes[format]);
    } else {
        status = fp80_store(fpu->control, format, chop, emu_x87_st(fpu, 0), bytes);
    }
    if (!(status & ~fpu->control & FP80_NOT_STORED))
        emu_store_parts(cpu, insn, bytes, sizes[format], emu_x87_part, alignments[format]);
    emu_x87_note_memory(cpu, insn);
    if (!emu_x87_report(fpu, status, FP80_C1, FP80_NOT_STORED) && pop)
        emu_x87_pop(fpu);
}

#define LOAD(name, format)                                                                         \
    static EMU_OP(op_##name)                                                                       \
    {                                                                                              \
        load(cpu, insn, format);                                                                   \
        DONE;                                                                                      \
    }                                                                                              \
    static const struct emu_forms name = {.m = {op_##name}};
#define STORE(name, format, chop, pop)                                                             \
    static EMU_OP(op_##name)                                                                       \
    {                                                                                              \
        store(cpu, insn, format, chop, pop);                                                       \
        DONE;                                                                                      \
    }                                                                                              \
    static const struct emu_forms name = {.m = {op_##name}};
LOAD(fld_m32, FP80_F32)
LOAD(fld_m64, FP80_F64)
LOAD(fld_m80, FP80_ST)
LOAD(fild_m16, FP80_I16)
LOAD(fild_m32, FP80_I32)
LOAD(fild_m64, FP80_I64)
LOAD(fbld, FP80_BCD)
STORE(fst_m32, FP80_F32, false, false)
STORE(fst_m64, FP80_F64, false, false)
STORE(fstp_m32, FP80_F32, false, true)
STORE(fstp_m64, FP80_F64, false, true)
STORE(fstp_m80, FP80_ST, false, true)
STORE(fist_m16, FP80_I16, false, false)
STORE(fist_m32, FP80_I32, false, false)
STORE(fistp_m16, FP80_I16, false, true)
STORE(fistp_m32, FP80_I32, false, true)
STORE(fistp_m64, FP80_I64, false, true)
STORE(fisttp_m16, FP80_I16, true, true)
STORE(fisttp_m32, FP80_I32, true, true)
STORE(fisttp_m64, FP80_I64, true, true)
STORE(fbstp, FP80_BCD, false, true)

static void begin(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    emu_x87_wait(cpu, insn);
    emu_x87_note(cpu, insn);
}

static EMU_OP(op_fld_sti)
{
    struct emu_fpu *fpu = &cpu->fpu;
    unsigned i = insn->rm & 7;
    begin(cpu, insn);
    bool empty = emu_x87_empty(fpu, i);
    push(fpu, empty ? X87_UNDERFLOW : 0, empty ? FP80_INDEFINITE : *emu_x87_st(fpu, i));
    DONE;
}

static EMU_OP(op_constant)
{
    begin(cpu, insn);
    push(&cpu->fpu, 0, fp80_constant(cpu->fpu.control, insn->rm & 7));
    DONE;
}

static bool copy_to(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    struct emu_fpu *fpu = &cpu->fpu;
    begin(cpu, insn);
    bool empty = emu_x87_empty(fpu, 0);
    struct emu_st value = empty ? FP80_INDEFINITE : *emu_x87_st(fpu, 0);
    if (emu_x87_report(fpu, empty ? X87_UNDERFLOW : 0, FP80_C1, FP80_BEFORE))
        return false;
    emu_x87_set(fpu, insn->rm & 7, value);
    return true;
}

static EMU_OP(op_fst_sti)
{
    copy_to(cpu, insn);
    DONE;
}

static EMU_OP(op_fstp_sti)
{
    if (copy_to(cpu, insn))
        emu_x87_pop(&cpu->fpu);
    DONE;
}

/* D9 D8: like FSTP, but where there is nothing to store only the pop happens. */
static EMU_OP(op_fstp1)
{
    struct emu_fpu *fpu = &cpu->fpu;
    begin(cpu, insn);
    if (!emu_x87_empty(fpu, 0))
        emu_x87_set(fpu, insn->rm & 7, *emu_x87_st(fpu, 0));
    fpu->status &= (uint16_t)~FP80_C1;
    emu_x87_pop(fpu);
    DONE;
}

static EMU_OP(op_fxch)
{
    struct emu_fpu *fpu = &cpu->fpu;
    unsigned i = insn->rm & 7;
    begin(cpu, insn);
    bool empty0 = emu_x87_empty(fpu, 0), empty = emu_x87_empty(fpu, i);
    if (!emu_x87_report(fpu, empty0 || empty ? X87_UNDERFLOW : 0, FP80_C1, FP80_BEFORE)) {
        struct emu_st old0 = empty0 ? FP80_INDEFINITE : *emu_x87_st(fpu, 0);
        emu_x87_set(fpu, 0, empty ? FP80_INDEFINITE : *emu_x87_st(fpu, i));
        emu_x87_set(fpu, i, old0);
    }
    DONE;
}

static EMU_OP(op_ffree)
{
    begin(cpu, insn);
    emu_x87_free(&cpu->fpu, insn->rm & 7);
    cpu->fpu.status &= (uint16_t)~FP80_C1;
    DONE;
}

/* FFREEP, DF C0: in no manual. */
static EMU_OP(op_ffreep)
{
    begin(cpu, insn);
    emu_x87_free(&cpu->fpu, insn->rm & 7);
    emu_x87_pop(&cpu->fpu);
    cpu->fpu.status &= (uint16_t)~FP80_C1;
    DONE;
}

static EMU_OP(op_fincstp)
{
    begin(cpu, insn);
    cpu->fpu.top = (cpu->fpu.top + 1) & 7;
    cpu->fpu.status &= (uint16_t)~FP80_C1;
    DONE;
}

static EMU_OP(op_fdecstp)
{
    begin(cpu, insn);
    cpu->fpu.top = (cpu->fpu.top - 1) & 7;
    cpu->fpu.status &= (uint16_t)~FP80_C1;
    DONE;
}

static EMU_OP(op_fnop)
{
    begin(cpu, insn);
    DONE;
}

/* FCMOVB, E, BE, U in DA and their opposites in DB, by the condition codes of Jcc. */
static EMU_OP(op_fcmov)
{
    static const uint8_t condition[] = {2, 4, 6, 10};
    struct emu_fpu *fpu = &cpu->fpu;
    unsigned i = insn->rm & 7, opposite = insn->imm >> 8 & 1;
    begin(cpu, insn);
    bool empty = emu_x87_empty(fpu, 0) || emu_x87_empty(fpu, i);
    if (empty && emu_x87_report(fpu, X87_UNDERFLOW, FP80_C1, FP80_BEFORE))
        DONE;
    if (empty)
        emu_x87_set(fpu, 0, FP80_INDEFINITE);
    else if (emu_condition(cpu, condition[insn->reg & 3] | opposite))
        emu_x87_set(fpu, 0, *emu_x87_st(fpu, i));
    DONE;
}

#define R(name) static const struct emu_forms name = {.r = {op_##name}};
R(fld_sti)
R(constant)
R(fst_sti)
R(fstp_sti)
R(fstp1)
R(fxch)
R(ffree)
R(ffreep)
R(fincstp)
R(fdecstp)
R(fnop)
R(fcmov)

#define X87 (EMU_MODRM | EMU_X87)
#define MEMORY(opcode, digit, forms)                                                               \
    {EMU_MAP_1, opcode, EMU_MOD_M | EMU_REG(digit), X87, &forms, NULL}
#define REGISTERS(opcode, digit, forms)                                                            \
    {EMU_MAP_1, opcode, EMU_MOD_R | EMU_REG(digit), X87, &forms, NULL}
#define ONE(opcode, digit, rm, forms)                                                              \
    {EMU_MAP_1, opcode, EMU_MOD_R | EMU_REG(digit) | EMU_RM(rm), X87, &forms, NULL}

/* D9 D8, DD C8, DF C8, DF D0 and DF D8 are in no manual, but processors take them. */
static const struct emu_row rows[] = {
    MEMORY(0xd9, 0, fld_m32),     MEMORY(0xdd, 0, fld_m64),     MEMORY(0xdb, 5, fld_m80),
    MEMORY(0xdf, 0, fild_m16),    MEMORY(0xdb, 0, fild_m32),    MEMORY(0xdf, 5, fild_m64),
    MEMORY(0xdf, 4, fbld),        MEMORY(0xd9, 2, fst_m32),     MEMORY(0xd9, 3, fstp_m32),
    MEMORY(0xdd, 2, fst_m64),     MEMORY(0xdd, 3, fstp_m64),    MEMORY(0xdb, 7, fstp_m80),
    MEMORY(0xdf, 2, fist_m16),    MEMORY(0xdf, 3, fistp_m16),   MEMORY(0xdb, 2, fist_m32),
    MEMORY(0xdb, 3, fistp_m32),   MEMORY(0xdf, 7, fistp_m64),   MEMORY(0xdf, 1, fisttp_m16),
    MEMORY(0xdb, 1, fisttp_m32),  MEMORY(0xdd, 1, fisttp_m64),  MEMORY(0xdf, 6, fbstp),
    REGISTERS(0xd9, 0, fld_sti),  REGISTERS(0xd9, 1, fxch),     ONE(0xd9, 2, 0, fnop),
    REGISTERS(0xd9, 3, fstp1),    ONE(0xd9, 5, 0, constant),    ONE(0xd9, 5, 1, constant),
    ONE(0xd9, 5, 2, constant),    ONE(0xd9, 5, 3, constant),    ONE(0xd9, 5, 4, constant),
    ONE(0xd9, 5, 5, constant),    ONE(0xd9, 5, 6, constant),    ONE(0xd9, 6, 6, fdecstp),
    ONE(0xd9, 6, 7, fincstp),     REGISTERS(0xda, 0, fcmov),    REGISTERS(0xda, 1, fcmov),
    REGISTERS(0xda, 2, fcmov),    REGISTERS(0xda, 3, fcmov),    REGISTERS(0xdb, 0, fcmov),
    REGISTERS(0xdb, 1, fcmov),    REGISTERS(0xdb, 2, fcmov),    REGISTERS(0xdb, 3, fcmov),
    REGISTERS(0xdd, 0, ffree),    REGISTERS(0xdd, 1, fxch),     REGISTERS(0xdd, 2, fst_sti),
    REGISTERS(0xdd, 3, fstp_sti), REGISTERS(0xdf, 0, ffreep),   REGISTERS(0xdf, 1, fxch),
    REGISTERS(0xdf, 2, fstp_sti), REGISTERS(0xdf, 3, fstp_sti),
};
EMU_FAMILY(emu_family_x87_move, rows);
