/* The task state segment: inner stacks, the I/O bitmap, task switches.
 * Intel SDM vol. 3A chapter 7. */
#include "segment.h"

#define TSS_BACK_LINK 0

/* Offsets within the two legacy formats; eflags to es lie one slot apart. */
struct layout {
    uint32_t slot_bytes, stack0, cr3, eip, ldt, size_bytes;
};
static const struct layout layout16 = {2, 2, 0, 14, 42, 44};
static const struct layout layout32 = {4, 4, 28, 32, 96, 104};

static const struct layout *layout_of(const struct emu_seg *tss)
{
    return tss->attr & 8 ? &layout32 : &layout16;
}

/* SS:SP for an inner level, from the present TSS. §5.8.5 */
void emu_tss_stack(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned cpl,
                   uint16_t *selector, uint64_t *sp)
{
    const struct emu_seg *tr = &cpu->seg[EMU_TR];
    const struct layout *layout = layout_of(tr);
    uint32_t offset = layout->stack0 + cpl * 2 * layout->slot_bytes;
    if (offset + layout->slot_bytes + 1 > tr->limit)
        emu_raise_error(cpu, insn, EXC_TS, tr->selector & ~3u);
    *sp = emu_read_system(cpu, insn, tr->base + offset, layout->slot_bytes);
    *selector = (uint16_t)emu_read_system(cpu, insn, tr->base + offset + layout->slot_bytes, 2);
}

/* RSPn (slot n) or ISTn (slot 3 + n) of the 64-bit TSS. §7.7 */
uint64_t emu_tss_stack64(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned slot)
{
    const struct emu_seg *tr = &cpu->seg[EMU_TR];
    uint32_t offset = 4 + 8 * slot;
    if (offset + 7 > tr->limit)
        emu_raise_error(cpu, insn, EXC_TS, tr->selector & ~3u);
    uint64_t sp = emu_read_system(cpu, insn, tr->base + offset, 8);
    if (!emu_canonical(cpu, sp))
        emu_raise_error(cpu, insn, EXC_SS, 0);
    return sp;
}

/* May this level use these ports? Vol. 1 §19.5 */
bool emu_port_allowed(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t port,
                      uint32_t size_bytes)
{
    const struct emu_seg *tr = &cpu->seg[EMU_TR];
    if (!(cpu->cr0 & CR0_PE))
        return true;
    if (!emu_vm86(cpu) && cpu->cpl <= (cpu->rflags & FLAG_IOPL) >> 12)
        return true;
    if (!(tr->attr & 8) || tr->limit < 103)
        return false;
    uint32_t map = (uint32_t)emu_read_system(cpu, insn, tr->base + 102, 2) + port / 8;
    if (map + 1 > tr->limit)
        return false;
    uint64_t bits = emu_read_system(cpu, insn, tr->base + map, 2) >> (port % 8);
    return !(bits & ((1u << size_bytes) - 1));
}

static uint64_t slot_read(struct emu_cpu *cpu, const struct emu_insn *insn,
                          const struct emu_seg *tss, uint32_t index)
{
    const struct layout *layout = layout_of(tss);
    return emu_read_system(cpu, insn, tss->base + layout->eip + index * layout->slot_bytes,
                           layout->slot_bytes);
}

static void slot_write(struct emu_cpu *cpu, const struct emu_insn *insn, const struct emu_seg *tss,
                       uint32_t index, uint64_t value)
{
    const struct layout *layout = layout_of(tss);
    emu_write_system(cpu, insn, tss->base + layout->eip + index * layout->slot_bytes,
                     layout->slot_bytes, value);
}

/* Slots from EIP on: EIP, EFLAGS, EAX .. EDI in encoding order, ES CS SS DS (FS GS). */
#define SLOT_EIP 0
#define SLOT_EFLAGS 1
#define SLOT_GPR 2
#define SLOT_SEGMENT 10

static unsigned segment_count(const struct emu_seg *tss)
{
    return tss->attr & 8 ? 6 : 4;
}

static void save_task(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t rip,
                      uint32_t flags)
{
    const struct emu_seg *tss = &cpu->seg[EMU_TR];
    slot_write(cpu, insn, tss, SLOT_EIP, rip);
    slot_write(cpu, insn, tss, SLOT_EFLAGS, flags);
    for (unsigned i = 0; i < 8; i++)
        slot_write(cpu, insn, tss, SLOT_GPR + i, cpu->gpr[i]);
    for (unsigned i = 0; i < segment_count(tss); i++)
        slot_write(cpu, insn, tss, SLOT_SEGMENT + i, cpu->seg[i].selector);
}

static void mark_busy(struct emu_cpu *cpu, const struct emu_insn *insn,
                      const struct emu_descriptor *tss, bool busy)
{
    uint32_t high = tss->high & ~(TYPE_BUSY << 8);
    emu_write_system(cpu, insn, tss->linear + 4, 4, high | (busy ? TYPE_BUSY << 8 : 0));
}

static void check_tss(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t selector,
                      const struct emu_descriptor *tss, enum emu_task_cause cause)
{
    unsigned type = tss->seg.attr & (SEG_S | SEG_TYPE);
    unsigned wanted = cause == EMU_TASK_IRET ? TYPE_TSS16_BUSY : TYPE_TSS16;
    uint8_t vector = cause == EMU_TASK_IRET ? EXC_TS : EXC_GP;
    if ((type & ~8u) != wanted)
        emu_raise_error(cpu, insn, vector, selector & ~3u);
    if (!(tss->seg.attr & SEG_P))
        emu_raise_error(cpu, insn, EXC_NP, selector & ~3u);
    if (tss->seg.limit < layout_of(&tss->seg)->size_bytes - 1)
        emu_raise_error(cpu, insn, EXC_TS, selector & ~3u);
}

/* The new task's registers as read before anything is committed. */
struct task {
    uint64_t rip, gpr[8], cr3;
    uint32_t flags;
    uint16_t segment[6], ldt;
};

static void read_task(struct emu_cpu *cpu, const struct emu_insn *insn, const struct emu_seg *tss,
                      struct task *task)
{
    const struct layout *layout = layout_of(tss);
    *task = (struct task){
        .rip = slot_read(cpu, insn, tss, SLOT_EIP),
        .flags = (uint32_t)slot_read(cpu, insn, tss, SLOT_EFLAGS),
        .ldt = (uint16_t)emu_read_system(cpu, insn, tss->base + layout->ldt, 2),
    };
    if (layout->cr3)
        task->cr3 = emu_read_system(cpu, insn, tss->base + layout->cr3, 4);
    for (unsigned i = 0; i < 8; i++)
        task->gpr[i] = slot_read(cpu, insn, tss, SLOT_GPR + i);
    for (unsigned i = 0; i < segment_count(tss); i++)
        task->segment[i] = (uint16_t)slot_read(cpu, insn, tss, SLOT_SEGMENT + i);
}

static void load_ldt(struct emu_cpu *cpu, uint16_t selector)
{
    struct emu_descriptor ldt;
    cpu->seg[EMU_LDTR] = (struct emu_seg){.selector = selector, .attr = SEG_UNUSABLE};
    if (emu_is_null(selector))
        return;
    if ((selector & 4) || !emu_descriptor_read(cpu, NULL, selector, &ldt) ||
        (ldt.seg.attr & (SEG_S | SEG_TYPE)) != TYPE_LDT || !(ldt.seg.attr & SEG_P))
        emu_raise_error(cpu, NULL, EXC_TS, selector & ~3u);
    cpu->seg[EMU_LDTR] = ldt.seg;
}

static void load_code(struct emu_cpu *cpu, uint16_t selector)
{
    struct emu_descriptor code;
    unsigned rpl = selector & 3;
    if (emu_is_null(selector) || !emu_descriptor_read(cpu, NULL, selector, &code) ||
        !emu_is_code(&code.seg) ||
        (emu_is_conforming(&code.seg) ? emu_dpl(&code.seg) > rpl : emu_dpl(&code.seg) != rpl))
        emu_raise_error(cpu, NULL, EXC_TS, selector & ~3u);
    if (!(code.seg.attr & SEG_P))
        emu_raise_error(cpu, NULL, EXC_NP, selector & ~3u);
    emu_mark_accessed(cpu, NULL, &code);
    emu_set_code(cpu, selector, rpl, &code.seg);
}

static void load_data(struct emu_cpu *cpu, unsigned index, uint16_t selector)
{
    struct emu_descriptor data;
    cpu->seg[index] = (struct emu_seg){.selector = selector, .attr = SEG_UNUSABLE};
    if (emu_is_null(selector))
        return;
    if (!emu_descriptor_read(cpu, NULL, selector, &data))
        emu_raise_error(cpu, NULL, EXC_TS, selector & ~3u);
    unsigned rpl = selector & 3, weaker = rpl > cpu->cpl ? rpl : cpu->cpl;
    bool readable = !(data.seg.attr & SEG_CODE) || (data.seg.attr & SEG_WRITABLE);
    if (!(data.seg.attr & SEG_S) || !readable ||
        (!emu_is_conforming(&data.seg) && emu_dpl(&data.seg) < weaker))
        emu_raise_error(cpu, NULL, EXC_TS, selector & ~3u);
    if (!(data.seg.attr & SEG_P))
        emu_raise_error(cpu, NULL, EXC_NP, selector & ~3u);
    emu_mark_accessed(cpu, NULL, &data);
    emu_set_segment(cpu, index, selector, &data.seg);
}

/* Faults from here on belong to the new task. §7.3 */
static void load_segments(struct emu_cpu *cpu, const struct task *task)
{
    struct emu_descriptor stack;
    cpu->cpl = emu_vm86(cpu) ? 3 : task->segment[EMU_CS] & 3;
    if (!emu_vm86(cpu))
        for (unsigned i = 0; i < 6; i++)
            cpu->seg[i].selector = task->segment[i];
    load_ldt(cpu, task->ldt);
    if (emu_vm86(cpu)) {
        for (unsigned i = 0; i < 6; i++)
            emu_set_segment_real(cpu, i, task->segment[i]);
        return;
    }
    load_code(cpu, task->segment[EMU_CS]);
    emu_check_stack_segment(cpu, NULL, task->segment[EMU_SS], cpu->cpl, EXC_TS, &stack);
    emu_mark_accessed(cpu, NULL, &stack);
    emu_set_segment(cpu, EMU_SS, task->segment[EMU_SS], &stack.seg);
    load_data(cpu, EMU_DS, task->segment[EMU_DS]);
    load_data(cpu, EMU_ES, task->segment[EMU_ES]);
    load_data(cpu, EMU_FS, task->segment[EMU_FS]);
    load_data(cpu, EMU_GS, task->segment[EMU_GS]);
}

/* PAE paging has its four entries loaded with CR3. */
static void load_cr3(struct emu_cpu *cpu, uint64_t cr3)
{
    if ((cpu->cr4 & CR4_PAE) && !emu_pdptes_load(cpu, cr3))
        emu_raise_error(cpu, NULL, EXC_GP, 0);
    cpu->cr3 = cr3;
    emu_tlb_flush(cpu, false);
}

/* A 16-bit TSS has no upper halves for registers; the processor makes them ones. */
static void enter_task(struct emu_cpu *cpu, const struct emu_seg *tss, const struct task *task)
{
    bool wide = tss->attr & 8;
    cpu->cr0 |= CR0_TS;
    cpu->dr[7] &= ~(uint64_t)DR7_LOCAL;
    if (wide && (cpu->cr0 & CR0_PG) && cpu->cr3 != task->cr3)
        load_cr3(cpu, task->cr3);
    cpu->gpr[EMU_RIP] = task->rip;
    cpu->rflags = (task->flags & 0x3f7fd5u & ~FLAGS_STATUS) | FLAG_FIXED;
    emu_set_status_flags(cpu, task->flags);
    for (unsigned i = 0; i < 8; i++)
        cpu->gpr[i] = wide ? task->gpr[i] : 0xffff0000u | task->gpr[i];
}

static void finish_task(struct emu_cpu *cpu, const struct emu_seg *tss)
{
    if (tss->attr & 8 && emu_read_system(cpu, NULL, tss->base + 100, 2) & 1)
        cpu->trap |= DR6_BT;
    if (cpu->gpr[EMU_RIP] > cpu->seg[EMU_CS].limit)
        emu_raise_error(cpu, NULL, EXC_GP, 0);
}

/* Switch to the task of a TSS descriptor; the privilege to do so has been checked.
 * `insn` is NULL, or its count has been settled: faults after the switch are the new
 * task's. Table 7-2 has what becomes of busy bits, NT and the back link. */
void emu_task_switch(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t selector,
                     struct emu_descriptor *tss, enum emu_task_cause cause, uint64_t return_rip)
{
    struct emu_descriptor old;
    struct task task;
    uint16_t old_selector = cpu->seg[EMU_TR].selector;
    check_tss(cpu, insn, selector, tss, cause);
    read_task(cpu, insn, &tss->seg, &task);
    uint32_t flags = emu_rflags(cpu) & ~(cause == EMU_TASK_IRET ? FLAG_NT : 0);
    save_task(cpu, insn, return_rip, flags);
    if (cause != EMU_TASK_CALL && emu_descriptor_read(cpu, insn, old_selector, &old))
        mark_busy(cpu, insn, &old, false);
    if (cause == EMU_TASK_CALL) {
        task.flags |= FLAG_NT;
        emu_write_system(cpu, insn, tss->seg.base + TSS_BACK_LINK, 2, old_selector);
    }
    mark_busy(cpu, insn, tss, true);
    tss->seg.attr |= TYPE_BUSY;
    tss->seg.selector = selector;
    cpu->seg[EMU_TR] = tss->seg;
    enter_task(cpu, &tss->seg, &task);
    load_segments(cpu, &task);
    emu_mode_changed(cpu);
    finish_task(cpu, &tss->seg);
}
