"""What virtual machines are made of: a struct emu_vm that may have been given back."""

from __future__ import annotations

from typing import Any

from pykvm.errors import ClosedError


class Handle:
    """A struct emu_vm."""

    _native: Any = None

    @property
    def native(self) -> Any:
        """The struct emu_vm.

        Raises:
            ClosedError: it has been given back.
        """
        if not self._native:
            raise ClosedError("machine")
        return self._native
