"""Devices answered in native code, without Python: a console and a scratch memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pykvm._native import ffi, lib
from pykvm.errors import ClosedError, LayoutError


class Natives:
    """The part of a virtual machine that has native devices.

    Attributes:
        natives: the struct pykvm_natives that its processors share; None once closed.
    """

    natives: Any = None

    def open_natives(self) -> None:
        """Make the table, empty."""
        self.natives = lib.pykvm_natives_create()

    def add_console(self, port: int, ident: int) -> Callable[[], bytes]:
        """Collect bytes written to `port` in C; returns what takes them out."""
        index = self._add_native(lib.PYKVM_NATIVE_CONSOLE, True, port, 1, ident)
        buffer = ffi.new("uint8_t[]", lib.PYKVM_CONSOLE_SIZE_BYTES)

        def take() -> bytes:
            if not self.natives:
                raise ClosedError("machine")
            used = lib.pykvm_natives_take(self.natives, index, buffer, len(buffer))
            return bytes(ffi.buffer(buffer, used))

        return take

    def add_scratch(self, address: int, size_bytes: int, *, port: bool = False) -> None:
        """Answer [address, address + size_bytes) in C: guest-physical addresses, or ports."""
        self._add_native(lib.PYKVM_NATIVE_SCRATCH, port, address, size_bytes, 0)

    def _add_native(self, kind: int, is_port: bool, base: int, size_bytes: int, ident: int) -> int:
        index = lib.pykvm_natives_add(self.natives, kind, is_port, base, size_bytes, ident)
        if index < 0:
            raise LayoutError("no room for another native device")
        return int(index)

    def close_natives(self) -> None:
        """Free the table; no processor may be left."""
        if self.natives:
            lib.pykvm_natives_destroy(self.natives)
            self.natives = None
