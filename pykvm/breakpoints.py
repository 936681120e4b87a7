"""Software breakpoints: INT3 in guest memory, and the bytes that it stands for."""

from __future__ import annotations

from collections.abc import Iterator

from pykvm.memory import GuestMemory

INT3 = 0xCC


class Breakpoints:
    """INT3 patched over instructions, by guest-physical address.

    A run ends with a Debug exit there once the vCPU is told so by
    `set_guest_debug(software=True)`. To go on, take the breakpoint out, step once,
    and put it in again.
    """

    def __init__(self, memory: GuestMemory) -> None:
        self._memory = memory
        self._originals: dict[int, int] = {}

    def insert(self, gpa: int) -> None:
        """Patch INT3 over the instruction at `gpa`; again does nothing.

        Raises:
            MemoryAccessError: outside guest memory.
        """
        if gpa not in self._originals:
            self._originals[gpa] = self._memory.read_int(gpa, 1)
            self._memory.write_int(gpa, INT3, 1)

    def remove(self, gpa: int) -> None:
        """Put the instruction back; without a breakpoint there, do nothing."""
        original = self._originals.pop(gpa, None)
        if original is not None:
            self._memory.write_int(gpa, original, 1)

    def clear(self) -> None:
        """Put every instruction back."""
        for gpa in list(self._originals):
            self.remove(gpa)

    def __contains__(self, gpa: object) -> bool:
        return gpa in self._originals

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._originals))

    def __len__(self) -> int:
        return len(self._originals)
