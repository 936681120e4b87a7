/* Loads and stores of chosen elements: VMASKMOV, VPMASKMOV, gathers. None of them checks alignment
 * (Intel SDM vol. 2C, VMASKMOV, VGATHERDPS). */
#include "vec.h"

static uint64_t load_element(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                             unsigned size_bytes)
{
    uint64_t value = 0;
    const uint8_t *host = emu_tlb_read(cpu, linear, size_bytes);
    if (EMU_LIKELY(host))
        memcpy(&value, host, size_bytes);
    else
        emu_read_aligned(cpu, insn, linear, &value, size_bytes, 1);
    return value;
}

static void store_element(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                          unsigned size_bytes, uint64_t value)
{
    uint8_t *host = emu_tlb_write(cpu, linear, size_bytes);
    if (EMU_LIKELY(host))
        memcpy(host, &value, size_bytes);
    else
        emu_write_aligned(cpu, insn, linear, &value, size_bytes, 1);
}

static inline bool chosen(const union emu_vec *mask, unsigned i, unsigned size_bytes)
{
    return size_bytes == 4 ? mask->u32[i & 7] >> 31 : mask->u64[i & 3] >> 63;
}

static inline void put(union emu_vec *vec, unsigned i, unsigned size_bytes, uint64_t value)
{
    if (size_bytes == 4)
        vec->u32[i & 7] = (uint32_t)value;
    else
        vec->u64[i & 3] = value;
}

/* What is not chosen is zero and cannot fault. */
static EMU_NOINLINE void load_chosen(struct emu_cpu *cpu, const struct emu_insn *insn,
                                     unsigned size_bytes, unsigned count)
{
    union emu_vec result = {.lane = {{0}, {0}}};
    uint64_t sum = emu_ea_sum(cpu, insn);
    for (unsigned i = 0; i < count; i++)
        if (chosen(&cpu->vec[insn->src], i, size_bytes)) {
            uint64_t linear = emu_ea_of(cpu, insn, sum + size_bytes * i, size_bytes, false);
            put(&result, i, size_bytes, load_element(cpu, insn, linear, size_bytes));
        }
    cpu->vec[insn->reg] = result;
}

/* All are probed before the first is stored. */
static EMU_NOINLINE void store_chosen(struct emu_cpu *cpu, const struct emu_insn *insn,
                                      unsigned size_bytes, unsigned count)
{
    const union emu_vec *mask = &cpu->vec[insn->src];
    uint64_t sum = emu_ea_sum(cpu, insn);
    for (unsigned i = 0; i < count; i++)
        if (chosen(mask, i, size_bytes))
            emu_probe_aligned(cpu, insn,
                              emu_ea_of(cpu, insn, sum + size_bytes * i, size_bytes, true),
                              size_bytes, 1);
    for (unsigned i = 0; i < count; i++) {
        const union emu_vec *source = &cpu->vec[insn->reg];
        if (!chosen(mask, i, size_bytes))
            continue;
        uint64_t value = size_bytes == 4 ? source->u32[i & 7] : source->u64[i & 3];
        store_element(cpu, insn, emu_ea_of(cpu, insn, sum + size_bytes * i, size_bytes, true),
                      size_bytes, value);
    }
}

/* A gather under way: what it has so far. */
struct gather {
    union emu_vec result, mask;
    unsigned index_bytes, size_bytes, count;
};

/* What has been loaded counts, should the next element fault: the mask says what remains
 * (Intel SDM vol. 2C, VGATHERDPS). An answer of a device is given to the element that asked
 * in every repetition, so that from then on nothing may be taken off the mask. */
static void keep_progress(struct emu_cpu *cpu, const struct emu_insn *insn,
                          const struct gather *gather)
{
    if (cpu->replay.next)
        return;
    cpu->vec[insn->reg] = gather->result;
    cpu->vec[insn->src] = gather->mask;
}

static uint64_t gather_element(struct emu_cpu *cpu, const struct emu_insn *insn,
                               const struct gather *gather, unsigned i)
{
    const union emu_vec *indexes = &cpu->vec[insn->imm];
    uint64_t index =
        gather->index_bytes == 4 ? (uint64_t)(int64_t)(int32_t)indexes->u32[i] : indexes->u64[i];
    uint64_t sum = emu_ea_sum(cpu, insn) + (index << insn->scale);
    if (insn->ea & EMU_EA_CHECK)
        keep_progress(cpu, insn, gather);
    uint64_t linear = emu_ea_of(cpu, insn, sum, gather->size_bytes, false);
    if (!emu_tlb_read(cpu, linear, gather->size_bytes))
        keep_progress(cpu, insn, gather);
    return load_element(cpu, insn, linear, gather->size_bytes);
}

/* The mask becomes all ones or nothing in each element before the first is loaded, and the rest of
 * both registers is cleared: a fault shows it. */
static void begin(struct gather *gather)
{
    unsigned bytes = gather->size_bytes * gather->count, kept = bytes > 16 ? 32 : 16;
    for (unsigned i = 0; i < gather->count; i++)
        put(&gather->mask, i, gather->size_bytes,
            chosen(&gather->mask, i, gather->size_bytes) ? UINT64_MAX : 0);
    memset(gather->mask.u8 + bytes, 0, sizeof(gather->mask) - bytes);
    memset(gather->result.u8 + kept, 0, sizeof(gather->result) - kept);
}

static EMU_NOINLINE void gather(struct emu_cpu *cpu, const struct emu_insn *insn,
                                unsigned index_bytes, unsigned size_bytes, unsigned count)
{
    unsigned bytes = size_bytes * count;
    struct gather at = {cpu->vec[insn->reg], cpu->vec[insn->src], index_bytes, size_bytes, count};
    if (insn->reg == insn->src || insn->reg == insn->imm || insn->src == insn->imm)
        emu_raise(cpu, insn, EXC_UD);
    begin(&at);
    for (unsigned i = 0; i < count; i++) {
        if (chosen(&at.mask, i, size_bytes))
            put(&at.result, i, size_bytes, gather_element(cpu, insn, &at, i));
        put(&at.mask, i, size_bytes, 0);
    }
    memset(at.result.u8 + bytes, 0, sizeof(at.result) - bytes);
    cpu->vec[insn->reg] = at.result;
    cpu->vec[insn->src] = (union emu_vec){.lane = {{0}, {0}}};
}

#define HANDLER(name, ...)                                                                         \
    static EMU_OP(op_##name)                                                                       \
    {                                                                                              \
        __VA_ARGS__;                                                                               \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static const struct emu_forms name = EMU_FORMS_RM(NULL, op_##name);
HANDLER(load_4x4, load_chosen(cpu, insn, 4, 4))
HANDLER(load_4x8, load_chosen(cpu, insn, 4, 8))
HANDLER(load_8x2, load_chosen(cpu, insn, 8, 2))
HANDLER(load_8x4, load_chosen(cpu, insn, 8, 4))
HANDLER(store_4x4, store_chosen(cpu, insn, 4, 4))
HANDLER(store_4x8, store_chosen(cpu, insn, 4, 8))
HANDLER(store_8x2, store_chosen(cpu, insn, 8, 2))
HANDLER(store_8x4, store_chosen(cpu, insn, 8, 4))
HANDLER(gather_dd_128, gather(cpu, insn, 4, 4, 4))
HANDLER(gather_dd_256, gather(cpu, insn, 4, 4, 8))
HANDLER(gather_dq_128, gather(cpu, insn, 4, 8, 2))
HANDLER(gather_dq_256, gather(cpu, insn, 4, 8, 4))
HANDLER(gather_qd_128, gather(cpu, insn, 8, 4, 2))
HANDLER(gather_qd_256, gather(cpu, insn, 8, 4, 4))
HANDLER(gather_qq_128, gather(cpu, insn, 8, 8, 2))
HANDLER(gather_qq_256, gather(cpu, insn, 8, 8, 4))

#define ROWS(opcode, w, shape, name_128, name_256)                                                 \
    EMU_VEC_ROW_VEX(38, opcode, EMU_P66 | EMU_MOD_M | EMU_L0 | (w), shape, name_128),              \
        EMU_VEC_ROW_VEX(38, opcode, EMU_P66 | EMU_MOD_M | EMU_L1 | (w), shape, name_256)
#define GATHER_ROWS(opcode, index)                                                                 \
    ROWS(opcode, EMU_W0 | EMU_RM(4), EMU_VSIB, gather_##index##d_128, gather_##index##d_256),      \
        ROWS(opcode, EMU_W1 | EMU_RM(4), EMU_VSIB, gather_##index##q_128, gather_##index##q_256)

static const struct emu_row rows[] = {
    ROWS(0x2c, EMU_W0, 0, load_4x4, load_4x8),
    ROWS(0x2d, EMU_W0, 0, load_8x2, load_8x4),
    ROWS(0x2e, EMU_W0, 0, store_4x4, store_4x8),
    ROWS(0x2f, EMU_W0, 0, store_8x2, store_8x4),
    ROWS(0x8c, EMU_W0, 0, load_4x4, load_4x8),
    ROWS(0x8c, EMU_W1, 0, load_8x2, load_8x4),
    ROWS(0x8e, EMU_W0, 0, store_4x4, store_4x8),
    ROWS(0x8e, EMU_W1, 0, store_8x2, store_8x4),
    GATHER_ROWS(0x90, d),
    GATHER_ROWS(0x91, q),
    GATHER_ROWS(0x92, d),
    GATHER_ROWS(0x93, q),
};
EMU_FAMILY(emu_family_vmask, rows);
