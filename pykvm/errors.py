"""One tree of exceptions; each carries the facts a user needs and says what to do."""

from __future__ import annotations

import errno as _errno
import os
from typing import Any

from pykvm.text import printable, shorten

WHY_LENGTH = 480  # characters: what a source says may be endless

# What mends an error of the operating system, whatever the call.
REMEDIES = {
    _errno.EMFILE: "close machines, or raise `ulimit -n`",
    _errno.ENFILE: "raise fs.file-max",
    _errno.ENOMEM: "ask for less, or raise `ulimit -v` or `ulimit -l`",
}


def explain(error: OSError) -> str:
    """What went wrong in an OSError's words, and what to do, where that is known."""
    text = error.strerror or str(error)
    remedy = REMEDIES.get(error.errno or 0)
    return f"{text}; {remedy}" if remedy else text


class PykvmError(Exception):
    """Base of every error that pykvm raises on purpose.

    Errors are values: two that say the same are equal, and one that comes from another process,
    pickled, is what it was there.
    """

    def __str__(self) -> str:
        """What is wrong, with what a file or a guest put into it escaped."""
        return printable(super().__str__())

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args, self._facts())

    def _facts(self) -> dict[str, Any]:
        """What it carries besides its message."""
        return self.__dict__.copy()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.__reduce__() == other.__reduce__()

    def __hash__(self) -> int:
        return hash((type(self), str(self)))


def _again(kind: type[PykvmError], args: tuple[Any, ...], facts: dict[str, Any]) -> PykvmError:
    """The error that was pickled: its text is made already."""
    error = kind.__new__(kind)
    error.args = args
    for name, value in facts.items():
        setattr(error, name, value)
    return error


class UsageError(PykvmError):
    """An argument that cannot be used: unknown mode, impossible size, wrong type."""


class ClosedError(PykvmError):
    """A machine was used after it was closed."""

    def __init__(self, what: str) -> None:
        super().__init__(f"this {what} is closed; make a new one")


class KvmUnavailable(PykvmError):
    """KVM cannot be used on this host.

    Attributes:
        problem: one of "missing", "permission", "no-module", "not-kvm", "version".
        remedy: what mends it, in one sentence.
    """

    def __init__(self, problem: str, message: str, remedy: str) -> None:
        super().__init__(f"{message}; {remedy}")
        self.problem = problem
        self.remedy = remedy


class MissingCapability(PykvmError):
    """A backend lacks a capability: the host's KVM does, or the emulator.

    Attributes:
        name: its name in <linux/kvm.h>, e.g. "KVM_CAP_DIRTY_LOG_RING".
    """

    def __init__(
        self,
        name: str,
        who: str = "this host's KVM",
        remedy: str = "`pykvm doctor` lists what it has",
    ) -> None:
        super().__init__(f"{who} lacks {name}; {remedy}")
        self.name = name


class CpuModelError(PykvmError):
    """A CPU model has features that this host cannot give to guests.

    Attributes:
        model: its name.
        missing: the features, by their names in /proc/cpuinfo.
    """

    def __init__(self, model: str, missing: list[str]) -> None:
        super().__init__(
            f"this host cannot be a {model}: it lacks {', '.join(missing)}; choose another CPU"
        )
        self.model = model
        self.missing = missing


class KvmError(PykvmError):
    """A KVM system call failed.

    Attributes:
        call: the request's name, e.g. "KVM_SET_SREGS".
        errno: the system's error number.
    """

    def __init__(self, call: str, errno: int, hint: str = "") -> None:
        name = _errno.errorcode.get(errno, str(errno))
        super().__init__(f"{call}: {os.strerror(errno)} ({name}){'; ' + hint if hint else ''}")
        self.call = call
        self.errno = errno


class ProbeError(PykvmError):
    """A guest that tries the host out did not behave as one must on any host."""


class LayoutError(PykvmError):
    """Memory that cannot be laid out so: overlap, size, alignment, no room."""


class MemoryAccessError(PykvmError):
    """An access outside guest memory, or a write to a read-only part of it.

    Attributes:
        gpa: guest-physical address of the first byte.
        size_bytes: length of the access.
    """

    def __init__(self, gpa: int, size_bytes: int, why: str = "is outside guest memory") -> None:
        super().__init__(f"{size_bytes} bytes at gpa {gpa:#x}: {why}")
        self.gpa = gpa
        self.size_bytes = size_bytes


class RegisterError(PykvmError, AttributeError):
    """No such register, or a value that does not fit.

    Attributes:
        name: the register's name as given.
    """

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"register {name!r}: {why}")
        self.name = name

    def _facts(self) -> dict[str, Any]:
        return {**super()._facts(), "name": self.name}  # AttributeError keeps that elsewhere


class BusError(PykvmError):
    """Two devices claim the same port or address, or a claim is out of range."""


class UnclaimedAccess(PykvmError):
    """The guest touched a port or address that no device claims.

    Attributes:
        space: "port" or "mmio".
        address: port number or gpa.
        size_bytes: width of the access.
        value: what was written, None for a read.
        rip: linear address of the instruction; None where it is not known.
        instruction: in words.
    """

    rip: int | None = None
    instruction: str = ""

    def __init__(self, space: str, address: int, size_bytes: int, value: int | None) -> None:
        what = "read" if value is None else f"write of {value:#x}"
        where = f"port {address:#x}" if space == "port" else f"gpa {address:#x}"
        super().__init__(f"{size_bytes}-byte {what} at {where}: no device claims it")
        self.space = space
        self.address = address
        self.size_bytes = size_bytes
        self.value = value

    def locate(self, rip: int, instruction: str) -> None:
        """Add who did it."""
        self.rip = rip
        self.instruction = instruction
        self.args = (f"{self} (rip {rip:#x}: {instruction})",)


class DiskError(UsageError):
    """A disk's image cannot be used: missing, in use, not whole sectors."""


class CaptureError(PykvmError):
    """Frames that could not be written down."""


class LoadError(PykvmError):
    """A guest that cannot be loaded: unreadable, malformed, too large.

    Attributes:
        path: the file, or a name for a guest that came from memory.
    """

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path


class AssemblyError(LoadError):
    """Source that does not assemble.

    Attributes:
        line: number of the offending line in `path`, 1-based; 0 where unknown.
        text: that line.
    """

    def __init__(self, path: str, line: int, text: str, why: str) -> None:
        where = f"{path}:{line}" if line else path
        shown, why = shorten(text.strip()), shorten(why, WHY_LENGTH)
        super().__init__(where, f"{why}: {shown}" if shown else why)
        self.path = path
        self.line = line
        self.text = text


class HeaderError(LoadError):
    """A guest's `# /// pykvm` block that is not valid.

    Attributes:
        key: the offending key, e.g. "expect.exits"; empty where the block itself is wrong.
    """

    def __init__(self, path: str, key: str, why: str) -> None:
        super().__init__(path, f"key {key!r} of the pykvm block: {why}" if key else why)
        self.key = key
