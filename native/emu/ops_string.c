/* MOVS, CMPS, STOS, LODS, SCAS, with and without repetition. */
#include "strings.h"

/* How many elements lie in the page of `linear` from there on, at most `count`. */
static uint64_t in_page(uint64_t linear, uint64_t count, uint32_t size_bytes)
{
    uint64_t fit = (EMU_PAGE_BYTES - linear % EMU_PAGE_BYTES) / size_bytes;
    return count < fit ? count : fit;
}

/* Elements that overlap upward repeat, as they do when copied one by one. */
static void copy_elements(uint8_t *to, const uint8_t *from, uint64_t count, uint32_t size_bytes)
{
    uint64_t bytes = count * size_bytes;
    if (to <= from || to >= from + bytes) {
        memmove(to, from, bytes);
        return;
    }
    for (uint64_t at = 0; at < bytes; at += size_bytes)
        memmove(to + at, from + at, size_bytes);
}

/* A stretch of REP MOVS within a page at both ends; returns how many elements. */
static uint64_t movs_bulk(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t count,
                          uint32_t bytes)
{
    uint64_t from = emu_source(cpu, insn, bytes), to = emu_target(cpu, insn, bytes, true);
    count = in_page(to, in_page(from, count, bytes), bytes);
    if (!count)
        return 0;
    const uint8_t *source = emu_tlb_read(cpu, from, (uint32_t)count * bytes);
    uint8_t *target = emu_tlb_write(cpu, to, (uint32_t)count * bytes);
    if (!source || !target)
        return 0;
    copy_elements(target, source, count, bytes);
    emu_advance(cpu, insn, RSI, count * bytes);
    emu_advance(cpu, insn, RDI, count * bytes);
    return count;
}

static uint64_t movs_one(struct emu_cpu *cpu, const struct emu_insn *insn, uint32_t bytes)
{
    uint64_t value = emu_load(cpu, insn, emu_source(cpu, insn, bytes), bytes);
    emu_store(cpu, insn, emu_target(cpu, insn, bytes, true), bytes, value);
    emu_advance(cpu, insn, RSI, bytes);
    emu_advance(cpu, insn, RDI, bytes);
    return 1;
}

static void fill_elements(uint8_t *to, uint64_t value, uint64_t count, uint32_t size_bytes)
{
    if (size_bytes == 1) {
        memset(to, (uint8_t)value, count);
        return;
    }
    uint64_t done = size_bytes, bytes = count * size_bytes;
    memcpy(to, &value, size_bytes);
    for (; done < bytes; done *= 2)
        memcpy(to + done, to, done < bytes - done ? done : bytes - done);
}

static uint64_t stos_bulk(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t count,
                          uint32_t bytes)
{
    uint64_t to = emu_target(cpu, insn, bytes, true);
    count = in_page(to, count, bytes);
    uint8_t *target = count ? emu_tlb_write(cpu, to, (uint32_t)count * bytes) : NULL;
    if (!target)
        return 0;
    fill_elements(target, cpu->gpr[RAX], count, bytes);
    emu_advance(cpu, insn, RDI, count * bytes);
    return count;
}

static uint64_t stos_one(struct emu_cpu *cpu, const struct emu_insn *insn, uint32_t bytes)
{
    emu_store(cpu, insn, emu_target(cpu, insn, bytes, true), bytes, cpu->gpr[RAX]);
    emu_advance(cpu, insn, RDI, bytes);
    return 1;
}

typedef uint64_t repeat_bulk(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t count,
                             uint32_t bytes);
typedef uint64_t repeat_one(struct emu_cpu *cpu, const struct emu_insn *insn, uint32_t bytes);

/* Repeat for a while; true once the counter is 0. State is right after each element, so
 * that a fault in one leaves the rest to be done. */
static bool repeat(struct emu_cpu *cpu, const struct emu_insn *insn, uint32_t bytes,
                   repeat_bulk *bulk, repeat_one *one, uint32_t pointers)
{
    uint64_t count, done;
    if (emu_counts_none(cpu, insn, pointers))
        return true;
    do {
        count = emu_counter(cpu, insn), done = 0;
        if (!count)
            return true;
        if (bulk && emu_bulk(cpu, insn))
            done = bulk(cpu, insn, count, bytes);
        if (!done)
            done = one(cpu, insn, bytes);
    } while (emu_repeat_on(cpu, insn, done));
    return emu_counter(cpu, insn) == 0;
}

static uint64_t lods_one(struct emu_cpu *cpu, const struct emu_insn *insn, uint32_t bytes)
{
    uint64_t value = emu_load(cpu, insn, emu_source(cpu, insn, bytes), bytes);
    emu_set(cpu, RAX, emu_osize(insn), value);
    emu_advance(cpu, insn, RSI, bytes);
    return 1;
}

/* The two sides of a comparison. */
struct elements {
    uint64_t a, b;
};
typedef struct elements compare_one(struct emu_cpu *cpu, const struct emu_insn *insn,
                                    uint32_t bytes);

/* Flags of a - b for a size known only at run time. */
static void compare_flags(struct emu_cpu *cpu, struct elements of, uint32_t bytes)
{
    unsigned shift = 64 - 8 * bytes;
    uint64_t mask = UINT64_MAX >> shift, difference = (of.a - of.b) & mask;
    uint64_t borrows = EMU_BORROWS(of.a, of.b, difference) & mask;
    emu_flags_result(cpu, (int64_t)(difference << shift) >> shift,
                     emu_align_carries(borrows, 8 * bytes));
}

static struct elements cmps_one(struct emu_cpu *cpu, const struct emu_insn *insn, uint32_t bytes)
{
    struct elements of;
    of.a = emu_load(cpu, insn, emu_source(cpu, insn, bytes), bytes);
    of.b = emu_load(cpu, insn, emu_target(cpu, insn, bytes, false), bytes);
    emu_advance(cpu, insn, RSI, bytes);
    emu_advance(cpu, insn, RDI, bytes);
    return of;
}

static struct elements scas_one(struct emu_cpu *cpu, const struct emu_insn *insn, uint32_t bytes)
{
    struct elements of = {.a = emu_get(cpu, RAX, emu_osize(insn))};
    of.b = emu_load(cpu, insn, emu_target(cpu, insn, bytes, false), bytes);
    emu_advance(cpu, insn, RDI, bytes);
    return of;
}

/* Repeat while elements are equal (REPE) or differ (REPNE). Flags are set at the end: whatever
 * comes before it finds those from before the instruction (SDM vol. 2B, REP). */
static bool repeat_compare(struct emu_cpu *cpu, const struct emu_insn *insn, uint32_t bytes,
                           compare_one *one)
{
    bool while_equal = insn->prefix & EMU_PREFIX_REP;
    bool goes_on = true;
    if (emu_counts_none(cpu, insn, 0))
        return true;
    while (goes_on) {
        struct elements of = one(cpu, insn, bytes);
        goes_on = emu_repeat_on(cpu, insn, 1);
        if ((of.a == of.b) != while_equal || !emu_counter(cpu, insn)) {
            compare_flags(cpu, of, bytes);
            return true;
        }
    }
    return false;
}

#define MOVING(mn, bulk, pointers)                                                                 \
    static EMU_OP(op_##mn)                                                                         \
    {                                                                                              \
        uint32_t bytes = emu_osize_bytes(insn);                                                    \
        if (!emu_repeats(insn))                                                                    \
            mn##_one(cpu, insn, bytes);                                                            \
        else if (!repeat(cpu, insn, bytes, bulk, mn##_one, pointers))                              \
            return emu_pause(cpu, insn);                                                           \
        EMU_NEXT;                                                                                  \
    }
#define COMPARING(mn)                                                                              \
    static EMU_OP(op_##mn)                                                                         \
    {                                                                                              \
        uint32_t bytes = emu_osize_bytes(insn);                                                    \
        if (!emu_repeats(insn))                                                                    \
            compare_flags(cpu, mn##_one(cpu, insn, bytes), bytes);                                 \
        else if (!repeat_compare(cpu, insn, bytes, mn##_one))                                      \
            return emu_pause(cpu, insn);                                                           \
        EMU_NEXT;                                                                                  \
    }
MOVING(movs, movs_bulk, 1u << RSI | 1u << RDI)
MOVING(stos, stos_bulk, 1u << RDI)
MOVING(lods, NULL, 0)
COMPARING(cmps)
COMPARING(scas)

#define ONE(name) static const struct emu_forms name = EMU_FORMS_1(op_##name);
ONE(movs)
ONE(stos)
ONE(lods)
ONE(cmps)
ONE(scas)

#define STRING_ROWS(opcode, mn)                                                                    \
    {EMU_MAP_1, opcode, 0, EMU_IMPLICIT | EMU_SIZE_B, &mn, NULL},                                  \
    {                                                                                              \
        EMU_MAP_1, opcode + 1, 0, EMU_IMPLICIT | EMU_SIZE_V, &mn, NULL                             \
    }

static const struct emu_row rows[] = {
    STRING_ROWS(0xa4, movs), STRING_ROWS(0xa6, cmps), STRING_ROWS(0xaa, stos),
    STRING_ROWS(0xac, lods), STRING_ROWS(0xae, scas),
};
EMU_FAMILY(emu_family_string, rows);
