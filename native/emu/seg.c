/* Segments: address checks, descriptor tables, loading of segment registers. */
#include "segment.h"

/* Offsets that a segment holds: up to the limit, or above it where it expands down. */
static bool within(const struct emu_seg *seg, uint64_t offset, uint32_t size_bytes)
{
    uint64_t last = offset + size_bytes - 1;
    if ((seg->attr & (SEG_CODE | SEG_DOWN)) == SEG_DOWN)
        return offset > seg->limit && last <= (seg->attr & SEG_DB ? UINT32_MAX : UINT16_MAX);
    return last <= seg->limit;
}

/* Intel SDM vol. 3A §5.3, §5.4. Types do not matter in real and virtual-8086 mode. */
static bool type_allows(const struct emu_cpu *cpu, const struct emu_seg *seg, bool write)
{
    if (seg->attr & SEG_UNUSABLE)
        return false;
    if (!emu_protected(cpu))
        return true;
    if (write)
        return (seg->attr & (SEG_CODE | SEG_WRITABLE)) == SEG_WRITABLE;
    return (seg->attr & (SEG_CODE | SEG_WRITABLE)) != SEG_CODE;
}

uint64_t emu_linear_checked(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned seg_index,
                            uint64_t offset, uint32_t size_bytes, bool write)
{
    const struct emu_seg *seg = &cpu->seg[seg_index];
    if (!type_allows(cpu, seg, write) || !within(seg, offset, size_bytes))
        emu_raise_error(cpu, insn, seg_index == EMU_SS ? EXC_SS : EXC_GP, 0);
    return (uint32_t)(seg->base + offset);
}

/* low and high to the form in which segment registers hold them. */
void emu_descriptor_parse(struct emu_descriptor *descriptor)
{
    uint32_t low = descriptor->low, high = descriptor->high;
    uint32_t limit = (low & 0xffff) | (high & 0xf0000);
    descriptor->seg.attr = (uint16_t)((high >> 8) & 0xf0ff);
    descriptor->seg.limit = descriptor->seg.attr & SEG_G ? limit << 12 | 0xfff : limit;
    descriptor->seg.base = low >> 16 | (high & 0xff) << 16 | (high & 0xff000000u);
}

/* False where the selector is null or points outside its table. */
bool emu_descriptor_read(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t selector,
                         struct emu_descriptor *out)
{
    uint64_t base = cpu->gdt.base;
    uint32_t limit = cpu->gdt.limit, offset = selector & ~7u;
    if (selector & 4) {
        base = cpu->seg[EMU_LDTR].base;
        limit = cpu->seg[EMU_LDTR].limit;
        if (cpu->seg[EMU_LDTR].attr & SEG_UNUSABLE || !(cpu->seg[EMU_LDTR].attr & SEG_P))
            return false;
    }
    *out = (struct emu_descriptor){.linear = base + offset};
    if (emu_is_null(selector) || offset + 7 > limit)
        return false;
    uint64_t raw = emu_read_system(cpu, insn, out->linear, 8);
    out->low = (uint32_t)raw;
    out->high = (uint32_t)(raw >> 32);
    emu_descriptor_parse(out);
    out->seg.selector = selector;
    return true;
}

/* The same, raising `vector` with the selector where there is none. */
void emu_descriptor_fetch(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t selector,
                          uint8_t vector, struct emu_descriptor *out)
{
    if (!emu_descriptor_read(cpu, insn, selector, out))
        emu_raise_error(cpu, insn, vector, selector & ~3u);
}

/* The upper half of a 16-byte system descriptor, where those are in use. */
void emu_descriptor_upper(struct emu_cpu *cpu, const struct emu_insn *insn,
                          struct emu_descriptor *descriptor)
{
    if (!emu_long_mode(cpu))
        return;
    uint16_t selector = descriptor->seg.selector;
    uint32_t limit = selector & 4 ? cpu->seg[EMU_LDTR].limit : cpu->gdt.limit;
    if ((selector & ~7u) + 15 > limit)
        emu_raise_error(cpu, insn, EXC_GP, selector & ~3u);
    uint64_t raw = emu_read_system(cpu, insn, descriptor->linear + 8, 8);
    if (raw >> 40 & 0x1f)
        emu_raise_error(cpu, insn, EXC_GP, selector & ~3u);
    descriptor->upper = (uint32_t)raw;
    descriptor->seg.base |= (uint64_t)descriptor->upper << 32;
}

void emu_mark_accessed(struct emu_cpu *cpu, const struct emu_insn *insn,
                       struct emu_descriptor *descriptor)
{
    if (descriptor->seg.attr & SEG_ACCESSED)
        return;
    descriptor->high |= SEG_ACCESSED << 8;
    descriptor->seg.attr |= SEG_ACCESSED;
    emu_write_system(cpu, insn, descriptor->linear + 4, 4, descriptor->high);
}

void emu_set_segment(struct emu_cpu *cpu, unsigned index, uint16_t selector,
                     const struct emu_seg *seg)
{
    cpu->seg[index] = *seg;
    cpu->seg[index].selector = selector;
    emu_mode_changed(cpu);
}

/* Real mode changes base and selector alone; virtual-8086 mode sets the rest too. */
void emu_set_segment_real(struct emu_cpu *cpu, unsigned index, uint16_t selector)
{
    struct emu_seg seg = cpu->seg[index];
    seg.base = (uint32_t)selector << 4;
    if (emu_vm86(cpu)) {
        seg.limit = 0xffff;
        seg.attr = SEG_P | SEG_DPL | SEG_S | SEG_WRITABLE | SEG_ACCESSED;
    } else if (index == EMU_CS) {
        seg.attr = SEG_P | SEG_S | SEG_CODE | SEG_WRITABLE | SEG_ACCESSED | (seg.attr & SEG_DB);
    }
    emu_set_segment(cpu, index, selector, &seg);
    if (index == EMU_CS)
        emu_code_changed(cpu);
}

/* CS and with it the privilege level. Blocks know CS neither by base nor by limit. */
void emu_set_code(struct emu_cpu *cpu, uint16_t selector, unsigned cpl, const struct emu_seg *seg)
{
    const struct emu_seg *old = &cpu->seg[EMU_CS];
    bool moved = old->base != seg->base || old->limit != seg->limit, was_wide = emu_code64(cpu);
    cpu->cpl = (uint8_t)cpl;
    emu_set_segment(cpu, EMU_CS, (uint16_t)((selector & ~3u) | cpl), seg);
    if (moved && !(was_wide && emu_code64(cpu)))
        emu_code_changed(cpu);
}

/* SS after an inner interrupt of 64-bit mode: null, RPL the new level. */
void emu_set_null_stack(struct emu_cpu *cpu, unsigned cpl)
{
    struct emu_seg null = {.attr = (uint16_t)(SEG_UNUSABLE | cpl << SEG_DPL_SHIFT)};
    emu_set_segment(cpu, EMU_SS, (uint16_t)cpl, &null);
}

/* What a selector for SS at level `cpl` must be; `vector` is #GP, or #TS where it comes
 * from a TSS. */
void emu_check_stack_segment(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t selector,
                             unsigned cpl, uint8_t vector, struct emu_descriptor *out)
{
    if (emu_is_null(selector))
        emu_raise_error(cpu, insn, vector, 0);
    emu_descriptor_fetch(cpu, insn, selector, vector, out);
    bool writable = (out->seg.attr & (SEG_S | SEG_CODE | SEG_WRITABLE)) == (SEG_S | SEG_WRITABLE);
    if ((selector & 3u) != cpl || emu_dpl(&out->seg) != cpl || !writable)
        emu_raise_error(cpu, insn, vector, selector & ~3u);
    if (!(out->seg.attr & SEG_P))
        emu_raise_error(cpu, insn, EXC_SS, selector & ~3u);
}

static void load_stack_segment(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t selector)
{
    struct emu_descriptor descriptor;
    if (emu_is_null(selector) && emu_code64(cpu) && cpu->cpl < 3 && (selector & 3) == cpu->cpl) {
        emu_set_null_stack(cpu, cpu->cpl);
        return;
    }
    emu_check_stack_segment(cpu, insn, selector, cpu->cpl, EXC_GP, &descriptor);
    emu_mark_accessed(cpu, insn, &descriptor);
    emu_set_segment(cpu, EMU_SS, selector, &descriptor.seg);
}

static void load_data_segment(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned index,
                              uint16_t selector)
{
    struct emu_descriptor descriptor;
    if (emu_is_null(selector)) {
        emu_set_segment(cpu, index, selector, &(struct emu_seg){.attr = SEG_UNUSABLE});
        return;
    }
    emu_descriptor_fetch(cpu, insn, selector, EXC_GP, &descriptor);
    const struct emu_seg *seg = &descriptor.seg;
    bool readable = !(seg->attr & SEG_CODE) || (seg->attr & SEG_WRITABLE);
    unsigned rpl = selector & 3, weaker = rpl > cpu->cpl ? rpl : cpu->cpl;
    bool reachable = emu_is_conforming(seg) || emu_dpl(seg) >= weaker;
    if (!(seg->attr & SEG_S) || !readable || !reachable)
        emu_raise_error(cpu, insn, EXC_GP, selector & ~3u);
    if (!(seg->attr & SEG_P))
        emu_raise_error(cpu, insn, EXC_NP, selector & ~3u);
    emu_mark_accessed(cpu, insn, &descriptor);
    emu_set_segment(cpu, index, selector, seg);
}

/* Load ES, SS, DS, FS or GS as MOV does. Intel SDM vol. 2B, MOV. */
void emu_load_segment(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned index,
                      uint16_t selector)
{
    if (!emu_protected(cpu))
        emu_set_segment_real(cpu, index, selector);
    else if (index == EMU_SS)
        load_stack_segment(cpu, insn, selector);
    else
        load_data_segment(cpu, insn, index, selector);
}

/* On a return outward, segments that only the inner level may use become null, and null selectors
 * lose their RPL. The hidden base stays. SDM vol. 2A, IRET; 2B, RET (RETURN-OUTER-PRIVILEGE-LEVEL)
 */
void emu_drop_inner_segments(struct emu_cpu *cpu)
{
    static const uint8_t data[] = {EMU_ES, EMU_DS, EMU_FS, EMU_GS};
    for (unsigned i = 0; i < sizeof(data); i++) {
        struct emu_seg *seg = &cpu->seg[data[i]];
        bool inner = !emu_is_conforming(seg) && emu_dpl(seg) < cpu->cpl;
        if ((seg->attr & SEG_UNUSABLE) || inner) {
            seg->selector = 0;
            seg->attr = SEG_UNUSABLE;
        }
    }
    emu_mode_changed(cpu);
}
