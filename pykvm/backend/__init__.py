"""What runs machines: the seam (`protocol`), those behind it, and which is taken.

A backend only translates what its processor stopped for into exits; the machine decides
what they mean. Everything else in pykvm knows these Protocols and no backend.
"""

from __future__ import annotations

import errno
import os
from functools import cache
from typing import TYPE_CHECKING

from pykvm import host
from pykvm.errors import KvmError, KvmUnavailable, PykvmError, UsageError

if TYPE_CHECKING:  # the pytest plugin asks for BACKENDS in every run: keep that cheap
    from pykvm.backend.kvm import KvmBackend
    from pykvm.backend.protocol import Backend

BACKENDS = ("kvm", "emu")  # best first
CLOCKS = ("wall", "instructions")

VARIABLE = "PYKVM_BACKEND"

_OPENS = f"{host.DEVICE} opens"
_NO_KVM = (KvmUnavailable, KvmError)  # what "auto" does without KVM for
_OR_EMU = 'or take the emulator, which needs no KVM: backend="emu", --backend emu'


def open_backend(
    name: str = "auto", clock: str = "wall", assist: bool | None = None, why: str = "asked for"
) -> Backend:
    """The named backend, or the best that opens here and has the clock.

    What "auto" took and why is in `why` and, once, in the log `pykvm`: a warning where KVM does
    not open, or runs no machine, else for information.

    Args:
        name: "auto" or one of BACKENDS; for "auto" the variable PYKVM_BACKEND may have one.
        clock: one of CLOCKS.
        assist: let the emulator execute what KVM refuses; None: where the name is "auto".
        why: it is this one, where the name is not "auto".

    Raises:
        UsageError: no such backend or clock, or one that has not the other.
        KvmUnavailable: KVM is asked for by name, and does not open.
    """
    if name == "auto" and (chosen := asked_for(name)) != "auto":
        name, why = chosen, f"{VARIABLE} asks for it"
    if name != "auto" and name not in BACKENDS:
        raise UsageError(
            f"there is no backend {name!r}; choose auto or one of {', '.join(BACKENDS)}"
        )
    if clock not in CLOCKS:
        raise UsageError(f"there is no clock {clock!r}; choose one of {', '.join(CLOCKS)}")
    if name == "kvm":
        try:
            return _kvm(why, bool(assist))
        except _NO_KVM as error:
            name_emulator(error)
            raise
    if name == "emu":
        return _emu(why)
    try:
        return _best(clock, assist is not False)
    except _NO_KVM as error:
        return _in_place_of_kvm(error)


def after_failure(asked: str | Backend, error: KvmError) -> Backend:
    """What makes a machine that KVM could not make: the emulator, where "auto" chose KVM.

    Raises:
        KvmError: the same, where KVM was asked for.
    """
    if not isinstance(asked, str) or error.errno in (errno.EMFILE, errno.ENFILE):
        raise error  # without files to open the emulator gets no further
    if asked_for(asked) != "auto":
        name_emulator(error)
        raise error
    return _in_place_of_kvm(error)


def name_emulator(error: PykvmError) -> None:
    """Let the error of a KVM that was asked for say what runs without it."""
    if _OR_EMU not in str(error):
        error.args = (f"{error}; {_OR_EMU}",)


def asked_for(name: str) -> str:
    """The backend that is asked for where an argument or option has this name.

    Raises:
        UsageError: the variable PYKVM_BACKEND decides, and names none.
    """
    if name != "auto":
        return name
    wanted = os.environ.get(VARIABLE) or "auto"
    if wanted not in ("auto", *BACKENDS, "all"):
        raise UsageError(
            f"{VARIABLE} is {wanted!r}; set it to auto, all or one of {', '.join(BACKENDS)}"
        )
    return "auto" if wanted == "all" else wanted  # that is for tests: each of them on each


def kvm_problem() -> PykvmError | None:
    """Why KVM runs no machine here, as a small one tells; None where it does."""
    try:
        _kvm("asked for", False).try_out()
    except _NO_KVM as error:
        return error
    return None


@cache
def _best(clock: str, assist: bool) -> Backend:
    """The backend that is best here; it is looked for until one is found.

    Raises:
        KvmUnavailable, KvmError: that is KVM, which does not open, or runs no machine.
    """
    if clock != "wall":
        return _told(_emu(f"only the emulator has the clock {clock!r}"), is_fallback=False)
    why = _OPENS
    if assist and host.emulates_cpl0():
        why += ", and what computes long at CPL 0, slowly in this KVM, moves to pykvm's emulator"
    kvm = _kvm(why, assist)
    kvm.try_out()
    return _told(kvm, is_fallback=False)


def _in_place_of_kvm(error: PykvmError) -> Backend:
    return _told(_emu(f"no KVM: {error}"), is_fallback=True)


def _told(backend: Backend, *, is_fallback: bool) -> Backend:
    _tell(backend.name, backend.why, is_fallback)
    return backend


@cache
def _tell(name: str, why: str, fallback: bool) -> None:
    import logging

    level = logging.WARNING if fallback else logging.INFO
    logging.getLogger("pykvm").log(level, "backend %s: %s", name, why)


@cache
def _kvm(why: str, assist: bool) -> KvmBackend:
    from pykvm.backend.kvm import KvmBackend

    return KvmBackend(why, assist)


@cache
def _emu(why: str) -> Backend:
    from pykvm.backend.emu import EmuBackend

    return EmuBackend(why)
