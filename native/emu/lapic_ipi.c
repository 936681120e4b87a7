/* Messages between processors, and from devices to them. Intel SDM vol. 3A §10.6, §10.11. */
#include "chips.h"

#define BROADCAST 0xffu
#define WIDE_BROADCAST UINT32_MAX

/* Who is meant by a physical destination, or by one bit of a logical one. §10.6.2 */
static bool addressed(const struct emu_cpu *cpu, const struct emu_message *message)
{
    const struct emu_lapic *lapic = cpu->lapic;
    uint32_t logical = lapic->reg[LAPIC_LDR / 4], mda = message->destination;
    bool x2 = emu_lapic_is_x2(cpu);
    if (mda == (message->wide ? WIDE_BROADCAST : BROADCAST))
        return true;
    if (!message->logical)
        return mda == (x2 ? lapic->reg[LAPIC_ID / 4] : lapic->reg[LAPIC_ID / 4] >> 24);
    if (x2)
        return logical >> 16 == mda >> 16 && (logical & mda & 0xffff);
    logical >>= 24;
    if (lapic->reg[LAPIC_DFR / 4] >> 28 == 0xf) /* flat */
        return logical & mda & 0xff;
    return logical >> 4 == (mda & 0xff) >> 4 && (logical & mda & 15);
}

/* True where the local APIC took it. */
static bool accept(struct emu_cpu *cpu, const struct emu_message *message)
{
    switch (message->delivery) {
    case EMU_FIXED:
    case EMU_LOWEST:
        if (!emu_lapic_enabled(cpu) || (message->level && !message->asserted))
            return false;
        emu_lapic_accept_vector(cpu, message->vector, message->level);
        return true;
    case EMU_NMI:
        emu_want_nmi(cpu);
        return true;
    case EMU_INIT: /* its de-assertion is history. §10.6.1 */
        if (message->level && !message->asserted)
            return false;
        emu_want_init(cpu);
        return true;
    case EMU_STARTUP:
        emu_want_startup(cpu, message->vector);
        return true;
    default:
        return false;
    }
}

/* Of those addressed the one that has had the fewest: all get their turn. */
static struct emu_cpu *least_served(struct emu_vm *vm, const struct emu_message *message)
{
    struct emu_cpu *best = NULL;
    for (struct emu_cpu *cpu = vm->cpus; cpu; cpu = cpu->next) {
        if (!emu_lapic_enabled(cpu) || !addressed(cpu, message))
            continue;
        if (!best || cpu->lapic->turns < best->lapic->turns ||
            (cpu->lapic->turns == best->lapic->turns && cpu->index < best->index))
            best = cpu;
    }
    return best;
}

/* Deliver to those addressed; returns how many took it. */
unsigned emu_message_send(struct emu_vm *vm, const struct emu_message *message)
{
    unsigned taken = 0;
    if (message->delivery == EMU_LOWEST) {
        struct emu_cpu *cpu = least_served(vm, message);
        if (!cpu)
            return 0;
        cpu->lapic->turns++;
        return accept(cpu, message);
    }
    for (struct emu_cpu *cpu = vm->cpus; cpu; cpu = cpu->next)
        if (addressed(cpu, message))
            taken += accept(cpu, message);
    return taken;
}

enum shorthand { NONE, SELF, ALL, OTHERS };

/* The interrupt command register was written; the destination is its upper half. §10.6.1 */
void emu_lapic_send(struct emu_cpu *cpu, uint64_t command)
{
    uint32_t high = (uint32_t)(command >> 32);
    enum shorthand shorthand = (command >> 18) & 3;
    struct emu_message message = {
        .destination = emu_lapic_is_x2(cpu) ? high : high >> 24,
        .vector = (uint8_t)command,
        .delivery = (command >> 8) & 7,
        .logical = command & 0x800,
        .level = command & 0x8000,
        .asserted = command & 0x4000,
        .wide = emu_lapic_is_x2(cpu),
    };
    if (message.delivery <= EMU_LOWEST && message.vector < 16) {
        emu_lapic_error(cpu, LAPIC_BAD_VECTOR_SENT);
        return;
    }
    if (shorthand == NONE) {
        emu_message_send(cpu->vm, &message);
        return;
    }
    if (shorthand == SELF) {
        accept(cpu, &message);
        return;
    }
    for (struct emu_cpu *each = cpu->vm->cpus; each; each = each->next)
        if (shorthand == ALL || each != cpu)
            accept(each, &message);
}
