/* Where interrupt lines lead: to pins of the chips, or to messages. vm->lock guards this. */
#include "chips.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_LEVEL 0x8000u

/* A pin is high while any of its sources is. */
static bool merge(uint8_t *sources, enum emu_source source, bool level)
{
    *sources = (uint8_t)(level ? *sources | source : *sources & ~(unsigned)source);
    return *sources;
}

static void set_pin(struct emu_vm *vm, unsigned chip, unsigned pin, enum emu_source source,
                    bool level)
{
    struct emu_chips *chips = vm->chips;
    if (chip == EMU_CHIP_IOAPIC) {
        emu_ioapic_set_line(vm, pin, merge(&chips->ioapic_sources[pin], source, level));
        return;
    }
    unsigned line = chip == EMU_CHIP_PIC_SLAVE ? pin + 8 : pin;
    emu_pic_set_line(vm, line, merge(&chips->pic_sources[line], source, level));
}

static void follow(struct emu_vm *vm, const struct emu_route *route, enum emu_source source,
                   bool level)
{
    if (route->chip != EMU_ROUTE_MESSAGE)
        set_pin(vm, route->chip, route->pin, source, level);
    else if (level)
        emu_msi_send(vm, route->address, route->data);
}

/* Drive a line. Without routes of the owner's every line leads to a pin of the I/O APIC, the
 * first 16 to the 8259s as well: those of a new machine in KVM. */
void emu_gsi_set(struct emu_vm *vm, uint32_t gsi, enum emu_source source, bool level)
{
    struct emu_chips *chips = vm->chips;
    for (uint32_t i = 0; i < chips->route_count; i++)
        if (chips->route[i].gsi == gsi)
            follow(vm, &chips->route[i], source, level);
    if (chips->route || vm->irqchip != EMU_IRQCHIP_FULL || gsi >= EMU_GSIS)
        return;
    if (gsi < 16)
        set_pin(vm, EMU_CHIP_PIC_MASTER, gsi, source, level);
    set_pin(vm, EMU_CHIP_IOAPIC, gsi, source, level);
}

/* The guest has ended the interrupt of a pin: who waits for that is told. */
void emu_pin_ended(struct emu_vm *vm, enum emu_chip chip, unsigned pin)
{
    const struct emu_chips *chips = vm->chips;
    if (EMU_LIKELY(!vm->irqfds))
        return;
    if (!chips->route)
        emu_irqfds_ended(vm, chip == EMU_CHIP_PIC_SLAVE ? pin + 8 : pin);
    for (uint32_t i = 0; i < chips->route_count; i++)
        if (chips->route[i].chip == chip && chips->route[i].pin == pin)
            emu_irqfds_ended(vm, chips->route[i].gsi);
}

/* A split irqchip: does the owner's I/O APIC have to know of this vector's end? */
bool emu_vector_is_routed(const struct emu_vm *vm, uint8_t vector)
{
    for (uint32_t i = 0; i < vm->chips->route_count; i++) {
        const struct emu_route *route = &vm->chips->route[i];
        if (route->chip == EMU_ROUTE_MESSAGE && route->gsi < EMU_GSIS &&
            (route->data & MESSAGE_LEVEL) && (uint8_t)route->data == vector)
            return true;
    }
    return false;
}

static bool possible(const struct emu_vm *vm, const struct emu_route *route)
{
    if (route->chip == EMU_ROUTE_MESSAGE)
        return true;
    return vm->irqchip == EMU_IRQCHIP_FULL && route->chip <= EMU_CHIP_IOAPIC &&
           route->pin < (route->chip == EMU_CHIP_IOAPIC ? EMU_GSIS : 8);
}

/* Replace all routes. Returns 0, -ENXIO without chips, -EINVAL for a pin that there is not,
 * or -ENOMEM. Any thread. */
int emu_vm_set_routes(struct emu_vm *vm, const struct emu_route *routes, uint32_t count)
{
    if (!vm->chips)
        return -ENXIO;
    for (uint32_t i = 0; i < count; i++)
        if (!possible(vm, &routes[i]))
            return -EINVAL;
    struct emu_route *copy = calloc((size_t)count + 1, sizeof(*copy)); /* none is a set too */
    if (!copy)
        return -ENOMEM;
    memcpy(copy, routes, count * sizeof(*copy));
    emu_vm_lock(vm);
    struct emu_route *before = vm->chips->route;
    vm->chips->route = copy;
    vm->chips->route_count = count;
    emu_vm_unlock(vm);
    free(before);
    return 0;
}
