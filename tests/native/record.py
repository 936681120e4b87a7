"""Record what the host's processor does: run this on a host of each maker after changing cases.

    python tests/native/record.py

Writes recorded/MAKER.jsonl, cases drawn from all families, and this maker's results in
recorded/differences.jsonl. Results of the other maker stay; where there are none of Intel's, the
emulator's stand there, which follows Intel, marked as its rule's.
"""

from __future__ import annotations

import random
import sys
from dataclasses import replace

import differential_rows
import generate
import makers
import past
import recorded
import rules
from cases import AVX, AVX_FP, SSE, SSE_FP, Case
from differential_rows import RowOracle, result
from recorded import Record
from rows import decoder

SEED, COUNT = 1, 320
KEPT_BYTES = 24  # of memory, around each place that an instruction may look at


def settled(case: Case) -> rules.Result:
    """What the processor gave, but for a fault that is only the kernel's answer to #GP."""
    cpu, emu = result(case, "kvm"), result(case, "emu")
    kernel = cpu[0] != emu[0] and rules.repeated_by_kernel(
        decoder().table[case.row], cpu[0], emu[0]
    )
    return (emu[0], *cpu[1:]) if kernel else cpu


def plain(case: Case) -> Case:
    """The case without memory and vector registers that its instruction does not name."""
    row, found = decoder().table[case.row], decoder()
    found.length(64, case.code)
    insn = found.out.insn
    memory = bytearray(len(case.memory))
    for place in (case.operand, *(case.registers[n] for n in (4, 6, 7))):
        at = place - case.area & ~7
        if 0 <= at < len(memory):
            low = max(0, at - KEPT_BYTES)
            memory[low : at + KEPT_BYTES] = case.memory[low : at + KEPT_BYTES]
    if not case.xsave:
        return replace(case, memory=bytes(memory))
    if makers.opcode(row) in ((1, 0xAE), (1, 0xC7)):  # images
        return case
    named = {0, insn.reg & 15, insn.rm & 15, insn.src & 15, case.code[-1] >> 4}
    if row.has("VSIB"):
        named = set(range(16))
    image = bytearray(past.clean_state())
    if makers.unit(row) not in (SSE, SSE_FP, AVX, AVX_FP):
        image[:160] = case.xsave[:160]
    image[24:32] = case.xsave[24:32]
    for register in named:
        for at in (160 + 16 * register, 576 + 16 * register):
            image[at : at + 16] = case.xsave[at : at + 16]
    return replace(case, memory=bytes(memory), xsave=bytes(image))


def drawn() -> list[Case]:
    """Cases of rows from all families, each with a place of its own."""
    rng, pairs = random.Random(SEED), differential_rows.pairs()
    chosen = (pairs[number * len(pairs) // COUNT] for number in range(COUNT))
    return [plain(generate.make(rng, *pair, number)) for number, pair in enumerate(chosen)]


def record_drawn(oracle: RowOracle, by: str) -> int:
    """Keep what the processor does with drawn cases, and those of the past; how many disagree."""
    cases = drawn() + [case for _, case in past.kept()]
    recorded.run_cases(oracle, cases)
    cases = [case for case in cases if case.results]  # KVM refused the others
    wrong = [case for case in cases if differential_rows.verdict(case) is None]
    for case in wrong:
        print(differential_rows.describe(case))
    records = [
        Record(str(decoder().table[c.row]), c, {by: settled(c)}, {by: recorded.PROCESSOR})
        for c in cases
    ]
    recorded.write(recorded.path(by), records)
    return len(wrong)


def record_differences(oracle: RowOracle, by: str) -> None:
    """Put this maker's results beside the other's."""
    records = recorded.run(oracle, recorded.DIFFERENCES)
    for each in records:
        if each.by.get(makers.FOLLOWED) != recorded.PROCESSOR:
            each.results[makers.FOLLOWED] = result(each.case, "emu")
            each.by[makers.FOLLOWED] = recorded.RULE
        each.results[by], each.by[by] = settled(each.case), recorded.PROCESSOR
    recorded.write(recorded.DIFFERENCES, records)


def main() -> None:
    """Record on this host."""
    by = makers.maker()
    if by not in (makers.INTEL, makers.AMD) or makers.lacking():
        sys.exit(f"record: made by {by or 'nobody known'}; {makers.lacking() or 'not compared'}")
    oracle = RowOracle()
    record_differences(oracle, by)
    wrong = record_drawn(oracle, by)
    oracle.close()
    sys.exit(f"{wrong} cases disagree with the emulator" if wrong else 0)


if __name__ == "__main__":
    main()
