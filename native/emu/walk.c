/* Page tables: none, 32-bit, PAE, 4-level and 5-level. Intel SDM vol. 3A chapter 4. */
#include <string.h>

#include "cpu.h"

#define PTE_P 0x1u
#define PTE_W 0x2u
#define PTE_U 0x4u
#define PTE_A 0x20u
#define PTE_D 0x40u
#define PTE_PS 0x80u
#define PTE_G 0x100u
#define PTE_NX (UINT64_C(1) << 63)

/* A key's bits in PKRU and IA32_PKRS. */
#define KEY_AD 1u
#define KEY_WD 2u

/* Physical addresses have 46 bits (what CPUID leaf 80000008 says); the rest up to bit 51
 * is reserved. */
#define PHYS_BITS 46
#define PHYS_MASK ((UINT64_C(1) << PHYS_BITS) - 1)
#define RESERVED_52 (((UINT64_C(1) << 52) - 1) & ~PHYS_MASK)

/* The rights gathered on the way down. */
struct rights {
    bool write, user, no_execute;
};

struct request {
    struct emu_cpu *cpu;
    uint64_t linear;
    enum emu_access access;
    bool user, smap, commit;
};

/* As a whole, as processors do: the owner may write tables at any moment. Entries are aligned. */
static uint64_t entry_read(struct emu_vm *vm, uint64_t gpa, uint32_t size_bytes)
{
    const uint8_t *host = emu_phys(vm, gpa, false);
    if (!host)
        return UINT64_MAX >> (64 - 8 * size_bytes);
    if (size_bytes == 4)
        return __atomic_load_n((const uint32_t *)host, __ATOMIC_RELAXED);
    return __atomic_load_n((const uint64_t *)host, __ATOMIC_RELAXED);
}

/* Write `marked` in the place of `entry`. One that the owner has changed meanwhile stays as it is:
 * the access came before that. SDM vol. 3A §4.8 */
static void entry_replace(uint8_t *host, uint32_t size_bytes, uint64_t entry, uint64_t marked)
{
    if (size_bytes == 4) {
        uint32_t before = (uint32_t)entry;
        __atomic_compare_exchange_n((uint32_t *)host, &before, (uint32_t)marked, false,
                                    __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    } else {
        __atomic_compare_exchange_n((uint64_t *)host, &entry, marked, false, __ATOMIC_RELAXED,
                                    __ATOMIC_RELAXED);
    }
}

/* Set A and D. A table in a page that code was decoded from is written like any byte. */
static void entry_mark(struct emu_vm *vm, uint64_t gpa, uint32_t size_bytes, uint64_t entry,
                       uint64_t marked)
{
    uint8_t *host = emu_phys(vm, gpa, true);
    if (!host)
        return;
    entry_replace(host, size_bytes, entry, marked);
    emu_log_write(vm, gpa);
    emu_code_written(vm, gpa, size_bytes);
}

static uint32_t access_error(const struct request *request)
{
    const struct emu_cpu *cpu = request->cpu;
    bool fetch_counts = (cpu->cr4 & CR4_SMEP) || ((cpu->efer & EFER_NXE) && (cpu->cr4 & CR4_PAE));
    return (request->access == EMU_WRITE ? PF_W : 0) | (request->user ? PF_U : 0) |
           (request->access == EMU_EXECUTE && fetch_counts ? PF_I : 0);
}

static bool fail(const struct request *request, uint32_t error, struct emu_walk *out)
{
    out->error = access_error(request) | error;
    return false;
}

/* SDM vol. 3A §4.6.1. */
static bool allowed(const struct request *request, const struct rights *rights)
{
    const struct emu_cpu *cpu = request->cpu;
    if (request->access == EMU_EXECUTE)
        return !rights->no_execute &&
               (request->user ? rights->user : !(rights->user && (cpu->cr4 & CR4_SMEP)));
    if (request->user)
        return rights->user && (rights->write || request->access == EMU_READ);
    if (rights->user && request->smap)
        return false;
    return rights->write || request->access == EMU_READ || !(cpu->cr0 & CR0_WP);
}

/* Protection keys, of user pages by PKRU and of supervisor pages by IA32_PKRS: do they forbid
 * the access? Debuggers are not asked. SDM vol. 3A §4.6.2. */
static bool key_forbids(const struct request *request, const struct rights *rights, uint64_t entry)
{
    const struct emu_cpu *cpu = request->cpu;
    bool on = emu_long_mode(cpu) && (cpu->cr4 & (rights->user ? CR4_PKE : CR4_PKS));
    if (EMU_LIKELY(!on) || request->access == EMU_EXECUTE || !request->commit)
        return false;
    uint64_t keys = rights->user ? cpu->pkru : cpu->msr.pkrs, key = keys >> 2 * (entry >> 59 & 15);
    bool write = request->access == EMU_WRITE && (request->user || (cpu->cr0 & CR0_WP));
    return (key & KEY_AD) || ((key & KEY_WD) && write);
}

static bool store_allowed(const struct request *request, const struct rights *rights,
                          uint64_t entry)
{
    struct request store = *request;
    store.access = EMU_WRITE;
    return allowed(&store, rights) && !key_forbids(&store, rights, entry);
}

/* The entry that maps the page: check rights, set A and D, fill in the result. */
static bool finish(const struct request *request, uint64_t entry, uint64_t entry_gpa,
                   uint32_t entry_bytes, uint64_t page_bytes, uint64_t frame,
                   const struct rights *rights, struct emu_walk *out)
{
    bool locked = key_forbids(request, rights, entry);
    if (locked || !allowed(request, rights))
        return fail(request, PF_P | (locked ? PF_PK : 0), out);
    uint64_t marked = entry | PTE_A | (request->access == EMU_WRITE ? PTE_D : 0);
    if (marked != entry && request->commit)
        entry_mark(request->cpu->vm, entry_gpa, entry_bytes, entry, marked);
    out->gpa = frame | (request->linear & (page_bytes - 1));
    out->writable = (marked & PTE_D) && store_allowed(request, rights, entry);
    out->global = (entry & PTE_G) && (request->cpu->cr4 & CR4_PGE);
    out->page_bytes = page_bytes;
    return true;
}

static void narrow(struct rights *rights, uint64_t entry)
{
    rights->write &= !!(entry & PTE_W);
    rights->user &= !!(entry & PTE_U);
    rights->no_execute |= !!(entry & PTE_NX);
}

static void mark_accessed(const struct request *request, uint64_t gpa, uint32_t size_bytes,
                          uint64_t entry)
{
    if (!(entry & PTE_A) && request->commit)
        entry_mark(request->cpu->vm, gpa, size_bytes, entry, entry | PTE_A);
}

/* 32-bit paging, SDM vol. 3A §4.3. */
static bool walk_32(const struct request *request, struct emu_walk *out)
{
    struct emu_cpu *cpu = request->cpu;
    struct rights rights = {.write = true, .user = true};
    uint32_t linear = (uint32_t)request->linear;
    uint64_t pde_gpa = (cpu->cr3 & 0xfffff000u) + (linear >> 22) * 4;
    uint64_t pde = entry_read(cpu->vm, pde_gpa, 4);
    if (!(pde & PTE_P))
        return fail(request, 0, out);
    narrow(&rights, pde);
    if ((pde & PTE_PS) && (cpu->cr4 & CR4_PSE)) {
        if (pde & (1u << 21)) /* bits 13..20 are address bits 32..39 (PSE-36) */
            return fail(request, PF_P | PF_RSVD, out);
        uint64_t frame = (pde & 0xffc00000u) | ((pde >> 13) & 0xff) << 32;
        return finish(request, pde, pde_gpa, 4, 4u << 20, frame, &rights, out);
    }
    uint64_t pte_gpa = (pde & 0xfffff000u) + ((linear >> 12) & 0x3ff) * 4;
    uint64_t pte = entry_read(cpu->vm, pte_gpa, 4);
    if (!(pte & PTE_P))
        return fail(request, 0, out);
    narrow(&rights, pte);
    mark_accessed(request, pde_gpa, 4, pde);
    return finish(request, pte, pte_gpa, 4, EMU_PAGE_BYTES, pte & 0xfffff000u, &rights, out);
}

static uint64_t reserved_bits(const struct emu_cpu *cpu, uint64_t entry, unsigned level)
{
    uint64_t reserved = RESERVED_52 | (cpu->efer & EFER_NXE ? 0 : PTE_NX);
    if (!emu_long_mode(cpu))
        reserved |= UINT64_C(0x7ff) << 52;
    if (level >= 3 || (level == 2 && !emu_offers(cpu->features, FEATURE_PAGES_1G)))
        reserved |= PTE_PS;
    else if (level && (entry & PTE_PS))
        reserved |= ((UINT64_C(1) << (12 + 9 * level)) - 1) & ~UINT64_C(0x1fff);
    return reserved;
}

/* From `level` (4: PML5, 3: PML4, 0: page table) down, 8-byte entries: SDM vol. 3A §4.4, §4.5. */
static bool walk_64(const struct request *request, uint64_t table, unsigned level,
                    struct emu_walk *out)
{
    struct emu_cpu *cpu = request->cpu;
    struct rights rights = {.write = true, .user = true};
    for (;; level--) {
        unsigned shift = 12 + 9 * level;
        uint64_t gpa = table + ((request->linear >> shift) & 0x1ff) * 8;
        uint64_t entry = entry_read(cpu->vm, gpa, 8);
        if (!(entry & PTE_P))
            return fail(request, 0, out);
        if (entry & reserved_bits(cpu, entry, level))
            return fail(request, PF_P | PF_RSVD, out);
        narrow(&rights, entry);
        uint64_t page_bytes = UINT64_C(1) << shift;
        table = entry & PHYS_MASK & EMU_PAGE_MASK;
        if (level == 0 || (entry & PTE_PS))
            return finish(request, entry, gpa, 8, page_bytes, table & ~(page_bytes - 1), &rights,
                          out);
        mark_accessed(request, gpa, 8, entry);
    }
}

static bool walk_pae(const struct request *request, struct emu_walk *out)
{
    uint64_t pdpte = request->cpu->pdpte[(request->linear >> 30) & 3];
    if (!(pdpte & PTE_P))
        return fail(request, 0, out);
    return walk_64(request, pdpte & PHYS_MASK & EMU_PAGE_MASK, 1, out);
}

/* Translate. `user`: rights of CPL 3; `smap`: user pages are out of bounds; `commit`: set
 * A and D bits. Returns false with the fault's error code in out->error. */
bool emu_walk(struct emu_cpu *cpu, uint64_t linear, enum emu_access access, bool user, bool smap,
              bool commit, struct emu_walk *out)
{
    struct request request = {cpu, linear, access, user, smap, commit};
    if (!(cpu->cr0 & CR0_PG)) {
        *out = (struct emu_walk){.gpa = linear, .writable = true, .page_bytes = EMU_PAGE_BYTES};
        return true;
    }
    *out = (struct emu_walk){0};
    if (emu_long_mode(cpu))
        return walk_64(&request, cpu->cr3 & PHYS_MASK & EMU_PAGE_MASK, cpu->cr4 & CR4_LA57 ? 4 : 3,
                       out);
    if (cpu->cr4 & CR4_PAE)
        return walk_pae(&request, out);
    return walk_32(&request, out);
}

/* Load the four page-directory-pointer entries of PAE paging; false where one has
 * reserved bits set, and nothing is loaded. SDM vol. 3A §4.4.1. */
bool emu_pdptes_load(struct emu_cpu *cpu, uint64_t cr3)
{
    uint64_t entry[4];
    for (unsigned i = 0; i < 4; i++) {
        entry[i] = entry_read(cpu->vm, (cr3 & 0xffffffe0u) + 8 * i, 8);
        if ((entry[i] & PTE_P) && (entry[i] & (~PHYS_MASK | 0x1e6u)))
            return false;
    }
    memcpy(cpu->pdpte, entry, sizeof(entry));
    return true;
}
