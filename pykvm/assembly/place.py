"""Giving every statement its address: passes over the program until nothing moves."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from difflib import get_close_matches
from itertools import islice

from pykvm.assembly.encoder import Encoder, GivenUpError
from pykvm.assembly.expression import Problem, Value, evaluate
from pykvm.assembly.parser import SECTIONS
from pykvm.assembly.source import Line
from pykvm.assembly.statements import MAX_IMAGE_SIZE, Place, Statement
from pykvm.errors import AssemblyError
from pykvm.text import excerpt

MIN_PASSES, MAX_PASSES = 8, 32
MAX_WORK = 16 << 20  # characters that all passes together see, beyond the first few
MAX_COMPARED = 500


class _UnknownNameError(Problem):
    """A name that nobody defines."""

    def __init__(self, name: str) -> None:
        super().__init__(f"nothing is called {excerpt(name)}")
        self.name = name


class Placement:
    """Lays statements out, section after section.

    Args:
        statements: in the order of the source.
        origin: address of the first byte.
        constants: names that are known from the start.

    Attributes:
        order: the statements in the order of their addresses.
    """

    def __init__(
        self, statements: list[Statement], origin: int, constants: Mapping[str, int]
    ) -> None:
        self.order = [each for name in SECTIONS for each in statements if each.section == name]
        self._names: dict[str, Value] = {}
        self._origin = self._start = self._current = origin
        self._position = 0
        self._constants = {name: Value(number) for name, number in constants.items()}
        self._defined = {_key(each) or each.constant for each in statements} - {""}
        self._locals: dict[str, list[int]] = {}
        for each in statements:
            if each.label.isdecimal():
                self._locals.setdefault(each.label, []).append(each.position)
        self._encoder = Encoder()
        self._work = sum(len(each.line.code) + 16 for each in statements)

    def settle(self) -> bytes:
        """The program's bytes.

        Raises:
            AssemblyError: a name that nobody defines, a value that does not fit, and the like.
        """
        for number in range(MAX_PASSES):
            before = dict(self._names)
            found = self._pass()
            if not self._encoder.learn() and self._names == before:
                if found is not None:
                    raise self._error(*found)
                return b"".join([each.data for each in self.order])
            if number >= MIN_PASSES and number * self._work > MAX_WORK and self._names != before:
                break
        moving = next(name for name, value in self._names.items() if before.get(name) != value)
        raise self._home(moving).error(f"the value of {moving!r} depends on itself")

    def _error(self, line: Line, problem: Problem) -> AssemblyError:
        why = str(problem)
        if isinstance(problem, _UnknownNameError):
            why += self._suggestion(problem.name)
        return line.error(why)

    def symbols(self) -> dict[str, int]:
        """The address of every label that has a name."""
        labels = [each.label for each in self.order if each.label and not each.label.isdecimal()]
        return {label: self._names[label].number for label in labels}

    def _home(self, name: str) -> Line:
        return next(each.line for each in self.order if name in (_key(each), each.constant))

    def _pass(self) -> tuple[Line, Problem] | None:
        """Go through the program once; the first problem, which counts only if nothing moves."""
        found: tuple[Line, Problem] | None = None
        self._current, section = self._origin, SECTIONS[0]
        for each in self.order:
            if each.section != section:
                self._start, section = self._current, each.section
            each.address = self._current
            try:
                self._visit(each)
            except GivenUpError as problem:
                raise each.line.error(str(problem)) from None
            except Problem as problem:
                found = found or (each.line, problem.with_traceback(None))
            self._current += len(each.data)
        return found

    def _visit(self, each: Statement) -> None:
        if each.label:
            self._names[_key(each)] = Value(self._current, 1)
        elif each.value is not None:
            self._position = each.position
            self._names[each.constant] = evaluate(each.value, self._lookup)
        elif each.emit is not None:
            self._position = each.position
            room = self._origin + MAX_IMAGE_SIZE - self._current
            place = Place(self._current, self._start, self._lookup, len(each.data), room)
            data = each.emit(self._encoder, place)
            place.check_room(len(data))
            each.data = data

    def _lookup(self, name: str) -> Value:
        if name == ".":
            return Value(self._current, 1)
        if name[0].isdigit():
            name = self._local(name)
        if name in self._names:
            return self._names[name]
        if name in self._defined:
            return Value(self._current, 1)  # a guess; the next pass knows better
        if name in self._constants:
            return self._constants[name]
        raise _UnknownNameError(name)

    def _local(self, name: str) -> str:
        """The key of the numbered label before (`1b`) or behind (`1f`) this statement."""
        number, backward = name[:-1], name[-1] == "b"
        positions = self._locals.get(number, [])
        index = bisect_left(positions, self._position) - backward
        if not 0 <= index < len(positions):
            raise Problem(f"there is no label {number}: {'before' if backward else 'after'} this")
        return f"{number}:{positions[index]}"

    def _suggestion(self, name: str) -> str:
        """The name that was meant, among those of about its length; comparing takes its square."""
        names = (each for each in (*self._defined, *self._constants) if not each[0].isdigit())
        alike = (each for each in names if len(name) < 64 and abs(len(each) - len(name)) <= 3)
        close = get_close_matches(name, islice(alike, MAX_COMPARED), 1)
        return f"; did you mean {close[0]!r}?" if close else ""


def _key(each: Statement) -> str:
    """A label's name among all names; numbered labels count by where they stand."""
    return f"{each.label}:{each.position}" if each.label.isdecimal() else each.label
