/* HADD, HSUB, ADDSUB, the dot products and ROUND. Intel SDM vol. 2A, HADDPS; vol. 2A, DPPS;
 * vol. 2B, ROUNDPD. */
#include "fp_host.h"

/* emu_fp_kind.variant */
#define ADDS 0
#define SUBTRACTS 1

static uint64_t combine(struct emu_soft *soft, const struct emu_fp_kind *kind, bool subtract,
                        uint64_t a, uint64_t b)
{
    return subtract ? emu_soft_sub(soft, kind->bits, a, b) : emu_soft_add(soft, kind->bits, a, b);
}

/* Neighbours of the first source, then of the second, within each 16 bytes. */
static void pairs(struct emu_soft *soft, const struct emu_fp_kind *kind,
                  const struct emu_insn *insn, union emu_vec *to, const union emu_vec *first,
                  const union emu_vec *source)
{
    (void)insn;
    unsigned bits = kind->bits, in_lane = 128 / bits;
    for (unsigned i = 0; i < kind->lanes; i++) {
        unsigned at = i % in_lane, base = i - at;
        const union emu_vec *from = at < in_lane / 2 ? first : source;
        unsigned pair = base + 2 * (at % (in_lane / 2));
        emu_set_element(to, bits, i,
                        combine(soft, kind, kind->variant, emu_element(from, bits, pair),
                                emu_element(from, bits, pair + 1)));
    }
}

static void alternate(struct emu_soft *soft, const struct emu_fp_kind *kind,
                      const struct emu_insn *insn, union emu_vec *to, const union emu_vec *first,
                      const union emu_vec *source)
{
    (void)insn;
    for (unsigned i = 0; i < kind->lanes; i++)
        emu_set_element(to, kind->bits, i,
                        combine(soft, kind, !(i & 1), emu_element(first, kind->bits, i),
                                emu_element(source, kind->bits, i)));
}

/* An instruction of several steps: is this one its last, as it raises an exception? */
static bool step_raises(struct emu_soft *soft)
{
    if (soft->flags & ~(soft->control >> MXCSR_MASKS_SHIFT))
        return true;
    soft->settled |= soft->flags;
    soft->flags = 0;
    return false;
}

/* Products by imm[7:4], 0 in place of the others. */
static void multiply(struct emu_soft *soft, const struct emu_fp_kind *kind, unsigned mask,
                     union emu_vec *to, const union emu_vec *first, const union emu_vec *source)
{
    unsigned bits = kind->bits, in_lane = 128 / bits;
    for (unsigned i = 0; i < kind->lanes; i++)
        if (mask >> (4 + i % in_lane) & 1)
            emu_set_element(to, bits, i,
                            emu_soft_mul(soft, bits, emu_element(first, bits, i),
                                         emu_element(source, bits, i)));
}

/* To each element its neighbour `apart` from it. All come to the same sum but for NaNs, of which
 * the first counts: an element's own, on Intel's processors; the manual leaves that open. */
static void add_neighbours(struct emu_soft *soft, const struct emu_fp_kind *kind,
                           union emu_vec *terms, unsigned apart)
{
    unsigned bits = kind->bits;
    union emu_vec from = *terms;
    for (unsigned i = 0; i < kind->lanes; i++)
        emu_set_element(terms, bits, i,
                        emu_soft_add(soft, bits, emu_element(&from, bits, i),
                                     emu_element(&from, bits, i ^ apart)));
}

/* The sum goes to where imm[3:0] says. */
static void dot_product(struct emu_soft *soft, const struct emu_fp_kind *kind,
                        const struct emu_insn *insn, union emu_vec *to, const union emu_vec *first,
                        const union emu_vec *source)
{
    unsigned bits = kind->bits, in_lane = 128 / bits, mask = (unsigned)insn->imm;
    union emu_vec terms = {.u64 = {0}};
    multiply(soft, kind, mask, &terms, first, source);
    for (unsigned apart = 1; apart < in_lane; apart *= 2) {
        if (step_raises(soft))
            return;
        add_neighbours(soft, kind, &terms, apart);
    }
    for (unsigned i = 0; i < kind->lanes; i++)
        if (mask >> i % in_lane & 1)
            emu_set_element(to, bits, i, emu_element(&terms, bits, i));
}

#define ROUND_BY_MXCSR 4u
#define ROUND_SILENT 8u

static void round_lanes(struct emu_soft *soft, const struct emu_fp_kind *kind,
                        const struct emu_insn *insn, union emu_vec *to, const union emu_vec *first,
                        const union emu_vec *source)
{
    enum emu_rounding rounding =
        insn->imm & ROUND_BY_MXCSR ? emu_soft_rounding(soft) : (enum emu_rounding)(insn->imm & 3);
    if (kind->scalar)
        memcpy(to, first, 16);
    for (unsigned i = 0; i < kind->lanes; i++)
        emu_set_element(to, kind->bits, i,
                        emu_soft_round(soft, kind->bits, emu_element(source, kind->bits, i),
                                       rounding, !(insn->imm & ROUND_SILENT)));
}

#define EXACT(name, kernel, bits, variant)                                                         \
    EMU_FP_EXACT(op_##name, kernel, NULL, bits, 128 / (bits), 16, false, false, variant)           \
    EMU_FP_EXACT(op_v##name, kernel, NULL, bits, 128 / (bits), 16, false, true, variant)           \
    EMU_FP_EXACT(op_y##name, kernel, NULL, bits, 256 / (bits), 32, false, true, variant)

#define FORMS(name)                                                                                \
    static const struct emu_forms name = EMU_FP_FORMS(op_##name),                                  \
                                  v##name = EMU_FP_FORMS(op_v##name),                              \
                                  y##name = EMU_FP_FORMS(op_y##name);

#define DEFINE(name, kernel, bits, variant)                                                        \
    EXACT(name, kernel, bits, variant)                                                             \
    EMU_FP_HOST_BINARY(name##_kernel, "v" #name)                                                   \
    EMU_FP_HOST_PACKED(name, name##_kernel)                                                        \
    FORMS(name)
DEFINE(haddps, pairs, 32, ADDS)
DEFINE(haddpd, pairs, 64, ADDS)
DEFINE(hsubps, pairs, 32, SUBTRACTS)
DEFINE(hsubpd, pairs, 64, SUBTRACTS)
DEFINE(addsubps, alternate, 32, 0)
DEFINE(addsubpd, alternate, 64, 0)

#define SOFT_FORMS(name) static const struct emu_forms name = EMU_FP_SOFT_FORMS(op_##name);
EXACT(dpps, dot_product, 32, 0)
EMU_FP_EXACT(op_dppd, dot_product, NULL, 64, 2, 16, false, false, 0)
EMU_FP_EXACT(op_vdppd, dot_product, NULL, 64, 2, 16, false, true, 0)
SOFT_FORMS(dpps)
SOFT_FORMS(vdpps)
SOFT_FORMS(ydpps)
SOFT_FORMS(dppd)
SOFT_FORMS(vdppd)

EXACT(roundps, round_lanes, 32, 0)
EXACT(roundpd, round_lanes, 64, 0)
EMU_FP_EXACT(op_roundss, round_lanes, NULL, 32, 1, 4, true, false, 0)
EMU_FP_EXACT(op_roundsd, round_lanes, NULL, 64, 1, 8, true, false, 0)
EMU_FP_EXACT(op_vroundss, round_lanes, NULL, 32, 1, 4, true, true, 0)
EMU_FP_EXACT(op_vroundsd, round_lanes, NULL, 64, 1, 8, true, true, 0)

#if EMU_FP_HOST
#define CASE(n, text)                                                                              \
    case n:                                                                                        \
        __asm__ volatile(text : "=x"(x) : "x"(a), "x"(b), "i"(n));                                 \
        break;
#define HOST_ROUND(name, text)                                                                     \
    static EMU_NOINLINE emu_lane host_##name(emu_lane a, emu_lane b, unsigned how)                 \
    {                                                                                              \
        emu_lane x = b;                                                                            \
        switch (how & 15) {                                                                        \
            CASE(0, text)                                                                          \
            CASE(1, text)                                                                          \
            CASE(2, text)                                                                          \
            CASE(3, text)                                                                          \
            CASE(4, text) CASE(8, text) CASE(9, text) CASE(10, text) CASE(11, text) CASE(12, text) \
        }                                                                                          \
        return x;                                                                                  \
    }                                                                                              \
    EMU_KERNEL(name##_kernel)                                                                      \
    {                                                                                              \
        unsigned how = (unsigned)insn->imm;                                                        \
        return host_##name(a, b, how & ROUND_BY_MXCSR ? how & ~3u : how);                          \
    }
HOST_ROUND(roundps, "vroundps %3, %2, %0")
HOST_ROUND(roundpd, "vroundpd %3, %2, %0")
HOST_ROUND(roundss, "vroundss %3, %2, %1, %0")
HOST_ROUND(roundsd, "vroundsd %3, %2, %1, %0")
#endif
EMU_FP_HOST_PACKED(roundps, roundps_kernel)
EMU_FP_HOST_PACKED(roundpd, roundpd_kernel)
EMU_FP_HOST_SCALAR(roundss, roundss_kernel, 4, d, d)
EMU_FP_HOST_SCALAR(roundsd, roundsd_kernel, 8, q, q)
FORMS(roundps)
FORMS(roundpd)
static const struct emu_forms roundss = EMU_FP_FORMS(op_roundss),
                              roundsd = EMU_FP_FORMS(op_roundsd),
                              vroundss = EMU_FP_FORMS(op_vroundss),
                              vroundsd = EMU_FP_FORMS(op_vroundsd);

#define ROW(map, opcode, match, shape, name) {EMU_MAP_##map, opcode, match, shape, &name, NULL}
#define ROWS(map, opcode, prefix, shape, unused, name)                                             \
    ROW(map, opcode, prefix, EMU_FP_LEGACY | (shape), name),                                       \
        ROW(V##map, opcode, (prefix) | EMU_L0 | (unused), EMU_FP_VEX | (shape), v##name),          \
        ROW(V##map, opcode, (prefix) | EMU_L1 | (unused), EMU_FP_VEX | (shape), y##name)
#define ROWS_ROUND_SCALAR(opcode, name)                                                            \
    ROW(3A, opcode, EMU_P66, EMU_FP_LEGACY | EMU_IMM_U8, name),                                    \
        ROW(V3A, opcode, EMU_P66, EMU_FP_VEX | EMU_IMM_U8, v##name)

static const struct emu_row rows[] = {
    ROWS(0F, 0x7c, EMU_PF2, 0, 0, haddps),
    ROWS(0F, 0x7c, EMU_P66, 0, 0, haddpd),
    ROWS(0F, 0x7d, EMU_PF2, 0, 0, hsubps),
    ROWS(0F, 0x7d, EMU_P66, 0, 0, hsubpd),
    ROWS(0F, 0xd0, EMU_PF2, 0, 0, addsubps),
    ROWS(0F, 0xd0, EMU_P66, 0, 0, addsubpd),
    ROWS(3A, 0x08, EMU_P66, EMU_IMM_U8, EMU_VVVV0, roundps),
    ROWS(3A, 0x09, EMU_P66, EMU_IMM_U8, EMU_VVVV0, roundpd),
    ROWS_ROUND_SCALAR(0x0a, roundss),
    ROWS_ROUND_SCALAR(0x0b, roundsd),
    ROWS(3A, 0x40, EMU_P66, EMU_IMM_U8, 0, dpps),
    ROW(3A, 0x41, EMU_P66, EMU_FP_LEGACY | EMU_IMM_U8, dppd),
    ROW(V3A, 0x41, EMU_P66 | EMU_L0, EMU_FP_VEX | EMU_IMM_U8, vdppd),
};
EMU_FAMILY(emu_family_fp_horizontal, rows);
