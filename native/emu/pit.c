/* The 8254 timer and the speaker's gate at port 61h. Intel 8254 data sheet (231164); where
 * that and KVM differ it is as in KVM: counts are binary, a tick is a pulse on line 0, and
 * one that the guest has not yet served when the next comes is not lost. */
#include <string.h>

#include "chips.h"

#define HZ UINT64_C(1193182)
#define NS_PER_S UINT64_C(1000000000)
#define MODE_NONE 0xffu /* not yet programmed */
#define PENDING_MAX 100000u
#define SPEAKER_PORT 0x61u
#define SPEAKER_ON 0x2u

/* Which byte comes next, for reads and writes. */
enum { LOW = 1, HIGH, BOTH, BOTH_HIGH };

static uint64_t ticks_of(uint64_t ns)
{
    return ns / NS_PER_S * HZ + ns % NS_PER_S * HZ / NS_PER_S;
}

static uint64_t elapsed(const struct emu_pit_channel *channel, uint64_t now_ns)
{
    return ticks_of(now_ns - (uint64_t)channel->loaded_ns);
}

/* The counting element. Data sheet, "Mode definitions". */
static uint16_t counter(const struct emu_pit_channel *channel, uint64_t now_ns)
{
    uint64_t ticks = elapsed(channel, now_ns), count = channel->count;
    switch (channel->mode) {
    case 0:
    case 1:
    case 4:
    case 5:
        return (uint16_t)(count - ticks);
    case 3:
        return (uint16_t)(count - 2 * ticks % count);
    default:
        return (uint16_t)(count - ticks % count);
    }
}

static bool output(const struct emu_pit_channel *channel, uint64_t now_ns)
{
    uint64_t ticks = elapsed(channel, now_ns), count = channel->count;
    switch (channel->mode) {
    case 1:
        return ticks < count;
    case 2:
        return ticks && ticks % count == 0;
    case 3:
        return ticks % count < (count + 1) / 2;
    case 4:
    case 5:
        return ticks == count;
    default:
        return ticks >= count;
    }
}

/* Channel 0 interrupts: once in modes 0, 1 and 4, again and again in modes 2 and 3. */
static void start(struct emu_vm *vm, uint64_t now_ns)
{
    struct emu_pit *pit = &vm->chips->pit;
    const struct emu_pit_channel *channel = &pit->channel[0];
    bool repeats = channel->mode == 2 || channel->mode == 3;
    bool once = channel->mode <= 1 || channel->mode == 4;
    uint64_t period_ns = channel->count * NS_PER_S / HZ;
    if (repeats && period_ns < EMU_PERIOD_MIN_NS)
        period_ns = EMU_PERIOD_MIN_NS;
    pit->period_ns = repeats ? period_ns : 0;
    pit->expires_ns = repeats || once ? now_ns + period_ns : EMU_NEVER;
    pit->pending = 0;
    pit->acknowledged = true;
    emu_timers_changed(vm);
}

static void load(struct emu_vm *vm, unsigned index, uint32_t count, uint64_t now_ns)
{
    struct emu_pit_channel *channel = &vm->chips->pit.channel[index];
    channel->count = count ? count : 0x10000;
    channel->loaded_ns = (int64_t)now_ns;
    if (index == 0)
        start(vm, now_ns);
}

void emu_pit_reset(struct emu_pit *pit)
{
    *pit = (struct emu_pit){.expires_ns = EMU_NEVER, .acknowledged = true};
    for (unsigned i = 0; i < 3; i++)
        pit->channel[i] =
            (struct emu_pit_channel){.count = 0x10000, .mode = MODE_NONE, .gate = i != 2};
}

static void pulse(struct emu_vm *vm)
{
    struct emu_pit *pit = &vm->chips->pit;
    if (!pit->acknowledged)
        return;
    pit->acknowledged = false;
    emu_gsi_set(vm, 0, EMU_SOURCE_PIT, true);
    emu_gsi_set(vm, 0, EMU_SOURCE_PIT, false);
    for (struct emu_cpu *cpu = vm->cpus; cpu; cpu = cpu->next)
        if (((*emu_lapic_reg(cpu->lapic, LAPIC_LVT_LINT0) >> 8) & 7) == EMU_NMI)
            emu_lapic_local(cpu, LAPIC_LVT_LINT0); /* how NMI watchdogs are driven */
}

/* The time of channel 0's next tick has come, or of several. */
void emu_pit_expire(struct emu_vm *vm, uint64_t now_ns)
{
    struct emu_pit *pit = &vm->chips->pit;
    uint64_t ticks = 1;
    if (pit->period_ns) {
        ticks = (now_ns - pit->expires_ns) / pit->period_ns + 1;
        pit->expires_ns += ticks * pit->period_ns;
    } else {
        pit->expires_ns = EMU_NEVER;
    }
    ticks += pit->pending;
    pit->pending = ticks < PENDING_MAX ? (uint32_t)ticks : PENDING_MAX;
    pulse(vm);
}

/* The guest has served a tick: the next one that waits may come. */
void emu_pit_acknowledged(struct emu_vm *vm)
{
    struct emu_pit *pit = &vm->chips->pit;
    pit->acknowledged = true;
    if (pit->pending && --pit->pending)
        pulse(vm);
}

/* Line 0 is open after having been masked: ticks of that time do not count. */
void emu_pit_unmasked(struct emu_vm *vm)
{
    vm->chips->pit.pending = 0;
    vm->chips->pit.acknowledged = true;
}

static void latch_count(struct emu_pit_channel *channel, uint64_t now_ns)
{
    if (channel->count_latched)
        return;
    channel->latched_count = counter(channel, now_ns);
    channel->count_latched = channel->access;
}

static void latch_status(struct emu_pit_channel *channel, uint64_t now_ns)
{
    if (channel->status_latched)
        return;
    channel->status = (uint8_t)(output(channel, now_ns) << 7 | channel->access << 4 |
                                (channel->mode & 7) << 1 | channel->bcd);
    channel->status_latched = 1;
}

static void read_back(struct emu_pit *pit, uint8_t value, uint64_t now_ns)
{
    for (unsigned i = 0; i < 3; i++) {
        if (!(value & 2u << i))
            continue;
        if (!(value & 0x20))
            latch_count(&pit->channel[i], now_ns);
        if (!(value & 0x10))
            latch_status(&pit->channel[i], now_ns);
    }
}

static void write_control(struct emu_pit *pit, uint8_t value, uint64_t now_ns)
{
    unsigned index = value >> 6, access = (value >> 4) & 3, mode = (value >> 1) & 7;
    if (index == 3) {
        read_back(pit, value, now_ns);
        return;
    }
    struct emu_pit_channel *channel = &pit->channel[index];
    if (!access) {
        latch_count(channel, now_ns);
        return;
    }
    channel->access = channel->read_state = channel->write_state = (uint8_t)access;
    channel->mode = (uint8_t)(mode > 5 ? mode - 4 : mode);
    channel->bcd = value & 1;
}

static void write_count(struct emu_vm *vm, unsigned index, uint8_t value, uint64_t now_ns)
{
    struct emu_pit_channel *channel = &vm->chips->pit.channel[index];
    switch (channel->write_state) {
    case HIGH:
        load(vm, index, (uint32_t)value << 8, now_ns);
        break;
    case BOTH:
        channel->write_latch = value;
        channel->write_state = BOTH_HIGH;
        break;
    case BOTH_HIGH:
        channel->write_state = BOTH;
        load(vm, index, (uint32_t)value << 8 | channel->write_latch, now_ns);
        break;
    default:
        load(vm, index, value, now_ns);
        break;
    }
}

/* A rising gate starts modes 1, 2, 3 and 5 anew. */
static void set_gate(struct emu_pit_channel *channel, bool gate, uint64_t now_ns)
{
    bool restarts =
        channel->mode == 1 || channel->mode == 2 || channel->mode == 3 || channel->mode == 5;
    if (restarts && gate && !channel->gate)
        channel->loaded_ns = (int64_t)now_ns;
    channel->gate = gate;
}

void emu_pit_write(struct emu_vm *vm, uint64_t port, uint8_t value, uint64_t now_ns)
{
    struct emu_pit *pit = &vm->chips->pit;
    if (port == SPEAKER_PORT) {
        pit->speaker = value & 2;
        set_gate(&pit->channel[2], value & 1, now_ns);
    } else if ((port & 3) == 3) {
        write_control(pit, value, now_ns);
    } else {
        write_count(vm, port & 3, value, now_ns);
    }
}

static uint8_t read_latched(struct emu_pit_channel *channel)
{
    uint16_t count = channel->latched_count;
    bool low = channel->count_latched == LOW || channel->count_latched == BOTH;
    channel->count_latched = channel->count_latched == BOTH ? HIGH : 0;
    return (uint8_t)(low ? count : count >> 8);
}

static uint8_t read_count(struct emu_pit_channel *channel, uint64_t now_ns)
{
    if (channel->status_latched) {
        channel->status_latched = 0;
        return channel->status;
    }
    if (channel->count_latched)
        return read_latched(channel);
    uint16_t count = counter(channel, now_ns);
    bool high = channel->read_state == HIGH || channel->read_state == BOTH_HIGH;
    if (channel->read_state >= BOTH)
        channel->read_state = high ? BOTH : BOTH_HIGH;
    return (uint8_t)(high ? count >> 8 : count);
}

uint64_t emu_pit_read(struct emu_vm *vm, uint64_t port, uint64_t now_ns)
{
    struct emu_pit *pit = &vm->chips->pit;
    struct emu_pit_channel *channel = &pit->channel[2];
    if (port == SPEAKER_PORT) {
        unsigned refresh = (now_ns >> 15) & 1;
        return (pit->speaker ? 2u : 0) | channel->gate | refresh << 4 |
               (unsigned)output(channel, now_ns) << 5;
    }
    return (port & 3) == 3 ? 0 : read_count(&pit->channel[port & 3], now_ns);
}

/* struct kvm_pit_state2: the channels, then flags. */
void emu_pit_get(const struct emu_pit *pit, void *state)
{
    uint32_t flags = pit->speaker ? SPEAKER_ON : 0;
    memset(state, 0, EMU_PIT_STATE_BYTES);
    memcpy(state, pit->channel, sizeof(pit->channel));
    memcpy((uint8_t *)state + sizeof(pit->channel), &flags, sizeof(flags));
}

/* Counters begin anew, as KVM_SET_PIT2 has it. */
void emu_pit_set(struct emu_vm *vm, const void *state, uint64_t now_ns)
{
    struct emu_pit *pit = &vm->chips->pit;
    uint32_t flags;
    memcpy(pit->channel, state, sizeof(pit->channel));
    memcpy(&flags, (const uint8_t *)state + sizeof(pit->channel), sizeof(flags));
    pit->speaker = flags & SPEAKER_ON;
    for (unsigned i = 0; i < 3; i++)
        load(vm, i, pit->channel[i].count & 0x1ffff, now_ns);
}
