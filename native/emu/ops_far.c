/* Far jumps, calls and returns, INT, IRET: everything that loads CS. */
#include "far.h"

static bool is_code64(const struct emu_cpu *cpu, const struct emu_descriptor *code)
{
    return emu_long_mode(cpu) && (code->seg.attr & SEG_L);
}

/* The offset must be one that the new segment has: 32 bits of it, but for 64-bit code. */
static void check_offset(struct emu_cpu *cpu, const struct emu_insn *insn,
                         const struct emu_descriptor *code, uint64_t rip)
{
    if (is_code64(cpu, code) ? !emu_canonical(cpu, rip) : (uint32_t)rip > code->seg.limit)
        emu_raise_error(cpu, insn, EXC_GP, 0);
}

static void check_present(struct emu_cpu *cpu, const struct emu_insn *insn,
                          const struct emu_descriptor *descriptor, uint16_t selector)
{
    if (!(descriptor->seg.attr & SEG_P))
        emu_raise_error(cpu, insn, EXC_NP, selector & ~3u);
}

/* A code segment as the direct target of a jump or call. */
static void check_code(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t selector,
                       const struct emu_descriptor *code)
{
    unsigned dpl = emu_dpl(&code->seg), rpl = selector & 3;
    bool reachable =
        emu_is_conforming(&code->seg) ? dpl <= cpu->cpl : dpl == cpu->cpl && rpl <= cpu->cpl;
    bool mixed = emu_long_mode(cpu) && (code->seg.attr & (SEG_L | SEG_DB)) == (SEG_L | SEG_DB);
    if (!reachable || mixed)
        emu_raise_error(cpu, insn, EXC_GP, selector & ~3u);
    check_present(cpu, insn, code, selector);
}

/* A gate or TSS must be at least as privileged as both the caller and the selector. */
static void check_gate(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t selector,
                       const struct emu_descriptor *gate)
{
    unsigned dpl = emu_dpl(&gate->seg);
    if (dpl < cpu->cpl || dpl < (selector & 3u))
        emu_raise_error(cpu, insn, EXC_GP, selector & ~3u);
    check_present(cpu, insn, gate, selector);
}

static void enter_code(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t selector,
                       unsigned cpl, struct emu_descriptor *code, uint64_t rip)
{
    emu_mark_accessed(cpu, insn, code);
    emu_set_code(cpu, selector, cpl, &code->seg);
    cpu->gpr[EMU_RIP] = is_code64(cpu, code) ? rip : (uint32_t)rip;
}

/* Push CS and the return address, of the gate's size or the instruction's. */
static void push_return(struct emu_frame *frame, uint64_t rip)
{
    emu_frame_push(frame, frame->cpu->seg[EMU_CS].selector);
    emu_frame_push(frame, rip);
}

/* A call through a gate to an inner level: a new stack, with parameters copied in legacy
 * mode. SDM vol. 3A §5.8.5, §5.8.5.1 */
static void call_inward(struct emu_cpu *cpu, const struct emu_insn *insn,
                        const struct emu_descriptor *gate, struct emu_descriptor *code,
                        uint16_t selector, uint64_t rip, uint32_t size_bytes)
{
    unsigned cpl = emu_dpl(&code->seg), count = gate->high & 31;
    struct emu_frame frame = {.cpu = cpu, .insn = insn, .cpl = cpl, .size_bytes = size_bytes};
    frame.flat = size_bytes == 8;
    struct emu_frame outer;
    struct emu_descriptor stack;
    uint16_t ss = (uint16_t)cpl;
    uint64_t behind = emu_next_rip(cpu, insn), sp;
    emu_frame_here(&outer, cpu, insn, size_bytes);
    if (size_bytes == 8) {
        sp = emu_tss_stack64(cpu, insn, cpl);
        count = 0;
    } else {
        emu_tss_stack(cpu, insn, cpl, &ss, &sp);
        emu_check_stack_segment(cpu, insn, ss, cpl, EXC_TS, &stack);
        frame.ss = stack.seg;
        frame.error = ss & ~3u;
    }
    frame.sp = sp;
    emu_frame_push(&frame, cpu->seg[EMU_SS].selector);
    emu_frame_push(&frame, cpu->gpr[RSP]);
    for (unsigned i = count; i-- > 0;)
        emu_frame_push(&frame, emu_frame_peek(&outer, (uint64_t)i * size_bytes));
    push_return(&frame, behind);
    if (size_bytes != 8)
        emu_mark_accessed(cpu, insn, &stack);
    enter_code(cpu, insn, selector, cpl, code, rip);
    if (size_bytes == 8)
        emu_set_null_stack(cpu, cpl);
    else
        emu_set_segment(cpu, EMU_SS, ss, &stack.seg);
    emu_frame_commit(&frame);
}

/* A call without a change of level. The return address lies on the stack as the target has it: for
 * 64-bit code without SS, for other code in SS, whatever the caller's mode is. */
static void call_outward(struct emu_cpu *cpu, const struct emu_insn *insn,
                         struct emu_descriptor *code, uint16_t selector, uint64_t rip,
                         uint32_t size_bytes)
{
    struct emu_frame frame;
    emu_frame_here(&frame, cpu, insn, size_bytes);
    frame.flat = is_code64(cpu, code);
    push_return(&frame, emu_next_rip(cpu, insn));
    enter_code(cpu, insn, selector, cpu->cpl, code, rip);
    emu_frame_commit(&frame);
}

/* Through a call gate. The target's selector and offset are the gate's. */
static void through_gate(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t selector,
                         struct emu_descriptor *gate, bool is_call)
{
    struct emu_descriptor code;
    bool is64 = emu_long_mode(cpu);
    check_gate(cpu, insn, selector, gate);
    if (is64)
        emu_descriptor_upper(cpu, insn, gate);
    bool wide = gate->seg.attr & 8;
    uint16_t target = emu_gate_selector(gate);
    uint64_t rip = emu_gate_offset(gate, wide);
    if (emu_is_null(target))
        emu_raise_error(cpu, insn, EXC_GP, 0);
    emu_descriptor_fetch(cpu, insn, target, EXC_GP, &code);
    unsigned dpl = emu_dpl(&code.seg);
    bool usable = emu_is_code(&code.seg) && dpl <= cpu->cpl &&
                  (!is64 || (code.seg.attr & (SEG_L | SEG_DB)) == SEG_L) &&
                  (is_call || emu_is_conforming(&code.seg) || dpl == cpu->cpl);
    if (!usable)
        emu_raise_error(cpu, insn, EXC_GP, target & ~3u);
    check_present(cpu, insn, &code, target);
    check_offset(cpu, insn, &code, rip);
    uint32_t size_bytes = is64 ? 8 : wide ? 4 : 2;
    if (!is_call)
        enter_code(cpu, insn, target, cpu->cpl, &code, rip);
    else if (!emu_is_conforming(&code.seg) && dpl < cpu->cpl)
        call_inward(cpu, insn, gate, &code, target, rip, size_bytes);
    else
        call_outward(cpu, insn, &code, target, rip, size_bytes);
}

static void to_task(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t selector,
                    struct emu_descriptor *tss, bool is_call)
{
    uint64_t behind = emu_next_rip(cpu, insn);
    emu_unwind(cpu, insn);
    emu_task_switch(cpu, NULL, selector, tss, is_call ? EMU_TASK_CALL : EMU_TASK_JUMP, behind);
    cpu->left--;
}

static void through_task_gate(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t selector,
                              const struct emu_descriptor *gate, bool is_call)
{
    struct emu_descriptor tss;
    check_gate(cpu, insn, selector, gate);
    uint16_t target = emu_gate_selector(gate);
    if (target & 4)
        emu_raise_error(cpu, insn, EXC_GP, target & ~3u);
    emu_descriptor_fetch(cpu, insn, target, EXC_GP, &tss);
    to_task(cpu, insn, target, &tss, is_call);
}

static void to_system(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t selector,
                      struct emu_descriptor *descriptor, bool is_call)
{
    unsigned type = descriptor->seg.attr & (SEG_S | SEG_TYPE);
    bool legacy = !emu_long_mode(cpu);
    if (type == TYPE_CALL32 || (legacy && type == TYPE_CALL16)) {
        through_gate(cpu, insn, selector, descriptor, is_call);
    } else if (legacy && type == TYPE_TASK_GATE) {
        through_task_gate(cpu, insn, selector, descriptor, is_call);
    } else if (legacy && (type == TYPE_TSS16 || type == TYPE_TSS32) && !(selector & 4)) {
        check_gate(cpu, insn, selector, descriptor);
        to_task(cpu, insn, selector, descriptor, is_call);
    } else {
        emu_raise_error(cpu, insn, EXC_GP, selector & ~3u);
    }
}

static void far_real(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t selector,
                     uint64_t rip, bool is_call)
{
    struct emu_frame frame;
    if (rip > cpu->seg[EMU_CS].limit)
        emu_raise_error(cpu, insn, EXC_GP, 0);
    if (is_call) {
        emu_frame_here(&frame, cpu, insn, emu_osize_bytes(insn));
        push_return(&frame, emu_next_rip(cpu, insn));
        emu_frame_commit(&frame);
    }
    emu_set_segment_real(cpu, EMU_CS, selector);
    cpu->gpr[EMU_RIP] = rip;
}

void emu_far(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t selector, uint64_t rip,
             bool is_call)
{
    struct emu_descriptor target;
    if (!emu_protected(cpu)) {
        far_real(cpu, insn, selector, rip, is_call);
        return;
    }
    if (emu_is_null(selector))
        emu_raise_error(cpu, insn, EXC_GP, 0);
    emu_descriptor_fetch(cpu, insn, selector, EXC_GP, &target);
    if (!emu_is_code(&target.seg)) {
        if (target.seg.attr & SEG_S)
            emu_raise_error(cpu, insn, EXC_GP, selector & ~3u);
        to_system(cpu, insn, selector, &target, is_call);
        return;
    }
    check_code(cpu, insn, selector, &target);
    check_offset(cpu, insn, &target, rip);
    if (is_call)
        call_outward(cpu, insn, &target, selector, rip, emu_osize_bytes(insn));
    else
        enter_code(cpu, insn, selector, cpu->cpl, &target, rip);
}

static void return_real(struct emu_cpu *cpu, struct emu_frame *frame, uint64_t rip,
                        uint16_t selector)
{
    if (rip > cpu->seg[EMU_CS].limit)
        emu_raise_error(cpu, frame->insn, EXC_GP, 0);
    emu_set_segment_real(cpu, EMU_CS, selector);
    cpu->gpr[EMU_RIP] = rip;
    emu_frame_commit(frame);
}

/* The code segment of a return: its RPL is the level to return to. */
void emu_return_code(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t selector,
                     struct emu_descriptor *code)
{
    unsigned rpl = selector & 3;
    if (emu_is_null(selector))
        emu_raise_error(cpu, insn, EXC_GP, 0);
    emu_descriptor_fetch(cpu, insn, selector, EXC_GP, code);
    unsigned dpl = emu_dpl(&code->seg);
    bool fits = emu_is_conforming(&code->seg) ? dpl <= rpl : dpl == rpl;
    bool mixed = emu_long_mode(cpu) && (code->seg.attr & (SEG_L | SEG_DB)) == (SEG_L | SEG_DB);
    if (!emu_is_code(&code->seg) || rpl < cpu->cpl || !fits || mixed)
        emu_raise_error(cpu, insn, EXC_GP, selector & ~3u);
    check_present(cpu, insn, code, selector);
}

/* SS of a return to an outer level, or of any IRET in 64-bit mode. A null one will do
 * for 64-bit code below level 3. */
static bool return_stack(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t selector,
                         const struct emu_descriptor *code, struct emu_descriptor *stack)
{
    unsigned rpl = emu_dpl(&code->seg);
    rpl = code->seg.selector & 3;
    if (emu_is_null(selector) && is_code64(cpu, code) && rpl < 3 && (selector & 3u) == rpl)
        return false;
    emu_check_stack_segment(cpu, insn, selector, rpl, EXC_GP, stack);
    return true;
}

/* Leave for CS:rip with SS:sp, which may be of an outer level. */
void emu_return_to(struct emu_cpu *cpu, const struct emu_insn *insn, struct emu_descriptor *code,
                   uint64_t rip, uint16_t ss, uint64_t sp)
{
    struct emu_descriptor stack;
    unsigned old_cpl = cpu->cpl, cpl = code->seg.selector & 3;
    bool has_stack = return_stack(cpu, insn, ss, code, &stack);
    check_offset(cpu, insn, code, rip);
    if (has_stack)
        emu_mark_accessed(cpu, insn, &stack);
    enter_code(cpu, insn, code->seg.selector, cpl, code, rip);
    if (has_stack)
        emu_set_segment(cpu, EMU_SS, ss, &stack.seg);
    else
        emu_set_null_stack(cpu, cpl);
    emu_set_sp(cpu, sp);
    if (cpl > old_cpl)
        emu_drop_inner_segments(cpu);
}

static EMU_OP(op_retf)
{
    struct emu_frame frame;
    struct emu_descriptor code;
    emu_frame_here(&frame, cpu, insn, emu_osize_bytes(insn));
    uint64_t rip = emu_frame_pop(&frame);
    uint16_t selector = (uint16_t)emu_frame_pop(&frame);
    if (!emu_protected(cpu)) {
        frame.sp += insn->imm;
        return_real(cpu, &frame, rip, selector);
        return NULL;
    }
    emu_return_code(cpu, insn, selector, &code);
    if ((selector & 3u) == cpu->cpl) {
        check_offset(cpu, insn, &code, rip);
        frame.sp += insn->imm;
        enter_code(cpu, insn, selector, cpu->cpl, &code, rip);
        emu_frame_commit(&frame);
        return NULL;
    }
    frame.sp += insn->imm;
    uint64_t sp = emu_frame_pop(&frame);
    uint16_t ss = (uint16_t)emu_frame_pop(&frame);
    emu_return_to(cpu, insn, &code, rip, ss, sp + insn->imm);
    return NULL;
}

static EMU_OP(op_jmp_far_i)
{
    emu_far(cpu, insn, (uint16_t)(insn->imm >> 32), (uint32_t)insn->imm, false);
    return NULL;
}

static EMU_OP(op_call_far_i)
{
    emu_far(cpu, insn, (uint16_t)(insn->imm >> 32), (uint32_t)insn->imm, true);
    return NULL;
}

static void far_through_memory(struct emu_cpu *cpu, const struct emu_insn *insn, bool is_call)
{
    uint32_t bytes = emu_osize_bytes(insn);
    uint64_t rip = emu_load(cpu, insn, emu_ea(cpu, insn, bytes, false), bytes);
    uint64_t selector_at = emu_ea_part(cpu, insn, bytes, 2, false);
    emu_far(cpu, insn, emu_load_w(cpu, insn, selector_at), rip, is_call);
}

static EMU_OP(op_jmp_far_m)
{
    far_through_memory(cpu, insn, false);
    return NULL;
}

static EMU_OP(op_call_far_m)
{
    far_through_memory(cpu, insn, true);
    return NULL;
}

static EMU_OP(op_int_i)
{
    if (emu_vm86(cpu) && (cpu->rflags & FLAG_IOPL) != FLAG_IOPL)
        emu_raise_error(cpu, insn, EXC_GP, 0);
    emu_software_interrupt(cpu, insn, (uint8_t)insn->imm, true);
    return NULL;
}

static EMU_OP(op_int3)
{
    if (cpu->debug & EMU_DEBUG_SOFTWARE)
        emu_debug_exit(cpu, insn, EXC_BP, 0);
    emu_software_interrupt(cpu, insn, EXC_BP, true);
    return NULL;
}

static EMU_OP(op_int1)
{
    emu_software_interrupt(cpu, insn, EXC_DB, false);
    return NULL;
}

static EMU_OP(op_into)
{
    if (!emu_of(cpu))
        EMU_LEAVE(emu_next_rip(cpu, insn));
    emu_software_interrupt(cpu, insn, EXC_OF, true);
    return NULL;
}

static const struct emu_forms jmp_i = EMU_FORMS_1(op_jmp_far_i),
                              jmp_m = {.m = {NULL, op_jmp_far_m, op_jmp_far_m, op_jmp_far_m}};
static const struct emu_forms call_i = EMU_FORMS_1(op_call_far_i),
                              call_m = {.m = {NULL, op_call_far_m, op_call_far_m, op_call_far_m}};
static const struct emu_forms retf = EMU_FORMS_1(op_retf), int_i = EMU_FORMS_1(op_int_i);
static const struct emu_forms int3 = EMU_FORMS_1(op_int3), int1 = EMU_FORMS_1(op_int1);
static const struct emu_forms into = EMU_FORMS_1(op_into), iret = EMU_FORMS_1(emu_op_iret);

#define FAR (EMU_SIZE_V | EMU_END)

static const struct emu_row rows[] = {
    {EMU_MAP_1, 0xea, EMU_NO64, FAR | EMU_IMM_FAR, &jmp_i, NULL},
    {EMU_MAP_1, 0x9a, EMU_NO64, FAR | EMU_IMM_FAR, &call_i, NULL},
    {EMU_MAP_1, 0xff, EMU_REG(5) | EMU_MOD_M, FAR | EMU_MODRM, &jmp_m, NULL},
    {EMU_MAP_1, 0xff, EMU_REG(3) | EMU_MOD_M, FAR | EMU_MODRM, &call_m, NULL},
    {EMU_MAP_1, 0xca, 0, FAR | EMU_IMM_16, &retf, NULL},
    {EMU_MAP_1, 0xcb, 0, FAR, &retf, NULL},
    {EMU_MAP_1, 0xcc, 0, EMU_END, &int3, NULL},
    {EMU_MAP_1, 0xcd, 0, EMU_END | EMU_IMM_U8, &int_i, NULL},
    {EMU_MAP_1, 0xce, EMU_NO64, EMU_END, &into, NULL},
    {EMU_MAP_1, 0xf1, 0, EMU_END, &int1, NULL},
    {EMU_MAP_1, 0xcf, 0, FAR, &iret, NULL},
};
EMU_FAMILY(emu_family_far, rows);
