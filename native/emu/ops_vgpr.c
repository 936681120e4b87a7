/* Moves between vector, MMX and general registers, sign masks, and stores under a mask. */
#include "mmx.h"

/* MOVD, MOVQ: 32 or 64 bits by REX.W or VEX.W. */
#define FROM_GENERAL(s, size_bytes)                                                                \
    static EMU_OP(op_movd_##s##_r)                                                                 \
    {                                                                                              \
        emu_set_legacy(cpu, insn->reg, (emu_lane){emu_get_##s(cpu, insn->rm)});                    \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_VEC_LOAD_OP(op_movd_##s##_m, size_bytes, 0, emu_set_legacy(cpu, insn->reg, b))             \
    static EMU_OP(op_vmovd_##s##_r)                                                                \
    {                                                                                              \
        emu_set_128(cpu, insn->reg, (emu_lane){emu_get_##s(cpu, insn->rm)});                       \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_VEC_LOAD_OP(op_vmovd_##s##_m, size_bytes, 0, emu_set_128(cpu, insn->reg, b))               \
    static EMU_OP(op_mmovd_##s##_r)                                                                \
    {                                                                                              \
        emu_mmx_begin(cpu, insn);                                                                  \
        emu_mmx_set(cpu, insn->reg, emu_get_##s(cpu, insn->rm));                                   \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_MMX_LOAD_OP(op_mmovd_##s##_m, size_bytes, emu_mmx_set(cpu, insn->reg, b[0]))
FROM_GENERAL(d, 4)
FROM_GENERAL(q, 8)

#define TO_GENERAL(s, field)                                                                       \
    static EMU_OP(op_store_##s##_r)                                                                \
    {                                                                                              \
        emu_set_##s(cpu, insn->rm, cpu->vec[insn->reg].field[0]);                                  \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_STORE_OP(op_store_##s##_m, s, value = cpu->vec[insn->reg].field[0])                        \
    static EMU_OP(op_mstore_##s##_r)                                                               \
    {                                                                                              \
        emu_mmx_begin(cpu, insn);                                                                  \
        emu_set_##s(cpu, insn->rm, (EMU_TYPE_##s)emu_mmx_get(cpu, insn->reg)[0]);                  \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static EMU_OP(op_mstore_##s##_m)                                                               \
    {                                                                                              \
        emu_mmx_wait(cpu, insn);                                                                   \
        uint64_t linear = emu_ea(cpu, insn, sizeof(EMU_TYPE_##s), true);                           \
        emu_probe_write(cpu, insn, linear, sizeof(EMU_TYPE_##s));                                  \
        emu_mmx_begin(cpu, insn);                                                                  \
        emu_store_##s(cpu, insn, linear, (EMU_TYPE_##s)emu_mmx_get(cpu, insn->reg)[0]);            \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_STORE_OP(op_movnti_##s##_m, s, value = emu_get_##s(cpu, insn->reg))
TO_GENERAL(d, u32)
TO_GENERAL(q, u64)

#define WIDE_FORMS(name)                                                                           \
    static const struct emu_forms name = EMU_FORMS(NULL, NULL, op_##name##_d_r, op_##name##_q_r,   \
                                                   NULL, NULL, op_##name##_d_m, op_##name##_q_m);
WIDE_FORMS(movd)
WIDE_FORMS(vmovd)
WIDE_FORMS(mmovd)
WIDE_FORMS(store)
WIDE_FORMS(mstore)
static const struct emu_forms movnti =
    EMU_FORMS(NULL, NULL, NULL, NULL, NULL, NULL, op_movnti_d_m, op_movnti_q_m);

EMU_KERNEL(k_second)
{
    return b;
}
EMU_MMX_OPS(load, k_second, 8)

static EMU_OP(op_mcopy_r)
{
    emu_mmx_begin(cpu, insn);
    emu_mmx_set(cpu, insn->rm, emu_mmx_get(cpu, insn->reg)[0]);
    EMU_NEXT;
}
static const struct emu_forms mcopy = EMU_FORMS_RM(op_mcopy_r, op_mstore_q_m);

static EMU_OP(op_movq2dq)
{
    emu_mmx_begin(cpu, insn);
    emu_set_legacy(cpu, insn->reg, emu_mmx_get(cpu, insn->rm));
    EMU_NEXT;
}

static EMU_OP(op_movdq2q)
{
    emu_mmx_begin(cpu, insn);
    emu_mmx_set(cpu, insn->reg, EMU_LANE(rm, 0)[0]);
    EMU_NEXT;
}
static const struct emu_forms movq2dq = EMU_FORMS_RM(op_movq2dq, NULL);
static const struct emu_forms movdq2q = EMU_FORMS_RM(op_movdq2q, NULL);

/* The top bits of elements, gathered: by multiplications, as a byte's eight bits can be. */
static inline unsigned sign_bits_8(uint64_t bytes)
{
    return (unsigned)(((bytes & 0x8080808080808080) * 0x0002040810204081) >> 56);
}

static inline unsigned byte_signs(emu_lane a)
{
    return sign_bits_8(a[0]) | sign_bits_8(a[1]) << 8;
}

static inline unsigned dword_signs(emu_lane a)
{
    return (unsigned)(a[0] >> 31 & 1) | (unsigned)(a[0] >> 63) << 1 |
           (unsigned)(a[1] >> 31 & 1) << 2 | (unsigned)(a[1] >> 63) << 3;
}

static inline unsigned qword_signs(emu_lane a)
{
    return (unsigned)(a[0] >> 63) | (unsigned)(a[1] >> 63) << 1;
}

#define MASKS(name, signs, count)                                                                  \
    static EMU_OP(op_##name)                                                                       \
    {                                                                                              \
        emu_set_d(cpu, insn->reg, signs(EMU_LANE(rm, 0)));                                         \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static EMU_OP(op_y##name)                                                                      \
    {                                                                                              \
        emu_set_d(cpu, insn->reg, signs(EMU_LANE(rm, 0)) | signs(EMU_LANE(rm, 1)) << (count));     \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static const struct emu_forms name = EMU_FORMS_RM(op_##name, NULL);                            \
    static const struct emu_forms y##name = EMU_FORMS_RM(op_y##name, NULL);
MASKS(pmovmskb, byte_signs, 16)
MASKS(movmskps, dword_signs, 4)
MASKS(movmskpd, qword_signs, 2)

static EMU_OP(op_mpmovmskb)
{
    emu_mmx_begin(cpu, insn);
    emu_set_d(cpu, insn->reg, sign_bits_8(emu_mmx_get(cpu, insn->rm)[0]));
    EMU_NEXT;
}
static const struct emu_forms mpmovmskb = EMU_FORMS_RM(op_mpmovmskb, NULL);

/* Store the bytes that `mask` has a bit for at [rDI]: all of them or none. Alignment is checked as
 * of a quadword, the operand's own where it has one. */
static EMU_NOINLINE void store_bytes(struct emu_cpu *cpu, const struct emu_insn *insn,
                                     unsigned mask, emu_lane value)
{
    union emu_vec bytes = {.lane = {value}};
    if (emu_checks_alignment(cpu) && emu_ea_of(cpu, insn, cpu->gpr[RDI], 1, true) % 8)
        emu_raise_error(cpu, insn, EXC_AC, 0);
    if (!mask)
        return;
    unsigned first = (unsigned)__builtin_ctz(mask), last = 31 - (unsigned)__builtin_clz(mask);
    uint64_t linear = emu_ea_of(cpu, insn, cpu->gpr[RDI], last + 1, true);
    emu_probe_aligned(cpu, insn, linear + first, last + 1 - first, 1);
    for (unsigned i = first; i <= last; i++)
        if (mask >> i & 1)
            emu_store_b(cpu, insn, linear + i, bytes.u8[i]);
}

static EMU_OP(op_maskmovdqu)
{
    store_bytes(cpu, insn, byte_signs(EMU_LANE(rm, 0)), EMU_LANE(reg, 0));
    EMU_NEXT;
}

static EMU_OP(op_maskmovq)
{
    emu_mmx_wait(cpu, insn);
    store_bytes(cpu, insn, sign_bits_8(emu_mmx_get(cpu, insn->rm)[0]), emu_mmx_get(cpu, insn->reg));
    emu_mmx_begin(cpu, insn);
    EMU_NEXT;
}
static const struct emu_forms maskmovdqu = EMU_FORMS_RM(op_maskmovdqu, NULL);
static const struct emu_forms maskmovq = EMU_FORMS_RM(op_maskmovq, NULL);

#define MASK_ROWS(opcode, match, name)                                                             \
    EMU_VEC_ROW_LEGACY(0F, opcode, match, EMU_PURE, name),                                         \
        EMU_VEC_ROW_VEX(0F, opcode, EMU_##match | EMU_L0 | EMU_VVVV0, EMU_PURE, name),             \
        EMU_VEC_ROW_VEX(0F, opcode, EMU_##match | EMU_L1 | EMU_VVVV0, EMU_PURE, y##name)

static const struct emu_row rows[] = {
    EMU_VEC_ROW_LEGACY(0F, 0x6e, P66, EMU_SIZE_Y | EMU_PURE, movd),
    EMU_VEC_ROW_VEX(0F, 0x6e, EMU_P66 | EMU_L0 | EMU_VVVV0, EMU_SIZE_Y | EMU_PURE, vmovd),
    EMU_MMX_ROW(0F, 0x6e, EMU_SIZE_Y, movd),
    EMU_VEC_ROW_LEGACY(0F, 0x7e, P66, EMU_SIZE_Y | EMU_PURE, store),
    EMU_VEC_ROW_VEX(0F, 0x7e, EMU_P66 | EMU_L0 | EMU_VVVV0, EMU_SIZE_Y | EMU_PURE, store),
    EMU_MMX_ROW(0F, 0x7e, EMU_SIZE_Y, store),
    EMU_MMX_ROW(0F, 0x6f, 0, load),
    EMU_MMX_ROW(0F, 0x7f, 0, copy),
    {EMU_MAP_0F, 0xe7, EMU_NP | EMU_MOD_M, EMU_MODRM | EMU_MMX, &mcopy, NULL},
    {EMU_MAP_0F, 0xc3, EMU_NP | EMU_MOD_M, EMU_MODRM | EMU_SIZE_Y, &movnti, NULL},
    EMU_VEC_ROW_LEGACY(0F, 0xd6, PF3 | EMU_MOD_R, 0, movq2dq),
    EMU_VEC_ROW_LEGACY(0F, 0xd6, PF2 | EMU_MOD_R, 0, movdq2q),
    MASK_ROWS(0x50, NP, movmskps),
    MASK_ROWS(0x50, P66, movmskpd),
    MASK_ROWS(0xd7, P66, pmovmskb),
    EMU_MMX_ROW(0F, 0xd7, 0, pmovmskb),
    EMU_VEC_ROW_LEGACY(0F, 0xf7, P66, EMU_IMPLICIT, maskmovdqu),
    EMU_VEC_ROW_VEX(0F, 0xf7, EMU_P66 | EMU_L0 | EMU_VVVV0, EMU_IMPLICIT, maskmovdqu),
    {EMU_MAP_0F, 0xf7, EMU_NP, EMU_MODRM | EMU_MMX | EMU_IMPLICIT, &maskmovq, NULL},
};
EMU_FAMILY(emu_family_vgpr, rows);
