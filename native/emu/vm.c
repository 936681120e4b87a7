/* The machine: guest-physical memory and the processors on it. */
#define _XOPEN_SOURCE 700
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "chips.h"

/* Recursive: what runs under it may have been asked for from outside, too. */
static void init_lock(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

static void forget_translations(struct emu_vm *vm)
{
    vm->last_region = NULL;
    vm->cache.flush_wanted = true;
    for (struct emu_cpu *cpu = vm->cpus; cpu; cpu = cpu->next)
        emu_tlb_flush(cpu, true);
}

struct emu_vm *emu_vm_create(struct pykvm_natives *natives)
{
    struct emu_vm *vm = calloc(1, sizeof(*vm));
    if (!vm)
        return NULL;
    vm->natives = natives;
    vm->tsc_khz = 1000000;
    vm->start_ns = emu_now_ns();
    vm->next_timer_ns = EMU_NEVER;
    vm->line_ns = EMU_NEVER;
    vm->users = 1;
    init_lock(&vm->lock);
    pthread_cond_init(&vm->frozen, NULL);
    emu_decode_init();
    emu_models_init(vm);
    if (emu_cache_init(&vm->cache)) {
        emu_vm_destroy(vm);
        return NULL;
    }
    return vm;
}

static void forget_regions(struct emu_vm *vm)
{
    for (uint32_t i = 0; i < vm->region_count; i++)
        free(vm->region[i].dirty);
    vm->region_count = vm->logged_count = 0;
    forget_translations(vm);
}

/* Nothing touches the guest's memory any more, and what was lent is given back: whoever still
 * knows the machine or its processors, which must have been closed, does no harm. Any thread. */
void emu_vm_close(struct emu_vm *vm)
{
    emu_vm_freeze(vm);
    vm->closed = true;
    forget_regions(vm);
    emu_cache_deinit(&vm->cache);
    emu_doorbells_destroy(vm);
    emu_irqfds_destroy(vm);
    emu_vm_thaw(vm);
}

/* The owner, or a processor, knows it no more. */
void emu_vm_drop(struct emu_vm *vm)
{
    if (atomic_fetch_sub(&vm->users, 1) > 1)
        return;
    pthread_cond_destroy(&vm->frozen);
    pthread_mutex_destroy(&vm->lock);
    if (vm->chips)
        free(vm->chips->route);
    free(vm->chips);
    free(vm);
}

/* The struct itself goes with the last of its processors. */
void emu_vm_destroy(struct emu_vm *vm)
{
    emu_vm_close(vm);
    emu_vm_drop(vm);
}

static bool overlaps(const struct emu_region *region, uint64_t gpa, uint64_t size_bytes)
{
    return gpa < region->gpa + region->size_bytes && region->gpa < gpa + size_bytes;
}

static int map(struct emu_vm *vm, uint64_t gpa, uint64_t size_bytes, void *hva, uint32_t flags)
{
    if ((gpa | size_bytes) % EMU_PAGE_BYTES || !size_bytes || gpa + size_bytes < gpa)
        return -EINVAL;
    if (vm->closed)
        return -EBADF;
    if (vm->region_count == EMU_REGIONS_MAX)
        return -ENOSPC;
    for (uint32_t i = 0; i < vm->region_count; i++)
        if (overlaps(&vm->region[i], gpa, size_bytes))
            return -EEXIST;
    vm->region[vm->region_count++] =
        (struct emu_region){.gpa = gpa, .size_bytes = size_bytes, .hva = hva, .flags = flags};
    forget_translations(vm);
    return 0;
}

/* Let the guest see host memory. Whole pages only. Returns 0 or -errno,
 * -EBADF once it is closed. Any thread. */
int emu_vm_map(struct emu_vm *vm, uint64_t gpa, uint64_t size_bytes, void *hva, uint32_t flags)
{
    emu_vm_freeze(vm);
    int result = map(vm, gpa, size_bytes, hva, flags);
    emu_vm_thaw(vm);
    return result;
}

static int unmap(struct emu_vm *vm, uint64_t gpa)
{
    for (uint32_t i = 0; i < vm->region_count; i++) {
        if (vm->region[i].gpa != gpa)
            continue;
        vm->logged_count -= vm->region[i].logged;
        free(vm->region[i].dirty);
        vm->region[i] = vm->region[--vm->region_count];
        forget_translations(vm);
        return 0;
    }
    return -ENOENT;
}

static int move(struct emu_vm *vm, uint64_t gpa, uint64_t to_gpa)
{
    struct emu_region *moved = emu_region_at(vm, gpa);
    if (!moved || moved->gpa != gpa)
        return -ENOENT;
    if (to_gpa % EMU_PAGE_BYTES || to_gpa + moved->size_bytes < to_gpa)
        return -EINVAL;
    for (uint32_t i = 0; i < vm->region_count; i++)
        if (&vm->region[i] != moved && overlaps(&vm->region[i], to_gpa, moved->size_bytes))
            return -EEXIST;
    moved->gpa = to_gpa;
    forget_translations(vm);
    return 0;
}

/* Let the guest see a region at another address, its dirty log with it. */
int emu_vm_move(struct emu_vm *vm, uint64_t gpa, uint64_t to_gpa)
{
    emu_vm_freeze(vm);
    int result = move(vm, gpa, to_gpa);
    emu_vm_thaw(vm);
    return result;
}

int emu_vm_unmap(struct emu_vm *vm, uint64_t gpa)
{
    emu_vm_freeze(vm);
    int result = unmap(vm, gpa);
    emu_vm_thaw(vm);
    return result;
}

struct emu_region *emu_region_at(struct emu_vm *vm, uint64_t gpa)
{
    struct emu_region *last = vm->last_region;
    if (last && gpa - last->gpa < last->size_bytes)
        return last;
    for (uint32_t i = 0; i < vm->region_count; i++) {
        struct emu_region *region = &vm->region[i];
        if (gpa - region->gpa < region->size_bytes)
            return vm->last_region = region;
    }
    return NULL;
}

/* Host address of a guest-physical byte, good to the end of its page. NULL where there
 * is no memory, or none that may be written. */
uint8_t *emu_phys(struct emu_vm *vm, uint64_t gpa, bool write)
{
    const struct emu_region *region = emu_region_at(vm, gpa);
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
 * go before the next block is entered. The listener is a struct emu_vm. Any thread. */
void emu_vm_note_write(void *listener, uint64_t gpa, uint64_t size_bytes)
{
    struct emu_vm *vm = listener;
    lock_notes(vm);
    if (vm->note_count < EMU_NOTES_MAX)
        vm->note[vm->note_count] = (struct emu_note){gpa, size_bytes};
    if (vm->note_count <= EMU_NOTES_MAX)
        vm->note_count++;
    unlock_notes(vm);
    emu_vm_lock(vm);
    for (struct emu_cpu *cpu = vm->cpus; cpu; cpu = cpu->next)
        emu_attend(cpu, EMU_ATTEND_WRITES);
    emu_vm_unlock(vm);
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

/* Which MSR accesses are the owner's (EMU_MSR_*), instead of raising #GP. */
void emu_vm_set_msr_exits(struct emu_vm *vm, uint32_t reasons)
{
    emu_vm_freeze(vm);
    vm->msr_exits = reasons;
    emu_vm_thaw(vm);
}

/* Replace the traps: EMU_MSR_TRAPS_MAX at most. */
void emu_vm_set_msr_traps(struct emu_vm *vm, const struct emu_msr_trap *traps, uint32_t count)
{
    emu_vm_freeze(vm);
    memcpy(vm->msr_trap, traps, count * sizeof(*traps));
    vm->msr_trap_count = count;
    emu_vm_thaw(vm);
}
