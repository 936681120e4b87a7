/* Runs machines that standard input describes, and says what became of them: for builds of the
 * emulator that cannot be loaded into the tests' own process. test_other_hosts.py has the other
 * end.
 *
 * Each machine is a struct header, a struct emu_state, `pieces` times a struct piece with its
 * bytes, and `ranges` times a struct piece without. The answer is the exit's kind in 64 bits and
 * the bytes of the ranges. Both ends have the same layout of structs: little-endian, 64-bit. */
#include <stdio.h>
#include <stdlib.h>

#include "../../native/emu/emu.h"

#define RAM_BYTES (6u << 20)

struct header {
    uint64_t pieces, ranges;
};

struct piece {
    uint64_t gpa, size_bytes;
};

static void take(void *to, size_t size_bytes)
{
    if (fread(to, 1, size_bytes, stdin) != size_bytes)
        abort();
}

static void give(const void *from, size_t size_bytes)
{
    if (fwrite(from, 1, size_bytes, stdout) != size_bytes)
        abort();
}

static struct piece take_piece(void)
{
    struct piece piece;
    take(&piece, sizeof(piece));
    if (piece.gpa > RAM_BYTES || piece.size_bytes > RAM_BYTES - piece.gpa)
        abort();
    return piece;
}

static void replay(const struct header *header, uint8_t *ram)
{
    struct emu_state state;
    struct emu_vm *vm = emu_vm_create(NULL);
    if (!vm || emu_vm_map(vm, 0, RAM_BYTES, ram, 0))
        abort();
    struct emu_cpu *cpu = emu_cpu_create(vm, 0);
    take(&state, sizeof(state));
    if (!cpu || emu_cpu_set_state(cpu, &state))
        abort();
    for (uint64_t i = 0; i < header->pieces; i++) {
        struct piece piece = take_piece();
        take(ram + piece.gpa, piece.size_bytes);
    }
    uint64_t kind;
    do
        kind = (uint64_t)emu_cpu_run(cpu, 0) & PYKVM_KIND_MASK;
    while (kind == PYKVM_AGAIN);
    give(&kind, sizeof(kind));
    for (uint64_t i = 0; i < header->ranges; i++) {
        struct piece piece = take_piece();
        give(ram + piece.gpa, piece.size_bytes);
    }
    emu_cpu_destroy(cpu);
    emu_vm_destroy(vm);
}

int main(void)
{
    struct header header;
    while (fread(&header, sizeof(header), 1, stdin) == 1) {
        uint8_t *ram = calloc(1, RAM_BYTES);
        if (!ram)
            abort();
        replay(&header, ram);
        free(ram);
    }
    return 0;
}
