/* A decoded instruction, and the tables that say how to decode one. */
#ifndef PYKVM_EMU_INSN_H
#define PYKVM_EMU_INSN_H

#include <stdbool.h>
#include <stdint.h>

struct emu_cpu;
struct emu_insn;

/* Execute one instruction; returns the next one of the block, or NULL for "back to the
 * run loop". Where handlers are chained it has already executed what follows. */
typedef const struct emu_insn *emu_op(struct emu_cpu *cpu, const struct emu_insn *insn);

/* Register numbers beyond the sixteen, for address arithmetic without branches. */
#define EMU_ZERO 16     /* always 0: no base, no index */
#define EMU_RIP 17      /* the first byte of the running block */
#define EMU_NEXT_RIP 18 /* the byte behind the instruction, where that runs alone */
#define EMU_GPRS 19

struct emu_insn {
    emu_op *op;
    uint64_t imm;    /* sign-extended; branches: target relative to the block's start */
    int32_t disp;    /* of the memory operand */
    uint16_t offset; /* from the block's start */
    uint8_t length;
    uint8_t rest;   /* guest instructions from this one to the block's end */
    uint8_t reg;    /* operand G: ModRM.reg. 8-bit registers: byte offset into gpr[] */
    uint8_t rm;     /* operand E where it is a register, or the opcode's register */
    uint8_t src;    /* first source: rm unless a MOV was folded in; VEX.vvvv */
    uint8_t base;   /* of the memory operand, or EMU_ZERO, EMU_RIP */
    uint8_t index;  /* likewise */
    uint8_t scale;  /* shift count of the index */
    uint8_t ea;     /* EMU_EA_*; 0: 64-bit addresses without a segment base */
    uint8_t prefix; /* EMU_PREFIX_* */
};

/* How the memory operand's address is made, where it is not plain. */
#define EMU_EA_SEG 0x07u /* segment; EMU_EA_NOSEG in 64-bit mode but for FS and GS */
#define EMU_EA_NOSEG 7u
#define EMU_EA_SIZE 0x18u /* address size: 0 16 bits, 1 32 bits, 2 64 bits */
#define EMU_EA_SIZE_SHIFT 3
#define EMU_EA_CHECK 0x20u /* the segment's type and limit need checking */
#define EMU_EA_COMPLEX 0x80u

#define EMU_PREFIX_REP 0x01u
#define EMU_PREFIX_REPNE 0x02u
#define EMU_PREFIX_LOCK 0x04u
#define EMU_PREFIX_ASIZE 0x18u /* address size, as in EMU_EA_SIZE */
#define EMU_PREFIX_ASIZE_SHIFT 3
#define EMU_PREFIX_OSIZE 0x60u /* operand size: enum emu_size */
#define EMU_PREFIX_OSIZE_SHIFT 5
#define EMU_PREFIX_66 0x80u

enum emu_size { EMU_8, EMU_16, EMU_32, EMU_64 };

static inline unsigned emu_asize(const struct emu_insn *insn)
{
    return (insn->prefix & EMU_PREFIX_ASIZE) >> EMU_PREFIX_ASIZE_SHIFT;
}

static inline enum emu_size emu_osize(const struct emu_insn *insn)
{
    return (enum emu_size)((insn->prefix & EMU_PREFIX_OSIZE) >> EMU_PREFIX_OSIZE_SHIFT);
}

/* The handlers of one operation, by operand size, for register and memory forms. */
struct emu_forms {
    emu_op *r[4];
    emu_op *m[4];
};

/* Opcode maps. */
enum emu_map {
    EMU_MAP_1,   /* one byte */
    EMU_MAP_0F,  /* 0F xx */
    EMU_MAP_38,  /* 0F 38 xx */
    EMU_MAP_3A,  /* 0F 3A xx */
    EMU_MAP_V0F, /* VEX, map 1 */
    EMU_MAP_V38, /* VEX, map 2 */
    EMU_MAP_V3A, /* VEX, map 3 */
    EMU_MAPS
};

/* emu_row.match: what else must hold for the row to apply. Rows of one opcode are tried
 * in the order in which they stand. */
#define EMU_REG(n) (0x8u | (n))       /* ModRM.reg */
#define EMU_RM(n) ((0x8u | (n)) << 4) /* ModRM.rm */
#define EMU_MOD_R (1u << 8)           /* register form only */
#define EMU_MOD_M (1u << 9)           /* memory form only */
#define EMU_NP (1u << 10)             /* no 66, F3, F2 */
#define EMU_P66 (1u << 11)            /* 66, not F3 or F2 */
#define EMU_PF3 (1u << 12)
#define EMU_PF2 (1u << 13)
#define EMU_ONLY64 (1u << 14)
#define EMU_NO64 (1u << 15)
#define EMU_W0 (1u << 16)
#define EMU_W1 (1u << 17)
#define EMU_L0 (1u << 18)
#define EMU_L1 (1u << 19)
#define EMU_PROTECTED (1u << 20) /* #UD in real and virtual-8086 mode */
#define EMU_VVVV0 (1u << 21)     /* VEX.vvvv is not an operand: must be 1111 */

/* emu_row.shape: operands, and what blocks must know. Low bits: immediate. */
enum emu_imm {
    EMU_IMM_NONE,
    EMU_IMM_8,    /* sign-extended */
    EMU_IMM_U8,   /* zero-extended */
    EMU_IMM_16,   /* zero-extended */
    EMU_IMM_Z,    /* 16 or 32 bits by operand size, sign-extended */
    EMU_IMM_V,    /* 16, 32 or 64 bits */
    EMU_IMM_OFFS, /* an address: the memory operand is [imm] */
    EMU_IMM_REL8, /* imm becomes the target relative to the block */
    EMU_IMM_RELZ,
    EMU_IMM_FAR,  /* offset by operand size in bits 0..31, selector in 32..47 */
    EMU_IMM_16_8, /* ENTER: 16 bits, then 8 bits in 16..23 */
};
#define EMU_IMM_MASK 0xfu

#define EMU_MODRM (1u << 4)
#define EMU_BYTE_E (1u << 5) /* E is an 8-bit register */
#define EMU_BYTE_G (1u << 6) /* G is an 8-bit register */
#define EMU_OPREG (1u << 7)  /* rm is in the opcode's low three bits */

#define EMU_VSIB (1u << 8)     /* the index, in imm, is a vector register: with EMU_RM(4) */
#define EMU_IMPLICIT (1u << 9) /* uses DS:[...] without ModRM: string operations, XLAT */
#define EMU_SWAP (1u << 10)    /* G is the destination: register forms exchange reg and rm */

/* Operand size. Without one of these: the forms' first column. */
#define EMU_SIZE_B (1u << 29)   /* 8 bits */
#define EMU_SIZE_Z (1u << 30)   /* 16 or 32 bits */
#define EMU_SIZE_V (1u << 11)   /* 16, 32 or 64 bits */
#define EMU_SIZE_D64 (1u << 12) /* likewise, but 64 (or 16) in 64-bit mode */
#define EMU_SIZE_F64 (1u << 13) /* likewise, but always 64 in 64-bit mode */
#define EMU_SIZE_Y (1u << 14)   /* 32, or 64 with REX.W / VEX.W; 66 is no matter */

#define EMU_END (1u << 15)  /* the last of its block */
#define EMU_PURE (1u << 16) /* register form: no fault, no exit, only registers and flags */
#define EMU_LOCKABLE (1u << 17)
#define EMU_MOVES (1u << 18)     /* register form copies src to rm: can be folded forward */
#define EMU_FOLDS (1u << 19)     /* register form is rm = src op ...: takes a folded MOV */
#define EMU_FOLDS_REG (1u << 20) /* likewise, and its other operand is the register `reg` */

/* Which unit an instruction belongs to: decides #UD and #NM by CR0, CR4 and XCR0. */
#define EMU_UNIT_SHIFT 21
#define EMU_UNIT (7u << EMU_UNIT_SHIFT)
#define EMU_X87 (1u << EMU_UNIT_SHIFT)
#define EMU_MMX (2u << EMU_UNIT_SHIFT)
#define EMU_SSE (3u << EMU_UNIT_SHIFT)
#define EMU_AVX (4u << EMU_UNIT_SHIFT)
#define EMU_FWAIT (5u << EMU_UNIT_SHIFT)
/* With another column of the forms under EMU_MODE_FP_EXACT: fp_exact.h. */
#define EMU_SSE_FP (6u << EMU_UNIT_SHIFT)
#define EMU_AVX_FP (7u << EMU_UNIT_SHIFT)

/* Flags for the elimination of dead ones: always written (or left undefined), read. */
#define EMU_WRITES_ALL (1u << 24) /* CF PF AF ZF SF OF */
#define EMU_WRITES_NOT_CF (1u << 25)
#define EMU_READS_CF (1u << 26)
#define EMU_READS_ALL (1u << 27)
#define EMU_COUNT_NOT_0 (1u << 28) /* writes flags only where the count, imm, is not 0 */

/* ModRM.mod means nothing: always a register. MOV to and from CRn and DRn. */
#define EMU_MOD_ANY (1u << 31)

struct emu_row {
    uint8_t map;
    uint8_t opcode;
    uint32_t match;
    uint32_t shape;
    const struct emu_forms *forms;
    const struct emu_forms *quiet; /* the same without setting flags, or NULL */
};

/* A family file's rows, for the registry in decode.c. */
struct emu_family {
    const struct emu_row *rows;
    uint32_t count;
};

#define EMU_FAMILY(name, table)                                                                    \
    const struct emu_family name = {(table), sizeof(table) / sizeof((table)[0])}

/* What decoding yields beside the instruction. */
struct emu_decoded {
    struct emu_insn insn;
    uint32_t shape;
    emu_op *quiet; /* the handler that leaves flags alone, or NULL */
    bool is_memory;
    const struct emu_row *row; /* where it stands, or NULL: for tests */
};

enum emu_decode_result { EMU_DECODED, EMU_DECODE_MORE };

struct emu_features;

void emu_decode_init(void);
enum emu_decode_result emu_decode(const struct emu_features *features, uint32_t mode,
                                  const uint8_t *bytes, uint32_t available,
                                  struct emu_decoded *out);

#endif
