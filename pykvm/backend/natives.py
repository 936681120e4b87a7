"""Devices answered in native code, without Python: a console and a scratch memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from pykvm._native import ffi, lib
from pykvm.backend.common import Checked
from pykvm.errors import ClosedError, LayoutError


def owned(native: Any, free: Callable[[Any], None]) -> tuple[Any, Any]:
    """A native part that is freed with the last who knows it, in the process that made it.

    In a forked child it is a copy, whose locks threads of the parent may hold for ever.

    The garbage collector calls the finalizers of what it collects in any order, `ffi.gc`'s among
    them: a part would be freed before the machine's own finalizer closes it. So that one only
    lets go of the keeper. What is made with an allocator, for a pointer to a structure of any
    kind, is an object unknown to the collector: it goes with the last reference.

    Returns:
        the part, and its keeper: who uses the part in a finalizer holds that, too.
    """
    _makers[_address(native)] = os.getpid()
    new = ffi.new_allocator(lambda size_bytes: native, _destructor(free), False)
    keeper = new("struct pykvm_exit *")
    return ffi.gc(native, partial(_let_go, keeper)), keeper


def _let_go(keeper: Any, native: Any) -> None:
    """One who knew the part is gone."""


_makers: dict[int, int] = {}  # the process that made what is at an address


def _address(native: Any) -> int:
    return int(ffi.cast("uintptr_t", native))


@cache
def _destructor(free: Callable[[Any], None]) -> Callable[[Any], None]:
    """Kept for ever: the garbage collector takes apart what goes along with a machine."""

    def destroy(native: Any) -> None:
        if _makers.pop(_address(native)) == os.getpid():
            free(native)

    return destroy


def empty_call() -> tuple[Callable[[Any], int], Any]:
    """A native function that as good as does nothing, and its argument: what any call costs."""
    return lib.pykvm_file_is_shut, ffi.new("struct pykvm_file *")


class Natives(Checked):
    """The part of a virtual machine that has native devices.

    Attributes:
        natives: the struct pykvm_natives that its processors share; it goes with the last who
            uses it.
    """

    _natives: Any = None
    _keeper_of_natives: Any = None

    def open_natives(self) -> None:
        """Make the table, empty."""
        made = lib.pykvm_natives_create()
        self._natives, self._keeper_of_natives = owned(made, lib.pykvm_natives_destroy)

    @property
    def natives(self) -> Any:
        """The table.

        Raises:
            ClosedError: it has been given back.
        """
        if (natives := self._natives) is None:
            raise ClosedError("machine")
        return natives

    def add_console(self, port: int, ident: int) -> Callable[[], bytes]:
        """Collect bytes written to `port` in C; returns what takes them out."""
        index = self._add_native(lib.PYKVM_NATIVE_CONSOLE, True, port, 1, ident)
        buffer = ffi.new("uint8_t[]", lib.PYKVM_CONSOLE_SIZE_BYTES)

        def take() -> bytes:
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
        """Give the table back; no processor may run any more."""
        self._natives = self._keeper_of_natives = None
