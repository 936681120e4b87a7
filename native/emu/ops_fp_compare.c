/* CMPxx with its predicates, COMIS and UCOMIS. Intel SDM vol. 2A, CMPPD, COMISD. */
#include "fp_host.h"

/* Predicates 0..15: the relations for which each holds, one bit for each. */
static const uint8_t holds[16] = {2, 1, 3, 8, 13, 14, 12, 7, 10, 9, 11, 0, 5, 6, 4, 15};

/* Which of them signal quiet NaNs; 16..31 are the same with the others signalling. */
#define SIGNALLING 0x6666u

static unsigned predicate(const struct emu_insn *insn, bool vex)
{
    return (unsigned)insn->imm & (vex ? 31 : 7);
}

static void compare_lanes(struct emu_soft *soft, const struct emu_fp_kind *kind,
                          const struct emu_insn *insn, union emu_vec *to,
                          const union emu_vec *first, const union emu_vec *source)
{
    unsigned which = predicate(insn, kind->vex);
    bool signals = (SIGNALLING >> (which & 15) & 1) != which >> 4;
    if (kind->scalar)
        memcpy(to, first, 16);
    for (unsigned i = 0; i < kind->lanes; i++) {
        enum emu_relation relation =
            emu_soft_compare(soft, kind->bits, emu_element(first, kind->bits, i),
                             emu_element(source, kind->bits, i), signals);
        uint64_t yes = holds[which & 15] >> relation & 1;
        emu_set_element(to, kind->bits, i, 0 - yes);
    }
}

EMU_FP_EXACT(op_cmpss, compare_lanes, NULL, 32, 1, 4, true, false, 0)
EMU_FP_EXACT(op_cmpsd, compare_lanes, NULL, 64, 1, 8, true, false, 0)
EMU_FP_EXACT(op_cmpps, compare_lanes, NULL, 32, 4, 16, false, false, 0)
EMU_FP_EXACT(op_cmppd, compare_lanes, NULL, 64, 2, 16, false, false, 0)
EMU_FP_EXACT(op_vcmpss, compare_lanes, NULL, 32, 1, 4, true, true, 0)
EMU_FP_EXACT(op_vcmpsd, compare_lanes, NULL, 64, 1, 8, true, true, 0)
EMU_FP_EXACT(op_vcmpps, compare_lanes, NULL, 32, 4, 16, false, true, 0)
EMU_FP_EXACT(op_vcmppd, compare_lanes, NULL, 64, 2, 16, false, true, 0)
EMU_FP_EXACT(op_ycmpps, compare_lanes, NULL, 32, 8, 32, false, true, 0)
EMU_FP_EXACT(op_ycmppd, compare_lanes, NULL, 64, 4, 32, false, true, 0)

#if EMU_FP_HOST
/* The predicate is part of the host's instruction: one for each. */
#define CASE(n, mnemonic)                                                                          \
    case n:                                                                                        \
        __asm__ volatile(mnemonic " $" #n ", %2, %1, %0" : "=x"(x) : "x"(a), "x"(b));              \
        break;
#define CASES_8(mnemonic, n0, n1, n2, n3, n4, n5, n6, n7)                                          \
    CASE(n0, mnemonic)                                                                             \
    CASE(n1, mnemonic)                                                                             \
    CASE(n2, mnemonic)                                                                             \
    CASE(n3, mnemonic) CASE(n4, mnemonic) CASE(n5, mnemonic) CASE(n6, mnemonic) CASE(n7, mnemonic)
#define HOST_COMPARE(type)                                                                         \
    static EMU_NOINLINE emu_lane host_cmp##type(emu_lane a, emu_lane b, unsigned which)            \
    {                                                                                              \
        emu_lane x = a;                                                                            \
        switch (which) {                                                                           \
            CASES_8("vcmp" #type, 0, 1, 2, 3, 4, 5, 6, 7)                                          \
            CASES_8("vcmp" #type, 8, 9, 10, 11, 12, 13, 14, 15)                                    \
            CASES_8("vcmp" #type, 16, 17, 18, 19, 20, 21, 22, 23)                                  \
            CASES_8("vcmp" #type, 24, 25, 26, 27, 28, 29, 30, 31)                                  \
        }                                                                                          \
        return x;                                                                                  \
    }                                                                                              \
    EMU_KERNEL(cmp##type##_kernel)                                                                 \
    {                                                                                              \
        return host_cmp##type(a, b, predicate(insn, false));                                       \
    }                                                                                              \
    EMU_KERNEL(vcmp##type##_kernel)                                                                \
    {                                                                                              \
        return host_cmp##type(a, b, predicate(insn, true));                                        \
    }
#define HOST_SCALAR(name, s, size_bytes)                                                           \
    HOST_COMPARE(name)                                                                             \
    EMU_FP_HOST_SHAPE(op_cmp##name, cmp##name##_kernel, size_bytes, s, s, reg,                     \
                      emu_fp_set_low_##s(&cpu->vec[insn->reg], x))                                 \
    EMU_FP_HOST_SHAPE(op_vcmp##name, vcmp##name##_kernel, size_bytes, s, s, src,                   \
                      emu_fp_set_vex_##s(cpu, insn, x))
#define HOST_PACKED(name)                                                                          \
    HOST_COMPARE(name)                                                                             \
    EMU_VEC_LEGACY(cmp##name, cmp##name##_kernel, 16, 15, )                                        \
    EMU_VEC_128(cmp##name, vcmp##name##_kernel, 16, )                                              \
    EMU_VEC_256(cmp##name, vcmp##name##_kernel, )
HOST_SCALAR(ss, d, 4)
HOST_SCALAR(sd, q, 8)
HOST_PACKED(ps)
HOST_PACKED(pd)
#endif

static const struct emu_forms cmpps = EMU_FP_FORMS(op_cmpps), cmppd = EMU_FP_FORMS(op_cmppd),
                              cmpss = EMU_FP_FORMS(op_cmpss), cmpsd = EMU_FP_FORMS(op_cmpsd),
                              vcmpps = EMU_FP_FORMS(op_vcmpps), vcmppd = EMU_FP_FORMS(op_vcmppd),
                              vcmpss = EMU_FP_FORMS(op_vcmpss), vcmpsd = EMU_FP_FORMS(op_vcmpsd),
                              ycmpps = EMU_FP_FORMS(op_ycmpps), ycmppd = EMU_FP_FORMS(op_ycmppd);

/* ZF PF CF by relation. */
static const uint8_t relation_flags[] = {FLAG_CF, FLAG_ZF, 0, FLAG_CF | FLAG_PF | FLAG_ZF};

static void compare_flags(struct emu_cpu *cpu, const struct emu_insn *insn,
                          const struct emu_fp_kind *kind, const union emu_vec *source)
{
    struct emu_soft soft;
    emu_soft_begin(&soft, emu_mxcsr(cpu));
    enum emu_relation relation =
        emu_soft_compare(&soft, kind->bits, emu_element(&cpu->vec[insn->reg], kind->bits, 0),
                         emu_element(source, kind->bits, 0), kind->variant);
    emu_fp_finish(cpu, insn, &soft);
    emu_set_status_flags(cpu, relation_flags[relation]);
}

#define EXACT_FLAGS(name, bits, bytes, signals)                                                    \
    static const struct emu_fp_kind name##_kind = {NULL,  NULL, bits,  1,                          \
                                                   bytes, true, false, signals};                   \
    static EMU_OP(name##_exact_r)                                                                  \
    {                                                                                              \
        compare_flags(cpu, insn, &name##_kind, &cpu->vec[insn->rm]);                               \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static EMU_OP(name##_exact_m)                                                                  \
    {                                                                                              \
        union emu_vec source;                                                                      \
        emu_fp_source_m(cpu, insn, &name##_kind, &source);                                         \
        compare_flags(cpu, insn, &name##_kind, &source);                                           \
        EMU_NEXT_UNCHAINED;                                                                        \
    }

#if EMU_FP_HOST
#define HOST_FLAGS(name, s, size_bytes)                                                            \
    static inline void host_##name(struct emu_cpu *cpu, emu_lane a, emu_lane b)                    \
    {                                                                                              \
        bool below, equal, unordered;                                                              \
        __asm__ volatile("v" #name " %4, %3"                                                       \
                         : "=@ccc"(below), "=@ccz"(equal), "=@ccp"(unordered)                      \
                         : "x"(a), "x"(b));                                                        \
        emu_set_status_flags(cpu, (below ? FLAG_CF : 0) | (equal ? FLAG_ZF : 0) |                  \
                                      (unordered ? FLAG_PF : 0));                                  \
    }                                                                                              \
    static EMU_OP(op_##name##_r)                                                                   \
    {                                                                                              \
        host_##name(cpu, emu_fp_low_##s(&cpu->vec[insn->reg]),                                     \
                    emu_fp_low_##s(&cpu->vec[insn->rm]));                                          \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_VEC_LOAD_OP(op_##name##_m, size_bytes, 0,                                                  \
                    host_##name(cpu, emu_fp_low_##s(&cpu->vec[insn->reg]), b))
#else
#define HOST_FLAGS(name, s, size_bytes)
#endif

#define FLAGS(name, s, bits, bytes, signals)                                                       \
    EXACT_FLAGS(op_##name, bits, bytes, signals)                                                   \
    HOST_FLAGS(name, s, bytes)                                                                     \
    static const struct emu_forms name = EMU_FP_FORMS(op_##name);

FLAGS(ucomiss, d, 32, 4, false)
FLAGS(ucomisd, q, 64, 8, false)
FLAGS(comiss, d, 32, 4, true)
FLAGS(comisd, q, 64, 8, true)

#define CMP(map, match, shape, name) {EMU_MAP_##map, 0xc2, match, (shape) | EMU_IMM_U8, &name, NULL}

#define FLAG_ROWS(opcode, prefix, name)                                                            \
    {EMU_MAP_0F, opcode, prefix, EMU_FP_LEGACY, &name, NULL},                                      \
    {                                                                                              \
        EMU_MAP_V0F, opcode, (prefix) | EMU_VVVV0, EMU_FP_VEX, &name, NULL                         \
    }

static const struct emu_row rows[] = {
    CMP(0F, EMU_NP, EMU_FP_LEGACY, cmpps),
    CMP(0F, EMU_P66, EMU_FP_LEGACY, cmppd),
    CMP(0F, EMU_PF3, EMU_FP_LEGACY, cmpss),
    CMP(0F, EMU_PF2, EMU_FP_LEGACY, cmpsd),
    CMP(V0F, EMU_NP | EMU_L0, EMU_FP_VEX, vcmpps),
    CMP(V0F, EMU_P66 | EMU_L0, EMU_FP_VEX, vcmppd),
    CMP(V0F, EMU_PF3, EMU_FP_VEX, vcmpss),
    CMP(V0F, EMU_PF2, EMU_FP_VEX, vcmpsd),
    CMP(V0F, EMU_NP | EMU_L1, EMU_FP_VEX, ycmpps),
    CMP(V0F, EMU_P66 | EMU_L1, EMU_FP_VEX, ycmppd),
    FLAG_ROWS(0x2e, EMU_NP, ucomiss),
    FLAG_ROWS(0x2e, EMU_P66, ucomisd),
    FLAG_ROWS(0x2f, EMU_NP, comiss),
    FLAG_ROWS(0x2f, EMU_P66, comisd),
};
EMU_FAMILY(emu_family_fp_compare, rows);
