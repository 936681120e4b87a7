"""`pykvm run FILE`: run a guest. docs/running.md has the options, statuses and JSON keys."""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from pykvm import host
from pykvm.backend import BACKENDS, CLOCKS, asked_for, name_emulator, open_backend
from pykvm.cli import devices, network
from pykvm.cli.input import raw_terminal, start_feeding
from pykvm.cli.options import add_include_dirs, parse_address, parse_path, reads, say, whole_number
from pykvm.culprit import culprit
from pykvm.errors import KvmError, KvmUnavailable, UsageError
from pykvm.guest import IRQCHIPS, Guest, load_guest, parse_device, parse_seconds
from pykvm.hints import hints
from pykvm.loader import SOURCE_SUFFIXES, read_image
from pykvm.loader.image import Image, Mode
from pykvm.machine import Machine
from pykvm.memory import parse_size
from pykvm.parts import ALL_DEVICES, DEVICES, KERNEL_DEVICES
from pykvm.probe import probe
from pykvm.registers import RegisterFile
from pykvm.report import place, render
from pykvm.result import Outcome, Result
from pykvm.trace import Trace

SCHEMA = 1  # of the JSON object; raised when a key changes its meaning or goes away
KERNEL_MEMORY = 256 << 20
_KERNEL_WHY = (
    "KVM opens, but executes a kernel in an instruction emulator of its own here, slower than "
    "pykvm's; --backend kvm does so"
)
T = TypeVar("T")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "run",
        help="run a guest",
        description="Run a guest: assembler source (.S), ELF, multiboot kernel or flat binary; "
        "or a Linux kernel with --kernel. "
        "What an option does not say, the head of a source file does.",
    )
    option, path = parser.add_argument, reads(parse_path)
    option("file", type=path, metavar="FILE", nargs="?")
    option("--kernel", type=path, metavar="FILE", help="a Linux kernel in place of FILE")
    option("--firmware", type=path, metavar="FILE", help="firmware in place of FILE")
    option("--initrd", type=path, metavar="FILE", help="the kernel's initial RAM disk")
    option(
        "--module", dest="modules", action="append", default=[], metavar='"FILE TEXT"',
        help="a file for a multiboot kernel, and what it is told of it; once for each",
    )  # fmt: skip
    option("--backend", choices=("auto", *BACKENDS), default="auto", help="where it runs")
    option("--clock", choices=CLOCKS, default="wall", help="what the guest's time counts")
    option(
        "--no-assist", dest="assist", action="store_false", default=None,
        help="do not let the emulator execute what KVM refuses",
    )  # fmt: skip
    option("--memory", type=reads(parse_size), metavar="SIZE", help="RAM, such as 64M")
    option("--mode", type=reads(Mode.parse), metavar="MODE", help="real, protected, long or user")
    option("--load", type=reads(parse_address), metavar="ADDR", help="where a flat guest is put")
    option("--cpus", type=reads(_count), metavar="N", help="number of processors")
    option("--cpu", metavar="MODEL", help="host, or x86-64-v1 to -v3, which take ,vendor=amd")
    option(
        "--timeout", dest="timeout_s", type=reads(parse_seconds), metavar="TIME",
        help="how long it may run, such as 10s or 500ms",
    )  # fmt: skip
    option("--append", metavar="TEXT", help="the guest's command line")
    option("--irqchip", choices=IRQCHIPS, help="interrupt controllers")
    option("--pit", action="store_true", default=None, help="the 8254 timer; brings --irqchip full")
    option(
        "--devices", type=reads(_devices), metavar="NAME,NAME",
        help=f"which devices there are, of {', '.join(ALL_DEVICES)}; \"\" for none",
    )  # fmt: skip
    option(
        "--exit-port", type=reads(parse_address), metavar="PORT",
        help="a port that ends the run: with status 2 * value + 1, as QEMU's isa-debug-exit does",
    )  # fmt: skip
    option(
        "--float", dest="float_unclaimed", action="store_true", default=None,
        help="let reads that no device claims give all ones, as on a PC",
    )  # fmt: skip
    add_include_dirs(parser)
    devices.add_options(parser)
    network.add_options(parser)
    option("--trace", action="store_true", help="a line on stderr for each exit")
    option("--json", action="store_true", help="the result as JSON in place of guest output")
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Run it; returns the guest's exit status."""
    try:
        return _main(args)
    except (KvmError, KvmUnavailable) as error:
        if asked_for(args.backend) == "kvm":
            name_emulator(error)
        raise


def _main(args: argparse.Namespace) -> int:
    if args.firmware is not None:
        return _run_firmware(args)
    if args.kernel is not None:
        return _run_kernel(args)
    if args.file is None:
        raise UsageError("run takes a guest's FILE, --kernel or --firmware")
    settings, image = _load(args)
    modules = [*([] if args.initrd is None else [args.initrd]), *args.modules]
    with _machine(args, settings, lambda machine: machine.load(image, modules)) as machine:
        if args.console == "stdio" or _asks_for_input(settings):
            start_feeding(devices.feed(args, machine))
        return _told(args, machine, settings, machine.run(settings.timeout_s))


def _asks_for_input(settings: Guest) -> bool:
    """Whether the guest names a port, which the usual devices would not need."""
    ports = {"serial", "virtio-console"}
    return settings.devices != DEVICES and not ports.isdisjoint(settings.devices)


def _run_kernel(args: argparse.Namespace) -> int:
    if args.file is not None or args.load is not None:
        raise UsageError("--kernel takes the place of FILE, and knows no --load")
    if any(each.nic for each in args.net):
        raise UsageError("a kernel finds virtio cards only; leave nic out of --net")

    def load(machine: Machine) -> None:
        machine.load_kernel(args.kernel, args.initrd, args.modules, args.mode)

    return _run_on_pc(args, args.kernel, load)


def _run_firmware(args: argparse.Namespace) -> int:
    others = (args.file, args.kernel, args.initrd, args.mode, args.load, args.append)
    if args.modules or any(each is not None for each in others):
        raise UsageError(
            "--firmware takes the place of FILE and --kernel, and knows no --initrd, --module, "
            "--mode, --load and --append"
        )
    return _run_on_pc(args, args.firmware, lambda machine: machine.load_firmware(args.firmware))


def _run_on_pc(args: argparse.Namespace, path: Path, load: Callable[[Machine], None]) -> int:
    """Run what expects a PC: its chips and devices, and a terminal at its serial port."""
    settings = _settings(
        args,
        Guest(
            path, memory=KERNEL_MEMORY, timeout_s=None, devices=KERNEL_DEVICES,
            irqchip="full", pit=True, float_unclaimed=True,
        ),
    )  # fmt: skip
    if asked_for(args.backend) == "auto" and host.problem() is None and host.emulates_cpl0():
        args.backend = open_backend("emu", args.clock, why=_KERNEL_WHY)
    with _machine(args, settings, load) as machine:
        with raw_terminal() as is_raw:
            start_feeding(devices.feed(args, machine), machine.stop if is_raw else None)
            result = machine.run(settings.timeout_s)
        return _told(args, machine, settings, result)


@contextmanager
def _machine(
    args: argparse.Namespace, settings: Guest, load: Callable[[Machine], None]
) -> Iterator[Machine]:
    options = settings.options() | {
        "backend": args.backend, "clock": args.clock, "assist": args.assist,
        "native": not args.trace,
    }  # fmt: skip
    output = None if args.json else sys.stdout.buffer
    with Machine(**options, output=output) as machine:
        devices.attach(args, machine)
        with network.attached(args, machine) as ports:
            load(machine)
            with network.captured(args, ports):
                if args.backend not in BACKENDS:  # it was chosen here
                    why = machine.backend.why
                    say(f"backend {machine.backend.name}: {why}")
                if args.trace:
                    machine.observer = Trace(machine, sys.stderr)
                yield machine


def _told(args: argparse.Namespace, machine: Machine, settings: Guest, result: Result) -> int:
    """The exit status, once the user knows how the run ended."""
    if args.json:
        print(json.dumps(as_dict(machine, result), indent=2))
    _tell(machine, result, settings)
    return result.status & 0xFF


def _load(args: argparse.Namespace) -> tuple[Guest, Image]:
    """The guest's settings, the command line's before the file's, and its image."""
    is_source = args.file.suffix in SOURCE_SUFFIXES
    settings = _settings(
        args, load_guest(args.file, args.include_dir) if is_source else Guest(args.file)
    )
    image = settings.image() if is_source else read_image(args.file, args.mode, args.load)
    return settings, image


def _settings(args: argparse.Namespace, settings: Guest) -> Guest:
    """An option whose name is that of a field takes the field's place where it is given."""
    names = {each.name for each in fields(Guest)}
    given = {name: value for name, value in vars(args).items() if name in names}
    settings = replace(settings, **{k: value for k, value in given.items() if value is not None})
    replaced = devices.replaced(args) | network.replaced(args)
    own = tuple(each for each in settings.devices if each not in replaced)
    return replace(settings, devices=own)


# What the options' texts mean.


def _count(text: str) -> int:
    if (count := whole_number(text)) < 1:
        raise UsageError(f"{text!r} is not a number of processors")
    return count


def _devices(text: str) -> tuple[str, ...]:
    return tuple(parse_device(name) for name in text.split(",")) if text else ()


# What is said about a run.


def _tell(machine: Machine, result: Result, settings: Guest) -> None:
    """On stderr: nothing about a run that ended well."""
    match result.outcome:
        case Outcome.DIED | Outcome.SHUTDOWN:
            print(f"pykvm: {render(machine, result)}", file=sys.stderr)
        case Outcome.TIMEOUT:
            say(f"{settings.path}: no end after {settings.timeout_s:g} s; {place(machine, result)}")
            for line in hints(machine, result):
                print(f"  {line}", file=sys.stderr)
        case Outcome.RESET:
            print(f"pykvm: {settings.path}: {result.reason}", file=sys.stderr)
            return
        case _:
            return
    for name in settings.requires:
        if not (found := probe(name, machine.backend.name)).ok:
            say(f"{settings.path} needs {name}: {found.why}")


def as_dict(machine: Machine, result: Result) -> dict[str, Any]:
    """A run as `--json` prints it."""
    vcpu = machine.vcpus[result.vcpu]
    found = culprit(vcpu, machine.memory, result.exit)
    text, encoded = _text(result.output)
    return {
        "schema": SCHEMA,
        "guest": machine.image.name if machine.image else "",
        "backend": machine.backend.name,
        "backend_why": machine.backend.why,
        "host_kind": host.Host.read().kind,
        "outcome": result.outcome.value,
        "status": result.status,
        "reason": result.reason,
        "exit": result.exit.kind,
        "vcpu": result.vcpu,
        "instruction": {"address": found.address, "text": str(found)} if found else None,
        "exits": dict(result.exits),
        "native_exits": result.native_exits,
        "wall_ns": result.wall_ns,
        "assist": {
            "entries": result.assist_entries,
            "instructions": result.assist_instructions,
        },
        "output": text,
        "output_base64": encoded,
        "output_dropped_bytes": result.output_dropped_bytes,
        "registers": RegisterFile(vcpu).as_dict(),
    }


def _text(output: bytes) -> tuple[str, str | None]:
    """Output as text, and as base64 too where the text cannot hold all of it."""
    try:
        return output.decode(), None
    except UnicodeDecodeError:
        return output.decode(errors="replace"), base64.b64encode(output).decode()
