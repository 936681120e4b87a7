"""Run cases of `differential_rows` from the command line and say what they covered.

    python tests/native/campaign.py SEED BATCHES [--go-on] [--keep FILE] [--rows TEXT]

Ends at the first batch with a mismatch, and prints its shortest case, shrunk, with its
disassembly. --go-on notes each and goes on; --keep adds them to a file such as
past_failures.jsonl; --rows draws only rows whose description begins with the text.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import differential_rows
import past
import rules
from cases import Case
from differential_rows import Pair, RowOracle
from rows import decoder


@dataclass
class Tally:
    """What came of the cases."""

    cases: int = 0
    drawn: Counter[tuple[int, bool]] = field(default_factory=Counter)
    through: Counter[tuple[int, bool]] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    faults: int = 0
    once: int = 0  # differed in the batch, and not again alone

    def add(self, case: Case) -> None:
        """Count a case."""
        self.cases += 1
        self.drawn[case.row, case.form] += 1
        landed = differential_rows.landed(case)
        self.through[case.row, case.form] += landed
        self.faults += not landed

    def never(self, counts: Counter[tuple[int, bool]]) -> list[str]:
        """Rows and forms that were not counted and that no rule leaves out."""
        found = []
        for row, memory in differential_rows.pairs():
            if not counts[row.index, memory] and not rules.always_faults(row):
                found.append(f"{row} {'memory' if memory else 'register'}")
        return found

    def report(self, oracle: RowOracle) -> str:
        """All of it in words."""
        pairs = differential_rows.pairs()
        rows = decoder().rows
        left_out = Counter(why for row in rows if (why := rules.excluded(row)))
        used = len({row.index for row, _ in pairs})
        fewest = min(self.drawn[row.index, memory] for row, memory in pairs)
        lines = [
            f"{self.cases} cases, {self.faults} of them with a fault",
            f"{len(rows)} rows in 64-bit code, {used} of them drawn in"
            f"  {len(pairs)} forms, each at least {fewest} times",
            *(f"  not drawn: {n} rows, {why}" for why, n in left_out.most_common()),
            *(f"  never drawn: {text}" for text in self.never(self.drawn)),
            *(f"  never without a fault: {text}" for text in self.never(self.through)),
            *(f"  {n} excused: {why}" for why, n in self.verdicts.most_common() if why),
            *(f"  refused by KVM: {case.code.hex()}" for case in oracle.refused[:5]),
        ]
        if oracle.refused:
            lines.append(f"  {len(oracle.refused)} refused by KVM")
        if self.once:
            lines.append(f"  {self.once} differed once and not again")
        return "\n".join(lines)


def run_batch(oracle: RowOracle, seed: int, among: list[Pair], tally: Tally) -> list[Case]:
    """Run the batch of a seed; the cases that differ, also by themselves, shortest first."""
    cases = differential_rows.batch(seed, among)
    oracle.run(cases)
    bad = []
    for case in cases:
        tally.add(case)
        verdict = differential_rows.verdict(case)
        if verdict is None:
            bad.append(case)
        elif verdict:
            tally.verdicts[verdict] += 1
    confirmed = [case for case in bad if all(past.fails(oracle, case) for _ in range(2))]
    tally.once += len(bad) - len(confirmed)
    return sorted(confirmed, key=lambda case: len(case.code))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int)
    parser.add_argument("batches", type=int)
    parser.add_argument("--go-on", action="store_true")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--rows", default="")
    return parser.parse_args()


def main() -> None:
    """Run batches from the command line."""
    args = arguments()
    among = [pair for pair in differential_rows.pairs() if str(pair[0]).startswith(args.rows)]
    oracle, tally, failed = RowOracle(), Tally(), 0
    for seed in range(args.seed, args.seed + args.batches):
        bad = run_batch(oracle, seed, among, tally)
        failed += len(bad)
        for case in bad if args.go_on else bad[:1]:
            case = past.shrink(oracle, case)
            print(f"seed {seed}, case {case.number}, {len(bad)} in its batch:")
            print(differential_rows.describe(case), flush=True)
            if args.keep:
                with args.keep.open("a") as file:
                    file.write(past.to_line(str(decoder().table[case.row]), case) + "\n")
        if bad and not args.go_on:
            break
        if (seed - args.seed) % 500 == 499:
            print(f"{tally.cases} cases, {failed} mismatches so far", flush=True)
    print(tally.report(oracle))
    print(f"{failed} mismatches")
    oracle.close()
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
