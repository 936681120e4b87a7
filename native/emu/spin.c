/* Does a processor wait for another one in a loop without PAUSE? Two that wait for each other by
 * turns would spend a whole quantum on each word.
 *
 * It does if its registers are the same after a number of instructions as before, and no store in
 * between changed memory: whatever it executes, it does so again and again until somebody else
 * changes what it reads. The first is looked at between slices, which end after numbers of
 * instructions that the lengths of usual loops divide; where they are the same, stores are watched
 * for as many again. The fast path knows nothing of it. */
#include <string.h>

#include "cpu.h"
#include "tlb.h"

/* Loops of 1 to 6, 8, 10 or 12 instructions are found by the first two, of 7 and 14 by the third,
 * of 11, 13 and 16 by the next, of 9 and 18 by the rest. */
static const int64_t distance[] = {120, 120, 840, 2288, 2520, 10080, 40320, 120960};
#define LAST (sizeof(distance) / sizeof(distance[0]) - 1)

/* A turn begins. What was seen at the last one's end still counts. */
void emu_spin_begin(struct emu_cpu *cpu)
{
    cpu->spin.step = 0;
    cpu->spin.left = distance[0];
}

/* Between slices. */
bool emu_spins(struct emu_cpu *cpu)
{
    struct emu_spin *spin = &cpu->spin;
    if (spin->left > 0)
        return false;
    bool same = !memcmp(spin->gpr, cpu->gpr, sizeof(spin->gpr));
    bool was_watched = spin->watches;
    memcpy(spin->gpr, cpu->gpr, sizeof(spin->gpr));
    spin->watches = same && !was_watched;
    if (spin->watches) {
        spin->stored = false;
        emu_tlb_watch_writes(cpu);
    } else if (was_watched) {
        spin->step = LAST;
    } else if (spin->step < LAST) {
        spin->step++;
    }
    spin->left = distance[spin->step];
    return same && was_watched && !spin->stored;
}
