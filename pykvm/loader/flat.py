"""Flat binaries: bytes that go to one address and are entered there."""

from __future__ import annotations

from pykvm.errors import LoadError
from pykvm.loader.image import Image, Mode


def load_flat(data: bytes, name: str, mode: Mode, load: int | None = None) -> Image:
    """Bytes at `load`, entered at their first one.

    Args:
        data: code and data as they shall lie in memory.
        name: for messages.
        mode: how they are entered.
        load: guest-physical address; None for the mode's own, layout.REAL_LOAD_BASE or
            layout.LOAD_BASE.

    Raises:
        LoadError: there are no bytes.
    """
    if not data:
        raise LoadError(name, "is empty; there is nothing to run")
    gpa = mode.load_base if load is None else load
    return Image(name, mode, gpa, ((gpa, data),))
