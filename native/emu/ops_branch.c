/* Near jumps, calls and returns; LOOP and JCXZ. In 64-bit mode their operands have 64
 * bits whatever the prefixes say. */
#include "ops.h"

/* The target must be one that can be fetched from, before anything is changed. */
static inline uint64_t checked_q(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t rip)
{
    if (EMU_UNLIKELY(!emu_canonical(cpu, rip)))
        emu_raise_error(cpu, insn, EXC_GP, 0);
    return rip;
}

static inline uint64_t checked_d(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t rip)
{
    if (EMU_UNLIKELY((uint32_t)rip > cpu->seg[EMU_CS].limit))
        emu_raise_error(cpu, insn, EXC_GP, 0);
    return (uint32_t)rip;
}

static inline uint64_t checked_w(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t rip)
{
    return checked_d(cpu, insn, (uint16_t)rip);
}

/* The same for a call. Its stack's faults come before its target's, and Intel's processors have
 * stored the return address by then. */
static EMU_NOINLINE void bad_call(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint32_t bytes = emu_osize_bytes(insn);
    emu_stack_store(cpu, insn, cpu->gpr[RSP] - bytes, bytes, emu_next_rip(cpu, insn));
    emu_raise_error(cpu, insn, EXC_GP, 0);
}

static inline uint64_t called_q(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t rip)
{
    if (EMU_UNLIKELY(!emu_canonical(cpu, rip)))
        bad_call(cpu, insn);
    return rip;
}

static inline uint64_t called_d(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t rip)
{
    if (EMU_UNLIKELY((uint32_t)rip > cpu->seg[EMU_CS].limit))
        bad_call(cpu, insn);
    return (uint32_t)rip;
}

static inline uint64_t called_w(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t rip)
{
    return called_d(cpu, insn, (uint16_t)rip);
}

/* Relative targets and what lies behind: canonical but where code ends at the border. */
#define TARGET_q() (cpu->gpr[EMU_RIP] + insn->imm)
#define TARGET_d() checked_d(cpu, insn, cpu->gpr[EMU_RIP] + insn->imm)
#define TARGET_w() checked_w(cpu, insn, cpu->gpr[EMU_RIP] + insn->imm)
#define BEHIND_q() (cpu->gpr[EMU_RIP] + insn->offset + insn->length)
#define BEHIND_d() ((uint32_t)BEHIND_q())
#define BEHIND_w() ((uint32_t)BEHIND_q())

#define JCC_SIZE(cc, s)                                                                            \
    static EMU_OP(op_j##cc##_j##s)                                                                 \
    {                                                                                              \
        if (emu_condition(cpu, cc))                                                                \
            EMU_CHAIN(1, TARGET_##s());                                                            \
        EMU_CHAIN(0, BEHIND_##s());                                                                \
    }
#define JCC(cc)                                                                                    \
    JCC_SIZE(cc, w)                                                                                \
    JCC_SIZE(cc, d)                                                                                \
    JCC_SIZE(cc, q)                                                                                \
    static const struct emu_forms j##cc = {                                                        \
        .r = {NULL, op_j##cc##_jw, op_j##cc##_jd, op_j##cc##_jq}};
EMU_CONDITIONS(JCC)

#define JMP_SIZE(s)                                                                                \
    static EMU_OP(op_jmp_j##s)                                                                     \
    {                                                                                              \
        EMU_CHAIN(0, TARGET_##s());                                                                \
    }                                                                                              \
    static EMU_OP(op_jmp_e##s##_r)                                                                 \
    {                                                                                              \
        EMU_CHAIN_INDIRECT(checked_##s(cpu, insn, emu_get_##s(cpu, insn->rm)));                    \
    }                                                                                              \
    static EMU_OP(op_jmp_e##s##_m)                                                                 \
    {                                                                                              \
        uint64_t linear = emu_ea(cpu, insn, sizeof(EMU_TYPE_##s), false);                          \
        EMU_CHAIN_INDIRECT(checked_##s(cpu, insn, emu_load_##s(cpu, insn, linear)));               \
    }
EMU_WIDE_SIZES(JMP_SIZE)

/* The counter has the address size. */
static inline uint64_t counter(const struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return emu_cut_address(cpu->gpr[RCX], emu_asize(insn));
}

static inline uint64_t count_down(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    emu_set(cpu, RCX, (enum emu_size)(emu_asize(insn) + 1), cpu->gpr[RCX] - 1);
    return counter(cpu, insn);
}

/* The target is checked before the counter changes. */
#define LOOP_HANDLER(mn, s, CONDITION)                                                             \
    static EMU_OP(op_##mn##_j##s)                                                                  \
    {                                                                                              \
        bool last = emu_cut_address(cpu->gpr[RCX] - 1, emu_asize(insn)) == 0;                      \
        bool taken = !last && (CONDITION);                                                         \
        uint64_t target = taken ? TARGET_##s() : 0;                                                \
        (void)count_down(cpu, insn);                                                               \
        if (taken)                                                                                 \
            EMU_CHAIN(1, target);                                                                  \
        EMU_CHAIN(0, BEHIND_##s());                                                                \
    }
#define LOOP_SIZE(s)                                                                               \
    LOOP_HANDLER(loopne, s, !emu_zf(cpu))                                                          \
    LOOP_HANDLER(loope, s, emu_zf(cpu))                                                            \
    LOOP_HANDLER(loop, s, true)                                                                    \
    static EMU_OP(op_jcxz_j##s)                                                                    \
    {                                                                                              \
        if (counter(cpu, insn) == 0)                                                               \
            EMU_CHAIN(1, TARGET_##s());                                                            \
        EMU_CHAIN(0, BEHIND_##s());                                                                \
    }
EMU_WIDE_SIZES(LOOP_SIZE)

/* Calls push with the operand size; 64 bits have a path without a stack frame. */
#define CALL_SIZE(s)                                                                               \
    static EMU_NOINLINE EMU_OP(op_call_j##s##_slow)                                                \
    {                                                                                              \
        uint64_t target = called_##s(cpu, insn, cpu->gpr[EMU_RIP] + insn->imm);                    \
        emu_push(cpu, insn, sizeof(EMU_TYPE_##s), BEHIND_##s());                                   \
        EMU_CHAIN(0, target);                                                                      \
    }                                                                                              \
    static EMU_OP(op_call_e##s##_r)                                                                \
    {                                                                                              \
        uint64_t target = called_##s(cpu, insn, emu_get_##s(cpu, insn->rm));                       \
        emu_push(cpu, insn, sizeof(EMU_TYPE_##s), BEHIND_##s());                                   \
        EMU_CHAIN_INDIRECT(target);                                                                \
    }                                                                                              \
    static EMU_OP(op_call_e##s##_m)                                                                \
    {                                                                                              \
        uint64_t linear = emu_ea(cpu, insn, sizeof(EMU_TYPE_##s), false);                          \
        uint64_t target = called_##s(cpu, insn, emu_load_##s(cpu, insn, linear));                  \
        emu_push(cpu, insn, sizeof(EMU_TYPE_##s), BEHIND_##s());                                   \
        EMU_CHAIN_INDIRECT(target);                                                                \
    }                                                                                              \
    static EMU_NOINLINE EMU_OP(op_ret_##s##_slow)                                                  \
    {                                                                                              \
        uint64_t sp = cpu->gpr[RSP];                                                               \
        uint64_t target =                                                                          \
            checked_##s(cpu, insn, emu_stack_load(cpu, insn, sp, sizeof(EMU_TYPE_##s)));           \
        emu_set_sp(cpu, sp + sizeof(EMU_TYPE_##s) + insn->imm);                                    \
        EMU_CHAIN_INDIRECT(target);                                                                \
    }
EMU_WIDE_SIZES(CALL_SIZE)

static EMU_OP(op_call_jq)
{
    uint64_t sp = cpu->gpr[RSP] - 8, behind = BEHIND_q();
    uint8_t *host = emu_tlb_write(cpu, sp, 8);
    if (EMU_UNLIKELY(!host))
        return op_call_jq_slow(cpu, insn);
    memcpy(host, &behind, 8);
    cpu->gpr[RSP] = sp;
    EMU_CHAIN(0, TARGET_q());
}

static EMU_OP(op_ret_q)
{
    uint64_t sp = cpu->gpr[RSP], target;
    const uint8_t *host = emu_tlb_read(cpu, sp, 8);
    if (EMU_UNLIKELY(!host))
        return op_ret_q_slow(cpu, insn);
    memcpy(&target, host, 8);
    if (EMU_UNLIKELY(!emu_canonical(cpu, target)))
        return op_ret_q_slow(cpu, insn);
    cpu->gpr[RSP] = sp + 8 + insn->imm;
    EMU_CHAIN_INDIRECT(target);
}

#define RELATIVE(mn)                                                                               \
    {                                                                                              \
        .r = {NULL, op_##mn##_jw, op_##mn##_jd, op_##mn##_jq}                                      \
    }
#define INDIRECT(mn)                                                                               \
    EMU_FORMS(NULL, op_##mn##_ew_r, op_##mn##_ed_r, op_##mn##_eq_r, NULL, op_##mn##_ew_m,          \
              op_##mn##_ed_m, op_##mn##_eq_m)
static const struct emu_forms jmp_j = RELATIVE(jmp), jmp_e = INDIRECT(jmp);
static const struct emu_forms loopne_j = RELATIVE(loopne), loope_j = RELATIVE(loope);
static const struct emu_forms loop_j = RELATIVE(loop), jcxz_j = RELATIVE(jcxz);
static const struct emu_forms call_j = {.r = {NULL, op_call_jw_slow, op_call_jd_slow, op_call_jq}};
static const struct emu_forms call_e = INDIRECT(call);
static const struct emu_forms ret = {.r = {NULL, op_ret_w_slow, op_ret_d_slow, op_ret_q}};

#define BRANCH (EMU_SIZE_F64 | EMU_END)
#define JCC_ROWS(cc)                                                                               \
    {EMU_MAP_1, 0x70 + cc, 0, BRANCH | EMU_IMM_REL8 | EMU_READS_ALL, &j##cc, NULL},                \
        {EMU_MAP_0F, 0x80 + cc, 0, BRANCH | EMU_IMM_RELZ | EMU_READS_ALL, &j##cc, NULL},

static const struct emu_row rows[] = {
    EMU_CONDITIONS(JCC_ROWS){EMU_MAP_1, 0xe9, 0, BRANCH | EMU_IMM_RELZ, &jmp_j, NULL},
    {EMU_MAP_1, 0xeb, 0, BRANCH | EMU_IMM_REL8, &jmp_j, NULL},
    {EMU_MAP_1, 0xff, EMU_REG(4), BRANCH | EMU_MODRM, &jmp_e, NULL},
    {EMU_MAP_1, 0xe0, 0, BRANCH | EMU_IMM_REL8, &loopne_j, NULL},
    {EMU_MAP_1, 0xe1, 0, BRANCH | EMU_IMM_REL8, &loope_j, NULL},
    {EMU_MAP_1, 0xe2, 0, BRANCH | EMU_IMM_REL8, &loop_j, NULL},
    {EMU_MAP_1, 0xe3, 0, BRANCH | EMU_IMM_REL8, &jcxz_j, NULL},
    {EMU_MAP_1, 0xe8, 0, BRANCH | EMU_IMM_RELZ, &call_j, NULL},
    {EMU_MAP_1, 0xff, EMU_REG(2), BRANCH | EMU_MODRM, &call_e, NULL},
    {EMU_MAP_1, 0xc2, 0, BRANCH | EMU_IMM_16, &ret, NULL},
    {EMU_MAP_1, 0xc3, 0, BRANCH, &ret, NULL},
};
EMU_FAMILY(emu_family_branch, rows);
