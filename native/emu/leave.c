/* Leaving an instruction in its middle: its effects have not happened, rip stays at it. */
#include "cpu.h"

/* Make rip and the count of instructions those of this instruction's start. */
void emu_unwind(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    if (!insn)
        return;
    cpu->gpr[EMU_RIP] = emu_insn_rip(cpu, insn);
    cpu->left += insn->rest;
}

/* Hand an exit to the owner; the instruction is executed again at the next entry. */
void emu_exit(struct emu_cpu *cpu, const struct emu_insn *insn, int kind)
{
    emu_unwind(cpu, insn);
    cpu->exit_kind = kind;
    longjmp(cpu->env, EMU_JUMP_EXIT);
}

/* A processor that is here for what KVM refuses goes back before this instruction, which KVM
 * has to see. Not at once: it came for the first one. */
void emu_go_home(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    if (cpu->visiting && !cpu->replay.answers &&
        emu_cpu_retired(cpu) > cpu->visit_start + insn->rest) {
        cpu->visit_ended = true;
        emu_exit(cpu, insn, PYKVM_AGAIN);
    }
}

/* The instruction touches a device, its own code or a breakpoint: once more, alone. */
void emu_retry_alone(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    emu_unwind(cpu, insn);
    longjmp(cpu->env, EMU_JUMP_RETRY);
}

static _Noreturn void fault(struct emu_cpu *cpu, const struct emu_insn *insn,
                            struct emu_event event)
{
    emu_unwind(cpu, insn);
    cpu->fault = event;
    longjmp(cpu->env, EMU_JUMP_FAULT);
}

void emu_raise(struct emu_cpu *cpu, const struct emu_insn *insn, uint8_t vector)
{
    fault(cpu, insn,
          (struct emu_event){.pending = true, .vector = vector, .type = EMU_EVENT_FAULT});
}

void emu_raise_error(struct emu_cpu *cpu, const struct emu_insn *insn, uint8_t vector,
                     uint32_t error)
{
    fault(cpu, insn,
          (struct emu_event){.pending = true,
                             .has_error = cpu->cr0 & CR0_PE, /* none in real mode */
                             .vector = vector,
                             .type = EMU_EVENT_FAULT,
                             .error = error});
}

void emu_raise_page_fault(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                          uint32_t error)
{
    fault(cpu, insn,
          (struct emu_event){.pending = true,
                             .has_error = true,
                             .vector = EXC_PF,
                             .type = EMU_EVENT_FAULT,
                             .error = error,
                             .cr2 = linear});
}

/* #DB as a fault: a breakpoint on the instruction, or an access to a guarded register. */
void emu_raise_debug(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t dr6)
{
    fault(
        cpu, insn,
        (struct emu_event){.pending = true, .vector = EXC_DB, .type = EMU_EVENT_FAULT, .dr6 = dr6});
}
