"""How late timer interrupts come by the wall clock: `latency.py`; nanoseconds, by percentiles."""

from __future__ import annotations

import statistics

from board import END, LAPIC_EOI, LAPIC_ON, SPLIT, Board, lapic

COUNT, AHEAD_NS, NOTES = 1000, 500_000, 0x10_0000
DEADLINE = 0x40040  # LVT timer: TSC deadline, vector 40h
NOTE = f"rdtsc; sub eax, esi; mov [{NOTES} + rbx * 4], eax; inc ebx;"
WAITS = {"running": "sti; wait: cmp ebx, edi; je wait; cli;", "sleeping": "sti; hlt; cli;"}


def measure(wait: str) -> list[int]:
    """Set a deadline again and again, and note how far behind it the handler begins."""
    text = f"""{LAPIC_ON} {lapic(0x320, DEADLINE)} xor ebx, ebx
        again: mov edi, ebx; rdtsc; add eax, {AHEAD_NS}; mov esi, eax; mov ecx, 0x6e0; wrmsr
        {wait} cmp ebx, {COUNT}; jb again; {END}"""
    with Board(SPLIT, wall=True) as board:
        board.load(text, {0x40: NOTE + LAPIC_EOI})
        board.end()
        notes = board.read(NOTES, 4 * COUNT)
    return [int.from_bytes(notes[i : i + 4], "little") for i in range(0, len(notes), 4)]


if __name__ == "__main__":
    for name, wait in WAITS.items():
        cuts = statistics.quantiles(measure(wait), n=100)
        print(f"{name}: median {cuts[49]:.0f} ns, 90 % {cuts[89]:.0f} ns, 99 % {cuts[98]:.0f} ns")
