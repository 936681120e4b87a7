/* One floating-point instruction in software, from its operands to its exceptions. */
#include "fp_exact.h"

#define BEFORE (MXCSR_IE | MXCSR_DE | MXCSR_ZE)

/* Exceptions found before computing keep those of the result from being found at all;
 * all elements count together. Intel SDM vol. 1 §11.5.2, §11.5.3. */
void emu_fp_finish(struct emu_cpu *cpu, const struct emu_insn *insn, const struct emu_soft *soft)
{
    uint32_t unmasked = soft->flags & ~(cpu->mxcsr >> MXCSR_MASKS_SHIFT);
    cpu->mxcsr |= soft->settled | (unmasked & BEFORE ? soft->flags & BEFORE : soft->flags);
    if (unmasked)
        emu_raise(cpu, insn, cpu->cr4 & CR4_OSXMMEXCPT ? EXC_XM : EXC_UD);
}

static void execute(struct emu_cpu *cpu, const struct emu_insn *insn,
                    const struct emu_fp_kind *kind, const union emu_vec *source)
{
    struct emu_soft soft;
    union emu_vec to = {.u64 = {0}};
    if (kind->variant & EMU_FP_KEEPS)
        to = cpu->vec[insn->reg];
    emu_soft_begin(&soft, emu_mxcsr(cpu));
    const union emu_vec *first = &cpu->vec[kind->vex ? insn->src : insn->reg];
    kind->kernel(&soft, kind, insn, &to, first, source);
    emu_fp_finish(cpu, insn, &soft);
    if (kind->vex)
        cpu->vec[insn->reg] = to;
    else
        memcpy(&cpu->vec[insn->reg], &to, 16);
}

const struct emu_insn *emu_fp_exact_r(struct emu_cpu *cpu, const struct emu_insn *insn,
                                      const struct emu_fp_kind *kind)
{
    execute(cpu, insn, kind, &cpu->vec[insn->rm]);
    EMU_NEXT_UNCHAINED;
}

void emu_fp_source_m(struct emu_cpu *cpu, const struct emu_insn *insn,
                     const struct emu_fp_kind *kind, union emu_vec *source)
{
    uint64_t linear =
        emu_ea_aligned(cpu, insn, kind->source_bytes, emu_fp_aligned(kind) ? 16 : 1, false);
    memset(source, 0, sizeof(*source));
    emu_load_vec(cpu, insn, linear, source, kind->source_bytes);
}

const struct emu_insn *emu_fp_exact_m(struct emu_cpu *cpu, const struct emu_insn *insn,
                                      const struct emu_fp_kind *kind)
{
    union emu_vec source;
    emu_fp_source_m(cpu, insn, kind, &source);
    execute(cpu, insn, kind, &source);
    EMU_NEXT_UNCHAINED;
}

void emu_fp_lanes(struct emu_soft *soft, const struct emu_fp_kind *kind,
                  const struct emu_insn *insn, union emu_vec *to, const union emu_vec *first,
                  const union emu_vec *source)
{
    (void)insn;
    if (kind->scalar)
        memcpy(to, first, 16);
    for (unsigned i = 0; i < kind->lanes; i++) {
        uint64_t a = emu_element(first, kind->bits, i), b = emu_element(source, kind->bits, i);
        emu_set_element(to, kind->bits, i, kind->lane(soft, kind->bits, a, b));
    }
}
