/* Logic and simple arithmetic on vectors of integers. */
#include "mmx.h"

/* a OP b by elements of a type: NAME is the instruction. */
#define BINARY(name, type, expression)                                                             \
    EMU_KERNEL(k_##name)                                                                           \
    {                                                                                              \
        type p = (type)a, q = (type)b;                                                             \
        return (emu_lane)(expression);                                                             \
    }                                                                                              \
    EMU_VEC_PACKED(name, k_##name, )                                                               \
    EMU_MMX_OPS(name, k_##name, 8)

BINARY(and, emu_lane, p &q)
BINARY(andn, emu_lane, ~p &q)
BINARY(or, emu_lane, p | q)
BINARY(xor, emu_lane, p ^ q)

#define ROWS(opcode, prefix, name) EMU_VEC_ROWS_PACKED(0F, opcode, prefix, EMU_PURE, 0, name)

static const struct emu_row rows[] = {
    EMU_MMX_ROW(0F, 0xdb, 0, and),
    EMU_MMX_ROW(0F, 0xdf, 0, andn),
    EMU_MMX_ROW(0F, 0xeb, 0, or),
    EMU_MMX_ROW(0F, 0xef, 0, xor),
    ROWS(0x54, NP, and),
    ROWS(0x54, P66, and),
    ROWS(0xdb, P66, and),
    ROWS(0x55, NP, andn),
    ROWS(0x55, P66, andn),
    ROWS(0xdf, P66, andn),
    ROWS(0x56, NP, or),
    ROWS(0x56, P66, or),
    ROWS(0xeb, P66, or),
    ROWS(0x57, NP, xor),
    ROWS(0x57, P66, xor),
    ROWS(0xef, P66, xor),
};
EMU_FAMILY(emu_family_vlogic, rows);
