/* Control and debug registers, TLB and cache control. */
#include "control.h"

static uint64_t read_control(const struct emu_cpu *cpu, unsigned index)
{
    switch (index) {
    case 0:
        return cpu->cr0;
    case 2:
        return cpu->cr2;
    case 3:
        return cpu->cr3;
    case 4:
        return cpu->cr4;
    default:
        return cpu->cr8;
    }
}

static bool has_control(unsigned index)
{
    return index == 0 || (index >= 2 && index <= 4) || index == 8;
}

/* LOCK MOV CR0 is how AMD's processors reach CR8 from 32-bit code; not here. */
static EMU_OP(op_mov_r_c)
{
    emu_require_cpl0(cpu, insn);
    if (!has_control(insn->reg))
        emu_raise(cpu, insn, EXC_UD);
    emu_set(cpu, insn->rm, emu_osize(insn), read_control(cpu, insn->reg));
    EMU_NEXT;
}

static EMU_OP(op_mov_c_r)
{
    uint64_t value = emu_get(cpu, insn->rm, emu_osize(insn)), behind = emu_next_rip(cpu, insn);
    emu_require_cpl0(cpu, insn);
    if (!has_control(insn->reg))
        emu_raise(cpu, insn, EXC_UD);
    switch (insn->reg) {
    case 0:
        emu_write_cr0(cpu, insn, value);
        break;
    case 2:
        cpu->cr2 = value;
        break;
    case 3:
        emu_write_cr3(cpu, insn, value);
        break;
    case 4:
        emu_write_cr4(cpu, insn, value);
        break;
    default:
        if (value >> 4)
            emu_raise_error(cpu, insn, EXC_GP, 0);
        emu_lapic_set_cr8(cpu, value);
        break;
    }
    EMU_LEAVE(behind);
}

/* DR4 and DR5 are DR6 and DR7, unless CR4.DE makes them undefined. SDM vol. 3B §17.2.2 */
static unsigned debug_register(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    emu_require_cpl0(cpu, insn);
    if (insn->reg > 7 || ((insn->reg & 6) == 4 && (cpu->cr4 & CR4_DE)))
        emu_raise(cpu, insn, EXC_UD);
    if (cpu->dr[7] & DR7_GD)
        emu_raise_debug(cpu, insn, DR6_BD);
    return (insn->reg & 6) == 4 ? insn->reg + 2u : insn->reg;
}

static EMU_OP(op_mov_r_d)
{
    unsigned index = debug_register(cpu, insn);
    emu_set(cpu, insn->rm, emu_osize(insn), cpu->dr[index]);
    EMU_NEXT;
}

static EMU_OP(op_mov_d_r)
{
    uint64_t value = emu_get(cpu, insn->rm, emu_osize(insn));
    unsigned index = debug_register(cpu, insn);
    if (index >= 6 && value >> 32)
        emu_raise_error(cpu, insn, EXC_GP, 0);
    if (index == 6)
        value = (value & 0xe00f) | DR6_FIXED;
    if (index == 7)
        value = (value & 0xffff2fff) | DR7_FIXED;
    cpu->dr[index] = value;
    emu_tlb_flush(cpu, true); /* pages with watched data leave the fast path */
    EMU_LEAVE(emu_next_rip(cpu, insn));
}

static EMU_OP(op_clts)
{
    emu_require_cpl0(cpu, insn);
    cpu->cr0 &= ~(uint64_t)CR0_TS;
    emu_mode_changed(cpu);
    EMU_LEAVE(emu_next_rip(cpu, insn));
}

static void check_umip(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    if ((cpu->cr4 & CR4_UMIP) && cpu->cpl)
        emu_raise_error(cpu, insn, EXC_GP, 0);
}

static EMU_OP(op_smsw_r)
{
    check_umip(cpu, insn);
    emu_set(cpu, insn->rm, emu_osize(insn), cpu->cr0);
    EMU_NEXT;
}

static EMU_OP(op_smsw_m)
{
    check_umip(cpu, insn);
    emu_store_w(cpu, insn, emu_ea(cpu, insn, 2, true), (uint16_t)cpu->cr0);
    EMU_NEXT;
}

/* LMSW changes PE, MP, EM and TS, and cannot clear PE. */
static const struct emu_insn *load_machine_status(struct emu_cpu *cpu, const struct emu_insn *insn,
                                                  uint16_t value)
{
    uint64_t behind = emu_next_rip(cpu, insn);
    uint64_t low = (value & 15u) | (cpu->cr0 & CR0_PE);
    emu_write_cr0(cpu, insn, (cpu->cr0 & ~UINT64_C(15)) | low);
    EMU_LEAVE(behind);
}

static EMU_OP(op_lmsw_r)
{
    emu_require_cpl0(cpu, insn);
    return load_machine_status(cpu, insn, (uint16_t)cpu->gpr[insn->rm]);
}

static EMU_OP(op_lmsw_m)
{
    emu_require_cpl0(cpu, insn);
    return load_machine_status(cpu, insn, emu_load_w(cpu, insn, emu_ea(cpu, insn, 2, false)));
}

static EMU_OP(op_invlpg)
{
    emu_require_cpl0(cpu, insn);
    uint64_t behind = emu_next_rip(cpu, insn), linear = emu_offset(cpu, insn);
    if (insn->ea && (insn->ea & EMU_EA_SEG) != EMU_EA_NOSEG)
        linear += cpu->seg[insn->ea & EMU_EA_SEG].base;
    emu_tlb_flush_page(cpu, linear);
    EMU_LEAVE(behind);
}

/* Types 0 to 3 flush one address, one PCID, all, all but globals. TLBs hold nothing of any
 * PCID but the current one. */
static EMU_OP(op_invpcid)
{
    uint64_t behind = emu_next_rip(cpu, insn), type = cpu->gpr[insn->reg], descriptor[2];
    if (!emu_code64(cpu))
        type = (uint32_t)type;
    emu_require_cpl0(cpu, insn);
    uint64_t linear = emu_ea(cpu, insn, 16, false);
    emu_load_vec(cpu, insn, linear, descriptor, 16);
    bool has_pcid = type < 2 && (descriptor[0] & 0xfff) && !(cpu->cr4 & CR4_PCIDE);
    bool stray = type == 0 && !emu_canonical_base(cpu, descriptor[1]);
    if (type > 3 || descriptor[0] >> 12 || has_pcid || stray)
        emu_raise_error(cpu, insn, EXC_GP, 0);
    uint64_t current = cpu->cr4 & CR4_PCIDE ? cpu->cr3 & 0xfff : 0;
    if (type > 1 || descriptor[0] == current)
        emu_tlb_flush(cpu, type == 2);
    EMU_LEAVE(behind);
}

static EMU_OP(op_wbinvd)
{
    emu_require_cpl0(cpu, insn);
    EMU_NEXT;
}

/* CLFLUSH and its kin: the address must be readable. */
static EMU_OP(op_clflush)
{
    (void)emu_load_b(cpu, insn, emu_ea(cpu, insn, 1, false));
    EMU_NEXT;
}

static EMU_OP(op_fence)
{
    EMU_NEXT;
}

static EMU_OP(op_stac)
{
    if (cpu->cpl)
        emu_raise(cpu, insn, EXC_UD);
    cpu->rflags |= FLAG_AC;
    emu_tlb_select(cpu);
    EMU_NEXT;
}

static EMU_OP(op_clac)
{
    if (cpu->cpl)
        emu_raise(cpu, insn, EXC_UD);
    cpu->rflags &= ~FLAG_AC;
    emu_tlb_select(cpu);
    EMU_NEXT;
}

#define ONE(name) static const struct emu_forms name = EMU_FORMS_1(op_##name);
ONE(mov_r_c)
ONE(mov_c_r)
ONE(mov_r_d)
ONE(mov_d_r)
ONE(clts)
ONE(invlpg)
ONE(invpcid)
ONE(wbinvd)
ONE(clflush)
ONE(fence)
ONE(stac)
ONE(clac)
static const struct emu_forms smsw = EMU_FORMS_RM(op_smsw_r, op_smsw_m);
static const struct emu_forms lmsw = EMU_FORMS_RM(op_lmsw_r, op_lmsw_m);

/* Operands of these have the size of general registers, whatever the prefixes say. */
#define CONTROL_ROW(opcode, shape, forms)                                                          \
    {EMU_MAP_0F, opcode, EMU_ONLY64, EMU_MODRM | EMU_MOD_ANY | EMU_SIZE_F64 | (shape),             \
     &forms,     NULL},                                                                            \
    {                                                                                              \
        EMU_MAP_0F, opcode, 0, EMU_MODRM | EMU_MOD_ANY | EMU_SIZE_Y | (shape), &forms, NULL        \
    }
#define AE_ROW(digit, match, forms)                                                                \
    {EMU_MAP_0F, 0xae, EMU_REG(digit) | (match), EMU_MODRM, &forms, NULL}

static const struct emu_row rows[] = {
    CONTROL_ROW(0x20, 0, mov_r_c),
    CONTROL_ROW(0x21, 0, mov_r_d),
    CONTROL_ROW(0x22, EMU_END, mov_c_r),
    CONTROL_ROW(0x23, EMU_END, mov_d_r),
    {EMU_MAP_0F, 0x06, 0, EMU_END, &clts, NULL},
    {EMU_MAP_0F, 0x08, 0, 0, &wbinvd, NULL},
    {EMU_MAP_0F, 0x09, 0, 0, &wbinvd, NULL},
    {EMU_MAP_0F, 0x01, EMU_REG(4), EMU_MODRM | EMU_SIZE_V, &smsw, NULL},
    {EMU_MAP_0F, 0x01, EMU_REG(6), EMU_MODRM | EMU_SIZE_V | EMU_END, &lmsw, NULL},
    {EMU_MAP_0F, 0x01, EMU_REG(7) | EMU_MOD_M, EMU_MODRM | EMU_END, &invlpg, NULL},
    {EMU_MAP_0F, 0x01, EMU_REG(1) | EMU_RM(2) | EMU_MOD_R | EMU_NP, EMU_MODRM, &clac, NULL},
    {EMU_MAP_0F, 0x01, EMU_REG(1) | EMU_RM(3) | EMU_MOD_R | EMU_NP, EMU_MODRM, &stac, NULL},
    {EMU_MAP_38, 0x82, EMU_P66 | EMU_MOD_M, EMU_MODRM | EMU_END, &invpcid, NULL},
    AE_ROW(5, EMU_MOD_R | EMU_NP, fence),
    AE_ROW(6, EMU_MOD_R | EMU_NP, fence),
    AE_ROW(7, EMU_MOD_R | EMU_NP, fence),
    AE_ROW(7, EMU_MOD_M | EMU_NP, clflush),
    AE_ROW(7, EMU_MOD_M | EMU_P66, clflush),
    AE_ROW(6, EMU_MOD_M | EMU_P66, clflush),
};
EMU_FAMILY(emu_family_control, rows);
