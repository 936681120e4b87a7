"""Failures as files: shrinking one to what matters, and keeping it as a line of JSON.

past_failures.jsonl has a line for each: what was wrong, and the case.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import differential_rows
from cases import AREA_BYTES, CLEAN_X87, XSAVE_BYTES, Case
from differential_rows import RowOracle
from emulib import GPRS
from rows import LONGEST, decoder

STORE = Path(__file__).with_name("past_failures.jsonl")
PREFIXES = (0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3, *range(0x40, 0x50))


def clean_state() -> bytes:
    """The XSAVE image of a state in which nothing is special."""
    legacy = CLEAN_X87 + (0x1F80).to_bytes(4, "little") + b"\xff\xff\0\0"
    return (legacy.ljust(512, b"\0") + b"\x07").ljust(XSAVE_BYTES, b"\0")


def pieces(data: bytes, default: bytes) -> dict[str, str]:
    """Where data is not the default, in runs of whole eight bytes."""
    found: dict[str, str] = {}
    last = ""
    for at in range(0, len(data), 8):
        if data[at : at + 8] == default[at : at + 8]:
            last = ""
            continue
        last = last or f"{at:x}"
        found[last] = found.get(last, "") + data[at : at + 8].hex()
    return found


def with_pieces(found: dict[str, str], default: bytes) -> bytes:
    """The default with these pieces in it."""
    data = bytearray(default)
    for at, text in found.items():
        data[int(at, 16) : int(at, 16) + len(text) // 2] = bytes.fromhex(text)
    return bytes(data)


def to_line(what: str, case: Case) -> str:
    """A case as JSON: only what is not zero."""
    return json.dumps(to_fields(what, case))


def to_fields(what: str, case: Case) -> dict[str, Any]:
    """A case as plain data."""
    fields: dict[str, Any] = {"what": what, "code": case.code.hex(), "number": case.number}
    fields["registers"] = {n: f"{v:x}" for n, v in zip(GPRS, case.registers, strict=True) if v}
    fields["flags"] = f"{case.flags:x}"
    fields["memory"] = pieces(case.memory, bytes(AREA_BYTES))
    if case.xsave:
        fields["xsave"] = pieces(case.xsave, clean_state())
    for name in ("relative", "target", "operand", "cross", "pads"):
        if getattr(case, name):
            fields[name] = getattr(case, name)
    return fields


def from_line(line: str) -> tuple[str, Case]:
    """What was wrong, and the case."""
    return from_fields(json.loads(line))


def from_fields(fields: dict[str, Any]) -> tuple[str, Case]:
    """What was wrong, and the case."""
    what = fields.pop("what")
    fields["code"] = bytes.fromhex(fields["code"])
    fields["registers"] = [int(fields["registers"].get(name, "0"), 16) for name in GPRS]
    fields["flags"] = int(fields["flags"], 16)
    fields["memory"] = with_pieces(fields["memory"], bytes(AREA_BYTES))
    if "xsave" in fields:
        fields["xsave"] = with_pieces(fields["xsave"], clean_state())
    case = Case(**fields)
    find_row(case)
    return what, case


def find_row(case: Case) -> None:
    """Note which row a case's code is."""
    found = decoder()
    found.length(64, case.code.ljust(LONGEST, b"\x90"))
    index = found.row()
    case.row = -1 if index is None else index


def kept() -> list[tuple[str, Case]]:
    """All of the store."""
    return [from_line(line) for line in STORE.read_text().splitlines() if line]


def fails(oracle: RowOracle, case: Case) -> bool:
    """Whether a case does, by itself."""
    alone = [case]
    oracle.run(alone)
    return bool(alone) and differential_rows.verdict(case) is None


def _without_prefix(case: Case) -> Iterator[Case]:
    """The case without one of its prefixes each."""
    for at, byte in enumerate(case.code):
        if byte not in PREFIXES:
            break
        relative = None if case.relative is None else case.relative - 1
        shorter = replace(
            case, code=case.code[:at] + case.code[at + 1 :], relative=relative, cross=0
        )
        find_row(shorter)
        if shorter.row == case.row:
            yield shorter


def _plainer_state(case: Case) -> Iterator[Case]:
    """The case with one part of its state each as it is by default."""
    for at, value in enumerate(case.registers):
        if value:
            yield replace(
                case, registers=[0 if i == at else v for i, v in enumerate(case.registers)]
            )
    if case.flags != 2:
        yield replace(case, flags=2)
        yield from (replace(case, flags=case.flags & ~bit) for bit in (0x8D5, 0x400, 0x200000))
    if case.cross:
        yield replace(case, cross=0)


def _plainer_bytes(case: Case, size: int) -> Iterator[Case]:
    """The case with a piece each of its memory or of its image as it is by default."""
    for name, default in (("memory", bytes(AREA_BYTES)), ("xsave", clean_state())):
        data = getattr(case, name)
        for at in range(0, len(data), size):
            if data[at : at + size] != default[at : at + size]:
                plainer = data[:at] + default[at : at + size] + data[at + size :]
                yield replace(case, **{name: plainer})


def shrink(oracle: RowOracle, case: Case) -> Case:
    """The same failure with as few prefixes and as little state as it takes."""
    kind = differential_rows.difference(case)
    steps: list[Callable[[Case], Iterator[Case]]] = [_without_prefix, _plainer_state]
    steps += [lambda case, size=size: _plainer_bytes(case, size) for size in (256, 64, 16, 8)]  # type: ignore[misc]
    for step in (*steps, _without_prefix):
        tried: set[str] = set()
        smaller: Case | None = case
        while smaller:
            smaller = next(
                (c for c in _untried(step(case), tried) if _still(oracle, c, kind)), None
            )
            case = smaller or case
    fails(oracle, case)
    return case


def _untried(cases: Iterator[Case], tried: set[str]) -> Iterator[Case]:
    for case in cases:
        line = to_line("", case)
        if line not in tried:
            tried.add(line)
            yield case


def _still(oracle: RowOracle, case: Case, kind: object) -> bool:
    case.results = {}
    try:
        return fails(oracle, case) and differential_rows.difference(case) == kind
    except (AssertionError, differential_rows.Refused):
        return False
