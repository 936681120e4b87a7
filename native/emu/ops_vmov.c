/* Moves between vector registers and memory. */
#include "vec.h"

/* NAME, vNAME, yNAME: from E to G, or with the fields exchanged from G to E. */
#define COPY(name, to, from)                                                                       \
    static EMU_OP(op_##name##_r)                                                                   \
    {                                                                                              \
        emu_set_legacy(cpu, insn->to, EMU_LANE(from, 0));                                          \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static EMU_OP(op_v##name##_r)                                                                  \
    {                                                                                              \
        emu_set_128(cpu, insn->to, EMU_LANE(from, 0));                                             \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static EMU_OP(op_y##name##_r)                                                                  \
    {                                                                                              \
        emu_set_256(cpu, insn->to, EMU_LANE(from, 0), EMU_LANE(from, 1));                          \
        EMU_NEXT;                                                                                  \
    }
#define LOADS(name, align, align_256)                                                              \
    COPY(name, reg, rm)                                                                            \
    EMU_VEC_LOAD_OP(op_##name##_m, 16, align, emu_set_legacy(cpu, insn->reg, b))                   \
    EMU_VEC_LOAD_OP(op_v##name##_m, 16, align, emu_set_128(cpu, insn->reg, b))                     \
    EMU_VEC_LOAD_OP(op_y##name##_m, 32, align_256, emu_set_256(cpu, insn->reg, b, b1))             \
    EMU_VEC_TABLE(name) EMU_VEC_TABLE(v##name) EMU_VEC_TABLE(y##name)
#define STORES(name, align, align_256)                                                             \
    COPY(name, rm, reg)                                                                            \
    EMU_VEC_STORE_OP(op_##name##_m, 16, align, EMU_LANE(reg, 0))                                   \
    EMU_VEC_STORE_OP(op_y##name##_m, 32, align_256, EMU_LANE(reg, 0))                              \
    EMU_VEC_TABLE(name)                                                                            \
    EMU_VEC_TABLE(y##name)                                                                         \
    static const struct emu_forms v##name = EMU_FORMS_RM(op_v##name##_r, op_##name##_m);

LOADS(load, 0, 0)
LOADS(load_aligned, 15, 31)
STORES(store, 0, 0)
STORES(store_aligned, 15, 31)

/* Scalars: between registers the rest of the first source stays, loads clear it. */
EMU_KERNEL(k_movss)
{
    return EMU_SHUFFLE(emu_u32x4, a, b, 4, 1, 2, 3);
}
EMU_KERNEL(k_low_low)
{
    return (emu_lane){a[0], b[0]};
}
EMU_KERNEL(k_low_high)
{
    return (emu_lane){b[0], a[1]};
}
EMU_KERNEL(k_high_high)
{
    return (emu_lane){b[1], a[1]};
}
EMU_KERNEL(k_second)
{
    return b;
}
EMU_KERNEL(k_movq)
{
    return (emu_lane){b[0], 0};
}
EMU_VEC_SCALAR(movss, k_movss, 4, )
EMU_VEC_SCALAR(movsd, k_low_high, 8, )
EMU_VEC_SCALAR(load_4, k_second, 4, )
EMU_VEC_SCALAR(load_8, k_movq, 8, )
EMU_VEC_SCALAR(movlps, k_low_high, 8, )
EMU_VEC_SCALAR(movhps, k_low_low, 8, )
EMU_VEC_SCALAR(movhlps, k_high_high, 8, )

/* G to E: the merging register forms exchange their fields. */
#define STORE_SCALAR(name, kernel, size_bytes)                                                     \
    static EMU_OP(op_##name##_r)                                                                   \
    {                                                                                              \
        emu_set_legacy(cpu, insn->rm, kernel(cpu, insn, EMU_LANE(rm, 0), EMU_LANE(reg, 0)));       \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static EMU_OP(op_v##name##_r)                                                                  \
    {                                                                                              \
        emu_set_128(cpu, insn->rm, kernel(cpu, insn, EMU_LANE(src, 0), EMU_LANE(reg, 0)));         \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_VEC_STORE_OP(op_##name##_m, size_bytes, 0, EMU_LANE(reg, 0))                               \
    EMU_VEC_TABLE(name)                                                                            \
    static const struct emu_forms v##name = EMU_FORMS_RM(op_v##name##_r, op_##name##_m);
STORE_SCALAR(store_ss, k_movss, 4)
STORE_SCALAR(store_sd, k_low_high, 8)
STORE_SCALAR(store_q, k_movq, 8)
EMU_VEC_STORE_OP(op_store_high_m, 8, 0, cpu->vec[insn->reg].u64[1])
static const struct emu_forms store_high = EMU_FORMS_RM(NULL, op_store_high_m);

/* Elements doubled. */
EMU_KERNEL(k_movsldup)
{
    return EMU_SHUFFLE(emu_u32x4, b, b, 0, 0, 2, 2);
}
EMU_KERNEL(k_movshdup)
{
    return EMU_SHUFFLE(emu_u32x4, b, b, 1, 1, 3, 3);
}
EMU_KERNEL(k_movddup)
{
    return (emu_lane){b[0], b[0]};
}
EMU_VEC_PACKED(movsldup, k_movsldup, )
EMU_VEC_PACKED(movshdup, k_movshdup, )
EMU_VEC_SCALAR(movddup, k_movddup, 8, )
EMU_VEC_256(movddup, k_movddup, )
EMU_VEC_TABLE(ymovddup)

/* Of the forms of one operation, loads and stores with the same matches. */
#define ROWS(opcode, match, name) EMU_VEC_ROWS_PACKED(0F, opcode, match, EMU_PURE, EMU_VVVV0, name)
#define SCALAR(opcode, match, vex, name) EMU_VEC_ROWS_SCALAR(0F, opcode, match, EMU_PURE, vex, name)
#define HALF(opcode, match, name) SCALAR(opcode, match, EMU_L0, name)
#define STORE_HALF(opcode, match, name)                                                            \
    EMU_VEC_ROW_LEGACY(0F, opcode, match | EMU_MOD_M, 0, name),                                    \
        EMU_VEC_ROW_VEX(0F, opcode, EMU_##match | EMU_MOD_M | EMU_L0 | EMU_VVVV0, 0, name)

static const struct emu_row rows[] = {
    ROWS(0x10, NP, load),
    ROWS(0x10, P66, load),
    ROWS(0x11, NP, store),
    ROWS(0x11, P66, store),
    ROWS(0x28, NP, load_aligned),
    ROWS(0x28, P66, load_aligned),
    ROWS(0x29, NP, store_aligned),
    ROWS(0x29, P66, store_aligned),
    ROWS(0x6f, P66, load_aligned),
    ROWS(0x6f, PF3, load),
    ROWS(0x7f, P66, store_aligned),
    ROWS(0x7f, PF3, store),
    ROWS(0xf0, PF2 | EMU_MOD_M, load),
    ROWS(0x2b, NP | EMU_MOD_M, store_aligned),
    ROWS(0x2b, P66 | EMU_MOD_M, store_aligned),
    ROWS(0xe7, P66 | EMU_MOD_M, store_aligned),
    EMU_VEC_ROWS_PACKED(38, 0x2a, P66 | EMU_MOD_M, 0, EMU_VVVV0, load_aligned),
    SCALAR(0x10, PF3 | EMU_MOD_R, 0, movss),
    SCALAR(0x10, PF3 | EMU_MOD_M, EMU_VVVV0, load_4),
    SCALAR(0x10, PF2 | EMU_MOD_R, 0, movsd),
    SCALAR(0x10, PF2 | EMU_MOD_M, EMU_VVVV0, load_8),
    SCALAR(0x11, PF3 | EMU_MOD_R, 0, store_ss),
    SCALAR(0x11, PF3 | EMU_MOD_M, EMU_VVVV0, store_ss),
    SCALAR(0x11, PF2 | EMU_MOD_R, 0, store_sd),
    SCALAR(0x11, PF2 | EMU_MOD_M, EMU_VVVV0, store_sd),
    SCALAR(0x7e, PF3, EMU_L0 | EMU_VVVV0, load_8),
    SCALAR(0xd6, P66, EMU_L0 | EMU_VVVV0, store_q),
    HALF(0x12, NP | EMU_MOD_R, movhlps),
    HALF(0x12, NP | EMU_MOD_M, movlps),
    HALF(0x12, P66 | EMU_MOD_M, movlps),
    HALF(0x16, NP, movhps), /* MOVLHPS too */
    HALF(0x16, P66 | EMU_MOD_M, movhps),
    STORE_HALF(0x13, NP, store_q),
    STORE_HALF(0x13, P66, store_q),
    STORE_HALF(0x17, NP, store_high),
    STORE_HALF(0x17, P66, store_high),
    ROWS(0x12, PF3, movsldup),
    ROWS(0x16, PF3, movshdup),
    ROWS(0x12, PF2, movddup),
};
EMU_FAMILY(emu_family_vmov, rows);
