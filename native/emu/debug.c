/* Debug registers: breakpoints on instructions and data. Intel SDM vol. 3B §17.2. */
#include "tlb.h"

static unsigned kind_of(const struct emu_cpu *cpu, unsigned n)
{
    return (cpu->dr[7] >> (16 + 4 * n)) & 3;
}

static uint64_t length_of(const struct emu_cpu *cpu, unsigned n)
{
    static const uint8_t bytes[4] = {1, 2, 8, 4};
    return bytes[(cpu->dr[7] >> (18 + 4 * n)) & 3];
}

static bool enabled(const struct emu_cpu *cpu, unsigned n)
{
    return (cpu->dr[7] >> (2 * n)) & 3;
}

/* Raise #DB, a fault, where a breakpoint stands on the instruction at rip. */
void emu_check_code_breakpoints(struct emu_cpu *cpu)
{
    uint64_t linear = cpu->gpr[EMU_RIP], hit = 0;
    if (!(cpu->dr[7] & DR7_ENABLED))
        return;
    if (!emu_code64(cpu))
        linear = (uint32_t)(linear + cpu->seg[EMU_CS].base);
    for (unsigned n = 0; n < 4; n++)
        if (enabled(cpu, n) && kind_of(cpu, n) == 0 && cpu->dr[n] == linear)
            hit |= UINT64_C(1) << n;
    if (hit)
        emu_raise_debug(cpu, NULL, hit);
}

bool emu_watched(const struct emu_cpu *cpu, uint64_t page)
{
    if (!(cpu->dr[7] & DR7_ENABLED))
        return false;
    for (unsigned n = 0; n < 4; n++)
        if (enabled(cpu, n) && kind_of(cpu, n) != 0 && (cpu->dr[n] & EMU_PAGE_MASK) == page)
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
        uint64_t length = length_of(cpu, n), start = cpu->dr[n] & ~(length - 1);
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
