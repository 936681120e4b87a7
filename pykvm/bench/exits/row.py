"""What a row of `pykvm bench exits` is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pykvm.bench.exits.guest import GuestSampler
from pykvm.bench.exits.loop import Loop
from pykvm.bench.sampler import Impossible, Samples

GROUPS = {
    "floors": "floors",
    "kernel": "handled by the processor or the kernel",
    "user": "handled in user space",
    "avoided": "avoided",
    "memory": "memory",
    "life": "life of a VM",
    "modes": "modes",
}


@dataclass(frozen=True)
class Row:
    """One line.

    Attributes:
        name: unique, e.g. "port out 1 B, python".
        group: of GROUPS.
        measure: takes its samples, or raises Impossible.
        floor: name of the row that this one is compared with.
        reason: exit reasons of VMX and SVM, see docs/measuring.md.
        text: what is measured, in a line.
    """

    name: str
    group: str
    measure: Callable[[GuestSampler], Samples]
    floor: str = ""
    reason: str = ""
    text: str = ""


def guest_row(
    name: str, group: str, loop: Loop, floor: str = "", reason: str = "", text: str = ""
) -> Row:
    """A row that a guest's own counter times."""
    return Row(name, group, lambda sampler: sampler.guest(loop), floor, reason, text)


def kvm_only(sampler: GuestSampler, why: str) -> None:
    """Give up on a backend without a kernel behind it.

    Raises:
        Impossible: the backend is not KVM.
    """
    if sampler.backend != "kvm":
        raise Impossible(why)
