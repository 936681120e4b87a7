"""Results of processors, kept as lines of JSON, so that any host can check the emulator.

recorded/differences.jsonl has a case for each row of `makers.TABLE` with both makers' results;
recorded/amd.jsonl and intel.jsonl have cases drawn from all families with what a processor of that
maker gave. A result stands there as its differences from the state before; see `record` for how
they are made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import differential_rows
import past
import rules
from cases import Case
from emulib import GPRS
from rows import decoder

DIRECTORY = Path(__file__).with_name("recorded")
DIFFERENCES = DIRECTORY / "differences.jsonl"
NAMES = (*GPRS, "fs", "gs")
PROCESSOR, RULE = "processor", "rule"  # who a result is from


@dataclass
class Record:
    """A case, its name, and what processors of each maker do.

    `by` says of each result whether a PROCESSOR gave it, or the emulator, whose RULE was made from
    what was seen on a processor.
    """

    name: str
    case: Case
    results: dict[str, rules.Result]
    by: dict[str, str] = field(default_factory=dict)


def path(maker: str) -> Path:
    """Where a maker's drawn cases lie."""
    return DIRECTORY / f"{maker}.jsonl"


def _before(case: Case) -> tuple[tuple[int, ...], bytes, bytes]:
    """Registers, memory and state without the case's instruction."""
    row = decoder().table[case.row]
    osize = differential_rows.operand_size(case)
    registers = (*rules.mask_registers(row, tuple(case.registers)), 0, 0)
    memory = rules.mask_memory(row, case, osize, case.memory)
    return registers, memory, rules.mask_state(case.xsave) if case.xsave else b""


def to_fields(case: Case, result: rules.Result) -> dict[str, Any]:
    """A result as plain data: what it changed. The rip of a fault counts from the instruction."""
    fault, flags, registers, memory, state = result
    before = _before(case)
    changed = zip(NAMES, registers, before[0], strict=True)
    parts = {
        "fault": [*fault[:2], fault[2] - case.start, *fault[3:]] if fault else [],
        "flags": f"{flags:x}",
        "registers": {name: f"{new:x}" for name, new, old in changed if new != old},
        "memory": past.pieces(memory, before[1]),
        "state": past.pieces(state, before[2]),
    }
    return {name: value for name, value in parts.items() if value}


def from_fields(case: Case, fields: dict[str, Any]) -> rules.Result:
    """The result, now that the case has its place."""
    fault = list(fields.get("fault", []))
    fault[2:3] = [fault[2] + case.start] if fault else []
    registers, memory, state = _before(case)
    changed = fields.get("registers", {})
    values = (
        int(changed[n], 16) if n in changed else old
        for n, old in zip(NAMES, registers, strict=True)
    )
    memory = past.with_pieces(fields.get("memory", {}), memory)
    state = past.with_pieces(fields.get("state", {}), state)
    return tuple(fault), int(fields["flags"], 16), tuple(values), memory, state


def write(file: Path, records: list[Record]) -> None:
    """Keep them, a line each."""
    lines = []
    for each in records:
        fields = past.to_fields(each.name, each.case)
        fields["by"] = each.by
        fields["results"] = {m: to_fields(each.case, r) for m, r in each.results.items()}
        lines.append(json.dumps(fields) + "\n")
    file.write_text("".join(lines))


def read(file: Path) -> list[tuple[Record, dict[str, Any]]]:
    """Cases and the fields of their results, which `from_fields` takes once the cases have run."""
    found = []
    for line in file.read_text().splitlines():
        fields = json.loads(line)
        results, by = fields.pop("results", {}), fields.pop("by", {})
        name, case = past.from_fields(fields)
        found.append((Record(name, case, {}, by), results))
    return found


def run_cases(oracle: differential_rows.RowOracle, cases: list[Case]) -> None:
    """Run cases of any numbers, in as few batches as these allow."""
    while cases:
        batch = {case.number: case for case in reversed(cases)}
        cases = [case for case in cases if batch[case.number] is not case]
        oracle.run(list(batch.values()))


def run(oracle: differential_rows.RowOracle, file: Path) -> list[Record]:
    """The file's records after their cases have run."""
    found = read(file)
    run_cases(oracle, [record.case for record, _ in found])
    for record, fields in found:
        if record.case.results:
            record.results = {m: from_fields(record.case, f) for m, f in fields.items()}
    return [record for record, _ in found]
