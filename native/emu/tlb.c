/* The soft TLBs: which of them is in use, what goes into them, and when it must go. */
#include <stdlib.h>
#include <string.h>

#include "tlb.h"

static struct emu_tlb_entry *entry_of(struct emu_tlb *tlb, uint64_t linear)
{
    return &tlb->entry[(linear / EMU_PAGE_BYTES) % EMU_TLB_ENTRIES];
}

/* Where a page waits that another has pushed out: buffers are often some MiB apart, and those that
 * share an entry are exchanged without a walk. */
static struct emu_tlb_entry *evicted_of(struct emu_tlb *tlb, uint64_t linear)
{
    return &tlb->evicted[(linear / EMU_PAGE_BYTES) % EMU_TLB_EVICTED];
}

static void empty(struct emu_tlb_entry *entry)
{
    *entry = (struct emu_tlb_entry){.read_tag = EMU_TLB_NO_TAG, .write_tag = EMU_TLB_NO_TAG};
}

/* An entry of zeroes is no page's. */
static void evict(struct emu_tlb *tlb, const struct emu_tlb_entry *entry)
{
    if (entry->addend)
        *evicted_of(tlb, entry->read_tag) = *entry;
}

static void forget_evicted(struct emu_tlb *tlb)
{
    for (uint32_t i = 0; i < EMU_TLB_EVICTED; i++)
        empty(&tlb->evicted[i]);
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
    if (tlb) {
        empty_ends(tlb);
        forget_evicted(tlb);
    }
    return tlb;
}

static void flush_all(struct emu_tlb *tlb)
{
    memset(tlb->entry, 0, sizeof(tlb->entry));
    empty_ends(tlb);
    forget_evicted(tlb);
    tlb->used = false;
    tlb->locals = 0;
}

static void flush_if_local(struct emu_tlb_entry *entry)
{
    if (!(entry->page & EMU_TLB_GLOBAL))
        empty(entry);
}

/* Local translations are few between two switches: those noted, or else all are looked at. */
static void flush_local(struct emu_tlb *tlb)
{
    if (tlb->locals <= EMU_TLB_LOCALS)
        for (uint32_t i = 0; i < tlb->locals; i++)
            flush_if_local(&tlb->entry[tlb->local[i]]);
    else
        for (uint32_t i = 0; i < EMU_TLB_ENTRIES; i++)
            flush_if_local(&tlb->entry[i]);
    forget_evicted(tlb);
    tlb->locals = 0;
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
    if (!globals_too) {
        emu_code_switched(cpu);
        return;
    }
    memset(cpu->large, 0, sizeof(cpu->large));
    memset(cpu->code_seen, 0, sizeof(cpu->code_seen));
    cpu->local_code = false;
    emu_code_changed(cpu);
}

/* Rights to data have changed, but no mapping: code stays. */
void emu_tlb_flush_data(struct emu_cpu *cpu)
{
    for (uint32_t i = 0; i < EMU_TLB_CODE; i++)
        if (cpu->tlbs[i]->used)
            flush_all(cpu->tlbs[i]);
}

/* Regions in which larger pages have been seen: of 4 MiB, and of 1 GiB. */
static const unsigned region_shift[2] = {22, 30};

static uint64_t region_bit(uint64_t linear, unsigned kind)
{
    return (linear >> region_shift[kind] ^ linear >> 37) % (64 * EMU_LARGE_WORDS);
}

static void note_large(struct emu_cpu *cpu, uint64_t linear, uint64_t page_bytes)
{
    unsigned kind = page_bytes > (4u << 20);
    uint64_t bit = region_bit(linear, kind);
    cpu->large[kind][bit / 64] |= UINT64_C(1) << bit % 64;
}

static bool may_be_large(const struct emu_cpu *cpu, uint64_t linear, unsigned kind)
{
    uint64_t bit = region_bit(linear, kind);
    return cpu->large[kind][bit / 64] >> bit % 64 & 1;
}

/* An address in a large page stands for the whole of it, of which any part may be here. */
static void flush_region(struct emu_cpu *cpu, uint64_t linear, unsigned shift)
{
    for (uint32_t i = 0; i < EMU_TLBS; i++) {
        forget_evicted(cpu->tlbs[i]);
        for (uint32_t n = 0; cpu->tlbs[i]->used && n < EMU_TLB_ENTRIES; n++) {
            struct emu_tlb_entry *entry = &cpu->tlbs[i]->entry[n];
            if ((entry->page & EMU_TLB_LARGE) && (entry->read_tag ^ linear) >> shift == 0)
                empty(entry);
        }
    }
    emu_code_changed(cpu);
}

/* The bit that stands for a page, and for others, in the pages that code came from. */
static uint64_t code_bit(uint64_t linear)
{
    return (linear >> 12 ^ linear >> 25) % (64 * EMU_CODE_WORDS);
}

static void note_code(struct emu_cpu *cpu, uint64_t linear)
{
    cpu->code_seen[code_bit(linear) / 64] |= UINT64_C(1) << code_bit(linear) % 64;
}

/* INVLPG. Links stay valid where no code came from the page since all was flushed. */
void emu_tlb_flush_page(struct emu_cpu *cpu, uint64_t linear)
{
    uint64_t tag = linear & EMU_PAGE_MASK;
    for (uint32_t i = 0; i < EMU_TLBS; i++) {
        struct emu_tlb_entry *entry = entry_of(cpu->tlbs[i], linear);
        if (entry->read_tag == tag || entry->write_tag == tag)
            empty(entry);
        entry = evicted_of(cpu->tlbs[i], linear);
        if (entry->read_tag == tag)
            empty(entry);
    }
    for (unsigned kind = 0; kind < 2; kind++)
        if (may_be_large(cpu, linear, kind))
            flush_region(cpu, linear, region_shift[kind]);
    if (cpu->code_seen[code_bit(linear) / 64] >> code_bit(linear) % 64 & 1)
        emu_code_changed(cpu);
}

/* Stores to a page must be seen from now on: its code has been decoded. */
void emu_tlb_forbid_writes(struct emu_vm *vm, uint64_t gpa)
{
    for (struct emu_cpu *cpu = vm->cpus; cpu; cpu = cpu->next)
        for (uint32_t i = 0; i < EMU_TLB_CODE; i++) {
            struct emu_tlb *tlb = cpu->tlbs[i];
            forget_evicted(tlb);
            for (uint32_t n = 0; tlb->used && n < EMU_TLB_ENTRIES; n++)
                if ((tlb->entry[n].page & EMU_PAGE_MASK) == gpa)
                    tlb->entry[n].write_tag = EMU_TLB_NO_TAG;
        }
}

/* Stores to all pages must, until the TLBs are filled again. */
void emu_tlb_watch_writes(struct emu_cpu *cpu)
{
    for (uint32_t i = 0; i < EMU_TLB_CODE; i++) {
        forget_evicted(cpu->tlbs[i]);
        for (uint32_t n = 0; cpu->tlbs[i]->used && n < EMU_TLB_ENTRIES; n++)
            cpu->tlbs[i]->entry[n].write_tag = EMU_TLB_NO_TAG;
    }
}

void emu_tlb_forbid_all_writes(struct emu_vm *vm)
{
    for (struct emu_cpu *cpu = vm->cpus; cpu; cpu = cpu->next)
        emu_tlb_watch_writes(cpu);
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

/* Note what the flushes ask for. */
static void note(struct emu_cpu *cpu, enum emu_tlb_index index, uint64_t linear,
                 const struct emu_walk *walk)
{
    struct emu_tlb *tlb = cpu->tlbs[index];
    tlb->used = true;
    if (!walk->global && tlb->locals++ < EMU_TLB_LOCALS)
        tlb->local[tlb->locals - 1] = (uint16_t)((linear / EMU_PAGE_BYTES) % EMU_TLB_ENTRIES);
    if (walk->page_bytes > EMU_PAGE_BYTES)
        note_large(cpu, linear, walk->page_bytes);
    if (index >= EMU_TLB_CODE)
        note_code(cpu, linear);
    if (index == EMU_TLB_CODE && !walk->global)
        cpu->local_code = true;
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
    bool writable = walk->writable && index < EMU_TLB_CODE && !cpu->spin.watches &&
                    emu_phys(cpu->vm, page, true) && !emu_code_page_find(cpu->vm, page) &&
                    !emu_log_wants(cpu->vm, page);
    struct emu_tlb_entry *entry = entry_of(cpu->tlbs[index], linear);
    if (entry->read_tag != tag)
        evict(cpu->tlbs[index], entry);
    *entry = (struct emu_tlb_entry){
        .read_tag = tag,
        .write_tag = writable ? tag : EMU_TLB_NO_TAG,
        .addend = (uint64_t)(uintptr_t)host - tag,
        .page = page | (walk->global ? EMU_TLB_GLOBAL : 0) |
                (walk->page_bytes > EMU_PAGE_BYTES ? EMU_TLB_LARGE : 0),
    };
    note(cpu, index, linear, walk);
}

/* Let the page that another pushed out change places with it. */
void emu_tlb_recall(struct emu_tlb *tlb, uint64_t linear)
{
    struct emu_tlb_entry *entry = entry_of(tlb, linear), *waiting = evicted_of(tlb, linear);
    uint64_t tag = linear & EMU_PAGE_MASK;
    if (entry->read_tag == tag || waiting->read_tag != tag)
        return;
    struct emu_tlb_entry back = *waiting;
    empty(waiting);
    evict(tlb, entry);
    *entry = back;
}

/* The physical address of a linear one, from the TLB or by a walk that fills it. Returns
 * false with the page fault's error code in *error. */
bool emu_tlb_translate(struct emu_cpu *cpu, enum emu_tlb_index index, uint64_t linear,
                       enum emu_access access, uint64_t *gpa, uint32_t *error)
{
    emu_tlb_recall(cpu->tlbs[index], linear);
    const struct emu_tlb_entry *entry = entry_of(cpu->tlbs[index], linear);
    uint64_t tag = access == EMU_WRITE ? entry->write_tag : entry->read_tag;
    if (tag == (linear & EMU_PAGE_MASK)) {
        *gpa = (entry->page & EMU_PAGE_MASK) | (linear & ~EMU_PAGE_MASK);
        return true;
    }
    struct emu_walk walk;
    bool user = index >= EMU_TLB_USER && index != EMU_TLB_CODE;
    bool smap = index == EMU_TLB_KERNEL && (cpu->cr4 & CR4_SMAP);
    if (!emu_walk(cpu, linear, access, user, smap, true, &walk)) {
        *error = walk.error;
        return false;
    }
    if (access == EMU_WRITE)
        emu_log_write(cpu->vm, walk.gpa);
    fill(cpu, index, linear, &walk);
    *gpa = walk.gpa;
    return true;
}
