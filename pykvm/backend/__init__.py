"""The seam between machines and what runs them: Protocols, and `open_backend`.

A backend only translates what its processor stopped for into exits; the machine decides
what they mean. Everything else in pykvm knows these Protocols and no backend.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from pykvm import host
from pykvm.backend.abilities import VcpuControl, VcpuState, VmEvents, VmMemory, VmState
from pykvm.errors import KvmError, KvmUnavailable, PykvmError, UsageError

if TYPE_CHECKING:  # the pytest plugin asks for BACKENDS in every run: keep that cheap
    from pykvm.backend.kvm import KvmBackend
    from pykvm.exits import Exit
    from pykvm.memory import Region
    from pykvm.registers import Registers, SpecialRegisters

BACKENDS = ("kvm", "emu")  # best first
CLOCKS = ("wall", "instructions")

VARIABLE = "PYKVM_BACKEND"

_OPENS = f"{host.DEVICE} opens"
_NO_KVM = (KvmUnavailable, KvmError)  # what "auto" does without KVM for
_OR_EMU = 'or take the emulator, which needs no KVM: backend="emu", --backend emu'


class RawExit(Protocol):
    """The numbers of the last exit, as the backend left them. Reads are answered in `value`."""

    address: int
    value: int
    size: int
    count: int


class Vcpu(VcpuState, VcpuControl, Protocol):
    """One virtual processor.

    Attributes:
        entry: the same as `enter`, as a function and its argument: in a hot loop each
            detour counts.
        raw: the last exit's numbers.
    """

    index: int
    entry: tuple[Callable[[Any], int], Any]
    raw: RawExit

    def enter(self) -> int:
        """Run to the next exit; returns its key, see `backend.kinds`."""
        ...

    def exit(self, key: int) -> Exit:
        """The last exit as a value."""
        ...

    def answer(self, exit: Exit, value: int | bytes, *, fault: bool = False) -> None:
        """Answer a read exit; `fault` makes an MSR access raise #GP in the guest."""
        ...

    def answered(self, exit: Exit) -> int | bytes | None:
        """What an exit has been answered with; None where it asks nothing, or with a fault."""
        ...

    def complete(self) -> int:
        """Finish the last exit's instruction and run nothing more; the key of what is left."""
        ...

    def abandon(self) -> None:
        """Let nothing of the last exit's instruction come later: another state follows.

        Setting another rip at a read exit does so, too; `complete` is for a state that goes on.
        """
        ...

    def pass_over(self, kind: int) -> int:
        """Run on through exits of one kind, in native code; the key of the first other one.

        Reads are answered with what `raw.value` has; nobody helps out.
        """
        ...

    def begin(self, timeout_ns: int | None) -> None:
        """Bound the runs that follow, by the calling thread."""
        ...

    def end(self) -> None:
        """Lift the bound."""
        ...

    def stop(self) -> None:
        """End the run under way, or the next one, with Interrupted. Any thread may call it."""
        ...

    def exit_counts(self) -> Mapping[str, int]:
        """How often each kind of exit came, by its name."""
        ...

    @property
    def native_count(self) -> int:
        """How many of those exits were answered without Python."""
        ...

    @property
    def assisted(self) -> tuple[int, int]:
        """How often another backend helped out, and with how many instructions in all."""
        ...

    def share_registers(self, on: bool) -> None:
        """Make reading registers after each exit cheap, at a small cost to the exit."""
        ...

    def get_registers(self) -> Registers:
        """All general registers."""
        ...

    def set_registers(self, registers: Registers) -> None:
        """Set all general registers."""
        ...

    def get_special(self) -> SpecialRegisters:
        """Segment, table and control registers."""
        ...

    def set_special(self, special: SpecialRegisters) -> None:
        """Set segment, table and control registers."""
        ...

    def reset(self, special: SpecialRegisters, rip: int, rsp: int, rflags: int) -> None:
        """Set all of them, the general ones that are not given to 0, and abandon the last exit.

        Args:
            special: an object that never changes.
        """
        ...

    def get_msrs(self, indices: list[int]) -> dict[int, int]:
        """Model-specific registers by index."""
        ...

    def set_msrs(self, values: Mapping[int, int]) -> None:
        """Set model-specific registers."""
        ...

    def close(self) -> None:
        """Give the processor back."""
        ...


class Vm(VmMemory, VmEvents, VmState, Protocol):
    """One virtual machine: memory, processors, interrupt lines."""

    @property
    def vcpus(self) -> Sequence[Vcpu]:
        """The processors that it has, in order."""
        ...

    def create_vcpu(self, index: int, cpu: str, count: int = 1) -> Vcpu:
        """Add a processor of the named model to a machine that has `count` of them."""
        ...

    @property
    def irqchip(self) -> str:
        """Which interrupt controllers there are: "none", "full" or "split"."""
        ...

    def create_irqchip(self, kind: str) -> None:
        """Add interrupt controllers: "full" or "split"."""
        ...

    def create_pit(self) -> None:
        """Add the 8254 timer; needs the full irqchip."""
        ...

    def set_irq_line(self, line: int, level: bool) -> None:
        """Raise or lower an interrupt line of the irqchip."""
        ...

    def raise_line_at(self, line: int, ns: int | None) -> None:
        """Raise one line by itself when `now_ns` tells so much; None: not any more.

        Raises:
            UsageError: the clock is not one of instructions.
        """
        ...

    def add_console(self, port: int, ident: int) -> Callable[[], bytes]:
        """Collect bytes written to a port without leaving native code; returns the taker."""
        ...

    def add_scratch(self, address: int, size_bytes: int, *, port: bool = False) -> None:
        """Answer a range of addresses or ports with a little memory, in native code."""
        ...

    def now_ns(self) -> int:
        """The time, by the machine's clock; where it begins means nothing."""
        ...

    def detach(self) -> None:
        """Make sure that nothing uses the memory, which is about to be unmapped."""
        ...

    def close(self) -> None:
        """Give the machine back to the system, its processors too."""
        ...


class Backend(Protocol):
    """A way to run machines.

    Attributes:
        name: one of BACKENDS.
        why: the reason that it was chosen, in words.
    """

    name: str
    why: str

    def create_vm(
        self, clock: str = "wall", regions: Sequence[Region] = (), cpu: str | None = None
    ) -> Vm:
        """A new virtual machine that sees these regions; its time is one of CLOCKS.

        Where `cpu` names a model, its first and only processor is made too, and it gets no
        interrupt chips.
        """
        ...


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
