/* IRET in all its forms. Intel SDM vol. 2A, IRET. */
#include "far.h"

static void flags_from_frame(struct emu_cpu *cpu, uint64_t flags, uint32_t mask,
                             uint32_t size_bytes)
{
    emu_set_flags(cpu, (uint32_t)flags, size_bytes == 2 ? mask & 0xffff : mask);
}

static void iret_real(struct emu_cpu *cpu, struct emu_frame *frame)
{
    uint64_t rip = emu_frame_pop(frame);
    uint16_t selector = (uint16_t)emu_frame_pop(frame);
    uint64_t flags = emu_frame_pop(frame);
    if (rip > cpu->seg[EMU_CS].limit)
        emu_raise_error(cpu, frame->insn, EXC_GP, 0);
    uint32_t mask = emu_flags_mask(cpu) | FLAG_RF;
    if (emu_vm86(cpu))
        mask &= ~FLAG_IOPL;
    emu_set_segment_real(cpu, EMU_CS, selector);
    cpu->gpr[EMU_RIP] = rip;
    emu_frame_commit(frame);
    flags_from_frame(cpu, flags, mask, frame->size_bytes);
}

static void iret_task(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    struct emu_descriptor tss;
    if (emu_long_mode(cpu))
        emu_raise_error(cpu, insn, EXC_GP, 0);
    uint16_t selector = (uint16_t)emu_read_system(cpu, insn, cpu->seg[EMU_TR].base, 2);
    if ((selector & 4) || !emu_descriptor_read(cpu, insn, selector, &tss))
        emu_raise_error(cpu, insn, EXC_TS, selector & ~3u);
    uint64_t behind = emu_next_rip(cpu, insn);
    emu_unwind(cpu, insn);
    emu_task_switch(cpu, NULL, selector, &tss, EMU_TASK_IRET, behind);
    cpu->left--;
}

/* Back to virtual-8086 mode, from level 0 only. */
static void iret_vm86(struct emu_cpu *cpu, struct emu_frame *frame, uint64_t rip, uint16_t cs,
                      uint64_t flags)
{
    static const uint8_t order[] = {EMU_ES, EMU_DS, EMU_FS, EMU_GS};
    uint16_t selector[4];
    uint64_t sp = emu_frame_pop(frame);
    uint16_t ss = (uint16_t)emu_frame_pop(frame);
    for (unsigned i = 0; i < 4; i++)
        selector[i] = (uint16_t)emu_frame_pop(frame);
    if (rip > 0xffff) /* beyond the limit of CS: SDM vol. 2A, IRET */
        emu_raise_error(cpu, frame->insn, EXC_GP, 0);
    cpu->cpl = 3;
    emu_set_flags(cpu, (uint32_t)flags, 0x3f7fd5u);
    for (unsigned i = 0; i < 4; i++)
        emu_set_segment_real(cpu, order[i], selector[i]);
    emu_set_segment_real(cpu, EMU_SS, ss);
    emu_set_segment_real(cpu, EMU_CS, cs);
    cpu->gpr[EMU_RIP] = rip & 0xffff;
    cpu->gpr[RSP] = sp;
    emu_mode_changed(cpu);
}

static void iret_protected(struct emu_cpu *cpu, struct emu_frame *frame)
{
    const struct emu_insn *insn = frame->insn;
    struct emu_descriptor code;
    uint64_t rip = emu_frame_pop(frame);
    uint16_t selector = (uint16_t)emu_frame_pop(frame);
    uint64_t flags = emu_frame_pop(frame);
    if (frame->size_bytes == 4 && (flags & FLAG_VM) && cpu->cpl == 0 && !emu_long_mode(cpu)) {
        iret_vm86(cpu, frame, rip, selector, flags);
        return;
    }
    emu_return_code(cpu, insn, selector, &code);
    uint32_t mask = emu_flags_mask(cpu) | FLAG_RF;
    if (cpu->cpl == 0)
        mask |= FLAG_VIF | FLAG_VIP;
    if (emu_code64(cpu) || (selector & 3u) != cpu->cpl) {
        uint64_t sp = emu_frame_pop(frame);
        uint16_t ss = (uint16_t)emu_frame_pop(frame);
        emu_return_to(cpu, insn, &code, rip, ss, sp);
    } else {
        if (rip > code.seg.limit && !(emu_long_mode(cpu) && (code.seg.attr & SEG_L)))
            emu_raise_error(cpu, insn, EXC_GP, 0);
        emu_mark_accessed(cpu, insn, &code);
        emu_set_code(cpu, selector, cpu->cpl, &code.seg);
        cpu->gpr[EMU_RIP] = rip;
        emu_frame_commit(frame);
    }
    flags_from_frame(cpu, flags, mask, frame->size_bytes);
}

EMU_OP(emu_op_iret)
{
    struct emu_frame frame;
    cpu->nmi_blocked = false; /* even if it faults: SDM vol. 3A §6.7.1 */
    emu_frame_here(&frame, cpu, insn, emu_osize_bytes(insn));
    if (emu_vm86(cpu) && (cpu->rflags & FLAG_IOPL) != FLAG_IOPL)
        emu_raise_error(cpu, insn, EXC_GP, 0);
    if (!emu_protected(cpu))
        iret_real(cpu, &frame);
    else if (cpu->rflags & FLAG_NT)
        iret_task(cpu, insn);
    else
        iret_protected(cpu, &frame);
    return NULL;
}
