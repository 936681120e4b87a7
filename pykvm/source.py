"""Assembly source, made ready for keystone: statements that know where they came from.

Done here is what keystone lacks or gets wrong: comments, includes, sections, numeric local
labels, and a few mnemonics. Directives are allowed by name, since keystone crashes on some
that it does not implement.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pykvm import layout
from pykvm.constants import evaluate, fold, hexadecimal, substitute
from pykvm.errors import AssemblyError, LoadError
from pykvm.registers import ALIASES

MAX_STATEMENTS = 100_000
MAX_INCLUDE_DEPTH = 16
MAX_SOURCE_BYTES = 1 << 20
MAX_REPEAT = 16 << 20

# Kept in this order in the flat image, whatever the order in the source.
SECTIONS = (".text", ".rodata", ".data", ".bss")

DIRECTIVES = {
    *(".byte", ".short", ".word", ".long", ".int", ".quad", ".octa"),
    *(".ascii", ".asciz", ".string", ".fill", ".space", ".skip", ".zero"),
    *(".align", ".balign", ".p2align", ".set", ".equ", ".code16", ".code32", ".code64"),
    *(".macro", ".endm", ".rept", ".irp", ".irpc", ".endr"),
    *(".if", ".ifdef", ".ifndef", ".else", ".elseif", ".endif"),
}
_OPENERS = {".macro", ".rept", ".irp", ".irpc", ".if", ".ifdef", ".ifndef"}
_CLOSERS = {".endm", ".endr", ".endif"}
_REPEATERS = {".fill", ".space", ".skip", ".zero", ".rept", ".align", ".balign", ".p2align"}
_IGNORED = {".global", ".globl", ".type", ".size", ".intel_syntax"}

_PIECE = re.compile(
    r"""(?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])')|(?P<line>\#|//)|(?P<block>/\*)|(?P<end>;)""",
    re.VERBOSE,
)
_LABEL = re.compile(r"\s*([A-Za-z_.$][\w.$]*|\d+):(?!:)")
_ASSIGNMENT = re.compile(
    r"([A-Za-z_][\w$]*)\s*=\s*([^=].*)|\.(?:set|equ)\s+([A-Za-z_][\w$]*)\s*,\s*(.+)"
)
_NUMERIC_USE = re.compile(r"\b(\d+)([bf])\b")
_QUOTED = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])')""")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of one line.

    Attributes:
        path, line: where it stands, 1-based.
        original: the line as written.
        text: the statement as keystone gets it.
        section: one of SECTIONS.
        depth: how many .macro, .rept and .if are open around it.
        labels: what it defines.
    """

    path: str
    line: int
    original: str
    text: str
    section: str = ".text"
    depth: int = 0
    labels: tuple[str, ...] = ()

    @property
    def body(self) -> str:
        """The text without its labels."""
        return _after_labels(self.text)[1]

    def error(self, why: str) -> AssemblyError:
        """An error that points here."""
        return AssemblyError(self.path, self.line, self.original, why)


def read_source(path: Path) -> str:
    """The text of a source file.

    Raises:
        LoadError: unreadable, too large, or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SOURCE_BYTES + 1)
        text = data.decode()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a text in UTF-8"
        raise LoadError(str(path), why) from None
    if len(data) > MAX_SOURCE_BYTES:
        raise LoadError(str(path), f"source is {MAX_SOURCE_BYTES >> 20} MiB at most")
    return text


def statements(text: str, path: str, include_dir: Path | None, bits: int) -> list[Statement]:
    """The whole source, includes and all, in the order of the image.

    Raises:
        AssemblyError: something that cannot be assembled, with its place.
    """
    found = list(_bounded(_sections(_read(text, path, include_dir, ()))))
    lines = list(_rewrite(list(_constants(found)), bits))
    return sorted(lines, key=lambda each: SECTIONS.index(each.section))


def _bounded(source: Iterator[Statement]) -> Iterator[Statement]:
    for count, statement in enumerate(source):
        if count == MAX_STATEMENTS:
            raise statement.error(f"more than {MAX_STATEMENTS} statements")
        yield statement


def _read(
    text: str, path: str, include_dir: Path | None, open_files: tuple[Path, ...]
) -> Iterator[Statement]:
    """Statements without comments; `.include` is replaced by what it names."""
    in_comment = False
    for number, line in enumerate(text.split("\n"), 1):
        if "\0" in line:
            raise AssemblyError(path, number, "", "a NUL character; this is not source")
        pieces, in_comment = _split(line, in_comment)
        for piece in pieces:
            statement = Statement(path, number, line, piece)
            if piece.split()[0] == ".include":
                yield from _include(statement, include_dir, open_files)
            else:
                yield statement
    if in_comment:
        raise AssemblyError(path, number, line, "a comment opened by /* is not closed")


def _split(line: str, in_comment: bool) -> tuple[list[str], bool]:
    """The statements of one line, and whether a block comment is open at its end."""
    pieces, position = [""], 0
    while position < len(line):
        if in_comment:
            end = line.find("*/", position)
            in_comment, position = end < 0, len(line) if end < 0 else end + 2
            continue
        match = _PIECE.search(line, position)
        pieces[-1] += line[position : match.start() if match else None]
        if match is None or match["line"]:
            break
        position = match.end()
        if match["end"]:
            pieces.append("")
        elif match["block"]:
            in_comment = True
            pieces[-1] += " "
        else:
            pieces[-1] += match[0]
    return [piece.strip() for piece in pieces if piece.strip()], in_comment


def _include(
    statement: Statement, include_dir: Path | None, open_files: tuple[Path, ...]
) -> Iterator[Statement]:
    match = re.fullmatch(r'\.include\s+"([^"]+)"', statement.text)
    if match is None:
        raise statement.error('.include takes a file name in quotes: .include "lib.inc"')
    if include_dir is None:
        raise statement.error("source that did not come from a file cannot include one")
    path = include_dir / match[1]
    if path.resolve() in open_files or len(open_files) == MAX_INCLUDE_DEPTH:
        raise statement.error("this file includes itself")
    try:
        text = read_source(path)
    except LoadError as error:
        raise statement.error(str(error)) from None
    yield from _read(text, str(path), path.parent, (*open_files, path.resolve()))


def _sections(source: Iterator[Statement]) -> Iterator[Statement]:
    """Note each statement's section, depth and labels; refuse unknown directives."""
    section, open_at = ".text", list[Statement]()
    for statement in source:
        labels, body = [], statement.text
        while match := _LABEL.match(body):
            labels.append(match[1])
            body = body[match.end() :]
        word = body.split()[0].lower() if body.split() else ""
        if word in (".section", *SECTIONS):
            section = _section(statement, body)
            body = ""
        elif word in _IGNORED:
            body = ""
        elif word.startswith(".") and word not in DIRECTIVES and not re.match(r"\.\w+\s*=", body):
            raise statement.error(f"there is no directive {word}")
        _check(statement, body, in_macro=bool(open_at))
        depth = len(open_at) + (word in _OPENERS)
        if word in _OPENERS:
            open_at.append(statement)
        elif word in _CLOSERS and open_at:
            open_at.pop()
        text = " ".join([*(f"{label}:" for label in labels), body.strip()])
        yield replace(statement, text=text, section=section, depth=depth, labels=tuple(labels))
    if open_at:
        raise open_at[-1].error("this is not closed")


def _section(statement: Statement, body: str) -> str:
    words = body.replace(",", " ").split()
    name = words[1] if words[0] == ".section" and len(words) > 1 else words[0]
    for section in SECTIONS:
        if name == section or name.startswith(section + "."):
            return section
    raise statement.error(f"a flat image has the sections {', '.join(SECTIONS)}")


def _check(statement: Statement, body: str, *, in_macro: bool) -> None:
    """Refuse what keystone takes without a word and gets wrong, or never comes back from."""
    bare = _QUOTED.sub("", body)
    if bare.count("[") != bare.count("]") or bare.count("(") != bare.count(")"):
        raise statement.error("brackets do not match")
    if "\\" in bare and not in_macro:
        raise statement.error("a backslash has a meaning only inside a macro")
    if "\\@" in bare:
        raise statement.error("keystone does not number macro calls: \\@ cannot be used")
    if bare.count('"') or len(re.findall(r"'", bare)) > 0:
        raise statement.error("a quote is not closed")
    for number in re.findall(r"\b(?:0[xX][0-9a-fA-F]+|\d+)\b", bare):
        if int(number, 0 if not re.match(r"0\d", number) else 8) >> 64:
            raise statement.error(f"{number} does not fit in 64 bits")


def _check_immediate(statement: Statement, body: str) -> None:
    """keystone cuts a number that is too large for its register down without a word."""
    match = re.fullmatch(r"\w+\s+(\w+)\s*,\s*(-?(?:0[xX][0-9a-fA-F]+|[1-9]\d*))", body.strip())
    if match is None or match[1].lower() not in ALIASES:
        return
    bits = ALIASES[match[1].lower()][2]
    if not -(1 << bits - 1) <= int(match[2], 0) < 1 << bits:
        raise statement.error(f"{match[2]} does not fit in the {bits} bits of {match[1]}")


def _check_repeat(statement: Statement, word: str, body: str) -> None:
    """A count must be a number within bounds; keystone's own process bounds the rest."""
    if word not in _REPEATERS:
        return
    match = re.match(r"\S+\s+([^,]*)", body)
    count = match[1].strip() if match else ""
    limit = 16 if word == ".p2align" else MAX_REPEAT
    if re.fullmatch(r"0[xX][0-9a-fA-F]+|\d+", count) and int(count, 0) > limit:
        raise statement.error(f"{word} takes {limit} at most")


def _constants(everything: list[Statement]) -> Iterator[Statement]:
    """Names with a known value become numbers; those that depend on a condition do not."""
    names = [(line, match) for line in everything if (match := _ASSIGNMENT.fullmatch(line.text))]
    unknown = {match[1] or match[3] for line, match in names if line.depth}
    unknown.update(label for line in everything for label in line.labels)
    values = {name: value for name, value in layout.constants().items() if name not in unknown}
    for line in everything:
        match = _ASSIGNMENT.fullmatch(line.text)
        if match is None:
            yield replace(line, text=_known(line.text, values))
            continue
        name = match[1] or match[3]
        text = substitute(match[2] or match[4], values)
        value = evaluate(text)
        values.pop(name, None)
        if value is not None and name not in unknown:
            values[name] = value
        value_text = hexadecimal(text) if value is None else f"{value:#x}"
        yield replace(line, text=f"{name} = {value_text}")


def _known(text: str, values: dict[str, int]) -> str:
    head, body = _after_labels(text)
    word, _, operands = body.partition(" ")
    if not operands:
        return text
    if word not in (".macro", ".ifdef", ".ifndef"):
        operands = fold(substitute(operands, values))
    operands = hexadecimal(operands)
    return f"{head} {word} {operands}".strip()


def _rewrite(everything: list[Statement], bits: int) -> Iterator[Statement]:
    """Numeric labels become names, and mnemonics that keystone lacks become bytes."""
    numeric = _NumericLabels(everything)
    for index, statement in enumerate(everything):
        text = statement.text
        if ".code" in text and (match := re.fullmatch(r"\.code(16|32|64)", text)):
            bits = int(match[1])
        text = numeric.rename(index, text)
        head, body = _after_labels(text)
        mnemonic = body.split()[0].lower() if body else ""
        _check_immediate(statement, body)
        _check_repeat(statement, mnemonic, body)
        if (replacement := _MNEMONICS.get((mnemonic, bits))) is not None:
            text = f"{head} {replacement(statement, body[len(mnemonic) :].strip())}"
        labels = tuple(label for label in statement.labels if not label.isdigit())
        yield replace(statement, text=text.strip(), labels=labels)


def _after_labels(text: str) -> tuple[str, str]:
    position = 0
    while match := _LABEL.match(text, position):
        position = match.end()
    return text[:position], text[position:].strip()


class _NumericLabels:
    """Labels such as `1:`, used as `1b` (the nearest before) and `1f` (the nearest after)."""

    def __init__(self, everything: list[Statement]) -> None:
        self._places: dict[str, list[int]] = {}
        self._statements = everything
        for index, statement in enumerate(everything):
            for label in statement.labels:
                if label.isdigit():
                    self._places.setdefault(label, []).append(index)

    def rename(self, index: int, text: str) -> str:
        text = re.sub(r"(^|(?<=:\s))(\d+):", lambda match: f"L__n{match[2]}_{index}:", text)
        parts = _QUOTED.split(text)
        parts[::2] = [
            _NUMERIC_USE.sub(lambda match: self._use(index, match[1], match[2]), part)
            for part in parts[::2]
        ]
        return "".join(parts)

    def _use(self, index: int, label: str, direction: str) -> str:
        places = self._places.get(label, [])
        if direction == "b":
            found = [place for place in places if place <= index][-1:]
        else:
            found = [place for place in places if place > index][:1]
        if not found:
            raise self._statements[index].error(f"there is no label {label} in that direction")
        return f"L__n{label}_{found[0]}"


def _bytes(text: str) -> Callable[[Statement, str], str]:
    def replacement(statement: Statement, operands: str) -> str:
        if operands:
            raise statement.error("this instruction takes no operands")
        return text

    return replacement


def _far(opcode: int, prefix: str, offset: str) -> Callable[[Statement, str], str]:
    """A direct far jump or call: `ljmp selector, target`."""

    def replacement(statement: Statement, operands: str) -> str:
        parts = [part.strip() for part in operands.split(",")]
        if len(parts) != 2 or not all(parts):
            raise statement.error("this takes a selector and a target: ljmp 0x08, start")
        return f".byte {prefix}{opcode:#x}; {offset} {parts[1]}; .word {parts[0]}"

    return replacement


def _other_name(name: str) -> Callable[[Statement, str], str]:
    return lambda statement, operands: f"{name} {operands}".strip()


# (mnemonic, bits of the code around it) -> what keystone gets instead. Intel SDM vol. 2.
_MNEMONICS: dict[tuple[str, int], Callable[[Statement, str], str]] = {
    ("ljmp", 16): _far(0xEA, "", ".word"),
    ("ljmp", 32): _far(0xEA, "", ".long"),
    ("ljmpd", 16): _far(0xEA, "0x66, ", ".long"),
    ("lcall", 16): _far(0x9A, "", ".word"),
    ("lcall", 32): _far(0x9A, "", ".long"),
    ("iret", 32): _other_name("iretd"),
    ("retfq", 64): _bytes(".byte 0x48, 0xcb"),
    ("sysret", 64): _bytes(".byte 0x0f, 0x07"),
    ("sysretq", 64): _bytes(".byte 0x48, 0x0f, 0x07"),
    ("movabs", 64): _other_name("mov"),
}
