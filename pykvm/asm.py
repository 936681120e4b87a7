"""keystone in, capstone out. Minimal for now."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pykvm import layout
from pykvm.errors import AssemblyError, LoadError
from pykvm.loader.image import Image, Mode

MAX_SOURCE_SIZE = 1 << 20


@dataclass(frozen=True)
class Program(Image):
    """An assembled guest."""


def assemble(
    source: str, *, mode: Mode | str = "long", origin: int | None = None, name: str = "<source>"
) -> Program:
    """A guest from source text."""
    import keystone

    mode = Mode.parse(mode)
    where = (
        origin
        if origin is not None
        else layout.REAL_LOAD_BASE
        if mode is Mode.REAL
        else layout.LOAD_BASE
    )
    ks = keystone.Ks(
        keystone.KS_ARCH_X86,
        {16: keystone.KS_MODE_16, 32: keystone.KS_MODE_32, 64: keystone.KS_MODE_64}[mode.bits],
    )
    try:
        code, _ = ks.asm(source, where, as_bytes=True)
    except keystone.KsError as e:
        raise AssemblyError(name, 0, "", str(e)) from None
    return Program(name, mode, where, ((where, code or b""),))


def read_source(path: Path) -> str:
    """The text of a source file.

    Raises:
        LoadError: unreadable, too large, or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SOURCE_SIZE + 1)
        text = data.decode()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a text in UTF-8"
        raise LoadError(str(path), why) from None
    if len(data) > MAX_SOURCE_SIZE:
        raise LoadError(str(path), f"source is {MAX_SOURCE_SIZE >> 20} MiB at most")
    return text
