/* A virtual machine by nothing but ioctl, made step by step. */
#ifndef PYKVM_FLOOR_VM_H
#define PYKVM_FLOOR_VM_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

#define PORT 0xe9
#define MMIO_GPA 0xd0000000UL
#define SAMPLES_GPA 0x40000UL

struct vm {
    int fd, vcpu_fd;
    uint8_t *memory;
    struct kvm_run *run;
};

void fail(const char *what);
int call(int fd, unsigned long request, const void *argument, const char *name);
uint64_t now_ns(void);

void vm_open(struct vm *vm);
void vm_map(struct vm *vm);
void vm_add_vcpu(struct vm *vm);
void vm_set_cpuid(struct vm *vm);
void vm_start(struct vm *vm, const uint8_t *code, size_t code_bytes, uint64_t count);
void vm_create(struct vm *vm, const uint8_t *code, size_t code_bytes, uint64_t count);
void vm_destroy(struct vm *vm);

/* timed.c */
void measure_timed(const char *name, uint64_t count);

#endif
