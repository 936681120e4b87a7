/* DAA, DAS, AAA, AAS, AAM, AAD, BOUND: gone in 64-bit mode. Intel SDM vol. 2A. */
#include "ops.h"

static uint32_t result_flags(uint8_t value)
{
    return (value == 0 ? FLAG_ZF : 0) | (value & 0x80 ? FLAG_SF : 0) |
           (__builtin_parity(value) ? 0 : FLAG_PF);
}

static void decimal_adjust(struct emu_cpu *cpu, int sign)
{
    uint8_t old = (uint8_t)cpu->gpr[RAX], al = old;
    bool cf = emu_cf(cpu), af = (al & 15) > 9 || emu_af(cpu);
    bool carry = old > 0x99 || cf, borrow = false;
    if (af) {
        borrow = sign < 0 && al < 6;
        al = (uint8_t)(al + 6 * sign);
    }
    if (carry)
        al = (uint8_t)(al + 0x60 * sign);
    emu_set_b(cpu, RAX, al);
    emu_set_status_flags(cpu, result_flags(al) | (af ? FLAG_AF : 0) |
                                  (carry || (af && borrow) ? FLAG_CF : 0));
}

static EMU_OP(op_daa)
{
    decimal_adjust(cpu, 1);
    EMU_NEXT;
}

static EMU_OP(op_das)
{
    decimal_adjust(cpu, -1);
    EMU_NEXT;
}

static void ascii_adjust(struct emu_cpu *cpu, int sign)
{
    uint16_t ax = (uint16_t)cpu->gpr[RAX];
    bool adjust = (ax & 15) > 9 || emu_af(cpu);
    if (adjust)
        ax = (uint16_t)(ax + 0x106 * sign);
    ax &= 0xff0f;
    emu_set_w(cpu, RAX, ax);
    emu_set_status_flags(cpu, result_flags((uint8_t)ax) | (adjust ? FLAG_AF | FLAG_CF : 0));
}

static EMU_OP(op_aaa)
{
    ascii_adjust(cpu, 1);
    EMU_NEXT;
}

static EMU_OP(op_aas)
{
    ascii_adjust(cpu, -1);
    EMU_NEXT;
}

static EMU_OP(op_aam)
{
    uint8_t al = (uint8_t)cpu->gpr[RAX], base = (uint8_t)insn->imm;
    if (!base)
        emu_raise(cpu, insn, EXC_DE);
    emu_set_w(cpu, RAX, (uint16_t)((al / base) << 8 | al % base));
    emu_set_status_flags(cpu, result_flags(al % base));
    EMU_NEXT;
}

static EMU_OP(op_aad)
{
    uint16_t ax = (uint16_t)cpu->gpr[RAX];
    uint8_t al = (uint8_t)((ax & 0xff) + (ax >> 8) * (uint8_t)insn->imm);
    emu_set_w(cpu, RAX, al);
    emu_set_status_flags(cpu, result_flags(al));
    EMU_NEXT;
}

/* The index, signed, must lie between the two bounds in memory. */
static EMU_OP(op_bound)
{
    uint32_t bytes = emu_osize_bytes(insn);
    uint64_t low = emu_load(cpu, insn, emu_ea(cpu, insn, bytes, false), bytes);
    uint64_t high = emu_load(cpu, insn, emu_ea_part(cpu, insn, bytes, bytes, false), bytes);
    uint64_t index = cpu->gpr[insn->reg];
    bool inside = bytes == 2 ? (int16_t)index >= (int16_t)low && (int16_t)index <= (int16_t)high
                             : (int32_t)index >= (int32_t)low && (int32_t)index <= (int32_t)high;
    if (!inside)
        emu_raise(cpu, insn, EXC_BR);
    EMU_NEXT;
}

static const struct emu_forms daa = EMU_FORMS_1(op_daa), das = EMU_FORMS_1(op_das);
static const struct emu_forms aaa = EMU_FORMS_1(op_aaa), aas = EMU_FORMS_1(op_aas);
static const struct emu_forms aam = EMU_FORMS_1(op_aam), aad = EMU_FORMS_1(op_aad);
static const struct emu_forms bound = {.m = {NULL, op_bound, op_bound, op_bound}};

static const struct emu_row rows[] = {
    {EMU_MAP_1, 0x27, EMU_NO64, 0, &daa, NULL},
    {EMU_MAP_1, 0x2f, EMU_NO64, 0, &das, NULL},
    {EMU_MAP_1, 0x37, EMU_NO64, 0, &aaa, NULL},
    {EMU_MAP_1, 0x3f, EMU_NO64, 0, &aas, NULL},
    {EMU_MAP_1, 0xd4, EMU_NO64, EMU_IMM_U8, &aam, NULL},
    {EMU_MAP_1, 0xd5, EMU_NO64, EMU_IMM_U8, &aad, NULL},
    {EMU_MAP_1, 0x62, EMU_NO64 | EMU_MOD_M, EMU_MODRM | EMU_SIZE_V, &bound, NULL},
};
EMU_FAMILY(emu_family_bcd, rows);
