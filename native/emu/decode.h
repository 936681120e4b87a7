/* Between the decoder and its tables. */
#ifndef PYKVM_EMU_DECODE_H
#define PYKVM_EMU_DECODE_H

#include "cpu.h"

/* The rows of an opcode, in the order in which they are tried; ends with NULL. */
const struct emu_row *const *emu_rows(uint32_t map, uint8_t opcode);

/* The feature that a row of that list belongs to. */
unsigned emu_row_feature(const struct emu_row *const *row);

/* ops_system.c: instead of instructions: exceptions, and a detour by way of cpu->step. */
emu_op emu_op_undefined;
emu_op emu_op_no_device;
emu_op emu_op_too_long;
emu_op emu_op_alone;

#endif
