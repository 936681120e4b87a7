/* The x87 control instructions: Intel SDM vol. 1 §8.1.10, §8.3.11. */
#include "x87.h"

#define DONE EMU_NEXT_UNCHAINED
#define TAG_VALID 0u
#define TAG_ZERO 1u
#define TAG_SPECIAL 2u
#define TAG_EMPTY 3u

static unsigned tag_of(const struct emu_st *a)
{
    unsigned exponent = a->exponent & FP80_MAX;
    if (exponent == 0)
        return a->mantissa ? TAG_SPECIAL : TAG_ZERO;
    return exponent == FP80_MAX || fp80_is_unsupported(a) ? TAG_SPECIAL : TAG_VALID;
}

/* The full tag word, two bits for each physical register. */
uint16_t emu_x87_tags(const struct emu_fpu *fpu)
{
    unsigned tags = 0;
    for (unsigned i = 0; i < 8; i++)
        tags |= (fpu->used >> i & 1 ? tag_of(&fpu->reg[i]) : TAG_EMPTY) << (2 * i);
    return (uint16_t)tags;
}

static void set_tags(struct emu_fpu *fpu, unsigned tags)
{
    fpu->used = 0;
    for (unsigned i = 0; i < 8; i++)
        if ((tags >> (2 * i) & 3) != TAG_EMPTY)
            fpu->used |= (uint8_t)(1u << i);
}

/* The environment's four layouts, figures 8-9 to 8-12. Returns its size. */
static uint32_t write_env(const struct emu_cpu *cpu, const struct emu_insn *insn, uint8_t *to)
{
    const struct emu_fpu *fpu = &cpu->fpu;
    bool wide = emu_osize(insn) != EMU_16, selectors = emu_protected(cpu);
    uint32_t ip = (uint32_t)fpu->ip, dp = (uint32_t)fpu->dp, fop = fpu->opcode & 0x7ffu;
    uint32_t word[7] = {fpu->control | 0xffff0000u, emu_x87_status(fpu) | 0xffff0000u,
                        emu_x87_tags(fpu) | 0xffff0000u};
    if (!wide) {
        word[3] = ip;
        word[4] = selectors ? fpu->cs : (ip >> 4 & 0xf000) | fop;
        word[5] = dp;
        word[6] = selectors ? fpu->ds : dp >> 4 & 0xf000;
    } else if (selectors) {
        word[3] = ip;
        word[4] = fpu->cs | fop << 16;
        word[5] = dp;
        word[6] = fpu->ds | 0xffff0000u;
    } else {
        word[3] = (ip & 0xffff) | 0xffff0000u;
        word[4] = fop | (ip >> 4 & 0x0ffff000);
        word[5] = (dp & 0xffff) | 0xffff0000u;
        word[6] = dp >> 4 & 0x0ffff000;
    }
    for (unsigned i = 0; i < 7; i++)
        memcpy(to + (wide ? 4 : 2) * i, &word[i], wide ? 4 : 2);
    return wide ? 28 : 14;
}

static void read_env(struct emu_cpu *cpu, const struct emu_insn *insn, const uint8_t *from)
{
    struct emu_fpu *fpu = &cpu->fpu;
    bool wide = emu_osize(insn) != EMU_16, selectors = emu_protected(cpu);
    uint32_t word[7] = {0};
    for (unsigned i = 0; i < 7; i++)
        memcpy(&word[i], from + (wide ? 4 : 2) * i, wide ? 4 : 2);
    fpu->ip = word[3];
    fpu->dp = word[5];
    if (selectors) {
        fpu->opcode = wide ? word[4] >> 16 & 0x7ff : 0;
    } else {
        uint32_t high = wide ? 0x0ffff000 : 0xf000;
        fpu->ip = (word[3] & 0xffff) | (word[4] & high) << 4;
        fpu->dp = (word[5] & 0xffff) | (word[6] & high) << 4;
        fpu->opcode = word[4] & 0x7ff;
    }
    set_tags(fpu, word[2]);
    fpu->control = (word[0] & X87_CONTROL_MASK) | X87_CONTROL_FIXED;
    emu_x87_set_status(fpu, (uint16_t)word[1]);
}

static void init(struct emu_fpu *fpu)
{
    fpu->control = 0x37f;
    fpu->status = fpu->opcode = fpu->cs = fpu->ds = 0;
    fpu->top = fpu->used = 0;
    fpu->ip = fpu->dp = 0;
}

static uint32_t env_bytes(const struct emu_insn *insn)
{
    return emu_osize(insn) == EMU_16 ? 14 : 28;
}

/* SDM vol. 3A table 6-7 */
static uint32_t env_alignment(const struct emu_insn *insn)
{
    return emu_osize(insn) == EMU_16 ? 2 : 4;
}

/* The parts of images: the environment's seven words, and perhaps the registers behind them. */
static uint32_t part_16(uint32_t distance_bytes)
{
    return distance_bytes < 14 ? 2 : emu_x87_part(distance_bytes - 14);
}

static uint32_t part_32(uint32_t distance_bytes)
{
    return distance_bytes < 28 ? 4 : emu_x87_part(distance_bytes - 28);
}

static emu_part_bytes *parts_of(const struct emu_insn *insn)
{
    return emu_osize(insn) == EMU_16 ? part_16 : part_32;
}

static EMU_OP(op_fnstenv)
{
    uint8_t bytes[28];
    uint32_t size = write_env(cpu, insn, bytes);
    emu_store_parts(cpu, insn, bytes, size, parts_of(insn), env_alignment(insn));
    emu_x87_set_control(&cpu->fpu, cpu->fpu.control | FP80_EXCEPTIONS);
    DONE;
}

static EMU_OP(op_fldenv)
{
    uint8_t bytes[28];
    uint32_t size = env_bytes(insn);
    emu_x87_wait(cpu, insn);
    emu_load_parts(cpu, insn, bytes, size, parts_of(insn), env_alignment(insn));
    read_env(cpu, insn, bytes);
    DONE;
}

static EMU_OP(op_fnsave)
{
    struct emu_fpu *fpu = &cpu->fpu;
    uint8_t bytes[28 + 80];
    uint32_t size = write_env(cpu, insn, bytes);
    for (unsigned i = 0; i < 8; i++, size += 10)
        memcpy(bytes + size, emu_x87_st(fpu, i), 10);
    emu_store_parts(cpu, insn, bytes, size, parts_of(insn), env_alignment(insn));
    init(fpu);
    DONE;
}

static EMU_OP(op_frstor)
{
    struct emu_fpu *fpu = &cpu->fpu;
    uint8_t bytes[28 + 80];
    uint32_t size = env_bytes(insn);
    emu_x87_wait(cpu, insn);
    emu_load_parts(cpu, insn, bytes, size + 80, parts_of(insn), env_alignment(insn));
    read_env(cpu, insn, bytes);
    for (unsigned i = 0; i < 8; i++, size += 10)
        memcpy(emu_x87_st(fpu, i), bytes + size, 10);
    DONE;
}

static EMU_OP(op_fldcw)
{
    emu_x87_wait(cpu, insn);
    emu_x87_set_control(&cpu->fpu, emu_load_w(cpu, insn, emu_ea(cpu, insn, 2, false)));
    EMU_NEXT;
}

EMU_STORE_OP(op_fnstcw, w, value = cpu->fpu.control)
EMU_STORE_OP(op_fnstsw, w, value = emu_x87_status(&cpu->fpu))

static EMU_OP(op_fnstsw_ax)
{
    emu_set_w(cpu, RAX, emu_x87_status(&cpu->fpu));
    EMU_NEXT;
}

static EMU_OP(op_fnclex)
{
    cpu->fpu.status &= FP80_CONDITION;
    EMU_NEXT;
}

static EMU_OP(op_fninit)
{
    init(&cpu->fpu);
    EMU_NEXT;
}

/* FNENI, FNDISI and FNSETPM of older units. */
static EMU_OP(op_fnothing)
{
    EMU_NEXT;
}

static EMU_OP(op_fwait)
{
    emu_x87_wait(cpu, insn);
    EMU_NEXT;
}

static EMU_OP(op_emms)
{
    emu_x87_wait(cpu, insn);
    cpu->fpu.top = cpu->fpu.used =
        0; /* SDM vol. 3A §12.2: TOP too, as with every MMX instruction */
    EMU_NEXT;
}

static const struct emu_forms fldenv = {.m = {NULL, op_fldenv, op_fldenv, op_fldenv}},
                              fnstenv = {.m = {NULL, op_fnstenv, op_fnstenv, op_fnstenv}},
                              frstor = {.m = {NULL, op_frstor, op_frstor, op_frstor}},
                              fnsave = {.m = {NULL, op_fnsave, op_fnsave, op_fnsave}};
static const struct emu_forms fldcw = {.m = {op_fldcw}}, fnstcw = {.m = {op_fnstcw}},
                              fnstsw = {.m = {op_fnstsw}}, fnstsw_ax = {.r = {op_fnstsw_ax}},
                              fnclex = {.r = {op_fnclex}}, fninit = {.r = {op_fninit}},
                              fnothing = {.r = {op_fnothing}};
static const struct emu_forms fwait = EMU_FORMS_1(op_fwait), emms = EMU_FORMS_1(op_emms);

#define X87 (EMU_MODRM | EMU_X87)
#define MEMORY(opcode, digit, forms)                                                               \
    {EMU_MAP_1, opcode, EMU_MOD_M | EMU_REG(digit), X87, &forms, NULL}
#define SIZED(opcode, digit, forms)                                                                \
    {EMU_MAP_1, opcode, EMU_MOD_M | EMU_REG(digit), X87 | EMU_SIZE_V, &forms, NULL}
#define ONE(opcode, digit, rm, forms)                                                              \
    {EMU_MAP_1, opcode, EMU_MOD_R | EMU_REG(digit) | EMU_RM(rm), X87, &forms, NULL}

static const struct emu_row rows[] = {
    SIZED(0xd9, 4, fldenv),
    SIZED(0xd9, 6, fnstenv),
    SIZED(0xdd, 4, frstor),
    SIZED(0xdd, 6, fnsave),
    MEMORY(0xd9, 5, fldcw),
    MEMORY(0xd9, 7, fnstcw),
    MEMORY(0xdd, 7, fnstsw),
    ONE(0xdf, 4, 0, fnstsw_ax),
    ONE(0xdb, 4, 0, fnothing),
    ONE(0xdb, 4, 1, fnothing),
    ONE(0xdb, 4, 2, fnclex),
    ONE(0xdb, 4, 3, fninit),
    ONE(0xdb, 4, 4, fnothing),
    {EMU_MAP_1, 0x9b, 0, EMU_FWAIT, &fwait, NULL},
    {EMU_MAP_0F, 0x77, EMU_NP, EMU_MMX, &emms, NULL},
};
EMU_FAMILY(emu_family_x87_env, rows);
