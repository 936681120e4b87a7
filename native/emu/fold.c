/* Two savings on a block, made once when it is decoded.
 *
 * Flags nobody can see are not set: an instruction whose flags are all written again
 * before anything reads them, faults or leaves gets its quiet handler. And a register
 * MOV whose target the next instruction changes becomes that instruction's first source,
 * so that two-operand code executes as if it had three. */
#include "cache.h"

static bool faults(const struct emu_decoded *decoded)
{
    return decoded->is_memory || !(decoded->shape & EMU_PURE);
}

/* Which of the status flags, CF and the others, are written for certain. */
#define LIVE_CF 1u
#define LIVE_OTHERS 2u
#define LIVE_ALL (LIVE_CF | LIVE_OTHERS)

static uint32_t written(const struct emu_decoded *decoded)
{
    uint32_t shape = decoded->shape;
    if ((shape & EMU_COUNT_NOT_0) && !(decoded->insn.imm & 0x1f))
        return 0;
    return shape & EMU_WRITES_ALL ? LIVE_ALL : shape & EMU_WRITES_NOT_CF ? LIVE_OTHERS : 0;
}

static uint32_t read(const struct emu_decoded *decoded)
{
    return decoded->shape & EMU_READS_ALL ? LIVE_ALL : decoded->shape & EMU_READS_CF ? LIVE_CF : 0;
}

static void silence(struct emu_decoded *decoded, uint32_t count)
{
    uint32_t live = LIVE_ALL;
    for (uint32_t i = count; i-- > 0;) {
        struct emu_decoded *at = &decoded[i];
        uint32_t writes = written(at);
        if (at->quiet && writes && !(writes & live))
            at->insn.op = at->quiet;
        live = faults(at) ? LIVE_ALL : (live & ~writes) | read(at);
    }
}

/* Can `move` disappear into `user`? The width of both is that of the whole register. */
static bool folds(const struct emu_decoded *move, const struct emu_decoded *user)
{
    return (move->shape & EMU_MOVES) && (user->shape & (EMU_FOLDS | EMU_FOLDS_REG)) &&
           !move->is_memory && !faults(user) && emu_osize(&move->insn) == emu_osize(&user->insn) &&
           emu_osize(&user->insn) >= EMU_32 && user->insn.rm == move->insn.rm &&
           user->insn.src == user->insn.rm;
}

static void fold(const struct emu_decoded *move, struct emu_decoded *user)
{
    if ((user->shape & EMU_FOLDS_REG) && user->insn.reg == move->insn.rm)
        user->insn.reg = move->insn.reg;
    user->insn.src = move->insn.reg;
    user->insn.offset = move->insn.offset;
    user->insn.length = (uint8_t)(user->insn.length + move->insn.length);
    user->insn.rest = move->insn.rest;
}

uint32_t emu_fold(struct emu_decoded *decoded, uint32_t count)
{
    silence(decoded, count);
    uint32_t slots = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i + 1 < count && folds(&decoded[i], &decoded[i + 1]))
            fold(&decoded[i], &decoded[i + 1]);
        else
            decoded[slots++] = decoded[i];
    }
    return slots;
}
