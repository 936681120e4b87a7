/* XCHG, XADD, CMPXCHG and its wide forms, BSWAP, MOVBE. LOCK needs nothing: processors of
 * a machine take turns. */
#include "ops.h"

#define COMPARE(s, a, b)                                                                           \
    emu_flags_result(cpu, (EMU_SIGNED_##s)(EMU_TYPE_##s)((a) - (b)),                               \
                     emu_align_carries((EMU_TYPE_##s)EMU_BORROWS(a, b, (EMU_TYPE_##s)((a) - (b))), \
                                       EMU_BITS_##s))
#define ADD_FLAGS(s, a, b)                                                                         \
    emu_flags_result(cpu, (EMU_SIGNED_##s)(EMU_TYPE_##s)((a) + (b)),                               \
                     emu_align_carries((EMU_TYPE_##s)EMU_CARRIES(a, b, (EMU_TYPE_##s)((a) + (b))), \
                                       EMU_BITS_##s))

#define EXCHANGE_SIZE(s)                                                                           \
    static EMU_OP(op_xchg_e##s##_g##s##_r)                                                         \
    {                                                                                              \
        EMU_TYPE_##s old = emu_get_##s(cpu, insn->rm);                                             \
        emu_set_##s(cpu, insn->rm, emu_get_##s(cpu, insn->reg));                                   \
        emu_set_##s(cpu, insn->reg, old);                                                          \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_MODIFY_OP(op_xchg_e##s##_g##s##_m, s, {                                                    \
        EMU_TYPE_##s old = value;                                                                  \
        value = emu_get_##s(cpu, insn->reg);                                                       \
        emu_set_##s(cpu, insn->reg, old);                                                          \
    })                                                                                             \
    static EMU_OP(op_xadd_e##s##_g##s##_r)                                                         \
    {                                                                                              \
        EMU_TYPE_##s a = emu_get_##s(cpu, insn->rm), b = emu_get_##s(cpu, insn->reg);              \
        ADD_FLAGS(s, a, b);                                                                        \
        emu_set_##s(cpu, insn->reg, a);                                                            \
        emu_set_##s(cpu, insn->rm, (EMU_TYPE_##s)(a + b));                                         \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_MODIFY_OP(op_xadd_e##s##_g##s##_m, s, {                                                    \
        EMU_TYPE_##s a = value, b = emu_get_##s(cpu, insn->reg);                                   \
        ADD_FLAGS(s, a, b);                                                                        \
        emu_set_##s(cpu, insn->reg, a);                                                            \
        value = (EMU_TYPE_##s)(a + b);                                                             \
    })                                                                                             \
    static EMU_OP(op_cmpxchg_e##s##_g##s##_r)                                                      \
    {                                                                                              \
        EMU_TYPE_##s a = emu_get_##s(cpu, RAX), b = emu_get_##s(cpu, insn->rm);                    \
        COMPARE(s, a, b);                                                                          \
        if (a == b)                                                                                \
            emu_set_##s(cpu, insn->rm, emu_get_##s(cpu, insn->reg));                               \
        else                                                                                       \
            emu_set_##s(cpu, RAX, b);                                                              \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_MODIFY_OP(op_cmpxchg_e##s##_g##s##_m, s, {                                                 \
        EMU_TYPE_##s a = emu_get_##s(cpu, RAX), b = value;                                         \
        COMPARE(s, a, b);                                                                          \
        if (a == b)                                                                                \
            value = emu_get_##s(cpu, insn->reg);                                                   \
        else                                                                                       \
            emu_set_##s(cpu, RAX, b);                                                              \
    })
EMU_ALL_SIZES(EXCHANGE_SIZE)

#define EXCHANGE_FORMS(mn)                                                                         \
    static const struct emu_forms mn##_e_g =                                                       \
        EMU_FORMS(op_##mn##_eb_gb_r, op_##mn##_ew_gw_r, op_##mn##_ed_gd_r, op_##mn##_eq_gq_r,      \
                  op_##mn##_eb_gb_m, op_##mn##_ew_gw_m, op_##mn##_ed_gd_m, op_##mn##_eq_gq_m);
EXCHANGE_FORMS(xchg)
EXCHANGE_FORMS(xadd)
EXCHANGE_FORMS(cmpxchg)

/* XCHG of the accumulator: rm is the other register, reg is 0. Opcode 90 without REX.B is
 * no XCHG but NOP, and does not clear the upper half of RAX. */
static EMU_OP(op_xchg_acc_d)
{
    if (insn->rm == RAX)
        EMU_NEXT;
    return op_xchg_ed_gd_r(cpu, insn);
}
static const struct emu_forms xchg_acc = {
    .r = {NULL, op_xchg_ew_gw_r, op_xchg_acc_d, op_xchg_eq_gq_r}};

/* PAUSE: where there are other processors one of them runs. */
static const struct emu_insn *pause(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    if (cpu->vm->cpu_count == 1)
        EMU_NEXT;
    uint64_t behind = emu_next_rip(cpu, insn);
    emu_unwind(cpu, insn);
    cpu->left--;
    cpu->yields = true;
    EMU_LEAVE(behind);
}

/* Opcode 90 with F3, whatever REX.B says; 91 to 97 are XCHG all the same. */
#define PAUSE_OP(v)                                                                                \
    static EMU_OP(op_pause_##v)                                                                    \
    {                                                                                              \
        return insn->rm % 8 == RAX ? pause(cpu, insn) : op_xchg_e##v##_g##v##_r(cpu, insn);        \
    }
PAUSE_OP(w)
PAUSE_OP(d)
PAUSE_OP(q)
static const struct emu_forms pause_acc = {.r = {NULL, op_pause_w, op_pause_d, op_pause_q}};
#define PAUSE_ROW {EMU_MAP_1, 0x90, EMU_PF3, EMU_OPREG | EMU_SIZE_V, &pause_acc, NULL}
#define ACC_ROW {EMU_MAP_1, 0x90, 0, EMU_OPREG | EMU_SIZE_V | EMU_PURE, &xchg_acc, NULL}

static EMU_OP(op_cmpxchg8b)
{
    uint64_t linear = emu_ea(cpu, insn, 8, true);
    emu_probe_write(cpu, insn, linear, 8);
    uint64_t old = emu_load_q(cpu, insn, linear);
    bool equal = old == (cpu->gpr[RDX] << 32 | (uint32_t)cpu->gpr[RAX]);
    emu_store_q(cpu, insn, linear, equal ? cpu->gpr[RCX] << 32 | (uint32_t)cpu->gpr[RBX] : old);
    if (!equal) {
        cpu->gpr[RAX] = (uint32_t)old;
        cpu->gpr[RDX] = old >> 32;
    }
    uint32_t flags = emu_status_flags(cpu) & ~FLAG_ZF;
    emu_set_status_flags(cpu, flags | (equal ? FLAG_ZF : 0));
    EMU_NEXT;
}

static EMU_OP(op_cmpxchg16b)
{
    uint64_t linear = emu_ea(cpu, insn, 16, true), old[2], new[2] = {cpu->gpr[RBX], cpu->gpr[RCX]};
    if (linear & 15)
        emu_raise_error(cpu, insn, EXC_GP, 0);
    emu_probe_write(cpu, insn, linear, 16);
    emu_load_vec(cpu, insn, linear, old, 16);
    bool equal = old[0] == cpu->gpr[RAX] && old[1] == cpu->gpr[RDX];
    emu_store_vec(cpu, insn, linear, equal ? new : old, 16);
    if (!equal) {
        cpu->gpr[RAX] = old[0];
        cpu->gpr[RDX] = old[1];
    }
    uint32_t flags = emu_status_flags(cpu) & ~FLAG_ZF;
    emu_set_status_flags(cpu, flags | (equal ? FLAG_ZF : 0));
    EMU_NEXT_UNCHAINED;
}
static const struct emu_forms cmpxchg8b = {.m = {NULL, op_cmpxchg8b, op_cmpxchg8b, op_cmpxchg16b}};

/* BSWAP of 16 bits is undefined; processors at hand clear the register's low half. */
static EMU_OP(op_bswap_w)
{
    emu_set_w(cpu, insn->rm, 0);
    EMU_NEXT;
}

static EMU_OP(op_bswap_d)
{
    emu_set_d(cpu, insn->rm, __builtin_bswap32((uint32_t)cpu->gpr[insn->src]));
    EMU_NEXT;
}

static EMU_OP(op_bswap_q)
{
    cpu->gpr[insn->rm] = __builtin_bswap64(cpu->gpr[insn->src]);
    EMU_NEXT;
}
static const struct emu_forms bswap = {.r = {NULL, op_bswap_w, op_bswap_d, op_bswap_q}};

EMU_LOAD_OP(op_movbe_gw_m, w, emu_set_w(cpu, insn->reg, __builtin_bswap16(value)))
EMU_LOAD_OP(op_movbe_gd_m, d, emu_set_d(cpu, insn->reg, __builtin_bswap32(value)))
EMU_LOAD_OP(op_movbe_gq_m, q, emu_set_q(cpu, insn->reg, __builtin_bswap64(value)))
EMU_STORE_OP(op_movbe_m_gw, w, value = __builtin_bswap16(emu_get_w(cpu, insn->reg)))
EMU_STORE_OP(op_movbe_m_gd, d, value = __builtin_bswap32(emu_get_d(cpu, insn->reg)))
EMU_STORE_OP(op_movbe_m_gq, q, value = __builtin_bswap64(emu_get_q(cpu, insn->reg)))
static const struct emu_forms movbe_g_m = {
    .m = {NULL, op_movbe_gw_m, op_movbe_gd_m, op_movbe_gq_m}};
static const struct emu_forms movbe_m_g = {
    .m = {NULL, op_movbe_m_gw, op_movbe_m_gd, op_movbe_m_gq}};

#define ALL (EMU_MODRM | EMU_PURE | EMU_LOCKABLE)
#define BYTES (EMU_BYTE_E | EMU_BYTE_G)
#define WRITES EMU_WRITES_ALL

static const struct emu_row rows[] = {
    {EMU_MAP_1, 0x86, 0, ALL | BYTES, &xchg_e_g, NULL},
    {EMU_MAP_1, 0x87, 0, ALL | EMU_SIZE_V, &xchg_e_g, NULL},
    PAUSE_ROW,
    ACC_ROW,
    {EMU_MAP_0F, 0xc0, 0, ALL | BYTES | WRITES, &xadd_e_g, NULL},
    {EMU_MAP_0F, 0xc1, 0, ALL | EMU_SIZE_V | WRITES, &xadd_e_g, NULL},
    {EMU_MAP_0F, 0xb0, 0, ALL | BYTES | WRITES, &cmpxchg_e_g, NULL},
    {EMU_MAP_0F, 0xb1, 0, ALL | EMU_SIZE_V | WRITES, &cmpxchg_e_g, NULL},
    {EMU_MAP_0F, 0xc7, EMU_REG(1) | EMU_MOD_M | EMU_W0, EMU_MODRM | EMU_SIZE_V | EMU_LOCKABLE,
     &cmpxchg8b, NULL},
    {EMU_MAP_0F, 0xc7, EMU_REG(1) | EMU_MOD_M | EMU_W1, EMU_MODRM | EMU_SIZE_V | EMU_LOCKABLE,
     &cmpxchg8b, NULL},
    {EMU_MAP_0F, 0xc8, 0, EMU_OPREG | EMU_SIZE_V | EMU_PURE | EMU_FOLDS, &bswap, NULL},
    {EMU_MAP_38, 0xf0, EMU_MOD_M | EMU_NP, EMU_MODRM | EMU_SIZE_V, &movbe_g_m, NULL},
    {EMU_MAP_38, 0xf0, EMU_MOD_M | EMU_P66, EMU_MODRM | EMU_SIZE_V, &movbe_g_m, NULL},
    {EMU_MAP_38, 0xf1, EMU_MOD_M | EMU_NP, EMU_MODRM | EMU_SIZE_V, &movbe_m_g, NULL},
    {EMU_MAP_38, 0xf1, EMU_MOD_M | EMU_P66, EMU_MODRM | EMU_SIZE_V, &movbe_m_g, NULL},
};
EMU_FAMILY(emu_family_exchange, rows);
