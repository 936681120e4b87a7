"""What a kernel complains of in its log."""

from __future__ import annotations

import re

COMPLAINT = re.compile(
    r"warn|oops|\bbug:|unexpected|lock-?up|hung|stall|call trace|unstable|skew|watchdog|error|"
    r"fail|unable|cannot|can't|could not|\binvalid\b|bogus|broken|lost|spurious|taint|panic|"
    r"illegal|corrupt|mismatch|segfault|trap |timed out|timeout|"
    r"too (long|slow|fast)|bad |not responding",
    re.I,
)
_STAMP = re.compile(r"^\[ *\d+\.\d+\] ")
_NUMBER = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b|\d+", re.I)


def complaints(log: str) -> dict[str, str]:
    """Suspicious lines, by what is left of them without times and numbers."""
    lines = (_STAMP.sub("", line).strip() for line in log.splitlines() if _STAMP.match(line))
    return {_NUMBER.sub("#", line): line for line in lines if COMPLAINT.search(line)}


def new_complaints(log: str, reference: str) -> list[str]:
    """Those of `log` that `reference` has not."""
    known = complaints(reference)
    return [line for form, line in complaints(log).items() if form not in known]
