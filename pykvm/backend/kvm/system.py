"""/dev/kvm itself: opening it, its version and its capabilities."""

from __future__ import annotations

import errno
import os
from functools import cache
from pathlib import Path
from typing import Any

from pykvm import host
from pykvm._native import ffi, lib
from pykvm.errors import KvmError, KvmUnavailable, MissingCapability


def call(fd: int, request: str, argument: Any = None) -> int:
    """One ioctl on a KVM file descriptor, by the request's name in <linux/kvm.h>.

    Args:
        argument: a cffi pointer, a number, or nothing.

    Raises:
        KvmError: it failed.
    """
    number = getattr(lib, request)
    if isinstance(argument, int):
        result = lib.pykvm_ioctl_number(fd, number, argument)
    else:
        result = lib.pykvm_ioctl(fd, number, ffi.NULL if argument is None else argument)
    if result < 0:
        raise KvmError(request, ffi.errno)
    return int(result)


class System:
    """An open /dev/kvm.

    Attributes:
        fd: its file descriptor.
        version: of its API.
        run_size_bytes: size of a vCPU's run page mapping.
    """

    def __init__(self, device: Path = host.DEVICE) -> None:
        self.fd = _open(device)
        try:
            self.version = _check_version(device, self.fd)
            self.run_size_bytes = call(self.fd, "KVM_GET_VCPU_MMAP_SIZE", 0)
            result = lib.pykvm_signal_init()
            if result < 0:
                raise KvmError("sigaction", -result)
        except BaseException:
            os.close(self.fd)
            raise
        self._capabilities: dict[str, int] = {}

    @staticmethod
    @cache
    def shared() -> System:
        """The one that all machines of this process use."""
        return System()

    def capability(self, name: str) -> int:
        """What KVM_CHECK_EXTENSION says of "KVM_CAP_…": 0 is absent."""
        if name not in self._capabilities:
            self._capabilities[name] = call(self.fd, "KVM_CHECK_EXTENSION", getattr(lib, name))
        return self._capabilities[name]

    def capabilities(self) -> dict[str, int]:
        """All that pykvm uses, by name."""
        names = (name for name in dir(lib) if name.startswith("KVM_CAP_"))
        return {name: self.capability(name) for name in names}

    def require(self, name: str) -> int:
        """The capability's value.

        Raises:
            MissingCapability: it is absent.
        """
        value = self.capability(name)
        if value <= 0:
            raise MissingCapability(name)
        return value


def _open(device: Path) -> int:
    try:
        return os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise host.unavailable(device, error) from None


def _check_version(device: Path, fd: int) -> int:
    try:
        version = call(fd, "KVM_GET_API_VERSION", 0)
    except KvmError as error:
        raise host.not_kvm(device) if error.errno == errno.ENOTTY else error from None
    if version != lib.KVM_API_VERSION:
        raise KvmUnavailable(
            "version",
            f"{device} speaks version {version} of KVM's API, not {lib.KVM_API_VERSION}",
            "a kernel since 2007 is needed",
        )
    return version
