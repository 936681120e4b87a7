/* Protection keys for user pages: PKRU. Intel SDM vol. 3A §4.6.2; vol. 2, RDPKRU, WRPKRU. */
#include "ops.h"
#include "xstate.h"

/* The TLBs hold what the keys allow. */
void emu_set_pkru(struct emu_cpu *cpu, uint32_t value)
{
    bool counts = value != cpu->pkru && (cpu->cr4 & CR4_PKE);
    cpu->pkru = value;
    if (counts)
        emu_tlb_flush_data(cpu);
}

static void check(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t zero)
{
    if (!(cpu->cr4 & CR4_PKE))
        emu_raise(cpu, insn, EXC_UD);
    if ((uint32_t)zero)
        emu_raise_error(cpu, insn, EXC_GP, 0);
}

static EMU_OP(op_rdpkru)
{
    check(cpu, insn, cpu->gpr[RCX]);
    cpu->gpr[RAX] = cpu->pkru;
    cpu->gpr[RDX] = 0;
    EMU_NEXT;
}

static EMU_OP(op_wrpkru)
{
    check(cpu, insn, cpu->gpr[RCX] | cpu->gpr[RDX]);
    emu_set_pkru(cpu, (uint32_t)cpu->gpr[RAX]);
    EMU_NEXT;
}

static const struct emu_forms rdpkru = EMU_FORMS_1(op_rdpkru), wrpkru = EMU_FORMS_1(op_wrpkru);

#define ROW(low, forms)                                                                            \
    {EMU_MAP_0F, 0x01, EMU_REG(5) | EMU_RM(low) | EMU_MOD_R | EMU_NP, EMU_MODRM, &forms, NULL}

static const struct emu_row rows[] = {ROW(6, rdpkru), ROW(7, wrpkru)};
EMU_FAMILY(emu_family_pkey, rows);
