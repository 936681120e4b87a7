"""Source in, an image with symbols and a listing out.

The syntax is Intel's with GNU as's directives; docs/guests.md describes it. keystone encodes
instructions; it is under the GPL, version 2, and is imported only when something is assembled,
in a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from pykvm import layout
from pykvm.assembly.includes import Includes
from pykvm.assembly.parser import SourceParser
from pykvm.assembly.place import Placement
from pykvm.assembly.source import MAX_SOURCE_SIZE
from pykvm.assembly.statements import Statement
from pykvm.errors import LoadError, UsageError
from pykvm.loader import multiboot
from pykvm.loader.image import Image, Mode

MAX_ORIGIN = 1 << 64


@dataclass(frozen=True, slots=True)
class ListingLine:
    """What one line became.

    Attributes:
        address: guest address of its first byte.
        code: its bytes.
        path, line: where it stands.
        text: the line; of a macro or repetition, with its arguments put in.
    """

    address: int
    code: bytes
    path: str
    line: int
    text: str


@dataclass(frozen=True)
class Program(Image):
    """An assembled guest: an image, and its listing.

    Attributes:
        code: the flat binary, loaded at `origin`.
    """

    origin: int = 0
    code: bytes = b""
    listing: tuple[ListingLine, ...] = ()


def assemble(
    source: str,
    *,
    mode: Mode | str = "long",
    origin: int | None = None,
    name: str = "<source>",
    include_dir: Path | str | Sequence[Path | str] | None = None,
) -> Program:
    """Assemble a guest: Intel syntax, with the constants of `pykvm.layout` defined.

    It is entered at the label `_start` where there is one, else at its first byte. In
    protected mode a multiboot header makes it a multiboot kernel, as it does for a file.

    Args:
        mode: "real", "protected", "long" or "user".
        origin: guest address of the first byte; the mode's own where None.
        name: what errors call the source.
        include_dir: the folder, or several, below which the files lie that it includes, and where
            `.include` looks for them; None forbids it.

    Raises:
        AssemblyError: with the file, line and text of what is wrong.
        UsageError: no such mode, or an origin that is no address.
    """
    mode = Mode.parse(mode)
    if not isinstance(source, str):
        raise UsageError(f"a source is a text, not {type(source).__name__}")
    if len(source) > MAX_SOURCE_SIZE:
        raise LoadError(name, f"source is {MAX_SOURCE_SIZE >> 20} MiB at most")
    if origin is None:
        origin = mode.load_base
    if not 0 <= origin < MAX_ORIGIN:
        raise UsageError(f"an origin is an address below {MAX_ORIGIN:#x}, not {origin:#x}")
    constants = layout.constants()
    includes = Includes(_folders(include_dir))
    statements = SourceParser(mode.bits, constants, includes).parse(source, name)
    placement = Placement(statements, origin, constants)
    code = placement.settle()
    symbols = placement.symbols()
    program = Program(
        name,
        mode,
        symbols.get("_start", origin),
        ((origin, code),),
        symbols,
        origin=origin,
        code=code,
        listing=tuple(_listing(placement.order)),
    )
    return multiboot.kernel_of(program)


def _folders(given: Path | str | Sequence[Path | str] | None) -> list[Path]:
    if given is None:
        return []
    return [Path(each) for each in ([given] if isinstance(given, Path | str) else given)]


def _listing(statements: list[Statement]) -> Iterator[ListingLine]:
    """One row per line, or per use of it in macros and repetitions."""
    for _, group in groupby(statements, lambda each: each.line.place):
        pieces = list(group)
        line, address = pieces[0].line, pieces[0].address
        text = line.raw
        if line.used_at is not None:
            text = "; ".join(each.line.code for each in pieces).replace(":; ", ": ")
        code = b"".join(each.data for each in pieces)
        yield ListingLine(address, code, line.path, line.number, text)
