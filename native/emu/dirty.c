/* Which pages the guest has written: a bitmap for each region that is logged.
 *
 * A page that is clean in its region's log has no write tag in the TLBs, so that the first
 * store to it comes here. Whatever makes pages clean again takes the tags away, while every
 * processor stands still. Writes from outside the guest are not logged, as in KVM. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"

static uint64_t words(const struct emu_region *region)
{
    return (region->size_bytes / EMU_PAGE_BYTES + 63) / 64;
}

static uint64_t *word_of(const struct emu_region *region, uint64_t gpa, uint64_t *bit)
{
    uint64_t page = (gpa - region->gpa) / EMU_PAGE_BYTES;
    *bit = UINT64_C(1) << page % 64;
    return &region->dirty[page / 64];
}

static const struct emu_region *logged_at(struct emu_vm *vm, uint64_t gpa)
{
    const struct emu_region *region = vm->logged_count ? emu_region_at(vm, gpa) : NULL;
    return region && region->logged ? region : NULL;
}

/* The guest writes to a page. */
void emu_log_write(struct emu_vm *vm, uint64_t gpa)
{
    uint64_t bit;
    const struct emu_region *region = logged_at(vm, gpa);
    if (EMU_UNLIKELY(region))
        *word_of(region, gpa, &bit) |= bit;
}

/* Must the next store to this page come here? */
bool emu_log_wants(struct emu_vm *vm, uint64_t gpa)
{
    uint64_t bit;
    const struct emu_region *region = logged_at(vm, gpa);
    return EMU_UNLIKELY(region) && !(*word_of(region, gpa, &bit) & bit);
}

static int set_log(struct emu_vm *vm, struct emu_region *region, bool on)
{
    uint64_t *bitmap = on ? calloc(words(region), sizeof(*bitmap)) : NULL;
    if (on && !bitmap)
        return -ENOMEM;
    free(region->dirty);
    region->dirty = bitmap;
    vm->logged_count += (uint32_t)on - (uint32_t)region->logged;
    region->logged = on;
    emu_tlb_forbid_all_writes(vm);
    return 0;
}

/* Start, with all pages clean, or stop. Returns 0, -ENOENT or -ENOMEM. Any thread. */
int emu_vm_set_dirty_log(struct emu_vm *vm, uint64_t gpa, bool on)
{
    emu_vm_freeze(vm);
    struct emu_region *region = emu_region_at(vm, gpa);
    int result = !region ? -ENOENT : region->logged == on ? 0 : set_log(vm, region, on);
    emu_vm_thaw(vm);
    return result;
}

/* The pages written since they were clean, a bit each, and clean again where `clear`.
 * Returns 0, or -ENOENT where there is no log. Any thread. */
int emu_vm_get_dirty_log(struct emu_vm *vm, uint64_t gpa, uint64_t *bitmap, bool clear)
{
    emu_vm_freeze(vm);
    const struct emu_region *region = logged_at(vm, gpa);
    if (region) {
        size_t size_bytes = words(region) * sizeof(*bitmap);
        memcpy(bitmap, region->dirty, size_bytes);
        if (clear) {
            memset(region->dirty, 0, size_bytes);
            emu_tlb_forbid_all_writes(vm);
        }
    }
    emu_vm_thaw(vm);
    return region ? 0 : -ENOENT;
}

/* Make these pages clean. */
int emu_vm_clear_dirty_log(struct emu_vm *vm, uint64_t gpa, const uint64_t *bitmap)
{
    emu_vm_freeze(vm);
    const struct emu_region *region = logged_at(vm, gpa);
    for (uint64_t i = 0; region && i < words(region); i++)
        region->dirty[i] &= ~bitmap[i];
    emu_tlb_forbid_all_writes(vm);
    emu_vm_thaw(vm);
    return region ? 0 : -ENOENT;
}
