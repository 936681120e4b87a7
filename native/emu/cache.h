/* Between the block builder and the storage of blocks. */
#ifndef PYKVM_EMU_CACHE_H
#define PYKVM_EMU_CACHE_H

#include "decode.h"

void *emu_cache_take(struct emu_cache *cache, size_t size_bytes);
struct emu_block *emu_cache_find(const struct emu_vm *vm, uint64_t gpa, uint32_t mode);
bool emu_cache_insert(struct emu_vm *vm, struct emu_block *block);

/* fold.c: make a block cheaper to execute; returns how many instruction slots are left. */
uint32_t emu_fold(struct emu_decoded *decoded, uint32_t count);

#endif
