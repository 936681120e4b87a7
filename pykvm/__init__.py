"""pykvm: a KVM micro-hypervisor driven from Python.

Names are imported when first used: pytest loads `pykvm.testing.plugin` into every run of an
environment that pykvm is installed in, and must not pay for what that run does not use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pykvm.asm import Program, assemble
    from pykvm.machine import Machine
    from pykvm.machine import Machine as VM
    from pykvm.result import Outcome, Result
else:
    _HOMES = {
        "VM": ("machine", "Machine"),
        "Machine": ("machine", "Machine"),
        "Outcome": ("result", "Outcome"),
        "Program": ("asm", "Program"),
        "Result": ("result", "Result"),
        "assemble": ("asm", "assemble"),
    }

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module 'pykvm' has no attribute {name!r}")
        module, attribute = _HOMES[name]
        value = globals()[name] = getattr(import_module(f"pykvm.{module}"), attribute)
        return value


__all__ = ["VM", "Machine", "Outcome", "Program", "Result", "assemble"]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
