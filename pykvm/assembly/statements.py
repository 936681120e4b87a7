"""Statements as values: what a line becomes, and how each makes its bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pykvm.assembly.encoder import Encoder
from pykvm.assembly.expression import Lookup, Node, Problem, evaluate
from pykvm.assembly.instruction import Instruction
from pykvm.assembly.source import Line

MAX_IMAGE_SIZE = 16 << 20
NOP = 0x90


@dataclass(frozen=True, slots=True)
class Place:
    """Where a statement stands in the pass under way.

    Attributes:
        address: of its first byte.
        section_start: of its section's first byte.
        lookup: the value of a name, as far as it is known.
        least_bytes: the size it had in the pass before; branches do not shrink.
        room_bytes: how many there may be from here on.
    """

    address: int
    section_start: int
    lookup: Lookup
    least_bytes: int
    room_bytes: int

    def check_room(self, size_bytes: int) -> None:
        """See that so many bytes fit, before they are made.

        Raises:
            Problem: they do not.
        """
        if size_bytes > self.room_bytes:
            raise Problem(f"a program is {MAX_IMAGE_SIZE >> 20} MiB long at most")


Emit = Callable[[Encoder, Place], bytes]


@dataclass(slots=True)
class Statement:
    """What one line comes to.

    Attributes:
        position: its number in the source, macros and repetitions counted.
        section: the section that it belongs to.
        emit: makes its bytes; None where it has none.
        label: the name that it gives to its address.
        constant: the name that it gives to `value`.
    """

    line: Line
    position: int
    section: str
    emit: Emit | None = None
    label: str = ""
    constant: str = ""
    value: Node | None = None
    address: int = 0
    data: bytes = b""


def code(instruction: Instruction) -> Emit:
    """An instruction."""

    def emit(encoder: Encoder, place: Place) -> bytes:
        return encoder.encode(instruction, place.lookup, place.address, place.least_bytes)

    return emit


def numbers(size_bytes: int, nodes: list[Node]) -> Emit:
    """Little-endian numbers: `.byte`, `.word`, `.long`, `.quad`."""

    def emit(encoder: Encoder, place: Place) -> bytes:
        return little_endian(size_bytes, [evaluate(each, place.lookup).number for each in nodes])

    return emit


def little_endian(size_bytes: int, values: list[int]) -> bytes:
    """The bytes of numbers.

    Raises:
        Problem: one does not fit.
    """
    bits = 8 * size_bytes
    least, end = -1 << bits - 1, 1 << bits
    for value in values:
        if not least <= value < end:
            raise Problem(f"{value:#x} does not fit in {bits} bits")
    return b"".join([(value & end - 1).to_bytes(size_bytes, "little") for value in values])


def literal(data: bytes) -> Emit:
    """Bytes as they are: `.ascii`, `.asciz`."""
    return lambda encoder, place: data


def fill(count: Node, size: Node, value: Node) -> Emit:
    """The same number again and again: `.fill`, `.space`, `.zero`."""

    def emit(encoder: Encoder, place: Place) -> bytes:
        times, width, number = (
            evaluate(node, place.lookup).number for node in (count, size, value)
        )
        if not 0 <= width <= 8:
            raise Problem(f"the size of what is repeated is 0 to 8, not {width}")
        if not 0 <= times <= MAX_IMAGE_SIZE:
            raise Problem(f"the count is 0 to {MAX_IMAGE_SIZE:#x}, not {times:#x}")
        place.check_room(times * width)
        return (number & (1 << 8 * width) - 1).to_bytes(width, "little") * times

    return emit


def align(boundary: Node, value: Node | None, section: str) -> Emit:
    """Up to a multiple of `boundary`: NOPs between instructions, else zeros."""

    def emit(encoder: Encoder, place: Place) -> bytes:
        multiple = evaluate(boundary, place.lookup).number
        if multiple < 1 or multiple & (multiple - 1) or multiple > MAX_IMAGE_SIZE:
            raise Problem(f"an alignment is a power of two, not {multiple}")
        filler = NOP if section == ".text" else 0
        if value is not None:
            filler = evaluate(value, place.lookup).number & 0xFF
        place.check_room(-place.address % multiple)
        return bytes([filler]) * (-place.address % multiple)

    return emit


def org(target: Node, value: Node) -> Emit:
    """Up to an offset from the section's start, or to an address given by a label."""

    def emit(encoder: Encoder, place: Place) -> bytes:
        offset, labels = evaluate(target, place.lookup)
        end = offset if labels else place.section_start + offset
        if not 0 <= end - place.address <= MAX_IMAGE_SIZE:
            raise Problem(f".org goes forward only; this is {place.address:#x} already")
        place.check_room(end - place.address)
        filler = evaluate(value, place.lookup).number & 0xFF
        return bytes([filler]) * (end - place.address)

    return emit
