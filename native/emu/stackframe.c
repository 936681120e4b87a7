/* Stack accesses of interrupts, far calls and returns: on a stack that becomes the present
 * one, if at all, only when everything has succeeded. */
#include "segment.h"

/* The present stack, with the present rights. */
void emu_frame_here(struct emu_frame *frame, struct emu_cpu *cpu, const struct emu_insn *insn,
                    uint32_t size_bytes)
{
    *frame = (struct emu_frame){
        .cpu = cpu,
        .insn = insn,
        .ss = cpu->seg[EMU_SS],
        .sp = cpu->gpr[RSP],
        .flat = emu_code64(cpu) || (emu_long_mode(cpu) && size_bytes == 8),
        .cpl = cpu->cpl,
        .size_bytes = size_bytes,
    };
}

static uint64_t cut(const struct emu_frame *frame, uint64_t sp)
{
    if (frame->flat)
        return sp;
    return frame->ss.attr & SEG_DB ? (uint32_t)sp : (uint16_t)sp;
}

static uint64_t linear_of(const struct emu_frame *frame, uint64_t sp)
{
    uint64_t offset = cut(frame, sp), last = offset + frame->size_bytes - 1;
    const struct emu_seg *ss = &frame->ss;
    if (frame->flat) {
        if (!emu_canonical(frame->cpu, offset))
            emu_raise_error(frame->cpu, frame->insn, EXC_SS, frame->error);
        return offset;
    }
    bool down = (ss->attr & (SEG_CODE | SEG_DOWN)) == SEG_DOWN;
    bool inside = down ? offset > ss->limit && last <= (ss->attr & SEG_DB ? UINT32_MAX : UINT16_MAX)
                       : last <= ss->limit;
    if (!inside)
        emu_raise_error(frame->cpu, frame->insn, EXC_SS, frame->error);
    return (uint32_t)(ss->base + offset);
}

/* The same for a program's own accesses: IRET and far branches at CPL 3. SDM vol. 3A §6.15 */
static uint64_t aligned(const struct emu_frame *frame, uint64_t linear)
{
    struct emu_cpu *cpu = frame->cpu;
    if (frame->cpl == 3 && cpu->tlb == cpu->tlbs[EMU_TLB_USER_ALIGNED] &&
        linear % frame->size_bytes)
        emu_raise_error(cpu, frame->insn, EXC_AC, 0);
    return linear;
}

void emu_frame_push(struct emu_frame *frame, uint64_t value)
{
    uint64_t sp = frame->sp - frame->size_bytes;
    uint64_t linear = aligned(frame, linear_of(frame, sp));
    emu_write_as(frame->cpu, frame->insn, frame->cpl, linear, frame->size_bytes, value);
    frame->sp = sp;
}

uint64_t emu_frame_peek(struct emu_frame *frame, uint64_t distance_bytes)
{
    uint64_t linear = aligned(frame, linear_of(frame, frame->sp + distance_bytes));
    return emu_read_as(frame->cpu, frame->insn, frame->cpl, linear, frame->size_bytes);
}

uint64_t emu_frame_pop(struct emu_frame *frame)
{
    uint64_t value = emu_frame_peek(frame, 0);
    frame->sp += frame->size_bytes;
    return value;
}

/* The stack pointer moves as far as this frame has; its width is the new stack's. */
void emu_frame_commit(const struct emu_frame *frame)
{
    emu_set_sp(frame->cpu, frame->sp);
}
