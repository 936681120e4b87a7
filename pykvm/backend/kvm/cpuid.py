"""CPUID: what the guest is told about its processor."""

from __future__ import annotations

from typing import Any

from pykvm._native import ffi
from pykvm.backend.kvm.calls import call
from pykvm.backend.kvm.system import System
from pykvm.errors import UsageError

MODELS = ("host",)
MAX_ENTRIES = 256


def supported(system: System) -> Any:
    """The host's supported set. Source: api.rst §4.46."""
    raw = ffi.new("struct kvm_cpuid2 *", {"nent": MAX_ENTRIES, "entries": MAX_ENTRIES})
    call(system.fd, "KVM_GET_SUPPORTED_CPUID", raw)
    return raw


def apply(system: System, fd: int, model: str, index: int) -> None:
    """Give a vCPU the named model."""
    if model not in MODELS:
        raise UsageError(f"there is no CPU model {model!r}; choose one of {', '.join(MODELS)}")
    call(fd, "KVM_SET_CPUID2", supported(system))
