"""pykvm: a KVM micro-hypervisor driven from Python."""

from pykvm.asm import Program, assemble
from pykvm.machine import Machine
from pykvm.machine import Machine as VM
from pykvm.result import Outcome, Result

__all__ = ["VM", "Machine", "Outcome", "Program", "Result", "assemble"]
