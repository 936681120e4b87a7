/* What every backend hands to Python: one exit, as plain numbers.
 *
 * A backend translates what its processor stopped for into `struct pykvm_exit`
 * and returns the kind; Python decides what it means. */
#ifndef PYKVM_H
#define PYKVM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pykvm_kind {
    PYKVM_AGAIN, /* a signal came in: let Python look at it and enter again */
    PYKVM_PORT_IN,
    PYKVM_PORT_OUT,
    PYKVM_PORT_IN_STRING,
    PYKVM_PORT_OUT_STRING,
    PYKVM_MMIO_READ,
    PYKVM_MMIO_WRITE,
    PYKVM_HALT,
    PYKVM_HYPERCALL,
    PYKVM_SHUTDOWN,
    PYKVM_FAIL_ENTRY,
    PYKVM_INTERNAL_ERROR,
    PYKVM_DEBUG,
    PYKVM_MSR_READ,
    PYKVM_MSR_WRITE,
    PYKVM_SYSTEM_EVENT,
    PYKVM_IRQ_WINDOW,
    PYKVM_IOAPIC_EOI,
    PYKVM_DIRTY_RING_FULL,
    PYKVM_INTERRUPTED, /* somebody called stop */
    PYKVM_TIMEOUT,
    PYKVM_UNKNOWN,
    PYKVM_ERROR, /* the system call failed; the key holds errno in place of an address */
    PYKVM_KINDS
};

struct pykvm_exit {
    uint64_t address; /* port, gpa or MSR index; reason or suberror otherwise */
    uint64_t value;   /* written value; Python stores the answer to a read here */
    uint32_t size;    /* bytes of one element */
    uint32_t count;   /* elements, 1 except for the string forms */
    uint8_t *data;    /* the string forms' elements, in place */
    uint64_t args[16];
    uint32_t nargs;
    uint8_t error; /* MSR exits: Python sets it to make the guest take #GP */
};

/* What running a vCPU returns: the kind; for a single access its size; for one to a port
 * the port and, for a write, the value too, so that one look-up finds who answers it and
 * the answer needs nothing more. For PYKVM_ERROR errno stands in the place of the port. */
#define PYKVM_KIND_MASK 0x1f
#define PYKVM_OUTPUT_PENDING 0x20 /* a native console holds output to collect */
#define PYKVM_SIZE_SHIFT 6
#define PYKVM_PORT_SHIFT 10
#define PYKVM_VALUE_SHIFT 26 /* up to 32 bits: no port access is wider */

static inline int64_t pykvm_key(int kind, const struct pykvm_exit *exit)
{
    int64_t size = (int64_t)exit->size << PYKVM_SIZE_SHIFT | kind;
    switch (kind) {
    case PYKVM_PORT_OUT:
        return (int64_t)(exit->value << PYKVM_VALUE_SHIFT | exit->address << PYKVM_PORT_SHIFT) |
               size;
    case PYKVM_PORT_IN:
        return (int64_t)(exit->address << PYKVM_PORT_SHIFT) | size;
    case PYKVM_MMIO_READ:
    case PYKVM_MMIO_WRITE:
        return size;
    default:
        return kind;
    }
}

/* Devices simple enough to be answered without leaving native code. */
#define PYKVM_NATIVE_MAX 8
#define PYKVM_CONSOLE_SIZE_BYTES 65536

enum pykvm_native_type {
    PYKVM_NATIVE_CONSOLE, /* bytes written are collected, reads give `ident` */
    PYKVM_NATIVE_SCRATCH, /* a little memory: reads give back what was written */
};

struct pykvm_native {
    uint64_t base;
    uint64_t size_bytes;
    enum pykvm_native_type type;
    bool is_port;
    uint8_t ident;
    uint8_t *data; /* console: PYKVM_CONSOLE_SIZE_BYTES; scratch: size_bytes */
    uint32_t used; /* console: bytes waiting */
};

/* The native devices of one machine; its vCPUs share them. */
struct pykvm_natives {
    atomic_flag lock;
    atomic_uint waiting; /* bytes, in all consoles */
    uint32_t count;
    struct pykvm_native device[PYKVM_NATIVE_MAX];
};

struct pykvm_natives *pykvm_natives_create(void);
void pykvm_natives_destroy(struct pykvm_natives *natives);
int pykvm_natives_add(struct pykvm_natives *natives, enum pykvm_native_type type, bool is_port,
                      uint64_t base, uint64_t size_bytes, uint8_t ident);
uint32_t pykvm_natives_take(struct pykvm_natives *natives, int index, uint8_t *out,
                            uint32_t max_bytes);
bool pykvm_natives_answer(struct pykvm_natives *natives, bool is_port, bool is_write,
                          uint64_t address, uint32_t size, uint32_t count, uint8_t *data);
bool pykvm_natives_pending(const struct pykvm_natives *natives);

#endif
