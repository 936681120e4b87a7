/* Delivery of exceptions and interrupts. Intel SDM vol. 3A chapter 6.
 *
 * While an event is on its way cpu->event is pending and rip still where it was: a fault
 * in the course of it finds both, and emu_escalate decides what becomes of the two. */
#include "segment.h"

/* The error code's EXT bit: the event came from outside the program, as INT1 does too.
 * SDM vol. 3A §6.13; vol. 2A, INT n */
static uint32_t ext(const struct emu_event *event)
{
    return event->type != EMU_EVENT_SOFTWARE || !event->checked;
}

static uint32_t gate_error(const struct emu_event *event)
{
    return event->vector * 8u + 2 + ext(event);
}

/* RF in the flags image: set by faults and between repetitions, so that breakpoints do not
 * strike again. SDM vol. 3B §17.3.1.1 */
static uint32_t flags_image(const struct emu_cpu *cpu, const struct emu_event *event)
{
    bool debug = event->vector == EXC_DB && !(event->dr6 & DR6_BD);
    bool fault = event->type == EMU_EVENT_FAULT && !debug;
    return emu_rflags(cpu) | (fault || cpu->repeating ? FLAG_RF : 0);
}

/* rip in the frame: behind the instruction for INT n, at it for faults. */
static uint64_t return_rip(const struct emu_cpu *cpu, const struct emu_event *event)
{
    return event->type == EMU_EVENT_SOFTWARE ? event->next_rip : cpu->gpr[EMU_RIP];
}

static void clear_flags(struct emu_cpu *cpu, bool interrupt_gate)
{
    cpu->rflags &= ~(FLAG_TF | FLAG_NT | FLAG_VM | FLAG_RF | (interrupt_gate ? FLAG_IF : 0));
}

/* §20.1.4 */
static void deliver_real(struct emu_cpu *cpu, const struct emu_event *event)
{
    uint32_t offset = event->vector * 4u;
    struct emu_frame frame;
    if (offset + 3 > cpu->idt.limit)
        emu_raise_error(cpu, NULL, EXC_GP, 0);
    uint32_t target = (uint32_t)emu_read_system(cpu, NULL, cpu->idt.base + offset, 4);
    emu_frame_here(&frame, cpu, NULL, 2);
    emu_frame_push(&frame, flags_image(cpu, event) & 0xffff);
    emu_frame_push(&frame, cpu->seg[EMU_CS].selector);
    emu_frame_push(&frame, return_rip(cpu, event));
    emu_frame_commit(&frame);
    cpu->rflags &= ~(FLAG_IF | FLAG_TF | FLAG_AC | FLAG_RF);
    emu_set_segment_real(cpu, EMU_CS, (uint16_t)(target >> 16));
    cpu->gpr[EMU_RIP] = target & 0xffff;
}

static void read_gate(struct emu_cpu *cpu, const struct emu_event *event,
                      struct emu_descriptor *gate)
{
    uint32_t size = emu_long_mode(cpu) ? 16 : 8, offset = event->vector * size;
    if (offset + size - 1 > cpu->idt.limit)
        emu_raise_error(cpu, NULL, EXC_GP, gate_error(event));
    uint64_t raw = emu_read_system(cpu, NULL, cpu->idt.base + offset, 8);
    *gate = (struct emu_descriptor){.low = (uint32_t)raw, .high = (uint32_t)(raw >> 32)};
    if (size == 16)
        gate->upper = (uint32_t)emu_read_system(cpu, NULL, cpu->idt.base + offset + 8, 4);
    emu_descriptor_parse(gate);
    unsigned type = gate->seg.attr & (SEG_S | SEG_TYPE);
    bool legacy = type == TYPE_TASK_GATE || type == TYPE_INT16 || type == TYPE_TRAP16;
    bool usable = type == TYPE_INT32 || type == TYPE_TRAP32 || (legacy && !emu_long_mode(cpu));
    bool reachable = !event->checked || emu_dpl(&gate->seg) >= cpu->cpl;
    if (!usable || !reachable)
        emu_raise_error(cpu, NULL, EXC_GP, gate_error(event));
    if (!(gate->seg.attr & SEG_P))
        emu_raise_error(cpu, NULL, EXC_NP, gate_error(event));
}

static void read_target(struct emu_cpu *cpu, const struct emu_event *event,
                        const struct emu_descriptor *gate, struct emu_descriptor *code)
{
    uint16_t selector = emu_gate_selector(gate);
    uint32_t error = (selector & ~3u) | ext(event);
    if (emu_is_null(selector))
        emu_raise_error(cpu, NULL, EXC_GP, ext(event));
    if (!emu_descriptor_read(cpu, NULL, selector, code) || !emu_is_code(&code->seg) ||
        emu_dpl(&code->seg) > cpu->cpl)
        emu_raise_error(cpu, NULL, EXC_GP, error);
    if (emu_long_mode(cpu) && (code->seg.attr & (SEG_L | SEG_DB)) != SEG_L)
        emu_raise_error(cpu, NULL, EXC_GP, error);
    if (!(code->seg.attr & SEG_P))
        emu_raise_error(cpu, NULL, EXC_NP, error);
    if (emu_vm86(cpu) && emu_dpl(&code->seg)) /* §20.3.1.1 */
        emu_raise_error(cpu, NULL, EXC_GP, error);
}

static void push_common(struct emu_frame *frame, const struct emu_event *event)
{
    struct emu_cpu *cpu = frame->cpu;
    emu_frame_push(frame, flags_image(cpu, event));
    emu_frame_push(frame, cpu->seg[EMU_CS].selector);
    emu_frame_push(frame, return_rip(cpu, event));
    if (event->has_error)
        emu_frame_push(frame, event->error);
}

/* §6.14 */
static void deliver_long(struct emu_cpu *cpu, const struct emu_event *event,
                         const struct emu_descriptor *gate, struct emu_descriptor *code)
{
    bool inward = !emu_is_conforming(&code->seg) && emu_dpl(&code->seg) < cpu->cpl;
    unsigned cpl = inward ? emu_dpl(&code->seg) : cpu->cpl, ist = gate->high & 7;
    uint64_t rip = emu_gate_offset(gate, true);
    struct emu_frame frame;
    if (!emu_canonical(cpu, rip)) /* SDM vol. 2A, INT n */
        emu_raise_error(cpu, NULL, EXC_GP, ext(event));
    emu_frame_here(&frame, cpu, NULL, 8);
    frame.cpl = cpl;
    if (ist)
        frame.sp = emu_tss_stack64(cpu, NULL, 3 + ist);
    else if (inward)
        frame.sp = emu_tss_stack64(cpu, NULL, cpl);
    frame.sp &= ~UINT64_C(15);
    emu_frame_push(&frame, cpu->seg[EMU_SS].selector);
    emu_frame_push(&frame, cpu->gpr[RSP]);
    push_common(&frame, event);
    emu_mark_accessed(cpu, NULL, code);
    clear_flags(cpu, (gate->seg.attr & SEG_TYPE) == TYPE_INT32);
    emu_set_code(cpu, emu_gate_selector(gate), cpl, &code->seg);
    if (inward)
        emu_set_null_stack(cpu, cpl);
    cpu->gpr[RSP] = frame.sp;
    cpu->gpr[EMU_RIP] = rip;
}

/* Virtual-8086 mode leaves its segment registers on the stack, and they become null. */
static void push_vm86_segments(struct emu_frame *frame)
{
    struct emu_cpu *cpu = frame->cpu;
    emu_frame_push(frame, cpu->seg[EMU_GS].selector);
    emu_frame_push(frame, cpu->seg[EMU_FS].selector);
    emu_frame_push(frame, cpu->seg[EMU_DS].selector);
    emu_frame_push(frame, cpu->seg[EMU_ES].selector);
}

static void drop_vm86_segments(struct emu_cpu *cpu)
{
    static const uint8_t data[] = {EMU_ES, EMU_DS, EMU_FS, EMU_GS};
    for (unsigned i = 0; i < sizeof(data); i++)
        cpu->seg[data[i]] = (struct emu_seg){.attr = SEG_UNUSABLE};
}

static void check_rip(struct emu_cpu *cpu, const struct emu_event *event,
                      const struct emu_seg *code, uint64_t rip)
{
    if (rip > code->limit)
        emu_raise_error(cpu, NULL, EXC_GP, ext(event));
}

/* §6.12.1, through an interrupt or trap gate to an inner level. */
static void deliver_inward(struct emu_cpu *cpu, const struct emu_event *event,
                           const struct emu_descriptor *gate, struct emu_descriptor *code)
{
    unsigned cpl = emu_dpl(&code->seg), type = gate->seg.attr & SEG_TYPE;
    bool wide = type & 8, vm86 = emu_vm86(cpu);
    uint64_t rip = emu_gate_offset(gate, wide);
    struct emu_descriptor stack;
    uint16_t selector;
    struct emu_frame frame = {.cpu = cpu, .cpl = cpl, .size_bytes = wide ? 4 : 2};
    emu_tss_stack(cpu, NULL, cpl, &selector, &frame.sp);
    emu_check_stack_segment(cpu, NULL, selector, cpl, EXC_TS, &stack);
    frame.ss = stack.seg;
    frame.error = (selector & ~3u) | ext(event);
    check_rip(cpu, event, &code->seg, rip);
    if (vm86)
        push_vm86_segments(&frame);
    emu_frame_push(&frame, cpu->seg[EMU_SS].selector);
    emu_frame_push(&frame, cpu->gpr[RSP]);
    push_common(&frame, event);
    emu_mark_accessed(cpu, NULL, code);
    emu_mark_accessed(cpu, NULL, &stack);
    clear_flags(cpu, !(type & 1));
    if (vm86)
        drop_vm86_segments(cpu);
    emu_set_code(cpu, emu_gate_selector(gate), cpl, &code->seg);
    emu_set_segment(cpu, EMU_SS, selector, &stack.seg);
    emu_frame_commit(&frame);
    cpu->gpr[EMU_RIP] = rip;
}

static void deliver_same_level(struct emu_cpu *cpu, const struct emu_event *event,
                               const struct emu_descriptor *gate, struct emu_descriptor *code)
{
    unsigned type = gate->seg.attr & SEG_TYPE;
    bool wide = type & 8;
    uint64_t rip = emu_gate_offset(gate, wide);
    struct emu_frame frame;
    if (emu_vm86(cpu))
        emu_raise_error(cpu, NULL, EXC_GP, (emu_gate_selector(gate) & ~3u) | ext(event));
    emu_frame_here(&frame, cpu, NULL, wide ? 4 : 2);
    frame.error = ext(event);
    check_rip(cpu, event, &code->seg, rip);
    push_common(&frame, event);
    emu_mark_accessed(cpu, NULL, code);
    clear_flags(cpu, !(type & 1));
    emu_set_code(cpu, emu_gate_selector(gate), cpu->cpl, &code->seg);
    emu_frame_commit(&frame);
    cpu->gpr[EMU_RIP] = rip;
}

static void deliver_task(struct emu_cpu *cpu, const struct emu_event *event,
                         const struct emu_descriptor *gate)
{
    struct emu_descriptor tss;
    struct emu_frame frame;
    uint16_t selector = emu_gate_selector(gate);
    uint32_t error = (selector & ~3u) | ext(event);
    if ((selector & 4) || !emu_descriptor_read(cpu, NULL, selector, &tss))
        emu_raise_error(cpu, NULL, EXC_GP, error);
    emu_task_switch(cpu, NULL, selector, &tss, EMU_TASK_CALL, return_rip(cpu, event));
    if (!event->has_error)
        return;
    bool wide = cpu->seg[EMU_TR].attr & 8;
    emu_frame_here(&frame, cpu, NULL, wide ? 4 : 2);
    emu_frame_push(&frame, event->error);
    emu_frame_commit(&frame);
}

static void deliver_protected(struct emu_cpu *cpu, const struct emu_event *event)
{
    struct emu_descriptor gate, code;
    read_gate(cpu, event, &gate);
    if ((gate.seg.attr & (SEG_S | SEG_TYPE)) == TYPE_TASK_GATE) {
        deliver_task(cpu, event, &gate);
        return;
    }
    read_target(cpu, event, &gate, &code);
    if (emu_long_mode(cpu))
        deliver_long(cpu, event, &gate, &code);
    else if (!emu_is_conforming(&code.seg) && emu_dpl(&code.seg) < cpu->cpl)
        deliver_inward(cpu, event, &gate, &code);
    else
        deliver_same_level(cpu, event, &gate, &code);
}

/* Take the guest to its handler for `event`. */
void emu_deliver(struct emu_cpu *cpu, const struct emu_event *event)
{
    cpu->event = *event;
    cpu->event.pending = true;
    if (event->vector == EXC_DB && event->type == EMU_EVENT_FAULT) /* SDM vol. 3B §17.2.3 */
        cpu->dr[6] = (cpu->dr[6] & ~(uint64_t)DR6_HITS) | event->dr6;
    if (cpu->cr0 & CR0_PE)
        deliver_protected(cpu, &cpu->event);
    else
        deliver_real(cpu, &cpu->event);
    if (event->type == EMU_EVENT_NMI)
        cpu->nmi_blocked = true;
    if (event->vector == EXC_DB && event->type == EMU_EVENT_FAULT)
        cpu->dr[7] &= ~(uint64_t)DR7_GD;
    cpu->event.pending = cpu->repeating = false;
    cpu->shadow = 0;
    cpu->halted = false;
}

/* INT n, INT3, INTO, and INT1, whose gate's privilege is not checked. */
void emu_software_interrupt(struct emu_cpu *cpu, const struct emu_insn *insn, uint8_t vector,
                            bool checked)
{
    struct emu_event event = {
        .vector = vector,
        .type = EMU_EVENT_SOFTWARE,
        .checked = checked,
        .next_rip = emu_next_rip(cpu, insn),
    };
    emu_unwind(cpu, insn);
    emu_deliver(cpu, &event);
    cpu->traced = false; /* TF is clear before it could trap: SDM vol. 3B §17.3.1.4 */
    cpu->left--;
}

/* Classes of exceptions, table 6-4: a second one on top of a first makes a double fault. */
static bool contributory(uint8_t vector)
{
    return vector == EXC_DE || (vector >= EXC_TS && vector <= EXC_GP);
}

static bool doubles(uint8_t first, uint8_t second)
{
    if (first == EXC_PF)
        return contributory(second) || second == EXC_PF;
    return contributory(first) && contributory(second);
}

/* A fault has been raised: deliver it, or what comes of it where another event was under
 * way. A fault on the way to the double fault handler shuts the processor down. */
void emu_escalate(struct emu_cpu *cpu)
{
    struct emu_event fault = cpu->fault, first = cpu->event;
    bool nested = first.pending && first.type == EMU_EVENT_FAULT;
    if (fault.vector == EXC_PF)
        cpu->cr2 = fault.cr2;
    cpu->event.pending = cpu->fault.pending = false;
    bool selects = fault.vector >= EXC_TS && fault.vector <= EXC_GP;
    if (first.pending && selects)
        fault.error |= ext(&first); /* whoever raised it on the way */
    if (nested && first.vector == EXC_DF) {
        cpu->leave = PYKVM_SHUTDOWN;
        return;
    }
    if (nested && doubles(first.vector, fault.vector))
        fault = (struct emu_event){
            .vector = EXC_DF, .type = EMU_EVENT_FAULT, .has_error = cpu->cr0 & CR0_PE};
    emu_deliver(cpu, &fault);
}
