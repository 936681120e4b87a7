"""The exit reasons of the rows have the numbers that the kernel's headers give them."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache

import pytest

from pykvm.bench import exits
from pykvm.bench.exits.row import Row

# The manuals' names as the kernel spells them.
NAMES = {
    "VMX": {
        "exception": "EXCEPTION_NMI",
        "external interrupt": "EXTERNAL_INTERRUPT",
        "control-register accesses": "CR_ACCESS",
        "MOV DR": "DR_ACCESS",
        "I/O instruction": "IO_INSTRUCTION",
        "RDMSR": "MSR_READ",
        "WRMSR": "MSR_WRITE",
        "PAUSE": "PAUSE_INSTRUCTION",
        "virtualized EOI": "EOI_INDUCED",
        "EPT misconfiguration": "EPT_MISCONFIG",
        "VMX-preemption timer expired": "PREEMPTION_TIMER",
        "page-modification log full": "PML_FULL",
    },
    "SVM": {
        "#DB": "EXCP_BASE",
        "AVIC_NOACCEL": "AVIC_UNACCELERATED_ACCESS",
        **{f"{register} write": f"WRITE_{register}" for register in ("CR0", "CR3", "CR4", "CR8")},
        "DR7 write": "WRITE_DR7",
    },
}
PREFIXES = {"VMX": "EXIT_REASON_", "SVM": "SVM_EXIT_"}
DB_VECTOR = 1


@cache
def numbers() -> dict[str, int]:
    """What <asm/vmx.h> and <asm/svm.h> define."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here")
    source = "#include <asm/vmx.h>\n#include <asm/svm.h>\n"
    done = subprocess.run(
        [compiler, "-E", "-dM", "-"], input=source, capture_output=True, text=True, check=True
    )
    found = re.findall(r"#define (\w+)\s+(0x[0-9a-f]+|\d+)\s*$", done.stdout, re.MULTILINE)
    return {name: int(value, 0) for name, value in found}


def reasons(row: Row) -> list[tuple[str, int, str]]:
    """Vendor's extension, number and name of each exit reason."""
    found = []
    for part in re.split(r", (?=SVM )", row.reason):
        vendor, _, rest = part.partition(" ")
        for each in rest.split(" or ") if rest else ():
            number, _, name = each.partition(" ")
            found.append((vendor, int(number.rstrip("h"), 16 if vendor == "SVM" else 10), name))
    return found


@pytest.mark.parametrize("row", exits.ROWS, ids=lambda row: row.name)
def test_an_exit_reason_has_its_number(row: Row) -> None:
    if row.reason == "none":
        return
    assert {vendor for vendor, _, _ in reasons(row)} == {"VMX", "SVM"}
    for vendor, number, name in reasons(row):
        spelled = NAMES[vendor].get(name, name.upper().replace(" ", "_"))
        expected = numbers()[PREFIXES[vendor] + spelled]
        assert number == expected + (DB_VECTOR if name == "#DB" else 0), name
