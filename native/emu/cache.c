/* Where decoded blocks live, and how they die: an arena, a hash by address, and the pages
 * they were decoded from. Memory of a dropped block is used again only after a flush. */
#include <stdlib.h>
#include <string.h>

#include "cache.h"

int emu_cache_init(struct emu_cache *cache)
{
    cache->blocks = calloc(EMU_BLOCK_BUCKETS, sizeof(*cache->blocks));
    cache->pages = calloc(EMU_PAGE_BUCKETS, sizeof(*cache->pages));
    return cache->blocks && cache->pages ? 0 : -1;
}

void emu_cache_deinit(struct emu_cache *cache)
{
    for (uint32_t i = 0; i < cache->chunks; i++)
        free(cache->chunk[i]);
    free(cache->blocks);
    free(cache->pages);
    *cache = (struct emu_cache){0};
}

/* Drop every block. Only where none is being executed: from the run loop. */
void emu_cache_flush(struct emu_vm *vm)
{
    struct emu_cache *cache = &vm->cache;
    for (uint32_t i = 1; i < cache->chunks; i++)
        free(cache->chunk[i]);
    cache->chunks = cache->chunks ? 1 : 0;
    cache->used_bytes = 0;
    cache->flush_wanted = false;
    memset(cache->blocks, 0, EMU_BLOCK_BUCKETS * sizeof(*cache->blocks));
    memset(cache->pages, 0, EMU_PAGE_BUCKETS * sizeof(*cache->pages));
    for (struct emu_cpu *cpu = vm->cpus; cpu; cpu = cpu->next) {
        memset(cpu->jumps, 0, EMU_JUMPS * sizeof(*cpu->jumps));
        emu_code_changed(cpu);
    }
}

/* Memory for a block or a page record; NULL where the arena is full. */
void *emu_cache_take(struct emu_cache *cache, size_t size_bytes)
{
    size_bytes = (size_bytes + 31) & ~(size_t)31;
    if (!cache->chunks || cache->used_bytes + size_bytes > EMU_ARENA_CHUNK_BYTES) {
        if (cache->chunks == EMU_ARENA_CHUNKS_MAX)
            return NULL;
        uint8_t *chunk = malloc(EMU_ARENA_CHUNK_BYTES);
        if (!chunk)
            return NULL;
        cache->chunk[cache->chunks++] = chunk;
        cache->used_bytes = 0;
    }
    void *memory = cache->chunk[cache->chunks - 1] + cache->used_bytes;
    cache->used_bytes += (uint32_t)size_bytes;
    return memory;
}

static uint32_t block_bucket(uint64_t gpa, uint32_t mode)
{
    uint64_t hash = (gpa ^ (uint64_t)mode << 20) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(hash >> 40) % EMU_BLOCK_BUCKETS;
}

static struct emu_code_page **page_bucket(const struct emu_vm *vm, uint64_t page)
{
    return &vm->cache.pages[(page / EMU_PAGE_BYTES) % EMU_PAGE_BUCKETS];
}

static struct emu_code_page *page_find(const struct emu_vm *vm, uint64_t gpa)
{
    uint64_t page = gpa & EMU_PAGE_MASK;
    struct emu_code_page *found = *page_bucket(vm, page);
    while (found && found->gpa != page)
        found = found->next;
    return found;
}

/* The record of a page that code comes from; stores to it are watched from now on. */
static struct emu_code_page *page_get(struct emu_vm *vm, uint64_t gpa)
{
    struct emu_code_page *page = page_find(vm, gpa);
    if (!page) {
        page = emu_cache_take(&vm->cache, sizeof(*page));
        if (!page)
            return NULL;
        struct emu_code_page **bucket = page_bucket(vm, gpa & EMU_PAGE_MASK);
        *page = (struct emu_code_page){.gpa = gpa & EMU_PAGE_MASK, .next = *bucket};
        *bucket = page;
    }
    if (!page->chunks)
        emu_tlb_forbid_writes(vm, page->gpa);
    return page;
}

struct emu_block *emu_cache_find(const struct emu_vm *vm, uint64_t gpa, uint32_t mode)
{
    struct emu_block *block = vm->cache.blocks[block_bucket(gpa, mode)];
    while (block && (block->gpa != gpa || block->mode != mode))
        block = block->hash_next;
    return block;
}

/* The 64-byte chunks of a page that [offset, offset + size_bytes) touches, as bits. */
static uint64_t chunk_bits(uint64_t offset, uint64_t size_bytes)
{
    unsigned first = (unsigned)(offset / 64), last = (unsigned)((offset + size_bytes - 1) / 64);
    return (UINT64_MAX << first) & (UINT64_MAX >> (63 - last));
}

/* Make a finished block known. False where the arena is full. */
bool emu_cache_insert(struct emu_vm *vm, struct emu_block *block)
{
    uint64_t offset = block->gpa % EMU_PAGE_BYTES;
    uint64_t here =
        EMU_PAGE_BYTES - offset < block->size_bytes ? EMU_PAGE_BYTES - offset : block->size_bytes;
    struct emu_code_page *page = page_get(vm, block->gpa);
    if (!page)
        return false;
    page->chunks |= chunk_bits(offset, here);
    block->page_next = page->blocks;
    page->blocks = block;
    if (block->gpa2 != EMU_NO_PAGE) {
        struct emu_code_page *page2 = page_get(vm, block->gpa2);
        if (!page2)
            return false;
        page2->chunks |= chunk_bits(0, block->size_bytes - here);
        block->page2_next = page2->crossing;
        page2->crossing = block;
    }
    struct emu_block **bucket = &vm->cache.blocks[block_bucket(block->gpa, block->mode)];
    block->hash_next = *bucket;
    *bucket = block;
    return true;
}

/* Take a block out of the hash; it may be out already, by way of its other page. */
static void forget(struct emu_vm *vm, struct emu_block *block)
{
    struct emu_block **at = &vm->cache.blocks[block_bucket(block->gpa, block->mode)];
    while (*at && *at != block)
        at = &(*at)->hash_next;
    if (*at)
        *at = block->hash_next;
    block->gpa = EMU_NO_PAGE;
}

static void page_drop(struct emu_vm *vm, struct emu_code_page *page)
{
    for (struct emu_block *block = page->blocks; block; block = block->page_next)
        forget(vm, block);
    for (struct emu_block *block = page->crossing; block; block = block->page2_next)
        forget(vm, block);
    page->blocks = page->crossing = NULL;
    page->chunks = 0;
}

bool emu_code_page_find(const struct emu_vm *vm, uint64_t gpa)
{
    const struct emu_code_page *page = page_find(vm, gpa);
    return page && page->chunks;
}

/* Does a store to these bytes, all in one page, change code that has been decoded? */
bool emu_code_overlaps(const struct emu_vm *vm, uint64_t gpa, uint64_t size_bytes)
{
    const struct emu_code_page *page = page_find(vm, gpa);
    return page && (page->chunks & chunk_bits(gpa % EMU_PAGE_BYTES, size_bytes));
}

static void written_in_page(struct emu_vm *vm, uint64_t gpa, uint64_t size_bytes, bool *dropped)
{
    struct emu_code_page *page = page_find(vm, gpa);
    if (!page || !(page->chunks & chunk_bits(gpa % EMU_PAGE_BYTES, size_bytes)))
        return;
    page_drop(vm, page);
    *dropped = true;
}

static void written_in_pages(struct emu_vm *vm, uint64_t gpa, uint64_t size_bytes, bool *dropped)
{
    while (size_bytes) {
        uint64_t here = EMU_PAGE_BYTES - gpa % EMU_PAGE_BYTES;
        if (here > size_bytes)
            here = size_bytes;
        written_in_page(vm, gpa, here, dropped);
        gpa += here;
        size_bytes -= here;
    }
}

/* So many pages that it is quicker to go through those that code came from. */
static void written_at_large(struct emu_vm *vm, uint64_t gpa, uint64_t size_bytes, bool *dropped)
{
    uint64_t last = size_bytes - 1 > UINT64_MAX - gpa ? UINT64_MAX : gpa + size_bytes - 1;
    for (uint32_t i = 0; i < EMU_PAGE_BUCKETS; i++)
        for (struct emu_code_page *page = vm->cache.pages[i]; page; page = page->next)
            if (page->chunks && page->gpa >= (gpa & EMU_PAGE_MASK) && page->gpa <= last) {
                page_drop(vm, page);
                *dropped = true;
            }
}

/* Guest memory has changed: blocks decoded from it are gone, links to them invalid. */
void emu_code_written(struct emu_vm *vm, uint64_t gpa, uint64_t size_bytes)
{
    bool dropped = false;
    if (size_bytes > EMU_PAGE_BUCKETS * EMU_PAGE_BYTES)
        written_at_large(vm, gpa, size_bytes, &dropped);
    else
        written_in_pages(vm, gpa, size_bytes, &dropped);
    if (dropped)
        for (struct emu_cpu *cpu = vm->cpus; cpu; cpu = cpu->next)
            emu_code_changed(cpu);
}
