/* Linear to physical to host addresses: the soft TLB's shape, and the slow paths. */
#ifndef PYKVM_EMU_MMU_H
#define PYKVM_EMU_MMU_H

#include <stdbool.h>
#include <stdint.h>

struct emu_cpu;
struct emu_insn;
struct emu_vm;

#define EMU_PAGE_BYTES 4096u
#define EMU_PAGE_MASK (~(uint64_t)(EMU_PAGE_BYTES - 1))
#define EMU_TLB_ENTRIES 1024u
#define EMU_TLB_LOCALS 256u
#define EMU_TLB_EVICTED 16u

/* A tag is the page's linear address; page 0 can only be in entry 0, so that zeroed
 * memory with an impossible tag in entry 0 is an empty TLB. */
struct emu_tlb_entry {
    uint64_t read_tag, write_tag;
    uint64_t addend; /* host address minus linear address */
    uint64_t page;   /* physical page, with EMU_TLB_* in the low bits */
};
#define EMU_TLB_GLOBAL 1u
#define EMU_TLB_LARGE 2u  /* a piece of a larger page */
#define EMU_TLB_NO_TAG 1u /* matches no page */

struct emu_tlb {
    struct emu_tlb_entry entry[EMU_TLB_ENTRIES];
    struct emu_tlb_entry evicted[EMU_TLB_EVICTED]; /* pushed out by a page that shares the entry */
    bool used;
    uint32_t locals; /* filled with local translations since the last flush: a count, and where */
    uint16_t local[EMU_TLB_LOCALS];
};

/* One TLB for each set of rights that data accesses have. */
enum emu_tlb_index {
    EMU_TLB_KERNEL,       /* CPL 0..2, and accesses the processor itself makes */
    EMU_TLB_KERNEL_AC,    /* the same under SMAP with EFLAGS.AC set */
    EMU_TLB_USER,         /* CPL 3 */
    EMU_TLB_USER_ALIGNED, /* CPL 3 with alignment checks: never filled */
    EMU_TLB_CODE,         /* instruction fetch at CPL 0..2: read_tag is "executable" */
    EMU_TLB_USER_CODE,    /* instruction fetch at CPL 3 */
    EMU_TLBS
};

enum emu_access { EMU_READ, EMU_WRITE, EMU_EXECUTE };

/* Page fault error code, Intel SDM vol. 3A §4.7. */
#define PF_P 0x1u
#define PF_W 0x2u
#define PF_U 0x4u
#define PF_RSVD 0x8u
#define PF_I 0x10u
#define PF_PK 0x20u

struct emu_walk {
    uint64_t gpa;
    uint32_t error; /* of the page fault; meaningful where the walk failed */
    bool writable;  /* a store needs no further work: permitted, and D is set */
    bool global;
    uint64_t page_bytes;
};

bool emu_walk(struct emu_cpu *cpu, uint64_t linear, enum emu_access access, bool user, bool smap,
              bool commit, struct emu_walk *out);
bool emu_pdptes_load(struct emu_cpu *cpu, uint64_t cr3);

void emu_tlb_flush(struct emu_cpu *cpu, bool globals_too);
void emu_tlb_flush_data(struct emu_cpu *cpu);
void emu_tlb_flush_page(struct emu_cpu *cpu, uint64_t linear);
void emu_tlb_forbid_writes(struct emu_vm *vm, uint64_t gpa);
void emu_tlb_forbid_all_writes(struct emu_vm *vm);
void emu_tlb_watch_writes(struct emu_cpu *cpu);
void emu_tlb_recall(struct emu_tlb *tlb, uint64_t linear);
void emu_tlb_select(struct emu_cpu *cpu);
struct emu_tlb *emu_tlb_create(void);

/* Physical memory. NULL where there is none, or none that can be written. */
uint8_t *emu_phys(struct emu_vm *vm, uint64_t gpa, bool write);

/* Data accesses by linear address, at the current privilege; they fault, or leave for an
 * MMIO answer, by longjmp. size_bytes: 1, 2, 4, 8. */
uint64_t emu_read_slow(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                       uint32_t size_bytes);
void emu_write_slow(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                    uint32_t size_bytes, uint64_t value);
void emu_probe_write(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                     uint32_t size_bytes);
void emu_read_bytes(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear, void *to,
                    uint32_t size_bytes);
void emu_write_bytes(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                     const void *from, uint32_t size_bytes);

/* The same for operands with an alignment of their own; 1: none that #AC tells of. */
void emu_read_aligned(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear, void *to,
                      uint32_t size_bytes, uint32_t alignment);
void emu_write_aligned(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                       const void *from, uint32_t size_bytes, uint32_t alignment);
void emu_probe_aligned(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                       uint32_t size_bytes, uint32_t alignment);

/* The processor's own accesses: descriptor tables, TSS. Supervisor rights. */
uint64_t emu_read_system(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                         uint32_t size_bytes);
void emu_write_system(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                      uint32_t size_bytes, uint64_t value);

uint64_t emu_read_as(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned cpl,
                     uint64_t linear, uint32_t size_bytes);
void emu_write_as(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned cpl, uint64_t linear,
                  uint32_t size_bytes, uint64_t value);

/* Instruction fetch: the physical address of a byte, faulting where that is due. */
uint64_t emu_fetch_gpa(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear);

#endif
