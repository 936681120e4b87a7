"""Tokens, and constant expressions over symbols, with the precedence of C."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

MAX_DEPTH = 64
_MAX_BITS = 128

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>0[xX][0-9a-fA-F]+\b|0[bB][01]+\b|0[0-7]*\b|[1-9][0-9]*\b)
    |(?P<local>[0-9]+[bf]\b)
    |(?P<name>[A-Za-z_.$][\w.$]*)
    |(?P<char>'(?:\\.|[^'\\])')
    |(?P<string>"(?:\\.|[^"\\])*")
    |(?P<sign><<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^~!<>()\[\]:,])
    |(?P<wrong>\S))""",
    re.VERBOSE,
)
_WORD = re.compile(r"\w+|.")
_ESCAPES = {"n": 10, "t": 9, "r": 13, "0": 0, "\\": 92, "'": 39, '"': 34, "b": 8, "f": 12}


class Problem(Exception):
    """What is wrong with a statement; whoever knows its line makes an AssemblyError of it."""


class Token(NamedTuple):
    """A word of source text; `kind` is the name of a group of the pattern above."""

    kind: str
    text: str


class Value(NamedTuple):
    """A number, and how many labels it counts: 1 for an address, 0 for a distance."""

    number: int
    labels: int = 0


@dataclass(frozen=True, slots=True)
class Node:
    """An expression: a number, a name, or an operator and its operands.

    Attributes:
        depth: how many operators lie between it and its deepest operand.
    """

    kind: str
    value: int = 0
    name: str = ""
    parts: tuple[Node, ...] = ()
    depth: int = 0


def join(kind: str, sign: str, *parts: Node) -> Node:
    """An operator and its operands.

    Raises:
        Problem: too deep; evaluation recurses.
    """
    deepest = 1 + max(part.depth for part in parts)
    if deepest > MAX_DEPTH:
        raise Problem(f"an expression is {MAX_DEPTH} operators deep at most")
    return Node(kind, 0, sign, parts, deepest)


Lookup = Callable[[str], Value]


def tokenize(text: str) -> list[Token]:
    """Split a statement's operands.

    Raises:
        Problem: a character that has no place in it.
    """
    tokens = []
    for match in _TOKEN.finditer(text.rstrip()):
        kind = str(match.lastgroup)
        if kind == "wrong":
            raise Problem(f"cannot read {_WORD.findall(text, match.start(kind))[0]!r}")
        tokens.append(Token(kind, match[kind]))
    return tokens


def unescape(literal: str) -> bytes:
    """The bytes between the quotes of a string or character literal.

    Raises:
        Problem: an unknown escape.
    """
    result = bytearray()
    for piece in re.finditer(r"\\x([0-9a-fA-F]{1,2})|\\(.)|([^\\]+)", literal[1:-1], re.DOTALL):
        if piece[1]:
            result.append(int(piece[1], 16))
        elif piece[2]:
            if piece[2] not in _ESCAPES:
                raise Problem(f"there is no escape \\{piece[2]} in a literal")
            result.append(_ESCAPES[piece[2]])
        else:
            result += piece[3].encode()
    return bytes(result)


# Parsing.

_LEVELS = (
    ("||",), ("&&",), ("|",), ("^",), ("&",), ("==", "!="), ("<", "<=", ">", ">="),
    ("<<", ">>"), ("+", "-"), ("*", "/", "%"),
)  # fmt: skip
_PRECEDENCE = {sign: level for level, signs in enumerate(_LEVELS) for sign in signs}


class Parser:
    """Reads expressions from tokens, from the front; `peek` is what comes next."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    @property
    def peek(self) -> str:
        """The next token's text; empty at the end."""
        return self._tokens[self._at].text if self._at < len(self._tokens) else ""

    def take(self) -> Token:
        """The next token, which is used up."""
        if self._at == len(self._tokens):
            raise Problem("something is missing at the end")
        self._at += 1
        return self._tokens[self._at - 1]

    def accept(self, text: str) -> bool:
        """Use the next token up if it is this one."""
        found = self.peek == text
        self._at += found
        return found

    def expect(self, text: str) -> None:
        """Use this token up.

        Raises:
            Problem: something else comes.
        """
        if not self.accept(text):
            raise Problem(f"{text!r} is missing" + (f" before {self.peek!r}" if self.peek else ""))

    def expression(self, level: int = 0) -> Node:
        """An expression of operators of at least this precedence."""
        left = self._operand()
        while (found := _PRECEDENCE.get(self.peek, -1)) >= level:
            sign = self.take().text
            left = join("binary", sign, left, self.expression(found + 1))
        return left

    def _operand(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Problem(f"an expression is {MAX_DEPTH} parentheses deep at most")
        kind, text = self.take()
        if text in ("-", "+", "~", "!"):
            node = join("unary", text, self._operand())
        elif text == "(":
            node = self.expression()
            self.expect(")")
        elif kind == "number":
            is_octal = text[0] == "0" and text.isdecimal()
            node = Node("number", int(text, 8 if is_octal else 0))
        elif kind == "char":
            node = Node("number", int.from_bytes(unescape(text), "little"))
        elif kind in ("name", "local"):
            node = Node("name", name=text)
        else:
            raise Problem(f"a value is missing before {text!r}")
        self._depth -= 1
        return node


# Evaluating.


def names(node: Node) -> Iterator[str]:
    """Every name in an expression."""
    if node.kind == "name":
        yield node.name
    for part in node.parts:
        yield from names(part)


def evaluate(node: Node, lookup: Lookup) -> Value:
    """The value of an expression.

    Raises:
        Problem: division by zero, a shift or number that is too large, or what `lookup` raises.
    """
    if node.kind == "number":
        return Value(node.value)
    if node.kind == "name":
        return lookup(node.name)
    values = [evaluate(part, lookup) for part in node.parts]
    if node.kind == "unary":
        value = Value(_UNARY[node.name](values[0].number))
    else:
        left, right = values
        labels = 0
        if node.name in ("+", "-"):
            labels = left.labels + (right.labels if node.name == "+" else -right.labels)
        value = Value(_BINARY[node.name](left.number, right.number), labels)
    if value.number.bit_length() > _MAX_BITS:
        raise Problem(f"a number is {_MAX_BITS} bits long at most")
    return value


def _divide(left: int, right: int) -> int:
    """Division that rounds toward zero, as in C."""
    if right == 0:
        raise Problem("division by zero")
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _shift(left: int, right: int) -> int:
    if not 0 <= right <= _MAX_BITS:
        raise Problem(f"a shift is by 0 to {_MAX_BITS} bits, not {right}")
    return left << right


_UNARY: dict[str, Callable[[int], int]] = {
    "-": operator.neg,
    "+": operator.pos,
    "~": operator.invert,
    "!": lambda value: int(not value),
}
_BINARY: dict[str, Callable[[int, int], int]] = {
    "||": lambda left, right: int(bool(left or right)),
    "&&": lambda left, right: int(bool(left and right)),
    "|": operator.or_,
    "^": operator.xor,
    "&": operator.and_,
    "==": lambda left, right: int(left == right),
    "!=": lambda left, right: int(left != right),
    "<": lambda left, right: int(left < right),
    "<=": lambda left, right: int(left <= right),
    ">": lambda left, right: int(left > right),
    ">=": lambda left, right: int(left >= right),
    "<<": _shift,
    ">>": lambda left, right: left >> min(max(right, 0), _MAX_BITS),
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divide,
    "%": lambda left, right: left - right * _divide(left, right),
}
