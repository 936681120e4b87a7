/* Data accesses of instructions: effective addresses and the TLB's fast path. */
#ifndef PYKVM_EMU_MEM_H
#define PYKVM_EMU_MEM_H

#include <string.h>

#include "cpu.h"

/* Are the bits from `bits` - 1 up all the same? */
static inline bool emu_sign_extended(uint64_t linear, unsigned bits)
{
    return (uint64_t)((int64_t)(linear << (64 - bits)) >> (64 - bits)) == linear;
}

/* May code and data be there? With 5-level paging addresses have 57 bits (SDM vol. 3A §4.1.1). */
static inline bool emu_canonical(const struct emu_cpu *cpu, uint64_t linear)
{
    return EMU_LIKELY(emu_sign_extended(linear, 48)) ||
           ((cpu->cr4 & CR4_LA57) && emu_sign_extended(linear, 57));
}

/* May a base, or an MSR that holds an address, be this? That goes by what the processor can have,
 * not by what is on. */
static inline bool emu_canonical_base(const struct emu_cpu *cpu, uint64_t base)
{
    return emu_sign_extended(base, emu_offers(cpu->features, FEATURE_LA57) ? 57 : 48);
}

/* The sum of base, index and displacement, not yet cut to the address size. */
static inline uint64_t emu_ea_sum(const struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return cpu->gpr[insn->base] + (cpu->gpr[insn->index] << insn->scale) +
           (uint64_t)(int64_t)insn->disp;
}

static inline uint64_t emu_cut_address(uint64_t offset, unsigned asize)
{
    return asize == 2 ? offset : asize == 1 ? (uint32_t)offset : (uint16_t)offset;
}

/* The memory operand's offset in its segment (what LEA yields, before its own cut). */
static inline uint64_t emu_offset(const struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t sum = emu_ea_sum(cpu, insn);
    return insn->ea ? emu_cut_address(sum, (insn->ea & EMU_EA_SIZE) >> EMU_EA_SIZE_SHIFT) : sum;
}

/* A linear address where nothing needs checking; canonical form is seen to by the TLB. */
static inline uint64_t emu_unchecked(const struct emu_cpu *cpu, unsigned ea, uint64_t sum)
{
    uint64_t offset = emu_cut_address(sum, (ea & EMU_EA_SIZE) >> EMU_EA_SIZE_SHIFT);
    unsigned seg = ea & EMU_EA_SEG;
    return seg == EMU_EA_NOSEG ? offset : cpu->seg[seg].base + offset;
}

/* seg.c: type and limit checks; raises #GP or #SS. */
uint64_t emu_linear_checked(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned seg,
                            uint64_t offset, uint32_t size_bytes, bool write);

/* The linear address of `offset` in a segment, for implicit operands. */
static inline uint64_t emu_linear(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned seg,
                                  uint64_t offset, uint32_t size_bytes, bool write)
{
    if (emu_code64(cpu))
        return seg == EMU_FS || seg == EMU_GS ? cpu->seg[seg].base + offset : offset;
    return emu_linear_checked(cpu, insn, seg, offset, size_bytes, write);
}

/* The linear address of `sum` in the memory operand's segment, checked. */
static inline uint64_t emu_ea_of(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t sum,
                                 uint32_t size_bytes, bool write)
{
    if (EMU_LIKELY(insn->ea == 0))
        return sum;
    if (!(insn->ea & EMU_EA_CHECK))
        return emu_unchecked(cpu, insn->ea, sum);
    uint64_t offset = emu_cut_address(sum, (insn->ea & EMU_EA_SIZE) >> EMU_EA_SIZE_SHIFT);
    return emu_linear_checked(cpu, insn, insn->ea & EMU_EA_SEG, offset, size_bytes, write);
}

/* The linear address of the memory operand, checked. */
static inline uint64_t emu_ea(struct emu_cpu *cpu, const struct emu_insn *insn, uint32_t size_bytes,
                              bool write)
{
    return emu_ea_of(cpu, insn, emu_ea_sum(cpu, insn), size_bytes, write);
}

/* The same where the operand has to be aligned: that is checked before its segment. */
static inline uint64_t emu_ea_aligned(struct emu_cpu *cpu, const struct emu_insn *insn,
                                      uint32_t size_bytes, uint32_t alignment, bool write)
{
    uint64_t sum = emu_ea_sum(cpu, insn);
    uint64_t linear = insn->ea ? emu_unchecked(cpu, insn->ea, sum) : sum;
    if (EMU_UNLIKELY(linear % alignment))
        emu_raise_error(cpu, insn, EXC_GP, 0);
    return emu_ea_of(cpu, insn, sum, size_bytes, write);
}

/* Whether misaligned accesses are #AC: CPL 3 with CR0.AM and EFLAGS.AC. */
static inline bool emu_checks_alignment(const struct emu_cpu *cpu)
{
    return cpu->tlb == cpu->tlbs[EMU_TLB_USER_ALIGNED];
}

/* Host address of [linear, linear + size_bytes) where the TLB allows the access and it
 * stays within a page, or NULL. size_bytes: at most 64. */
static inline uint8_t *emu_tlb_read(const struct emu_cpu *cpu, uint64_t linear, uint32_t size_bytes)
{
    const struct emu_tlb_entry *entry =
        &cpu->tlb->entry[(linear / EMU_PAGE_BYTES) % EMU_TLB_ENTRIES];
    if (EMU_LIKELY(entry->read_tag == ((linear + size_bytes - 1) & EMU_PAGE_MASK)))
        return (uint8_t *)(uintptr_t)(entry->addend + linear);
    return NULL;
}

static inline uint8_t *emu_tlb_write(const struct emu_cpu *cpu, uint64_t linear,
                                     uint32_t size_bytes)
{
    const struct emu_tlb_entry *entry =
        &cpu->tlb->entry[(linear / EMU_PAGE_BYTES) % EMU_TLB_ENTRIES];
    if (EMU_LIKELY(entry->write_tag == ((linear + size_bytes - 1) & EMU_PAGE_MASK)))
        return (uint8_t *)(uintptr_t)(entry->addend + linear);
    return NULL;
}

/* emu_load_b .. emu_load_q, emu_store_b .. emu_store_q: one access by linear address. */
#define EMU_DEFINE_ACCESS(letter, type)                                                            \
    static inline type emu_load_##letter(struct emu_cpu *cpu, const struct emu_insn *insn,         \
                                         uint64_t linear)                                          \
    {                                                                                              \
        type value;                                                                                \
        const uint8_t *host = emu_tlb_read(cpu, linear, sizeof(value));                            \
        if (EMU_UNLIKELY(!host))                                                                   \
            return (type)emu_read_slow(cpu, insn, linear, sizeof(value));                          \
        memcpy(&value, host, sizeof(value));                                                       \
        return value;                                                                              \
    }                                                                                              \
    static inline void emu_store_##letter(struct emu_cpu *cpu, const struct emu_insn *insn,        \
                                          uint64_t linear, type value)                             \
    {                                                                                              \
        uint8_t *host = emu_tlb_write(cpu, linear, sizeof(value));                                 \
        if (EMU_LIKELY(host))                                                                      \
            memcpy(host, &value, sizeof(value));                                                   \
        else                                                                                       \
            emu_write_slow(cpu, insn, linear, sizeof(value), value);                               \
    }
EMU_DEFINE_ACCESS(b, uint8_t)
EMU_DEFINE_ACCESS(w, uint16_t)
EMU_DEFINE_ACCESS(d, uint32_t)
EMU_DEFINE_ACCESS(q, uint64_t)

/* An access whose size is known only at run time. */
static inline uint64_t emu_load(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                                uint32_t size_bytes)
{
    uint64_t value = 0;
    const uint8_t *host = emu_tlb_read(cpu, linear, size_bytes);
    if (EMU_UNLIKELY(!host))
        return emu_read_slow(cpu, insn, linear, size_bytes);
    memcpy(&value, host, size_bytes);
    return value;
}

static inline void emu_store(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                             uint32_t size_bytes, uint64_t value)
{
    uint8_t *host = emu_tlb_write(cpu, linear, size_bytes);
    if (EMU_LIKELY(host))
        memcpy(host, &value, size_bytes);
    else
        emu_write_slow(cpu, insn, linear, size_bytes, value);
}

/* 16 and 32 bytes, for vector registers. */
static inline void emu_load_vec(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                                void *to, uint32_t size_bytes)
{
    const uint8_t *host = emu_tlb_read(cpu, linear, size_bytes);
    if (EMU_LIKELY(host))
        memcpy(to, host, size_bytes);
    else
        emu_read_bytes(cpu, insn, linear, to, size_bytes);
}

static inline void emu_store_vec(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                                 const void *from, uint32_t size_bytes)
{
    uint8_t *host = emu_tlb_write(cpu, linear, size_bytes);
    if (EMU_LIKELY(host))
        memcpy(host, from, size_bytes);
    else
        emu_write_bytes(cpu, insn, linear, from, size_bytes);
}

/* Does the operand pass the end of its address size? Its parts then have an address each. */
static inline bool emu_wraps(const struct emu_cpu *cpu, const struct emu_insn *insn,
                             uint32_t size_bytes)
{
    unsigned asize = (insn->ea & EMU_EA_SIZE) >> EMU_EA_SIZE_SHIFT;
    if (EMU_LIKELY(!insn->ea || asize == 2))
        return false;
    uint64_t offset = emu_cut_address(emu_ea_sum(cpu, insn), asize);
    return offset > emu_cut_address(UINT64_MAX, asize) - (size_bytes - 1);
}

/* The part that lies so far behind the operand's start. */
static inline uint64_t emu_ea_part(struct emu_cpu *cpu, const struct emu_insn *insn,
                                   uint32_t distance_bytes, uint32_t size_bytes, bool write)
{
    return emu_ea_of(cpu, insn, emu_ea_sum(cpu, insn) + distance_bytes, size_bytes, write);
}

/* access.c: operands of several parts, of which this function has the sizes by distance, and
 * which have this alignment where alignment is checked. */
typedef uint32_t emu_part_bytes(uint32_t distance_bytes);
void emu_load_parts(struct emu_cpu *cpu, const struct emu_insn *insn, void *to, uint32_t size_bytes,
                    emu_part_bytes *part, uint32_t alignment);
void emu_probe_parts(struct emu_cpu *cpu, const struct emu_insn *insn, uint32_t size_bytes,
                     emu_part_bytes *part);
void emu_store_parts(struct emu_cpu *cpu, const struct emu_insn *insn, const void *from,
                     uint32_t size_bytes, emu_part_bytes *part, uint32_t alignment);

#endif
