/* Between the processor's state and FXSAVE and XSAVE images in the host's memory. */
#include "xstate.h"

void emu_xstate_x87_out(const struct emu_cpu *cpu, bool pointers64, uint8_t *area)
{
    const struct emu_fpu *fpu = &cpu->fpu;
    uint16_t words[4] = {fpu->control, emu_x87_status(fpu), fpu->used, fpu->opcode & 0x7ffu};
    uint64_t pointers[2] = {fpu->ip, fpu->dp};
    if (!pointers64) {
        pointers[0] = (uint32_t)fpu->ip | (uint64_t)fpu->cs << 32;
        pointers[1] = (uint32_t)fpu->dp | (uint64_t)fpu->ds << 32;
    }
    memcpy(area, words, 8);
    memcpy(area + 8, pointers, 16);
    memset(area + XSTATE_ST, 0, 128);
    for (unsigned i = 0; i < 8; i++)
        memcpy(area + XSTATE_ST + 16 * i, &fpu->reg[(fpu->top + i) & 7], 10);
}

void emu_xstate_x87_in(struct emu_cpu *cpu, bool pointers64, const uint8_t *area)
{
    struct emu_fpu *fpu = &cpu->fpu;
    uint16_t words[4];
    uint64_t pointers[2];
    memcpy(words, area, 8);
    memcpy(pointers, area + 8, 16);
    fpu->ip = pointers64 ? pointers[0] : (uint32_t)pointers[0];
    fpu->dp = pointers64 ? pointers[1] : (uint32_t)pointers[1];
    fpu->cs = fpu->ds = 0;
    fpu->control = (words[0] & X87_CONTROL_MASK) | X87_CONTROL_FIXED;
    emu_x87_set_status(fpu, words[1]);
    fpu->used = (uint8_t)words[2];
    fpu->opcode = words[3] & 0x7ff;
    for (unsigned i = 0; i < 8; i++)
        memcpy(&fpu->reg[(fpu->top + i) & 7], area + XSTATE_ST + 16 * i, 10);
}

void emu_xstate_x87_init(struct emu_cpu *cpu)
{
    cpu->fpu = (struct emu_fpu){.control = 0x37f};
}

void emu_xstate_mxcsr_out(const struct emu_cpu *cpu, uint8_t *area)
{
    uint32_t words[2] = {emu_mxcsr(cpu), MXCSR_ALL};
    memcpy(area + XSTATE_MXCSR, words, sizeof(words));
}

uint32_t emu_xstate_mxcsr_of(const uint8_t *area)
{
    uint32_t mxcsr;
    memcpy(&mxcsr, area + XSTATE_MXCSR, sizeof(mxcsr));
    return mxcsr;
}

void emu_xstate_xmm_out(const struct emu_cpu *cpu, uint8_t *area)
{
    for (unsigned i = 0; i < emu_xstate_registers(cpu); i++)
        memcpy(area + XSTATE_XMM + 16 * i, &cpu->vec[i].u64[0], 16);
}

void emu_xstate_xmm_in(struct emu_cpu *cpu, const uint8_t *area)
{
    for (unsigned i = 0; i < emu_xstate_registers(cpu); i++)
        memcpy(&cpu->vec[i].u64[0], area + XSTATE_XMM + 16 * i, 16);
}

void emu_xstate_ymm_out(const struct emu_cpu *cpu, uint8_t *area)
{
    for (unsigned i = 0; i < emu_xstate_registers(cpu); i++)
        memcpy(area + XSTATE_YMM + 16 * i, &cpu->vec[i].u64[2], 16);
}

void emu_xstate_ymm_in(struct emu_cpu *cpu, const uint8_t *area)
{
    for (unsigned i = 0; i < emu_xstate_registers(cpu); i++)
        memcpy(&cpu->vec[i].u64[2], area + XSTATE_YMM + 16 * i, 16);
}

static bool x87_in_use(const struct emu_fpu *fpu)
{
    uint64_t any = fpu->status | fpu->top | fpu->used | fpu->opcode | fpu->ip | fpu->dp;
    for (unsigned i = 0; i < 8; i++)
        any |= fpu->reg[i].mantissa | fpu->reg[i].exponent;
    return any || fpu->control != 0x37f;
}

uint64_t emu_xstate_in_use(const struct emu_cpu *cpu)
{
    uint64_t low = 0, high = 0;
    for (unsigned i = 0; i < 16; i++) {
        low |= cpu->vec[i].u64[0] | cpu->vec[i].u64[1];
        high |= cpu->vec[i].u64[2] | cpu->vec[i].u64[3];
    }
    return (x87_in_use(&cpu->fpu) ? XCR0_X87 : 0) | (low ? XCR0_SSE : 0) | (high ? XCR0_AVX : 0) |
           (cpu->pkru ? XCR0_PKRU : 0);
}
