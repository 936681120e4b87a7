"""Causes, their mask, and the pause between interrupts. SDM 8254x §13.4.17 to §13.4.21."""

from __future__ import annotations

from collections.abc import Callable

from pykvm.devices.nic.registers import ICR

ITR_UNIT_NS = 256
NS_PER_S = 1_000_000_000


class Interrupts:
    """What drives the line.

    Args:
        set_line: raises or lowers it.
        post: runs a call after a delay in seconds.
        clock: gives nanoseconds.
    """

    def __init__(
        self,
        set_line: Callable[[bool], None],
        post: Callable[[Callable[[], None], float], None],
        clock: Callable[[], int],
    ) -> None:
        self._set_line = set_line
        self._post = post
        self._clock = clock
        self._level = self._is_due = False
        self._raised_ns: int | None = None
        self.causes = self.mask = self.itr = 0

    def reset(self) -> None:
        """Nothing pending, nothing enabled."""
        self.causes = self.mask = self.itr = 0
        self._raised_ns = None
        self._update()

    def cause(self, bits: int) -> None:
        """Something has happened."""
        self.causes |= bits & ICR.IMPLEMENTED
        self._update()

    def take(self) -> int:
        """What a read of ICR gives and clears."""
        causes, self.causes = self.causes, 0
        self._update()
        return causes

    def clear(self, bits: int) -> None:
        """What a write to ICR clears."""
        self.causes &= ~bits
        self._update()

    def enable(self, set_bits: int, clear_bits: int = 0) -> None:
        """Writes to IMS and IMC."""
        self.mask = (self.mask | set_bits & ICR.IMPLEMENTED) & ~clear_bits
        self._update()

    def _update(self) -> None:
        level = bool(self.causes & self.mask)
        if level and not self._level and (wait_ns := self._wait_ns()) > 0:
            if not self._is_due:
                self._is_due = True
                self._post(self._come_back, wait_ns / NS_PER_S)
            return
        if level != self._level:
            self._level = level
            if level:
                self._raised_ns = self._clock()
            self._set_line(level)

    def _wait_ns(self) -> int:
        """How long the line has to stay low still."""
        if self.itr == 0 or self._raised_ns is None:
            return 0
        return self._raised_ns + self.itr * ITR_UNIT_NS - self._clock()

    def _come_back(self) -> None:
        self._is_due = False
        self._update()
