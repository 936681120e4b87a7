/* The local APIC: registers, priorities, end of interrupt. Intel SDM vol. 3A chapter 10. */
#include <errno.h>
#include <string.h>

#include "chips.h"

/* Six local vector entries, as KVM says of itself. §10.4.8 */
#define VERSION 0x00050014u
#define WORDS 8u

static uint32_t get(const struct emu_cpu *cpu, uint32_t offset)
{
    return cpu->lapic->reg[offset / 4];
}

static void set(struct emu_cpu *cpu, uint32_t offset, uint32_t value)
{
    cpu->lapic->reg[offset / 4] = value;
}

static bool hardware_enabled(const struct emu_cpu *cpu)
{
    return cpu->msr.apic_base & APIC_BASE_ENABLED;
}

/* Only then are messages accepted. §10.4.7.2 */
bool emu_lapic_enabled(const struct emu_cpu *cpu)
{
    return hardware_enabled(cpu) && (get(cpu, LAPIC_SPURIOUS) & LAPIC_ENABLED);
}

/* The 8259 is heard by way of LINT0 ("virtual wire"), or directly without a local APIC. */
bool emu_lapic_takes_pic(const struct emu_cpu *cpu)
{
    uint32_t lint0 = get(cpu, LAPIC_LVT_LINT0);
    return !hardware_enabled(cpu) || (!(lint0 & LVT_MASKED) && ((lint0 >> 8) & 7) == EMU_EXTINT);
}

/* An x2APIC's logical destination follows from its ID. §10.12.10.2 */
static void set_identity(struct emu_cpu *cpu)
{
    if (emu_lapic_is_x2(cpu)) {
        set(cpu, LAPIC_ID, cpu->index);
        set(cpu, LAPIC_LDR, cpu->index >> 4 << 16 | 1u << (cpu->index & 15));
    } else {
        set(cpu, LAPIC_ID, cpu->index << 24);
    }
}

/* §10.4.7.1. LINT0 of the first processor listens to the 8259, as a BIOS would leave it. */
void emu_lapic_reset(struct emu_cpu *cpu)
{
    memset(cpu->lapic->reg, 0, sizeof(cpu->lapic->reg));
    cpu->lapic->errors = 0;
    emu_lapic_timer_stop(cpu);
    set(cpu, LAPIC_VERSION, VERSION);
    set(cpu, LAPIC_DFR, UINT32_MAX);
    set(cpu, LAPIC_SPURIOUS, 0xff);
    for (uint32_t lvt = LAPIC_LVT_TIMER; lvt <= LAPIC_LVT_ERROR; lvt += 0x10)
        set(cpu, lvt, LVT_MASKED);
    if (cpu->index == 0)
        set(cpu, LAPIC_LVT_LINT0, EMU_EXTINT << 8);
    set_identity(cpu);
}

/* The highest vector set in IRR or ISR, or -1. */
static int highest(const struct emu_cpu *cpu, uint32_t offset)
{
    for (unsigned word = WORDS; word-- > 0;) {
        uint32_t bits = get(cpu, offset + word * 0x10);
        if (bits)
            return (int)(word * 32 + 31 - (unsigned)__builtin_clz(bits));
    }
    return -1;
}

static uint32_t *vector_word(struct emu_cpu *cpu, uint32_t offset, unsigned vector)
{
    return emu_lapic_reg(cpu->lapic, offset + vector / 32 * 0x10);
}

static uint32_t vector_bit(unsigned vector)
{
    return 1u << vector % 32;
}

/* §10.8.3.1 */
static uint32_t processor_priority(const struct emu_cpu *cpu)
{
    uint32_t task = get(cpu, LAPIC_TPR);
    int served = highest(cpu, LAPIC_ISR);
    uint32_t class = served < 0 ? 0 : (uint32_t)served & 0xf0;
    return (task & 0xf0) >= class ? task : class;
}

/* Put a vector into IRR; how its line was triggered decides what its end means. */
void emu_lapic_accept_vector(struct emu_cpu *cpu, uint8_t vector, bool level)
{
    if (vector < 16) { /* §10.5.2 */
        emu_lapic_error(cpu, LAPIC_BAD_VECTOR_RECEIVED);
        return;
    }
    uint32_t *trigger = vector_word(cpu, LAPIC_TMR, vector), bit = vector_bit(vector);
    *trigger = level ? *trigger | bit : *trigger & ~bit;
    *vector_word(cpu, LAPIC_IRR, vector) |= bit;
    emu_want_interrupt(cpu);
}

/* The vector to serve now, moved from IRR to ISR; -1 where there is none, or its priority
 * does not suffice. The 8259 goes first. */
int emu_lapic_take(struct emu_cpu *cpu)
{
    struct emu_vm *vm = cpu->vm;
    if (vm->chips->pic_output && emu_lapic_takes_pic(cpu))
        return emu_pic_acknowledge(vm);
    int vector = hardware_enabled(cpu) ? highest(cpu, LAPIC_IRR) : -1;
    if (vector < 0 || ((uint32_t)vector & 0xf0) <= (processor_priority(cpu) & 0xf0))
        return -1;
    *vector_word(cpu, LAPIC_IRR, (unsigned)vector) &= ~vector_bit((unsigned)vector);
    *vector_word(cpu, LAPIC_ISR, (unsigned)vector) |= vector_bit((unsigned)vector);
    return vector;
}

/* §10.8.5 */
static void end_of_interrupt(struct emu_cpu *cpu)
{
    int vector = highest(cpu, LAPIC_ISR);
    if (vector < 0)
        return;
    uint32_t bit = vector_bit((unsigned)vector);
    *vector_word(cpu, LAPIC_ISR, (unsigned)vector) &= ~bit;
    emu_want_interrupt(cpu);
    bool level = *vector_word(cpu, LAPIC_TMR, (unsigned)vector) & bit;
    if (cpu->vm->irqchip == EMU_IRQCHIP_FULL)
        emu_ioapic_end(cpu->vm, (uint8_t)vector, level);
    else if (level && emu_vector_is_routed(cpu->vm, (uint8_t)vector))
        cpu->ended_vector = (int16_t)vector;
}

/* What the processor's own sources do: timer, LINT pins, errors. §10.5.1 */
void emu_lapic_local(struct emu_cpu *cpu, uint32_t offset)
{
    uint32_t lvt = get(cpu, offset);
    if (!hardware_enabled(cpu) || (lvt & LVT_MASKED))
        return;
    unsigned delivery =
        offset == LAPIC_LVT_TIMER || offset == LAPIC_LVT_ERROR ? EMU_FIXED : (lvt >> 8) & 7;
    if (delivery == EMU_FIXED)
        emu_lapic_accept_vector(cpu, (uint8_t)lvt, false);
    else if (delivery == EMU_NMI)
        emu_want_nmi(cpu);
}

/* Errors gather until ESR is written. §10.5.3 */
void emu_lapic_error(struct emu_cpu *cpu, uint32_t bits)
{
    bool known = cpu->lapic->errors & bits;
    cpu->lapic->errors |= bits;
    if (!known && (get(cpu, LAPIC_LVT_ERROR) & 0xff) >= 16)
        emu_lapic_local(cpu, LAPIC_LVT_ERROR);
}

/* Without the software switch all local entries are masked, and stay so. §10.4.7.2 */
static void write_spurious(struct emu_cpu *cpu, uint32_t value)
{
    set(cpu, LAPIC_SPURIOUS, value & 0x3ff);
    if (!(value & LAPIC_ENABLED))
        for (uint32_t lvt = LAPIC_LVT_TIMER; lvt <= LAPIC_LVT_ERROR; lvt += 0x10)
            *emu_lapic_reg(cpu->lapic, lvt) |= LVT_MASKED;
    emu_want_interrupt(cpu);
}

static uint32_t lvt_bits(uint32_t offset)
{
    switch (offset) {
    case LAPIC_LVT_TIMER:
        return 0x110ff | LVT_TIMER_MODE;
    case LAPIC_LVT_ERROR:
        return 0x110ff;
    case LAPIC_LVT_LINT0:
    case LAPIC_LVT_LINT1:
        return 0x1f7ff;
    default:
        return 0x117ff;
    }
}

static void write_lvt(struct emu_cpu *cpu, uint32_t offset, uint32_t value)
{
    uint32_t before = get(cpu, offset);
    value &= lvt_bits(offset);
    if (!(get(cpu, LAPIC_SPURIOUS) & LAPIC_ENABLED))
        value |= LVT_MASKED;
    set(cpu, offset, value);
    if (offset == LAPIC_LVT_TIMER)
        emu_lapic_timer_mode(cpu, before);
    if (offset == LAPIC_LVT_LINT0)
        emu_want_interrupt(cpu);
}

static void write_priority(struct emu_cpu *cpu, uint32_t value)
{
    set(cpu, LAPIC_TPR, value & 0xff);
    cpu->cr8 = (value >> 4) & 15;
    emu_want_interrupt(cpu);
}

/* Registers that an x2APIC has not, or only for reading. */
static void write_xapic(struct emu_cpu *cpu, uint32_t offset, uint32_t value)
{
    switch (offset) {
    case LAPIC_ID:
        set(cpu, LAPIC_ID, value & 0xff000000u);
        break;
    case LAPIC_LDR:
        set(cpu, LAPIC_LDR, value & 0xff000000u);
        break;
    case LAPIC_DFR:
        set(cpu, LAPIC_DFR, value | 0x0fffffffu);
        break;
    case LAPIC_ICR_HIGH:
        set(cpu, LAPIC_ICR_HIGH, value & 0xff000000u);
        break;
    default:
        break;
    }
}

static void write_register(struct emu_cpu *cpu, uint32_t offset, uint32_t value)
{
    switch (offset) {
    case LAPIC_TPR:
        write_priority(cpu, value);
        break;
    case LAPIC_EOI:
        end_of_interrupt(cpu);
        break;
    case LAPIC_SPURIOUS:
        write_spurious(cpu, value);
        break;
    case LAPIC_ESR:
        set(cpu, LAPIC_ESR, cpu->lapic->errors);
        cpu->lapic->errors = 0;
        break;
    case LAPIC_ICR:
        set(cpu, LAPIC_ICR, value & ~0x1000u);
        emu_lapic_send(cpu, (uint64_t)get(cpu, LAPIC_ICR_HIGH) << 32 | value);
        break;
    case LAPIC_TIMER_START:
        set(cpu, LAPIC_TIMER_START, value);
        emu_lapic_timer_start(cpu, emu_guest_ns(cpu));
        break;
    case LAPIC_TIMER_DIVIDE:
        emu_lapic_timer_divide(cpu, value & 0xb, emu_guest_ns(cpu));
        break;
    default:
        if (offset >= LAPIC_LVT_TIMER && offset <= LAPIC_LVT_ERROR)
            write_lvt(cpu, offset, value);
        else
            write_xapic(cpu, offset, value);
        break;
    }
}

static uint32_t read_register(struct emu_cpu *cpu, uint32_t offset)
{
    switch (offset) {
    case LAPIC_PPR:
        return processor_priority(cpu);
    case LAPIC_TIMER_NOW:
        return emu_lapic_timer_now(cpu, emu_guest_ns(cpu));
    case LAPIC_EOI:
        return 0;
    default:
        return get(cpu, offset);
    }
}

/* An access to the page of registers. Where the local APIC is off, or an x2APIC, nobody
 * answers there. A part of a register can be read, but not written. */
uint64_t emu_lapic_read(struct emu_cpu *cpu, uint32_t offset, uint32_t size_bytes)
{
    if (!hardware_enabled(cpu) || emu_lapic_is_x2(cpu))
        return UINT64_MAX;
    if (offset >= EMU_LAPIC_STATE_BYTES || (offset & 15) + size_bytes > 4)
        return 0;
    return read_register(cpu, offset & ~15u) >> 8 * (offset & 3);
}

void emu_lapic_write(struct emu_cpu *cpu, uint32_t offset, uint32_t size_bytes, uint32_t value)
{
    if (!hardware_enabled(cpu) || emu_lapic_is_x2(cpu))
        return;
    if (offset < EMU_LAPIC_STATE_BYTES && size_bytes == 4 && !(offset & 15))
        write_register(cpu, offset, value);
}

/* x2APIC: MSR 800h + n is register n * 16. §10.12.1.2 */
static bool x2_readable(uint32_t offset)
{
    return offset == LAPIC_ID || offset == LAPIC_VERSION || offset == LAPIC_TPR ||
           offset == LAPIC_PPR || offset == LAPIC_LDR || offset == LAPIC_SPURIOUS ||
           (offset >= LAPIC_ISR && offset <= LAPIC_ESR) || offset == LAPIC_ICR ||
           (offset >= LAPIC_LVT_TIMER && offset <= LAPIC_TIMER_NOW) || offset == LAPIC_TIMER_DIVIDE;
}

/* Reserved bits too are #GP: §10.12.1.3. */
static bool x2_writable(uint32_t offset, uint64_t value)
{
    if (value >> 32 && offset != LAPIC_ICR)
        return false;
    switch (offset) {
    case LAPIC_EOI:
    case LAPIC_ESR:
        return value == 0;
    case LAPIC_TPR:
    case LAPIC_SELF_IPI:
        return value <= 0xff;
    case LAPIC_SPURIOUS:
        return !(value & ~UINT64_C(0x3ff));
    case LAPIC_ICR:
        return !((uint32_t)value & ~0xccfffu);
    case LAPIC_TIMER_START:
        return true;
    case LAPIC_TIMER_DIVIDE:
        return !(value & ~UINT64_C(0xb));
    default:
        return offset >= LAPIC_LVT_TIMER && offset <= LAPIC_LVT_ERROR &&
               !(value & ~UINT64_C(0x5000) & ~(uint64_t)lvt_bits(offset));
    }
}

int emu_lapic_get_msr(struct emu_cpu *cpu, uint32_t index, uint64_t *value)
{
    uint32_t offset = (index & 0x3f) << 4;
    if (!cpu->lapic || !emu_lapic_is_x2(cpu) || index > 0x83f || !x2_readable(offset))
        return -ENOENT;
    emu_vm_lock(cpu->vm);
    *value = read_register(cpu, offset);
    if (offset == LAPIC_ICR)
        *value |= (uint64_t)get(cpu, LAPIC_ICR_HIGH) << 32;
    emu_vm_unlock(cpu->vm);
    return 0;
}

int emu_lapic_set_msr(struct emu_cpu *cpu, uint32_t index, uint64_t value)
{
    uint32_t offset = (index & 0x3f) << 4;
    if (!cpu->lapic || !emu_lapic_is_x2(cpu) || index > 0x83f)
        return -ENOENT;
    if (!x2_writable(offset, value))
        return -EINVAL;
    emu_vm_lock(cpu->vm);
    if (offset == LAPIC_ICR)
        set(cpu, LAPIC_ICR_HIGH, (uint32_t)(value >> 32));
    if (offset == LAPIC_SELF_IPI)
        emu_lapic_accept_vector(cpu, (uint8_t)value, false);
    else
        write_register(cpu, offset, (uint32_t)value);
    emu_vm_unlock(cpu->vm);
    return 0;
}

/* IA32_APIC_BASE. From "off" to x2APIC and from there to xAPIC there is no way but for the
 * owner. §10.12.5 */
int emu_lapic_set_base(struct emu_cpu *cpu, uint64_t value, bool by_guest)
{
    uint64_t before = cpu->msr.apic_base, modes = APIC_BASE_ENABLED | APIC_BASE_X2APIC;
    uint64_t allowed = APIC_BASE_ADDRESS | modes | APIC_BASE_BSP;
    bool to_x2 = value & APIC_BASE_X2APIC, from_x2 = before & APIC_BASE_X2APIC;
    if ((value & ~allowed) || (value & modes) == APIC_BASE_X2APIC)
        return -EINVAL;
    if (by_guest && ((to_x2 && !(before & APIC_BASE_ENABLED)) ||
                     (from_x2 && (value & modes) == APIC_BASE_ENABLED)))
        return -EINVAL;
    emu_vm_lock(cpu->vm);
    cpu->msr.apic_base = value;
    if (cpu->lapic && ((value ^ before) & modes))
        set_identity(cpu);
    if (cpu->lapic)
        emu_want_interrupt(cpu);
    emu_vm_unlock(cpu->vm);
    return 0;
}

/* CR8 is the upper half of the task priority. §10.8.6 */
void emu_lapic_set_cr8(struct emu_cpu *cpu, uint64_t value)
{
    cpu->cr8 = value;
    if (!cpu->lapic)
        return;
    emu_vm_lock(cpu->vm);
    write_priority(cpu, (uint32_t)value << 4);
    emu_vm_unlock(cpu->vm);
}

/* The page of registers, for snapshots. Returns 0, or -ENXIO where there is no local APIC. */
int emu_cpu_get_lapic(struct emu_cpu *cpu, void *registers)
{
    if (!cpu->lapic)
        return -ENXIO;
    emu_vm_lock(cpu->vm);
    set(cpu, LAPIC_TIMER_NOW, emu_lapic_timer_now(cpu, emu_guest_ns(cpu)));
    set(cpu, LAPIC_PPR, processor_priority(cpu));
    memcpy(registers, cpu->lapic->reg, EMU_LAPIC_STATE_BYTES);
    emu_vm_unlock(cpu->vm);
    return 0;
}

/* The timer goes on from the count that it shows. */
int emu_cpu_set_lapic(struct emu_cpu *cpu, const void *registers)
{
    if (!cpu->lapic)
        return -ENXIO;
    emu_vm_lock(cpu->vm);
    memcpy(cpu->lapic->reg, registers, EMU_LAPIC_STATE_BYTES);
    set(cpu, LAPIC_VERSION, VERSION);
    set_identity(cpu);
    cpu->cr8 = (get(cpu, LAPIC_TPR) >> 4) & 15;
    emu_lapic_timer_resume(cpu, emu_guest_ns(cpu));
    emu_want_interrupt(cpu);
    emu_vm_unlock(cpu->vm);
    return 0;
}
