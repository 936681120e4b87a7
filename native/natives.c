/* Devices answered in native code: a console and a scratch memory. */
#include <stdlib.h>
#include <string.h>

#include "pykvm.h"

struct pykvm_natives *pykvm_natives_create(void)
{
    return calloc(1, sizeof(struct pykvm_natives));
}

void pykvm_natives_destroy(struct pykvm_natives *natives)
{
    for (uint32_t i = 0; i < natives->count; i++)
        free(natives->device[i].data);
    free(natives);
}

/* Returns the device's index, or -1 where the table is full or memory is short. */
int pykvm_natives_add(struct pykvm_natives *natives, enum pykvm_native_type type, bool is_port,
                      uint64_t base, uint64_t size_bytes, uint8_t ident)
{
    if (natives->count == PYKVM_NATIVE_MAX)
        return -1;
    size_t data_bytes = type == PYKVM_NATIVE_CONSOLE ? PYKVM_CONSOLE_SIZE_BYTES : size_bytes;
    uint8_t *data = calloc(1, data_bytes);
    if (!data)
        return -1;
    natives->device[natives->count] = (struct pykvm_native){
        .base = base,
        .size_bytes = size_bytes,
        .type = type,
        .is_port = is_port,
        .ident = ident,
        .data = data,
    };
    return (int)natives->count++;
}

static void lock(struct pykvm_natives *natives)
{
    while (atomic_flag_test_and_set_explicit(&natives->lock, memory_order_acquire))
        ;
}

static void unlock(struct pykvm_natives *natives)
{
    atomic_flag_clear_explicit(&natives->lock, memory_order_release);
}

/* Modulo 2^32. The lock is held; those who do not hold it may look. */
static void add_waiting(struct pykvm_natives *natives, uint32_t bytes)
{
    uint32_t before = atomic_load_explicit(&natives->waiting, memory_order_relaxed);
    atomic_store_explicit(&natives->waiting, before + bytes, memory_order_relaxed);
}

/* Move a console's waiting bytes to `out`; returns how many. */
uint32_t pykvm_natives_take(struct pykvm_natives *natives, int index, uint8_t *out,
                            uint32_t max_bytes)
{
    struct pykvm_native *console = &natives->device[index];
    lock(natives);
    uint32_t taken = console->used < max_bytes ? console->used : max_bytes;
    memcpy(out, console->data, taken);
    memmove(console->data, console->data + taken, console->used - taken);
    console->used -= taken;
    add_waiting(natives, -taken);
    unlock(natives);
    return taken;
}

/* By any thread. Who is told too late is told at its next exit. */
bool pykvm_natives_pending(const struct pykvm_natives *natives)
{
    return atomic_load_explicit(&natives->waiting, memory_order_relaxed) != 0;
}

/* False when the console is too full: Python then takes what is there. */
static bool console_answer(struct pykvm_natives *natives, struct pykvm_native *console,
                           bool is_write, size_t bytes, uint8_t *data)
{
    if (!is_write) {
        memset(data, console->ident, bytes);
        return true;
    }
    if (bytes > PYKVM_CONSOLE_SIZE_BYTES - console->used)
        return false;
    memcpy(console->data + console->used, data, bytes);
    console->used += (uint32_t)bytes;
    add_waiting(natives, (uint32_t)bytes);
    return true;
}

static bool scratch_answer(struct pykvm_native *scratch, bool is_write, uint64_t offset,
                           uint32_t size, uint32_t count, uint8_t *data)
{
    uint8_t *cell = scratch->data + offset;
    if (is_write) {
        memcpy(cell, data + (size_t)(count - 1) * size, size);
        return true;
    }
    for (uint32_t i = 0; i < count; i++)
        memcpy(data + (size_t)i * size, cell, size);
    return true;
}

/* Answer one access of `count` elements of `size` bytes; false leaves it to Python. */
bool pykvm_natives_answer(struct pykvm_natives *natives, bool is_port, bool is_write,
                          uint64_t address, uint32_t size, uint32_t count, uint8_t *data)
{
    for (uint32_t i = 0; i < natives->count; i++) {
        struct pykvm_native *device = &natives->device[i];
        uint64_t offset = address - device->base;
        if (device->is_port != is_port || offset >= device->size_bytes ||
            size > device->size_bytes - offset || count == 0)
            continue;
        lock(natives);
        bool done = device->type == PYKVM_NATIVE_CONSOLE
                        ? console_answer(natives, device, is_write, (size_t)size * count, data)
                        : scratch_answer(device, is_write, offset, size, count, data);
        unlock(natives);
        return done;
    }
    return false;
}
