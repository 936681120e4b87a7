/* The interrupt hardware as a whole: creation, lines, timers, and who answers at which port
 * and address. */
#include "chips.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LAPIC_PAGE_BYTES 4096u
#define IOAPIC_BYTES 0x100u

/* Before the first processor. Returns 0, -EEXIST, -EBUSY, -EINVAL or -ENOMEM. */
int emu_vm_create_irqchip(struct emu_vm *vm, enum emu_irqchip kind)
{
    if (vm->chips)
        return -EEXIST;
    if (vm->cpus)
        return -EBUSY;
    if (kind != EMU_IRQCHIP_FULL && kind != EMU_IRQCHIP_SPLIT)
        return -EINVAL;
    vm->chips = calloc(1, sizeof(*vm->chips));
    if (!vm->chips)
        return -ENOMEM;
    vm->irqchip = kind;
    emu_pic_reset(vm->chips);
    emu_ioapic_reset(&vm->chips->ioapic);
    emu_pit_reset(&vm->chips->pit);
    return 0;
}

/* The 8254, of a full irqchip. Returns 0, -EEXIST, or -ENXIO without one. */
int emu_vm_create_pit(struct emu_vm *vm)
{
    if (vm->irqchip != EMU_IRQCHIP_FULL)
        return -ENXIO;
    if (vm->chips->pit.exists)
        return -EEXIST;
    vm->chips->pit.exists = true;
    return 0;
}

/* A processor's local APIC, where the machine has them. */
bool emu_lapic_create(struct emu_cpu *cpu)
{
    if (!cpu->vm->chips)
        return true;
    cpu->lapic = calloc(1, sizeof(*cpu->lapic));
    if (cpu->lapic)
        cpu->lapic->expires_ns = EMU_NEVER;
    return cpu->lapic;
}

/* Drive a line; without chips it leads nowhere. Any thread. */
void emu_vm_set_irq_line(struct emu_vm *vm, uint32_t gsi, bool level)
{
    if (!vm->chips)
        return;
    emu_vm_lock(vm);
    emu_gsi_set(vm, gsi, EMU_SOURCE_LINE, level);
    emu_vm_unlock(vm);
}

/* A message-signalled interrupt. Intel SDM vol. 3A §10.11. Returns how many local APICs
 * took it. */
unsigned emu_msi_send(struct emu_vm *vm, uint64_t address, uint32_t data)
{
    bool to_one = address & 8; /* redirection hint */
    struct emu_message message = {
        .destination = (uint32_t)(address >> 12) & 0xff,
        .vector = (uint8_t)data,
        .delivery = to_one ? EMU_LOWEST : (data >> 8) & 7,
        .logical = address & 4,
        .level = data & 0x8000,
        .asserted = true, /* whatever bit 14 says, as in KVM */
    };
    return emu_message_send(vm, &message);
}

/* The same by any thread; -ENXIO where there are no local APICs. */
int emu_vm_signal_msi(struct emu_vm *vm, uint64_t address, uint32_t data)
{
    if (!vm->chips)
        return -ENXIO;
    emu_vm_lock(vm);
    unsigned taken = emu_msi_send(vm, address, data);
    emu_vm_unlock(vm);
    return (int)taken;
}

/* A timer was set or stopped: find the one that comes first. Processors that would run or
 * sleep beyond it look again. */
void emu_timers_changed(struct emu_vm *vm)
{
    uint64_t next_ns = vm->chips->pit.expires_ns;
    if (vm->line_ns < next_ns)
        next_ns = vm->line_ns;
    for (struct emu_cpu *cpu = vm->cpus; cpu; cpu = cpu->next)
        if (cpu->lapic->expires_ns < next_ns)
            next_ns = cpu->lapic->expires_ns;
    uint64_t before_ns = atomic_exchange(&vm->next_timer_ns, next_ns);
    if (next_ns < before_ns)
        emu_turn_retime(vm, next_ns);
}

static void shift(uint64_t *expires_ns, uint64_t delta_ns)
{
    if (*expires_ns != EMU_NEVER)
        *expires_ns += delta_ns;
}

/* Guest time has been set: timers keep what they have left. */
void emu_timers_shift(struct emu_vm *vm, uint64_t delta_ns)
{
    struct emu_pit *pit = &vm->chips->pit;
    shift(&pit->expires_ns, delta_ns);
    shift(&vm->line_ns, delta_ns);
    for (unsigned i = 0; i < 3; i++)
        pit->channel[i].loaded_ns = (int64_t)((uint64_t)pit->channel[i].loaded_ns + delta_ns);
    for (struct emu_cpu *cpu = vm->cpus; cpu; cpu = cpu->next)
        shift(&cpu->lapic->expires_ns, delta_ns);
    emu_timers_changed(vm);
}

/* Do what is due by now. */
void emu_timers_run(struct emu_vm *vm, uint64_t now_ns)
{
    if (vm->chips->pit.expires_ns <= now_ns)
        emu_pit_expire(vm, now_ns);
    if (vm->line_ns <= now_ns) {
        vm->line_ns = EMU_NEVER;
        emu_gsi_set(vm, vm->line_gsi, EMU_SOURCE_LINE, true);
    }
    for (struct emu_cpu *cpu = vm->cpus; cpu; cpu = cpu->next)
        if (cpu->lapic->expires_ns <= now_ns)
            emu_lapic_timer_expire(cpu, now_ns);
    emu_timers_changed(vm);
}

/* Raise a line of the owner's when guest time is so far; EMU_NEVER: not any more. There is one
 * such line. Any thread. */
void emu_vm_raise_line_at(struct emu_vm *vm, uint32_t gsi, uint64_t ns)
{
    if (!vm->chips)
        return;
    emu_vm_lock(vm);
    vm->line_gsi = gsi;
    vm->line_ns = ns;
    emu_timers_changed(vm);
    emu_vm_unlock(vm);
}

static bool within(uint64_t address, uint32_t size_bytes, uint64_t base, uint32_t length)
{
    uint64_t offset = address - base;
    return offset < length && size_bytes <= length - offset;
}

enum place { NOWHERE, PIC, PIT, LAPIC, IOAPIC };

/* Which chip an access is for. An 8259 has two ports each, and two more for ELCR. */
static enum place place_of(const struct emu_cpu *cpu, bool is_port, uint64_t address,
                           uint32_t size_bytes)
{
    const struct emu_vm *vm = cpu->vm;
    bool full = vm->irqchip == EMU_IRQCHIP_FULL;
    if (!vm->chips)
        return NOWHERE;
    if (!is_port) {
        uint64_t base = cpu->msr.apic_base & APIC_BASE_ADDRESS;
        if (within(address, size_bytes, base, LAPIC_PAGE_BYTES))
            return LAPIC;
        bool ioapic = within(address, size_bytes, vm->chips->ioapic.base, IOAPIC_BYTES);
        return full && ioapic ? IOAPIC : NOWHERE;
    }
    if (full && (within(address, size_bytes, 0x20, 2) || within(address, size_bytes, 0xa0, 2) ||
                 within(address, size_bytes, 0x4d0, 2)))
        return PIC;
    if (vm->chips->pit.exists &&
        (within(address, size_bytes, 0x40, 4) || (address == 0x61 && size_bytes == 1)))
        return PIT;
    return NOWHERE;
}

/* A read by a processor; false where it is for none of the chips. The 8259 knows bytes
 * alone: wider accesses read 0 and write nothing. */
bool emu_chips_read(struct emu_cpu *cpu, bool is_port, uint64_t address, uint32_t size_bytes,
                    uint64_t *value)
{
    struct emu_vm *vm = cpu->vm;
    enum place place = place_of(cpu, is_port, address, size_bytes);
    if (place == NOWHERE)
        return false;
    emu_vm_lock(vm);
    switch (place) {
    case PIC:
        *value = size_bytes == 1 ? emu_pic_read(vm, address) : 0;
        break;
    case PIT:
        *value = emu_pit_read(vm, address, emu_guest_ns(cpu));
        break;
    case LAPIC:
        *value = emu_lapic_read(cpu, address % LAPIC_PAGE_BYTES, size_bytes);
        break;
    default:
        *value = emu_ioapic_read(&vm->chips->ioapic, address - vm->chips->ioapic.base);
        break;
    }
    emu_vm_unlock(vm);
    return true;
}

bool emu_chips_write(struct emu_cpu *cpu, bool is_port, uint64_t address, uint32_t size_bytes,
                     uint64_t value)
{
    struct emu_vm *vm = cpu->vm;
    enum place place = place_of(cpu, is_port, address, size_bytes);
    if (place == NOWHERE)
        return false;
    if (size_bytes < 4)
        value &= (1u << 8 * size_bytes) - 1;
    emu_vm_lock(vm);
    switch (place) {
    case PIC:
        if (size_bytes == 1)
            emu_pic_write(vm, address, (uint8_t)value);
        break;
    case PIT:
        emu_pit_write(vm, address, (uint8_t)value, emu_guest_ns(cpu));
        break;
    case LAPIC:
        emu_lapic_write(cpu, address % LAPIC_PAGE_BYTES, size_bytes, (uint32_t)value);
        break;
    default:
        emu_ioapic_write(vm, address - vm->chips->ioapic.base, (uint32_t)value);
        break;
    }
    emu_vm_unlock(vm);
    return true;
}

static size_t chip_size_bytes(const struct emu_vm *vm, enum emu_chip chip)
{
    if (vm->irqchip != EMU_IRQCHIP_FULL || (chip == EMU_CHIP_PIT && !vm->chips->pit.exists))
        return 0;
    return chip == EMU_CHIP_PIT      ? EMU_PIT_STATE_BYTES
           : chip == EMU_CHIP_IOAPIC ? EMU_IOAPIC_STATE_BYTES
                                     : EMU_PIC_STATE_BYTES;
}

static int check_chip(const struct emu_vm *vm, enum emu_chip chip, size_t size_bytes)
{
    size_t right = chip_size_bytes(vm, chip);
    return !right ? -ENXIO : size_bytes == right ? 0 : -EINVAL;
}

/* A chip's state, for snapshots. Returns 0, -ENXIO (no such chip) or -EINVAL (its size). */
int emu_vm_get_chip(struct emu_vm *vm, enum emu_chip chip, void *state, size_t size_bytes)
{
    int error = check_chip(vm, chip, size_bytes);
    if (error)
        return error;
    emu_vm_lock(vm);
    if (chip == EMU_CHIP_PIT)
        emu_pit_get(&vm->chips->pit, state);
    else if (chip == EMU_CHIP_IOAPIC)
        memcpy(state, &vm->chips->ioapic, size_bytes);
    else
        memcpy(state, &vm->chips->pic[chip - EMU_CHIP_PIC_MASTER], size_bytes);
    emu_vm_unlock(vm);
    return 0;
}

/* Processors stand still: they look without the lock for where chips are. */
int emu_vm_set_chip(struct emu_vm *vm, enum emu_chip chip, const void *state, size_t size_bytes)
{
    int error = check_chip(vm, chip, size_bytes);
    if (error)
        return error;
    emu_vm_freeze(vm);
    if (chip == EMU_CHIP_PIT) {
        emu_pit_set(vm, state, emu_vm_ns(vm));
    } else if (chip == EMU_CHIP_IOAPIC) {
        memcpy(&vm->chips->ioapic, state, size_bytes);
        emu_ioapic_serve(vm);
    } else {
        memcpy(&vm->chips->pic[chip - EMU_CHIP_PIC_MASTER], state, size_bytes);
        emu_pic_changed(vm);
    }
    emu_vm_thaw(vm);
    return 0;
}
