/* Blocks of decoded instructions, found by physical address and mode. */
#ifndef PYKVM_EMU_BLOCK_H
#define PYKVM_EMU_BLOCK_H

#include "insn.h"

#define EMU_BLOCK_INSNS 48
#define EMU_NO_PAGE UINT64_MAX

struct emu_block {
    uint64_t gpa;  /* or EMU_NO_PAGE: dropped */
    uint64_t gpa2; /* of the second page where the block's one instruction crosses, or none */
    uint32_t mode;
    uint16_t size_bytes;
    uint8_t count; /* guest instructions */
    struct emu_block *hash_next;
    struct emu_block *page_next, *page2_next;
    struct emu_insn insn[];
};

/* Where a block's last instruction goes to: two of these lie behind it, in the space of
 * two instructions. Valid while gen is the processor's code_gen. */
struct emu_link {
    uint64_t rip;
    uint64_t gen;
    struct emu_block *block;
    uint64_t unused;
};
_Static_assert(sizeof(struct emu_link) == sizeof(struct emu_insn), "links fill insn slots");

/* Where indirect branches look first: by rip. */
#define EMU_JUMPS 16384
struct emu_jump_entry {
    uint64_t rip;
    uint64_t gen;
    struct emu_block *block;
    uint64_t unused;
};

/* The entry that rip has to be in. Functions begin at even addresses: the page counts too. */
#define EMU_JUMP_SLOT(rip) (((rip) ^ (rip) >> 12) % EMU_JUMPS)

/* A physical page that blocks were decoded from. */
struct emu_code_page {
    uint64_t gpa;
    uint64_t chunks;            /* bit n: some block has bytes in [64 n, 64 n + 64) */
    struct emu_block *blocks;   /* that begin here */
    struct emu_block *crossing; /* whose one instruction ends here */
    struct emu_code_page *next;
};

#define EMU_BLOCK_BUCKETS 32768
#define EMU_PAGE_BUCKETS 4096
#define EMU_ARENA_CHUNK_BYTES (256u << 10)
#define EMU_ARENA_CHUNKS_MAX 192 /* 48 MiB of decoded code, then all of it is dropped */

struct emu_cache {
    struct emu_block **blocks;
    struct emu_code_page **pages;
    uint8_t *chunk[EMU_ARENA_CHUNKS_MAX];
    uint32_t chunks, used_bytes;
    bool flush_wanted;
};

struct emu_vm;
int emu_cache_init(struct emu_cache *cache);
void emu_cache_deinit(struct emu_cache *cache);
void emu_cache_flush(struct emu_vm *vm);

struct emu_block *emu_block_find(struct emu_cpu *cpu, uint64_t rip);
const struct emu_insn *emu_block_enter(struct emu_cpu *cpu, struct emu_block *block);
void emu_block_build_step(struct emu_cpu *cpu);

bool emu_code_page_find(const struct emu_vm *vm, uint64_t gpa);
bool emu_code_overlaps(const struct emu_vm *vm, uint64_t gpa, uint64_t size_bytes);
void emu_code_written(struct emu_vm *vm, uint64_t gpa, uint64_t size_bytes);

#endif
