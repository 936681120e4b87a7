/* The soft TLBs: which of them is in use, what goes into them, and when it must go. */
#include <stdlib.h>
#include <string.h>

#include "tlb.h"

static struct emu_tlb_entry *entry_of(struct emu_tlb *tlb, uint64_t linear)
{
    return &tlb->entry[(linear / EMU_PAGE_BYTES) % EMU_TLB_ENTRIES];
}

static void empty(struct emu_tlb_entry *entry)
{
    *entry = (struct emu_tlb_entry){.read_tag = EMU_TLB_NO_TAG, .write_tag = EMU_TLB_NO_TAG};
}

/* Entries of zeroes stand for page 0, which only two can be asked for: its own, and the last one,
 * by an access that begins below 2^64 and ends above. */
static void empty_ends(struct emu_tlb *tlb)
{
    empty(&tlb->entry[0]);
    empty(&tlb->entry[EMU_TLB_ENTRIES - 1]);
}

struct emu_tlb *emu_tlb_create(void)
{
    struct emu_tlb *tlb = calloc(1, sizeof(*tlb));
    if (tlb)
        empty_ends(tlb);
    return tlb;
}

static void flush_all(struct emu_tlb *tlb)
{
    memset(tlb->entry, 0, sizeof(tlb->entry));
    empty_ends(tlb);
    tlb->used = false;
}

static void flush_local(struct emu_tlb *tlb)
{
    for (uint32_t i = 0; i < EMU_TLB_ENTRIES; i++)
        if (!(tlb->entry[i].page & EMU_TLB_GLOBAL))
            empty(&tlb->entry[i]);
}

/* Forget translations, but for global ones where !globals_too. */
void emu_tlb_flush(struct emu_cpu *cpu, bool globals_too)
{
    for (uint32_t i = 0; i < EMU_TLBS; i++) {
        if (!cpu->tlbs[i]->used)
            continue;
        if (globals_too)
            flush_all(cpu->tlbs[i]);
        else
            flush_local(cpu->tlbs[i]);
    }
    if (globals_too)
        cpu->large_mask = 0;
    emu_code_changed(cpu);
}

/* INVLPG. An address in a large page stands for the whole of it, of which any part may
 * be here: then all goes. */
void emu_tlb_flush_page(struct emu_cpu *cpu, uint64_t linear)
{
    if (cpu->large_mask && (linear & cpu->large_mask) == cpu->large_base) {
        emu_tlb_flush(cpu, true);
        return;
    }
    uint64_t tag = linear & EMU_PAGE_MASK;
    for (uint32_t i = 0; i < EMU_TLBS; i++) {
        struct emu_tlb_entry *entry = entry_of(cpu->tlbs[i], linear);
        if (entry->read_tag == tag || entry->write_tag == tag)
            empty(entry);
    }
    emu_code_changed(cpu);
}

/* Stores to a page must be seen from now on: its code has been decoded. */
void emu_tlb_forbid_writes(struct emu_vm *vm, uint64_t gpa)
{
    for (struct emu_cpu *cpu = vm->cpus; cpu; cpu = cpu->next)
        for (uint32_t i = 0; i < EMU_TLB_CODE; i++) {
            struct emu_tlb *tlb = cpu->tlbs[i];
            for (uint32_t n = 0; tlb->used && n < EMU_TLB_ENTRIES; n++)
                if ((tlb->entry[n].page & EMU_PAGE_MASK) == gpa)
                    tlb->entry[n].write_tag = EMU_TLB_NO_TAG;
        }
}

/* The TLB for explicit data accesses at the present privilege. */
void emu_tlb_select(struct emu_cpu *cpu)
{
    bool ac = cpu->rflags & FLAG_AC;
    enum emu_tlb_index index = ac && (cpu->cr4 & CR4_SMAP) ? EMU_TLB_KERNEL_AC : EMU_TLB_KERNEL;
    if (cpu->cpl == 3)
        index = ac && (cpu->cr0 & CR0_AM) ? EMU_TLB_USER_ALIGNED : EMU_TLB_USER;
    cpu->tlb = cpu->tlbs[index];
}

static void note_large(struct emu_cpu *cpu, uint64_t linear, uint64_t page_bytes)
{
    uint64_t mask = ~(page_bytes - 1);
    if (cpu->large_mask) {
        mask &= cpu->large_mask;
        while ((cpu->large_base ^ linear) & mask)
            mask <<= 1;
    }
    cpu->large_mask = mask;
    cpu->large_base = linear & mask;
}

/* Remember a walk where memory lies behind it. Pages with watched or decoded bytes get
 * no tag for what must be seen. */
static void fill(struct emu_cpu *cpu, enum emu_tlb_index index, uint64_t linear,
                 const struct emu_walk *walk)
{
    uint64_t page = walk->gpa & EMU_PAGE_MASK, tag = linear & EMU_PAGE_MASK;
    uint8_t *host = emu_phys(cpu->vm, page, false);
    if (!host || index == EMU_TLB_USER_ALIGNED || emu_watched(cpu, tag))
        return;
    bool writable = walk->writable && index != EMU_TLB_CODE && emu_phys(cpu->vm, page, true) &&
                    !emu_code_page_find(cpu->vm, page);
    *entry_of(cpu->tlbs[index], linear) = (struct emu_tlb_entry){
        .read_tag = tag,
        .write_tag = writable ? tag : EMU_TLB_NO_TAG,
        .addend = (uint64_t)(uintptr_t)host - tag,
        .page = page | (walk->global ? EMU_TLB_GLOBAL : 0),
    };
    cpu->tlbs[index]->used = true;
    if (walk->page_bytes > EMU_PAGE_BYTES)
        note_large(cpu, linear, walk->page_bytes);
}

/* The physical address of a linear one, from the TLB or by a walk that fills it. Returns
 * false with the page fault's error code in *error. */
bool emu_tlb_translate(struct emu_cpu *cpu, enum emu_tlb_index index, uint64_t linear,
                       enum emu_access access, uint64_t *gpa, uint32_t *error)
{
    const struct emu_tlb_entry *entry = entry_of(cpu->tlbs[index], linear);
    uint64_t tag = access == EMU_WRITE ? entry->write_tag : entry->read_tag;
    if (tag == (linear & EMU_PAGE_MASK)) {
        *gpa = (entry->page & EMU_PAGE_MASK) | (linear & ~EMU_PAGE_MASK);
        return true;
    }
    struct emu_walk walk;
    bool user = index == EMU_TLB_CODE ? cpu->cpl == 3 : index >= EMU_TLB_USER;
    bool smap = index == EMU_TLB_KERNEL && (cpu->cr4 & CR4_SMAP);
    if (!emu_walk(cpu, linear, access, user, smap, true, &walk)) {
        *error = walk.error;
        return false;
    }
    fill(cpu, index, linear, &walk);
    *gpa = walk.gpa;
    return true;
}
