/* A whole x86-64 machine in portable C: what the rest of pykvm sees of it.
 *
 * A virtual machine holds guest-physical memory and processors. A processor runs
 * until something only its owner can answer, and says so in the same numbers as the
 * KVM backend: a kind and a `struct pykvm_exit`. docs/emulator.md has the insides. */
#ifndef PYKVM_EMU_H
#define PYKVM_EMU_H

#include "../pykvm.h"

struct emu_vm;
struct emu_cpu;

/* emu_vm_map flags. */
#define EMU_MAP_READONLY 1u /* stores become MMIO writes, as in a read-only slot of KVM */

struct emu_segment {
    uint64_t base;
    uint32_t limit;
    uint16_t selector;
    uint8_t type, present, dpl, db, s, l, g, avl, unusable;
};

struct emu_table {
    uint64_t base;
    uint16_t limit;
};

/* Order of emu_state.segment: the instruction encoding's, then the system segments. */
enum emu_segment_index {
    EMU_ES,
    EMU_CS,
    EMU_SS,
    EMU_DS,
    EMU_FS,
    EMU_GS,
    EMU_LDTR,
    EMU_TR,
    EMU_SEGMENTS
};

/* What is under way to the guest: emu_state.event_type. */
enum emu_event_type { EMU_EVENT_INTERRUPT, EMU_EVENT_NMI, EMU_EVENT_FAULT, EMU_EVENT_SOFTWARE };

/* Everything of a processor that software can see, but for MSRs. gpr, rip and rflags are
 * the general registers as emu_cpu_set_registers takes them. */
struct emu_state {
    uint64_t gpr[16]; /* in encoding order: rax rcx rdx rbx rsp rbp rsi rdi r8 .. r15 */
    uint64_t rip;
    uint64_t rflags;
    struct emu_segment segment[EMU_SEGMENTS];
    struct emu_table gdt, idt;
    uint64_t cr0, cr2, cr3, cr4, cr8, efer, apic_base, xcr0;
    uint64_t dr[8];

    uint64_t vec[16][4]; /* ymm0 .. ymm15, least significant first */
    uint32_t mxcsr, pkru;
    uint16_t fcw, fsw, fop;
    uint8_t ftw;       /* abridged: bit n set where physical register n is in use */
    uint64_t st[8][2]; /* st(0) .. st(7): mantissa; sign and exponent */
    uint64_t fip, fdp;
    uint16_t fcs, fds;

    uint8_t halted;
    uint8_t nmi_pending, nmi_blocked;
    uint8_t shadow;        /* interrupts wait for one instruction: STI, MOV SS */
    uint8_t event_pending; /* an exception or interrupt is under way to the guest */
    uint8_t event_vector, event_type, event_has_error;
    uint32_t event_error;
    uint64_t trap; /* bits of DR6: #DB is due before the next instruction */
    uint8_t interrupt_waits, interrupt_vector; /* of emu_cpu_interrupt, not yet taken */
};

/* One line of the CPUID table; a subleaf of EMU_CPUID_ANY answers every ECX. */
#define EMU_CPUID_ANY 0xffffffffu
struct emu_cpuid {
    uint32_t leaf, subleaf;
    uint32_t eax, ebx, ecx, edx;
};

/* Interrupt hardware, as KVM's. `full`: two 8259, an I/O APIC of 24 pins, a local APIC for
 * each processor; `split`: local APICs alone. docs/emulator.md, "Interrupt delivery". */
enum emu_irqchip { EMU_IRQCHIP_NONE, EMU_IRQCHIP_FULL, EMU_IRQCHIP_SPLIT };

/* Chips as snapshots hold them: struct kvm_pic_state, kvm_ioapic_state, kvm_pit_state2. */
enum emu_chip { EMU_CHIP_PIC_MASTER, EMU_CHIP_PIC_SLAVE, EMU_CHIP_IOAPIC, EMU_CHIP_PIT };
#define EMU_PIC_STATE_BYTES 16
#define EMU_IOAPIC_STATE_BYTES 216
#define EMU_PIT_STATE_BYTES 112
#define EMU_LAPIC_STATE_BYTES 1024 /* struct kvm_lapic_state: the registers' page */

/* Whether a processor runs; the numbers are those of KVM_MP_STATE_*. */
enum emu_mp_state {
    EMU_MP_RUNNABLE,
    EMU_MP_UNINITIALIZED, /* waits for INIT: all but processor 0, where there is an irqchip */
    EMU_MP_INIT_RECEIVED, /* waits for SIPI */
    EMU_MP_HALTED,
    EMU_MP_SIPI_RECEIVED
};

/* What ends a run with PYKVM_DEBUG: emu_cpu_set_debug. */
#define EMU_DEBUG_STEP 1u     /* every instruction */
#define EMU_DEBUG_SOFTWARE 2u /* INT3, which the guest does not see then */
#define EMU_DEBUG_HARDWARE 4u /* the owner's debug registers; the guest's own do not work then */

/* MSR accesses that are the owner's, instead of raising #GP; as KVM_MSR_EXIT_REASON_*. */
#define EMU_MSR_INVALID 1u /* the value is refused */
#define EMU_MSR_UNKNOWN 2u /* there is no such register */
#define EMU_MSR_TRAPPED 4u /* a trap matches; without this bit it raises #GP */
#define EMU_MSR_TRAPS_MAX 16u
struct emu_msr_trap {
    uint32_t first, count;
    bool reads, writes;
};

/* Where a line (GSI) leads: to a pin of a chip (enum emu_chip), or to a message. */
#define EMU_ROUTE_MESSAGE 0xffu
struct emu_route {
    uint32_t gsi, pin;
    uint8_t chip; /* EMU_CHIP_*, or EMU_ROUTE_MESSAGE */
    uint32_t data;
    uint64_t address;
};

/* A write that was collected: emu_vm_take_coalesced. */
#define EMU_COALESCED_MAX 170u
struct emu_write {
    uint64_t address, value;
    uint8_t size;
    bool is_port;
};

struct emu_vm *emu_vm_create(struct pykvm_natives *natives);
void emu_vm_close(struct emu_vm *vm);
void emu_vm_destroy(struct emu_vm *vm);
int emu_vm_map(struct emu_vm *vm, uint64_t gpa, uint64_t size_bytes, void *hva, uint32_t flags);
int emu_vm_unmap(struct emu_vm *vm, uint64_t gpa);
int emu_vm_move(struct emu_vm *vm, uint64_t gpa, uint64_t to_gpa);
void emu_vm_set_instruction_clock(struct emu_vm *vm, bool on);
uint64_t emu_vm_ns(const struct emu_vm *vm);
void emu_vm_set_ns(struct emu_vm *vm, uint64_t ns);
void emu_vm_set_msr_exits(struct emu_vm *vm, uint32_t reasons);
void emu_vm_set_msr_traps(struct emu_vm *vm, const struct emu_msr_trap *traps, uint32_t count);
int emu_vm_set_dirty_log(struct emu_vm *vm, uint64_t gpa, bool on);
int emu_vm_get_dirty_log(struct emu_vm *vm, uint64_t gpa, uint64_t *bitmap, bool clear);
int emu_vm_clear_dirty_log(struct emu_vm *vm, uint64_t gpa, const uint64_t *bitmap);
int emu_vm_add_ioeventfd(struct emu_vm *vm, int fd, bool is_port, uint64_t address, uint32_t size,
                         const uint64_t *match);
int emu_vm_remove_ioeventfd(struct emu_vm *vm, int fd, bool is_port, uint64_t address,
                            uint32_t size, const uint64_t *match);
int emu_vm_add_coalesced(struct emu_vm *vm, bool is_port, uint64_t address, uint32_t size_bytes);
void emu_vm_remove_coalesced(struct emu_vm *vm, bool is_port, uint64_t address,
                             uint32_t size_bytes);
uint32_t emu_vm_take_coalesced(struct emu_vm *vm, struct emu_write *writes);
int emu_vm_set_routes(struct emu_vm *vm, const struct emu_route *routes, uint32_t count);
int emu_vm_add_irqfd(struct emu_vm *vm, int fd, uint32_t gsi, int resample_fd);
int emu_vm_remove_irqfd(struct emu_vm *vm, int fd, uint32_t gsi);
void emu_vm_note_write(void *listener, uint64_t gpa, uint64_t size_bytes);
void emu_vm_set_tsc_khz(struct emu_vm *vm, uint32_t khz);
uint32_t emu_vm_tsc_khz(const struct emu_vm *vm);
int emu_vm_create_irqchip(struct emu_vm *vm, enum emu_irqchip kind);
int emu_vm_create_pit(struct emu_vm *vm);
void emu_vm_set_irq_line(struct emu_vm *vm, uint32_t gsi, bool level);
void emu_vm_raise_line_at(struct emu_vm *vm, uint32_t gsi, uint64_t ns);
int emu_vm_signal_msi(struct emu_vm *vm, uint64_t address, uint32_t data);
int emu_vm_get_chip(struct emu_vm *vm, enum emu_chip chip, void *state, size_t size_bytes);
int emu_vm_set_chip(struct emu_vm *vm, enum emu_chip chip, const void *state, size_t size_bytes);

struct emu_cpu *emu_cpu_create(struct emu_vm *vm, uint32_t index);
bool emu_cpu_close(struct emu_cpu *cpu);
void emu_cpu_destroy(struct emu_cpu *cpu);
struct pykvm_exit *emu_cpu_exit(struct emu_cpu *cpu);
void emu_cpu_begin(struct emu_cpu *cpu, uint64_t deadline_ns);
void emu_cpu_end(struct emu_cpu *cpu);
int64_t emu_cpu_run(struct emu_cpu *cpu, uint64_t budget);
void emu_cpu_begin_visit(struct emu_cpu *cpu, bool interrupts);
bool emu_cpu_visit_ended(const struct emu_cpu *cpu);
int64_t emu_cpu_complete(struct emu_cpu *cpu);
void emu_cpu_abandon(struct emu_cpu *cpu);
void emu_cpu_stop(struct emu_cpu *cpu);
uint64_t emu_cpu_retired(const struct emu_cpu *cpu);
uint64_t emu_cpu_count(const struct emu_cpu *cpu, int kind);
uint64_t emu_cpu_native_count(const struct emu_cpu *cpu);

void emu_cpu_get_state(struct emu_cpu *cpu, struct emu_state *state);
int emu_cpu_set_state(struct emu_cpu *cpu, const struct emu_state *state);
void emu_cpu_set_registers(struct emu_cpu *cpu, const uint64_t *values);
int emu_cpu_get_msr(struct emu_cpu *cpu, uint32_t index, uint64_t *value);
int emu_cpu_set_msr(struct emu_cpu *cpu, uint32_t index, uint64_t value);
int emu_cpu_set_cpuid(struct emu_cpu *cpu, const struct emu_cpuid *entries, uint32_t count);
uint32_t emu_cpuid_supported(struct emu_cpuid *entries, uint32_t max);
int emu_cpu_interrupt(struct emu_cpu *cpu, uint8_t vector);
void emu_cpu_nmi(struct emu_cpu *cpu);
int emu_cpu_get_lapic(struct emu_cpu *cpu, void *registers);
int emu_cpu_set_lapic(struct emu_cpu *cpu, const void *registers);
enum emu_mp_state emu_cpu_get_mp_state(struct emu_cpu *cpu);
void emu_cpu_set_mp_state(struct emu_cpu *cpu, enum emu_mp_state state);
void emu_cpu_set_debug(struct emu_cpu *cpu, uint32_t what, const uint64_t *dr);
bool emu_cpu_ready_for_interrupt(struct emu_cpu *cpu);
void emu_cpu_want_window(struct emu_cpu *cpu, bool on);
uint32_t emu_msr_indices(uint32_t *indices, uint32_t max);

#endif
