"""System calls on KVM's file descriptors, and what to do where one fails."""

from __future__ import annotations

import errno
from typing import Any

from pykvm._native import ffi, lib
from pykvm.errors import REMEDIES, KvmError

# What usually mends an error of KVM, whatever the call.
_HINTS = REMEDIES | {
    errno.EBUSY: "another thread is using it",
    errno.ENOTTY: "this KVM does not know the call",
    errno.EIO: "the machine was made in another process: make one in this process",
}

# What it means for one call.
_CALL_HINTS = {
    ("KVM_RUN", errno.EBUSY): "another thread is running this vCPU",
    ("KVM_RUN", errno.EFAULT): "guest memory is not mapped in this process",
    ("KVM_CREATE_VM", errno.EBUSY): "another hypervisor holds the processor's virtualization",
    ("KVM_CREATE_VCPU", errno.EEXIST): "the machine has a vCPU of this index",
    ("KVM_CREATE_VCPU", errno.EINVAL): "the index is KVM_CAP_MAX_VCPU_ID or more",
    ("KVM_SET_USER_MEMORY_REGION", errno.EEXIST): "it overlaps another memory slot",
    ("KVM_SET_USER_MEMORY_REGION", errno.EINVAL): "not whole pages, or too many slots",
    ("KVM_CREATE_IRQCHIP", errno.EEXIST): "the machine has interrupt chips",
    ("KVM_CREATE_IRQCHIP", errno.EINVAL): "interrupt chips come before the first vCPU",
    ("KVM_CREATE_PIT2", errno.EEXIST): "the machine has a PIT",
    ("timer_create", errno.EAGAIN): "too few signals may wait: raise `ulimit -i`",
    ("KVM_INTERRUPT", errno.EEXIST): "an interrupt is pending",
    ("KVM_INTERRUPT", errno.ENXIO): "the interrupt controller is in the kernel: drive its lines",
    ("KVM_IOEVENTFD", errno.EEXIST): "an ioeventfd has this address, size and datamatch",
    ("KVM_IOEVENTFD", errno.ENOENT): "no ioeventfd has this address, size and datamatch",
    ("KVM_IRQFD", errno.EBUSY): "this eventfd is bound to an interrupt line",
    ("KVM_SET_CPUID2", errno.EINVAL): "CPUID cannot change once the vCPU has run",
}


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
        raise failure(request, ffi.errno)
    return int(result)


def failure(request: str, number: int) -> KvmError:
    """The error of a call that failed with this errno, with what usually mends it."""
    hint = _CALL_HINTS.get((request, number)) or _HINTS.get(number, "")
    return KvmError(request, number, hint)


def failure_of(failed: Any) -> KvmError:
    """The error that native code noted in a struct pykvm_failure."""
    return failure(ffi.string(failed.call).decode(), failed.error)
