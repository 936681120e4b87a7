/* MUL, IMUL, DIV, IDIV. */
#include "ops.h"

#if !defined(__SIZEOF_INT128__)
#error "128-bit integers are needed: any 64-bit gcc or clang has them"
#endif
__extension__ typedef unsigned __int128 uint128;
__extension__ typedef __int128 int128;

#define DOUBLE_b uint16_t
#define DOUBLE_w uint32_t
#define DOUBLE_d uint64_t
#define DOUBLE_q uint128
#define SIGNED_DOUBLE_b int16_t
#define SIGNED_DOUBLE_w int32_t
#define SIGNED_DOUBLE_d int64_t
#define SIGNED_DOUBLE_q int128

/* CF and OF say that the upper half matters; the others, undefined, follow the lower. */
static inline void multiply_flags(struct emu_cpu *cpu, int64_t low, bool overflow)
{
    emu_flags_result(cpu, low, emu_carry_of(overflow, overflow));
}

/* The double-width accumulator: AX, or DX:AX and its wider kin. */
static inline uint16_t get_double_b(const struct emu_cpu *cpu)
{
    return (uint16_t)cpu->gpr[RAX];
}

static inline void set_double_b(struct emu_cpu *cpu, uint16_t value)
{
    emu_set_w(cpu, RAX, value);
}

static inline void set_quotient_b(struct emu_cpu *cpu, uint8_t quotient, uint8_t remainder)
{
    emu_set_w(cpu, RAX, (uint16_t)(quotient | remainder << 8));
}

#define ACCUMULATOR(s)                                                                             \
    static inline DOUBLE_##s get_double_##s(const struct emu_cpu *cpu)                             \
    {                                                                                              \
        return (DOUBLE_##s)((DOUBLE_##s)emu_get_##s(cpu, RDX) << EMU_BITS_##s |                    \
                            emu_get_##s(cpu, RAX));                                                \
    }                                                                                              \
    static inline void set_double_##s(struct emu_cpu *cpu, DOUBLE_##s value)                       \
    {                                                                                              \
        emu_set_##s(cpu, RAX, (EMU_TYPE_##s)value);                                                \
        emu_set_##s(cpu, RDX, (EMU_TYPE_##s)(value >> EMU_BITS_##s));                              \
    }                                                                                              \
    static inline void set_quotient_##s(struct emu_cpu *cpu, EMU_TYPE_##s quotient,                \
                                        EMU_TYPE_##s remainder)                                    \
    {                                                                                              \
        emu_set_##s(cpu, RAX, quotient);                                                           \
        emu_set_##s(cpu, RDX, remainder);                                                          \
    }
EMU_WIDE_SIZES(ACCUMULATOR)

#define MULDIV_FUNCTIONS(s)                                                                        \
    static inline void muldiv_mul_##s(struct emu_cpu *cpu, const struct emu_insn *insn,            \
                                      EMU_TYPE_##s b)                                              \
    {                                                                                              \
        DOUBLE_##s product = (DOUBLE_##s)((DOUBLE_##s)emu_get_##s(cpu, RAX) * b);                  \
        (void)insn;                                                                                \
        set_double_##s(cpu, product);                                                              \
        multiply_flags(cpu, (EMU_SIGNED_##s)product, product >> EMU_BITS_##s);                     \
    }                                                                                              \
    static inline void muldiv_imul_##s(struct emu_cpu *cpu, const struct emu_insn *insn,           \
                                       EMU_TYPE_##s b)                                             \
    {                                                                                              \
        SIGNED_DOUBLE_##s product = (SIGNED_DOUBLE_##s)(                                           \
            (SIGNED_DOUBLE_##s)(EMU_SIGNED_##s)emu_get_##s(cpu, RAX) * (EMU_SIGNED_##s)b);         \
        (void)insn;                                                                                \
        set_double_##s(cpu, (DOUBLE_##s)product);                                                  \
        multiply_flags(cpu, (EMU_SIGNED_##s)product, product != (EMU_SIGNED_##s)product);          \
    }                                                                                              \
    static inline void muldiv_div_##s(struct emu_cpu *cpu, const struct emu_insn *insn,            \
                                      EMU_TYPE_##s b)                                              \
    {                                                                                              \
        DOUBLE_##s a = get_double_##s(cpu);                                                        \
        if (b == 0 || (a >> EMU_BITS_##s) >= b)                                                    \
            emu_raise(cpu, insn, EXC_DE);                                                          \
        set_quotient_##s(cpu, (EMU_TYPE_##s)(a / b), (EMU_TYPE_##s)(a % b));                       \
    }                                                                                              \
    static inline void muldiv_idiv_##s(struct emu_cpu *cpu, const struct emu_insn *insn,           \
                                       EMU_TYPE_##s b)                                             \
    {                                                                                              \
        SIGNED_DOUBLE_##s a = (SIGNED_DOUBLE_##s)get_double_##s(cpu);                              \
        EMU_SIGNED_##s divisor = (EMU_SIGNED_##s)b;                                                \
        SIGNED_DOUBLE_##s least = (SIGNED_DOUBLE_##s)((DOUBLE_##s)1 << (2 * EMU_BITS_##s - 1));    \
        if (divisor == 0 || (divisor == -1 && a == least))                                         \
            emu_raise(cpu, insn, EXC_DE);                                                          \
        SIGNED_DOUBLE_##s quotient = (SIGNED_DOUBLE_##s)(a / divisor);                             \
        if (quotient != (EMU_SIGNED_##s)quotient)                                                  \
            emu_raise(cpu, insn, EXC_DE);                                                          \
        set_quotient_##s(cpu, (EMU_TYPE_##s)quotient, (EMU_TYPE_##s)(a % divisor));                \
    }
EMU_ALL_SIZES(MULDIV_FUNCTIONS)

#define MULDIV_HANDLERS(mn, s)                                                                     \
    static EMU_OP(op_##mn##_e##s##_r)                                                              \
    {                                                                                              \
        muldiv_##mn##_##s(cpu, insn, emu_get_##s(cpu, insn->rm));                                  \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_LOAD_OP(op_##mn##_e##s##_m, s, muldiv_##mn##_##s(cpu, insn, value))
#define MULDIV_DEFINE(mn)                                                                          \
    MULDIV_HANDLERS(mn, b)                                                                         \
    MULDIV_HANDLERS(mn, w)                                                                         \
    MULDIV_HANDLERS(mn, d)                                                                         \
    MULDIV_HANDLERS(mn, q)                                                                         \
    static const struct emu_forms mn##_e =                                                         \
        EMU_FORMS(op_##mn##_eb_r, op_##mn##_ew_r, op_##mn##_ed_r, op_##mn##_eq_r, op_##mn##_eb_m,  \
                  op_##mn##_ew_m, op_##mn##_ed_m, op_##mn##_eq_m);
MULDIV_DEFINE(mul)
MULDIV_DEFINE(imul)
MULDIV_DEFINE(div)
MULDIV_DEFINE(idiv)

/* IMUL with a target: its lower half alone. */
#define IMUL_FUNCTION(s)                                                                           \
    static inline EMU_TYPE_##s imul_##s(struct emu_cpu *cpu, EMU_TYPE_##s a, EMU_TYPE_##s b)       \
    {                                                                                              \
        SIGNED_DOUBLE_##s product =                                                                \
            (SIGNED_DOUBLE_##s)((SIGNED_DOUBLE_##s)(EMU_SIGNED_##s)a * (EMU_SIGNED_##s)b);         \
        multiply_flags(cpu, (EMU_SIGNED_##s)product, product != (EMU_SIGNED_##s)product);          \
        return (EMU_TYPE_##s)product;                                                              \
    }                                                                                              \
    static EMU_OP(op_imul_g##s##_e##s##_r)                                                         \
    {                                                                                              \
        emu_set_##s(cpu, insn->reg,                                                                \
                    imul_##s(cpu, emu_get_##s(cpu, insn->reg), emu_get_##s(cpu, insn->rm)));       \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_LOAD_OP(op_imul_g##s##_e##s##_m, s,                                                        \
                emu_set_##s(cpu, insn->reg, imul_##s(cpu, emu_get_##s(cpu, insn->reg), value)))    \
    static EMU_OP(op_imul_g##s##_e##s##_i_r)                                                       \
    {                                                                                              \
        emu_set_##s(cpu, insn->reg,                                                                \
                    imul_##s(cpu, emu_get_##s(cpu, insn->rm), (EMU_TYPE_##s)insn->imm));           \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_LOAD_OP(op_imul_g##s##_e##s##_i_m, s,                                                      \
                emu_set_##s(cpu, insn->reg, imul_##s(cpu, value, (EMU_TYPE_##s)insn->imm)))
EMU_WIDE_SIZES(IMUL_FUNCTION)
static const struct emu_forms imul_g_e =
    EMU_FORMS(NULL, op_imul_gw_ew_r, op_imul_gd_ed_r, op_imul_gq_eq_r, NULL, op_imul_gw_ew_m,
              op_imul_gd_ed_m, op_imul_gq_eq_m);
static const struct emu_forms imul_g_e_i =
    EMU_FORMS(NULL, op_imul_gw_ew_i_r, op_imul_gd_ed_i_r, op_imul_gq_eq_i_r, NULL,
              op_imul_gw_ew_i_m, op_imul_gd_ed_i_m, op_imul_gq_eq_i_m);

#define GROUP3(digit, mn, attr)                                                                    \
    {EMU_MAP_1, 0xf6, EMU_REG(digit), EMU_MODRM | EMU_BYTE_E | (attr), &mn##_e, NULL},             \
    {                                                                                              \
        EMU_MAP_1, 0xf7, EMU_REG(digit), EMU_MODRM | EMU_SIZE_V | (attr), &mn##_e, NULL            \
    }
#define MULTIPLIES (EMU_PURE | EMU_WRITES_ALL)

static const struct emu_row rows[] = {
    GROUP3(4, mul, MULTIPLIES),
    GROUP3(5, imul, MULTIPLIES),
    GROUP3(6, div, 0),
    GROUP3(7, idiv, 0),
    {EMU_MAP_0F, 0xaf, 0, EMU_MODRM | EMU_SIZE_V | MULTIPLIES, &imul_g_e, NULL},
    {EMU_MAP_1, 0x69, 0, EMU_MODRM | EMU_SIZE_V | EMU_IMM_Z | MULTIPLIES, &imul_g_e_i, NULL},
    {EMU_MAP_1, 0x6b, 0, EMU_MODRM | EMU_SIZE_V | EMU_IMM_8 | MULTIPLIES, &imul_g_e_i, NULL},
};
EMU_FAMILY(emu_family_muldiv, rows);
