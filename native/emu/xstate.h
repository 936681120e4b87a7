/* The areas of FXSAVE and XSAVE images: Intel SDM vol. 1 §10.5.1, §13.4. */
#ifndef PYKVM_EMU_XSTATE_H
#define PYKVM_EMU_XSTATE_H

#include "fp.h"
#include "x87.h"

#define XSTATE_MXCSR 24u
#define XSTATE_ST 32u
#define XSTATE_XMM 160u
#define XSTATE_LEGACY_BYTES 512u
#define XSTATE_HEADER 512u
#define XSTATE_YMM 576u
#define XSTATE_BYTES 832u
#define XSTATE_COMPACTED (UINT64_C(1) << 63)
#define XSTATE_ALL (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_PKRU)
#define XSTATE_PKRU 832u /* where CPUID says nothing else */
#define XSTATE_PKRU_BYTES 8u

/* XMM8 to XMM15 are part of images in 64-bit mode only. */
static inline unsigned emu_xstate_registers(const struct emu_cpu *cpu)
{
    return emu_code64(cpu) ? 16 : 8;
}

/* `pointers64`: FIP and FDP have 64 bits and no selectors, as with REX.W. */
void emu_xstate_x87_out(const struct emu_cpu *cpu, bool pointers64, uint8_t *area);
void emu_xstate_x87_in(struct emu_cpu *cpu, bool pointers64, const uint8_t *area);
void emu_xstate_x87_init(struct emu_cpu *cpu);
void emu_xstate_mxcsr_out(const struct emu_cpu *cpu, uint8_t *area);
uint32_t emu_xstate_mxcsr_of(const uint8_t *area);
void emu_xstate_xmm_out(const struct emu_cpu *cpu, uint8_t *area);
void emu_xstate_xmm_in(struct emu_cpu *cpu, const uint8_t *area);
void emu_xstate_ymm_out(const struct emu_cpu *cpu, uint8_t *area);
void emu_xstate_ymm_in(struct emu_cpu *cpu, const uint8_t *area);

/* ops_pkey.c */
void emu_set_pkru(struct emu_cpu *cpu, uint32_t value);

/* Which components are not in their initial state. */
uint64_t emu_xstate_in_use(const struct emu_cpu *cpu);

#endif
