"""Includes, macros, repetitions and conditions: from a file's lines to plain statements.

All that a source can make grow is bounded: the depth of includes and macros, the length of a
line, the number of lines that come out, and the text that is read for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from pykvm.assembly.expression import Problem, tokenize, unescape
from pykvm.assembly.includes import Included, Includes
from pykvm.assembly.source import MAX_SOURCE_SIZE, Line, split_lines

MAX_MACRO_DEPTH = 32
MAX_PARAMETERS = 64
MAX_TEXT = 2 * MAX_SOURCE_SIZE  # of the source, its includes, and what is repeated
MAX_LINES = 20_000
MAX_ROUNDS = 100_000
MAX_LINE_LENGTH = 4096
_LINE_COST = 16  # what a line counts beside its characters

_CLOSERS = {".macro": ".endm", ".rept": ".endr", ".irp": ".endr"}
_CONDITIONS = (".if", ".ifdef", ".ifndef")
_SPLIT = re.compile(r"([.\w$]+)\s*(.*)", re.DOTALL)
_LABEL = re.compile(r"([.\w$]+)\s*:(?!:)\s*(.*)", re.DOTALL)
_ARGUMENT = re.compile(r""""(?:\\.|[^"\\])*+"?|'(?:\\.|[^'\\])'|.""", re.DOTALL)
_NAME = re.compile(r"\\([A-Za-z_]\w*|[@+]|\(\))")

Number = Callable[[str], int]
IsDefined = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Macro:
    """A macro's parameters, each with its default or None, and its lines."""

    parameters: Mapping[str, str | None]
    body: tuple[Line, ...]


def split_label(code: str) -> tuple[str, str]:
    """A statement's label, or "", and the rest."""
    match = _LABEL.match(code)
    return (match[1], match[2]) if match else ("", code)


def split_word(code: str) -> tuple[str, str]:
    """A statement's first word in lower case, and the rest."""
    match = _SPLIT.match(code)
    return (match[1].lower(), match[2]) if match else ("", code)


class Expander:
    """Yields the statements of a source in order, with everything of this module resolved.

    Args:
        number: gives the value of an expression whose names are known by now.
        is_defined: whether a name is known by now.
        includes: finds the files that the source includes.
    """

    def __init__(self, number: Number, is_defined: IsDefined, includes: Includes) -> None:
        self._number = number
        self._is_defined = is_defined
        self._includes = includes
        self._macros: dict[str, Macro] = {}
        self._uses = 0
        self._lines = 0
        self._text = 0

    def expand(self, text: str, name: str) -> Iterator[Line]:
        """The statements of the main source.

        Raises:
            AssemblyError: something of this module is used wrongly.
        """
        self._text += len(text)
        yield from self._run(split_lines(text, name), (), 0)

    def _run(
        self, lines: Iterator[Line], files: tuple[Included, ...], depth: int
    ) -> Iterator[Line]:
        """Statements of lines from one file or macro; `lines` is used up as blocks are taken."""
        conditions: list[_Condition] = []
        for line in lines:
            try:
                yield from self._statement(line, lines, files, depth, conditions)
            except Problem as problem:
                raise line.error(str(problem)) from None
        if conditions:
            raise conditions[-1].line.error("this .if has no .endif")

    def _statement(
        self, line: Line, lines: Iterator[Line], files: tuple[Included, ...], depth: int,
        conditions: list[_Condition],
    ) -> Iterator[Line]:  # fmt: skip
        self._count(line)
        labels = []
        while all(label := split_label(line.code)):
            labels.append(replace(line, code=f"{label[0]}:"))
            line = replace(line, code=label[1])
            self._count(line)
        word, rest = split_word(line.code)
        if word in _CONDITIONS or word in (".else", ".elseif", ".endif"):
            self._condition(word, rest, line, conditions)
        elif not all(condition.active for condition in conditions):
            if word in _CLOSERS:
                _take_block(word, line, lines)
        else:
            yield from labels
            yield from self._resolved(word, rest, line, lines, files, depth)

    def _resolved(
        self, word: str, rest: str, line: Line, lines: Iterator[Line],
        files: tuple[Included, ...], depth: int,
    ) -> Iterator[Line]:  # fmt: skip
        if word in _CLOSERS:
            yield from self._block(word, rest, line, lines, files, depth)
        elif word in _CLOSERS.values():
            raise Problem(f"{word} without its beginning")
        elif word == ".include":
            yield from self._include(rest, files, depth)
        else:
            yield from self._plain(line, files, depth)

    def _count(self, line: Line) -> None:
        self._lines += 1
        if self._lines > MAX_LINES:
            raise Problem(f"a source has {MAX_LINES} statements at most, repetitions counted")
        self._check_length(line)

    @staticmethod
    def _check_length(line: Line) -> None:
        if len(line.code) > MAX_LINE_LENGTH:
            raise Problem(f"a statement is {MAX_LINE_LENGTH} characters long at most")

    def _read(self, size: int) -> None:
        """Count text that is read beside the source."""
        self._text += size
        if self._text > MAX_TEXT:
            raise Problem(
                f"a source comes to {MAX_TEXT >> 20} MiB of text at most, includes and "
                "repetitions counted"
            )

    def _plain(self, line: Line, files: tuple[Included, ...], depth: int) -> Iterator[Line]:
        """A statement for the assembler, or a macro's use."""
        word, rest = split_word(line.code)
        if word not in self._macros:
            yield line
            return
        if depth == MAX_MACRO_DEPTH:
            raise Problem(f"macros and repetitions are {MAX_MACRO_DEPTH} deep at most")
        macro, values = self._macros[word], _arguments(rest)
        names = _bind(word, macro, values) | {"@": str(self._uses)}
        self._uses += 1
        yield from self._run(self._substitute(macro.body, names, line), files, depth + 1)

    # Conditions.

    def _condition(self, word: str, rest: str, line: Line, open_: list[_Condition]) -> None:
        if word in _CONDITIONS:
            outer = all(condition.active for condition in open_)
            open_.append(_Condition(line, outer and self._holds(word, rest), not outer))
            return
        if not open_:
            raise Problem(f"{word} without .if")
        condition = open_[-1]
        if word == ".endif":
            open_.pop()
        elif condition.otherwise:
            raise Problem(f"{word} after .else")
        else:
            condition.turn(lambda: word == ".else" or self._holds(".if", rest))
            condition.otherwise = word == ".else"

    def _holds(self, word: str, rest: str) -> bool:
        if word == ".if":
            return self._number(rest) != 0
        return self._is_defined(rest.strip()) == (word == ".ifdef")

    # Blocks.

    def _block(
        self, word: str, rest: str, line: Line, lines: Iterator[Line], files: tuple[Included, ...],
        depth: int,
    ) -> Iterator[Line]:  # fmt: skip
        body = _take_block(word, line, lines)
        if word == ".macro":
            self._define(rest, body)
            return
        if depth == MAX_MACRO_DEPTH:
            raise Problem(f"macros and repetitions are {MAX_MACRO_DEPTH} deep at most")
        for names in self._rounds(word, rest):
            self._count(line)
            user = replace(line)  # each round is a use of its own
            yield from self._run(self._substitute(body, names, user), files, depth + 1)

    def _rounds(self, word: str, rest: str) -> Iterator[dict[str, str]]:
        """What stands for the names in each round of a repetition."""
        if word == ".rept":
            count = self._number(rest)
            if not 0 <= count <= MAX_ROUNDS:
                raise Problem(f"a repetition has 0 to {MAX_ROUNDS} rounds, not {count}")
            yield from ({"+": str(index)} for index in range(count))
            return
        match = re.fullmatch(r"([A-Za-z_]\w*)\s*,?(.*)", rest, re.DOTALL)
        if match is None:
            raise Problem("write .irp name, value, value")
        for index, value in enumerate(_arguments(match[2])):
            yield {match[1]: value, "+": str(index)}

    def _define(self, rest: str, body: tuple[Line, ...]) -> None:
        name, parameters = split_word(rest)
        if not name:
            raise Problem("write .macro name parameter, parameter=default")
        if name in self._macros:
            raise Problem(f"there is a macro {name!r} already")
        table: dict[str, str | None] = {}
        for text in _arguments(parameters.removeprefix(",")):
            parameter, equals, default = text.partition("=")
            if not re.fullmatch(r"[A-Za-z_]\w*", parameter.strip()):
                raise Problem(f"{text!r} is no parameter; commas part them")
            table[parameter.strip()] = default.strip() if equals else None
        if len(table) > MAX_PARAMETERS:
            raise Problem(f"a macro has {MAX_PARAMETERS} parameters at most")
        self._macros[name] = Macro(table, body)

    def _include(self, rest: str, files: tuple[Included, ...], depth: int) -> Iterator[Line]:
        tokens = tokenize(rest)
        if len(tokens) != 1 or tokens[0].kind != "string":
            raise Problem('write .include "file"')
        name = unescape(tokens[0].text).decode(errors="replace")
        found = self._includes.read(name, files)
        self._read(len(found.text))
        yield from self._run(split_lines(found.text, str(found.path)), (*files, found), depth)

    def _substitute(
        self, body: tuple[Line, ...], names: Mapping[str, str], user: Line
    ) -> Iterator[Line]:
        """The lines with `\\name` replaced; `\\()` parts a name from what follows it."""

        def value(match: re.Match[str]) -> str:
            return "" if match[1] == "()" else names.get(match[1], match[0])

        for line in body:
            made = replace(line, code=_NAME.sub(value, line.code), used_at=user)
            try:
                self._check_length(made)
                self._read(len(made.code) + _LINE_COST)
            except Problem as problem:
                raise made.error(str(problem)) from None
            yield made


@dataclass(slots=True)
class _Condition:
    """An open .if: whether its lines count now, and whether a branch was taken already."""

    line: Line
    active: bool
    taken: bool
    otherwise: bool = False

    def turn(self, holds: Callable[[], bool]) -> None:
        """Go to the next branch."""
        self.taken = self.taken or self.active
        self.active = not self.taken and holds()


def _take_block(word: str, opening: Line, lines: Iterator[Line]) -> tuple[Line, ...]:
    """The lines up to the one that closes the block, which is used up."""
    body: list[Line] = []
    open_ = [_CLOSERS[word]]
    for line in lines:
        found = split_word(line.code)[0]
        if found in _CLOSERS:
            open_.append(_CLOSERS[found])
        elif found in _CLOSERS.values():
            if found != open_.pop():
                raise line.error(f"{found} without its beginning")
            if not open_:
                return tuple(body)
        body.append(line)
    raise opening.error(f"this {word} has no {_CLOSERS[word]}")


def _arguments(text: str) -> list[str]:
    """A list of arguments, parted by commas outside brackets and quotes."""
    if not text.strip():
        return []
    parts, depth = [""], 0
    for piece in _ARGUMENT.findall(text):
        depth += (piece in "([") - (piece in ")]")
        if piece == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += piece
    return [part.strip() for part in parts]


def _bind(name: str, macro: Macro, values: list[str]) -> dict[str, str]:
    if len(values) > len(macro.parameters):
        raise Problem(f"{name!r} takes {len(macro.parameters)} arguments, not {len(values)}")
    bound = {}
    padded = values + [""] * (len(macro.parameters) - len(values))
    for (parameter, default), value in zip(macro.parameters.items(), padded, strict=True):
        if not value and default is None:
            raise Problem(f"{name!r} needs an argument for {parameter!r}")
        bound[parameter] = value or default or ""
    return bound
