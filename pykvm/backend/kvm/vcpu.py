"""One KVM virtual processor: running it, and its registers."""

from __future__ import annotations

import threading
import time
from typing import Any
from weakref import WeakKeyDictionary

from pykvm._native import ffi, lib
from pykvm.backend import exitkeys
from pykvm.backend.common import Running
from pykvm.backend.kvm.calls import failure
from pykvm.backend.kvm.debug import GuestDebug
from pykvm.backend.kvm.registers import RegisterAccess
from pykvm.backend.kvm.state import StateAccess
from pykvm.backend.kvm.system import System
from pykvm.backend.natives import owned
from pykvm.exits import Exit

_STOP_POLL_S = 0.0002


class KvmVcpu(Running, RegisterAccess, StateAccess, GuestDebug):
    """A vCPU file descriptor, its run page, and the native run loop's state.

    Attributes:
        native: the struct pykvm_vcpu. The machine fills it when it makes the vCPU.
    """

    what = "vCPU"
    _page: Any = None

    def __init__(self, system: System, index: int) -> None:
        # A thread may hold `enter`, or the run page, when the vCPU is closed: the struct and its
        # addresses go with the last who knows them.
        native, self._keeper = owned(ffi.new("struct pykvm_vcpu *"), lib.pykvm_vcpu_free)
        self.native = native
        super().__init__(system, ffi.addressof(native, "file"))
        self.index = index
        self._lock = threading.RLock()  # a signal handler may stop it
        self.raw = ffi.addressof(native, "exit")
        self.entry = (lib.pykvm_vcpu_run, native)

    def exit(self, key: int) -> Exit:
        """The last exit as a value.

        Raises:
            KvmError: KVM_RUN failed; EBUSY where another thread is inside.
            ClosedError: the vCPU is closed.
        """
        self.check_open()
        if key & exitkeys.KIND_MASK == exitkeys.ERROR:
            raise self.failure("KVM_RUN", key >> exitkeys.PORT_SHIFT)
        return exitkeys.exit_value(key, self.raw)

    def complete(self) -> int:
        """Finish the last exit's instruction. Source: api.rst, "immediate_exit"."""
        key = int(lib.pykvm_vcpu_complete(self._open()))
        self._changed_at = self.native.runs  # registers that waited are set behind the run
        return key

    def pass_over(self, kind: int) -> int:
        """Run on through exits of one kind, in native code; the key of the first other one."""
        return int(lib.pykvm_vcpu_pass(self._open(), kind))

    def begin(self, timeout_ns: int | None) -> None:
        """Start the tick that bounds this thread's runs."""
        deadline_ns = 0 if timeout_ns is None else time.monotonic_ns() + timeout_ns
        with self._lock:
            result = lib.pykvm_vcpu_begin(self._open(), deadline_ns)
        if result < 0:
            raise failure("timer_create", -result)

    def end(self) -> None:
        """Stop the tick; nothing happens once the vCPU is closed."""
        with self._lock:
            if not self.closed:
                lib.pykvm_vcpu_end(self.native)

    def stop(self) -> None:
        """Interrupt from any thread; nothing happens once the vCPU is closed."""
        with self._lock:
            if not self.closed:
                lib.pykvm_vcpu_stop(self.native)

    def _count(self, kind: int) -> int:
        return int(self._open().counts[kind])

    @property
    def native_count(self) -> int:
        """How many of those exits were answered without Python."""
        return int(self._open().native_count)

    def interrupt(self, vector: int) -> None:
        """Inject an external interrupt, where no irqchip is in the kernel.

        The guest takes it at the next entry if it can: ask for an IrqWindow exit where
        `ready_for_interrupt` is false.

        Source: api.rst §4.16.
        """
        self.call("KVM_INTERRUPT", ffi.new("struct kvm_interrupt *", {"irq": vector}))

    def nmi(self) -> None:
        """Inject a non-maskable interrupt. Source: api.rst §4.64."""
        self.system.require("KVM_CAP_USER_NMI")
        self.call("KVM_NMI", 0)

    @property
    def run_page(self) -> Any:
        """The mapping that KVM shares, a struct kvm_run and the pages behind it.

        Once the vCPU is closed it is a page of the process's own.
        """
        native = self._open()
        with self._lock:
            if self._page is None:
                self._page = native.run
                _pages[self._page] = native
        return self._page

    @property
    def ready_for_interrupt(self) -> bool:
        """Whether `interrupt` would be taken at once, as of the last exit."""
        return bool(self._open().run.ready_for_interrupt_injection)

    def request_interrupt_window(self, wanted: bool = True) -> None:
        """Let a run end with an IrqWindow exit as soon as the guest can take an interrupt."""
        self._open().run.request_interrupt_window = bool(wanted)

    def _open(self) -> Any:
        self.check_open()
        return self.native

    def close(self) -> None:
        """Give the descriptor and the run page back; a run under way is stopped first."""
        with self._lock:
            if self.closed:
                return
            while not lib.pykvm_vcpu_close(self.native):
                lib.pykvm_vcpu_stop(self.native)
                time.sleep(_STOP_POLL_S)
            self.closed = True


# Run pages that somebody may hold, and the structs that they go with.
_pages: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
