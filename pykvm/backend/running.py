"""What running a processor has in common on every backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pykvm.backend import kinds
from pykvm.backend.checked import Checked
from pykvm.exits import Exit


class Running(Checked):
    """The part of a processor that hands out exits and takes answers.

    Attributes:
        entry: the native function that runs to the next exit, and its argument.
        raw: the last exit, a struct pykvm_exit.
    """

    entry: tuple[Callable[[Any], int], Any]
    raw: Any

    def enter(self) -> int:
        """Run to the next exit; its key."""
        run, native = self.entry
        return run(native)

    def answer(self, exit: Exit, value: int | bytes, *, fault: bool = False) -> None:
        """Answer a read exit; delivered at the next entry."""
        kinds.answer(self.raw, exit, value, fault)

    def answered(self, exit: Exit) -> int | bytes | None:
        """What the exit has been answered with."""
        return kinds.answered(self.raw, exit)

    def _count(self, kind: int) -> int:
        raise NotImplementedError

    def exit_counts(self) -> Mapping[str, int]:
        """Exits by name."""
        counts: dict[str, int] = {}
        for kind, name in kinds.NAMES.items():
            if count := self._count(kind):
                counts[name] = counts.get(name, 0) + count
        return counts

    @property
    def assisted(self) -> tuple[int, int]:
        """Nobody helps this one."""
        return 0, 0
