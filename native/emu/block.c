/* From an address to a block that can be executed, and from block to block. */
#include <string.h>

#include "cache.h"
#include "ops.h"
#include "tlb.h"

/* The end of a block that stops before a branch: one link leads on. */
static EMU_OP(op_block_end)
{
    EMU_CHAIN(0, cpu->gpr[EMU_RIP] + insn->offset);
}

/* The same where rip is 16 or 32 bits. */
static EMU_OP(op_block_end_32)
{
    EMU_CHAIN(0, (uint32_t)(cpu->gpr[EMU_RIP] + insn->offset));
}

/* Behind the instruction that runs alone. */
static EMU_OP(op_step_end)
{
    EMU_LEAVE(emu_insn_rip(cpu, insn));
}

static uint64_t linear_rip(const struct emu_cpu *cpu, uint64_t rip)
{
    return emu_code64(cpu) ? rip : (uint32_t)(cpu->seg[EMU_CS].base + rip);
}

/* Where the decoder stands: its place in guest memory and what it has there. */
struct source {
    struct emu_cpu *cpu;
    uint64_t rip;
    uint64_t gpa;
    const uint8_t *bytes; /* the rest of the page, from gpa */
    uint32_t available;
};

/* Code outside memory reads as FF bytes, as from a bus where nobody answers. */
static const uint8_t nothing[16] = {255, 255, 255, 255, 255, 255, 255, 255,
                                    255, 255, 255, 255, 255, 255, 255, 255};

/* Code beyond the limit is #GP before anything is fetched. 64-bit code has none. */
static void check_limit(struct emu_cpu *cpu, uint64_t last_rip)
{
    if (!emu_code64(cpu) && last_rip > cpu->seg[EMU_CS].limit)
        emu_raise_error(cpu, NULL, EXC_GP, 0);
}

static void source_open(struct source *source, struct emu_cpu *cpu, uint64_t rip)
{
    uint64_t linear = linear_rip(cpu, rip);
    check_limit(cpu, rip);
    source->cpu = cpu;
    source->rip = rip;
    source->gpa = emu_fetch_gpa(cpu, NULL, linear);
    source->bytes = emu_phys(cpu->vm, source->gpa, false);
    source->available = EMU_PAGE_BYTES - (uint32_t)(source->gpa % EMU_PAGE_BYTES);
    if (!source->bytes) {
        source->bytes = nothing;
        source->available = sizeof(nothing);
    }
}

/* An instruction that goes on in the next page. Returns the second page's address. */
static uint64_t decode_crossing(const struct source *source, struct emu_decoded *decoded)
{
    struct emu_cpu *cpu = source->cpu;
    uint8_t bytes[16];
    uint64_t linear = linear_rip(cpu, source->rip + source->available);
    check_limit(cpu, source->rip + source->available);
    uint64_t gpa2 = emu_fetch_gpa(cpu, NULL, linear);
    const uint8_t *rest = emu_phys(cpu->vm, gpa2, false);
    memcpy(bytes, source->bytes, source->available);
    memcpy(bytes + source->available, rest ? rest : nothing, sizeof(bytes) - source->available);
    emu_decode(cpu->features, cpu->mode, bytes, sizeof(bytes), decoded);
    return gpa2;
}

/* Turn what counts from the instruction's end into what counts from the block's start. */
static void place(struct emu_decoded *decoded, uint32_t offset)
{
    struct emu_insn *insn = &decoded->insn;
    uint32_t imm = decoded->shape & EMU_IMM_MASK;
    insn->offset = (uint16_t)offset;
    if (imm == EMU_IMM_REL8 || imm == EMU_IMM_RELZ)
        insn->imm += offset + insn->length;
    if (imm == EMU_IMM_OFFS)
        insn->base = insn->index = EMU_ZERO;
    if (insn->base != EMU_RIP)
        return;
    int64_t disp = (int64_t)insn->disp + offset + insn->length;
    if (disp == (int32_t)disp)
        insn->disp = (int32_t)disp;
    else
        insn->op = emu_op_alone;
}

/* Decode up to a branch, the page's end or the block's limit. Returns the count. */
static uint32_t decode_run(const struct source *source, struct emu_decoded *decoded,
                           uint32_t max_count, uint32_t *size_bytes)
{
    uint32_t count = 0, offset = 0;
    while (count < max_count && offset < source->available) {
        struct emu_decoded *next = &decoded[count];
        if (emu_decode(source->cpu->features, source->cpu->mode, source->bytes + offset,
                       source->available - offset, next) == EMU_DECODE_MORE)
            break;
        place(next, offset);
        offset += next->insn.length;
        count++;
        if (next->shape & EMU_END)
            break;
    }
    *size_bytes = offset;
    return count;
}

static void number(struct emu_decoded *decoded, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        decoded[i].insn.rest = (uint8_t)(count - i);
}

/* Lay a block out: instructions, its end where no branch is, links. */
static void fill_block(struct emu_block *block, const struct emu_decoded *decoded, uint32_t slots,
                       uint32_t mode)
{
    struct emu_insn *insn = block->insn;
    for (uint32_t i = 0; i < slots; i++)
        *insn++ = decoded[i].insn;
    if (!(decoded[slots - 1].shape & EMU_END))
        *insn++ = (struct emu_insn){
            .op = mode & EMU_MODE_CODE64 ? op_block_end : op_block_end_32,
            .offset = block->size_bytes,
        };
    memset(insn, 0, 2 * sizeof(struct emu_link));
}

static struct emu_block *build(struct emu_cpu *cpu, const struct source *source)
{
    struct emu_decoded decoded[EMU_BLOCK_INSNS];
    uint32_t size_bytes, count = decode_run(source, decoded, EMU_BLOCK_INSNS, &size_bytes);
    uint64_t gpa2 = EMU_NO_PAGE;
    if (!count) {
        gpa2 = decode_crossing(source, decoded);
        place(decoded, 0);
        count = 1;
        size_bytes = decoded[0].insn.length;
    }
    number(decoded, count);
    uint32_t slots = emu_fold(decoded, count);
    struct emu_block *block =
        emu_cache_take(&cpu->vm->cache, sizeof(*block) + (slots + 3) * sizeof(struct emu_insn));
    if (!block)
        return NULL;
    *block = (struct emu_block){
        .gpa = source->gpa,
        .gpa2 = gpa2,
        .mode = cpu->mode,
        .size_bytes = (uint16_t)size_bytes,
        .count = (uint8_t)count,
    };
    fill_block(block, decoded, slots, cpu->mode);
    return emu_cache_insert(cpu->vm, block) ? block : NULL;
}

/* The code segment's limit covers the block? In 64-bit mode there is none. */
static bool within_limit(const struct emu_cpu *cpu, const struct emu_block *block, uint64_t rip)
{
    return emu_code64(cpu) || rip + block->size_bytes - 1 <= cpu->seg[EMU_CS].limit;
}

/* The second page of a crossing instruction is mapped to where it was? */
static bool crosses_as_before(struct emu_cpu *cpu, const struct emu_block *block, uint64_t rip)
{
    if (block->gpa2 == EMU_NO_PAGE)
        return true;
    uint64_t second = linear_rip(cpu, rip + EMU_PAGE_BYTES - block->gpa % EMU_PAGE_BYTES);
    return emu_fetch_gpa(cpu, NULL, second) == block->gpa2;
}

/* The block at rip, or NULL where the instruction there has to run alone. Faults on
 * fetch are raised, with rip in gpr[EMU_RIP]. */
struct emu_block *emu_block_find(struct emu_cpu *cpu, uint64_t rip)
{
    struct emu_jump_entry *entry = &cpu->jumps[EMU_JUMP_SLOT(rip)];
    if (entry->rip == rip && entry->gen == cpu->code_gen)
        return entry->block;
    if (cpu->vm->cache.flush_wanted)
        emu_cache_flush(cpu->vm);

    struct source source;
    source_open(&source, cpu, rip);
    struct emu_block *block = emu_cache_find(cpu->vm, source.gpa, cpu->mode);
    if (!block)
        block = build(cpu, &source);
    if (!block)
        cpu->vm->cache.flush_wanted = true;
    if (!block || !within_limit(cpu, block, rip) || !crosses_as_before(cpu, block, rip))
        return NULL;
    *entry = (struct emu_jump_entry){.rip = rip, .gen = cpu->code_gen, .block = block};
    return block;
}

const struct emu_insn *emu_block_enter(struct emu_cpu *cpu, struct emu_block *block)
{
    if (!emu_may_enter(cpu, block)) {
        cpu->left += block->count;
        return NULL;
    }
    return block->insn;
}

/* The block at rip if one has been decoded and is to be had without a fault; both are the
 * run loop's business. Links whose generation is over mostly lead to where they led. */
static struct emu_block *find_decoded(struct emu_cpu *cpu, const struct emu_link *link,
                                      uint64_t rip)
{
    uint64_t gpa;
    uint32_t error;
    enum emu_tlb_index index = cpu->cpl == 3 ? EMU_TLB_USER_CODE : EMU_TLB_CODE;
    if (!emu_code64(cpu) || cpu->vm->cache.flush_wanted || !emu_canonical(cpu, rip) ||
        !emu_tlb_translate(cpu, index, rip, EMU_EXECUTE, &gpa, &error))
        return NULL;
    struct emu_block *block = link && link->rip == rip ? link->block : NULL;
    if (!block || block->gpa != gpa || block->mode != cpu->mode)
        block = emu_cache_find(cpu->vm, gpa, cpu->mode);
    return block && block->gpa2 == EMU_NO_PAGE ? block : NULL;
}

/* The way to a block that no link leads to yet, or no longer. */
const struct emu_insn *emu_chain_slow(struct emu_cpu *cpu, struct emu_link *link, uint64_t rip)
{
    cpu->gpr[EMU_RIP] = rip;
    if (atomic_load_explicit(&cpu->attention, memory_order_relaxed))
        return NULL;
    struct emu_jump_entry *entry = &cpu->jumps[EMU_JUMP_SLOT(rip)];
    if (entry->rip != rip || entry->gen != cpu->code_gen) {
        struct emu_block *block = find_decoded(cpu, link, rip);
        if (!block)
            return NULL;
        *entry = (struct emu_jump_entry){.rip = rip, .gen = cpu->code_gen, .block = block};
    }
    if (link)
        *link = (struct emu_link){.rip = rip, .gen = entry->gen, .block = entry->block};
    return emu_block_enter(cpu, entry->block);
}

/* Decode the instruction at rip into cpu->step, to run alone. */
void emu_block_build_step(struct emu_cpu *cpu)
{
    uint64_t rip = cpu->gpr[EMU_RIP];
    struct emu_decoded decoded;
    struct source source;
    source_open(&source, cpu, rip);
    if (emu_decode(cpu->features, cpu->mode, source.bytes, source.available, &decoded) ==
        EMU_DECODE_MORE)
        decode_crossing(&source, &decoded);
    if (decoded.insn.base == EMU_RIP)
        decoded.insn.base = EMU_NEXT_RIP;
    cpu->gpr[EMU_NEXT_RIP] = rip + decoded.insn.length;
    place(&decoded, 0);
    decoded.insn.rest = 1;
    check_limit(cpu, rip + decoded.insn.length - 1);
    cpu->step.insn[0] = decoded.insn;
    cpu->step.insn[1] = (struct emu_insn){.op = op_step_end, .offset = decoded.insn.length};
}
