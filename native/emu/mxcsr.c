/* MXCSR: where it is kept, and its two instructions. */
#include "fp.h"

#if EMU_FP_HOST
static inline uint32_t host_mxcsr(void)
{
    uint32_t value;
    __asm__ volatile("stmxcsr %0" : "=m"(value));
    return value;
}

static inline void set_host_mxcsr(uint32_t value)
{
    __asm__ volatile("ldmxcsr %0" : : "m"(value));
}

/* No flags go in: those set so far stay in cpu->mxcsr. */
static void load_host(const struct emu_cpu *cpu)
{
    set_host_mxcsr((cpu->mxcsr & ~MXCSR_FLAGS) | MXCSR_MASKS);
}

/* F16C is asked for by AVX2, which came after it: clang 14 does not know its name. */
static bool host_computes(void)
{
    return __builtin_cpu_supports("sse4.1") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("avx2");
}
#else
static inline uint32_t host_mxcsr(void)
{
    return 0;
}

static inline void set_host_mxcsr(uint32_t value)
{
    (void)value;
}

static void load_host(const struct emu_cpu *cpu)
{
    (void)cpu;
}

static bool host_computes(void)
{
    return false;
}
#endif

uint32_t emu_mxcsr(const struct emu_cpu *cpu)
{
    return cpu->mxcsr | (cpu->fp_live ? host_mxcsr() & MXCSR_FLAGS : 0);
}

void emu_set_mxcsr(struct emu_cpu *cpu, uint32_t value)
{
    cpu->mxcsr = value & MXCSR_ALL;
    if (cpu->fp_live)
        load_host(cpu);
    if (emu_fp_exact(cpu) != !!(cpu->mode & EMU_MODE_FP_EXACT))
        emu_mode_changed(cpu);
}

bool emu_fp_exact(const struct emu_cpu *cpu)
{
    return (cpu->mxcsr & MXCSR_MASKS) != MXCSR_MASKS || !host_computes();
}

void emu_fp_enter(struct emu_cpu *cpu)
{
    cpu->host_mxcsr = host_mxcsr();
    cpu->fp_live = true;
    load_host(cpu);
}

void emu_fp_leave(struct emu_cpu *cpu)
{
    cpu->mxcsr = emu_mxcsr(cpu);
    cpu->fp_live = false;
    set_host_mxcsr(cpu->host_mxcsr);
}

static EMU_OP(op_ldmxcsr)
{
    uint64_t linear = emu_ea(cpu, insn, 4, false);
    uint32_t value = emu_load_d(cpu, insn, linear);
    if (value & ~MXCSR_ALL)
        emu_raise_error(cpu, insn, EXC_GP, 0);
    emu_set_mxcsr(cpu, value);
    EMU_CHAIN(0, emu_next_rip(cpu, insn));
}
static const struct emu_forms ldmxcsr = EMU_FORMS_RM(NULL, op_ldmxcsr);

static EMU_OP(op_stmxcsr)
{
    uint64_t linear = emu_ea(cpu, insn, 4, true);
    emu_store_d(cpu, insn, linear, emu_mxcsr(cpu));
    EMU_NEXT;
}
static const struct emu_forms stmxcsr = EMU_FORMS_RM(NULL, op_stmxcsr);

static const struct emu_row rows[] = {
    {EMU_MAP_0F, 0xae, EMU_REG(2) | EMU_NP | EMU_MOD_M, EMU_MODRM | EMU_SSE | EMU_END, &ldmxcsr,
     NULL},
    {EMU_MAP_0F, 0xae, EMU_REG(3) | EMU_NP | EMU_MOD_M, EMU_MODRM | EMU_SSE, &stmxcsr, NULL},
    {EMU_MAP_V0F, 0xae, EMU_REG(2) | EMU_NP | EMU_L0 | EMU_VVVV0, EMU_MODRM | EMU_AVX | EMU_END,
     &ldmxcsr, NULL},
    {EMU_MAP_V0F, 0xae, EMU_REG(3) | EMU_NP | EMU_L0 | EMU_VVVV0, EMU_MODRM | EMU_AVX, &stmxcsr,
     NULL},
};
EMU_FAMILY(emu_family_mxcsr, rows);
