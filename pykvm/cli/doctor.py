"""`pykvm doctor`: say whether and how guests run on this host, and what mends it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator

from pykvm import host, probe
from pykvm.doctor import Examination, examine

STATUS_CANNOT_RUN = 1


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "doctor", help="say whether and how guests run on this host", description=__doc__
    )
    parser.add_argument("--json", action="store_true", help="for machines; see docs/doctor.md")
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Examine the host and print what was found; 0 where guests run."""
    examination = examine()
    if args.json:
        print(json.dumps(examination.as_dict(), indent=2))
    else:
        for name, text in lines(examination):
            print(f"{name:<16}{text}")
    return 0 if examination.ok else STATUS_CANNOT_RUN


def lines(examination: Examination) -> Iterator[tuple[str, str]]:
    """The examination as labels and texts, the verdict last."""
    yield "backends", "kvm, emu" if examination.ok else "emu"
    yield "device", _device(examination)
    yield from _host(examination.found)
    yield from _capabilities(examination)
    for pace in examination.paces:
        yield (
            f"CPL {pace.cpl}",
            f"{examination.place(pace)}; measured: {pace.per_s / 1e6:,.1f} million instructions/s",
        )
    if examination.emulator is not None:
        yield "emu", f"measured: {examination.emulator.per_s / 1e6:,.1f} million instructions/s"
    for feature in examination.features:
        meaning = probe.FEATURES[feature.name].meaning
        yield feature.name, f"yes: {meaning}" if feature.ok else f"no: {feature.why}"
    yield "verdict", examination.verdict


def _device(examination: Examination) -> str:
    if examination.api_version is None:
        return f"{examination.device} cannot be used: {examination.problem}"
    return f"{examination.device} opens; API version {examination.api_version}"


def _host(found: host.Host) -> Iterator[tuple[str, str]]:
    kind = found.kind
    yield "host kind", f"{kind}: {host.KIND_MEANINGS[kind]}" if kind else "no KVM module shows"
    yield "module", found.module or "none shows"
    if found.parameters:
        yield "parameters", " ".join(f"{name}={value}" for name, value in found.parameters.items())
    yield "paging", found.paging or "unknown"
    yield "processor", f"{found.cpu} ({' '.join(sorted(found.flags)) or 'no virtualization flags'})"
    yield "kernel", found.kernel
    yield (
        "huge pages",
        "; ".join(
            [
                *[
                    f"{each.size_bytes >> 20} MiB: {each.free} of {each.total} free"
                    for each in found.huge_pages
                ],
                f"transparent: {found.transparent_huge_pages or 'unknown'}",
            ]
        ),
    )


def _capabilities(examination: Examination) -> Iterator[tuple[str, str]]:
    if not examination.capabilities:
        return
    short = {name.removeprefix("KVM_CAP_"): n for name, n in examination.capabilities.items()}
    yield (
        "capabilities",
        " ".join(
            name if value == 1 else f"{name}={value}" for name, value in short.items() if value > 0
        ),
    )
    if absent := [name for name, value in short.items() if value <= 0]:
        yield "absent", " ".join(absent)
