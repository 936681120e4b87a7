/* Vector instructions: from one kernel to its legacy SSE, VEX.128 and VEX.256 forms.
 *
 * A kernel computes one lane of 16 bytes:
 *
 *     static inline emu_lane paddd(struct emu_cpu *cpu, const struct emu_insn *insn,
 *                                  emu_lane a, emu_lane b)
 *
 * which EMU_KERNEL(paddd) abbreviates. `a` is the first source (the destination's old value
 * in legacy forms, VEX.vvvv in the others), `b` the second, register or memory; an immediate is
 * insn->imm. EMU_VEC_PACKED or EMU_VEC_SCALAR makes its handlers and their tables (NAME,
 * vNAME, yNAME), EMU_VEC_ROWS_* their rows. Short memory operands come zero-extended.
 *
 * `done` is a statement between computing and writing the result, where a fault may
 * still be raised: both lanes of VEX.256 have been computed by then. */
#ifndef PYKVM_EMU_VEC_H
#define PYKVM_EMU_VEC_H

#include "ops.h"

/* Lanes by element. Conversions between these types keep the bits. */
typedef uint8_t emu_u8x16 __attribute__((vector_size(16)));
typedef int8_t emu_i8x16 __attribute__((vector_size(16)));
typedef uint16_t emu_u16x8 __attribute__((vector_size(16)));
typedef int16_t emu_i16x8 __attribute__((vector_size(16)));
typedef uint32_t emu_u32x4 __attribute__((vector_size(16)));
typedef int32_t emu_i32x4 __attribute__((vector_size(16)));
typedef int64_t emu_i64x2 __attribute__((vector_size(16)));
typedef float emu_f32x4 __attribute__((vector_size(16)));
typedef double emu_f64x2 __attribute__((vector_size(16)));

/* Integer elements of a and b, chosen by constants: those of b are numbered after a's. */
#if defined(__clang__)
#define EMU_SHUFFLE(type, a, b, ...)                                                               \
    ((emu_lane)__builtin_shufflevector((type)(a), (type)(b), __VA_ARGS__))
#else
#define EMU_SHUFFLE(type, a, b, ...)                                                               \
    ((emu_lane)__builtin_shuffle((type)(a), (type)(b), (type){__VA_ARGS__}))
#endif

/* A lane's elements, for loops over them. */
union emu_elements {
    emu_lane lane;
    uint8_t u8[16];
    int8_t i8[16];
    uint16_t u16[8];
    int16_t i16[8];
    uint32_t u32[4];
    int32_t i32[4];
    uint64_t u64[2];
    int64_t i64[2];
    float f32[4];
    double f64[2];
};

#define EMU_KERNEL(name)                                                                           \
    static inline __attribute__((always_inline)) emu_lane name(                                    \
        struct emu_cpu *cpu __attribute__((unused)),                                               \
        const struct emu_insn *insn __attribute__((unused)), emu_lane a __attribute__((unused)),   \
        emu_lane b __attribute__((unused)))

static inline emu_lane emu_lane_at(const void *from, uint32_t size_bytes)
{
    emu_lane lane = {0};
    uint64_t part = 0;
    if (size_bytes >= 16) {
        memcpy(&lane, from, 16);
        return lane;
    }
    memcpy(&part, from, size_bytes);
    lane[0] = part;
    return lane;
}

/* Handlers with a memory source. In the statement that comes last `b` is its first lane, and
 * `b1` its second where it has 32 bytes. `align`: 0, or the bits of the address that must be
 * clear. The twins are as in EMU_LOAD_OP: the fast one has no call but jumps. */
#define EMU_VEC_LOAD_OP(name, size_bytes, align, ...)                                              \
    static EMU_NOINLINE EMU_OP(name##_slow)                                                        \
    {                                                                                              \
        union emu_vec value_;                                                                      \
        uint64_t linear_ = emu_ea_aligned(cpu, insn, size_bytes, (align) + 1, false);              \
        emu_read_bytes(cpu, insn, linear_, &value_, size_bytes);                                   \
        emu_lane b = emu_lane_at(&value_, size_bytes);                                             \
        emu_lane b1 = (size_bytes) == 32 ? value_.lane[1] : (emu_lane){0};                         \
        (void)b1;                                                                                  \
        __VA_ARGS__;                                                                               \
        EMU_NEXT_UNCHAINED;                                                                        \
    }                                                                                              \
    static EMU_OP(name)                                                                            \
    {                                                                                              \
        uint64_t linear_ = emu_ea_sum(cpu, insn);                                                  \
        if (EMU_UNLIKELY(insn->ea)) {                                                              \
            if (insn->ea & EMU_EA_CHECK)                                                           \
                return name##_slow(cpu, insn);                                                     \
            linear_ = emu_unchecked(cpu, insn->ea, linear_);                                       \
        }                                                                                          \
        const uint8_t *host_ = emu_tlb_read(cpu, linear_, size_bytes);                             \
        if (EMU_UNLIKELY(!host_ || (linear_ & (align))))                                           \
            return name##_slow(cpu, insn);                                                         \
        emu_lane b = emu_lane_at(host_, size_bytes);                                               \
        emu_lane b1 = (size_bytes) == 32 ? emu_lane_at(host_ + 16, 16) : (emu_lane){0};            \
        (void)b1;                                                                                  \
        __VA_ARGS__;                                                                               \
        EMU_NEXT;                                                                                  \
    }

/* Handlers that store the first bytes of `source`, an lvalue. */
#define EMU_VEC_STORE_OP(name, size_bytes, align, source)                                          \
    static EMU_NOINLINE EMU_OP(name##_slow)                                                        \
    {                                                                                              \
        uint64_t linear_ = emu_ea_aligned(cpu, insn, size_bytes, (align) + 1, true);               \
        emu_write_bytes(cpu, insn, linear_, &(source), size_bytes);                                \
        EMU_NEXT_UNCHAINED;                                                                        \
    }                                                                                              \
    static EMU_OP(name)                                                                            \
    {                                                                                              \
        uint64_t linear_ = emu_ea_sum(cpu, insn);                                                  \
        if (EMU_UNLIKELY(insn->ea)) {                                                              \
            if (insn->ea & EMU_EA_CHECK)                                                           \
                return name##_slow(cpu, insn);                                                     \
            linear_ = emu_unchecked(cpu, insn->ea, linear_);                                       \
        }                                                                                          \
        uint8_t *host_ = emu_tlb_write(cpu, linear_, size_bytes);                                  \
        if (EMU_UNLIKELY(!host_ || (linear_ & (align))))                                           \
            return name##_slow(cpu, insn);                                                         \
        memcpy(host_, &(source), size_bytes);                                                      \
        EMU_NEXT;                                                                                  \
    }

/* What becomes of the result: legacy SSE keeps the upper half of a YMM register, VEX.128
 * clears it (Intel SDM vol. 1 §14.3). */
static inline void emu_set_legacy(struct emu_cpu *cpu, unsigned reg, emu_lane low)
{
    cpu->vec[reg].lane[0] = low;
}

static inline void emu_set_128(struct emu_cpu *cpu, unsigned reg, emu_lane low)
{
    cpu->vec[reg].lane[0] = low;
    cpu->vec[reg].lane[1] = (emu_lane){0};
}

static inline void emu_set_256(struct emu_cpu *cpu, unsigned reg, emu_lane low, emu_lane high)
{
    cpu->vec[reg].lane[0] = low;
    cpu->vec[reg].lane[1] = high;
}

#define EMU_LANE(field, n) cpu->vec[insn->field].lane[n]

/* op_NAME_r, _m: legacy. `align`: 15, or 0 for scalars and what needs no alignment. */
#define EMU_VEC_LEGACY(name, kernel, size_bytes, align, done)                                      \
    static EMU_OP(op_##name##_r)                                                                   \
    {                                                                                              \
        emu_lane x = kernel(cpu, insn, EMU_LANE(reg, 0), EMU_LANE(rm, 0));                         \
        done;                                                                                      \
        emu_set_legacy(cpu, insn->reg, x);                                                         \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_VEC_LOAD_OP(op_##name##_m, size_bytes, align,                                              \
                    emu_lane x = kernel(cpu, insn, EMU_LANE(reg, 0), b);                           \
                    done; emu_set_legacy(cpu, insn->reg, x))

/* op_vNAME_r, _m: VEX.128. */
#define EMU_VEC_128(name, kernel, size_bytes, done)                                                \
    static EMU_OP(op_v##name##_r)                                                                  \
    {                                                                                              \
        emu_lane x = kernel(cpu, insn, EMU_LANE(src, 0), EMU_LANE(rm, 0));                         \
        done;                                                                                      \
        emu_set_128(cpu, insn->reg, x);                                                            \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_VEC_LOAD_OP(op_v##name##_m, size_bytes, 0,                                                 \
                    emu_lane x = kernel(cpu, insn, EMU_LANE(src, 0), b);                           \
                    done; emu_set_128(cpu, insn->reg, x))

/* op_yNAME_r, _m: VEX.256; a kernel for each lane, where they differ in their immediates. */
#define EMU_VEC_256_PAIR(name, low, high, done)                                                    \
    static EMU_OP(op_y##name##_r)                                                                  \
    {                                                                                              \
        emu_lane x = low(cpu, insn, EMU_LANE(src, 0), EMU_LANE(rm, 0));                            \
        emu_lane y = high(cpu, insn, EMU_LANE(src, 1), EMU_LANE(rm, 1));                           \
        done;                                                                                      \
        emu_set_256(cpu, insn->reg, x, y);                                                         \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_VEC_LOAD_OP(op_y##name##_m, 32, 0, emu_lane x = low(cpu, insn, EMU_LANE(src, 0), b);       \
                    emu_lane y = high(cpu, insn, EMU_LANE(src, 1), b1); done;                      \
                    emu_set_256(cpu, insn->reg, x, y))
#define EMU_VEC_256(name, kernel, done) EMU_VEC_256_PAIR(name, kernel, kernel, done)

/* Tables: NAME, vNAME, yNAME. */
#define EMU_VEC_TABLE(name)                                                                        \
    static const struct emu_forms name = EMU_FORMS_RM(op_##name##_r, op_##name##_m);

/* Packed: all three forms, 16 and 32 bytes, the legacy form aligned. */
#define EMU_VEC_PACKED_PAIR(name, low, high, done)                                                 \
    EMU_VEC_LEGACY(name, low, 16, 15, done)                                                        \
    EMU_VEC_128(name, low, 16, done)                                                               \
    EMU_VEC_256_PAIR(name, low, high, done)                                                        \
    EMU_VEC_TABLE(name) EMU_VEC_TABLE(v##name) EMU_VEC_TABLE(y##name)
#define EMU_VEC_PACKED(name, kernel, done) EMU_VEC_PACKED_PAIR(name, kernel, kernel, done)

/* Scalar: legacy and VEX.128 with a memory operand of `size_bytes`. */
#define EMU_VEC_SCALAR(name, kernel, size_bytes, done)                                             \
    EMU_VEC_LEGACY(name, kernel, size_bytes, 0, done)                                              \
    EMU_VEC_128(name, kernel, size_bytes, done)                                                    \
    EMU_VEC_TABLE(name)                                                                            \
    EMU_VEC_TABLE(v##name)

/* Rows. map: 0F, 38, 3A; prefix: NP, P66, PF3, PF2; shape: an immediate, EMU_PURE;
 * vex: matches for the VEX forms alone: EMU_W0, EMU_VVVV0 where there is one source. */
#define EMU_VEC_ROW_LEGACY(map, opcode, prefix, shape, name)                                       \
    {EMU_MAP_##map, opcode, EMU_##prefix, EMU_MODRM | EMU_SSE | (shape), &name, NULL}
#define EMU_VEC_ROW_VEX(map, opcode, match, shape, name)                                           \
    {EMU_MAP_V##map, opcode, match, EMU_MODRM | EMU_AVX | (shape), &name, NULL}
#define EMU_VEC_ROWS_PACKED(map, opcode, prefix, shape, vex, name)                                 \
    EMU_VEC_ROW_LEGACY(map, opcode, prefix, shape, name),                                          \
        EMU_VEC_ROW_VEX(map, opcode, EMU_##prefix | EMU_L0 | (vex), shape, v##name),               \
        EMU_VEC_ROW_VEX(map, opcode, EMU_##prefix | EMU_L1 | (vex), shape, y##name)
/* VEX.L means nothing to scalars. */
#define EMU_VEC_ROWS_SCALAR(map, opcode, prefix, shape, vex, name)                                 \
    EMU_VEC_ROW_LEGACY(map, opcode, prefix, shape, name),                                          \
        EMU_VEC_ROW_VEX(map, opcode, EMU_##prefix | (vex), shape, v##name)

#endif
