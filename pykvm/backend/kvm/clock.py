"""The machine's paravirtual clock."""

from __future__ import annotations

import time

from pykvm._native import ffi, lib
from pykvm.backend.common import passed_ns
from pykvm.backend.kvm.handle import Handle
from pykvm.state import Clock


class ClockAccess(Handle):
    """The part of a VM that reads and sets its clock."""

    def get_clock(self) -> Clock:
        """The guest's clock, with the host's times where KVM tells them. Source: api.rst §4.29."""
        self.system.require("KVM_CAP_ADJUST_CLOCK")
        raw = ffi.new("struct kvm_clock_data *")
        self.call("KVM_GET_CLOCK", raw)
        return Clock(
            ns=raw.clock,
            realtime_ns=raw.realtime if raw.flags & lib.KVM_CLOCK_REALTIME else None,
            host_tsc=raw.host_tsc if raw.flags & lib.KVM_CLOCK_HOST_TSC else None,
            stable=bool(raw.flags & lib.KVM_CLOCK_TSC_STABLE),
        )

    def set_clock(self, clock: Clock) -> None:
        """Set the guest's clock; with a `realtime_ns`, the time since then is added.

        Source: api.rst §4.30.
        """
        self.system.require("KVM_CAP_ADJUST_CLOCK")
        passed_ns(clock, time.time_ns())
        raw = ffi.new("struct kvm_clock_data *", {"clock": clock.ns})
        if clock.realtime_ns is not None:
            raw.flags, raw.realtime = lib.KVM_CLOCK_REALTIME, clock.realtime_ns
        self.call("KVM_SET_CLOCK", raw)
