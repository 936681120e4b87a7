#include "file.h"

#include <errno.h>
#include <limits.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SHUT INT_MIN

/* Begin to use the descriptor; false, with EBADF, once it is shut. */
bool pykvm_file_enter(struct pykvm_file *file)
{
    if (atomic_fetch_add(&file->users, 1) >= 0)
        return true;
    pykvm_file_leave(file);
    errno = EBADF;
    return false;
}

void pykvm_file_leave(struct pykvm_file *file)
{
    atomic_fetch_sub(&file->users, 1);
}

bool pykvm_file_is_shut(const struct pykvm_file *file)
{
    return atomic_load_explicit(&file->users, memory_order_relaxed) < 0;
}

/* Let nobody in any more. True once nobody is inside. */
bool pykvm_file_shut(struct pykvm_file *file)
{
    return (atomic_fetch_or(&file->users, SHUT) & ~SHUT) == 0;
}

/* Shut and close it, once; false while somebody is inside. */
bool pykvm_file_close(struct pykvm_file *file)
{
    if (!pykvm_file_shut(file))
        return false;
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
    return true;
}

/* As ioctl(2). */
int pykvm_file_ioctl(struct pykvm_file *file, unsigned long request, void *argument)
{
    if (!pykvm_file_enter(file))
        return -1;
    int result = ioctl(file->fd, request, argument);
    int error = errno;
    pykvm_file_leave(file);
    errno = error;
    return result;
}
