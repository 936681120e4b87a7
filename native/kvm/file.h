/* A file descriptor of KVM that several threads use and one of them closes: its number must not
 * be another file's while a call is on its way. */
#ifndef PYKVM_KVM_FILE_H
#define PYKVM_KVM_FILE_H

#include <stdatomic.h>
#include <stdbool.h>

struct pykvm_file {
    int fd;
    atomic_int users; /* calls under way; below 0 once it is shut */
};

bool pykvm_file_enter(struct pykvm_file *file);
void pykvm_file_leave(struct pykvm_file *file);
bool pykvm_file_is_shut(const struct pykvm_file *file);
bool pykvm_file_shut(struct pykvm_file *file);
bool pykvm_file_close(struct pykvm_file *file);
int pykvm_file_ioctl(struct pykvm_file *file, unsigned long request, void *argument);

#endif
