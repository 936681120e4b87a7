/* Data accesses off the TLB's fast path: page crossings, code, devices, breakpoints. */
#include <string.h>

#include "ops.h"
#include "tlb.h"

/* Is the memory operand in the stack segment? Implicit stack accesses check first. */
static bool through_stack(const struct emu_insn *insn)
{
    return insn && insn->ea == 0 && (insn->base == RSP || insn->base == RBP);
}

static void check_address(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                          uint32_t size_bytes, uint32_t alignment)
{
    if (emu_code64(cpu) &&
        !(emu_canonical(cpu, linear) && emu_canonical(cpu, linear + size_bytes - 1)))
        emu_raise_error(cpu, insn, through_stack(insn) ? EXC_SS : EXC_GP, 0);
    if (emu_checks_alignment(cpu) && linear % alignment)
        emu_raise_error(cpu, insn, EXC_AC, 0);
}

/* Of words, doublewords and quadwords; wider operands raise #AC only where their instruction
 * says so. SDM vol. 3A table 6-7 */
static uint32_t natural_alignment(uint32_t size_bytes)
{
    return size_bytes <= 8 ? size_bytes : 1;
}

void emu_stack_canonical(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                         uint32_t size_bytes)
{
    if (emu_code64(cpu) &&
        !(emu_canonical(cpu, linear) && emu_canonical(cpu, linear + size_bytes - 1)))
        emu_raise_error(cpu, insn, EXC_SS, 0);
}

static enum emu_tlb_index current_tlb(const struct emu_cpu *cpu)
{
    for (unsigned i = 0; i < EMU_TLB_CODE; i++)
        if (cpu->tlb == cpu->tlbs[i])
            return (enum emu_tlb_index)i;
    return EMU_TLB_KERNEL;
}

/* Linear addresses have 32 bits outside 64-bit mode; the processor's own accesses have
 * all 64 in compatibility mode too. */
static uint64_t address_mask(bool wide)
{
    return wide ? UINT64_MAX : UINT32_MAX;
}

static uint64_t translate(struct emu_cpu *cpu, const struct emu_insn *insn,
                          enum emu_tlb_index index, uint64_t linear, enum emu_access access)
{
    uint64_t gpa;
    uint32_t error;
    if (!emu_tlb_translate(cpu, index, linear, access, &gpa, &error))
        emu_raise_page_fault(cpu, insn, linear, error);
    return gpa;
}

/* A piece of an access that lies in one page. */
static void read_piece(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t gpa, uint8_t *to,
                       uint32_t size_bytes)
{
    const uint8_t *host = emu_phys(cpu->vm, gpa, false);
    if (host) {
        memcpy(to, host, size_bytes);
        return;
    }
    while (size_bytes) {
        uint32_t part = size_bytes < 8 ? size_bytes : 8;
        uint64_t value = emu_bus_read(cpu, insn, false, gpa, part);
        memcpy(to, &value, part);
        gpa += part;
        to += part;
        size_bytes -= part;
    }
}

static void write_piece(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t gpa,
                        const uint8_t *from, uint32_t size_bytes)
{
    uint8_t *host = emu_phys(cpu->vm, gpa, true);
    cpu->spin.stored |= !host || memcmp(host, from, size_bytes) != 0;
    if (host) {
        if (emu_code_overlaps(cpu->vm, gpa, size_bytes)) {
            if (insn && !cpu->stepping)
                emu_retry_alone(cpu, insn);
            emu_code_written(cpu->vm, gpa, size_bytes);
        }
        memcpy(host, from, size_bytes);
        return;
    }
    while (size_bytes) {
        uint32_t part = size_bytes < 8 ? size_bytes : 8;
        uint64_t value = 0;
        memcpy(&value, from, part);
        emu_bus_write(cpu, insn, false, gpa, part, value);
        gpa += part;
        from += part;
        size_bytes -= part;
    }
}

static void watch(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                  uint32_t size_bytes, bool write)
{
    if (EMU_LIKELY(!(emu_dr(cpu)[7] & DR7_ENABLED)))
        return;
    if (insn && !cpu->stepping &&
        (emu_watched(cpu, linear & EMU_PAGE_MASK) ||
         emu_watched(cpu, (linear + size_bytes - 1) & EMU_PAGE_MASK)))
        emu_retry_alone(cpu, insn);
    emu_watch_hit(cpu, linear, size_bytes, write);
}

/* Bytes of the access that lie in its first page. */
static uint32_t first_part(uint64_t linear, uint32_t size_bytes)
{
    uint32_t left = EMU_PAGE_BYTES - (uint32_t)(linear % EMU_PAGE_BYTES);
    return size_bytes < left ? size_bytes : left;
}

static void read_linear(struct emu_cpu *cpu, const struct emu_insn *insn, enum emu_tlb_index index,
                        uint64_t linear, uint64_t mask, uint8_t *to, uint32_t size_bytes)
{
    linear &= mask;
    uint32_t first = first_part(linear, size_bytes);
    uint64_t gpa = translate(cpu, insn, index, linear, EMU_READ), gpa2 = 0;
    if (first < size_bytes)
        gpa2 = translate(cpu, insn, index, (linear + first) & mask, EMU_READ);
    read_piece(cpu, insn, gpa, to, first);
    if (first < size_bytes)
        read_piece(cpu, insn, gpa2, to + first, size_bytes - first);
}

static void write_linear(struct emu_cpu *cpu, const struct emu_insn *insn, enum emu_tlb_index index,
                         uint64_t linear, uint64_t mask, const uint8_t *from, uint32_t size_bytes)
{
    linear &= mask;
    uint32_t first = first_part(linear, size_bytes);
    uint64_t gpa = translate(cpu, insn, index, linear, EMU_WRITE), gpa2 = 0;
    if (first < size_bytes)
        gpa2 = translate(cpu, insn, index, (linear + first) & mask, EMU_WRITE);
    write_piece(cpu, insn, gpa, from, first);
    if (first < size_bytes)
        write_piece(cpu, insn, gpa2, from + first, size_bytes - first);
}

uint64_t emu_read_slow(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                       uint32_t size_bytes)
{
    uint64_t value = 0;
    emu_read_bytes(cpu, insn, linear, &value, size_bytes);
    return value;
}

void emu_write_slow(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                    uint32_t size_bytes, uint64_t value)
{
    emu_write_bytes(cpu, insn, linear, &value, size_bytes);
}

void emu_read_bytes(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear, void *to,
                    uint32_t size_bytes)
{
    emu_read_aligned(cpu, insn, linear, to, size_bytes, natural_alignment(size_bytes));
}

void emu_read_aligned(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear, void *to,
                      uint32_t size_bytes, uint32_t alignment)
{
    emu_tlb_recall(cpu->tlb, linear);
    const uint8_t *host = emu_tlb_read(cpu, linear, size_bytes);
    if (host) {
        memcpy(to, host, size_bytes);
        return;
    }
    check_address(cpu, insn, linear, size_bytes, alignment);
    read_linear(cpu, insn, current_tlb(cpu), linear, address_mask(emu_code64(cpu)), to, size_bytes);
    watch(cpu, insn, linear, size_bytes, false);
}

void emu_write_bytes(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                     const void *from, uint32_t size_bytes)
{
    emu_write_aligned(cpu, insn, linear, from, size_bytes, natural_alignment(size_bytes));
}

void emu_write_aligned(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                       const void *from, uint32_t size_bytes, uint32_t alignment)
{
    emu_tlb_recall(cpu->tlb, linear);
    uint8_t *host = emu_tlb_write(cpu, linear, size_bytes);
    if (host) {
        memcpy(host, from, size_bytes);
        return;
    }
    check_address(cpu, insn, linear, size_bytes, alignment);
    watch(cpu, insn, linear, size_bytes, true);
    write_linear(cpu, insn, current_tlb(cpu), linear, address_mask(emu_code64(cpu)), from,
                 size_bytes);
}

/* A store to this piece needs the instruction to run alone: device, code. */
static bool is_special(struct emu_cpu *cpu, uint64_t gpa, uint32_t size_bytes)
{
    return !emu_phys(cpu->vm, gpa, true) || emu_code_overlaps(cpu->vm, gpa, size_bytes);
}

/* Raise what a store here would, and have the instruction run alone if a store would ask
 * for that: afterwards, the store cannot fail. Before any read-modify-write. */
void emu_probe_write(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                     uint32_t size_bytes)
{
    emu_probe_aligned(cpu, insn, linear, size_bytes, natural_alignment(size_bytes));
}

void emu_probe_aligned(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                       uint32_t size_bytes, uint32_t alignment)
{
    emu_tlb_recall(cpu->tlb, linear);
    if (emu_tlb_write(cpu, linear, size_bytes))
        return;
    check_address(cpu, insn, linear, size_bytes, alignment);
    uint64_t mask = address_mask(emu_code64(cpu));
    uint32_t first = first_part(linear, size_bytes);
    enum emu_tlb_index index = current_tlb(cpu);
    uint64_t gpa = translate(cpu, insn, index, linear & mask, EMU_WRITE);
    bool special = is_special(cpu, gpa, first);
    if (first < size_bytes) {
        gpa = translate(cpu, insn, index, (linear + first) & mask, EMU_WRITE);
        special |= is_special(cpu, gpa, size_bytes - first);
    }
    if (!cpu->stepping && (special || (emu_dr(cpu)[7] & DR7_ENABLED)))
        emu_retry_alone(cpu, insn);
}

/* The part at `at`, of which the last ends with the operand. */
static uint32_t part_bytes(emu_part_bytes *part, uint32_t at, uint32_t size_bytes)
{
    uint32_t bytes = part(at), left = size_bytes - at;
    return bytes < left ? bytes : left;
}

void emu_load_parts(struct emu_cpu *cpu, const struct emu_insn *insn, void *to, uint32_t size_bytes,
                    emu_part_bytes *part, uint32_t alignment)
{
    if (!emu_wraps(cpu, insn, size_bytes)) {
        uint64_t linear = emu_ea(cpu, insn, size_bytes, false);
        emu_read_aligned(cpu, insn, linear, to, size_bytes, alignment);
        return;
    }
    for (uint32_t at = 0, bytes; at < size_bytes; at += bytes) {
        bytes = part_bytes(part, at, size_bytes);
        uint64_t linear = emu_ea_part(cpu, insn, at, bytes, false);
        emu_load_vec(cpu, insn, linear, (uint8_t *)to + at, bytes);
    }
}

void emu_probe_parts(struct emu_cpu *cpu, const struct emu_insn *insn, uint32_t size_bytes,
                     emu_part_bytes *part)
{
    if (!emu_wraps(cpu, insn, size_bytes)) {
        emu_probe_write(cpu, insn, emu_ea(cpu, insn, size_bytes, true), size_bytes);
        return;
    }
    for (uint32_t at = 0, bytes; at < size_bytes; at += bytes) {
        bytes = part_bytes(part, at, size_bytes);
        emu_probe_write(cpu, insn, emu_ea_part(cpu, insn, at, bytes, true), bytes);
    }
}

/* All of it, or nothing where a part faults. */
void emu_store_parts(struct emu_cpu *cpu, const struct emu_insn *insn, const void *from,
                     uint32_t size_bytes, emu_part_bytes *part, uint32_t alignment)
{
    if (!emu_wraps(cpu, insn, size_bytes)) {
        uint64_t linear = emu_ea(cpu, insn, size_bytes, true);
        emu_write_aligned(cpu, insn, linear, from, size_bytes, alignment);
        return;
    }
    emu_probe_parts(cpu, insn, size_bytes, part);
    for (uint32_t at = 0, bytes; at < size_bytes; at += bytes) {
        bytes = part_bytes(part, at, size_bytes);
        uint64_t linear = emu_ea_part(cpu, insn, at, bytes, true);
        emu_store_vec(cpu, insn, linear, (const uint8_t *)from + at, bytes);
    }
}

uint64_t emu_read_system(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                         uint32_t size_bytes)
{
    uint64_t value = 0;
    read_linear(cpu, insn, EMU_TLB_KERNEL, linear, address_mask(emu_long_mode(cpu)),
                (uint8_t *)&value, size_bytes);
    return value;
}

void emu_write_system(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                      uint32_t size_bytes, uint64_t value)
{
    write_linear(cpu, insn, EMU_TLB_KERNEL, linear, address_mask(emu_long_mode(cpu)),
                 (const uint8_t *)&value, size_bytes);
}

/* With the rights of another privilege level: stacks that are being switched to. */
static enum emu_tlb_index tlb_of(const struct emu_cpu *cpu, unsigned cpl)
{
    return cpl == cpu->cpl ? current_tlb(cpu) : cpl == 3 ? EMU_TLB_USER : EMU_TLB_KERNEL;
}

uint64_t emu_read_as(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned cpl,
                     uint64_t linear, uint32_t size_bytes)
{
    uint64_t value = 0;
    read_linear(cpu, insn, tlb_of(cpu, cpl), linear, address_mask(emu_long_mode(cpu)),
                (uint8_t *)&value, size_bytes);
    if (insn)
        watch(cpu, insn, linear, size_bytes, false);
    return value;
}

void emu_write_as(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned cpl, uint64_t linear,
                  uint32_t size_bytes, uint64_t value)
{
    if (insn)
        watch(cpu, insn, linear, size_bytes, true);
    write_linear(cpu, insn, tlb_of(cpu, cpl), linear, address_mask(emu_long_mode(cpu)),
                 (const uint8_t *)&value, size_bytes);
}

uint64_t emu_fetch_gpa(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear)
{
    if (emu_code64(cpu) && !emu_canonical(cpu, linear))
        emu_raise_error(cpu, insn, EXC_GP, 0);
    enum emu_tlb_index index = cpu->cpl == 3 ? EMU_TLB_USER_CODE : EMU_TLB_CODE;
    return translate(cpu, insn, index, linear & address_mask(emu_code64(cpu)), EMU_EXECUTE);
}
