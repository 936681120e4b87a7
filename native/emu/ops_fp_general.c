/* Conversions between vector and general registers. Intel SDM vol. 2A, CVTSI2SD, CVTSD2SI,
 * CVTTSD2SI and their like. In names: d and q are the integer's size. */
#include "fp_host.h"

/* A general register or memory operand to the lowest element. */
static void from_int(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned bits, bool vex,
                     int64_t value)
{
    struct emu_soft soft;
    emu_soft_begin(&soft, emu_mxcsr(cpu));
    uint64_t result = emu_soft_from_int(&soft, bits, value);
    emu_fp_finish(cpu, insn, &soft);
    if (vex) {
        cpu->vec[insn->reg].lane[0] = cpu->vec[insn->src].lane[0];
        cpu->vec[insn->reg].lane[1] = (emu_lane){0};
    }
    emu_set_element(&cpu->vec[insn->reg], bits, 0, result);
}

#define EXACT_FROM_INT(name, bits, vex, s)                                                         \
    static EMU_OP(name##_exact_##s##_r)                                                            \
    {                                                                                              \
        from_int(cpu, insn, bits, vex, (EMU_SIGNED_##s)emu_get_##s(cpu, insn->rm));                \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static EMU_OP(name##_exact_##s##_m)                                                            \
    {                                                                                              \
        uint64_t linear = emu_ea(cpu, insn, sizeof(EMU_TYPE_##s), false);                          \
        from_int(cpu, insn, bits, vex, (EMU_SIGNED_##s)emu_load_##s(cpu, insn, linear));           \
        EMU_NEXT;                                                                                  \
    }

/* The lowest element to a general register. */
static void to_int(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned bits,
                   unsigned int_bits, bool truncates, uint64_t element)
{
    struct emu_soft soft;
    emu_soft_begin(&soft, emu_mxcsr(cpu));
    enum emu_rounding rounding = truncates ? EMU_ROUND_ZERO : emu_soft_rounding(&soft);
    uint64_t result = emu_soft_to_int(&soft, bits, int_bits, element, rounding);
    emu_fp_finish(cpu, insn, &soft);
    cpu->gpr[insn->reg] = result;
}

#define EXACT_TO_INT(name, from, truncates, s)                                                     \
    static EMU_OP(name##_exact_##s##_r)                                                            \
    {                                                                                              \
        to_int(cpu, insn, EMU_BITS_##from, EMU_BITS_##s, truncates,                                \
               emu_element(&cpu->vec[insn->rm], EMU_BITS_##from, 0));                              \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static EMU_OP(name##_exact_##s##_m)                                                            \
    {                                                                                              \
        uint64_t linear = emu_ea(cpu, insn, sizeof(EMU_TYPE_##from), false);                       \
        to_int(cpu, insn, EMU_BITS_##from, EMU_BITS_##s, truncates,                                \
               emu_load_##from(cpu, insn, linear));                                                \
        EMU_NEXT;                                                                                  \
    }

#if EMU_FP_HOST
#define HOST_FROM_INT(name, mnemonic, to, s)                                                       \
    static inline emu_lane host_##name##_##s(emu_lane a, EMU_TYPE_##s value)                       \
    {                                                                                              \
        emu_lane x;                                                                                \
        __asm__ volatile(mnemonic " %2, %1, %0" : "=x"(x) : "x"(a), "r"(value));                   \
        return x;                                                                                  \
    }                                                                                              \
    HOST_FROM_INT_AS(op_##name, host_##name##_##s, to, s, reg,                                     \
                     emu_fp_set_low_##to(&cpu->vec[insn->reg], x))                                 \
    HOST_FROM_INT_AS(op_v##name, host_##name##_##s, to, s, src, emu_fp_set_vex_##to(cpu, insn, x))
#define HOST_FROM_INT_AS(name, compute, to, s, first, set)                                         \
    static EMU_OP(name##_##s##_r)                                                                  \
    {                                                                                              \
        emu_lane x = compute(emu_fp_low_##to(&cpu->vec[insn->first]), emu_get_##s(cpu, insn->rm)); \
        set;                                                                                       \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_LOAD_OP(name##_##s##_m, s,                                                                 \
                emu_lane x = compute(emu_fp_low_##to(&cpu->vec[insn->first]), value);              \
                set)

#define HOST_TO_INT(name, mnemonic, from, s)                                                       \
    static inline EMU_TYPE_##s host_##name##_##s(emu_lane b)                                       \
    {                                                                                              \
        EMU_TYPE_##s value;                                                                        \
        __asm__ volatile(mnemonic " %1, %0" : "=r"(value) : "x"(b));                               \
        return value;                                                                              \
    }                                                                                              \
    static EMU_OP(op_##name##_##s##_r)                                                             \
    {                                                                                              \
        cpu->gpr[insn->reg] = host_##name##_##s(emu_fp_low_##from(&cpu->vec[insn->rm]));           \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_VEC_LOAD_OP(op_##name##_##s##_m, sizeof(EMU_TYPE_##from), 0,                               \
                    cpu->gpr[insn->reg] = host_##name##_##s(b))

/* Columns: in software by d and q, then by the host. */
#define FORMS(name)                                                                                \
    EMU_FORMS(name##_exact_d_r, name##_exact_q_r, name##_d_r, name##_q_r, name##_exact_d_m,        \
              name##_exact_q_m, name##_d_m, name##_q_m)
#else
#define HOST_FROM_INT(name, mnemonic, to, s)
#define HOST_TO_INT(name, mnemonic, from, s)
#define FORMS(name)                                                                                \
    EMU_FORMS(name##_exact_d_r, name##_exact_q_r, NULL, NULL, name##_exact_d_m, name##_exact_q_m,  \
              NULL, NULL)
#endif

#define FROM_INT(name, to)                                                                         \
    EXACT_FROM_INT(op_##name, EMU_BITS_##to, false, d)                                             \
    EXACT_FROM_INT(op_##name, EMU_BITS_##to, false, q)                                             \
    EXACT_FROM_INT(op_v##name, EMU_BITS_##to, true, d)                                             \
    EXACT_FROM_INT(op_v##name, EMU_BITS_##to, true, q)                                             \
    HOST_FROM_INT(name, "v" #name "l", to, d)                                                      \
    HOST_FROM_INT(name, "v" #name "q", to, q)                                                      \
    static const struct emu_forms name = FORMS(op_##name), v##name = FORMS(op_v##name);
FROM_INT(cvtsi2ss, d)
FROM_INT(cvtsi2sd, q)

#define TO_INT(name, from, truncates)                                                              \
    EXACT_TO_INT(op_##name, from, truncates, d)                                                    \
    EXACT_TO_INT(op_##name, from, truncates, q)                                                    \
    HOST_TO_INT(name, "v" #name, from, d)                                                          \
    HOST_TO_INT(name, "v" #name, from, q)                                                          \
    static const struct emu_forms name = FORMS(op_##name);
TO_INT(cvtss2si, d, false)
TO_INT(cvtsd2si, q, false)
TO_INT(cvttss2si, d, true)
TO_INT(cvttsd2si, q, true)

#define ROWS(opcode, prefix, name, vname, unused)                                                  \
    {EMU_MAP_0F, opcode, prefix, EMU_FP_LEGACY | EMU_SIZE_Y, &name, NULL},                         \
    {                                                                                              \
        EMU_MAP_V0F, opcode, (prefix) | (unused), EMU_FP_VEX | EMU_SIZE_Y, &vname, NULL            \
    }
static const struct emu_row rows[] = {
    ROWS(0x2a, EMU_PF3, cvtsi2ss, vcvtsi2ss, 0),
    ROWS(0x2a, EMU_PF2, cvtsi2sd, vcvtsi2sd, 0),
    ROWS(0x2c, EMU_PF3, cvttss2si, cvttss2si, EMU_VVVV0),
    ROWS(0x2c, EMU_PF2, cvttsd2si, cvttsd2si, EMU_VVVV0),
    ROWS(0x2d, EMU_PF3, cvtss2si, cvtss2si, EMU_VVVV0),
    ROWS(0x2d, EMU_PF2, cvtsd2si, cvtsd2si, EMU_VVVV0),
};
EMU_FAMILY(emu_family_fp_general, rows);
