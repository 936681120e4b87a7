/* The I/O APIC: 24 lines to messages. Intel 82093AA data sheet (290566) §3. */
#include "chips.h"

#define ENTRY_DELIVERY_SHIFT 8
#define ENTRY_LOGICAL (UINT64_C(1) << 11)
#define ENTRY_STATUS (UINT64_C(1) << 12)
#define ENTRY_REMOTE_IRR (UINT64_C(1) << 14)
#define ENTRY_LEVEL (UINT64_C(1) << 15)
#define ENTRY_MASKED (UINT64_C(1) << 16)
#define ENTRY_READ_ONLY (ENTRY_STATUS | ENTRY_REMOTE_IRR)
#define ENTRY_DESTINATION_SHIFT 56
#define REGISTER_SELECT 0x00u
#define REGISTER_DATA 0x10u
#define VERSION (0x11u | (EMU_GSIS - 1) << 16)

void emu_ioapic_reset(struct emu_ioapic *ioapic)
{
    *ioapic = (struct emu_ioapic){.base = 0xfec00000};
    for (unsigned pin = 0; pin < EMU_GSIS; pin++)
        ioapic->entry[pin] = ENTRY_MASKED;
}

/* Send a pin's message, unless it may not now. */
static void serve(struct emu_vm *vm, unsigned pin)
{
    uint64_t *entry = &vm->chips->ioapic.entry[pin];
    bool level = *entry & ENTRY_LEVEL;
    if ((*entry & ENTRY_MASKED) || (level && (*entry & ENTRY_REMOTE_IRR)))
        return;
    struct emu_message message = {
        .destination = (uint32_t)(*entry >> ENTRY_DESTINATION_SHIFT),
        .vector = (uint8_t)*entry,
        .delivery = (*entry >> ENTRY_DELIVERY_SHIFT) & 7,
        .logical = *entry & ENTRY_LOGICAL,
        .level = level,
        .asserted = true,
    };
    if (emu_message_send(vm, &message) && level)
        *entry |= ENTRY_REMOTE_IRR;
}

/* An edge counts once, when the line rises; a level as long as it is there. The entry's
 * polarity is not looked at: "level" already means "asserted". */
void emu_ioapic_set_line(struct emu_vm *vm, unsigned pin, bool level)
{
    struct emu_ioapic *ioapic = &vm->chips->ioapic;
    uint32_t bit = 1u << pin, before = ioapic->irr;
    ioapic->irr = level ? before | bit : before & ~bit;
    if (level && ((ioapic->entry[pin] & ENTRY_LEVEL) || !(before & bit)))
        serve(vm, pin);
}

/* A local APIC has ended `vector`. A level that is still there interrupts again. */
void emu_ioapic_end(struct emu_vm *vm, uint8_t vector, bool level)
{
    struct emu_ioapic *ioapic = &vm->chips->ioapic;
    for (unsigned pin = 0; pin < EMU_GSIS; pin++) {
        uint64_t *entry = &ioapic->entry[pin];
        if ((uint8_t)*entry != vector)
            continue;
        if (pin == 0)
            emu_pit_acknowledged(vm);
        emu_pin_ended(vm, EMU_CHIP_IOAPIC, pin);
        if (!level || !(*entry & ENTRY_LEVEL))
            continue;
        *entry &= ~ENTRY_REMOTE_IRR;
        if (ioapic->irr & 1u << pin)
            serve(vm, pin);
    }
}

/* Levels that wait, after a snapshot was loaded. */
void emu_ioapic_serve(struct emu_vm *vm)
{
    struct emu_ioapic *ioapic = &vm->chips->ioapic;
    for (unsigned pin = 0; pin < EMU_GSIS; pin++)
        if ((ioapic->irr & 1u << pin) && (ioapic->entry[pin] & ENTRY_LEVEL))
            serve(vm, pin);
}

static void write_entry(struct emu_vm *vm, unsigned pin, bool high, uint32_t value)
{
    struct emu_ioapic *ioapic = &vm->chips->ioapic;
    uint64_t *entry = &ioapic->entry[pin], before = *entry;
    uint64_t kept = before & ENTRY_READ_ONLY;
    *entry = high ? (before & UINT32_MAX) | (uint64_t)value << 32 : (before >> 32 << 32) | value;
    *entry = (*entry & ~ENTRY_READ_ONLY) | kept;
    if (!(*entry & ENTRY_LEVEL))
        *entry &= ~ENTRY_REMOTE_IRR; /* systems count on this to get rid of it */
    if (pin == 0 && (before & ~*entry & ENTRY_MASKED))
        emu_pit_unmasked(vm);
    if ((*entry & ENTRY_LEVEL) && (ioapic->irr & 1u << pin))
        serve(vm, pin);
}

static uint32_t read_register(const struct emu_ioapic *ioapic)
{
    uint32_t index = ioapic->select & 0xff, pin = (index - 0x10) / 2;
    if (index == 0 || index == 2)
        return (ioapic->id & 15) << 24;
    if (index == 1)
        return VERSION;
    if (index < 0x10 || pin >= EMU_GSIS)
        return 0;
    return (uint32_t)(index & 1 ? ioapic->entry[pin] >> 32 : ioapic->entry[pin]);
}

static void write_register(struct emu_vm *vm, uint32_t value)
{
    struct emu_ioapic *ioapic = &vm->chips->ioapic;
    uint32_t index = ioapic->select & 0xff, pin = (index - 0x10) / 2;
    if (index == 0)
        ioapic->id = (value >> 24) & 15;
    else if (index >= 0x10 && pin < EMU_GSIS)
        write_entry(vm, pin, index & 1, value);
}

uint32_t emu_ioapic_read(const struct emu_ioapic *ioapic, uint64_t offset)
{
    switch (offset) {
    case REGISTER_SELECT:
        return ioapic->select;
    case REGISTER_DATA:
        return read_register(ioapic);
    default:
        return 0;
    }
}

void emu_ioapic_write(struct emu_vm *vm, uint64_t offset, uint32_t value)
{
    if (offset == REGISTER_SELECT)
        vm->chips->ioapic.select = (uint8_t)value;
    else if (offset == REGISTER_DATA)
        write_register(vm, value);
}
