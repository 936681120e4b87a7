"""Loaders: a file becomes an `Image`, an image becomes memory and an entry state.

What a file is, its content says: a multiboot header, the ELF magic, or neither, which is
a flat binary. docs/loading.md tells what each is owed.
"""

from __future__ import annotations

from pathlib import Path

from pykvm import layout
from pykvm.errors import LoadError, UsageError
from pykvm.files import read_regular
from pykvm.loader import elf, flat, multiboot
from pykvm.loader.boot import Module
from pykvm.loader.image import Image, Mode

MAX_FILE_SIZE = layout.GIB
SOURCE_SUFFIXES = (".S", ".s", ".asm")


def read_image(path: Path | str, mode: Mode | str | None = None, load: int | None = None) -> Image:
    """A guest from a binary file: multiboot kernel, ELF executable or flat binary.

    Args:
        path: the file.
        mode: how it is entered; None for what the file asks for, long mode for a flat one.
            A mode other than protected makes a multiboot kernel an ordinary file.
        load: guest-physical address of a flat binary, None for the mode's own; or of a
            position-independent executable, None for 1 MiB.

    Raises:
        LoadError: unreadable, malformed, or not for this machine.
        UsageError: no such mode, or a load address for a file that has its own.
    """
    path = Path(path)
    if path.suffix in SOURCE_SUFFIXES:
        raise LoadError(str(path), "is assembler source; `pykvm asm` makes a binary of it")
    return parse_image(read_file(path), mode, load, name=str(path))


def parse_image(
    data: bytes,
    mode: Mode | str | None = None,
    load: int | None = None,
    *,
    name: str = "<bytes>",
) -> Image:
    """The same for a file's bytes.

    Args:
        data: all of the file.
        mode, load: as for `read_image`.
        name: what messages call it.

    Raises:
        LoadError, UsageError: as for `read_image`.
    """
    data = bytes(data)
    chosen = None if mode is None else Mode.parse(mode)
    header = multiboot.any_header(data, name) if chosen in (None, Mode.PROTECTED) else None
    is_elf = data.startswith(elf.MAGIC)
    if load is not None:
        is_fixed = header is not None or (is_elf and not elf.is_movable(data))
        _check_load(load, name, has_addresses=is_fixed)
    if header is not None:
        return multiboot.load(data, header, name)
    if is_elf:
        return elf.load_elf(data, name, chosen, load)
    return flat.load_flat(data, name, chosen or Mode.LONG, load)


def _check_load(load: int, name: str, *, has_addresses: bool) -> None:
    if not isinstance(load, int) or isinstance(load, bool) or not 0 <= load < layout.MAX_GPA:
        raise UsageError(
            f"a load address is a number from 0 to {layout.MAX_GPA - 1:#x}, not {load!r}"
        )
    if has_addresses:
        raise UsageError(f"{name} says itself where it goes; leave the load address out")


def read_file(path: Path) -> bytes:
    """All of a regular file.

    Raises:
        LoadError: it cannot be read, is none, or is larger than MAX_FILE_SIZE.
    """
    try:
        return read_regular(path, MAX_FILE_SIZE)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise LoadError(str(path), getattr(error, "strerror", None) or str(error)) from None


def read_module(given: Module | Path | str) -> Module:
    """A module from a text "FILE arguments", as QEMU takes them, or from a path alone.

    A file whose whole name is the text goes before: there may be blanks in names.

    Raises:
        LoadError: the file cannot be read.
    """
    if isinstance(given, Module):
        return given
    path = Path(given)
    if isinstance(given, str) and " " in given and not path.exists():
        path = Path(given.split(" ", 1)[0])
    return Module(str(given), read_file(path))
