/* BMI1, BMI2, ADX and CRC32: general registers, mostly behind VEX. Intel SDM vol. 2. */
#include "ops.h"

__extension__ typedef unsigned __int128 uint128;

/* ZF and SF follow the result, CF is given, OF is 0; AF and PF are undefined. */
#define RESULT_FLAGS(s, result, cf)                                                                \
    emu_flags_result(cpu, (EMU_SIGNED_##s)(result), emu_carry_of(cf, false))

/* Gather the bits of `value` that the mask selects, or scatter them. */
static inline uint64_t extract(uint64_t value, uint64_t mask)
{
    uint64_t result = 0;
    for (unsigned to = 0; mask; to++, mask &= mask - 1)
        result |= ((value >> __builtin_ctzll(mask)) & 1) << to;
    return result;
}

static inline uint64_t deposit(uint64_t value, uint64_t mask)
{
    uint64_t result = 0;
    for (; mask; value >>= 1, mask &= mask - 1)
        result |= value & 1 ? mask & -mask : 0;
    return result;
}

static inline uint64_t bit_field(uint64_t value, unsigned start, unsigned length)
{
    value = start < 64 ? value >> start : 0;
    return length < 64 ? value & ((UINT64_C(1) << length) - 1) : value;
}

/* Each: E is `value`, vvvv is insn->src, G is insn->reg. */
#define BODIES(s)                                                                                  \
    static inline void andn_##s(struct emu_cpu *cpu, const struct emu_insn *insn,                  \
                                EMU_TYPE_##s value)                                                \
    {                                                                                              \
        value = (EMU_TYPE_##s)(value & ~emu_get_##s(cpu, insn->src));                              \
        RESULT_FLAGS(s, value, false);                                                             \
        emu_set_##s(cpu, insn->reg, value);                                                        \
    }                                                                                              \
    static inline void blsr_##s(struct emu_cpu *cpu, const struct emu_insn *insn,                  \
                                EMU_TYPE_##s value)                                                \
    {                                                                                              \
        EMU_TYPE_##s result = value & (value - 1);                                                 \
        RESULT_FLAGS(s, result, value == 0);                                                       \
        emu_set_##s(cpu, insn->src, result);                                                       \
    }                                                                                              \
    static inline void blsmsk_##s(struct emu_cpu *cpu, const struct emu_insn *insn,                \
                                  EMU_TYPE_##s value)                                              \
    {                                                                                              \
        EMU_TYPE_##s result = value ^ (value - 1);                                                 \
        RESULT_FLAGS(s, result, value == 0);                                                       \
        emu_set_##s(cpu, insn->src, result);                                                       \
    }                                                                                              \
    static inline void blsi_##s(struct emu_cpu *cpu, const struct emu_insn *insn,                  \
                                EMU_TYPE_##s value)                                                \
    {                                                                                              \
        EMU_TYPE_##s result = value & -value;                                                      \
        RESULT_FLAGS(s, result, value != 0);                                                       \
        emu_set_##s(cpu, insn->src, result);                                                       \
    }                                                                                              \
    static inline void bextr_##s(struct emu_cpu *cpu, const struct emu_insn *insn,                 \
                                 EMU_TYPE_##s value)                                               \
    {                                                                                              \
        uint64_t control = cpu->gpr[insn->src];                                                    \
        value = (EMU_TYPE_##s)bit_field(value, control & 0xff, control >> 8 & 0xff);               \
        RESULT_FLAGS(s, value, false);                                                             \
        emu_set_##s(cpu, insn->reg, value);                                                        \
    }                                                                                              \
    static inline void bzhi_##s(struct emu_cpu *cpu, const struct emu_insn *insn,                  \
                                EMU_TYPE_##s value)                                                \
    {                                                                                              \
        unsigned length = (uint8_t)cpu->gpr[insn->src];                                            \
        value = (EMU_TYPE_##s)bit_field(value, 0, length);                                         \
        RESULT_FLAGS(s, value, length >= EMU_BITS_##s);                                            \
        emu_set_##s(cpu, insn->reg, value);                                                        \
    }                                                                                              \
    static inline void pext_##s(struct emu_cpu *cpu, const struct emu_insn *insn,                  \
                                EMU_TYPE_##s value)                                                \
    {                                                                                              \
        value = (EMU_TYPE_##s)extract(emu_get_##s(cpu, insn->src), value);                         \
        emu_set_##s(cpu, insn->reg, value);                                                        \
    }                                                                                              \
    static inline void pdep_##s(struct emu_cpu *cpu, const struct emu_insn *insn,                  \
                                EMU_TYPE_##s value)                                                \
    {                                                                                              \
        value = (EMU_TYPE_##s)deposit(emu_get_##s(cpu, insn->src), value);                         \
        emu_set_##s(cpu, insn->reg, value);                                                        \
    }                                                                                              \
    static inline void sarx_##s(struct emu_cpu *cpu, const struct emu_insn *insn,                  \
                                EMU_TYPE_##s value)                                                \
    {                                                                                              \
        unsigned count = cpu->gpr[insn->src] % EMU_BITS_##s;                                       \
        emu_set_##s(cpu, insn->reg, (EMU_TYPE_##s)((EMU_SIGNED_##s)value >> count));               \
    }                                                                                              \
    static inline void shlx_##s(struct emu_cpu *cpu, const struct emu_insn *insn,                  \
                                EMU_TYPE_##s value)                                                \
    {                                                                                              \
        emu_set_##s(cpu, insn->reg, value << cpu->gpr[insn->src] % EMU_BITS_##s);                  \
    }                                                                                              \
    static inline void shrx_##s(struct emu_cpu *cpu, const struct emu_insn *insn,                  \
                                EMU_TYPE_##s value)                                                \
    {                                                                                              \
        emu_set_##s(cpu, insn->reg, value >> cpu->gpr[insn->src] % EMU_BITS_##s);                  \
    }                                                                                              \
    static inline void rorx_##s(struct emu_cpu *cpu, const struct emu_insn *insn,                  \
                                EMU_TYPE_##s value)                                                \
    {                                                                                              \
        unsigned count = insn->imm % EMU_BITS_##s, rest = -count % EMU_BITS_##s;                   \
        emu_set_##s(cpu, insn->reg, value >> count | value << rest);                               \
    }                                                                                              \
    static inline void mulx_##s(struct emu_cpu *cpu, const struct emu_insn *insn,                  \
                                EMU_TYPE_##s value)                                                \
    {                                                                                              \
        uint128 product = (uint128)emu_get_##s(cpu, RDX) * value;                                  \
        emu_set_##s(cpu, insn->src, (EMU_TYPE_##s)product);                                        \
        emu_set_##s(cpu, insn->reg, (EMU_TYPE_##s)(product >> EMU_BITS_##s));                      \
    }                                                                                              \
    static inline void adcx_##s(struct emu_cpu *cpu, const struct emu_insn *insn,                  \
                                EMU_TYPE_##s value)                                                \
    {                                                                                              \
        uint128 sum = (uint128)emu_get_##s(cpu, insn->reg) + value + emu_cf(cpu);                  \
        emu_set_cf(cpu, sum >> EMU_BITS_##s);                                                      \
        emu_set_##s(cpu, insn->reg, (EMU_TYPE_##s)sum);                                            \
    }                                                                                              \
    static inline void adox_##s(struct emu_cpu *cpu, const struct emu_insn *insn,                  \
                                EMU_TYPE_##s value)                                                \
    {                                                                                              \
        uint128 sum = (uint128)emu_get_##s(cpu, insn->reg) + value + emu_of(cpu);                  \
        emu_set_cf_of(cpu, emu_cf(cpu), sum >> EMU_BITS_##s);                                      \
        emu_set_##s(cpu, insn->reg, (EMU_TYPE_##s)sum);                                            \
    }
BODIES(d)
BODIES(q)

#define HANDLERS(mn, s)                                                                            \
    static EMU_OP(op_##mn##_g##s##_e##s##_r)                                                       \
    {                                                                                              \
        mn##_##s(cpu, insn, emu_get_##s(cpu, insn->rm));                                           \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_LOAD_OP(op_##mn##_g##s##_e##s##_m, s, mn##_##s(cpu, insn, value))
#define DEFINE(mn)                                                                                 \
    HANDLERS(mn, d)                                                                                \
    HANDLERS(mn, q)                                                                                \
    static const struct emu_forms mn =                                                             \
        EMU_FORMS(NULL, NULL, op_##mn##_gd_ed_r, op_##mn##_gq_eq_r, NULL, NULL, op_##mn##_gd_ed_m, \
                  op_##mn##_gq_eq_m);
DEFINE(andn)
DEFINE(blsr)
DEFINE(blsmsk)
DEFINE(blsi)
DEFINE(bextr)
DEFINE(bzhi)
DEFINE(pext)
DEFINE(pdep)
DEFINE(sarx)
DEFINE(shlx)
DEFINE(shrx)
DEFINE(rorx)
DEFINE(mulx)
DEFINE(adcx)
DEFINE(adox)

/* CRC32 with the polynomial 11EDC6F41, bits reversed: a byte at a time. */
static uint32_t crc32(uint32_t crc, uint64_t value, unsigned size_bytes)
{
    for (unsigned i = 0; i < size_bytes; i++, value >>= 8) {
        crc ^= (uint8_t)value;
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return crc;
}

#define CRC(s)                                                                                     \
    static EMU_OP(op_crc32_gd_e##s##_r)                                                            \
    {                                                                                              \
        uint32_t crc = emu_get_d(cpu, insn->reg);                                                  \
        crc = crc32(crc, emu_get_##s(cpu, insn->rm), sizeof(EMU_TYPE_##s));                        \
        emu_set_d(cpu, insn->reg, crc);                                                            \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    EMU_LOAD_OP(                                                                                   \
        op_crc32_gd_e##s##_m, s,                                                                   \
        emu_set_d(cpu, insn->reg, crc32(emu_get_d(cpu, insn->reg), value, sizeof(EMU_TYPE_##s))))
EMU_ALL_SIZES(CRC)
static const struct emu_forms crc32_gd_e =
    EMU_FORMS(op_crc32_gd_eb_r, op_crc32_gd_ew_r, op_crc32_gd_ed_r, op_crc32_gd_eq_r,
              op_crc32_gd_eb_m, op_crc32_gd_ew_m, op_crc32_gd_ed_m, op_crc32_gd_eq_m);

#define SHAPE (EMU_MODRM | EMU_SIZE_Y | EMU_PURE)
#define VEX_ROW(opcode, match, attr, forms)                                                        \
    {EMU_MAP_V38, opcode, EMU_L0 | (match), SHAPE | (attr), &forms, NULL}
#define ADX_ROW(match, attr, forms) {EMU_MAP_38, 0xf6, match, SHAPE | (attr), &forms, NULL}

static const struct emu_row rows[] = {
    VEX_ROW(0xf2, EMU_NP, EMU_WRITES_ALL, andn),
    VEX_ROW(0xf3, EMU_NP | EMU_REG(1), EMU_WRITES_ALL, blsr),
    VEX_ROW(0xf3, EMU_NP | EMU_REG(2), EMU_WRITES_ALL, blsmsk),
    VEX_ROW(0xf3, EMU_NP | EMU_REG(3), EMU_WRITES_ALL, blsi),
    VEX_ROW(0xf5, EMU_NP, EMU_WRITES_ALL, bzhi),
    VEX_ROW(0xf5, EMU_PF3, 0, pext),
    VEX_ROW(0xf5, EMU_PF2, 0, pdep),
    VEX_ROW(0xf6, EMU_PF2, 0, mulx),
    VEX_ROW(0xf7, EMU_NP, EMU_WRITES_ALL, bextr),
    VEX_ROW(0xf7, EMU_P66, 0, shlx),
    VEX_ROW(0xf7, EMU_PF3, 0, sarx),
    VEX_ROW(0xf7, EMU_PF2, 0, shrx),
    {EMU_MAP_V3A, 0xf0, EMU_PF2 | EMU_L0 | EMU_VVVV0, SHAPE | EMU_IMM_U8, &rorx, NULL},
    ADX_ROW(EMU_P66, EMU_READS_CF, adcx),
    ADX_ROW(EMU_PF3, EMU_READS_ALL, adox),
    {EMU_MAP_38, 0xf0, EMU_PF2, EMU_MODRM | EMU_BYTE_E | EMU_PURE, &crc32_gd_e, NULL},
    {EMU_MAP_38, 0xf1, EMU_PF2, EMU_MODRM | EMU_SIZE_V | EMU_PURE, &crc32_gd_e, NULL},
};
EMU_FAMILY(emu_family_bmi, rows);
