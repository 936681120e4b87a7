"""/dev/kvm itself: opening it, its version and its capabilities."""

from __future__ import annotations

import errno
import os
from functools import cache, partial
from pathlib import Path

from pykvm import host
from pykvm._native import ffi, lib
from pykvm.backend.kvm import msrs
from pykvm.backend.kvm.calls import call
from pykvm.errors import KvmError, KvmUnavailable, MissingCapability

CAPABILITIES = tuple(sorted(name for name in dir(lib) if name.startswith("KVM_CAP_")))


SHARED: int = lib.KVM_SYNC_X86_REGS | lib.KVM_SYNC_X86_SREGS


class System:
    """An open /dev/kvm.

    Attributes:
        fd: its file descriptor.
        version: of its API.
        run_size_bytes: size of a vCPU's run page mapping.
        xsave_bytes: size of KVM_GET_XSAVE2's area; 0: there is only KVM_GET_XSAVE.
        shares_registers: whether the run page can hold them, see api.rst §6.74.
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
        self.xsave_bytes = self.capability("KVM_CAP_XSAVE2")
        self.shares_registers = self.capability("KVM_CAP_SYNC_REGS") & SHARED == SHARED

    @staticmethod
    @cache
    def shared() -> System:
        """The one that all machines of this process use."""
        return System()

    def capability(self, name: str) -> int:
        """What KVM_CHECK_EXTENSION says of "KVM_CAP_…": 0 is absent. Source: api.rst §4.4.

        A capability that the headers of the build did not know is absent too.
        """
        if name not in self._capabilities:
            number = getattr(lib, name)
            is_known = number >= 0
            self._capabilities[name] = (
                call(self.fd, "KVM_CHECK_EXTENSION", number) if is_known else 0
            )
        return self._capabilities[name]

    def require(self, name: str) -> int:
        """The capability's value.

        Raises:
            MissingCapability: it is absent.
        """
        value = self.capability(name)
        if value <= 0:
            raise MissingCapability(name)
        return value

    def capabilities(self) -> dict[str, int]:
        """Every capability that pykvm knows by name, with its value here; 0 is absent."""
        return {name: self.capability(name) for name in CAPABILITIES}

    def msr_indices(self) -> tuple[int, ...]:
        """The MSRs that a vCPU's state consists of. Source: api.rst §4.3."""
        return self._indices("KVM_GET_MSR_INDEX_LIST")

    def feature_msrs(self) -> dict[int, int]:
        """MSRs that describe what the host offers to guests, with their values.

        Raises:
            MissingCapability: KVM_CAP_GET_MSR_FEATURES.

        Source: api.rst §4.3, §4.18.
        """
        self.require("KVM_CAP_GET_MSR_FEATURES")
        return msrs.read(partial(call, self.fd), self._indices("KVM_GET_MSR_FEATURE_INDEX_LIST"))

    def _indices(self, request: str) -> tuple[int, ...]:
        """A list whose length the first call tells: it fails with E2BIG and the number."""
        raw = ffi.new("struct kvm_msr_list *", {"nmsrs": 0, "indices": 0})
        try:
            call(self.fd, request, raw)
        except KvmError as error:
            if error.errno != errno.E2BIG:
                raise
            raw = ffi.new("struct kvm_msr_list *", {"nmsrs": raw.nmsrs, "indices": raw.nmsrs})
            call(self.fd, request, raw)
        return tuple(raw.indices[0 : raw.nmsrs])


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
