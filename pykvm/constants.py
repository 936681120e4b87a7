"""Named constants and numeric expressions of assembly source, worked out before keystone.

keystone refuses some of them (`1 << 31`, a name in parentheses) and gets others wrong without
a word: it reads 20 as 0x20, and `[rax + NAME*3]` as `[rax + NAME]`. So names with a known value
become numbers here, numeric operands are worked out, and all numbers become hexadecimal.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping

_NAME = re.compile(r"(?<![\w.$\\])([A-Za-z_][\w$]*)(?![\w$])")
_QUOTED = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])')""")
_CHARACTER = re.compile(r"'(\\?.)'")
_DECIMAL = re.compile(r"(?<![\w.$\\])(?<!\bst\()\d+(?![\w.])")
_NUMERIC = re.compile(r"[\da-fA-FxX\s()+\-*/%&|^~<>]+")
_ESCAPES = {"n": 10, "t": 9, "r": 13, "0": 0, "\\": 92, "'": 39, '"': 34}
_MAX_LENGTH, _MAX_BITS = 500, 64

_BINARY: dict[type, Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.floordiv,
    ast.Mod: operator.mod,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
}
_UNARY: dict[type, Callable[[int], int]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
}


def evaluate(text: str) -> int | None:
    """The value of a numeric expression, None where it is not one or has more than 64 bits."""
    text = _CHARACTER.sub(_character, text).strip()
    if not text or len(text) > _MAX_LENGTH or not _NUMERIC.fullmatch(text):
        return None
    try:
        value = _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None
    return value if -(1 << _MAX_BITS) < value < 1 << _MAX_BITS else None


def _character(match: re.Match[str]) -> str:
    text = match[1]
    return str(_ESCAPES.get(text[1], ord(text[1])) if len(text) > 1 else ord(text))


def _value(node: ast.expr) -> int:
    match node:
        case ast.Constant(value=int(value)):
            return value
        case ast.UnaryOp(op, operand) if type(op) in _UNARY:
            return _UNARY[type(op)](_value(operand))
        case ast.BinOp(left, op, right) if type(op) in _BINARY:
            a, b = _value(left), _value(right)
            if isinstance(op, ast.LShift | ast.RShift) and not 0 <= b <= _MAX_BITS:
                raise ValueError("shift out of range")
            if a.bit_length() > 2 * _MAX_BITS or b.bit_length() > 2 * _MAX_BITS:
                raise ValueError("number out of range")
            return _BINARY[type(op)](a, b)
    raise ValueError("not a numeric expression")


def substitute(text: str, values: Mapping[str, int]) -> str:
    """The text with known names as numbers and purely numeric operands worked out."""
    parts = _QUOTED.split(text)
    parts[::2] = [
        _NAME.sub(lambda match: hex(values[match[1]]) if match[1] in values else match[1], part)
        for part in parts[::2]
    ]
    return "".join(parts)


def hexadecimal(text: str) -> str:
    """The text with decimal numbers, and octal ones with a leading 0, in hexadecimal."""
    parts = _QUOTED.split(text)
    parts[::2] = [_DECIMAL.sub(_hexadecimal, part) for part in parts[::2]]
    return "".join(parts)


def _hexadecimal(match: re.Match[str]) -> str:
    octal = re.fullmatch(r"0[0-7]+", match[0])
    return hex(int(match[0], 8 if octal else 10))


def fold(operands: str) -> str:
    """Operands with each purely numeric one, or numeric term in brackets, as one number."""
    return ",".join(_folded(operand) for operand in _split(operands))


def _folded(operand: str) -> str:
    value = evaluate(operand) if re.search(r"[-+*/%&|^~<(]", operand) else None
    if value is not None:
        return f" {value:#x}"
    return re.sub(r"(?<=[+\[])\s*(\d\w*(?:\s*\*\s*\d\w*)+)", _product, operand)


def _product(match: re.Match[str]) -> str:
    value = evaluate(match[1])
    return match[0] if value is None else f" {value:#x}"


def _split(operands: str) -> list[str]:
    """Split at commas, but not inside quotes."""
    pieces = [""]
    for position, part in enumerate(_QUOTED.split(operands)):
        if position % 2:
            pieces[-1] += part
        else:
            first, *rest = part.split(",")
            pieces[-1] += first
            pieces += rest
    return pieces
