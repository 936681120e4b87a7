/* BT, BTS, BTR, BTC; BSF, BSR, TZCNT, LZCNT, POPCNT. */
#include "ops.h"

/* Bit strings: with a register for bit number, memory beside the operand is reached. */
#define BIT_bt(v, bit) (v)
#define BIT_bts(v, bit) ((v) | (bit))
#define BIT_btr(v, bit) ((v) & ~(bit))
#define BIT_btc(v, bit) ((v) ^ (bit))

#define BIT_APPLY(mn, s, number)                                                                   \
    do {                                                                                           \
        unsigned n_ = (unsigned)(number) % EMU_BITS_##s;                                           \
        EMU_TYPE_##s bit_ = (EMU_TYPE_##s)((EMU_TYPE_##s)1 << n_);                                 \
        emu_set_cf(cpu, value & bit_);                                                             \
        value = (EMU_TYPE_##s)BIT_##mn(value, bit_);                                               \
    } while (0)

/* The operand that the bit is in, as an address. */
#define STRING_LINEAR(s, write)                                                                    \
    bit_string_linear(cpu, insn, (EMU_SIGNED_##s)emu_get_##s(cpu, insn->reg),                      \
                      sizeof(EMU_TYPE_##s), write)

static uint64_t bit_string_linear(struct emu_cpu *cpu, const struct emu_insn *insn, int64_t number,
                                  uint32_t size_bytes, bool write)
{
    unsigned log2_bits = size_bytes == 2 ? 4 : size_bytes == 4 ? 5 : 6;
    uint64_t offset = emu_ea_sum(cpu, insn) + (uint64_t)(number >> log2_bits) * size_bytes;
    if (!insn->ea)
        return offset;
    if (!(insn->ea & EMU_EA_CHECK))
        return emu_unchecked(cpu, insn->ea, offset);
    return emu_linear_checked(cpu, insn, insn->ea & EMU_EA_SEG,
                              emu_cut_address(offset, emu_asize(insn)), size_bytes, write);
}

#define BIT_REGISTER(mn, s)                                                                        \
    static EMU_OP(op_##mn##_e##s##_g##s##_r)                                                       \
    {                                                                                              \
        EMU_TYPE_##s value = emu_get_##s(cpu, insn->rm);                                           \
        BIT_APPLY(mn, s, emu_get_##s(cpu, insn->reg));                                             \
        emu_set_##s(cpu, insn->rm, value);                                                         \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static EMU_OP(op_##mn##_e##s##_ib_r)                                                           \
    {                                                                                              \
        EMU_TYPE_##s value = emu_get_##s(cpu, insn->rm);                                           \
        BIT_APPLY(mn, s, insn->imm);                                                               \
        emu_set_##s(cpu, insn->rm, value);                                                         \
        EMU_NEXT;                                                                                  \
    }
#define BIT_CHANGE(mn, s)                                                                          \
    BIT_REGISTER(mn, s)                                                                            \
    static EMU_OP(op_##mn##_e##s##_g##s##_m)                                                       \
    {                                                                                              \
        uint64_t linear = STRING_LINEAR(s, true);                                                  \
        emu_probe_write(cpu, insn, linear, sizeof(EMU_TYPE_##s));                                  \
        EMU_TYPE_##s value = emu_load_##s(cpu, insn, linear);                                      \
        BIT_APPLY(mn, s, emu_get_##s(cpu, insn->reg));                                             \
        emu_store_##s(cpu, insn, linear, value);                                                   \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_MODIFY_OP(op_##mn##_e##s##_ib_m, s, BIT_APPLY(mn, s, insn->imm))
/* BT of a register leaves even the upper half of a 32-bit one alone. */
#define BIT_TEST(s)                                                                                \
    static EMU_OP(op_bt_e##s##_g##s##_r)                                                           \
    {                                                                                              \
        EMU_TYPE_##s value = emu_get_##s(cpu, insn->rm);                                           \
        BIT_APPLY(bt, s, emu_get_##s(cpu, insn->reg));                                             \
        (void)value;                                                                               \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static EMU_OP(op_bt_e##s##_ib_r)                                                               \
    {                                                                                              \
        EMU_TYPE_##s value = emu_get_##s(cpu, insn->rm);                                           \
        BIT_APPLY(bt, s, insn->imm);                                                               \
        (void)value;                                                                               \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static EMU_OP(op_bt_e##s##_g##s##_m)                                                           \
    {                                                                                              \
        EMU_TYPE_##s value = emu_load_##s(cpu, insn, STRING_LINEAR(s, false));                     \
        BIT_APPLY(bt, s, emu_get_##s(cpu, insn->reg));                                             \
        (void)value;                                                                               \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_LOAD_OP(op_bt_e##s##_ib_m, s, BIT_APPLY(bt, s, insn->imm))
EMU_WIDE_SIZES(BIT_TEST)

#define BIT_CHANGES(mn)                                                                            \
    BIT_CHANGE(mn, w)                                                                              \
    BIT_CHANGE(mn, d)                                                                              \
    BIT_CHANGE(mn, q)
BIT_CHANGES(bts)
BIT_CHANGES(btr)
BIT_CHANGES(btc)

#define BIT_FORMS(mn)                                                                              \
    static const struct emu_forms mn##_e_g =                                                       \
        EMU_FORMS(NULL, op_##mn##_ew_gw_r, op_##mn##_ed_gd_r, op_##mn##_eq_gq_r, NULL,             \
                  op_##mn##_ew_gw_m, op_##mn##_ed_gd_m, op_##mn##_eq_gq_m);                        \
    static const struct emu_forms mn##_e_i =                                                       \
        EMU_FORMS(NULL, op_##mn##_ew_ib_r, op_##mn##_ed_ib_r, op_##mn##_eq_ib_r, NULL,             \
                  op_##mn##_ew_ib_m, op_##mn##_ed_ib_m, op_##mn##_eq_ib_m);
BIT_FORMS(bt)
BIT_FORMS(bts)
BIT_FORMS(btr)
BIT_FORMS(btc)

/* Scans. BSF and BSR of 0 set ZF and leave the target alone (AMD APM says so, and Intel's
 * processors do it); for 32 bits that includes its upper half. */
static inline void scan_flags(struct emu_cpu *cpu, bool zero)
{
    uint32_t flags = emu_status_flags(cpu) & ~(uint32_t)FLAG_ZF;
    emu_set_status_flags(cpu, flags | (zero ? FLAG_ZF : 0));
}

static inline void count_flags(struct emu_cpu *cpu, bool cf, bool zf)
{
    emu_set_status_flags(cpu, (cf ? FLAG_CF : 0) | (zf ? FLAG_ZF : 0));
}

#define SCAN_bsf(s, v) (unsigned)__builtin_ctzll(v)
#define SCAN_bsr(s, v) (63 - (unsigned)__builtin_clzll(v))
#define SCAN_BODY(mn, s)                                                                           \
    do {                                                                                           \
        scan_flags(cpu, !value);                                                                   \
        if (value)                                                                                 \
            emu_set_##s(cpu, insn->reg, (EMU_TYPE_##s)SCAN_##mn(s, value));                        \
    } while (0)
#define COUNT_tzcnt(s, v) ((v) ? (unsigned)__builtin_ctzll(v) : EMU_BITS_##s)
#define COUNT_lzcnt(s, v)                                                                          \
    ((v) ? (unsigned)__builtin_clzll(v) - (64 - EMU_BITS_##s) : (unsigned)EMU_BITS_##s)
#define COUNT_BODY(mn, s)                                                                          \
    do {                                                                                           \
        unsigned count_ = COUNT_##mn(s, value);                                                    \
        count_flags(cpu, !value, !count_);                                                         \
        emu_set_##s(cpu, insn->reg, (EMU_TYPE_##s)count_);                                         \
    } while (0)
#define POPCNT_BODY(mn, s)                                                                         \
    do {                                                                                           \
        count_flags(cpu, false, !value);                                                           \
        emu_set_##s(cpu, insn->reg, (EMU_TYPE_##s)__builtin_popcountll(value));                    \
    } while (0)

#define SCAN_SIZE(mn, s, BODY)                                                                     \
    static EMU_OP(op_##mn##_g##s##_e##s##_r)                                                       \
    {                                                                                              \
        EMU_TYPE_##s value = emu_get_##s(cpu, insn->rm);                                           \
        BODY(mn, s);                                                                               \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_LOAD_OP(op_##mn##_g##s##_e##s##_m, s, BODY(mn, s))
#define SCAN_DEFINE(mn, BODY)                                                                      \
    SCAN_SIZE(mn, w, BODY)                                                                         \
    SCAN_SIZE(mn, d, BODY)                                                                         \
    SCAN_SIZE(mn, q, BODY)                                                                         \
    static const struct emu_forms mn##_g_e =                                                       \
        EMU_FORMS(NULL, op_##mn##_gw_ew_r, op_##mn##_gd_ed_r, op_##mn##_gq_eq_r, NULL,             \
                  op_##mn##_gw_ew_m, op_##mn##_gd_ed_m, op_##mn##_gq_eq_m);
SCAN_DEFINE(bsf, SCAN_BODY)
SCAN_DEFINE(bsr, SCAN_BODY)
SCAN_DEFINE(tzcnt, COUNT_BODY)
SCAN_DEFINE(lzcnt, COUNT_BODY)
SCAN_DEFINE(popcnt, POPCNT_BODY)

#define SHAPE (EMU_MODRM | EMU_SIZE_V | EMU_PURE | EMU_READS_ALL)
#define BIT_ROWS(opcode, digit, mn, lock)                                                          \
    {EMU_MAP_0F, opcode, 0, SHAPE | (lock), &mn##_e_g, NULL},                                      \
    {                                                                                              \
        EMU_MAP_0F, 0xba, EMU_REG(digit), SHAPE | EMU_IMM_U8 | (lock), &mn##_e_i, NULL             \
    }
#define SCAN_ROW(opcode, match, shape, mn)                                                         \
    {EMU_MAP_0F, opcode, match, EMU_MODRM | EMU_SIZE_V | EMU_PURE | (shape), &mn##_g_e, NULL}

static const struct emu_row rows[] = {
    BIT_ROWS(0xa3, 4, bt, 0),
    BIT_ROWS(0xab, 5, bts, EMU_LOCKABLE),
    BIT_ROWS(0xb3, 6, btr, EMU_LOCKABLE),
    BIT_ROWS(0xbb, 7, btc, EMU_LOCKABLE),
    SCAN_ROW(0xbc, EMU_PF3, EMU_WRITES_ALL, tzcnt),
    SCAN_ROW(0xbc, 0, EMU_READS_ALL, bsf),
    SCAN_ROW(0xbd, EMU_PF3, EMU_WRITES_ALL, lzcnt),
    SCAN_ROW(0xbd, 0, EMU_READS_ALL, bsr),
    SCAN_ROW(0xb8, EMU_PF3, EMU_WRITES_ALL, popcnt),
};
EMU_FAMILY(emu_family_bit, rows);
