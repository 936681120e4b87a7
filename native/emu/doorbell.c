/* Guest writes that need no exit: eventfds that they signal, and ranges whose writes are
 * collected until somebody asks. Both are looked at before the owner is. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cpu.h"

#define DOORBELLS 256u
#define ZONES 64u

struct doorbell {
    uint64_t address, match;
    uint32_t size; /* 0: any */
    bool is_port, matches;
    int number, fd; /* the owner's number for it, and one that is ours */
};

struct zone {
    uint64_t address;
    uint32_t size_bytes;
    bool is_port;
};

struct emu_doorbells {
    uint32_t bells, zones, writes;
    struct doorbell bell[DOORBELLS];
    struct zone zone[ZONES];
    struct emu_write write[EMU_COALESCED_MAX];
};

void emu_doorbells_destroy(struct emu_vm *vm)
{
    for (uint32_t i = 0; vm->doorbells && i < vm->doorbells->bells; i++)
        close(vm->doorbells->bell[i].fd);
    free(vm->doorbells);
    vm->doorbells = NULL;
}

static bool have_doorbells(struct emu_vm *vm)
{
    if (!vm->doorbells && !vm->closed)
        vm->doorbells = calloc(1, sizeof(*vm->doorbells));
    return vm->doorbells;
}

static uint64_t cut(uint64_t value, uint32_t size)
{
    return size < 8 ? value & ((UINT64_C(1) << 8 * size) - 1) : value;
}

/* False where its count is at its end, which takes 2^64 writes that nobody sees. */
static bool signal_fd(int fd)
{
    const uint64_t one = 1;
    return write(fd, &one, sizeof(one)) == sizeof(one);
}

static bool ring(struct emu_doorbells *bells, const struct emu_pending_write *access)
{
    for (uint32_t i = 0; i < bells->bells; i++) {
        const struct doorbell *bell = &bells->bell[i];
        if (bell->address == access->address && bell->is_port == access->is_port &&
            (!bell->size || bell->size == access->size) &&
            (!bell->matches || bell->match == cut(access->value, access->size)))
            return signal_fd(bell->fd);
    }
    return false;
}

static bool in_zone(const struct emu_doorbells *bells, const struct emu_pending_write *access)
{
    for (uint32_t i = 0; i < bells->zones; i++) {
        const struct zone *zone = &bells->zone[i];
        uint64_t offset = access->address - zone->address;
        if (zone->is_port == access->is_port && offset < zone->size_bytes &&
            access->size <= zone->size_bytes - offset)
            return true;
    }
    return false;
}

static bool collect(struct emu_vm *vm, const struct emu_pending_write *access)
{
    struct emu_doorbells *bells = vm->doorbells;
    emu_vm_lock(vm);
    bool room = bells->writes < EMU_COALESCED_MAX;
    if (room)
        bells->write[bells->writes++] = (struct emu_write){
            access->address, cut(access->value, access->size), access->size, access->is_port};
    emu_vm_unlock(vm);
    return room;
}

/* A write that is for none of the chips; false leaves it to the owner. */
bool emu_doorbell_write(struct emu_vm *vm, const struct emu_pending_write *access)
{
    struct emu_doorbells *bells = vm->doorbells;
    return ring(bells, access) || (in_zone(bells, access) && collect(vm, access));
}

static bool same_place(const struct doorbell *a, const struct doorbell *b)
{
    return a->is_port == b->is_port && a->address == b->address;
}

/* Would one write ring both? As KVM sees it. */
static bool collide(const struct doorbell *a, const struct doorbell *b)
{
    bool any_value = !a->matches || !b->matches;
    return same_place(a, b) &&
           (!a->size || !b->size || (a->size == b->size && (any_value || a->match == b->match)));
}

static bool same(const struct doorbell *a, const struct doorbell *b)
{
    return same_place(a, b) && a->number == b->number && a->size == b->size &&
           a->matches == b->matches && a->match == b->match;
}

static struct doorbell doorbell(int fd, bool is_port, uint64_t address, uint32_t size,
                                const uint64_t *match)
{
    return (struct doorbell){
        .address = address,
        .match = match ? cut(*match, size) : 0,
        .size = size,
        .is_port = is_port,
        .matches = match,
        .number = fd,
    };
}

static int add(struct emu_vm *vm, struct doorbell bell)
{
    struct emu_doorbells *bells = vm->doorbells;
    if (bells->bells == DOORBELLS)
        return -ENOSPC;
    for (uint32_t i = 0; i < bells->bells; i++)
        if (collide(&bells->bell[i], &bell))
            return -EEXIST;
    bell.fd = fcntl(bell.number, F_DUPFD_CLOEXEC, 0);
    if (bell.fd < 0)
        return -errno;
    bells->bell[bells->bells++] = bell;
    return 0;
}

/* Signal an eventfd at each write of `size` bytes (0: any) to an address, or of *match
 * alone. Returns 0, -EEXIST, -ENOSPC, -ENOMEM or what dup says. Any thread. */
int emu_vm_add_ioeventfd(struct emu_vm *vm, int fd, bool is_port, uint64_t address, uint32_t size,
                         const uint64_t *match)
{
    emu_vm_freeze(vm);
    int result =
        have_doorbells(vm) ? add(vm, doorbell(fd, is_port, address, size, match)) : -ENOMEM;
    emu_vm_thaw(vm);
    return result;
}

/* Returns 0 or -ENOENT. */
int emu_vm_remove_ioeventfd(struct emu_vm *vm, int fd, bool is_port, uint64_t address,
                            uint32_t size, const uint64_t *match)
{
    struct doorbell wanted = doorbell(fd, is_port, address, size, match);
    int result = -ENOENT;
    emu_vm_freeze(vm);
    struct emu_doorbells *bells = vm->doorbells;
    for (uint32_t i = 0; result && bells && i < bells->bells; i++) {
        if (!same(&bells->bell[i], &wanted))
            continue;
        close(bells->bell[i].fd);
        bells->bell[i] = bells->bell[--bells->bells];
        result = 0;
    }
    emu_vm_thaw(vm);
    return result;
}

/* Collect the writes to a range, as long as there is room. Returns 0, -ENOSPC or -ENOMEM. */
int emu_vm_add_coalesced(struct emu_vm *vm, bool is_port, uint64_t address, uint32_t size_bytes)
{
    int result = 0;
    emu_vm_freeze(vm);
    if (!have_doorbells(vm))
        result = -ENOMEM;
    else if (vm->doorbells->zones == ZONES)
        result = -ENOSPC;
    else
        vm->doorbells->zone[vm->doorbells->zones++] = (struct zone){address, size_bytes, is_port};
    emu_vm_thaw(vm);
    return result;
}

/* What was collected there can still be taken. */
void emu_vm_remove_coalesced(struct emu_vm *vm, bool is_port, uint64_t address, uint32_t size_bytes)
{
    emu_vm_freeze(vm);
    struct emu_doorbells *bells = vm->doorbells;
    for (uint32_t i = 0; bells && i < bells->zones; i++) {
        const struct zone *zone = &bells->zone[i];
        if (zone->is_port == is_port && zone->address == address && zone->size_bytes == size_bytes)
            bells->zone[i--] = bells->zone[--bells->zones];
    }
    emu_vm_thaw(vm);
}

/* All that was collected, oldest first: EMU_COALESCED_MAX at most. Returns how many. */
uint32_t emu_vm_take_coalesced(struct emu_vm *vm, struct emu_write *writes)
{
    uint32_t count = 0;
    emu_vm_lock(vm);
    struct emu_doorbells *bells = vm->doorbells;
    if (bells) {
        count = bells->writes;
        memcpy(writes, bells->write, count * sizeof(*writes));
        bells->writes = 0;
    }
    emu_vm_unlock(vm);
    return count;
}
