"""What virtual machines are made of: a struct emu_vm that may be closed at any moment."""

from __future__ import annotations

from typing import Any

from pykvm.backend.common import Checked
from pykvm.errors import ClosedError


class Handle(Checked):
    """A struct emu_vm. It is freed when nobody knows it, closed or not: no call comes too late."""

    _native: Any = None

    @property
    def native(self) -> Any:
        """The struct emu_vm.

        Raises:
            ClosedError: it has been given back.
        """
        if (native := self._native) is None:
            raise ClosedError("machine")
        return native
