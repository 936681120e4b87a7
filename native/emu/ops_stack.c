/* PUSH, POP, PUSHA, POPA, ENTER, LEAVE. Those of segment registers are in ops_segment.c,
 * of the flags in ops_flags.c. */
#include "ops.h"

/* Pushes and pops of whole registers in 64-bit mode have a path without a stack frame. */
static EMU_NOINLINE EMU_OP(op_push_r_slow)
{
    uint32_t bytes = emu_osize_bytes(insn);
    emu_push(cpu, insn, bytes, cpu->gpr[insn->rm]);
    EMU_NEXT;
}

static EMU_OP(op_push_rq)
{
    uint64_t sp = cpu->gpr[RSP] - 8;
    uint8_t *host = emu_tlb_write(cpu, sp, 8);
    if (EMU_UNLIKELY(!host))
        return op_push_r_slow(cpu, insn);
    memcpy(host, &cpu->gpr[insn->rm], 8);
    cpu->gpr[RSP] = sp;
    EMU_NEXT;
}

static EMU_NOINLINE EMU_OP(op_pop_r_slow)
{
    uint32_t bytes = emu_osize_bytes(insn);
    uint64_t sp = cpu->gpr[RSP], value = emu_stack_load(cpu, insn, sp, bytes);
    emu_set_sp(cpu, sp + bytes);
    emu_set(cpu, insn->rm, emu_osize(insn), value);
    EMU_NEXT;
}

static EMU_OP(op_pop_rq)
{
    uint64_t sp = cpu->gpr[RSP];
    const uint8_t *host = emu_tlb_read(cpu, sp, 8);
    if (EMU_UNLIKELY(!host))
        return op_pop_r_slow(cpu, insn);
    cpu->gpr[RSP] = sp + 8; /* first: POP RSP takes the value */
    memcpy(&cpu->gpr[insn->rm], host, 8);
    EMU_NEXT;
}

static EMU_OP(op_push_i)
{
    emu_push(cpu, insn, emu_osize_bytes(insn), insn->imm);
    EMU_NEXT;
}

static EMU_OP(op_push_m)
{
    uint32_t bytes = emu_osize_bytes(insn);
    uint64_t linear = emu_ea(cpu, insn, bytes, false);
    emu_push(cpu, insn, bytes, emu_load(cpu, insn, linear, bytes));
    EMU_NEXT;
}

/* The address is computed with the stack pointer already moved. */
static EMU_OP(op_pop_m)
{
    uint32_t bytes = emu_osize_bytes(insn);
    uint64_t sp = cpu->gpr[RSP], value = emu_stack_load(cpu, insn, sp, bytes);
    uint64_t moved = emu_moved_sp(cpu, sp + bytes);
    uint64_t sum = emu_ea_sum(cpu, insn) + (insn->base == RSP ? moved - sp : 0);
    emu_store(cpu, insn, emu_ea_of(cpu, insn, sum, bytes, true), bytes, value);
    cpu->gpr[RSP] = moved;
    EMU_NEXT;
}

static EMU_OP(op_pusha)
{
    uint32_t bytes = emu_osize_bytes(insn);
    uint64_t sp = cpu->gpr[RSP];
    for (uint32_t i = 0; i < 8; i++)
        emu_stack_store(cpu, insn, sp - (uint64_t)(i + 1) * bytes, bytes, cpu->gpr[i]);
    emu_set_sp(cpu, sp - (uint64_t)8 * bytes);
    EMU_NEXT;
}

/* A fault finds the registers that have been loaded so far changed, as processors have it. */
static EMU_OP(op_popa)
{
    uint32_t bytes = emu_osize_bytes(insn);
    uint64_t sp = cpu->gpr[RSP];
    for (uint32_t i = 0; i < 8; i++) {
        uint64_t value = emu_stack_load(cpu, insn, sp + (uint64_t)i * bytes, bytes);
        if (7 - i != RSP)
            emu_set(cpu, 7 - i, emu_osize(insn), value);
    }
    emu_set_sp(cpu, sp + (uint64_t)8 * bytes);
    EMU_NEXT;
}

/* ENTER: a frame with copies of the outer frames' pointers. Intel SDM vol. 2A. */
static EMU_OP(op_enter)
{
    uint32_t bytes = emu_osize_bytes(insn), frame_bytes = (uint32_t)insn->imm & 0xffff;
    uint32_t level = (insn->imm >> 16) & 31;
    uint64_t sp = cpu->gpr[RSP] - bytes, frame = emu_moved_sp(cpu, sp), bp = cpu->gpr[RBP];
    emu_stack_store(cpu, insn, sp, bytes, bp);
    for (uint32_t i = 1; i < level; i++) {
        bp -= bytes;
        sp -= bytes;
        emu_stack_store(cpu, insn, sp, bytes, emu_stack_load(cpu, insn, bp, bytes));
    }
    if (level) {
        sp -= bytes;
        emu_stack_store(cpu, insn, sp, bytes, frame);
    }
    sp -= frame_bytes;
    uint64_t bottom = emu_stack_cut(cpu, sp);
    emu_probe_write(cpu, insn, emu_linear(cpu, insn, EMU_SS, bottom, bytes, true), bytes);
    emu_set(cpu, RBP, emu_osize(insn), frame);
    emu_set_sp(cpu, sp);
    EMU_NEXT;
}

static EMU_OP(op_leave)
{
    uint32_t bytes = emu_osize_bytes(insn);
    uint64_t bp = cpu->gpr[RBP], value = emu_stack_load(cpu, insn, bp, bytes);
    emu_set_sp(cpu, bp + bytes);
    emu_set(cpu, RBP, emu_osize(insn), value);
    EMU_NEXT;
}

static const struct emu_forms push_r = {.r = {NULL, op_push_r_slow, op_push_r_slow, op_push_rq}};
static const struct emu_forms pop_r = {.r = {NULL, op_pop_r_slow, op_pop_r_slow, op_pop_rq}};
static const struct emu_forms push_e = EMU_FORMS(NULL, op_push_r_slow, op_push_r_slow, op_push_rq,
                                                 NULL, op_push_m, op_push_m, op_push_m);
static const struct emu_forms pop_e =
    EMU_FORMS(NULL, op_pop_r_slow, op_pop_r_slow, op_pop_rq, NULL, op_pop_m, op_pop_m, op_pop_m);
static const struct emu_forms push_i = EMU_FORMS_1(op_push_i), pusha = EMU_FORMS_1(op_pusha);
static const struct emu_forms popa = EMU_FORMS_1(op_popa), enter = EMU_FORMS_1(op_enter);
static const struct emu_forms leave = EMU_FORMS_1(op_leave);

static const struct emu_row rows[] = {
    {EMU_MAP_1, 0x50, 0, EMU_OPREG | EMU_SIZE_D64, &push_r, NULL},
    {EMU_MAP_1, 0x58, 0, EMU_OPREG | EMU_SIZE_D64, &pop_r, NULL},
    {EMU_MAP_1, 0x68, 0, EMU_IMM_Z | EMU_SIZE_D64, &push_i, NULL},
    {EMU_MAP_1, 0x6a, 0, EMU_IMM_8 | EMU_SIZE_D64, &push_i, NULL},
    {EMU_MAP_1, 0xff, EMU_REG(6), EMU_MODRM | EMU_SIZE_D64, &push_e, NULL},
    {EMU_MAP_1, 0x8f, EMU_REG(0), EMU_MODRM | EMU_SIZE_D64, &pop_e, NULL},
    {EMU_MAP_1, 0x60, EMU_NO64, EMU_SIZE_V, &pusha, NULL},
    {EMU_MAP_1, 0x61, EMU_NO64, EMU_SIZE_V, &popa, NULL},
    {EMU_MAP_1, 0xc8, 0, EMU_IMM_16_8 | EMU_SIZE_D64, &enter, NULL},
    {EMU_MAP_1, 0xc9, 0, EMU_SIZE_D64, &leave, NULL},
};
EMU_FAMILY(emu_family_stack, rows);
