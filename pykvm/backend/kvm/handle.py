"""What VMs and vCPUs are made of: an open file descriptor, and calls on it."""

from __future__ import annotations

from typing import Any, ClassVar

from pykvm._native import ffi, lib
from pykvm.backend.kvm.calls import call
from pykvm.backend.kvm.system import System
from pykvm.errors import ClosedError

_CLOSED = -1


class Handle:
    """A KVM file descriptor that may have been closed.

    Attributes:
        system: the /dev/kvm that it came from.
        fd: the descriptor; -1 before it is opened and once it is closed.
    """

    what: ClassVar[str]

    def __init__(self, system: System, fd: int = _CLOSED) -> None:
        self.system = system
        self.fd = fd

    @property
    def closed(self) -> bool:
        """Whether the descriptor has been given back."""
        return self.fd == _CLOSED

    def open_fd(self) -> int:
        """The descriptor.

        Raises:
            ClosedError: it has been given back.
        """
        if self.fd == _CLOSED:
            raise ClosedError(self.what)
        return self.fd

    def call(self, request: str, argument: Any = None) -> int:
        """One ioctl, by the request's name in <linux/kvm.h>.

        Raises:
            ClosedError: the descriptor is closed.
            KvmError: the call failed.
        """
        return call(self.open_fd(), request, argument)

    def enable(self, capability: str, *args: int) -> None:
        """Switch a capability on. Source: api.rst §4.37.

        Raises:
            MissingCapability: this host lacks it.
        """
        self.system.require(capability)
        raw = ffi.new("struct kvm_enable_cap *", {"cap": getattr(lib, capability), "args": args})
        self.call("KVM_ENABLE_CAP", raw)

    def _take_fd(self) -> int:
        """The descriptor, to be closed by the caller; the handle is closed from here on."""
        fd, self.fd = self.fd, _CLOSED
        return fd
