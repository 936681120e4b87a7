/* SSE4.2 string comparisons. Intel SDM vol. 2B §4.1 (imm8 control byte). */
#include "vec.h"

#define WORDS 1u
#define SIGNED 2u
#define AGGREGATION(imm) ((imm) >> 2 & 3)
enum { EQUAL_ANY, RANGES, EQUAL_EACH, EQUAL_ORDERED };
#define NEGATE 0x10u
#define ONLY_VALID 0x20u
#define LAST_OR_MASK 0x40u

/* One source: its elements and how many of them count. */
struct text {
    int32_t element[16];
    int length;
};

struct comparison {
    struct text text[2]; /* the first and second source */
    int count;           /* of elements in a lane: 8 or 16 */
    unsigned imm;
};

static void unpack(struct text *text, emu_lane lane, unsigned imm)
{
    union emu_elements p = {lane};
    for (unsigned i = 0; i < 16; i++)
        text->element[i] = imm & WORDS    ? imm & SIGNED ? p.i16[i & 7] : p.u16[i & 7]
                           : imm & SIGNED ? p.i8[i]
                                          : p.u8[i];
}

static int implicit_length(const struct text *text, int count)
{
    int length = 0;
    while (length < count && text->element[length])
        length++;
    return length;
}

/* From RAX or RDX: the magnitude, at most the number of elements. */
static int explicit_length(uint64_t value, bool wide, int count)
{
    int64_t number = wide ? (int64_t)value : (int32_t)value;
    return number > -count && number < count ? (int)(number < 0 ? -number : number) : count;
}

static bool in_set(const struct comparison *at, int32_t value)
{
    for (int i = 0; i < at->text[0].length; i++)
        if (at->text[0].element[i] == value)
            return true;
    return false;
}

static bool in_ranges(const struct comparison *at, int32_t value)
{
    for (int i = 0; i + 1 < at->text[0].length; i += 2)
        if (at->text[0].element[i] <= value && value <= at->text[0].element[i + 1])
            return true;
    return false;
}

/* Does the first text begin at element j of the second? What lies beyond the lane is not asked. */
static bool begins(const struct comparison *at, int j)
{
    for (int i = 0; i < at->text[0].length && j + i < at->count; i++)
        if (j + i >= at->text[1].length || at->text[0].element[i] != at->text[1].element[j + i])
            return false;
    return true;
}

static bool same(const struct comparison *at, int j)
{
    bool valid = j < at->text[0].length, valid2 = j < at->text[1].length;
    return valid && valid2 ? at->text[0].element[j] == at->text[1].element[j] : valid == valid2;
}

static bool aggregate(const struct comparison *at, int j)
{
    bool valid = j < at->text[1].length;
    switch (AGGREGATION(at->imm)) {
    case EQUAL_ANY:
        return valid && in_set(at, at->text[1].element[j]);
    case RANGES:
        return valid && in_ranges(at, at->text[1].element[j]);
    case EQUAL_EACH:
        return same(at, j);
    default:
        return begins(at, j);
    }
}

/* A bit for each element of the second text; and the flags. */
static uint32_t compare(struct emu_cpu *cpu, const struct comparison *at)
{
    uint32_t bits = 0;
    for (int j = 0; j < at->count; j++) {
        bool bit = aggregate(at, j);
        if ((at->imm & NEGATE) && (!(at->imm & ONLY_VALID) || j < at->text[1].length))
            bit = !bit;
        bits |= (uint32_t)bit << j;
    }
    emu_set_status_flags(cpu, (bits ? FLAG_CF : 0) | (bits & 1 ? FLAG_OF : 0) |
                                  (at->text[1].length < at->count ? FLAG_ZF : 0) |
                                  (at->text[0].length < at->count ? FLAG_SF : 0));
    return bits;
}

static uint32_t compare_strings(struct emu_cpu *cpu, const struct emu_insn *insn, emu_lane a,
                                emu_lane b, bool is_explicit)
{
    struct comparison at = {.imm = (unsigned)insn->imm};
    at.count = at.imm & WORDS ? 8 : 16;
    unpack(&at.text[0], a, at.imm);
    unpack(&at.text[1], b, at.imm);
    for (int i = 0; i < 2; i++)
        at.text[i].length = is_explicit ? explicit_length(cpu->gpr[i ? RDX : RAX],
                                                          emu_osize(insn) == EMU_64, at.count)
                                        : implicit_length(&at.text[i], at.count);
    return compare(cpu, &at);
}

/* PCMPxSTRI: the first or last bit's number in ECX. */
static EMU_NOINLINE void give_index(struct emu_cpu *cpu, const struct emu_insn *insn, emu_lane b,
                                    bool is_explicit)
{
    uint32_t bits = compare_strings(cpu, insn, EMU_LANE(reg, 0), b, is_explicit);
    int index = insn->imm & WORDS ? 8 : 16;
    if (bits)
        index = insn->imm & LAST_OR_MASK ? 31 - __builtin_clz(bits) : __builtin_ctz(bits);
    cpu->gpr[RCX] = (uint64_t)index;
}

/* PCMPxSTRM: the bits, or elements of ones, in XMM0. */
static EMU_NOINLINE void give_mask(struct emu_cpu *cpu, const struct emu_insn *insn, emu_lane b,
                                   bool is_explicit)
{
    uint32_t bits = compare_strings(cpu, insn, EMU_LANE(reg, 0), b, is_explicit);
    union emu_elements mask = {{bits}};
    if (insn->imm & LAST_OR_MASK)
        for (unsigned i = 0; i < 16; i++)
            mask.u8[i] = bits >> (insn->imm & WORDS ? i / 2 : i) & 1 ? 0xff : 0;
    emu_set_legacy(cpu, 0, mask.lane);
}

#define STRING(name, give, is_explicit)                                                            \
    static EMU_OP(op_##name##_r)                                                                   \
    {                                                                                              \
        give(cpu, insn, EMU_LANE(rm, 0), is_explicit);                                             \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_VEC_LOAD_OP(op_##name##_m, 16, 0, give(cpu, insn, b, is_explicit))                         \
    EMU_VEC_TABLE(name)
#define MASK(name, is_explicit)                                                                    \
    STRING(name, give_mask, is_explicit)                                                           \
    static EMU_OP(op_v##name##_r)                                                                  \
    {                                                                                              \
        give_mask(cpu, insn, EMU_LANE(rm, 0), is_explicit);                                        \
        cpu->vec[0].lane[1] = (emu_lane){0};                                                       \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_VEC_LOAD_OP(op_v##name##_m, 16, 0, give_mask(cpu, insn, b, is_explicit);                   \
                    cpu->vec[0].lane[1] = (emu_lane){0})                                           \
    EMU_VEC_TABLE(v##name)
STRING(pcmpestri, give_index, true)
STRING(pcmpistri, give_index, false)
MASK(pcmpestrm, true)
MASK(pcmpistrm, false)

#define SHAPE (EMU_IMM_U8 | EMU_SIZE_Y | EMU_PURE | EMU_WRITES_ALL)
#define ROWS(opcode, name, vex)                                                                    \
    EMU_VEC_ROW_LEGACY(3A, opcode, P66, SHAPE, name),                                              \
        EMU_VEC_ROW_VEX(3A, opcode, EMU_P66 | EMU_L0 | EMU_VVVV0, SHAPE, vex)

static const struct emu_row rows[] = {
    ROWS(0x60, pcmpestrm, vpcmpestrm),
    ROWS(0x61, pcmpestri, pcmpestri),
    ROWS(0x62, pcmpistrm, vpcmpistrm),
    ROWS(0x63, pcmpistri, pcmpistri),
};
EMU_FAMILY(emu_family_vstring, rows);
