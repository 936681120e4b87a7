/* Between the TLBs and the slow paths. */
#ifndef PYKVM_EMU_TLB_H
#define PYKVM_EMU_TLB_H

#include "cpu.h"

bool emu_tlb_translate(struct emu_cpu *cpu, enum emu_tlb_index index, uint64_t linear,
                       enum emu_access access, uint64_t *gpa, uint32_t *error);

/* debug.c: does a data breakpoint lie in this page? */
bool emu_watched(const struct emu_cpu *cpu, uint64_t page);
void emu_watch_hit(struct emu_cpu *cpu, uint64_t linear, uint32_t size_bytes, bool write);
void emu_watch_port(struct emu_cpu *cpu, uint16_t port, uint32_t size_bytes);

#endif
