"""Operands in Intel syntax: registers, memory in brackets, values without, far addresses.

What stands in brackets is memory and what does not is a value: `mov eax, table` loads an
address. This is where the syntax departs from GNU as; docs/guests.md says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from pykvm.assembly.expression import Node, Parser, Problem, join, names, tokenize

SIZES = {
    "byte": 8, "word": 16, "dword": 32, "fword": 48, "qword": 64, "tbyte": 80, "xmmword": 128,
    "ymmword": 256, "zmmword": 512,
}  # fmt: skip
SEGMENTS = ("es", "cs", "ss", "ds", "fs", "gs")
HIGH_BYTES = ("ah", "ch", "dh", "bh")
_STACK_POINTERS = ("sp", "esp", "rsp")


def _registers() -> dict[str, int]:
    bits = dict.fromkeys((*SEGMENTS, *HIGH_BYTES), 0) | dict.fromkeys(HIGH_BYTES, 8)
    for name in ("ax", "cx", "dx", "bx", "sp", "bp", "si", "di"):
        low = name[0] + "l" if name.endswith("x") else name + "l"
        bits |= {low: 8, name: 16, "e" + name: 32, "r" + name: 64}
    for number in range(8, 16):
        bits |= {
            f"r{number}{suffix}": size for suffix, size in zip("bwd", (8, 16, 32), strict=True)
        }
        bits[f"r{number}"] = 64
    for prefix, count in (
        ("cr", 16), ("dr", 16), ("mm", 8), ("xmm", 32), ("ymm", 32), ("zmm", 32), ("k", 8),
        ("bnd", 4),
    ):  # fmt: skip
        bits |= {f"{prefix}{number}": 0 for number in range(count)}
    return bits | {"st": 0, "rip": 0, "eip": 0}


REGISTERS = _registers()  # name: bits of a general register, 0 for any other
RESERVED = {*REGISTERS, *SIZES, "ptr", "offset", "short", "far"}


@dataclass(frozen=True, slots=True)
class Register:
    """A register by name; `bits` is 0 where it is no general one."""

    name: str
    bits: int


@dataclass(frozen=True, slots=True)
class Immediate:
    """A value, or the target of a branch."""

    value: Node
    short: bool = False


@dataclass(frozen=True, slots=True)
class Far:
    """A selector and an offset."""

    selector: Node
    offset: Node


@dataclass(frozen=True, slots=True)
class Memory:
    """`size ptr segment:[base + index * scale + disp]`; what is absent is empty or None."""

    size: str
    segment: str
    base: str
    index: str
    scale: Node
    disp: Node | None


Operand = Register | Immediate | Far | Memory


def parse(text: str) -> list[Operand]:
    """The operands of an instruction.

    Raises:
        Problem: they cannot be read.
    """
    tokens = tokenize(text)
    if not tokens:
        return []
    parser = Parser(tokens)
    operands = [_operand(parser)]
    while parser.accept(","):
        operands.append(_operand(parser))
    if parser.peek:
        raise Problem(f"a comma or an operator is missing before {parser.peek!r}")
    return operands


def _operand(parser: Parser) -> Operand:
    word = parser.peek.lower()
    if word in SIZES or word == "far":
        size = _take_size(parser)
        return _memory(parser, size, _take_segment(parser))
    if word in SEGMENTS:
        segment = parser.take().text.lower()
        return _memory(parser, "", segment) if parser.accept(":") else Register(segment, 0)
    if word == "[":
        return _memory(parser, "", "")
    if word in REGISTERS:
        return _register(parser)
    if word in ("short", "offset"):
        parser.take()
    value = _no_register(parser.expression())
    if parser.accept(":"):
        return Far(value, _no_register(parser.expression()))
    if parser.peek == "[":
        raise Problem("write the whole address in the brackets: [table + rbx]")
    return Immediate(value, word == "short")


def _take_size(parser: Parser) -> str:
    size = parser.take().text.lower()
    if parser.peek.lower() != "ptr":
        raise Problem(f"write '{size} ptr' before the brackets")
    parser.take()
    return "fword" if size == "far" else size


def _take_segment(parser: Parser) -> str:
    if (name := parser.peek.lower()) not in SEGMENTS:
        return ""
    parser.take()
    parser.expect(":")
    return name


def _register(parser: Parser) -> Register:
    name = parser.take().text.lower()
    if name == "st" and parser.accept("("):
        name = f"st({parser.take().text})"
        parser.expect(")")
    return Register(name, REGISTERS.get(name, 0))


def _no_register(node: Node) -> Node:
    for name in names(node):
        if name.lower() in RESERVED:
            raise Problem(f"{name!r} has no place in an expression")
    return node


# Memory.


def _memory(parser: Parser, size: str, segment: str) -> Memory:
    parser.expect("[")
    segment = segment or _take_segment(parser)
    terms = _Terms()
    terms.add(parser.expression(), negative=False)
    parser.expect("]")
    base, index, scale = _base_and_index(terms)
    return Memory(size, segment, base, index, scale, terms.disp)


class _Terms:
    """An address as a sum: registers with their factors, and one expression of the rest."""

    def __init__(self) -> None:
        self.plain: list[str] = []
        self.scaled: list[tuple[str, Node]] = []
        self.disp: Node | None = None

    def add(self, node: Node, negative: bool) -> None:
        register, factor = _product(node)
        if register and negative:
            raise Problem(f"{register!r} cannot be subtracted in an address")
        if register and factor:
            self.scaled.append((register, factor))
        elif register:
            self.plain.append(register)
        elif node.kind == "binary" and node.name in ("+", "-"):
            self.add(node.parts[0], negative)
            self.add(node.parts[1], negative ^ (node.name == "-"))
        else:
            term = join("unary", "-", _no_register(node)) if negative else _no_register(node)
            self.disp = join("binary", "+", self.disp, term) if self.disp else term


def _product(node: Node) -> tuple[str, Node | None]:
    """("ecx", None) of `ecx`, ("ecx", 4) of `ecx*4` and `4*ecx`, ("", None) of all else."""
    if node.kind == "name" and node.name.lower() in REGISTERS:
        return node.name.lower(), None
    if node.kind == "binary" and node.name == "*":
        for register, factor in (node.parts, node.parts[::-1]):
            name = register.name.lower()
            if register.kind == "name" and name in REGISTERS:
                return name, _no_register(factor)
    return "", None


def _base_and_index(terms: _Terms) -> tuple[str, str, Node]:
    plain, scale = terms.plain, Node("number", 1)
    if len(plain) + len(terms.scaled) > 2 or len(terms.scaled) > 1:
        raise Problem("an address has a base and an index at most")
    plain.sort(key=_index_rank)
    index = plain[1] if len(plain) == 2 else ""
    base = plain[0] if plain else ""
    if terms.scaled:
        index, scale = terms.scaled[0]
    if base and REGISTERS[base] < 16 and base != "rip":
        raise Problem(f"{base!r} cannot be the base of an address")
    if index and (index in _STACK_POINTERS or not (REGISTERS[index] >= 16 or _is_vector(index))):
        raise Problem(f"{index!r} cannot be the index of an address")
    if index and base == "rip":
        raise Problem("an address relative to rip has no index")
    if 16 in (REGISTERS.get(base), REGISTERS.get(index)):
        _check_16(base, index, bool(terms.scaled))
    return base, index, scale


def _check_16(base: str, index: str, is_scaled: bool) -> None:
    """16-bit addresses know four registers. Source: Intel SDM vol. 2A, table 2-1."""
    bases, indexes = ("bx", "bp"), ("si", "di")
    if is_scaled or not (
        base in bases + indexes if not index else base in bases and index in indexes
    ):
        raise Problem("a 16-bit address is made of bx or bp, and si or di")


def _index_rank(name: str) -> int:
    """Of two registers without a factor, the one of higher rank is the index."""
    if name in _STACK_POINTERS:
        return 0
    return 2 if name in ("si", "di") or _is_vector(name) else 1


def _is_vector(name: str) -> bool:
    return name[1:3] == "mm"
