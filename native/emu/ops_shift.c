/* SHL, SHR, SAR, ROL, ROR, RCL, RCR, SHLD, SHRD.
 *
 * A count of 0 leaves the flags alone. OF is defined for counts of 1 only; beyond, it is
 * what the same formula gives, as on the processors at hand. */
#include "ops.h"

/* A shift by `count`, 1 .. 63 and less than 32 for operands below 64 bits. */
#define SHIFT_FUNCTIONS(s)                                                                         \
    static inline EMU_TYPE_##s shift_shl_##s(struct emu_cpu *cpu, EMU_TYPE_##s a, unsigned count,  \
                                             bool quiet)                                           \
    {                                                                                              \
        uint64_t before = count - 1 < EMU_BITS_##s ? (uint64_t)a << (count - 1) : 0;               \
        EMU_TYPE_##s r = (EMU_TYPE_##s)(before << 1);                                              \
        bool cf = before >> (EMU_BITS_##s - 1) & 1;                                                \
        if (!quiet)                                                                                \
            emu_flags_result(cpu, (EMU_SIGNED_##s)r,                                               \
                             emu_carry_of(cf, ((EMU_SIGNED_##s)r < 0) ^ cf));                      \
        return r;                                                                                  \
    }                                                                                              \
    static inline EMU_TYPE_##s shift_shr_##s(struct emu_cpu *cpu, EMU_TYPE_##s a, unsigned count,  \
                                             bool quiet)                                           \
    {                                                                                              \
        uint64_t before = (uint64_t)a >> (count - 1);                                              \
        EMU_TYPE_##s r = (EMU_TYPE_##s)(before >> 1);                                              \
        if (!quiet)                                                                                \
            emu_flags_result(cpu, (EMU_SIGNED_##s)r,                                               \
                             emu_carry_of(before & 1, (EMU_SIGNED_##s)a < 0));                     \
        return r;                                                                                  \
    }                                                                                              \
    static inline EMU_TYPE_##s shift_sar_##s(struct emu_cpu *cpu, EMU_TYPE_##s a, unsigned count,  \
                                             bool quiet)                                           \
    {                                                                                              \
        int64_t before = (int64_t)(EMU_SIGNED_##s)a >> (count - 1);                                \
        EMU_TYPE_##s r = (EMU_TYPE_##s)(before >> 1);                                              \
        if (!quiet)                                                                                \
            emu_flags_result(cpu, (EMU_SIGNED_##s)r, emu_carry_of(before & 1, false));             \
        return r;                                                                                  \
    }                                                                                              \
    static inline EMU_TYPE_##s shift_rol_##s(struct emu_cpu *cpu, EMU_TYPE_##s a, unsigned count,  \
                                             bool quiet)                                           \
    {                                                                                              \
        unsigned n = count % EMU_BITS_##s;                                                         \
        EMU_TYPE_##s r =                                                                           \
            n ? (EMU_TYPE_##s)((uint64_t)a << n | (uint64_t)a >> (EMU_BITS_##s - n)) : a;          \
        if (!quiet)                                                                                \
            emu_set_cf_of(cpu, r & 1, (r & 1) ^ (r >> (EMU_BITS_##s - 1)));                        \
        return r;                                                                                  \
    }                                                                                              \
    static inline EMU_TYPE_##s shift_ror_##s(struct emu_cpu *cpu, EMU_TYPE_##s a, unsigned count,  \
                                             bool quiet)                                           \
    {                                                                                              \
        unsigned n = count % EMU_BITS_##s;                                                         \
        EMU_TYPE_##s r =                                                                           \
            n ? (EMU_TYPE_##s)((uint64_t)a >> n | (uint64_t)a << (EMU_BITS_##s - n)) : a;          \
        bool cf = r >> (EMU_BITS_##s - 1) & 1;                                                     \
        if (!quiet)                                                                                \
            emu_set_cf_of(cpu, cf, cf ^ (r >> (EMU_BITS_##s - 2) & 1));                            \
        return r;                                                                                  \
    }                                                                                              \
    static inline EMU_TYPE_##s shift_rcl_##s(struct emu_cpu *cpu, EMU_TYPE_##s a, unsigned count,  \
                                             bool quiet)                                           \
    {                                                                                              \
        bool cf = emu_cf(cpu);                                                                     \
        (void)quiet;                                                                               \
        for (unsigned n = count % (EMU_BITS_##s + 1); n > 0; n--) {                                \
            bool out = a >> (EMU_BITS_##s - 1) & 1;                                                \
            a = (EMU_TYPE_##s)((uint64_t)a << 1 | cf);                                             \
            cf = out;                                                                              \
        }                                                                                          \
        emu_set_cf_of(cpu, cf, cf ^ (a >> (EMU_BITS_##s - 1) & 1));                                \
        return a;                                                                                  \
    }                                                                                              \
    static inline EMU_TYPE_##s shift_rcr_##s(struct emu_cpu *cpu, EMU_TYPE_##s a, unsigned count,  \
                                             bool quiet)                                           \
    {                                                                                              \
        bool cf = emu_cf(cpu);                                                                     \
        (void)quiet;                                                                               \
        for (unsigned n = count % (EMU_BITS_##s + 1); n > 0; n--) {                                \
            bool out = a & 1;                                                                      \
            a = (EMU_TYPE_##s)(a >> 1 | (uint64_t)cf << (EMU_BITS_##s - 1));                       \
            cf = out;                                                                              \
        }                                                                                          \
        emu_set_cf_of(cpu, cf, (a >> (EMU_BITS_##s - 1) ^ a >> (EMU_BITS_##s - 2)) & 1);           \
        return a;                                                                                  \
    }
EMU_ALL_SIZES(SHIFT_FUNCTIONS)

#define COUNT_MASK_b 31
#define COUNT_MASK_w 31
#define COUNT_MASK_d 31
#define COUNT_MASK_q 63
#define COUNT_imm(s) ((unsigned)insn->imm & COUNT_MASK_##s)
#define COUNT_cl(s) ((unsigned)cpu->gpr[RCX] & COUNT_MASK_##s)

/* A 32-bit register is written, and so its upper half cleared, by a count of 0 too. */
#define SHIFT_HANDLERS(mn, fn, s, by, quiet)                                                       \
    static EMU_OP(op_##mn##_e##s##_##by##_r)                                                       \
    {                                                                                              \
        unsigned count = COUNT_##by(s);                                                            \
        EMU_TYPE_##s value = emu_get_##s(cpu, insn->src);                                          \
        emu_set_##s(cpu, insn->rm, count ? fn##_##s(cpu, value, count, quiet) : value);            \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_MODIFY_OP(op_##mn##_e##s##_##by##_m, s, {                                                  \
        unsigned count = COUNT_##by(s);                                                            \
        if (count)                                                                                 \
            value = fn##_##s(cpu, value, count, quiet);                                            \
    })
#define SHIFT_SIZE(mn, s)                                                                          \
    SHIFT_HANDLERS(mn, shift_##mn, s, imm, false)                                                  \
    SHIFT_HANDLERS(mn, shift_##mn, s, cl, false)                                                   \
    SHIFT_HANDLERS(mn##_quiet, shift_##mn, s, imm, true)
#define SHIFT_FORMS(mn, by)                                                                        \
    static const struct emu_forms mn##_e_##by =                                                    \
        EMU_FORMS(op_##mn##_eb_##by##_r, op_##mn##_ew_##by##_r, op_##mn##_ed_##by##_r,             \
                  op_##mn##_eq_##by##_r, op_##mn##_eb_##by##_m, op_##mn##_ew_##by##_m,             \
                  op_##mn##_ed_##by##_m, op_##mn##_eq_##by##_m);
#define SHIFT_DEFINE(mn)                                                                           \
    SHIFT_SIZE(mn, b)                                                                              \
    SHIFT_SIZE(mn, w)                                                                              \
    SHIFT_SIZE(mn, d)                                                                              \
    SHIFT_SIZE(mn, q)                                                                              \
    SHIFT_FORMS(mn, imm)                                                                           \
    SHIFT_FORMS(mn, cl)                                                                            \
    SHIFT_FORMS(mn##_quiet, imm)
SHIFT_DEFINE(shl)
SHIFT_DEFINE(shr)
SHIFT_DEFINE(sar)
SHIFT_DEFINE(rol)
SHIFT_DEFINE(ror)
SHIFT_DEFINE(rcl)
SHIFT_DEFINE(rcr)

/* SHLD and SHRD: counts above 16 bits of a 16-bit operand are undefined; as on the
 * processors at hand, the operand then shifts through dest:src:dest. */
static inline uint16_t double_shld_w(uint16_t a, uint16_t b, unsigned count, bool *cf)
{
    uint64_t all = (uint64_t)a << 32 | (uint64_t)b << 16 | a;
    *cf = all >> (48 - count) & 1;
    return (uint16_t)(all << count >> 32);
}

static inline uint16_t double_shrd_w(uint16_t a, uint16_t b, unsigned count, bool *cf)
{
    uint64_t all = (uint64_t)a << 32 | (uint64_t)b << 16 | a;
    *cf = all >> (count - 1) & 1;
    return (uint16_t)(all >> count);
}

#define DOUBLE_FUNCTIONS(s)                                                                        \
    static inline EMU_TYPE_##s double_shld_##s(EMU_TYPE_##s a, EMU_TYPE_##s b, unsigned count,     \
                                               bool *cf)                                           \
    {                                                                                              \
        *cf = a >> (EMU_BITS_##s - count) & 1;                                                     \
        return a << count | b >> (EMU_BITS_##s - count);                                           \
    }                                                                                              \
    static inline EMU_TYPE_##s double_shrd_##s(EMU_TYPE_##s a, EMU_TYPE_##s b, unsigned count,     \
                                               bool *cf)                                           \
    {                                                                                              \
        *cf = a >> (count - 1) & 1;                                                                \
        return a >> count | b << (EMU_BITS_##s - count);                                           \
    }
DOUBLE_FUNCTIONS(d)
DOUBLE_FUNCTIONS(q)

#define DOUBLE_SHIFT(mn, s)                                                                        \
    static inline EMU_TYPE_##s shift_##mn##_##s(struct emu_cpu *cpu, EMU_TYPE_##s a,               \
                                                EMU_TYPE_##s b, unsigned count)                    \
    {                                                                                              \
        bool cf;                                                                                   \
        if (!count)                                                                                \
            return a;                                                                              \
        EMU_TYPE_##s r = double_##mn##_##s(a, b, count, &cf);                                      \
        bool of = (a ^ r) >> (EMU_BITS_##s - 1) & 1;                                               \
        emu_flags_result(cpu, (EMU_SIGNED_##s)r, emu_carry_of(cf, of));                            \
        return r;                                                                                  \
    }                                                                                              \
    DOUBLE_HANDLERS(mn, s, imm)                                                                    \
    DOUBLE_HANDLERS(mn, s, cl)
#define DOUBLE_HANDLERS(mn, s, by)                                                                 \
    static EMU_OP(op_##mn##_e##s##_g##s##_##by##_r)                                                \
    {                                                                                              \
        emu_set_##s(cpu, insn->rm,                                                                 \
                    shift_##mn##_##s(cpu, emu_get_##s(cpu, insn->rm), emu_get_##s(cpu, insn->reg), \
                                     COUNT_##by(s)));                                              \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_MODIFY_OP(op_##mn##_e##s##_g##s##_##by##_m, s,                                             \
                  value =                                                                          \
                      shift_##mn##_##s(cpu, value, emu_get_##s(cpu, insn->reg), COUNT_##by(s)))
#define DOUBLE_FORMS(mn, by)                                                                       \
    static const struct emu_forms mn##_e_g_##by = EMU_FORMS(                                       \
        NULL, op_##mn##_ew_gw_##by##_r, op_##mn##_ed_gd_##by##_r, op_##mn##_eq_gq_##by##_r, NULL,  \
        op_##mn##_ew_gw_##by##_m, op_##mn##_ed_gd_##by##_m, op_##mn##_eq_gq_##by##_m);
#define DOUBLE_DEFINE(mn)                                                                          \
    DOUBLE_SHIFT(mn, w)                                                                            \
    DOUBLE_SHIFT(mn, d)                                                                            \
    DOUBLE_SHIFT(mn, q)                                                                            \
    DOUBLE_FORMS(mn, imm)                                                                          \
    DOUBLE_FORMS(mn, cl)
DOUBLE_DEFINE(shld)
DOUBLE_DEFINE(shrd)

/* Group 2. D0 and D1 shift by one: the decoder's immediate is 0 there, so they have
 * handlers of their own. */
#define ONE_HANDLERS(mn, s)                                                                        \
    static EMU_OP(op_##mn##_e##s##_one_r)                                                          \
    {                                                                                              \
        emu_set_##s(cpu, insn->rm, shift_##mn##_##s(cpu, emu_get_##s(cpu, insn->src), 1, false));  \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_MODIFY_OP(op_##mn##_e##s##_one_m, s, value = shift_##mn##_##s(cpu, value, 1, false))
#define ONE_DEFINE(mn)                                                                             \
    ONE_HANDLERS(mn, b)                                                                            \
    ONE_HANDLERS(mn, w)                                                                            \
    ONE_HANDLERS(mn, d)                                                                            \
    ONE_HANDLERS(mn, q)                                                                            \
    SHIFT_FORMS(mn, one)
ONE_DEFINE(shl)
ONE_DEFINE(shr)
ONE_DEFINE(sar)
ONE_DEFINE(rol)
ONE_DEFINE(ror)
ONE_DEFINE(rcl)
ONE_DEFINE(rcr)

/* Only SHL, SHR and SAR write all flags; rotates leave most, and RCL and RCR read CF. */
#define SHIFT_ROWS(digit, mn, attr, once)                                                           \
    {EMU_MAP_1,      0xc0,                                                                          \
     EMU_REG(digit), EMU_MODRM | EMU_BYTE_E | EMU_IMM_U8 | EMU_PURE | (attr) | EMU_COUNT_NOT_0,     \
     &mn##_e_imm,    &mn##_quiet_e_imm},                                                            \
        {EMU_MAP_1,                                                                                 \
         0xc1,                                                                                      \
         EMU_REG(digit),                                                                            \
         EMU_MODRM | EMU_SIZE_V | EMU_IMM_U8 | EMU_PURE | EMU_FOLDS | (attr) | EMU_COUNT_NOT_0,     \
         &mn##_e_imm,                                                                               \
         &mn##_quiet_e_imm},                                                                        \
        {EMU_MAP_1,   0xd0, EMU_REG(digit), EMU_MODRM | EMU_BYTE_E | EMU_PURE | (once),             \
         &mn##_e_one, NULL},                                                                        \
        {EMU_MAP_1,   0xd1, EMU_REG(digit), EMU_MODRM | EMU_SIZE_V | EMU_PURE | EMU_FOLDS | (once), \
         &mn##_e_one, NULL},                                                                        \
        {EMU_MAP_1,  0xd2, EMU_REG(digit), EMU_MODRM | EMU_BYTE_E | EMU_PURE | EMU_READS_ALL,       \
         &mn##_e_cl, NULL},                                                                         \
    {                                                                                               \
        EMU_MAP_1, 0xd3, EMU_REG(digit), EMU_MODRM | EMU_SIZE_V | EMU_PURE | EMU_READS_ALL,         \
            &mn##_e_cl, NULL                                                                        \
    }

#define WRITES EMU_WRITES_ALL
#define ROTATES EMU_READS_ALL
#define DOUBLE_ROW(opcode, shape, mn, by)                                                          \
    {EMU_MAP_0F,     opcode, 0, EMU_MODRM | EMU_SIZE_V | EMU_PURE | EMU_READS_ALL | (shape),       \
     &mn##_e_g_##by, NULL}

static const struct emu_row rows[] = {
    SHIFT_ROWS(0, rol, ROTATES, ROTATES),    SHIFT_ROWS(1, ror, ROTATES, ROTATES),
    SHIFT_ROWS(2, rcl, ROTATES, ROTATES),    SHIFT_ROWS(3, rcr, ROTATES, ROTATES),
    SHIFT_ROWS(4, shl, WRITES, WRITES),      SHIFT_ROWS(5, shr, WRITES, WRITES),
    SHIFT_ROWS(6, shl, WRITES, WRITES),      SHIFT_ROWS(7, sar, WRITES, WRITES),
    DOUBLE_ROW(0xa4, EMU_IMM_U8, shld, imm), DOUBLE_ROW(0xa5, 0, shld, cl),
    DOUBLE_ROW(0xac, EMU_IMM_U8, shrd, imm), DOUBLE_ROW(0xad, 0, shrd, cl),
};
EMU_FAMILY(emu_family_shift, rows);
