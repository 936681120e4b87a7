"""Source in, an image with symbols and a listing out. keystone does the encoding.

keystone is GPL 2. It is imported only when something is assembled, in a process of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pykvm.errors import AssemblyError
from pykvm.keystone_process import KeystoneDiedError, ask
from pykvm.loader import multiboot
from pykvm.loader.image import Image, Mode
from pykvm.source import Statement, statements

MAX_CODE_BYTES = 32 << 20
TIMEOUT_S = 5.0
SEARCH_TIMEOUT_S = 0.5  # while looking for the place of an error
_SYMBOL_MISSING = 144  # KS_ERR_ASM_SYMBOL_MISSING
_DIED = -1


@dataclass(frozen=True, slots=True)
class ListingLine:
    """What one statement became.

    Attributes:
        address: guest address of its first byte.
        code: its bytes; those of a macro or conditional stand at its last line.
        path, line, text: where it came from.
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
    include_dir: Path | None = None,
) -> Program:
    """Assemble a guest: Intel syntax, with the constants of `pykvm.layout` defined.

    It is entered at the label `_start` where there is one, else at its first byte. In
    protected mode a multiboot header makes it a multiboot kernel, as it does for a file.

    Args:
        mode: "real", "protected", "long" or "user".
        origin: guest address of the first byte; the mode's own where None.
        name: what errors call the source.
        include_dir: where `.include` looks; None forbids it.

    Raises:
        AssemblyError: with the file, line and text of what is wrong.
        UsageError: no such mode.
    """
    mode = Mode.parse(mode)
    if origin is None:
        origin = mode.load_base
    lines = statements(source, name, include_dir, mode.bits)
    labels = sorted({label for each in lines if each.depth == 0 for label in each.labels})
    job = _Job(name, mode.bits, origin)
    code, addresses = job.run(lines, labels)
    symbols = dict(zip(labels, addresses[len(lines) + 1 :], strict=True))
    program = Program(
        name,
        mode,
        symbols.get("_start", origin),
        ((origin, code),),
        symbols,
        origin=origin,
        code=code,
        listing=tuple(_listing(lines, addresses, origin, code)),
    )
    return multiboot.kernel_of(program)


def _listing(
    lines: Sequence[Statement], addresses: Sequence[int], origin: int, code: bytes
) -> list[ListingLine]:
    rows = []
    for position, line in enumerate(lines):
        start, end = addresses[position], addresses[position + 1]
        piece = code[start - origin : end - origin]
        rows.append(ListingLine(start, piece, line.path, line.line, line.original))
    return rows


class _Job:
    """One assembly: the code, every statement's address, or the error with its place."""

    def __init__(self, name: str, bits: int, origin: int) -> None:
        self.name = name
        self.bits = bits
        self.origin = origin

    def run(self, lines: list[Statement], labels: list[str]) -> tuple[bytes, list[int]]:
        """The code, and the addresses of all statements, the end, and the labels.

        keystone tells no addresses, so each statement gets a label of its own, and a table
        of all of them is assembled behind the end and cut off again. Inside macros and
        conditionals there are none: what they emit counts for their last line.
        """
        marked, marks = [], []
        for index, line in enumerate(lines):
            if line.depth == 0 or index == 0:
                marked.append(f"L__{index}:")
            marks.append(f"L__{index}" if line.depth == 0 or index == 0 else "")
            marked.append(line.text)
        marks.append("L__end")
        _fill_backwards(marks)
        table = "\n".join(f".quad {mark}" for mark in (*marks, *labels))
        reply = self._ask("\n".join([*marked, "L__end:", table]))
        data = bytes.fromhex(reply["code"] or "")
        table_bytes = 8 * (len(marks) + len(labels))
        if reply["errno"] or len(data) < table_bytes:
            raise self._error(lines, reply)
        code, tail = data[: len(data) - table_bytes], data[len(data) - table_bytes :]
        if len(code) > MAX_CODE_BYTES:
            raise AssemblyError(self.name, 0, "", f"more than {MAX_CODE_BYTES >> 20} MiB of code")
        words = [int.from_bytes(tail[i : i + 8], "little") for i in range(0, table_bytes, 8)]
        self._check_all_emitted(lines, words)
        return code, words

    def _check_all_emitted(self, lines: list[Statement], addresses: list[int]) -> None:
        """keystone drops some statements without a word: an instruction must emit something."""
        passive = {
            match[1] for line in lines if (match := re.match(r"\.macro\s+([\w.$]+)", line.text))
        } - _emitting_macros(lines)
        for index, line in enumerate(lines):
            body = line.body
            if line.depth or not body or body.startswith(".") or "=" in body.split("[")[0]:
                continue
            if addresses[index] == addresses[index + 1] and body.split()[0] not in passive:
                raise line.error("keystone makes nothing of this")

    def _ask(self, text: str, resolve_all: bool = False) -> dict[str, Any]:
        timeout_s = SEARCH_TIMEOUT_S if resolve_all else TIMEOUT_S
        try:
            return ask(self.bits, self.origin, text, resolve_all, timeout_s)
        except KeystoneDiedError as error:
            return {"code": None, "errno": _DIED, "error": str(error), "missing": []}

    def _error(self, lines: list[Statement], reply: dict[str, Any]) -> AssemblyError:
        if reply["errno"] == _SYMBOL_MISSING and reply["missing"]:
            return self._missing(lines, reply["missing"][0])
        guilty = self._first_failing(lines, reply["errno"])
        why = reply["error"] or "keystone makes nothing of this"
        why = re.sub(r"\s*\(KS_ERR_\w+\)", "", why)
        return guilty.error(why) if guilty else AssemblyError(self.name, 0, "", why)

    def _missing(self, lines: list[Statement], symbol: str) -> AssemblyError:
        pattern = re.compile(rf"(?<![\w.$]){re.escape(symbol)}(?![\w.$])")
        for line in lines:
            if pattern.search(line.text):
                return line.error(f"there is no symbol {symbol!r}")
        return AssemblyError(self.name, 0, "", f"there is no symbol {symbol!r}")

    def _first_failing(self, lines: list[Statement], errno: int) -> Statement | None:
        """The last line of the shortest beginning that fails in the same way."""

        def fails(count: int) -> bool:
            text = "\n".join(line.text for line in lines[:count])
            reply = self._ask(text, resolve_all=True)
            if errno == 0:
                return reply["code"] is None and bool(text.strip())
            return bool(reply["errno"] == errno)

        low, high = 0, len(lines)
        if not lines or not fails(high):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if fails(middle) else (middle, high)
        return lines[high - 1]


def _fill_backwards(marks: list[str]) -> None:
    for index in range(len(marks) - 2, -1, -1):
        marks[index] = marks[index] or marks[index + 1]


def _emitting_macros(lines: Sequence[Statement]) -> set[str]:
    """Names of macros with more in them than directives."""
    found, current = set(), ""
    for line in lines:
        if match := re.match(r"\.macro\s+([\w.$]+)", line.text):
            current = match[1]
        elif line.body == ".endm":
            current = ""
        elif current and line.body and not line.body.startswith("."):
            found.add(current)
    return found
