/* The registry of instruction families: their rows, sorted by opcode once per process. */
#include <pthread.h>
#include <stdlib.h>

#include "decode.h"

/* A file of instructions is part of the emulator once it is named here. Where rows of
 * several families match an encoding, the first family's wins. */
#define FAMILIES(X)                                                                                \
    X(emu_family_arith)                                                                            \
    X(emu_family_logic)                                                                            \
    X(emu_family_shift)                                                                            \
    X(emu_family_muldiv)                                                                           \
    X(emu_family_bcd)                                                                              \
    X(emu_family_mov)                                                                              \
    X(emu_family_exchange)                                                                         \
    X(emu_family_bit)                                                                              \
    X(emu_family_bmi)                                                                              \
    X(emu_family_flags)                                                                            \
    X(emu_family_stack)                                                                            \
    X(emu_family_branch)                                                                           \
    X(emu_family_far)                                                                              \
    X(emu_family_string)                                                                           \
    X(emu_family_port)                                                                             \
    X(emu_family_segment)                                                                          \
    X(emu_family_control)                                                                          \
    X(emu_family_msr)                                                                              \
    X(emu_family_system)                                                                           \
    X(emu_family_mxcsr)                                                                            \
    X(emu_family_vmov)                                                                             \
    X(emu_family_vgpr)                                                                             \
    X(emu_family_vlogic)                                                                           \
    X(emu_family_x87_arith)                                                                        \
    X(emu_family_x87_move)                                                                         \
    X(emu_family_x87_function)                                                                     \
    X(emu_family_x87_env)                                                                          \
    X(emu_family_xsave)                                                                            \
    X(emu_family_pkey)                                                                             \
    X(emu_family_vint)                                                                             \
    X(emu_family_vmul)                                                                             \
    X(emu_family_vshift)                                                                           \
    X(emu_family_vpack)                                                                            \
    X(emu_family_vshuffle)                                                                         \
    X(emu_family_vinsert)                                                                          \
    X(emu_family_vlane)                                                                            \
    X(emu_family_vmask)                                                                            \
    X(emu_family_vstring)                                                                          \
    X(emu_family_vaes)                                                                             \
    X(emu_family_vsha)                                                                             \
    X(emu_family_fp_arith)                                                                         \
    X(emu_family_fp_compare)                                                                       \
    X(emu_family_fp_convert)                                                                       \
    X(emu_family_fp_general)                                                                       \
    X(emu_family_fp_fma)                                                                           \
    X(emu_family_fp_horizontal)                                                                    \
    X(emu_family_fp_approx)                                                                        \
    X(emu_family_fp_mmx)

#define DECLARE(family) extern const struct emu_family family;
#define POINTER(family) &family,
FAMILIES(DECLARE)

static const struct emu_family *const families[] = {FAMILIES(POINTER)};
#define FAMILY_COUNT (sizeof(families) / sizeof(families[0]))

#define OPCODES (EMU_MAPS * 256)
#define ROWS_MAX 4096

/* start[o] .. start[o + 1] - 2 are the rows of opcode o in `sorted`, then comes a NULL. */
static uint16_t start[OPCODES + 1];
static const struct emu_row *sorted[ROWS_MAX + OPCODES];
static uint16_t feature[ROWS_MAX + OPCODES];

static uint32_t opcode_of(const struct emu_row *row)
{
    return row->map * 256u + row->opcode;
}

/* Rows that name a range of opcodes by EMU_OPREG stand for eight. */
static uint32_t span(const struct emu_row *row)
{
    return row->shape & EMU_OPREG ? 8 : 1;
}

static void sort_rows(void)
{
    static uint16_t fill[OPCODES];
    for (size_t f = 0; f < FAMILY_COUNT; f++)
        for (uint32_t i = 0; i < families[f]->count; i++)
            for (uint32_t n = 0; n < span(&families[f]->rows[i]); n++)
                fill[opcode_of(&families[f]->rows[i]) + n]++;
    for (uint32_t o = 0; o < OPCODES; o++) {
        start[o + 1] = (uint16_t)(start[o] + fill[o] + 1);
        fill[o] = start[o];
    }
    for (size_t f = 0; f < FAMILY_COUNT; f++)
        for (uint32_t i = 0; i < families[f]->count; i++) {
            const struct emu_row *row = &families[f]->rows[i];
            for (uint32_t n = 0; n < span(row); n++)
                sorted[fill[opcode_of(row) + n]++] = row;
        }
    for (uint32_t i = 0; i < start[OPCODES]; i++)
        if (sorted[i])
            feature[i] = (uint16_t)emu_feature_of_row(sorted[i]);
}

void emu_decode_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, sort_rows);
}

const struct emu_row *const *emu_rows(uint32_t map, uint8_t opcode)
{
    return &sorted[start[map * 256u + opcode]];
}

unsigned emu_row_feature(const struct emu_row *const *row)
{
    return feature[row - sorted];
}
