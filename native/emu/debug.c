/* Debug registers: breakpoints on instructions and data. Intel SDM vol. 3B §17.2. */
#include <string.h>

#include "tlb.h"

static unsigned kind_of(const struct emu_cpu *cpu, unsigned n)
{
    return (emu_dr(cpu)[7] >> (16 + 4 * n)) & 3;
}

static uint64_t length_of(const struct emu_cpu *cpu, unsigned n)
{
    static const uint8_t bytes[4] = {1, 2, 8, 4};
    return bytes[(emu_dr(cpu)[7] >> (18 + 4 * n)) & 3];
}

static bool enabled(const struct emu_cpu *cpu, unsigned n)
{
    return (emu_dr(cpu)[7] >> (2 * n)) & 3;
}

static uint64_t linear_rip(const struct emu_cpu *cpu)
{
    uint64_t rip = cpu->gpr[EMU_RIP];
    return emu_code64(cpu) ? rip : (uint32_t)(rip + cpu->seg[EMU_CS].base);
}

static int note_exit(struct emu_cpu *cpu, uint8_t vector, uint64_t dr6)
{
    cpu->exit.address = vector;
    cpu->exit.args[0] = linear_rip(cpu);
    cpu->exit.args[1] = DR6_FIXED | dr6;
    cpu->exit.args[2] = emu_dr(cpu)[7];
    cpu->exit.nargs = 3;
    return PYKVM_DEBUG;
}

/* Leave to the owner before this instruction. */
void emu_debug_exit(struct emu_cpu *cpu, const struct emu_insn *insn, uint8_t vector, uint64_t dr6)
{
    emu_unwind(cpu, insn);
    cpu->leave = note_exit(cpu, vector, dr6);
    longjmp(cpu->env, EMU_JUMP_DEBUG);
}

/* The exit for what the owner watches, after an instruction: each step and with that every
 * trap, or else only those of its own breakpoints. */
int emu_debug_due(struct emu_cpu *cpu)
{
    bool steps = cpu->debug & EMU_DEBUG_STEP;
    uint64_t hits = steps                               ? cpu->trap
                    : (cpu->debug & EMU_DEBUG_HARDWARE) ? cpu->trap & DR6_HITS
                                                        : 0;
    cpu->trap &= ~hits;
    if (steps && cpu->stepped)
        hits |= DR6_BS;
    cpu->stepped = false;
    return hits ? note_exit(cpu, EXC_DB, hits) : EMU_STAY;
}

/* EMU_DEBUG_*; of the registers DR0 to DR3 and DR7 count. Any thread. */
void emu_cpu_set_debug(struct emu_cpu *cpu, uint32_t what, const uint64_t *dr)
{
    emu_vm_freeze(cpu->vm);
    cpu->debug = (uint8_t)what;
    memcpy(cpu->owner_dr, dr, sizeof(cpu->owner_dr));
    emu_tlb_flush(cpu, true); /* the TLBs know which pages are watched */
    emu_vm_thaw(cpu->vm);
}

/* Raise #DB, a fault, where a breakpoint stands on the instruction at rip. RF holds it off
 * (SDM vol. 3B §17.3.1.1), but not the owner's. */
void emu_check_code_breakpoints(struct emu_cpu *cpu)
{
    bool owner = cpu->debug & EMU_DEBUG_HARDWARE;
    uint64_t linear = linear_rip(cpu), hit = 0;
    if (!(emu_dr(cpu)[7] & DR7_ENABLED) || (!owner && (cpu->rflags & FLAG_RF)))
        return;
    for (unsigned n = 0; n < 4; n++)
        if (enabled(cpu, n) && kind_of(cpu, n) == 0 && emu_dr(cpu)[n] == linear)
            hit |= UINT64_C(1) << n;
    if (hit && owner)
        emu_debug_exit(cpu, NULL, EXC_DB, hit);
    if (hit)
        emu_raise_debug(cpu, NULL, hit);
}

bool emu_watched(const struct emu_cpu *cpu, uint64_t page)
{
    if (!(emu_dr(cpu)[7] & DR7_ENABLED))
        return false;
    for (unsigned n = 0; n < 4; n++)
        if (enabled(cpu, n) && kind_of(cpu, n) != 0 && (emu_dr(cpu)[n] & EMU_PAGE_MASK) == page)
            return true;
    return false;
}

/* Kinds of breakpoints, as bits. */
#define STORES (1u << 1)
#define PORTS (1u << 2)
#define LOADS_AND_STORES (1u << 3)

/* An access: note the breakpoints of these kinds that it hits, for a trap after the
 * instruction. */
static void hit(struct emu_cpu *cpu, uint64_t address, uint32_t size_bytes, unsigned kinds)
{
    for (unsigned n = 0; n < 4; n++) {
        uint64_t length = length_of(cpu, n), start = emu_dr(cpu)[n] & ~(length - 1);
        bool counts = enabled(cpu, n) && (kinds >> kind_of(cpu, n) & 1);
        if (counts && address < start + length && start < address + size_bytes)
            cpu->trap |= UINT64_C(1) << n;
    }
}

void emu_watch_hit(struct emu_cpu *cpu, uint64_t linear, uint32_t size_bytes, bool write)
{
    hit(cpu, linear, size_bytes, LOADS_AND_STORES | (write ? STORES : 0));
}

void emu_watch_port(struct emu_cpu *cpu, uint16_t port, uint32_t size_bytes)
{
    hit(cpu, port, size_bytes, PORTS);
}
