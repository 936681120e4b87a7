/* Which feature of CPUID an instruction, a control bit or a register belongs to; a processor that
 * does not offer it has none of them. Intel SDM vol. 2, "CPUID Feature Flag" of each instruction;
 * vol. 3A §2.5 (CR4), §2.2.1 (EFER); vol. 1 §13.3 (XCR0); vol. 4 (MSRs). */
#include "features.h"

#include "cpu.h"

/* Rows of an opcode range that have all of these matches. The first rule that fits counts. */
struct row_rule {
    uint8_t map, first, last;
    uint32_t match;
    unsigned feature;
};

#define RULE(map, first, last, match, feature)                                                     \
    {EMU_MAP_##map, first, last, match, FEATURE_##feature}

static const struct row_rule row_rules[] = {
    RULE(1, 0x9e, 0x9f, EMU_ONLY64, LAHF64),
    /* Group 7 and system instructions. */
    RULE(0F, 0x01, 0x01, EMU_REG(1) | EMU_RM(0) | EMU_MOD_R, MONITOR),
    RULE(0F, 0x01, 0x01, EMU_REG(1) | EMU_RM(1) | EMU_MOD_R, MONITOR),
    RULE(0F, 0x01, 0x01, EMU_REG(1) | EMU_RM(2) | EMU_MOD_R, SMAP),
    RULE(0F, 0x01, 0x01, EMU_REG(1) | EMU_RM(3) | EMU_MOD_R, SMAP),
    RULE(0F, 0x01, 0x01, EMU_REG(2) | EMU_RM(0) | EMU_MOD_R, XSAVE),
    RULE(0F, 0x01, 0x01, EMU_REG(2) | EMU_RM(1) | EMU_MOD_R, XSAVE),
    RULE(0F, 0x01, 0x01, EMU_REG(7) | EMU_RM(1) | EMU_MOD_R, RDTSCP),
    RULE(0F, 0x05, 0x05, 0, SYSCALL),
    RULE(0F, 0x07, 0x07, 0, SYSCALL),
    RULE(0F, 0x30, 0x30, 0, MSR),
    RULE(0F, 0x31, 0x31, 0, TSC),
    RULE(0F, 0x32, 0x32, 0, MSR),
    RULE(0F, 0x34, 0x35, 0, SEP),
    /* General registers. */
    RULE(0F, 0x40, 0x4f, 0, CMOV),
    RULE(0F, 0xb8, 0xb8, EMU_PF3, POPCNT),
    RULE(0F, 0xbc, 0xbc, EMU_PF3, BMI1),
    RULE(0F, 0xbd, 0xbd, EMU_PF3, LZCNT),
    RULE(0F, 0xc3, 0xc3, EMU_NP, SSE2), /* MOVNTI */
    RULE(0F, 0xc7, 0xc7, EMU_REG(1) | EMU_W1, CX16),
    RULE(0F, 0xc7, 0xc7, EMU_REG(1), CX8),
    RULE(0F, 0xc7, 0xc7, EMU_REG(3), XSAVES),
    RULE(0F, 0xc7, 0xc7, EMU_REG(4), XSAVEC),
    RULE(0F, 0xc7, 0xc7, EMU_REG(5), XSAVES),
    RULE(0F, 0xc7, 0xc7, EMU_REG(6), RDRAND),
    RULE(0F, 0xc7, 0xc7, EMU_REG(7) | EMU_PF3, RDPID),
    RULE(0F, 0xc7, 0xc7, EMU_REG(7), RDSEED),
    RULE(38, 0x82, 0x82, 0, INVPCID),
    RULE(38, 0xf0, 0xf1, EMU_PF2, SSE42), /* CRC32 */
    RULE(38, 0xf0, 0xf1, 0, MOVBE),
    RULE(38, 0xf6, 0xf6, 0, ADX),
    RULE(V38, 0xf2, 0xf3, 0, BMI1),
    RULE(V38, 0xf7, 0xf7, EMU_NP, BMI1),
    RULE(V38, 0xf5, 0xf7, 0, BMI2),
    RULE(V3A, 0xf0, 0xf0, 0, BMI2),
    /* Group 15: state, fences, cache lines. */
    RULE(0F, 0xae, 0xae, EMU_PF3, FSGSBASE),
    RULE(0F, 0xae, 0xae, EMU_REG(6) | EMU_P66, CLWB),
    RULE(0F, 0xae, 0xae, EMU_REG(7) | EMU_P66, CLFLUSHOPT),
    RULE(0F, 0xae, 0xae, EMU_REG(0), FXSR),
    RULE(0F, 0xae, 0xae, EMU_REG(1), FXSR),
    RULE(0F, 0xae, 0xae, EMU_REG(2), SSE),
    RULE(0F, 0xae, 0xae, EMU_REG(3), SSE),
    RULE(0F, 0xae, 0xae, EMU_REG(4), XSAVE),
    RULE(0F, 0xae, 0xae, EMU_REG(5) | EMU_MOD_M, XSAVE),
    RULE(0F, 0xae, 0xae, EMU_REG(6) | EMU_MOD_M, XSAVEOPT),
    RULE(0F, 0xae, 0xae, EMU_REG(7) | EMU_MOD_M, CLFSH),
    RULE(0F, 0xae, 0xae, EMU_REG(7) | EMU_MOD_R, SSE), /* SFENCE */
    RULE(0F, 0xae, 0xae, 0, SSE2),                     /* LFENCE, MFENCE */
    /* SSE to SSE2, beside what `by_unit` says: without a prefix, and with F3. */
    RULE(0F, 0x5a, 0x5b, 0, SSE2),
    RULE(0F, 0x6f, 0x70, EMU_PF3, SSE2),
    RULE(0F, 0x7e, 0x7f, EMU_PF3, SSE2),
    RULE(0F, 0xe6, 0xe6, EMU_PF3, SSE2),
    /* SSE3; FISTTP is part of it. */
    RULE(1, 0xdb, 0xdb, EMU_REG(1) | EMU_MOD_M, SSE3),
    RULE(1, 0xdd, 0xdd, EMU_REG(1) | EMU_MOD_M, SSE3),
    RULE(1, 0xdf, 0xdf, EMU_REG(1) | EMU_MOD_M, SSE3),
    RULE(0F, 0x12, 0x12, EMU_PF3, SSE3),
    RULE(0F, 0x12, 0x12, EMU_PF2, SSE3),
    RULE(0F, 0x16, 0x16, EMU_PF3, SSE3),
    RULE(0F, 0x7c, 0x7d, 0, SSE3),
    RULE(0F, 0xd0, 0xd0, 0, SSE3),
    RULE(0F, 0xf0, 0xf0, EMU_PF2, SSE3),
    /* What SSE and SSE2 added to MMX registers, and moves between both kinds. */
    RULE(0F, 0x70, 0x70, EMU_NP, SSE),
    RULE(0F, 0xc4, 0xc5, EMU_NP, SSE),
    RULE(0F, 0xd4, 0xd4, EMU_NP, SSE2),
    RULE(0F, 0xd6, 0xd6, 0, SSE2),
    RULE(0F, 0xd7, 0xd7, EMU_NP, SSE),
    RULE(0F, 0xda, 0xda, EMU_NP, SSE),
    RULE(0F, 0xde, 0xde, EMU_NP, SSE),
    RULE(0F, 0xe0, 0xe0, EMU_NP, SSE),
    RULE(0F, 0xe3, 0xe4, EMU_NP, SSE),
    RULE(0F, 0xe7, 0xe7, EMU_NP, SSE),
    RULE(0F, 0xea, 0xea, EMU_NP, SSE),
    RULE(0F, 0xee, 0xee, EMU_NP, SSE),
    RULE(0F, 0xf4, 0xf4, EMU_NP, SSE2),
    RULE(0F, 0xf6, 0xf7, EMU_NP, SSE),
    RULE(0F, 0xfb, 0xfb, EMU_NP, SSE2),
    /* Map 0F38. */
    RULE(38, 0x00, 0x0b, 0, SSSE3),
    RULE(38, 0x1c, 0x1e, 0, SSSE3),
    RULE(38, 0x37, 0x37, 0, SSE42),
    RULE(38, 0x10, 0x41, 0, SSE41),
    RULE(38, 0xc8, 0xcd, 0, SHA),
    RULE(38, 0xdb, 0xdf, 0, AES),
    /* Map 0F3A. */
    RULE(3A, 0x0f, 0x0f, 0, SSSE3),
    RULE(3A, 0x44, 0x44, 0, PCLMUL),
    RULE(3A, 0x60, 0x63, 0, SSE42),
    RULE(3A, 0xcc, 0xcc, 0, SHA),
    RULE(3A, 0xdf, 0xdf, 0, AES),
    RULE(3A, 0x08, 0x42, 0, SSE41),
    /* VEX, map 0F: 256-bit integers are AVX2's, but for moves. */
    RULE(V0F, 0x60, 0x6d, EMU_L1, AVX2),
    RULE(V0F, 0x70, 0x76, EMU_L1, AVX2),
    RULE(V0F, 0xd1, 0xd5, EMU_L1, AVX2),
    RULE(V0F, 0xd7, 0xe5, EMU_L1, AVX2),
    RULE(V0F, 0xe8, 0xef, EMU_L1, AVX2),
    RULE(V0F, 0xf1, 0xfe, EMU_L1, AVX2),
    /* VEX, map 0F38. */
    RULE(V38, 0x0c, 0x0f, 0, AVX),
    RULE(V38, 0x13, 0x13, 0, F16C),
    RULE(V38, 0x16, 0x16, 0, AVX2),
    RULE(V38, 0x17, 0x17, 0, AVX),
    RULE(V38, 0x18, 0x19, EMU_MOD_R, AVX2), /* VBROADCASTSS and SD from a register */
    RULE(V38, 0x18, 0x1a, 0, AVX),
    RULE(V38, 0x2c, 0x2f, 0, AVX),
    RULE(V38, 0x36, 0x36, 0, AVX2),
    RULE(V38, 0x45, 0x47, 0, AVX2),
    RULE(V38, 0x58, 0x5a, 0, AVX2),
    RULE(V38, 0x78, 0x79, 0, AVX2),
    RULE(V38, 0x8c, 0x93, 0, AVX2),
    RULE(V38, 0x96, 0xbf, 0, FMA),
    RULE(V38, 0xdb, 0xdf, 0, AES),
    RULE(V38, 0x00, 0x41, EMU_L1, AVX2),
    /* VEX, map 0F3A. */
    RULE(V3A, 0x00, 0x02, 0, AVX2),
    RULE(V3A, 0x0e, 0x0f, EMU_L1, AVX2),
    RULE(V3A, 0x1d, 0x1d, 0, F16C),
    RULE(V3A, 0x38, 0x39, 0, AVX2),
    RULE(V3A, 0x42, 0x42, EMU_L1, AVX2),
    RULE(V3A, 0x44, 0x44, 0, PCLMUL),
    RULE(V3A, 0x46, 0x46, 0, AVX2),
    RULE(V3A, 0x4c, 0x4c, EMU_L1, AVX2),
    RULE(V3A, 0xdf, 0xdf, 0, AES),
};

/* Has a row what a rule asks for? ModRM fields are numbers, the rest single bits. */
static bool fits(const struct row_rule *rule, const struct emu_row *row)
{
    uint32_t reg = 0xf, rm = 0xf0, bits = rule->match & ~(reg | rm);
    return row->map == rule->map && row->opcode >= rule->first && row->opcode <= rule->last &&
           (!(rule->match & reg) || (rule->match & reg) == (row->match & reg)) &&
           (!(rule->match & rm) || (rule->match & rm) == (row->match & rm)) &&
           (row->match & bits) == bits;
}

/* In map 0F, 66 and F2 came with SSE2. */
static unsigned by_unit(const struct emu_row *row)
{
    switch (row->shape & EMU_UNIT) {
    case EMU_X87:
    case EMU_FWAIT:
        return FEATURE_FPU;
    case EMU_MMX:
        return FEATURE_MMX;
    case EMU_SSE:
    case EMU_SSE_FP:
        return row->match & (EMU_P66 | EMU_PF2) ? FEATURE_SSE2 : FEATURE_SSE;
    case EMU_AVX:
    case EMU_AVX_FP:
        return FEATURE_AVX;
    default:
        return FEATURE_NONE;
    }
}

unsigned emu_feature_of_row(const struct emu_row *row)
{
    for (size_t i = 0; i < sizeof(row_rules) / sizeof(row_rules[0]); i++)
        if (fits(&row_rules[i], row))
            return row_rules[i].feature;
    return by_unit(row);
}

/* Bits of registers, each with the feature that it comes with. */
struct bit_rule {
    uint64_t bits;
    unsigned feature;
};

static uint64_t offered(const struct emu_features *features, const struct bit_rule *rules,
                        size_t count)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < count; i++)
        if (emu_offers(features, rules[i].feature))
            bits |= rules[i].bits;
    return bits;
}
#define OFFERED(features, rules) offered(features, rules, sizeof(rules) / sizeof((rules)[0]))

uint64_t emu_cr4_offered(const struct emu_features *features)
{
    static const struct bit_rule rules[] = {
        {CR4_PCE, FEATURE_NONE},
        {CR4_TSD, FEATURE_TSC},
        {CR4_DE, FEATURE_DE},
        {CR4_PSE, FEATURE_PSE},
        {CR4_PAE, FEATURE_PAE},
        {CR4_MCE, FEATURE_MCE},
        {CR4_PGE, FEATURE_PGE},
        {CR4_OSFXSR, FEATURE_FXSR},
        {CR4_OSXMMEXCPT, FEATURE_SSE},
        {CR4_UMIP, FEATURE_UMIP},
        {CR4_FSGSBASE, FEATURE_FSGSBASE},
        {CR4_PCIDE, FEATURE_PCID},
        {CR4_OSXSAVE, FEATURE_XSAVE},
        {CR4_SMEP, FEATURE_SMEP},
        {CR4_SMAP, FEATURE_SMAP},
        {CR4_LA57, FEATURE_LA57},
        {CR4_PKE, FEATURE_PKU},
        {CR4_PKS, FEATURE_PKS},
    };
    return OFFERED(features, rules);
}

uint64_t emu_efer_offered(const struct emu_features *features)
{
    static const struct bit_rule rules[] = {
        {EFER_SCE, FEATURE_SYSCALL},
        {EFER_LME | EFER_LMA, FEATURE_LONG_MODE},
        {EFER_NXE, FEATURE_NX},
    };
    return OFFERED(features, rules);
}

uint64_t emu_xcr0_offered(const struct emu_features *features)
{
    static const struct bit_rule rules[] = {
        {XCR0_X87 | XCR0_SSE, FEATURE_XSAVE},
        {XCR0_AVX, FEATURE_AVX},
        {XCR0_PKRU, FEATURE_PKU},
    };
    return OFFERED(features, rules);
}

/* MSRs that come with a feature; one that is not listed is always there. Where two features bring
 * one, either will do. */
bool emu_msr_offered(const struct emu_features *features, uint32_t index)
{
    static const struct {
        uint32_t first, last;
        unsigned feature, other;
    } rules[] = {
        {0x3b, 0x3b, FEATURE_TSC_ADJUST, FEATURE_TSC_ADJUST},
        {0x48, 0x49, FEATURE_SPEC_CTRL, FEATURE_SPEC_CTRL},
        {0xfe, 0xfe, FEATURE_MTRR, FEATURE_MTRR},
        {0x10a, 0x10a, FEATURE_ARCH_CAPABILITIES, FEATURE_ARCH_CAPABILITIES},
        {0x174, 0x176, FEATURE_SEP, FEATURE_SEP},
        {0x179, 0x17a, FEATURE_MCA, FEATURE_MCE},
        {0x200, 0x26f, FEATURE_MTRR, FEATURE_MTRR},
        {0x277, 0x277, FEATURE_PAT, FEATURE_PAT},
        {0x2ff, 0x2ff, FEATURE_MTRR, FEATURE_MTRR},
        {0x6e0, 0x6e0, FEATURE_DEADLINE, FEATURE_DEADLINE},
        {0x6e1, 0x6e1, FEATURE_PKS, FEATURE_PKS},
        {0xda0, 0xda0, FEATURE_XSAVES, FEATURE_XSAVES},
        {0xc0000081, 0xc0000081, FEATURE_SYSCALL, FEATURE_LONG_MODE},
        {0xc0000082, 0xc0000084, FEATURE_LONG_MODE, FEATURE_LONG_MODE},
        {0xc0000100, 0xc0000102, FEATURE_LONG_MODE, FEATURE_LONG_MODE},
        {0xc0000103, 0xc0000103, FEATURE_RDTSCP, FEATURE_RDPID},
    };
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
        if (index >= rules[i].first && index <= rules[i].last)
            return emu_offers(features, rules[i].feature) || emu_offers(features, rules[i].other);
    return true;
}
