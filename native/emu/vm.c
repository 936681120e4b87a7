/* The machine: guest-physical memory and the processors on it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"

struct emu_vm *emu_vm_create(struct pykvm_natives *natives)
{
    struct emu_vm *vm = calloc(1, sizeof(*vm));
    if (!vm)
        return NULL;
    vm->natives = natives;
    vm->tsc_khz = 1000000;
    vm->start_ns = emu_now_ns();
    vm->next_timer_ns = EMU_NEVER;
    pthread_mutex_init(&vm->lock, NULL);
    emu_decode_init();
    if (emu_cache_init(&vm->cache)) {
        emu_vm_destroy(vm);
        return NULL;
    }
    return vm;
}

/* The processors go first, each by emu_cpu_destroy. */
void emu_vm_destroy(struct emu_vm *vm)
{
    emu_cache_deinit(&vm->cache);
    pthread_mutex_destroy(&vm->lock);
    free(vm->chips);
    free(vm);
}

static void forget_translations(struct emu_vm *vm)
{
    vm->last_region = NULL;
    vm->cache.flush_wanted = true;
    for (struct emu_cpu *cpu = vm->cpus; cpu; cpu = cpu->next)
        emu_tlb_flush(cpu, true);
}

static bool overlaps(const struct emu_region *region, uint64_t gpa, uint64_t size_bytes)
{
    return gpa < region->gpa + region->size_bytes && region->gpa < gpa + size_bytes;
}

/* Let the guest see host memory. Whole pages only. Returns 0 or -errno; not while a
 * processor runs. */
int emu_vm_map(struct emu_vm *vm, uint64_t gpa, uint64_t size_bytes, void *hva, uint32_t flags)
{
    if ((gpa | size_bytes) % EMU_PAGE_BYTES || !size_bytes || gpa + size_bytes < gpa)
        return -EINVAL;
    if (vm->region_count == EMU_REGIONS_MAX)
        return -ENOSPC;
    for (uint32_t i = 0; i < vm->region_count; i++)
        if (overlaps(&vm->region[i], gpa, size_bytes))
            return -EEXIST;
    vm->region[vm->region_count++] = (struct emu_region){gpa, size_bytes, hva, flags};
    forget_translations(vm);
    return 0;
}

int emu_vm_unmap(struct emu_vm *vm, uint64_t gpa)
{
    for (uint32_t i = 0; i < vm->region_count; i++) {
        if (vm->region[i].gpa != gpa)
            continue;
        vm->region[i] = vm->region[--vm->region_count];
        forget_translations(vm);
        return 0;
    }
    return -ENOENT;
}

static const struct emu_region *region_find(struct emu_vm *vm, uint64_t gpa)
{
    const struct emu_region *last = vm->last_region;
    if (last && gpa - last->gpa < last->size_bytes)
        return last;
    for (uint32_t i = 0; i < vm->region_count; i++) {
        const struct emu_region *region = &vm->region[i];
        if (gpa - region->gpa < region->size_bytes)
            return vm->last_region = region;
    }
    return NULL;
}

/* Host address of a guest-physical byte, good to the end of its page. NULL where there
 * is no memory, or none that may be written. */
uint8_t *emu_phys(struct emu_vm *vm, uint64_t gpa, bool write)
{
    const struct emu_region *region = region_find(vm, gpa);
    if (!region || (write && (region->flags & EMU_MAP_READONLY)))
        return NULL;
    return region->hva + (gpa - region->gpa);
}

static void lock_notes(struct emu_vm *vm)
{
    while (atomic_flag_test_and_set_explicit(&vm->notes_lock, memory_order_acquire))
        ;
}

static void unlock_notes(struct emu_vm *vm)
{
    atomic_flag_clear_explicit(&vm->notes_lock, memory_order_release);
}

/* Guest memory has been written from outside (DMA, a loader): code decoded from it must
 * go before the next block is entered. Any thread. */
void emu_vm_note_write(struct emu_vm *vm, uint64_t gpa, uint64_t size_bytes)
{
    lock_notes(vm);
    if (vm->note_count < EMU_NOTES_MAX)
        vm->note[vm->note_count] = (struct emu_note){gpa, size_bytes};
    if (vm->note_count <= EMU_NOTES_MAX)
        vm->note_count++;
    unlock_notes(vm);
    for (struct emu_cpu *cpu = vm->cpus; cpu; cpu = cpu->next)
        emu_attend(cpu, EMU_ATTEND_WRITES);
}

/* Take what emu_vm_note_write has left. From the run loop. */
void emu_vm_take_notes(struct emu_vm *vm)
{
    struct emu_note notes[EMU_NOTES_MAX];
    lock_notes(vm);
    uint32_t count = vm->note_count;
    vm->note_count = 0;
    memcpy(notes, vm->note, sizeof(notes));
    unlock_notes(vm);
    if (count > EMU_NOTES_MAX) {
        emu_cache_flush(vm);
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        emu_code_written(vm, notes[i].gpa, notes[i].size_bytes);
}

/* Let guest time be the count of instructions, so that runs repeat exactly. */
void emu_vm_set_instruction_clock(struct emu_vm *vm, bool on)
{
    vm->instruction_clock = on;
}

/* Ask the owner about MSRs the emulator does not have, instead of raising #GP. */
void emu_vm_set_msr_exits(struct emu_vm *vm, bool on)
{
    vm->msr_exits = on;
}
