/* What AVX and AVX2 do across lanes: broadcasts, permutations, parts of 128 bits. */
#include "vec.h"

/* VBROADCAST, VPBROADCAST: one element everywhere, of XMM or memory. */
#define BROADCAST(name, size_bytes, expression)                                                    \
    static inline emu_lane name(emu_lane b)                                                        \
    {                                                                                              \
        return expression;                                                                         \
    }                                                                                              \
    static EMU_OP(op_v##name##_r)                                                                  \
    {                                                                                              \
        emu_set_128(cpu, insn->reg, name(EMU_LANE(rm, 0)));                                        \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static EMU_OP(op_y##name##_r)                                                                  \
    {                                                                                              \
        emu_lane x = name(EMU_LANE(rm, 0));                                                        \
        emu_set_256(cpu, insn->reg, x, x);                                                         \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_VEC_LOAD_OP(op_v##name##_m, size_bytes, 0, emu_set_128(cpu, insn->reg, name(b)))           \
    EMU_VEC_LOAD_OP(op_y##name##_m, size_bytes, 0, emu_lane x = name(b);                           \
                    emu_set_256(cpu, insn->reg, x, x))                                             \
    EMU_VEC_TABLE(v##name)                                                                         \
    EMU_VEC_TABLE(y##name)
#define TIMES(value, ones) ((emu_lane){(value) * UINT64_C(ones), (value) * UINT64_C(ones)})
BROADCAST(broadcast_1, 1, TIMES((uint8_t)b[0], 0x0101010101010101))
BROADCAST(broadcast_2, 2, TIMES((uint16_t)b[0], 0x0001000100010001))
BROADCAST(broadcast_4, 4, TIMES((uint32_t)b[0], 0x0000000100000001))
BROADCAST(broadcast_8, 8, ((emu_lane){b[0], b[0]}))

EMU_VEC_LOAD_OP(op_broadcast_16, 16, 0, emu_set_256(cpu, insn->reg, b, b))
static const struct emu_forms broadcast_16 = EMU_FORMS_RM(NULL, op_broadcast_16);

/* From all of E, with register and memory forms: x and y are the result's lanes. */
#define WHOLE(name, function)                                                                      \
    static EMU_OP(op_##name##_r)                                                                   \
    {                                                                                              \
        union emu_vec r = function(cpu, insn, cpu->vec[insn->rm]);                                 \
        emu_set_256(cpu, insn->reg, r.lane[0], r.lane[1]);                                         \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_VEC_LOAD_OP(op_##name##_m, 32, 0,                                                          \
                    union emu_vec r = function(cpu, insn, (union emu_vec){.lane = {b, b1}});       \
                    emu_set_256(cpu, insn->reg, r.lane[0], r.lane[1]))                             \
    EMU_VEC_TABLE(name)

static inline union emu_vec by_immediate(const struct emu_cpu *cpu, const struct emu_insn *insn,
                                         union emu_vec e)
{
    union emu_vec r;
    (void)cpu;
    for (unsigned i = 0; i < 4; i++)
        r.u64[i] = e.u64[insn->imm >> (2 * i) & 3];
    return r;
}

static inline union emu_vec by_indexes(const struct emu_cpu *cpu, const struct emu_insn *insn,
                                       union emu_vec e)
{
    union emu_vec r;
    for (unsigned i = 0; i < 8; i++)
        r.u32[i] = e.u32[cpu->vec[insn->src].u32[i] & 7];
    return r;
}

/* Four bits of the immediate for each lane: 0 and 1 are the first source's, 8 is zeroes. */
static inline emu_lane half(const struct emu_cpu *cpu, const struct emu_insn *insn, union emu_vec e,
                            unsigned control)
{
    return control & 8   ? (emu_lane){0}
           : control & 2 ? e.lane[control & 1]
                         : EMU_LANE(src, control & 1);
}

static inline union emu_vec two_halves(const struct emu_cpu *cpu, const struct emu_insn *insn,
                                       union emu_vec e)
{
    unsigned imm = (unsigned)insn->imm;
    return (union emu_vec){.lane = {half(cpu, insn, e, imm), half(cpu, insn, e, imm >> 4)}};
}
WHOLE(permq, by_immediate)
WHOLE(permd, by_indexes)
WHOLE(perm2, two_halves)

static EMU_OP(op_extract_r)
{
    emu_set_128(cpu, insn->rm, EMU_LANE(reg, insn->imm & 1));
    EMU_NEXT;
}
EMU_VEC_STORE_OP(op_extract_m, 16, 0, EMU_LANE(reg, insn->imm & 1))
EMU_VEC_TABLE(extract)

static inline void insert(struct emu_cpu *cpu, const struct emu_insn *insn, emu_lane b)
{
    emu_lane low = EMU_LANE(src, 0), high = EMU_LANE(src, 1);
    emu_set_256(cpu, insn->reg, insn->imm & 1 ? low : b, insn->imm & 1 ? b : high);
}
static EMU_OP(op_insert_r)
{
    insert(cpu, insn, EMU_LANE(rm, 0));
    EMU_NEXT;
}
EMU_VEC_LOAD_OP(op_insert_m, 16, 0, insert(cpu, insn, b))
static const struct emu_forms insert_128 = EMU_FORMS_RM(op_insert_r, op_insert_m);

/* Of eight registers outside 64-bit mode. */
static inline unsigned registers(const struct emu_cpu *cpu)
{
    return emu_code64(cpu) ? 16 : 8;
}
static EMU_OP(op_vzeroupper)
{
    for (unsigned i = 0; i < registers(cpu); i++)
        cpu->vec[i].lane[1] = (emu_lane){0};
    EMU_NEXT;
}
static EMU_OP(op_vzeroall)
{
    for (unsigned i = 0; i < registers(cpu); i++)
        emu_set_128(cpu, i, (emu_lane){0});
    EMU_NEXT;
}
static const struct emu_forms vzeroupper = EMU_FORMS_1(op_vzeroupper);
static const struct emu_forms vzeroall = EMU_FORMS_1(op_vzeroall);

#define ROW(map, opcode, match, shape, name)                                                       \
    EMU_VEC_ROW_VEX(map, opcode, EMU_P66 | (match), EMU_PURE | (shape), name)
#define BROADCAST_ROWS(opcode, form, name)                                                         \
    ROW(38, opcode, EMU_L0 | EMU_W0 | EMU_VVVV0 | (form), 0, v##name),                             \
        ROW(38, opcode, EMU_L1 | EMU_W0 | EMU_VVVV0 | (form), 0, y##name)

static const struct emu_row rows[] = {
    /* From memory AVX's, from a register AVX2's. */
    BROADCAST_ROWS(0x18, EMU_MOD_M, broadcast_4),
    BROADCAST_ROWS(0x18, EMU_MOD_R, broadcast_4),
    ROW(38, 0x19, EMU_L1 | EMU_W0 | EMU_VVVV0 | EMU_MOD_M, 0, ybroadcast_8),
    ROW(38, 0x19, EMU_L1 | EMU_W0 | EMU_VVVV0 | EMU_MOD_R, 0, ybroadcast_8),
    BROADCAST_ROWS(0x78, 0, broadcast_1),
    BROADCAST_ROWS(0x79, 0, broadcast_2),
    BROADCAST_ROWS(0x58, 0, broadcast_4),
    BROADCAST_ROWS(0x59, 0, broadcast_8),
    ROW(38, 0x1a, EMU_L1 | EMU_W0 | EMU_VVVV0, 0, broadcast_16),
    ROW(38, 0x5a, EMU_L1 | EMU_W0 | EMU_VVVV0, 0, broadcast_16),
    ROW(3A, 0x00, EMU_L1 | EMU_W1 | EMU_VVVV0, EMU_IMM_U8, permq),
    ROW(3A, 0x01, EMU_L1 | EMU_W1 | EMU_VVVV0, EMU_IMM_U8, permq),
    ROW(38, 0x36, EMU_L1 | EMU_W0, 0, permd),
    ROW(38, 0x16, EMU_L1 | EMU_W0, 0, permd),
    ROW(3A, 0x06, EMU_L1 | EMU_W0, EMU_IMM_U8, perm2),
    ROW(3A, 0x46, EMU_L1 | EMU_W0, EMU_IMM_U8, perm2),
    ROW(3A, 0x18, EMU_L1 | EMU_W0, EMU_IMM_U8, insert_128),
    ROW(3A, 0x38, EMU_L1 | EMU_W0, EMU_IMM_U8, insert_128),
    ROW(3A, 0x19, EMU_L1 | EMU_W0 | EMU_VVVV0, EMU_IMM_U8, extract),
    ROW(3A, 0x39, EMU_L1 | EMU_W0 | EMU_VVVV0, EMU_IMM_U8, extract),
    {EMU_MAP_V0F, 0x77, EMU_NP | EMU_L0 | EMU_VVVV0, EMU_AVX | EMU_PURE, &vzeroupper, NULL},
    {EMU_MAP_V0F, 0x77, EMU_NP | EMU_L1 | EMU_VVVV0, EMU_AVX | EMU_PURE, &vzeroall, NULL},
};
EMU_FAMILY(emu_family_vlane, rows);
