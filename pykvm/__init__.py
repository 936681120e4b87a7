"""pykvm: a KVM micro-hypervisor driven from Python.

Names are imported when first used: pytest loads `pykvm.testing.plugin` into every run of an
environment that pykvm is installed in, and must not pay for what that run does not use.
"""

TYPE_CHECKING = (
    False  # as type checkers know it; to load `typing` would be most of what is done here
)

if TYPE_CHECKING:
    from pykvm._version import __version__
    from pykvm.asm import Program, assemble
    from pykvm.loader import parse_image, read_image
    from pykvm.machine import Machine
    from pykvm.machine import Machine as VM
    from pykvm.result import Outcome, Result
else:
    from pykvm._lazy import importer

    __getattr__ = importer(
        __name__,
        {
            "VM": "pykvm.machine:Machine",
            "__version__": "pykvm._version:__version__",
            "Machine": "pykvm.machine:Machine",
            "Outcome": "pykvm.result:Outcome",
            "Program": "pykvm.asm:Program",
            "Result": "pykvm.result:Result",
            "assemble": "pykvm.asm:assemble",
            "parse_image": "pykvm.loader:parse_image",
            "read_image": "pykvm.loader:read_image",
        },
    )

__all__ = [
    "VM",
    "Machine",
    "Outcome",
    "Program",
    "Result",
    "__version__",
    "assemble",
    "parse_image",
    "read_image",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
