/* Status flags are kept as the values they follow from and put together when asked for.
 *
 * zero and sign are the result, sign-extended to 64 bits. carry holds the carries out of
 * each bit, aligned so that the operand's top bit is bit 63; bit 3 is always the carry
 * out of bit 3. Borrows count as carries. */
#ifndef PYKVM_EMU_FLAGS_H
#define PYKVM_EMU_FLAGS_H

#include "cpu.h"

static inline void emu_flags_result(struct emu_cpu *cpu, int64_t result, uint64_t carry)
{
    cpu->flags.zero = cpu->flags.sign = (uint64_t)result;
    cpu->flags.carry = carry;
}

/* Carry vectors of a sum and of a difference; the top bit is CF. */
#define EMU_CARRIES(a, b, sum) (((a) & (b)) | (((a) | (b)) & ~(sum)))
#define EMU_BORROWS(a, b, difference) ((~(a) & (b)) | ((~(a) | (b)) & (difference)))

/* Align a vector of `bits` bits. */
static inline uint64_t emu_align_carries(uint64_t carries, unsigned bits)
{
    return bits == 64 ? carries : carries << (64 - bits) | (carries & 8);
}

/* carry from CF and OF alone; AF 0. */
static inline uint64_t emu_carry_of(bool cf, bool of)
{
    return (uint64_t)cf << 63 | (uint64_t)(cf ^ of) << 62;
}

static inline bool emu_cf(const struct emu_cpu *cpu)
{
    return cpu->flags.carry >> 63;
}

static inline bool emu_zf(const struct emu_cpu *cpu)
{
    return cpu->flags.zero == 0;
}

static inline bool emu_sf(const struct emu_cpu *cpu)
{
    return cpu->flags.sign >> 63;
}

static inline bool emu_of(const struct emu_cpu *cpu)
{
    return (cpu->flags.carry ^ cpu->flags.carry << 1) >> 63;
}

static inline bool emu_pf(const struct emu_cpu *cpu)
{
    return !__builtin_parity((unsigned)(cpu->flags.sign & 0xff));
}

static inline bool emu_af(const struct emu_cpu *cpu)
{
    return cpu->flags.carry & 8;
}

static inline bool emu_less(const struct emu_cpu *cpu)
{
    uint64_t carry = cpu->flags.carry;
    return (cpu->flags.sign ^ carry ^ carry << 1) >> 63;
}

/* Condition codes, Intel SDM vol. 1 appendix B. `cc` is constant wherever speed matters. */
static inline bool emu_condition(const struct emu_cpu *cpu, unsigned cc)
{
    bool holds = false;
    switch (cc >> 1) {
    case 0:
        holds = emu_of(cpu);
        break;
    case 1:
        holds = emu_cf(cpu);
        break;
    case 2:
        holds = emu_zf(cpu);
        break;
    case 3:
        holds = emu_cf(cpu) || emu_zf(cpu);
        break;
    case 4:
        holds = emu_sf(cpu);
        break;
    case 5:
        holds = emu_pf(cpu);
        break;
    case 6:
        holds = emu_less(cpu);
        break;
    case 7:
        holds = emu_less(cpu) || emu_zf(cpu);
        break;
    }
    return holds ^ (cc & 1);
}

static inline uint32_t emu_status_flags(const struct emu_cpu *cpu)
{
    return (emu_cf(cpu) ? FLAG_CF : 0) | (emu_pf(cpu) ? FLAG_PF : 0) | (emu_af(cpu) ? FLAG_AF : 0) |
           (emu_zf(cpu) ? FLAG_ZF : 0) | (emu_sf(cpu) ? FLAG_SF : 0) | (emu_of(cpu) ? FLAG_OF : 0);
}

static inline uint32_t emu_rflags(const struct emu_cpu *cpu)
{
    return cpu->rflags | emu_status_flags(cpu);
}

static inline void emu_set_status_flags(struct emu_cpu *cpu, uint32_t flags)
{
    cpu->flags.zero = flags & FLAG_ZF ? 0 : 1;
    cpu->flags.sign = (flags & FLAG_SF ? UINT64_C(1) << 63 : 0) | (flags & FLAG_PF ? 0 : 1);
    cpu->flags.carry = emu_carry_of(flags & FLAG_CF, flags & FLAG_OF) | (flags & FLAG_AF ? 8 : 0);
}

static inline void emu_set_cf(struct emu_cpu *cpu, bool cf)
{
    bool of = emu_of(cpu);
    cpu->flags.carry = emu_carry_of(cf, of) | (cpu->flags.carry & 8);
}

static inline void emu_set_cf_of(struct emu_cpu *cpu, bool cf, bool of)
{
    cpu->flags.carry = emu_carry_of(cf, of) | (cpu->flags.carry & 8);
}

#endif
