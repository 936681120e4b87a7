"""What answers the accesses of a run, by the number that C tells each apart by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pykvm._native import ffi, lib

# What answers an access, and what it is called with before the value of a port write: a
# device's own `write` with offset and size, since each call between costs on every exit.
Route = tuple[Callable[[int, int, int], None], int, int]

NUMBER_MASK: int = lib.PYKVM_ROUTE_SLOTS - 1
VALUE_SHIFT: int = lib.PYKVM_ROUTE_SHIFT


class Unrouted(Exception):
    """An exit that has no route: `Routes.key` tells which."""


def _no_route(offset: int, size_bytes: int, value: int) -> None:
    raise Unrouted


class Routes:
    """Those of one run of one processor, at most 192.

    Args:
        entry: what runs to the next exit, of `Vcpu.entry`.

    Attributes:
        entry: the same, but it returns the number of the route in the bits of NUMBER_MASK, and
            what is written from VALUE_SHIFT on; or 0 for an exit that has none.
        by_number: all routes. Those that are none raise Unrouted when they are called.
    """

    def __init__(self, entry: tuple[Callable[[Any], int], Any]) -> None:
        run, self._processor = entry
        self._native = native = ffi.new("struct pykvm_routes *")
        native.run = ffi.cast("int64_t (*)(void *)", ffi.addressof(lib, run.__name__))
        native.processor = self._processor
        self.entry: tuple[Callable[[Any], int], Any] = (lib.pykvm_routes_run, native)
        self.by_number: list[Route] = [(_no_route, 0, 0)] * lib.PYKVM_ROUTE_SLOTS

    @property
    def key(self) -> int:
        """The last exit's."""
        return int(self._native.key)

    def add(self, route: Route) -> int:
        """Let it answer accesses like the last exit's. Returns its number; 0: there is no room."""
        if number := int(lib.pykvm_routes_add(self._native, self._native.key)):
            self.by_number[number] = route
        return number
