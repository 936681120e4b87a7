/* Ports and memory-mapped devices: answered natively, or by the owner after an exit.
 *
 * An instruction that touches a device runs alone. Each read it makes is noted with its
 * answer; where the answer must come from outside, the instruction is left and, once
 * there is one, executed again from its start, with the answers so far replayed. Writes
 * wait until it is complete. */
#include <string.h>

#include "ops.h"

/* The only read of an instruction that needs one from the owner. rip stays at it. */
uint64_t emu_await_answer(struct emu_cpu *cpu, const struct emu_insn *insn, int kind)
{
    struct emu_replay *replay = &cpu->replay;
    if (replay->next < replay->answers)
        return replay->answer[replay->next++];
    emu_exit(cpu, insn, kind);
}

static void note_answer(struct emu_replay *replay, uint64_t value)
{
    if (replay->answers < EMU_ANSWERS)
        replay->answer[replay->answers++] = value;
}

/* Arrays of answers are bounded; no instruction makes more than FXRSTOR's 64 reads. */
uint64_t emu_bus_read(struct emu_cpu *cpu, const struct emu_insn *insn, bool is_port,
                      uint64_t address, uint32_t size_bytes)
{
    struct emu_replay *replay = &cpu->replay;
    uint8_t data[8] = {0};
    if (insn && cpu->visit_interrupts)
        emu_go_home(cpu, insn);
    if (insn && !cpu->stepping)
        emu_retry_alone(cpu, insn);
    if (replay->next < replay->answers)
        return replay->answer[replay->next++];
    if (!insn)
        return UINT64_MAX;
    int kind = is_port ? PYKVM_PORT_IN : PYKVM_MMIO_READ;
    uint64_t found;
    if (emu_chips_read(cpu, is_port, address, size_bytes, &found)) {
        note_answer(replay, found);
        return replay->answer[replay->next++];
    }
    if (cpu->vm->natives &&
        pykvm_natives_answer(cpu->vm->natives, is_port, false, address, size_bytes, 1, data)) {
        uint64_t value;
        memcpy(&value, data, sizeof(value));
        cpu->counts[kind]++;
        cpu->native_count++;
        note_answer(replay, value);
        return replay->answer[replay->next++];
    }
    cpu->exit.address = address;
    cpu->exit.size = size_bytes;
    cpu->exit.count = 1;
    emu_exit(cpu, insn, kind);
}

void emu_bus_write(struct emu_cpu *cpu, const struct emu_insn *insn, bool is_port, uint64_t address,
                   uint32_t size_bytes, uint64_t value)
{
    struct emu_replay *replay = &cpu->replay;
    if (insn && cpu->visit_interrupts)
        emu_go_home(cpu, insn);
    if (insn && !cpu->stepping)
        emu_retry_alone(cpu, insn);
    if (replay->writes < EMU_WRITES)
        replay->write[replay->writes++] =
            (struct emu_pending_write){address, value, (uint8_t)size_bytes, is_port};
}

/* REP INS takes many elements by one exit, as KVM does. The next element comes in *value;
 * returns how many, it included, are at hand. */
uint32_t emu_port_string(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t port,
                         uint32_t size_bytes, uint32_t count, uint64_t *value)
{
    struct emu_replay *replay = &cpu->replay;
    if (cpu->visit_interrupts)
        emu_go_home(cpu, insn);
    if (count > EMU_STRING_BYTES / size_bytes)
        count = EMU_STRING_BYTES / size_bytes;
    if (replay->string_used == replay->string_have && count == 1) {
        *value = emu_bus_read(cpu, insn, true, port, size_bytes); /* one: an exit as IN has it */
        replay->string_used = 0;
        replay->string_have = size_bytes;
        return 1;
    }
    if (replay->string_used == replay->string_have) {
        bool answered =
            cpu->vm->natives && pykvm_natives_answer(cpu->vm->natives, true, false, port,
                                                     size_bytes, count, replay->string);
        uint64_t found;
        replay->string_used = 0;
        replay->string_have = answered ? count * size_bytes : 0;
        if (!answered && emu_chips_read(cpu, true, port, size_bytes, &found)) {
            memcpy(replay->string, &found, size_bytes);
            replay->string_have = size_bytes;
            *value = found;
            return 1;
        }
        if (!answered) {
            cpu->exit.address = port;
            cpu->exit.size = size_bytes;
            cpu->exit.count = count;
            cpu->exit.data = replay->string;
            emu_exit(cpu, insn, PYKVM_PORT_IN_STRING);
        }
        cpu->counts[PYKVM_PORT_IN_STRING]++;
        cpu->native_count++;
    }
    *value = 0;
    memcpy(value, replay->string + replay->string_used, size_bytes);
    return (replay->string_have - replay->string_used) / size_bytes;
}

/* Hand out the next write that waits: the exit's kind, or EMU_STAY where none is left. */
int emu_bus_flush(struct emu_cpu *cpu)
{
    struct emu_replay *replay = &cpu->replay;
    while (replay->written < replay->writes) {
        struct emu_pending_write *write = &replay->write[replay->written++];
        int kind = write->is_port ? PYKVM_PORT_OUT : PYKVM_MMIO_WRITE;
        uint8_t data[8];
        if (emu_chips_write(cpu, write->is_port, write->address, write->size, write->value))
            continue;
        if (EMU_UNLIKELY(cpu->vm->doorbells) && emu_doorbell_write(cpu->vm, write)) {
            cpu->resliced = true; /* a system call takes as long as many instructions */
            continue;
        }
        memcpy(data, &write->value, sizeof(data));
        if (cpu->vm->natives && pykvm_natives_answer(cpu->vm->natives, write->is_port, true,
                                                     write->address, write->size, 1, data)) {
            cpu->counts[kind]++;
            cpu->native_count++;
            continue;
        }
        cpu->exit.address = write->address;
        cpu->exit.value = write->value;
        cpu->exit.size = write->size;
        cpu->exit.count = 1;
        return kind;
    }
    replay->writes = replay->written = 0;
    return EMU_STAY;
}

/* Take the owner's answer to the last exit, where that asked for one. */
void emu_bus_answer(struct emu_cpu *cpu)
{
    struct emu_replay *replay = &cpu->replay;
    uint64_t value = cpu->exit.value;
    switch (cpu->exit_kind) {
    case PYKVM_MMIO_READ:
    case PYKVM_PORT_IN:
    case PYKVM_HYPERCALL:
    case PYKVM_MSR_READ:
    case PYKVM_MSR_WRITE:
        if (cpu->exit.size < 8)
            value &= (UINT64_C(1) << (8 * cpu->exit.size)) - 1;
        replay->error = cpu->exit.error;
        note_answer(replay, value);
        break;
    case PYKVM_PORT_IN_STRING:
        replay->string_have = cpu->exit.count * cpu->exit.size;
        break;
    default:
        break;
    }
    cpu->exit_kind = EMU_STAY;
}
