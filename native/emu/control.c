/* Control registers and EFER: what may be written, and what else changes with it.
 * Intel SDM vol. 3A §2.5, §4.1.2; vol. 2B, MOV to control registers. */
#include "control.h"

#define CR0_ALL                                                                                    \
    (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD |     \
     CR0_PG)
#define CR4_MMU                                                                                    \
    (CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_LA57 | CR4_PKE | CR4_PKS)
#define CR3_RESERVED (UINT64_MAX << 46)
#define CR3_NO_FLUSH (UINT64_C(1) << 63)

static _Noreturn void refuse(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    emu_raise_error(cpu, insn, EXC_GP, 0);
}

static bool pae_paging(const struct emu_cpu *cpu, uint64_t cr0, uint64_t cr4)
{
    return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(cpu->efer & (EFER_LMA | EFER_LME));
}

/* Switching paging on with EFER.LME set enters long mode. §9.8.5 */
static void check_paging(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t cr0)
{
    bool on = cr0 & CR0_PG, was_on = cpu->cr0 & CR0_PG;
    bool code64 = cpu->seg[EMU_CS].attr & SEG_L;
    if (on && !was_on && (cpu->efer & EFER_LME) && (!(cpu->cr4 & CR4_PAE) || code64))
        refuse(cpu, insn);
    if (!on && was_on && (emu_code64(cpu) || (cpu->cr4 & CR4_PCIDE)))
        refuse(cpu, insn);
}

void emu_write_cr0(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t value)
{
    uint64_t cr0 = (value & CR0_ALL) | CR0_ET, changed = cr0 ^ cpu->cr0;
    if (value >> 32 || ((cr0 & CR0_PG) && !(cr0 & CR0_PE)) || ((cr0 & CR0_NW) && !(cr0 & CR0_CD)))
        refuse(cpu, insn);
    check_paging(cpu, insn, cr0);
    if (pae_paging(cpu, cr0, cpu->cr4) && (changed & (CR0_PG | CR0_CD | CR0_NW)) &&
        !emu_pdptes_load(cpu, cpu->cr3))
        refuse(cpu, insn);
    if ((changed & CR0_PG) && (cpu->efer & EFER_LME))
        cpu->efer = (cpu->efer & ~(uint64_t)EFER_LMA) | (cr0 & CR0_PG ? EFER_LMA : 0);
    cpu->cr0 = cr0;
    if (changed & (CR0_PG | CR0_PE | CR0_WP))
        emu_tlb_flush(cpu, true);
    emu_mode_changed(cpu);
}

void emu_write_cr3(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t value)
{
    bool keep = false; /* the TLBs hold translations of the current PCID alone */
    if (cpu->cr4 & CR4_PCIDE) {
        keep = (value & CR3_NO_FLUSH) && !((value ^ cpu->cr3) & 0xfff);
        value &= ~CR3_NO_FLUSH;
    }
    if (emu_long_mode(cpu) && (value & CR3_RESERVED))
        refuse(cpu, insn);
    if (pae_paging(cpu, cpu->cr0, cpu->cr4) && !emu_pdptes_load(cpu, value))
        refuse(cpu, insn);
    cpu->cr3 = value;
    if (!keep)
        emu_tlb_flush(cpu, false);
}

void emu_write_cr4(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t value)
{
    uint64_t changed = value ^ cpu->cr4;
    if (value & ~emu_cr4_offered(cpu->features))
        refuse(cpu, insn);
    if (emu_long_mode(cpu) && (!(value & CR4_PAE) || (changed & CR4_LA57)))
        refuse(cpu, insn);
    if ((changed & value & CR4_PCIDE) && (!emu_long_mode(cpu) || (cpu->cr3 & 0xfff)))
        refuse(cpu, insn);
    if (pae_paging(cpu, cpu->cr0, value) && (changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)) &&
        !emu_pdptes_load(cpu, cpu->cr3))
        refuse(cpu, insn);
    cpu->cr4 = value;
    if (changed & CR4_MMU)
        emu_tlb_flush(cpu, true);
    emu_mode_changed(cpu);
}

/* False where the value is not allowed. LMA is not for software to change. */
bool emu_write_efer(struct emu_cpu *cpu, uint64_t value)
{
    uint64_t changed = value ^ cpu->efer;
    if ((value & ~emu_efer_offered(cpu->features)) || ((changed & EFER_LME) && (cpu->cr0 & CR0_PG)))
        return false;
    cpu->efer = (value & ~(uint64_t)EFER_LMA) | (cpu->efer & EFER_LMA);
    if (changed & EFER_NXE)
        emu_tlb_flush(cpu, true);
    emu_mode_changed(cpu);
    return true;
}

bool emu_write_xcr0(struct emu_cpu *cpu, uint64_t value)
{
    if (!(value & XCR0_X87) || (value & ~emu_xcr0_offered(cpu->features)) ||
        (value & (XCR0_SSE | XCR0_AVX)) == XCR0_AVX)
        return false;
    cpu->xcr0 = value;
    emu_mode_changed(cpu);
    return true;
}
