/* Floating point of SSE and AVX: the control and status register, and who computes.
 *
 * On x86-64 hosts with FMA and F16C the host's MXCSR holds the guest's while guest code
 * runs, its exceptions masked, and an instruction is executed by its like: sticky flags
 * accumulate in hardware. Where the guest has unmasked an exception, and on other hosts,
 * every instruction is computed in software (soft.h), which knows its flags. Which of
 * the two is settled at decode time, by EMU_MODE_FP_EXACT. -DEMU_FP_PORTABLE builds
 * without the host's part. */
#ifndef PYKVM_EMU_FP_H
#define PYKVM_EMU_FP_H

#include "ops.h"

#if defined(__x86_64__) && !defined(EMU_FP_PORTABLE)
#define EMU_FP_HOST 1
#else
#define EMU_FP_HOST 0
#endif

/* Intel SDM vol. 1 §10.2.3. */
#define MXCSR_IE 0x1u
#define MXCSR_DE 0x2u
#define MXCSR_ZE 0x4u
#define MXCSR_OE 0x8u
#define MXCSR_UE 0x10u
#define MXCSR_PE 0x20u
#define MXCSR_FLAGS 0x3fu
#define MXCSR_DAZ 0x40u
#define MXCSR_MASKS 0x1f80u
#define MXCSR_MASKS_SHIFT 7
#define MXCSR_RC_SHIFT 13
#define MXCSR_FTZ 0x8000u
#define MXCSR_ALL 0xffffu
#define MXCSR_RESET 0x1f80u

/* The guest's MXCSR, flags included; and its change, for whatever instruction or owner.
 * An instruction that calls emu_set_mxcsr ends its block: the mode may be another. */
uint32_t emu_mxcsr(const struct emu_cpu *cpu);
void emu_set_mxcsr(struct emu_cpu *cpu, uint32_t value);

/* Must floating-point instructions be computed one by one, in software? */
bool emu_fp_exact(const struct emu_cpu *cpu);

/* Around guest code: the host's MXCSR is set and given back. */
void emu_fp_enter(struct emu_cpu *cpu);
void emu_fp_leave(struct emu_cpu *cpu);

#endif
