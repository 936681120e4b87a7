/* A fuzz target: whole machine states and code, thrown at the emulator's core.
 *
 * The input is a processor state as bits (the segments, control registers and pending events
 * too), then what memory holds; page tables and descriptors are whatever comes of that. RAM
 * is a heap block of its own, so that AddressSanitizer sees every access beside it. */
#define _POSIX_C_SOURCE 200809L
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../emu/emu.h"

#define RAM_BYTES 65536u
#define EXITS_MAX 64
#define BUDGET 1000u
#define PATIENCE_NS 3000000u /* of a guest that does nothing but fault, which no budget bounds */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

/* Take the next bytes of the input; zeros once it is used up. */
static void take(const uint8_t **data, size_t *left, void *target, size_t size_bytes)
{
    size_t count = size_bytes < *left ? size_bytes : *left;
    memset(target, 0, size_bytes);
    memcpy(target, *data, count);
    *data += count;
    *left -= count;
}

/* Random bits are rarely a mode that runs: the first byte chooses one, or leaves them. */
static void shape_mode(struct emu_state *state, uint8_t choice)
{
    state->rip %= RAM_BYTES;
    state->cr3 &= RAM_BYTES - 1;
    if (choice & 1)
        state->cr0 |= 1;
    if (!(choice & 2))
        state->cr0 &= ~(uint64_t)0x80000000u;
    state->cr4 &= 0x3fffff;
    state->efer &= 0xd01;
    if (choice & 4) {
        state->cr0 |= 0x80000001u;
        state->cr4 |= 0x20;
        state->efer |= 0x500;
        state->segment[EMU_CS].l = choice >> 3 & 1;
    } else {
        state->efer &= ~UINT64_C(0x400);
    }
    for (unsigned i = 0; i < EMU_SEGMENTS && (choice & 0x10); i++) {
        state->segment[i].base = 0;
        state->segment[i].limit = 0xffffffff;
        state->segment[i].present = state->segment[i].s = 1;
        state->segment[i].type = i == EMU_CS ? 11 : 3;
        state->segment[i].dpl = choice >> 6;
    }
}

/* Fill memory; four bits of `choice` say that page tables map it to itself. */
static void fill(uint8_t *ram, struct emu_state *state, const uint8_t *data, size_t left,
                 uint8_t choice)
{
    for (size_t at = 0; left && at < RAM_BYTES; at += left)
        memcpy(ram + at, data, left < RAM_BYTES - at ? left : RAM_BYTES - at);
    if (!(choice & 0x20))
        return;
    static const uint64_t tables[3] = {0x2007, 0x3007, 0x87};
    for (unsigned i = 0; i < 3; i++)
        memcpy(ram + 0x1000 * (i + 1), &tables[i], sizeof(tables[i]));
    state->cr3 = 0x1000;
    state->rip = 0x4000 + state->rip % 0x1000;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void run(struct emu_cpu *cpu)
{
    struct pykvm_exit *exit = emu_cpu_exit(cpu);
    emu_cpu_begin(cpu, now_ns() + PATIENCE_NS);
    for (unsigned i = 0; i < EXITS_MAX; i++) {
        exit->value = UINT64_C(0x0123456789abcdef) * i;
        int kind = (int)emu_cpu_run(cpu, BUDGET) & PYKVM_KIND_MASK;
        if (kind == PYKVM_SHUTDOWN || kind == PYKVM_HALT || kind == PYKVM_AGAIN ||
            kind == PYKVM_TIMEOUT)
            break;
    }
    emu_cpu_end(cpu);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    struct emu_state state;
    uint8_t choice, chips, *ram = calloc(1, RAM_BYTES);
    struct emu_vm *vm = emu_vm_create(NULL);
    if (!ram || !vm || emu_vm_map(vm, 0, RAM_BYTES, ram, 0))
        abort();
    take(&data, &size_bytes, &choice, 1);
    take(&data, &size_bytes, &chips, 1);
    take(&data, &size_bytes, &state, sizeof(state));
    emu_vm_set_instruction_clock(vm, true);
    emu_vm_set_msr_exits(vm, chips & 1 ? EMU_MSR_UNKNOWN | EMU_MSR_INVALID : 0);
    if (chips & 2)
        emu_vm_create_irqchip(vm, chips & 4 ? EMU_IRQCHIP_FULL : EMU_IRQCHIP_SPLIT);
    shape_mode(&state, choice);
    fill(ram, &state, data, size_bytes, choice);
    struct emu_cpu *cpu = emu_cpu_create(vm, 0);
    if (!cpu)
        abort();
    if (chips & 8)
        emu_cpu_nmi(cpu);
    if (chips & 16)
        emu_cpu_interrupt(cpu, chips);
    emu_cpu_set_debug(cpu, chips & 32 ? EMU_DEBUG_STEP : 0, state.dr);
    if (emu_cpu_set_state(cpu, &state) == 0)
        run(cpu);
    emu_cpu_destroy(cpu);
    emu_vm_destroy(vm);
    free(ram);
    return 0;
}
