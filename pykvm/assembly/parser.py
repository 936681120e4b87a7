"""Lines to statements: labels, constants, directives, instructions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from pykvm.assembly import statements
from pykvm.assembly.expand import Expander, split_label, split_word
from pykvm.assembly.expression import Node, Parser, Problem, Value, evaluate, tokenize, unescape
from pykvm.assembly.includes import Includes
from pykvm.assembly.instruction import parse_instruction
from pykvm.assembly.operands import RESERVED
from pykvm.assembly.source import Line
from pykvm.assembly.statements import Emit, Statement

SECTIONS = (".text", ".rodata", ".data", ".bss")
_NAME = re.compile(r"[A-Za-z_.$][\w.$]*")
_SIZES = {
    ".byte": 1, ".word": 2, ".short": 2, ".long": 4, ".int": 4, ".quad": 8, ".octa": 16,
}  # fmt: skip
_BITS = {".code16": 16, ".code32": 32, ".code64": 64}
_LITERALS = re.compile(
    r"(?:(?:0x[0-9a-f]+|[1-9][0-9]*|0)\s*,\s*)*(?:0x[0-9a-f]+|[1-9][0-9]*|0)", re.I
)
_IGNORED = (".global", ".globl")
_ZERO, _ONE = Node("number", 0), Node("number", 1)


class SourceParser:
    """Reads a whole source.

    Args:
        bits: what the code is for until `.code16`, `.code32` or `.code64` says otherwise.
        constants: names that are known from the start; a source may take them over.
        includes: finds the files that it includes.
    """

    def __init__(self, bits: int, constants: Mapping[str, int], includes: Includes) -> None:
        self._statements: list[Statement] = []
        self._homes: dict[str, Line] = {}
        self._bits = bits
        self._section = ".text"
        self._known = {name: Value(number) for name, number in constants.items()}
        self._includes = includes

    def parse(self, text: str, name: str) -> list[Statement]:
        """Its statements, in their order.

        Raises:
            AssemblyError: a line that cannot be read.
        """
        expander = Expander(self._number, self._is_defined, self._includes)
        for line in expander.expand(text, name):
            try:
                self._statement(line)
            except Problem as problem:
                raise line.error(str(problem)) from None
        return self._statements

    def _statement(self, line: Line) -> None:
        label, code = split_label(line.code)
        if label:
            self._label(label, line)
        if assignment := re.match(r"([\w.$]+)\s*=(?!=)\s*(.*)", code, re.DOTALL):
            self._constant(assignment[1], assignment[2], line)
            return
        word, rest = split_word(code)
        if word.startswith("."):
            self._directive(word, rest, line)
        elif code:
            self._add(line, statements.code(parse_instruction(code, self._bits)))

    def _add(self, line: Line, emit: Emit) -> None:
        self._append(line).emit = emit

    def _append(self, line: Line) -> Statement:
        self._statements.append(Statement(line, len(self._statements), self._section))
        return self._statements[-1]

    # Names.

    def _define(self, name: str, line: Line) -> None:
        if not _NAME.fullmatch(name) or name == ".":
            raise Problem(f"{name!r} cannot be a name")
        if name.lower() in RESERVED:
            raise Problem(f"{name!r} cannot be a name; it is a word of the syntax")
        if name in self._homes:
            home = self._homes[name]
            raise Problem(f"{name!r} is defined at {home.path}:{home.number} already")
        self._homes[name] = line

    def _label(self, name: str, line: Line) -> None:
        if not name.isdecimal():
            self._define(name, line)
            self._known.pop(name, None)
        self._append(line).label = name

    def _constant(self, name: str, text: str, line: Line) -> None:
        self._define(name, line)
        value = _expression(text)
        self._known.pop(name, None)
        statement = self._append(line)
        statement.constant, statement.value = name, value
        try:
            found = evaluate(value, self._lookup)
        except Problem:
            return  # known once everything has its place, if at all
        self._known[name] = found

    def _lookup(self, name: str) -> Value:
        if name not in self._known:
            raise Problem(f"{name!r} must be a constant that is defined before this line")
        return self._known[name]

    def _number(self, text: str) -> int:
        return evaluate(_expression(text), self._lookup).number

    def _is_defined(self, name: str) -> bool:
        return name in self._homes or name in self._known

    # Directives.

    def _directive(self, word: str, rest: str, line: Line) -> None:
        if word in _BITS:
            self._bits = _BITS[word]
        elif word in SECTIONS or word == ".section":
            self._enter(rest.split(",")[0].strip() if word == ".section" else word)
        elif word in (".equ", ".set"):
            name, _, text = rest.partition(",")
            self._constant(name.strip(), text, line)
        elif word == ".intel_syntax":
            if rest.strip() != "noprefix":
                raise Problem("registers have no prefix: .intel_syntax noprefix")
        elif word in _SIZES:
            self._add(line, _numbers(_SIZES[word], rest))
        elif word in _EMITTERS:
            self._add(line, _EMITTERS[word](rest, self._section))
        elif word not in _IGNORED:
            raise Problem(f"there is no directive {word!r} here; docs/guests.md lists them")

    def _enter(self, name: str) -> None:
        for section in SECTIONS:
            if name == section or name.startswith(f"{section}."):
                self._section = section
                return
        raise Problem(f"there is no section {name!r}; choose from {', '.join(SECTIONS)}")


def _expression(text: str) -> Node:
    parser = Parser(tokenize(text))
    value = parser.expression()
    if parser.peek:
        raise Problem(f"{parser.peek!r} has no place here")
    return value


def _list(text: str, least: int = 1, most: int = 1 << 16) -> list[Node]:
    parser = Parser(tokenize(text))
    nodes = [parser.expression()]
    while parser.accept(","):
        nodes.append(parser.expression())
    if parser.peek:
        raise Problem(f"a comma is missing before {parser.peek!r}")
    if not least <= len(nodes) <= most:
        raise Problem(f"this takes {least} to {most} values, not {len(nodes)}")
    return nodes


def _numbers(size_bytes: int, rest: str) -> Emit:
    if _LITERALS.fullmatch(rest):  # tables are long, and a tree for each number takes its time
        values = [int(each, 0) for each in rest.split(",")]
        return statements.literal(statements.little_endian(size_bytes, values))
    return statements.numbers(size_bytes, _list(rest))


def _strings(rest: str, end: bytes) -> Emit:
    tokens = tokenize(rest)
    texts = tokens[::2]
    if not tokens or any(token.kind != "string" for token in texts):
        raise Problem('this takes texts in "quotes", parted by commas')
    if len(tokens) % 2 == 0 or any(token.text != "," for token in tokens[1::2]):
        raise Problem("commas part the texts")
    return statements.literal(b"".join(unescape(token.text) + end for token in texts))


def _space(rest: str) -> Emit:
    count, value = [*_list(rest, 1, 2), _ZERO][:2]
    return statements.fill(count, _ONE, value)


def _fill(rest: str) -> Emit:
    values = _list(rest, 1, 3)
    count, size, value = [*values, *(_ONE, _ZERO)[len(values) - 1 :]]
    return statements.fill(count, size, value)


def _align(rest: str, section: str, power: bool = False) -> Emit:
    boundary, *value = _list(rest, 1, 2)
    if power:
        boundary = Node("binary", 0, "<<", (_ONE, boundary), boundary.depth + 1)
    return statements.align(boundary, value[0] if value else None, section)


def _org(rest: str) -> Emit:
    target, value = [*_list(rest, 1, 2), _ZERO][:2]
    return statements.org(target, value)


_EMITTERS: dict[str, Callable[[str, str], Emit]] = {
    ".ascii": lambda rest, section: _strings(rest, b""),
    ".asciz": lambda rest, section: _strings(rest, b"\0"),
    ".string": lambda rest, section: _strings(rest, b"\0"),
    ".zero": lambda rest, section: _space(rest),
    ".space": lambda rest, section: _space(rest),
    ".skip": lambda rest, section: _space(rest),
    ".fill": lambda rest, section: _fill(rest),
    ".align": _align,
    ".balign": _align,
    ".p2align": lambda rest, section: _align(rest, section, power=True),
    ".org": lambda rest, section: _org(rest),
}
