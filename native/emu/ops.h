/* What a file of instruction handlers includes.
 *
 * A handler gets the processor and its decoded instruction, and ends with EMU_NEXT, or,
 * where it is the last of its block (EMU_END in its row), with emu_chain or EMU_LEAVE.
 * It may raise an exception (no return) at any point before it has changed state that
 * the guest can see. docs/emulator.md has a worked example. */
#ifndef PYKVM_EMU_OPS_H
#define PYKVM_EMU_OPS_H

#include "flags.h"
#include "mem.h"

/* Handlers are chained where the compiler turns a call in return position into a jump, which
 * sanitizers keep it from; otherwise they return to the run loop, which calls the next. Same
 * meaning, half the speed. */
#if !defined(EMU_CHAINED)
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define EMU_CHAINED 1
#else
#define EMU_CHAINED 0
#endif
#endif

#if defined(__has_attribute)
#if __has_attribute(musttail)
#define EMU_MUSTTAIL __attribute__((musttail))
#endif
#endif
#if !defined(EMU_MUSTTAIL)
#define EMU_MUSTTAIL
#endif

#define EMU_NOINLINE __attribute__((noinline))

#define EMU_OP(name) const struct emu_insn *name(struct emu_cpu *cpu, const struct emu_insn *insn)

#if EMU_CHAINED
#define EMU_NEXT                                                                                   \
    do {                                                                                           \
        EMU_MUSTTAIL return insn[1].op(cpu, insn + 1);                                             \
    } while (0)
#define EMU_CONTINUE(next)                                                                         \
    do {                                                                                           \
        EMU_MUSTTAIL return (next)->op(cpu, (next));                                               \
    } while (0)
#else
#define EMU_NEXT return (void)cpu, insn + 1
#define EMU_CONTINUE(next) return (next)
#endif

/* Go on by way of the run loop: for handlers with arrays or variables whose address is
 * taken, which compilers do not turn into jumps. */
#define EMU_NEXT_UNCHAINED return insn + 1

/* rip is where the processor goes on; the run loop takes over. */
#define EMU_LEAVE(target)                                                                          \
    do {                                                                                           \
        cpu->gpr[EMU_RIP] = (target);                                                              \
        return NULL;                                                                               \
    } while (0)

/* block.c: the way to a block that no link leads to yet. */
const struct emu_insn *emu_chain_slow(struct emu_cpu *cpu, struct emu_link *link, uint64_t rip);

static inline bool emu_may_enter(struct emu_cpu *cpu, const struct emu_block *block)
{
    cpu->left -= block->count;
    return cpu->left >= 0 && !atomic_load_explicit(&cpu->attention, memory_order_relaxed);
}

/* The end of a block: go to rip, by link 0 or 1 behind the instruction. */
#define EMU_CHAIN(which, target)                                                                   \
    do {                                                                                           \
        struct emu_link *link_ = (struct emu_link *)(uintptr_t)(insn + 1) + (which);               \
        uint64_t rip_ = (target);                                                                  \
        if (EMU_UNLIKELY(link_->rip != rip_ || link_->gen != cpu->code_gen))                       \
            return emu_chain_slow(cpu, link_, rip_);                                               \
        EMU_ENTER(link_->block, rip_);                                                             \
    } while (0)

/* The end of a block whose successor varies: by the jump cache. */
#define EMU_CHAIN_INDIRECT(target)                                                                 \
    do {                                                                                           \
        uint64_t rip_ = (target);                                                                  \
        const struct emu_jump_entry *entry_ = &cpu->jumps[EMU_JUMP_SLOT(rip_)];                    \
        if (EMU_UNLIKELY(entry_->rip != rip_ || entry_->gen != cpu->code_gen))                     \
            return emu_chain_slow(cpu, NULL, rip_);                                                \
        EMU_ENTER(entry_->block, rip_);                                                            \
    } while (0)

#define EMU_ENTER(target_block, target)                                                            \
    do {                                                                                           \
        struct emu_block *block_ = (target_block);                                                 \
        cpu->gpr[EMU_RIP] = (target);                                                              \
        if (EMU_UNLIKELY(!emu_may_enter(cpu, block_))) {                                           \
            cpu->left += block_->count;                                                            \
            return NULL;                                                                           \
        }                                                                                          \
        EMU_CONTINUE(block_->insn);                                                                \
    } while (0)

/* Operand sizes by the letter that stands in a handler's name. */
#define EMU_TYPE_b uint8_t
#define EMU_TYPE_w uint16_t
#define EMU_TYPE_d uint32_t
#define EMU_TYPE_q uint64_t
#define EMU_SIGNED_b int8_t
#define EMU_SIGNED_w int16_t
#define EMU_SIGNED_d int32_t
#define EMU_SIGNED_q int64_t
#define EMU_BITS_b 8
#define EMU_BITS_w 16
#define EMU_BITS_d 32
#define EMU_BITS_q 64

/* Registers. 8-bit ones are numbered by their byte offset (AH is 1), as the decoder left
 * them; writing 32 bits clears the upper half. */
static inline uint8_t emu_get_b(const struct emu_cpu *cpu, unsigned reg)
{
    return ((const uint8_t *)cpu->gpr)[reg];
}

static inline uint16_t emu_get_w(const struct emu_cpu *cpu, unsigned reg)
{
    return (uint16_t)cpu->gpr[reg];
}

static inline uint32_t emu_get_d(const struct emu_cpu *cpu, unsigned reg)
{
    return (uint32_t)cpu->gpr[reg];
}

static inline uint64_t emu_get_q(const struct emu_cpu *cpu, unsigned reg)
{
    return cpu->gpr[reg];
}

static inline void emu_set_b(struct emu_cpu *cpu, unsigned reg, uint8_t value)
{
    ((uint8_t *)cpu->gpr)[reg] = value;
}

static inline void emu_set_w(struct emu_cpu *cpu, unsigned reg, uint16_t value)
{
    memcpy(&cpu->gpr[reg], &value, sizeof(value));
}

static inline void emu_set_d(struct emu_cpu *cpu, unsigned reg, uint32_t value)
{
    cpu->gpr[reg] = value;
}

static inline void emu_set_q(struct emu_cpu *cpu, unsigned reg, uint64_t value)
{
    cpu->gpr[reg] = value;
}

/* A register of a size known only at run time. */
static inline uint64_t emu_get(const struct emu_cpu *cpu, unsigned reg, enum emu_size size)
{
    uint64_t value = cpu->gpr[reg];
    return size == EMU_64   ? value
           : size == EMU_32 ? (uint32_t)value
           : size == EMU_16 ? (uint16_t)value
                            : (uint8_t)value;
}

static inline void emu_set(struct emu_cpu *cpu, unsigned reg, enum emu_size size, uint64_t value)
{
    if (size == EMU_64)
        cpu->gpr[reg] = value;
    else if (size == EMU_32)
        cpu->gpr[reg] = (uint32_t)value;
    else
        memcpy(&cpu->gpr[reg], &value, size == EMU_16 ? 2 : 1);
}

/* Handlers with a memory source. In the statement that comes last, `value` is the operand. Two
 * functions come of it: the fast one has no call in it but jumps, so that it needs no stack frame.
 */
#define EMU_LOAD_OP(name, s, ...)                                                                  \
    static EMU_NOINLINE EMU_OP(name##_slow)                                                        \
    {                                                                                              \
        uint64_t linear_ = emu_ea(cpu, insn, sizeof(EMU_TYPE_##s), false);                         \
        EMU_TYPE_##s value =                                                                       \
            (EMU_TYPE_##s)emu_read_slow(cpu, insn, linear_, sizeof(EMU_TYPE_##s));                 \
        __VA_ARGS__;                                                                               \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static EMU_OP(name)                                                                            \
    {                                                                                              \
        EMU_TYPE_##s value;                                                                        \
        uint64_t linear_ = emu_ea_sum(cpu, insn);                                                  \
        if (EMU_UNLIKELY(insn->ea)) {                                                              \
            if (insn->ea & EMU_EA_CHECK)                                                           \
                return name##_slow(cpu, insn);                                                     \
            linear_ = emu_unchecked(cpu, insn->ea, linear_);                                       \
        }                                                                                          \
        const uint8_t *host_ = emu_tlb_read(cpu, linear_, sizeof(value));                          \
        if (EMU_UNLIKELY(!host_))                                                                  \
            return name##_slow(cpu, insn);                                                         \
        memcpy(&value, host_, sizeof(value));                                                      \
        __VA_ARGS__;                                                                               \
        EMU_NEXT;                                                                                  \
    }

/* Handlers that store a value. The statement computes `value` (declared here) and
 * changes no state. */
#define EMU_STORE_OP(name, s, ...)                                                                 \
    static EMU_NOINLINE EMU_OP(name##_slow)                                                        \
    {                                                                                              \
        EMU_TYPE_##s value;                                                                        \
        uint64_t linear_ = emu_ea(cpu, insn, sizeof(value), true);                                 \
        __VA_ARGS__;                                                                               \
        emu_write_slow(cpu, insn, linear_, sizeof(value), value);                                  \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static EMU_OP(name)                                                                            \
    {                                                                                              \
        EMU_TYPE_##s value;                                                                        \
        uint64_t linear_ = emu_ea_sum(cpu, insn);                                                  \
        if (EMU_UNLIKELY(insn->ea)) {                                                              \
            if (insn->ea & EMU_EA_CHECK)                                                           \
                return name##_slow(cpu, insn);                                                     \
            linear_ = emu_unchecked(cpu, insn->ea, linear_);                                       \
        }                                                                                          \
        uint8_t *host_ = emu_tlb_write(cpu, linear_, sizeof(value));                               \
        if (EMU_UNLIKELY(!host_))                                                                  \
            return name##_slow(cpu, insn);                                                         \
        __VA_ARGS__;                                                                               \
        memcpy(host_, &value, sizeof(value));                                                      \
        EMU_NEXT;                                                                                  \
    }

/* Handlers that read, change and write memory. The statement turns `value` into what is
 * stored,
 * and sets flags and registers: once the probe has passed, nothing can fail. */
#define EMU_MODIFY_OP(name, s, ...)                                                                \
    static EMU_NOINLINE EMU_OP(name##_slow)                                                        \
    {                                                                                              \
        uint64_t linear_ = emu_ea(cpu, insn, sizeof(EMU_TYPE_##s), true);                          \
        emu_probe_write(cpu, insn, linear_, sizeof(EMU_TYPE_##s));                                 \
        EMU_TYPE_##s value = emu_load_##s(cpu, insn, linear_);                                     \
        __VA_ARGS__;                                                                               \
        emu_store_##s(cpu, insn, linear_, value);                                                  \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static EMU_OP(name)                                                                            \
    {                                                                                              \
        EMU_TYPE_##s value;                                                                        \
        uint64_t linear_ = emu_ea_sum(cpu, insn);                                                  \
        if (EMU_UNLIKELY(insn->ea)) {                                                              \
            if (insn->ea & EMU_EA_CHECK)                                                           \
                return name##_slow(cpu, insn);                                                     \
            linear_ = emu_unchecked(cpu, insn->ea, linear_);                                       \
        }                                                                                          \
        uint8_t *host_ = emu_tlb_write(cpu, linear_, sizeof(value));                               \
        if (EMU_UNLIKELY(!host_))                                                                  \
            return name##_slow(cpu, insn);                                                         \
        memcpy(&value, host_, sizeof(value));                                                      \
        __VA_ARGS__;                                                                               \
        memcpy(host_, &value, sizeof(value));                                                      \
        EMU_NEXT;                                                                                  \
    }

/* Tables of handlers. Forms with a memory twin are named alike but for _r and _m. */
#define EMU_FORMS(r0, r1, r2, r3, m0, m1, m2, m3)                                                  \
    {                                                                                              \
        {r0, r1, r2, r3},                                                                          \
        {                                                                                          \
            m0, m1, m2, m3                                                                         \
        }                                                                                          \
    }
#define EMU_FORMS_RM(r, m) EMU_FORMS(r, r, r, r, m, m, m, m) /* whatever the size */
#define EMU_FORMS_1(op) EMU_FORMS_RM(op, op)                 /* and whatever the form */

#define EMU_ALL_SIZES(X) X(b) X(w) X(d) X(q)
#define EMU_WIDE_SIZES(X) X(w) X(d) X(q)
#define EMU_CONDITIONS(X)                                                                          \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)

/* stack.c: pushes and pops of the size that the mode and prefixes ask for. */
static inline enum emu_size emu_stack_asize(const struct emu_cpu *cpu)
{
    return cpu->mode & EMU_MODE_STACK64 ? EMU_64 : cpu->mode & EMU_MODE_STACK32 ? EMU_32 : EMU_16;
}

static inline uint64_t emu_stack_cut(const struct emu_cpu *cpu, uint64_t offset)
{
    return cpu->mode & EMU_MODE_STACK64   ? offset
           : cpu->mode & EMU_MODE_STACK32 ? (uint32_t)offset
                                          : (uint16_t)offset;
}

/* What RSP comes to be with the stack at `offset`: a 16-bit stack leaves its upper part. */
static inline uint64_t emu_moved_sp(const struct emu_cpu *cpu, uint64_t offset)
{
    bool keeps = emu_stack_asize(cpu) == EMU_16;
    return emu_stack_cut(cpu, offset) | (keeps ? cpu->gpr[RSP] & ~UINT64_C(0xffff) : 0);
}

static inline void emu_set_sp(struct emu_cpu *cpu, uint64_t offset)
{
    cpu->gpr[RSP] = emu_moved_sp(cpu, offset);
}

/* Raise #SS where a stack address is not canonical, as the slow paths raise #GP. */
void emu_stack_canonical(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                         uint32_t size_bytes);

/* Store below the stack pointer; the caller moves it by emu_set_sp once all is well. */
static inline void emu_stack_store(struct emu_cpu *cpu, const struct emu_insn *insn,
                                   uint64_t offset, uint32_t size_bytes, uint64_t value)
{
    offset = emu_stack_cut(cpu, offset);
    uint64_t linear = emu_linear(cpu, insn, EMU_SS, offset, size_bytes, true);
    uint8_t *host = emu_tlb_write(cpu, linear, size_bytes);
    if (EMU_LIKELY(host)) {
        memcpy(host, &value, size_bytes);
        return;
    }
    emu_stack_canonical(cpu, insn, linear, size_bytes);
    emu_write_slow(cpu, insn, linear, size_bytes, value);
}

static inline uint64_t emu_stack_load(struct emu_cpu *cpu, const struct emu_insn *insn,
                                      uint64_t offset, uint32_t size_bytes)
{
    offset = emu_stack_cut(cpu, offset);
    uint64_t value = 0, linear = emu_linear(cpu, insn, EMU_SS, offset, size_bytes, false);
    const uint8_t *host = emu_tlb_read(cpu, linear, size_bytes);
    if (EMU_LIKELY(host)) {
        memcpy(&value, host, size_bytes);
        return value;
    }
    emu_stack_canonical(cpu, insn, linear, size_bytes);
    return emu_read_slow(cpu, insn, linear, size_bytes);
}

static inline void emu_push(struct emu_cpu *cpu, const struct emu_insn *insn, uint32_t size_bytes,
                            uint64_t value)
{
    uint64_t offset = cpu->gpr[RSP] - size_bytes;
    emu_stack_store(cpu, insn, offset, size_bytes, value);
    emu_set_sp(cpu, offset);
}

static inline uint32_t emu_osize_bytes(const struct emu_insn *insn)
{
    return 1u << emu_osize(insn);
}

#endif
