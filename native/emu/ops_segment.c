/* Segment registers, descriptor tables, and instructions that look at descriptors. */
#include "segment.h"

/* MOV to SS and POP SS hold interrupts and the traps of breakpoints off for one instruction;
 * a single-step trap is lost. SDM vol. 3A §6.8.3 */
static void finish_load(struct emu_cpu *cpu, unsigned index)
{
    if (index != EMU_SS)
        return;
    emu_set_shadow(cpu);
    cpu->traced = false;
    cpu->holds_traps = true;
}

static EMU_OP(op_mov_sw_e)
{
    uint16_t selector = (uint16_t)cpu->gpr[insn->rm];
    unsigned index = insn->reg & 7;
    if (index == EMU_CS || index > EMU_GS)
        emu_raise(cpu, insn, EXC_UD);
    emu_load_segment(cpu, insn, index, selector);
    finish_load(cpu, index);
    EMU_LEAVE(emu_next_rip(cpu, insn));
}

static EMU_OP(op_mov_sw_m)
{
    unsigned index = insn->reg & 7;
    if (index == EMU_CS || index > EMU_GS)
        emu_raise(cpu, insn, EXC_UD);
    uint16_t selector = emu_load_w(cpu, insn, emu_ea(cpu, insn, 2, false));
    emu_load_segment(cpu, insn, index, selector);
    finish_load(cpu, index);
    EMU_LEAVE(emu_next_rip(cpu, insn));
}

static EMU_OP(op_mov_e_sw)
{
    if ((insn->reg & 7) > EMU_GS)
        emu_raise(cpu, insn, EXC_UD);
    emu_set(cpu, insn->rm, emu_osize(insn), cpu->seg[insn->reg & 7].selector);
    EMU_NEXT;
}

static EMU_OP(op_mov_m_sw)
{
    if ((insn->reg & 7) > EMU_GS)
        emu_raise(cpu, insn, EXC_UD);
    emu_store_w(cpu, insn, emu_ea(cpu, insn, 2, true), cpu->seg[insn->reg & 7].selector);
    EMU_NEXT;
}

/* Pushes and pops of segment registers move the stack by the operand size, but read 16 bits of it,
 * and write no more where the operand has not 64. */
static void push_segment(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned index)
{
    uint32_t bytes = emu_osize_bytes(insn);
    uint64_t sp = cpu->gpr[RSP] - bytes;
    if (bytes == 8)
        emu_stack_store(cpu, insn, sp, 8, cpu->seg[index].selector);
    else
        emu_stack_store(cpu, insn, sp, 2, cpu->seg[index].selector);
    emu_set_sp(cpu, sp);
}

static void pop_segment(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned index)
{
    uint32_t bytes = emu_osize_bytes(insn);
    uint64_t sp = cpu->gpr[RSP];
    uint64_t word = emu_stack_load(cpu, insn, sp, 2);
    emu_load_segment(cpu, insn, index, (uint16_t)word);
    emu_set_sp(cpu, sp + bytes);
    finish_load(cpu, index);
}

#define PUSH_POP(name, index)                                                                      \
    static EMU_OP(op_push_##name)                                                                  \
    {                                                                                              \
        push_segment(cpu, insn, index);                                                            \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static EMU_OP(op_pop_##name)                                                                   \
    {                                                                                              \
        uint64_t behind = emu_next_rip(cpu, insn);                                                 \
        pop_segment(cpu, insn, index);                                                             \
        EMU_LEAVE(behind);                                                                         \
    }                                                                                              \
    static const struct emu_forms push_##name = EMU_FORMS_1(op_push_##name);                       \
    static const struct emu_forms pop_##name = EMU_FORMS_1(op_pop_##name);
PUSH_POP(es, EMU_ES)
PUSH_POP(ss, EMU_SS)
PUSH_POP(ds, EMU_DS)
PUSH_POP(fs, EMU_FS)
PUSH_POP(gs, EMU_GS)

static EMU_OP(op_push_cs)
{
    push_segment(cpu, insn, EMU_CS);
    EMU_NEXT;
}
static const struct emu_forms push_cs = EMU_FORMS_1(op_push_cs);

/* LES, LDS, LSS, LFS, LGS. */
static void load_far_pointer(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned index)
{
    uint32_t bytes = emu_osize_bytes(insn);
    uint64_t offset = emu_load(cpu, insn, emu_ea(cpu, insn, bytes, false), bytes);
    uint64_t selector_at = emu_ea_part(cpu, insn, bytes, 2, false);
    emu_load_segment(cpu, insn, index, emu_load_w(cpu, insn, selector_at));
    emu_set(cpu, insn->reg, emu_osize(insn), offset);
}

#define LOAD_FAR(name, index)                                                                      \
    static EMU_OP(op_l##name)                                                                      \
    {                                                                                              \
        uint64_t behind = emu_next_rip(cpu, insn);                                                 \
        load_far_pointer(cpu, insn, index);                                                        \
        EMU_LEAVE(behind);                                                                         \
    }                                                                                              \
    static const struct emu_forms l##name = {.m = {NULL, op_l##name, op_l##name, op_l##name}};
LOAD_FAR(es, EMU_ES)
LOAD_FAR(ss, EMU_SS)
LOAD_FAR(ds, EMU_DS)
LOAD_FAR(fs, EMU_FS)
LOAD_FAR(gs, EMU_GS)

/* Descriptor table registers. In 64-bit mode bases have eight bytes. */
static void store_table(struct emu_cpu *cpu, const struct emu_insn *insn,
                        const struct emu_table *table)
{
    uint32_t bytes = emu_code64(cpu) ? 8 : 4;
    if ((cpu->cr4 & CR4_UMIP) && cpu->cpl)
        emu_raise_error(cpu, insn, EXC_GP, 0);
    uint64_t limit_at = emu_ea(cpu, insn, 2, true);
    uint64_t base_at = emu_ea_part(cpu, insn, 2, bytes, true);
    emu_store_w(cpu, insn, limit_at, table->limit);
    emu_store(cpu, insn, base_at, bytes, table->base);
}

static void load_table(struct emu_cpu *cpu, const struct emu_insn *insn, struct emu_table *table)
{
    uint32_t bytes = emu_code64(cpu) ? 8 : 4;
    if (cpu->cpl)
        emu_raise_error(cpu, insn, EXC_GP, 0);
    uint16_t limit = emu_load_w(cpu, insn, emu_ea(cpu, insn, 2, false));
    uint64_t base = emu_load(cpu, insn, emu_ea_part(cpu, insn, 2, bytes, false), bytes);
    if (emu_code64(cpu) && !emu_canonical_base(cpu, base))
        emu_raise_error(cpu, insn, EXC_GP, 0);
    table->limit = limit;
    table->base = !emu_code64(cpu) && emu_osize(insn) == EMU_16 ? base & 0xffffff : base;
}

static EMU_OP(op_sgdt)
{
    store_table(cpu, insn, &cpu->gdt);
    EMU_NEXT;
}

static EMU_OP(op_sidt)
{
    store_table(cpu, insn, &cpu->idt);
    EMU_NEXT;
}

static EMU_OP(op_lgdt)
{
    load_table(cpu, insn, &cpu->gdt);
    EMU_NEXT;
}

static EMU_OP(op_lidt)
{
    load_table(cpu, insn, &cpu->idt);
    EMU_NEXT;
}
static const struct emu_forms sgdt = {.m = {op_sgdt, op_sgdt, op_sgdt, op_sgdt}};
static const struct emu_forms sidt = {.m = {op_sidt, op_sidt, op_sidt, op_sidt}};
static const struct emu_forms lgdt = {.m = {op_lgdt, op_lgdt, op_lgdt, op_lgdt}};
static const struct emu_forms lidt = {.m = {op_lidt, op_lidt, op_lidt, op_lidt}};

/* The 16-bit operand of the instructions below, register or memory. */
static uint16_t operand_w(struct emu_cpu *cpu, const struct emu_insn *insn, bool is_memory)
{
    return is_memory ? emu_load_w(cpu, insn, emu_ea(cpu, insn, 2, false))
                     : (uint16_t)cpu->gpr[insn->rm];
}

/* In long mode the base has 64 bits, and must be canonical. */
static void read_wide_base(struct emu_cpu *cpu, const struct emu_insn *insn,
                           struct emu_descriptor *descriptor)
{
    emu_descriptor_upper(cpu, insn, descriptor);
    if (!emu_canonical_base(cpu, descriptor->seg.base))
        emu_raise_error(cpu, insn, EXC_GP, descriptor->seg.selector & ~3u);
}

/* LLDT. SDM vol. 2A */
static void load_ldt(struct emu_cpu *cpu, const struct emu_insn *insn, bool is_memory)
{
    struct emu_descriptor ldt;
    if (cpu->cpl)
        emu_raise_error(cpu, insn, EXC_GP, 0);
    uint16_t selector = operand_w(cpu, insn, is_memory);
    if (emu_is_null(selector)) {
        cpu->seg[EMU_LDTR] = (struct emu_seg){.selector = selector, .attr = SEG_UNUSABLE};
        return;
    }
    if (selector & 4)
        emu_raise_error(cpu, insn, EXC_GP, selector & ~3u);
    emu_descriptor_fetch(cpu, insn, selector, EXC_GP, &ldt);
    if ((ldt.seg.attr & (SEG_S | SEG_TYPE)) != TYPE_LDT)
        emu_raise_error(cpu, insn, EXC_GP, selector & ~3u);
    if (!(ldt.seg.attr & SEG_P))
        emu_raise_error(cpu, insn, EXC_NP, selector & ~3u);
    read_wide_base(cpu, insn, &ldt);
    cpu->seg[EMU_LDTR] = ldt.seg;
}

/* LTR. SDM vol. 2A */
static void load_task(struct emu_cpu *cpu, const struct emu_insn *insn, bool is_memory)
{
    struct emu_descriptor tss;
    if (cpu->cpl)
        emu_raise_error(cpu, insn, EXC_GP, 0);
    uint16_t selector = operand_w(cpu, insn, is_memory);
    if (emu_is_null(selector) || (selector & 4))
        emu_raise_error(cpu, insn, EXC_GP, selector & ~3u);
    emu_descriptor_fetch(cpu, insn, selector, EXC_GP, &tss);
    unsigned type = tss.seg.attr & (SEG_S | SEG_TYPE);
    if (type != TYPE_TSS32 && (type != TYPE_TSS16 || emu_long_mode(cpu)))
        emu_raise_error(cpu, insn, EXC_GP, selector & ~3u);
    if (!(tss.seg.attr & SEG_P))
        emu_raise_error(cpu, insn, EXC_NP, selector & ~3u);
    read_wide_base(cpu, insn, &tss);
    emu_write_system(cpu, insn, tss.linear + 4, 4, tss.high | TYPE_BUSY << 8);
    tss.seg.attr |= TYPE_BUSY;
    cpu->seg[EMU_TR] = tss.seg;
}

#define REGISTER_AND_MEMORY(name)                                                                  \
    static EMU_OP(op_##name##_r)                                                                   \
    {                                                                                              \
        name(cpu, insn, false);                                                                    \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static EMU_OP(op_##name##_m)                                                                   \
    {                                                                                              \
        name(cpu, insn, true);                                                                     \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static const struct emu_forms name##_forms = EMU_FORMS_RM(op_##name##_r, op_##name##_m);
REGISTER_AND_MEMORY(load_ldt)
REGISTER_AND_MEMORY(load_task)

static void store_selector(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned index,
                           bool is_memory)
{
    if ((cpu->cr4 & CR4_UMIP) && cpu->cpl)
        emu_raise_error(cpu, insn, EXC_GP, 0);
    if (is_memory)
        emu_store_w(cpu, insn, emu_ea(cpu, insn, 2, true), cpu->seg[index].selector);
    else
        emu_set(cpu, insn->rm, emu_osize(insn), cpu->seg[index].selector);
}

static void store_ldt(struct emu_cpu *cpu, const struct emu_insn *insn, bool is_memory)
{
    store_selector(cpu, insn, EMU_LDTR, is_memory);
}

static void store_task(struct emu_cpu *cpu, const struct emu_insn *insn, bool is_memory)
{
    store_selector(cpu, insn, EMU_TR, is_memory);
}
REGISTER_AND_MEMORY(store_ldt)
REGISTER_AND_MEMORY(store_task)

/* The descriptor that LAR, LSL, VERR and VERW may look at, or none. */
static bool visible(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t selector,
                    struct emu_descriptor *out)
{
    if (!emu_descriptor_read(cpu, insn, selector, out))
        return false;
    unsigned rpl = selector & 3, weaker = rpl > cpu->cpl ? rpl : cpu->cpl;
    return emu_is_conforming(&out->seg) || emu_dpl(&out->seg) >= weaker;
}

static void set_zf(struct emu_cpu *cpu, bool zf)
{
    emu_set_status_flags(cpu, (emu_status_flags(cpu) & ~FLAG_ZF) | (zf ? FLAG_ZF : 0));
}

/* Types of system descriptors with a limit, and with access rights; as bits. */
#define LEGACY_LIMITS 0x0a0eu
#define LEGACY_RIGHTS 0x1a3eu
#define LONG_LIMITS 0x0a04u
#define LONG_RIGHTS 0x1a04u

static bool system_type(const struct emu_cpu *cpu, const struct emu_seg *seg, uint32_t legacy,
                        uint32_t wide)
{
    uint32_t types = emu_long_mode(cpu) ? wide : legacy;
    return (seg->attr & SEG_S) || (types >> (seg->attr & SEG_TYPE) & 1);
}

static void load_rights(struct emu_cpu *cpu, const struct emu_insn *insn, bool is_memory)
{
    struct emu_descriptor descriptor;
    uint16_t selector = operand_w(cpu, insn, is_memory);
    bool seen = visible(cpu, insn, selector, &descriptor) &&
                system_type(cpu, &descriptor.seg, LEGACY_RIGHTS, LONG_RIGHTS);
    set_zf(cpu, seen);
    if (seen)
        emu_set(cpu, insn->reg, emu_osize(insn), descriptor.high & 0x00ffff00);
}

static void load_limit(struct emu_cpu *cpu, const struct emu_insn *insn, bool is_memory)
{
    struct emu_descriptor descriptor;
    uint16_t selector = operand_w(cpu, insn, is_memory);
    bool seen = visible(cpu, insn, selector, &descriptor) &&
                system_type(cpu, &descriptor.seg, LEGACY_LIMITS, LONG_LIMITS);
    set_zf(cpu, seen);
    if (seen)
        emu_set(cpu, insn->reg, emu_osize(insn), descriptor.seg.limit);
}

static void verify_read(struct emu_cpu *cpu, const struct emu_insn *insn, bool is_memory)
{
    struct emu_descriptor descriptor;
    uint16_t selector = operand_w(cpu, insn, is_memory);
    bool seen = visible(cpu, insn, selector, &descriptor) && (descriptor.seg.attr & SEG_S);
    set_zf(cpu, seen && (descriptor.seg.attr & (SEG_CODE | SEG_WRITABLE)) != SEG_CODE);
}

static void verify_write(struct emu_cpu *cpu, const struct emu_insn *insn, bool is_memory)
{
    struct emu_descriptor descriptor;
    uint16_t selector = operand_w(cpu, insn, is_memory);
    bool seen = visible(cpu, insn, selector, &descriptor) && (descriptor.seg.attr & SEG_S);
    set_zf(cpu, seen && (descriptor.seg.attr & (SEG_CODE | SEG_WRITABLE)) == SEG_WRITABLE);
}
REGISTER_AND_MEMORY(load_rights)
REGISTER_AND_MEMORY(load_limit)
REGISTER_AND_MEMORY(verify_read)
REGISTER_AND_MEMORY(verify_write)

/* ARPL: raise the destination's RPL to the source's. Memory is written only where that changes it.
 */
static void adjust_rpl(struct emu_cpu *cpu, const struct emu_insn *insn, bool is_memory)
{
    unsigned rpl = cpu->gpr[insn->reg] & 3;
    uint16_t value = operand_w(cpu, insn, is_memory);
    bool raise = (value & 3u) < rpl;
    uint16_t raised = (uint16_t)((value & ~3u) | rpl);
    if (raise && is_memory)
        emu_store_w(cpu, insn, emu_ea(cpu, insn, 2, true), raised);
    else if (raise)
        emu_set_w(cpu, insn->rm, raised);
    set_zf(cpu, raise);
}
REGISTER_AND_MEMORY(adjust_rpl)

static const struct emu_forms mov_s_e = EMU_FORMS_RM(op_mov_sw_e, op_mov_sw_m);
static const struct emu_forms mov_e_s = EMU_FORMS_RM(op_mov_e_sw, op_mov_m_sw);

#define SEGMENT_STACK(opcode, map, match, name)                                                    \
    {map, opcode, match, EMU_SIZE_D64, &push_##name, NULL},                                        \
    {                                                                                              \
        map, opcode + 1, match, EMU_SIZE_D64 | EMU_END, &pop_##name, NULL                          \
    }
#define LOAD(opcode, map, match, name)                                                             \
    {map, opcode, (match) | EMU_MOD_M, EMU_MODRM | EMU_SIZE_V | EMU_END, &l##name, NULL}
#define GROUP(opcode, digit, match, name)                                                          \
    {EMU_MAP_0F, opcode, EMU_REG(digit) | (match), EMU_MODRM | EMU_SIZE_V, &name, NULL}

static const struct emu_row rows[] = {
    {EMU_MAP_1, 0x8c, 0, EMU_MODRM | EMU_SIZE_V, &mov_e_s, NULL},
    {EMU_MAP_1, 0x8e, 0, EMU_MODRM | EMU_SIZE_V | EMU_END, &mov_s_e, NULL},
    SEGMENT_STACK(0x06, EMU_MAP_1, EMU_NO64, es),
    SEGMENT_STACK(0x16, EMU_MAP_1, EMU_NO64, ss),
    SEGMENT_STACK(0x1e, EMU_MAP_1, EMU_NO64, ds),
    SEGMENT_STACK(0xa0, EMU_MAP_0F, 0, fs),
    SEGMENT_STACK(0xa8, EMU_MAP_0F, 0, gs),
    {EMU_MAP_1, 0x0e, EMU_NO64, EMU_SIZE_D64, &push_cs, NULL},
    LOAD(0xc4, EMU_MAP_1, EMU_NO64, es),
    LOAD(0xc5, EMU_MAP_1, EMU_NO64, ds),
    LOAD(0xb2, EMU_MAP_0F, 0, ss),
    LOAD(0xb4, EMU_MAP_0F, 0, fs),
    LOAD(0xb5, EMU_MAP_0F, 0, gs),
    GROUP(0x00, 0, EMU_PROTECTED, store_ldt_forms),
    GROUP(0x00, 1, EMU_PROTECTED, store_task_forms),
    GROUP(0x00, 2, EMU_PROTECTED, load_ldt_forms),
    GROUP(0x00, 3, EMU_PROTECTED, load_task_forms),
    GROUP(0x00, 4, EMU_PROTECTED, verify_read_forms),
    GROUP(0x00, 5, EMU_PROTECTED, verify_write_forms),
    GROUP(0x01, 0, EMU_MOD_M, sgdt),
    GROUP(0x01, 1, EMU_MOD_M, sidt),
    GROUP(0x01, 2, EMU_MOD_M, lgdt),
    GROUP(0x01, 3, EMU_MOD_M, lidt),
    {EMU_MAP_0F, 0x02, EMU_PROTECTED, EMU_MODRM | EMU_SIZE_V, &load_rights_forms, NULL},
    {EMU_MAP_0F, 0x03, EMU_PROTECTED, EMU_MODRM | EMU_SIZE_V, &load_limit_forms, NULL},
    {EMU_MAP_1, 0x63, EMU_NO64 | EMU_PROTECTED, EMU_MODRM | EMU_SIZE_V, &adjust_rpl_forms, NULL},
};
EMU_FAMILY(emu_family_segment, rows);
