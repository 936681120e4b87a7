/* IN, OUT, INS, OUTS. */
#include "segment.h"
#include "strings.h"
#include "tlb.h"

static void check_port(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t port,
                       uint32_t bytes)
{
    if (!emu_port_allowed(cpu, insn, port, bytes))
        emu_raise_error(cpu, insn, EXC_GP, 0);
}

/* A breakpoint on ports: a trap after the instruction. SDM vol. 3B §17.2.4 */
static void watch_port(struct emu_cpu *cpu, uint16_t port, uint32_t bytes)
{
    if ((cpu->cr4 & CR4_DE) && (cpu->dr[7] & DR7_ENABLED))
        emu_watch_port(cpu, port, bytes);
}

static void in(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t port)
{
    uint32_t bytes = emu_osize_bytes(insn);
    check_port(cpu, insn, port, bytes);
    emu_set(cpu, RAX, emu_osize(insn), emu_bus_read(cpu, insn, true, port, bytes));
    watch_port(cpu, port, bytes);
}

static void out(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t port)
{
    uint32_t bytes = emu_osize_bytes(insn);
    check_port(cpu, insn, port, bytes);
    emu_bus_write(cpu, insn, true, port, bytes, emu_get(cpu, RAX, emu_osize(insn)));
    watch_port(cpu, port, bytes);
}

#define PORT_HANDLERS(mn)                                                                          \
    static EMU_OP(op_##mn##_i)                                                                     \
    {                                                                                              \
        mn(cpu, insn, (uint8_t)insn->imm);                                                         \
        EMU_LEAVE(emu_next_rip(cpu, insn));                                                        \
    }                                                                                              \
    static EMU_OP(op_##mn##_dx)                                                                    \
    {                                                                                              \
        mn(cpu, insn, (uint16_t)cpu->gpr[RDX]);                                                    \
        EMU_LEAVE(emu_next_rip(cpu, insn));                                                        \
    }                                                                                              \
    static const struct emu_forms mn##_i = EMU_FORMS_1(op_##mn##_i);                               \
    static const struct emu_forms mn##_dx = EMU_FORMS_1(op_##mn##_dx);
PORT_HANDLERS(in)
PORT_HANDLERS(out)

/* How many elements one exit may bring: to the page's end, as KVM asks for them. */
static uint32_t elements_wanted(const struct emu_cpu *cpu, const struct emu_insn *insn,
                                uint32_t bytes)
{
    uint64_t count = emu_repeats(insn) ? emu_counter(cpu, insn) : 1;
    uint64_t offset = cpu->gpr[RDI] % EMU_PAGE_BYTES;
    uint64_t fit = (cpu->rflags & FLAG_DF ? offset : EMU_PAGE_BYTES - offset) / bytes;
    if (fit == 0)
        fit = 1;
    return (uint32_t)(count < fit ? count : fit);
}

static void ins_one(struct emu_cpu *cpu, const struct emu_insn *insn, uint32_t bytes)
{
    uint64_t value, linear = emu_target(cpu, insn, bytes, true);
    emu_probe_write(cpu, insn, linear, bytes);
    emu_port_string(cpu, insn, (uint16_t)cpu->gpr[RDX], bytes, elements_wanted(cpu, insn, bytes),
                    &value);
    emu_store(cpu, insn, linear, bytes, value);
    watch_port(cpu, (uint16_t)cpu->gpr[RDX], bytes);
    cpu->replay.string_used += bytes;
    emu_advance(cpu, insn, RDI, bytes);
}

static void outs_one(struct emu_cpu *cpu, const struct emu_insn *insn, uint32_t bytes)
{
    uint64_t value = emu_load(cpu, insn, emu_source(cpu, insn, bytes), bytes);
    emu_bus_write(cpu, insn, true, (uint16_t)cpu->gpr[RDX], bytes, value);
    watch_port(cpu, (uint16_t)cpu->gpr[RDX], bytes);
    emu_advance(cpu, insn, RSI, bytes);
}

typedef void string_one(struct emu_cpu *cpu, const struct emu_insn *insn, uint32_t bytes);

/* True once all is done. */
static bool repeat(struct emu_cpu *cpu, const struct emu_insn *insn, uint32_t bytes,
                   string_one *one)
{
    if (!emu_repeats(insn)) {
        one(cpu, insn, bytes);
        return true;
    }
    bool goes_on = !emu_counts_none(cpu, insn, 0);
    while (goes_on && emu_counter(cpu, insn)) {
        one(cpu, insn, bytes);
        goes_on = emu_repeat_on(cpu, insn, 1);
    }
    return emu_counter(cpu, insn) == 0;
}

#define STRING_HANDLER(mn)                                                                         \
    static EMU_OP(op_##mn)                                                                         \
    {                                                                                              \
        uint32_t bytes = emu_osize_bytes(insn);                                                    \
        check_port(cpu, insn, (uint16_t)cpu->gpr[RDX], bytes);                                     \
        if (!repeat(cpu, insn, bytes, mn##_one))                                                   \
            return emu_pause(cpu, insn);                                                           \
        EMU_LEAVE(emu_next_rip(cpu, insn));                                                        \
    }                                                                                              \
    static const struct emu_forms mn = EMU_FORMS_1(op_##mn);
STRING_HANDLER(ins)
STRING_HANDLER(outs)

/* 64-bit operands do not exist here: REX.W is as if absent. */
#define PORT_ROW(opcode, shape, forms) {EMU_MAP_1, opcode, 0, EMU_END | (shape), &forms, NULL}

static const struct emu_row rows[] = {
    PORT_ROW(0xe4, EMU_SIZE_B | EMU_IMM_U8, in_i),
    PORT_ROW(0xe5, EMU_SIZE_Z | EMU_IMM_U8, in_i),
    PORT_ROW(0xe6, EMU_SIZE_B | EMU_IMM_U8, out_i),
    PORT_ROW(0xe7, EMU_SIZE_Z | EMU_IMM_U8, out_i),
    PORT_ROW(0xec, EMU_SIZE_B, in_dx),
    PORT_ROW(0xed, EMU_SIZE_Z, in_dx),
    PORT_ROW(0xee, EMU_SIZE_B, out_dx),
    PORT_ROW(0xef, EMU_SIZE_Z, out_dx),
    PORT_ROW(0x6c, EMU_SIZE_B | EMU_IMPLICIT, ins),
    PORT_ROW(0x6d, EMU_SIZE_Z | EMU_IMPLICIT, ins),
    PORT_ROW(0x6e, EMU_SIZE_B | EMU_IMPLICIT, outs),
    PORT_ROW(0x6f, EMU_SIZE_Z | EMU_IMPLICIT, outs),
};
EMU_FAMILY(emu_family_port, rows);
