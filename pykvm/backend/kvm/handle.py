"""What VMs and vCPUs are made of: an open file descriptor, and calls on it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from pykvm._native import ffi, lib
from pykvm.backend.common import Checked
from pykvm.backend.kvm.calls import failure
from pykvm.backend.kvm.system import System
from pykvm.errors import ClosedError

_CLOSED = -1


class Handle(Checked):
    """A KVM file descriptor that may be closed at any moment, by any thread.

    Attributes:
        system: the /dev/kvm that it came from.
        file: the struct pykvm_file, which keeps calls and the closing apart.
        closed: whether the descriptor has been given back.
    """

    what: ClassVar[str]

    def __init__(self, system: System, file: Any) -> None:
        self.system = system
        self.file = file
        self.closed = False

    @property
    def fd(self) -> int:
        """The descriptor's number; -1 once it is closed."""
        return _CLOSED if self.closed else int(self.file.fd)

    def check_open(self) -> None:
        """Raise where the descriptor is closed, or about to be.

        Raises:
            ClosedError: it is.
        """
        if self.closed or lib.pykvm_file_is_shut(self.file):
            raise ClosedError(self.what)

    @contextmanager
    def using(self) -> Iterator[int]:
        """The descriptor, which is not closed meanwhile.

        Raises:
            ClosedError: it has been given back.
        """
        if not lib.pykvm_file_enter(self.file):
            raise ClosedError(self.what)
        try:
            yield self.file.fd
        finally:
            lib.pykvm_file_leave(self.file)

    def call(self, request: str, argument: Any = None) -> int:
        """One ioctl, by the request's name in <linux/kvm.h>.

        Args:
            argument: a cffi pointer, a number, or nothing.

        Raises:
            ClosedError: the descriptor is closed.
            KvmError: the call failed.
        """
        if argument is None:
            argument = ffi.NULL
        elif isinstance(argument, int):
            argument = ffi.cast("void *", argument)
        result = lib.pykvm_file_ioctl(self.file, getattr(lib, request), argument)
        if result < 0:
            raise self.failure(request, ffi.errno)
        return int(result)

    def failure(self, request: str, number: int) -> Exception:
        """The error of a call that failed with this errno."""
        if number == errno.EBADF and lib.pykvm_file_is_shut(self.file):
            return ClosedError(self.what)
        return failure(request, number)

    def enable(self, capability: str, *args: int) -> None:
        """Switch a capability on. Source: api.rst §4.37.

        Raises:
            MissingCapability: this host lacks it.
        """
        self.system.require(capability)
        raw = ffi.new("struct kvm_enable_cap *", {"cap": getattr(lib, capability), "args": args})
        self.call("KVM_ENABLE_CAP", raw)
