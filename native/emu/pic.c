/* Two 8259A interrupt controllers. Intel 8259A data sheet (231468); the trigger modes are
 * those of the ELCR registers (Intel 82371AB data sheet, 4D0h, 4D1h), as in KVM. */
#include "chips.h"

#define MASTER 0
#define SLAVE 1
#define CASCADE 2u /* the master's line that the slave hangs on */
#define NOBODY 8u

static uint8_t bit(unsigned line)
{
    return (uint8_t)(1u << line);
}

void emu_pic_reset(struct emu_chips *chips)
{
    chips->pic[MASTER] = (struct emu_pic){.level_mask = 0xf8};
    chips->pic[SLAVE] = (struct emu_pic){.level_mask = 0xde};
    chips->pic_output = false;
}

/* Steps from the line of highest priority to the first of `lines`, or NOBODY. */
static unsigned rank(const struct emu_pic *pic, unsigned lines)
{
    for (unsigned steps = 0; steps < 8; steps++)
        if (lines & bit((pic->highest + steps) & 7))
            return steps;
    return NOBODY;
}

/* The line that interrupts now, or NOBODY: no line in service has its priority or more. */
static unsigned winner(const struct emu_chips *chips, unsigned which)
{
    const struct emu_pic *pic = &chips->pic[which];
    unsigned wanted = rank(pic, pic->irr & ~(unsigned)pic->imr), served = pic->isr;
    if (pic->special_mask)
        served &= ~(unsigned)pic->imr;
    if (pic->fully_nested && which == MASTER)
        served &= ~(unsigned)bit(CASCADE);
    return wanted < rank(pic, served) ? (wanted + pic->highest) & 7 : NOBODY;
}

static void drive(struct emu_pic *pic, unsigned line, bool level)
{
    if (pic->level & bit(line))
        pic->irr = (uint8_t)(level ? pic->irr | bit(line) : pic->irr & ~bit(line));
    else if (level && !(pic->last_irr & bit(line)))
        pic->irr |= bit(line);
    pic->last_irr = (uint8_t)(level ? pic->last_irr | bit(line) : pic->last_irr & ~bit(line));
}

/* The INT pins, after anything that may have changed them. */
void emu_pic_changed(struct emu_vm *vm)
{
    struct emu_chips *chips = vm->chips;
    if (winner(chips, SLAVE) != NOBODY) {
        drive(&chips->pic[MASTER], CASCADE, true);
        drive(&chips->pic[MASTER], CASCADE, false);
    }
    bool output = winner(chips, MASTER) != NOBODY;
    chips->pic_output = output;
    for (struct emu_cpu *cpu = vm->cpus; output && cpu; cpu = cpu->next)
        if (emu_lapic_takes_pic(cpu))
            emu_want_interrupt(cpu);
}

void emu_pic_set_line(struct emu_vm *vm, unsigned line, bool level)
{
    drive(&vm->chips->pic[line / 8], line % 8, level);
    emu_pic_changed(vm);
}

static void end(struct emu_vm *vm, struct emu_pic *pic, unsigned line)
{
    pic->isr &= (uint8_t)~bit(line);
    bool master = pic == &vm->chips->pic[MASTER];
    if (master && line == 0)
        emu_pit_acknowledged(vm);
    emu_pin_ended(vm, master ? EMU_CHIP_PIC_MASTER : EMU_CHIP_PIC_SLAVE, line);
}

static void begin(struct emu_vm *vm, struct emu_pic *pic, unsigned line)
{
    pic->isr |= bit(line);
    if (!(pic->level & bit(line)))
        pic->irr &= (uint8_t)~bit(line);
    if (!pic->auto_eoi)
        return;
    if (pic->rotate_on_auto_eoi)
        pic->highest = (line + 1) & 7;
    end(vm, pic, line);
}

/* INTA: the vector. Where the request has gone away meanwhile it is line 7's. */
uint8_t emu_pic_acknowledge(struct emu_vm *vm)
{
    struct emu_chips *chips = vm->chips;
    struct emu_pic *pic = &chips->pic[MASTER];
    unsigned line = winner(chips, MASTER);
    if (line != NOBODY)
        begin(vm, pic, line);
    if (line == CASCADE) {
        pic = &chips->pic[SLAVE];
        line = winner(chips, SLAVE);
        if (line != NOBODY)
            begin(vm, pic, line);
    }
    uint8_t vector = (uint8_t)(pic->base + (line == NOBODY ? 7 : line));
    emu_pic_changed(vm);
    return vector;
}

/* ICW1. Requests of edge-triggered lines are forgotten. */
static void initialize(struct emu_pic *pic, uint8_t value)
{
    pic->wants_icw4 = value & 1;
    pic->last_irr = pic->imr = pic->highest = pic->special_mask = pic->read_isr = 0;
    pic->irr &= pic->level;
    if (!pic->wants_icw4)
        pic->fully_nested = pic->auto_eoi = 0;
    pic->init = 1;
}

/* OCW2: end of interrupt, rotation. */
static void command(struct emu_vm *vm, struct emu_pic *pic, uint8_t value)
{
    bool rotate = value & 0x80, specific = value & 0x40, ends = value & 0x20;
    unsigned line = value & 7, served = rank(pic, pic->isr);
    if (!specific && !ends) {
        pic->rotate_on_auto_eoi = rotate;
        return;
    }
    if (specific && !ends && !rotate)
        return;
    if (!specific) {
        if (served == NOBODY)
            return;
        line = (served + pic->highest) & 7;
    }
    if (rotate)
        pic->highest = (line + 1) & 7;
    if (ends)
        end(vm, pic, line);
    emu_pic_changed(vm);
}

static void write_even(struct emu_vm *vm, struct emu_pic *pic, uint8_t value)
{
    if (value & 0x10) {
        initialize(pic, value);
    } else if (value & 0x08) { /* OCW3 */
        if (value & 0x04)
            pic->poll = 1;
        if (value & 0x02)
            pic->read_isr = value & 1;
        if (value & 0x40) /* takes effect with the next change, as in KVM */
            pic->special_mask = (value >> 5) & 1;
    } else {
        command(vm, pic, value);
    }
}

static void write_mask(struct emu_vm *vm, struct emu_pic *pic, uint8_t value)
{
    bool unmasked = pic == &vm->chips->pic[MASTER] && (pic->imr & ~value & 1);
    pic->imr = value;
    if (unmasked)
        emu_pit_unmasked(vm);
    emu_pic_changed(vm);
}

/* OCW1, or the initialization word that is due. */
static void write_odd(struct emu_vm *vm, struct emu_pic *pic, uint8_t value)
{
    switch (pic->init) {
    case 0:
        write_mask(vm, pic, value);
        break;
    case 1:
        pic->base = value & 0xf8;
        pic->init = 2;
        break;
    case 2:
        pic->init = pic->wants_icw4 ? 3 : 0;
        break;
    default:
        pic->fully_nested = (value >> 4) & 1;
        pic->auto_eoi = (value >> 1) & 1;
        pic->init = 0;
        break;
    }
}

/* The poll command takes the request without putting it in service, as in KVM. Where it is
 * the slave's, that has to be polled next. */
static uint8_t poll(struct emu_vm *vm, unsigned which)
{
    struct emu_chips *chips = vm->chips;
    struct emu_pic *pic = &chips->pic[which];
    unsigned line = winner(chips, which);
    pic->poll = 0;
    if (line != NOBODY) {
        if (which == SLAVE) {
            chips->pic[MASTER].isr &= (uint8_t)~bit(CASCADE);
            chips->pic[MASTER].irr &= (uint8_t)~bit(CASCADE);
        }
        pic->irr &= (uint8_t)~bit(line);
        end(vm, pic, line);
    }
    if (which == SLAVE || line != CASCADE)
        emu_pic_changed(vm);
    return line == NOBODY ? 7 : (uint8_t)(0x80 | line);
}

#define ELCR_PORT 0x4d0u

uint64_t emu_pic_read(struct emu_vm *vm, uint64_t port)
{
    if (port >= ELCR_PORT)
        return vm->chips->pic[port & 1].level;
    unsigned which = port & 0x80 ? SLAVE : MASTER;
    struct emu_pic *pic = &vm->chips->pic[which];
    if (pic->poll)
        return poll(vm, which);
    if (port & 1)
        return pic->imr;
    return pic->read_isr ? pic->isr : pic->irr;
}

void emu_pic_write(struct emu_vm *vm, uint64_t port, uint8_t value)
{
    struct emu_pic *pic = &vm->chips->pic[port & 0x80 ? SLAVE : MASTER];
    if (port >= ELCR_PORT) {
        pic = &vm->chips->pic[port & 1];
        pic->level = value & pic->level_mask;
    } else if (port & 1) {
        write_odd(vm, pic, value);
    } else {
        write_even(vm, pic, value);
    }
}
