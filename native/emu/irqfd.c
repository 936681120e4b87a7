/* Eventfds that raise interrupt lines. Nobody waits for them but the processors: one that
 * executes looks between slices, which are short while there are any; one that sleeps in HLT
 * sleeps in poll. vm->lock guards all of this. Linux only. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "chips.h"

#define IRQFDS 64u
#define NS_PER_S UINT64_C(1000000000)
#define LOOK_NS UINT64_C(10000) /* a guest that exits all the time is not asked more often */

struct irqfd {
    int number, fd;  /* the owner's number for it, and one that is ours */
    int resample_fd; /* signalled at the interrupt's end; -1: edges */
    uint32_t gsi;
};

struct emu_irqfds {
    int epoll;
    atomic_uint count; /* changes under the machine's lock */
    atomic_uint_fast64_t looked_ns;
    struct irqfd irqfd[IRQFDS];
};

void emu_irqfds_destroy(struct emu_vm *vm)
{
    struct emu_irqfds *all = vm->irqfds;
    if (!all)
        return;
    for (uint32_t i = 0; i < all->count; i++) {
        close(all->irqfd[i].fd);
        if (all->irqfd[i].resample_fd >= 0)
            close(all->irqfd[i].resample_fd);
    }
    close(all->epoll);
    free(all);
    vm->irqfds = NULL;
}

static bool have_irqfds(struct emu_vm *vm)
{
    struct emu_irqfds *all = vm->irqfds;
    if (all || vm->closed)
        return all;
    all = calloc(1, sizeof(*all));
    if (all && (all->epoll = epoll_create1(EPOLL_CLOEXEC)) < 0) {
        free(all);
        return false;
    }
    vm->irqfds = all;
    return all;
}

/* Take the count out; false where somebody else has been quicker. */
static bool drain(int fd)
{
    uint64_t count;
    struct iovec part = {&count, sizeof(count)};
    return preadv2(fd, &part, 1, -1, RWF_NOWAIT) == sizeof(count);
}

static void ring(int fd)
{
    const uint64_t one = 1;
    if (write(fd, &one, sizeof(one)) < 0)
        return; /* its count is at its end: it is signalled anyway */
}

static void raise_line(struct emu_vm *vm, const struct irqfd *irqfd)
{
    if (!drain(irqfd->fd))
        return;
    bool level = irqfd->resample_fd >= 0;
    enum emu_source source = level ? EMU_SOURCE_RESAMPLE : EMU_SOURCE_LINE;
    emu_gsi_set(vm, irqfd->gsi, source, true);
    if (!level)
        emu_gsi_set(vm, irqfd->gsi, source, false);
}

static struct irqfd *find(struct emu_irqfds *all, int fd)
{
    for (uint32_t i = 0; i < all->count; i++)
        if (all->irqfd[i].fd == fd)
            return &all->irqfd[i];
    return NULL;
}

static void look(struct emu_vm *vm)
{
    struct epoll_event events[IRQFDS];
    int count = epoll_wait(vm->irqfds->epoll, events, IRQFDS, 0);
    for (int i = 0; i < count; i++) {
        const struct irqfd *irqfd = find(vm->irqfds, events[i].data.fd);
        if (irqfd)
            raise_line(vm, irqfd);
    }
}

/* Has one been signalled? From a processor that executes. */
void emu_irqfds_look(struct emu_vm *vm, uint64_t now_ns)
{
    struct emu_irqfds *all = vm->irqfds;
    if (!all || !all->count || now_ns - all->looked_ns < LOOK_NS)
        return;
    emu_vm_lock(vm);
    all->looked_ns = now_ns;
    look(vm);
    emu_vm_unlock(vm);
}

static struct timespec until(uint64_t until_ns)
{
    uint64_t now_ns = emu_now_ns(), ns = until_ns > now_ns ? until_ns - now_ns : 0;
    return (struct timespec){(time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S)};
}

/* Sleep until then, or until an irqfd or emu_irqfds_wake: what pthread_cond_timedwait does
 * otherwise. */
void emu_irqfds_sleep(struct emu_cpu *cpu, uint64_t until_ns)
{
    struct emu_vm *vm = cpu->vm;
    if (cpu->wake_fd < 0)
        cpu->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct pollfd fds[] = {{.fd = vm->irqfds->epoll, .events = POLLIN},
                           {.fd = cpu->wake_fd, .events = POLLIN}};
    struct timespec wait = until(until_ns);
    cpu->polls = true;
    emu_vm_unlock(vm);
    int ready = ppoll(fds, 2, &wait, NULL);
    emu_vm_lock(vm);
    cpu->polls = false;
    if (ready > 0 && fds[1].revents)
        drain(cpu->wake_fd);
    if (ready > 0 && fds[0].revents)
        look(vm);
}

/* Wake a processor that sleeps there. */
void emu_irqfds_wake(struct emu_cpu *cpu)
{
    ring(cpu->wake_fd);
}

/* The guest has ended an interrupt of this line: a level drops, until it is raised anew. */
void emu_irqfds_ended(struct emu_vm *vm, uint32_t gsi)
{
    struct emu_irqfds *all = vm->irqfds;
    for (uint32_t i = 0; all && i < all->count; i++) {
        const struct irqfd *irqfd = &all->irqfd[i];
        if (irqfd->gsi != gsi || irqfd->resample_fd < 0)
            continue;
        emu_gsi_set(vm, gsi, EMU_SOURCE_RESAMPLE, false);
        ring(irqfd->resample_fd);
    }
}

static int duplicate(int fd)
{
    return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

static int add(struct emu_vm *vm, int fd, uint32_t gsi, int resample_fd)
{
    struct emu_irqfds *all = vm->irqfds;
    for (uint32_t i = 0; i < all->count; i++)
        if (all->irqfd[i].number == fd)
            return -EBUSY;
    if (all->count == IRQFDS)
        return -ENOSPC;
    struct irqfd irqfd = {fd, duplicate(fd), resample_fd < 0 ? -1 : duplicate(resample_fd), gsi};
    struct epoll_event event = {.events = EPOLLIN, .data.fd = irqfd.fd};
    if (irqfd.fd < 0 || (resample_fd >= 0 && irqfd.resample_fd < 0) ||
        epoll_ctl(all->epoll, EPOLL_CTL_ADD, irqfd.fd, &event)) {
        int error = errno;
        close(irqfd.fd);
        close(irqfd.resample_fd);
        return -error;
    }
    all->irqfd[all->count++] = irqfd;
    return 0;
}

/* Let an eventfd raise a line: an edge, or a level that ends with the interrupt, where there
 * is a resample_fd (-1: none). Returns 0, -ENXIO without chips, -EBUSY where the eventfd has
 * a line, -ENOSPC, or what the system says. Any thread. */
int emu_vm_add_irqfd(struct emu_vm *vm, int fd, uint32_t gsi, int resample_fd)
{
    if (!vm->chips)
        return -ENXIO;
    emu_vm_freeze(vm);
    int result = have_irqfds(vm) ? add(vm, fd, gsi, resample_fd) : -ENOMEM;
    for (struct emu_cpu *cpu = vm->cpus; cpu; cpu = cpu->next)
        emu_turn_rouse(cpu); /* so that it sleeps in poll from now on */
    emu_vm_thaw(vm);
    return result;
}

/* Returns 0 or -ENOENT. */
int emu_vm_remove_irqfd(struct emu_vm *vm, int fd, uint32_t gsi)
{
    int result = -ENOENT;
    emu_vm_freeze(vm);
    struct emu_irqfds *all = vm->irqfds;
    for (uint32_t i = 0; result && all && i < all->count; i++) {
        struct irqfd *irqfd = &all->irqfd[i];
        if (irqfd->number != fd || irqfd->gsi != gsi)
            continue;
        epoll_ctl(all->epoll, EPOLL_CTL_DEL, irqfd->fd, NULL);
        close(irqfd->fd);
        if (irqfd->resample_fd >= 0)
            close(irqfd->resample_fd);
        *irqfd = all->irqfd[--all->count];
        result = 0;
    }
    emu_vm_thaw(vm);
    return result;
}
