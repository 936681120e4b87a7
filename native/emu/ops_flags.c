/* SETcc, LAHF, SAHF, PUSHF, POPF and the instructions that set one flag. */
#include "far.h"

#define SETCC(cc)                                                                                  \
    static EMU_OP(op_set##cc##_eb_r)                                                               \
    {                                                                                              \
        emu_set_b(cpu, insn->rm, emu_condition(cpu, cc));                                          \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_STORE_OP(op_set##cc##_eb_m, b, value = emu_condition(cpu, cc))                             \
    static const struct emu_forms set##cc = EMU_FORMS_RM(op_set##cc##_eb_r, op_set##cc##_eb_m);
EMU_CONDITIONS(SETCC)

static EMU_OP(op_lahf)
{
    emu_set_b(cpu, 1, (uint8_t)((emu_status_flags(cpu) & 0xff) | FLAG_FIXED));
    EMU_NEXT;
}

static EMU_OP(op_sahf)
{
    uint32_t low = FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF | FLAG_CF;
    emu_set_status_flags(cpu, (emu_get_b(cpu, 1) & low) | (emu_of(cpu) ? FLAG_OF : 0));
    EMU_NEXT;
}

static EMU_OP(op_clc)
{
    emu_set_cf(cpu, false);
    EMU_NEXT;
}

static EMU_OP(op_stc)
{
    emu_set_cf(cpu, true);
    EMU_NEXT;
}

static EMU_OP(op_cmc)
{
    emu_set_cf(cpu, !emu_cf(cpu));
    EMU_NEXT;
}

static EMU_OP(op_cld)
{
    cpu->rflags &= ~FLAG_DF;
    EMU_NEXT;
}

static EMU_OP(op_std)
{
    cpu->rflags |= FLAG_DF;
    EMU_NEXT;
}

static void check_interrupt_rights(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned iopl = (cpu->rflags & FLAG_IOPL) >> 12;
    if ((cpu->cr0 & CR0_PE) && cpu->cpl > iopl)
        emu_raise_error(cpu, insn, EXC_GP, 0);
}

static EMU_OP(op_cli)
{
    check_interrupt_rights(cpu, insn);
    cpu->rflags &= ~FLAG_IF;
    EMU_NEXT;
}

static EMU_OP(op_sti)
{
    check_interrupt_rights(cpu, insn);
    if (!(cpu->rflags & FLAG_IF))
        emu_set_shadow(cpu);
    cpu->rflags |= FLAG_IF;
    EMU_LEAVE(emu_next_rip(cpu, insn));
}

static void check_vm86_rights(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    if (emu_vm86(cpu) && (cpu->rflags & FLAG_IOPL) != FLAG_IOPL)
        emu_raise_error(cpu, insn, EXC_GP, 0);
}

static EMU_OP(op_pushf)
{
    check_vm86_rights(cpu, insn);
    emu_push(cpu, insn, emu_osize_bytes(insn), emu_rflags(cpu) & ~(FLAG_RF | FLAG_VM));
    EMU_NEXT;
}

static EMU_OP(op_popf)
{
    uint32_t bytes = emu_osize_bytes(insn), mask = emu_flags_mask(cpu);
    uint64_t behind = emu_next_rip(cpu, insn), sp = cpu->gpr[RSP];
    check_vm86_rights(cpu, insn);
    if (emu_vm86(cpu))
        mask = (mask | FLAG_IF) & ~FLAG_IOPL;
    uint32_t flags = (uint32_t)emu_stack_load(cpu, insn, sp, bytes);
    emu_set_sp(cpu, sp + bytes);
    emu_set_flags(cpu, flags, bytes == 2 ? mask & 0xffff : mask);
    EMU_LEAVE(behind);
}

/* SALC, undocumented: AL becomes FF where CF is set, else 0. */
static EMU_OP(op_salc)
{
    emu_set_b(cpu, RAX, emu_cf(cpu) ? 0xff : 0);
    EMU_NEXT;
}

#define ONE(name) static const struct emu_forms name = EMU_FORMS_1(op_##name);
ONE(lahf)
ONE(sahf)
ONE(clc)
ONE(stc)
ONE(cmc)
ONE(cld)
ONE(std)
ONE(cli)
ONE(sti)
ONE(pushf)
ONE(popf)
ONE(salc)

#define READS (EMU_PURE | EMU_READS_ALL)
#define SETCC_ROW(cc) {EMU_MAP_0F, 0x90 + cc, 0, EMU_MODRM | EMU_BYTE_E | READS, &set##cc, NULL},

static const struct emu_row rows[] = {
    EMU_CONDITIONS(SETCC_ROW){EMU_MAP_1, 0x9e, EMU_NO64, READS, &sahf, NULL},
    {EMU_MAP_1, 0x9e, EMU_ONLY64, READS, &sahf, NULL},
    {EMU_MAP_1, 0x9f, EMU_NO64, READS, &lahf, NULL},
    {EMU_MAP_1, 0x9f, EMU_ONLY64, READS, &lahf, NULL},
    {EMU_MAP_1, 0xf5, 0, READS, &cmc, NULL},
    {EMU_MAP_1, 0xf8, 0, READS, &clc, NULL},
    {EMU_MAP_1, 0xf9, 0, READS, &stc, NULL},
    {EMU_MAP_1, 0xfc, 0, EMU_PURE, &cld, NULL},
    {EMU_MAP_1, 0xfd, 0, EMU_PURE, &std, NULL},
    {EMU_MAP_1, 0xfa, 0, 0, &cli, NULL},
    {EMU_MAP_1, 0xfb, 0, EMU_END, &sti, NULL},
    {EMU_MAP_1, 0x9c, 0, EMU_SIZE_D64, &pushf, NULL},
    {EMU_MAP_1, 0x9d, 0, EMU_SIZE_D64 | EMU_END, &popf, NULL},
    {EMU_MAP_1, 0xd6, EMU_NO64, READS, &salc, NULL},
};
EMU_FAMILY(emu_family_flags, rows);
