/* Descriptors and segment registers: between the files that load them. */
#ifndef PYKVM_EMU_SEGMENT_H
#define PYKVM_EMU_SEGMENT_H

#include "ops.h"

/* A descriptor as read from a table. System descriptors of long mode have 64-bit bases. */
struct emu_descriptor {
    struct emu_seg seg;
    uint64_t linear; /* where it lies */
    uint32_t low, high, upper;
};

/* System descriptor types, Intel SDM vol. 3A table 3-2. */
enum emu_system_type {
    TYPE_TSS16 = 1,
    TYPE_LDT = 2,
    TYPE_TSS16_BUSY = 3,
    TYPE_CALL16 = 4,
    TYPE_TASK_GATE = 5,
    TYPE_INT16 = 6,
    TYPE_TRAP16 = 7,
    TYPE_TSS32 = 9,
    TYPE_TSS32_BUSY = 11,
    TYPE_CALL32 = 12,
    TYPE_INT32 = 14,
    TYPE_TRAP32 = 15
};
#define TYPE_BUSY 2u

static inline unsigned emu_dpl(const struct emu_seg *seg)
{
    return (seg->attr & SEG_DPL) >> SEG_DPL_SHIFT;
}

static inline bool emu_is_code(const struct emu_seg *seg)
{
    return (seg->attr & (SEG_S | SEG_CODE)) == (SEG_S | SEG_CODE);
}

static inline bool emu_is_conforming(const struct emu_seg *seg)
{
    return (seg->attr & (SEG_S | SEG_CODE | SEG_DOWN)) == (SEG_S | SEG_CODE | SEG_DOWN);
}

static inline bool emu_is_null(uint16_t selector)
{
    return (selector & ~3u) == 0;
}

/* A gate's parts; the offset has 64 bits in long mode. */
static inline uint16_t emu_gate_selector(const struct emu_descriptor *gate)
{
    return (uint16_t)(gate->low >> 16);
}

static inline uint64_t emu_gate_offset(const struct emu_descriptor *gate, bool wide)
{
    uint64_t offset = gate->low & 0xffff;
    return wide ? offset | (gate->high & 0xffff0000u) | (uint64_t)gate->upper << 32 : offset;
}

/* seg.c */
bool emu_descriptor_read(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t selector,
                         struct emu_descriptor *out);
void emu_descriptor_fetch(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t selector,
                          uint8_t vector, struct emu_descriptor *out);
void emu_descriptor_parse(struct emu_descriptor *descriptor);
void emu_descriptor_upper(struct emu_cpu *cpu, const struct emu_insn *insn,
                          struct emu_descriptor *descriptor);
void emu_mark_accessed(struct emu_cpu *cpu, const struct emu_insn *insn,
                       struct emu_descriptor *descriptor);
void emu_load_segment(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned index,
                      uint16_t selector);
void emu_check_stack_segment(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t selector,
                             unsigned cpl, uint8_t vector, struct emu_descriptor *out);
void emu_set_segment(struct emu_cpu *cpu, unsigned index, uint16_t selector,
                     const struct emu_seg *seg);
void emu_set_segment_real(struct emu_cpu *cpu, unsigned index, uint16_t selector);
void emu_set_null_stack(struct emu_cpu *cpu, unsigned cpl);
void emu_set_code(struct emu_cpu *cpu, uint16_t selector, unsigned cpl, const struct emu_seg *seg);
void emu_drop_inner_segments(struct emu_cpu *cpu);

/* stackframe.c: pushing and popping on a stack that need not be the present one. */
struct emu_frame {
    struct emu_cpu *cpu;
    const struct emu_insn *insn;
    struct emu_seg ss;
    uint64_t sp;
    bool flat;           /* of 64-bit code: no segment, 64-bit addresses */
    unsigned cpl;        /* whose rights the accesses have */
    uint32_t size_bytes; /* of a slot */
    uint32_t error;      /* error code of #SS where the limit is passed */
};
void emu_frame_here(struct emu_frame *frame, struct emu_cpu *cpu, const struct emu_insn *insn,
                    uint32_t size_bytes);
void emu_frame_push(struct emu_frame *frame, uint64_t value);
uint64_t emu_frame_pop(struct emu_frame *frame);
uint64_t emu_frame_peek(struct emu_frame *frame, uint64_t distance_bytes);
void emu_frame_commit(const struct emu_frame *frame);

/* tss.c */
void emu_tss_stack(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned cpl,
                   uint16_t *selector, uint64_t *sp);
uint64_t emu_tss_stack64(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned slot);
bool emu_port_allowed(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t port,
                      uint32_t size_bytes);
enum emu_task_cause { EMU_TASK_JUMP, EMU_TASK_CALL, EMU_TASK_IRET };
void emu_task_switch(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t selector,
                     struct emu_descriptor *descriptor, enum emu_task_cause cause,
                     uint64_t return_rip);

#endif
