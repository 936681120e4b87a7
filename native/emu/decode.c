/* Bytes to struct emu_insn. Knows encodings; what an opcode does stands in the families. */
#include "decode.h"

#include <string.h>

#define BYTES_MAX 15

struct cursor {
    const uint8_t *bytes;
    uint32_t at, available;
    bool short_of; /* ran past what is available */
};

/* What precedes the opcode. */
struct prefixes {
    bool opsize, asize, lock;
    uint8_t repeat;  /* 0, 0xf2 or 0xf3: the last one */
    uint8_t segment; /* enum emu_segment_index, or NO_SEGMENT */
    uint8_t rex;     /* 0 where there is none; VEX prefixes leave W R X B here */
    bool vex, vex_l;
    uint8_t vvvv;
};
#define NO_SEGMENT 0xff
#define REX_W 8u
#define REX_R 4u
#define REX_X 2u
#define REX_B 1u

static uint8_t take(struct cursor *cursor)
{
    if (cursor->at < cursor->available)
        return cursor->bytes[cursor->at++];
    cursor->short_of = true;
    return 0;
}

static uint64_t take_bytes(struct cursor *cursor, uint32_t count)
{
    uint64_t value = 0;
    for (uint32_t i = 0; i < count; i++)
        value |= (uint64_t)take(cursor) << (8 * i);
    return value;
}

static int64_t sign_extend(uint64_t value, uint32_t size_bytes)
{
    uint32_t shift = 64 - 8 * size_bytes;
    return (int64_t)(value << shift) >> shift;
}

static int64_t take_signed(struct cursor *cursor, uint32_t count)
{
    return sign_extend(take_bytes(cursor, count), count);
}

static uint8_t peek(const struct cursor *cursor)
{
    return cursor->at < cursor->available ? cursor->bytes[cursor->at] : 0;
}

/* One legacy prefix; false where the byte is something else. In 64-bit mode overrides of ES, CS,
 * SS and DS are as if absent: one behind FS or GS does not cancel it (SDM vol. 2A §2.2.1). */
static bool legacy_prefix(struct prefixes *prefixes, uint8_t byte, bool is64)
{
    switch (byte) {
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
        if (!is64)
            prefixes->segment = (byte >> 3) & 3;
        return true;
    case 0x64:
    case 0x65:
        prefixes->segment = (uint8_t)(EMU_FS + (byte & 1));
        return true;
    case 0x66:
        prefixes->opsize = true;
        return true;
    case 0x67:
        prefixes->asize = true;
        return true;
    case 0xf0:
        prefixes->lock = true;
        return true;
    case 0xf2:
    case 0xf3:
        prefixes->repeat = byte;
        return true;
    default:
        return false;
    }
}

/* REX counts only right before the opcode (Intel SDM vol. 2A §2.2.1). */
static void take_prefixes(struct cursor *cursor, uint32_t mode, struct prefixes *prefixes)
{
    bool is64 = mode & EMU_MODE_CODE64;
    while (!cursor->short_of) {
        uint8_t byte = peek(cursor);
        if (is64 && (byte & 0xf0) == 0x40) {
            prefixes->rex = byte;
        } else if (legacy_prefix(prefixes, byte, is64)) {
            prefixes->rex = 0;
        } else {
            break;
        }
        take(cursor);
    }
}

/* C5 and C4 are VEX in 64-bit mode, and elsewhere outside real and virtual-8086 mode
 * where LDS and LES would have a register operand. */
static bool vex_follows(const struct cursor *cursor, uint32_t mode)
{
    if (mode & EMU_MODE_CODE64)
        return true;
    return (mode & EMU_MODE_PROTECTED) && cursor->at < cursor->available &&
           (cursor->bytes[cursor->at] & 0xc0) == 0xc0;
}

/* Returns the opcode map, or EMU_MAPS where VEX is malformed. Intel SDM vol. 2A §2.3.5. */
static uint32_t take_vex(struct cursor *cursor, uint32_t mode, bool three_bytes,
                         struct prefixes *prefixes)
{
    static const uint8_t repeat[4] = {0, 0, 0xf3, 0xf2};
    bool bad = prefixes->opsize || prefixes->repeat || prefixes->lock || prefixes->rex;
    uint8_t first = take(cursor);
    uint8_t last = three_bytes ? take(cursor) : first;
    uint32_t map = three_bytes ? first & 0x1f : 1;
    uint32_t rex = first & 0x80 ? 0 : REX_R;
    if (three_bytes)
        rex |= (first & 0x40 ? 0 : REX_X) | (first & 0x20 ? 0 : REX_B) | (last & 0x80 ? REX_W : 0);
    prefixes->vvvv = (~last >> 3) & 15;
    if (!(mode & EMU_MODE_CODE64)) {
        rex &= REX_W;
        prefixes->vvvv &= 7;
    }
    prefixes->rex = (uint8_t)rex;
    prefixes->vex = true;
    prefixes->vex_l = last & 4;
    prefixes->opsize = (last & 3) == 1;
    prefixes->repeat = repeat[last & 3];
    return bad || map < 1 || map > 3 ? EMU_MAPS : EMU_MAP_V0F + map - 1;
}

static uint32_t take_opcode(struct cursor *cursor, uint32_t mode, struct prefixes *prefixes,
                            uint8_t *opcode)
{
    uint32_t map = EMU_MAP_1;
    *opcode = take(cursor);
    if ((*opcode == 0xc4 || *opcode == 0xc5) && vex_follows(cursor, mode)) {
        map = take_vex(cursor, mode, *opcode == 0xc4, prefixes);
        *opcode = take(cursor);
    } else if (*opcode == 0x0f) {
        map = EMU_MAP_0F;
        *opcode = take(cursor);
        if (*opcode == 0x38 || *opcode == 0x3a) {
            map = *opcode == 0x38 ? EMU_MAP_38 : EMU_MAP_3A;
            *opcode = take(cursor);
        }
    }
    return map;
}

static bool prefix_matches(uint32_t match, const struct prefixes *prefixes)
{
    uint32_t wanted = match & (EMU_NP | EMU_P66 | EMU_PF3 | EMU_PF2);
    uint32_t present = prefixes->repeat == 0xf3   ? EMU_PF3
                       : prefixes->repeat == 0xf2 ? EMU_PF2
                       : prefixes->opsize         ? EMU_P66
                                                  : EMU_NP;
    return !wanted || (wanted & present);
}

static bool modrm_matches(uint32_t match, uint8_t modrm)
{
    if ((match & 0x8) && (match & 7) != ((modrm >> 3) & 7u))
        return false;
    if ((match & 0x80) && ((match >> 4) & 7) != (modrm & 7u))
        return false;
    bool is_register = modrm >= 0xc0;
    return !(match & (is_register ? EMU_MOD_M : EMU_MOD_R));
}

static bool row_matches(const struct emu_row *row, uint32_t mode, const struct prefixes *prefixes,
                        uint8_t modrm)
{
    uint32_t match = row->match;
    bool is64 = mode & EMU_MODE_CODE64;
    if ((match & (is64 ? EMU_NO64 : EMU_ONLY64)) ||
        ((match & EMU_PROTECTED) && !(mode & EMU_MODE_PROTECTED)))
        return false;
    if ((match & (prefixes->rex & REX_W ? EMU_W0 : EMU_W1)) ||
        (match & (prefixes->vex_l ? EMU_L0 : EMU_L1)) || ((match & EMU_VVVV0) && prefixes->vvvv))
        return false;
    return prefix_matches(match, prefixes) &&
           (!(row->shape & EMU_MODRM) || modrm_matches(match, modrm));
}

static unsigned address_size(uint32_t mode, const struct prefixes *prefixes)
{
    if (mode & EMU_MODE_CODE64)
        return prefixes->asize ? 1 : 2;
    return (mode & EMU_MODE_CODE32 ? 1u : 0u) ^ (prefixes->asize ? 1u : 0u);
}

static enum emu_size operand_size(uint32_t mode, const struct prefixes *prefixes, uint32_t shape)
{
    bool is64 = mode & EMU_MODE_CODE64;
    if (shape & EMU_SIZE_B)
        return EMU_8;
    if (is64 && (shape & EMU_SIZE_F64))
        return EMU_64;
    if (shape & EMU_SIZE_Y)
        return is64 && (prefixes->rex & REX_W) ? EMU_64 : EMU_32;
    if (is64 && (prefixes->rex & REX_W) && !(shape & EMU_SIZE_Z))
        return EMU_64;
    if (is64 && !prefixes->opsize)
        return shape & EMU_SIZE_D64 ? EMU_64 : EMU_32;
    return !(mode & (EMU_MODE_CODE32 | EMU_MODE_CODE64)) == prefixes->opsize ? EMU_32 : EMU_16;
}

/* How the address of an operand in `segment` is to be made: emu_insn.ea. */
static uint8_t ea_code(uint32_t mode, unsigned asize, unsigned segment)
{
    unsigned code = EMU_EA_COMPLEX | asize << EMU_EA_SIZE_SHIFT;
    if (mode & EMU_MODE_CODE64) {
        if (segment == EMU_FS || segment == EMU_GS)
            return (uint8_t)(code | segment);
        return asize == 2 ? 0 : (uint8_t)(code | EMU_EA_NOSEG);
    }
    /* CS is flat but not writable. */
    if ((mode & EMU_MODE_FLAT) && segment < EMU_FS && segment != EMU_CS)
        return (uint8_t)(code | EMU_EA_NOSEG);
    return (uint8_t)(code | segment | EMU_EA_CHECK);
}

/* An 8-bit register's number: SPL, BPL, SIL, DIL need a REX prefix, else it is AH .. BH. */
static uint8_t byte_register(unsigned reg, bool rex)
{
    return (uint8_t)(reg >= 4 && reg < 8 && !rex ? (reg - 4) * 8 + 1 : reg * 8);
}

/* Returns the default segment. */
static unsigned take_ea_16(struct cursor *cursor, uint8_t modrm, struct emu_insn *insn)
{
    static const uint8_t base[8] = {RBX, RBX, RBP, RBP, RSI, RDI, RBP, RBX};
    static const uint8_t index[8] = {RSI, RDI, RSI, RDI, EMU_ZERO, EMU_ZERO, EMU_ZERO, EMU_ZERO};
    unsigned rm = modrm & 7, mod = modrm >> 6;
    insn->base = base[rm];
    insn->index = index[rm];
    if (mod == 0 && rm == 6) {
        insn->base = EMU_ZERO;
        insn->disp = (int32_t)take_signed(cursor, 2);
    } else if (mod) {
        insn->disp = (int32_t)take_signed(cursor, mod);
    }
    return insn->base == RBP ? EMU_SS : EMU_DS;
}

static unsigned take_ea(struct cursor *cursor, uint32_t mode, uint8_t modrm, uint8_t rex,
                        uint32_t shape, struct emu_insn *insn)
{
    unsigned rm = modrm & 7, mod = modrm >> 6, base = rm;
    bool no_base = mod == 0 && rm == 5;
    if (rm == 4) {
        uint8_t sib = take(cursor);
        unsigned index = ((sib >> 3) & 7u) | (rex & REX_X ? 8u : 0u);
        base = sib & 7;
        no_base = mod == 0 && base == 5;
        insn->scale = sib >> 6;
        if (shape & EMU_VSIB)
            insn->imm = index;
        else
            insn->index = (uint8_t)(index == 4 ? EMU_ZERO : index);
    } else if (no_base && (mode & EMU_MODE_CODE64)) {
        insn->base = EMU_RIP;
    }
    if (!no_base)
        insn->base = (uint8_t)(base | (rex & REX_B ? 8u : 0u));
    if (mod == 1)
        insn->disp = (int32_t)take_signed(cursor, 1);
    else if (mod == 2 || no_base)
        insn->disp = (int32_t)take_signed(cursor, 4);
    return insn->base == RSP || insn->base == RBP ? EMU_SS : EMU_DS;
}

static void take_immediate(struct cursor *cursor, uint32_t kind, enum emu_size size, unsigned asize,
                           struct emu_insn *insn)
{
    uint32_t z_bytes = size == EMU_16 ? 2 : 4;
    switch (kind) {
    case EMU_IMM_8:
    case EMU_IMM_REL8:
        insn->imm = (uint64_t)take_signed(cursor, 1);
        break;
    case EMU_IMM_U8:
        insn->imm = take(cursor);
        break;
    case EMU_IMM_16:
        insn->imm = take_bytes(cursor, 2);
        break;
    case EMU_IMM_Z:
    case EMU_IMM_RELZ:
        insn->imm = (uint64_t)take_signed(cursor, z_bytes);
        break;
    case EMU_IMM_V:
        insn->imm = (uint64_t)take_signed(cursor, 1u << size);
        break;
    case EMU_IMM_OFFS:
        insn->imm = take_bytes(cursor, 2u << asize);
        break;
    case EMU_IMM_FAR:
        insn->imm = take_bytes(cursor, z_bytes);
        insn->imm |= take_bytes(cursor, 2) << 32;
        break;
    case EMU_IMM_16_8:
        insn->imm = take_bytes(cursor, 3);
        break;
    default:
        break;
    }
}

static void finish_registers(uint32_t shape, bool rex, struct emu_insn *insn)
{
    if (shape & EMU_BYTE_E)
        insn->rm = byte_register(insn->rm, rex);
    if (shape & EMU_BYTE_G)
        insn->reg = byte_register(insn->reg, rex);
}

/* G is the destination: for registers the same handlers do as where E is. */
static void swap_operands(struct emu_insn *insn)
{
    uint8_t rm = insn->rm;
    insn->rm = insn->reg;
    insn->reg = rm;
}

/* Is the unit switched on? Otherwise the handler that raises what is due.
 * Intel SDM vol. 3A §2.5 (EM, MP, TS), §13.1. */
static emu_op *unit_handler(uint32_t mode, uint32_t unit)
{
    switch (unit) {
    case EMU_X87:
        return mode & (EMU_MODE_EM | EMU_MODE_TS) ? emu_op_no_device : NULL;
    case EMU_FWAIT:
        return (mode & EMU_MODE_MP) && (mode & EMU_MODE_TS) ? emu_op_no_device : NULL;
    case EMU_MMX:
        if (mode & EMU_MODE_EM)
            return emu_op_undefined;
        break;
    case EMU_SSE:
    case EMU_SSE_FP:
        if ((mode & EMU_MODE_EM) || !(mode & EMU_MODE_FXSR))
            return emu_op_undefined;
        break;
    case EMU_AVX:
    case EMU_AVX_FP:
        if (!(mode & EMU_MODE_YMM) || !(mode & EMU_MODE_PROTECTED))
            return emu_op_undefined;
        break;
    default:
        return NULL;
    }
    return mode & EMU_MODE_TS ? emu_op_no_device : NULL;
}

static void undefined(struct emu_decoded *out, emu_op *op)
{
    out->insn.op = op;
    out->shape = EMU_END;
    out->quiet = NULL;
    out->is_memory = true;
}

#define SIZED (EMU_SIZE_V | EMU_SIZE_D64 | EMU_SIZE_F64 | EMU_SIZE_Y | EMU_SIZE_Z)

/* The forms' column. For floating point the one computes by the host, the other in software. */
static unsigned column(uint32_t mode, uint32_t shape, enum emu_size size)
{
    uint32_t unit = shape & EMU_UNIT;
    bool exact = (unit == EMU_SSE_FP || unit == EMU_AVX_FP) && (mode & EMU_MODE_FP_EXACT);
    if (shape & SIZED)
        return exact ? size - EMU_32 : size;
    return exact ? 1 : 0;
}

static void choose_handler(uint32_t mode, const struct prefixes *prefixes,
                           const struct emu_row *row, enum emu_size size, struct emu_decoded *out)
{
    unsigned slot = column(mode, row->shape, size);
    emu_op *gone = unit_handler(mode, row->shape & EMU_UNIT);
    out->insn.op = out->is_memory ? row->forms->m[slot] : row->forms->r[slot];
    if (row->quiet)
        out->quiet = out->is_memory ? row->quiet->m[slot] : row->quiet->r[slot];
    if (!out->insn.op || (prefixes->lock && !(out->is_memory && (row->shape & EMU_LOCKABLE))))
        undefined(out, emu_op_undefined);
    else if (gone)
        undefined(out, gone);
}

/* RIP-relative displacements count from the instruction's end, which the block's builder
 * adds; and moves addressed by an immediate look like any other memory operand. */
static void finish_memory(uint32_t mode, const struct prefixes *prefixes, uint32_t shape,
                          unsigned asize, unsigned segment, struct emu_decoded *out)
{
    if (prefixes->segment != NO_SEGMENT)
        segment = prefixes->segment;
    if (out->is_memory || (shape & EMU_IMPLICIT))
        out->insn.ea = ea_code(mode, asize, segment);
}

static uint8_t prefix_bits(const struct prefixes *prefixes, unsigned asize, enum emu_size size)
{
    unsigned repeat = prefixes->repeat == 0xf3   ? EMU_PREFIX_REP
                      : prefixes->repeat == 0xf2 ? EMU_PREFIX_REPNE
                                                 : 0;
    return (uint8_t)(repeat | (prefixes->lock ? EMU_PREFIX_LOCK : 0) |
                     asize << EMU_PREFIX_ASIZE_SHIFT | (unsigned)size << EMU_PREFIX_OSIZE_SHIFT |
                     (prefixes->opsize ? EMU_PREFIX_66 : 0));
}

/* Operands, handler and length of an instruction whose row is known. */
static void decode_row(struct cursor *cursor, uint32_t mode, const struct prefixes *prefixes,
                       const struct emu_row *row, uint8_t opcode, uint8_t modrm,
                       struct emu_decoded *out)
{
    struct emu_insn *insn = &out->insn;
    uint32_t shape = row->shape, imm = shape & EMU_IMM_MASK;
    unsigned asize = address_size(mode, prefixes), segment = EMU_DS;
    enum emu_size size = operand_size(mode, prefixes, shape);

    out->shape = shape;
    out->row = row;
    if ((shape & EMU_VSIB) && asize == 0)
        return; /* 16-bit addresses have no index vector: #UD */
    if (shape & EMU_MODRM) {
        insn->reg = (uint8_t)(((modrm >> 3) & 7u) | (prefixes->rex & REX_R ? 8u : 0u));
        insn->rm = (uint8_t)((modrm & 7u) | (prefixes->rex & REX_B ? 8u : 0u));
        out->is_memory = modrm < 0xc0 && !(shape & EMU_MOD_ANY);
        if (out->is_memory)
            segment = asize == 0 ? take_ea_16(cursor, modrm, insn)
                                 : take_ea(cursor, mode, modrm, prefixes->rex, shape, insn);
    } else if (shape & EMU_OPREG) {
        insn->rm = (uint8_t)((opcode & 7u) | (prefixes->rex & REX_B ? 8u : 0u));
    }
    take_immediate(cursor, imm, size, asize, insn);
    if (imm == EMU_IMM_OFFS)
        out->is_memory = true;
    finish_registers(shape, prefixes->rex, insn);
    if ((shape & EMU_SWAP) && !out->is_memory)
        swap_operands(insn);
    finish_memory(mode, prefixes, shape, asize, segment, out);
    insn->src = prefixes->vex ? prefixes->vvvv : insn->rm;
    if ((shape & EMU_UNIT) == EMU_X87)
        insn->imm = (opcode & 7u) << 8 | modrm; /* as the unit's opcode register keeps it */
    insn->prefix = prefix_bits(prefixes, asize, size);
    choose_handler(mode, prefixes, row, size, out);
}

static const struct emu_row *find_row(const struct emu_features *features, uint32_t map,
                                      uint8_t opcode, uint32_t mode,
                                      const struct prefixes *prefixes, uint8_t modrm)
{
    for (const struct emu_row *const *row = emu_rows(map, opcode); *row; row++)
        if (row_matches(*row, mode, prefixes, modrm) &&
            (!features || emu_offers(features, emu_row_feature(row))))
            return *row;
    return NULL;
}

/* Does any row of this opcode have a ModRM byte? Then all have. */
static bool has_modrm(uint32_t map, uint8_t opcode)
{
    const struct emu_row *const *rows = emu_rows(map, opcode);
    return *rows && ((*rows)->shape & EMU_MODRM);
}

/* Decode the instruction at `bytes`, of a processor with these features (NULL: with all); what
 * others add is not there, or what it was before they did. EMU_DECODE_MORE: it does not end within
 * `available` bytes; where that is the limit of 15, decoding yields #GP instead (SDM vol. 2A
 * §2.3.11). */
enum emu_decode_result emu_decode(const struct emu_features *features, uint32_t mode,
                                  const uint8_t *bytes, uint32_t available, struct emu_decoded *out)
{
    uint8_t copy[BYTES_MAX]; /* each byte is looked at once: the owner may change it meanwhile */
    struct cursor cursor = {copy, .available = available < BYTES_MAX ? available : BYTES_MAX};
    struct prefixes prefixes = {.segment = NO_SEGMENT};
    uint8_t opcode = 0, modrm = 0;

    memcpy(copy, bytes, cursor.available);
    memset(out, 0, sizeof(*out));
    out->insn.base = out->insn.index = EMU_ZERO;
    take_prefixes(&cursor, mode, &prefixes);
    uint32_t map = take_opcode(&cursor, mode, &prefixes, &opcode);
    if (map < EMU_MAPS) {
        if (has_modrm(map, opcode)) {
            modrm = peek(&cursor);
            take(&cursor);
        }
        const struct emu_row *row = find_row(features, map, opcode, mode, &prefixes, modrm);
        if (row)
            decode_row(&cursor, mode, &prefixes, row, opcode, modrm, out);
    }
    if (cursor.short_of && available < BYTES_MAX)
        return EMU_DECODE_MORE;
    out->insn.length = (uint8_t)cursor.at;
    if (cursor.short_of)
        undefined(out, emu_op_too_long);
    else if (!out->insn.op)
        undefined(out, emu_op_undefined);
    return EMU_DECODED;
}
