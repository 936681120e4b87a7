/* The interrupt chips, as their own files see them. vm->lock guards all of this: lines may
 * be driven by any thread. Times are the guest's, in nanoseconds (clock.c). */
#ifndef PYKVM_EMU_CHIPS_H
#define PYKVM_EMU_CHIPS_H

#include "cpu.h"

#define EMU_GSIS 24u
/* A guest that asks for interrupts faster than this gets them so; KVM's figure. */
#define EMU_PERIOD_MIN_NS UINT64_C(200000)

/* struct kvm_pic_state. */
struct emu_pic {
    uint8_t last_irr, irr, imr, isr;
    uint8_t highest; /* the line of highest priority */
    uint8_t base;    /* vector of line 0 */
    uint8_t read_isr, poll, special_mask;
    uint8_t init; /* the initialization word that comes next is ICW`init + 1`; 0: none */
    uint8_t auto_eoi, rotate_on_auto_eoi, fully_nested, wants_icw4;
    uint8_t level, level_mask; /* ELCR, and which of its bits can be set */
};
_Static_assert(sizeof(struct emu_pic) == EMU_PIC_STATE_BYTES, "the layout of a snapshot");

/* struct kvm_ioapic_state. */
struct emu_ioapic {
    uint64_t base;
    uint32_t select, id, irr, unused;
    uint64_t entry[EMU_GSIS];
};
_Static_assert(sizeof(struct emu_ioapic) == EMU_IOAPIC_STATE_BYTES, "the layout of a snapshot");

/* struct kvm_pit_channel_state. */
struct emu_pit_channel {
    uint32_t count; /* up to 65536 */
    uint16_t latched_count;
    uint8_t count_latched, status_latched, status;
    uint8_t read_state, write_state, write_latch, access, mode, bcd, gate;
    int64_t loaded_ns;
};

struct emu_pit {
    bool exists;
    bool speaker;
    bool acknowledged; /* the guest has served the last tick */
    uint32_t pending;  /* ticks it has not yet been given */
    uint64_t expires_ns, period_ns;
    struct emu_pit_channel channel[3];
};

/* Registers lie in the order of their page, 16 bytes each: Intel SDM vol. 3A table 10-1. */
struct emu_lapic {
    uint32_t reg[EMU_LAPIC_STATE_BYTES / 4];
    uint32_t turns; /* lowest-priority interrupts taken: who has had fewest comes next */
    uint32_t errors;
    uint64_t expires_ns, period_ns;
};

struct emu_chips {
    struct emu_pic pic[2];
    bool pic_output;
    struct emu_ioapic ioapic;
    struct emu_pit pit;
    uint8_t pic_sources[16], ioapic_sources[EMU_GSIS]; /* who holds a pin high */
    struct emu_route *route;                           /* the owner's; NULL: a new machine's */
    uint32_t route_count;
};

/* Who drives a line. */
enum emu_source { EMU_SOURCE_LINE = 1, EMU_SOURCE_PIT = 2, EMU_SOURCE_RESAMPLE = 4 };

enum emu_delivery {
    EMU_FIXED,
    EMU_LOWEST,
    EMU_SMI,
    EMU_NMI = 4,
    EMU_INIT,
    EMU_STARTUP,
    EMU_EXTINT
};

/* An interrupt on its way to local APICs. */
struct emu_message {
    uint32_t destination;
    uint8_t vector;
    uint8_t delivery; /* enum emu_delivery */
    bool logical, level, asserted;
    bool wide; /* a 32-bit destination: from an x2APIC */
};

/* pic.c */
void emu_pic_reset(struct emu_chips *chips);
void emu_pic_set_line(struct emu_vm *vm, unsigned line, bool level);
void emu_pic_changed(struct emu_vm *vm);
uint8_t emu_pic_acknowledge(struct emu_vm *vm);
uint64_t emu_pic_read(struct emu_vm *vm, uint64_t port);
void emu_pic_write(struct emu_vm *vm, uint64_t port, uint8_t value);

/* pit.c */
void emu_pit_reset(struct emu_pit *pit);
uint64_t emu_pit_read(struct emu_vm *vm, uint64_t port, uint64_t now_ns);
void emu_pit_write(struct emu_vm *vm, uint64_t port, uint8_t value, uint64_t now_ns);
void emu_pit_expire(struct emu_vm *vm, uint64_t now_ns);
void emu_pit_acknowledged(struct emu_vm *vm);
void emu_pit_unmasked(struct emu_vm *vm);
void emu_pit_get(const struct emu_pit *pit, void *state);
void emu_pit_set(struct emu_vm *vm, const void *state, uint64_t now_ns);

/* ioapic.c */
void emu_ioapic_reset(struct emu_ioapic *ioapic);
void emu_ioapic_set_line(struct emu_vm *vm, unsigned pin, bool level);
uint32_t emu_ioapic_read(const struct emu_ioapic *ioapic, uint64_t offset);
void emu_ioapic_write(struct emu_vm *vm, uint64_t offset, uint32_t value);
void emu_ioapic_end(struct emu_vm *vm, uint8_t vector, bool level);
void emu_ioapic_serve(struct emu_vm *vm);

/* lapic.c */
#define LAPIC_ID 0x20u
#define LAPIC_VERSION 0x30u
#define LAPIC_TPR 0x80u
#define LAPIC_PPR 0xa0u
#define LAPIC_EOI 0xb0u
#define LAPIC_LDR 0xd0u
#define LAPIC_DFR 0xe0u
#define LAPIC_SPURIOUS 0xf0u
#define LAPIC_ISR 0x100u
#define LAPIC_TMR 0x180u
#define LAPIC_IRR 0x200u
#define LAPIC_ESR 0x280u
#define LAPIC_ICR 0x300u
#define LAPIC_ICR_HIGH 0x310u
#define LAPIC_LVT_TIMER 0x320u
#define LAPIC_LVT_THERMAL 0x330u
#define LAPIC_LVT_COUNTERS 0x340u
#define LAPIC_LVT_LINT0 0x350u
#define LAPIC_LVT_LINT1 0x360u
#define LAPIC_LVT_ERROR 0x370u
#define LAPIC_TIMER_START 0x380u
#define LAPIC_TIMER_NOW 0x390u
#define LAPIC_TIMER_DIVIDE 0x3e0u
#define LAPIC_SELF_IPI 0x3f0u
#define LVT_MASKED 0x10000u
#define LVT_TIMER_MODE 0x60000u
#define LVT_TIMER_PERIODIC 0x20000u
#define LVT_TIMER_DEADLINE 0x40000u
#define LAPIC_ENABLED 0x100u /* of the spurious-interrupt register */
#define LAPIC_BAD_VECTOR_SENT 0x20u
#define LAPIC_BAD_VECTOR_RECEIVED 0x40u
#define APIC_BASE_ADDRESS UINT64_C(0x3ffffffff000)

static inline uint32_t *emu_lapic_reg(struct emu_lapic *lapic, uint32_t offset)
{
    return &lapic->reg[offset / 4];
}

static inline bool emu_lapic_is_x2(const struct emu_cpu *cpu)
{
    return cpu->msr.apic_base & APIC_BASE_X2APIC;
}

uint64_t emu_lapic_read(struct emu_cpu *cpu, uint32_t offset, uint32_t size_bytes);
void emu_lapic_write(struct emu_cpu *cpu, uint32_t offset, uint32_t size_bytes, uint32_t value);
bool emu_lapic_enabled(const struct emu_cpu *cpu);
bool emu_lapic_takes_pic(const struct emu_cpu *cpu);
void emu_lapic_local(struct emu_cpu *cpu, uint32_t lvt);
void emu_lapic_error(struct emu_cpu *cpu, uint32_t bits);

/* lapic_timer.c */
void emu_lapic_timer_start(struct emu_cpu *cpu, uint64_t now_ns);
void emu_lapic_timer_mode(struct emu_cpu *cpu, uint32_t before);
void emu_lapic_timer_divide(struct emu_cpu *cpu, uint32_t value, uint64_t now_ns);
uint32_t emu_lapic_timer_now(struct emu_cpu *cpu, uint64_t now_ns);
void emu_lapic_timer_expire(struct emu_cpu *cpu, uint64_t now_ns);
void emu_lapic_timer_stop(struct emu_cpu *cpu);
void emu_lapic_timer_resume(struct emu_cpu *cpu, uint64_t now_ns);

/* lapic_ipi.c */
unsigned emu_message_send(struct emu_vm *vm, const struct emu_message *message);
void emu_lapic_send(struct emu_cpu *cpu, uint64_t command);
void emu_lapic_accept_vector(struct emu_cpu *cpu, uint8_t vector, bool level);

/* route.c */
void emu_gsi_set(struct emu_vm *vm, uint32_t gsi, enum emu_source source, bool level);
void emu_pin_ended(struct emu_vm *vm, enum emu_chip chip, unsigned pin);
bool emu_vector_is_routed(const struct emu_vm *vm, uint8_t vector);

/* chips.c */
unsigned emu_msi_send(struct emu_vm *vm, uint64_t address, uint32_t data);
void emu_timers_changed(struct emu_vm *vm);
void emu_timers_shift(struct emu_vm *vm, uint64_t delta_ns);

/* turn.c */
void emu_turn_retime(struct emu_vm *vm, uint64_t next_ns);
void emu_turn_rouse(struct emu_cpu *cpu);
void emu_want_interrupt(struct emu_cpu *cpu);
void emu_want_nmi(struct emu_cpu *cpu);
void emu_want_init(struct emu_cpu *cpu);
void emu_want_startup(struct emu_cpu *cpu, uint8_t vector);

#endif
