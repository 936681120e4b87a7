"""A guest's source file and the block at its head that says how to run it.

    # /// pykvm
    # mode = "long"
    # timeout = "5s"
    #
    # [expect]
    # output = "Hello\\n"
    # ///

The block is TOML, each line behind `# `, in the manner of Python's inline script metadata
(PEP 723); docs/guests.md lists the keys. A file without one gets the defaults.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pykvm import exits
from pykvm.asm import Program, assemble
from pykvm.assembly.source import read_source
from pykvm.errors import HeaderError, UsageError
from pykvm.loader.image import Mode
from pykvm.machine import MAX_TIMEOUT_S, Machine
from pykvm.memory import parse_size
from pykvm.parts import ALL_DEVICES, DEVICES
from pykvm.result import Outcome
from pykvm.text import excerpt

IRQCHIPS = ("none", "full", "split")
EXITS = tuple(
    sorted(name for name, value in vars(exits).items() if isinstance(value, type)
           and issubclass(value, exits.Exit) and value is not exits.Exit)
)  # fmt: skip

MAX_BLOCK_SIZE = 8 << 10  # characters; reading TOML takes the square of some
_INT64 = range(-1 << 63, 1 << 63)  # TOML's own whole numbers
_OPEN, _CLOSE = "# /// pykvm", "# ///"
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "m": 60.0}


@dataclass(frozen=True)
class Expect:
    """What a guest's run should come to; None where it does not say.

    Attributes:
        output: all that it prints.
        outcome: how it ends.
        exit_code: its exit status.
        exits: how often each kind of exit comes, by its name; kinds not named do not matter.
        input: what its port is fed for that.
    """

    output: str | None = None
    outcome: Outcome | None = None
    exit_code: int | None = None
    exits: Mapping[str, int] | None = None
    input: str | None = None


@dataclass(frozen=True)
class Guest:
    """A guest in source form.

    Attributes:
        path: the file, or a name in angle brackets for a text at hand.
        summary: the first paragraph of comment behind the block.
        mode: how it is entered.
        load: guest-physical address of its first byte; None for the mode's own.
        memory: RAM in bytes.
        timeout_s: how long it may run, in seconds; None for ever.
        cpus, cpu, devices, irqchip, pit, append, float_unclaimed, exit_port: see `Machine`.
        requires: features of the host that it needs, by the names that `pykvm doctor` uses.
        expect: what its run should come to.
        source: the whole text.
        include_dirs: folders beside its own below which the files may lie that it includes.
    """

    path: Path
    summary: str = ""
    mode: Mode = Mode.LONG
    load: int | None = None
    memory: int = 16 << 20
    timeout_s: float | None = 10.0
    cpus: int = 1
    cpu: str = "host"
    devices: tuple[str, ...] = DEVICES
    irqchip: str = "none"
    pit: bool = False
    append: str = ""
    float_unclaimed: bool = False
    requires: tuple[str, ...] = ()
    expect: Expect = field(default_factory=Expect)
    source: str = field(default="", repr=False, compare=False)
    exit_port: int | None = None
    include_dirs: tuple[Path, ...] = ()

    def image(self) -> Program:
        """Assemble it.

        Raises:
            AssemblyError: it does not assemble.
        """
        return assemble(
            self.source,
            mode=self.mode,
            origin=self.load,
            name=str(self.path),
            include_dir=(self.path.parent, *self.include_dirs),
        )

    def options(self) -> dict[str, Any]:
        """The arguments of `Machine` that the block gives."""
        names = (
            "memory", "cpus", "cpu", "devices", "irqchip", "pit", "append", "float_unclaimed",
            "exit_port",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def machine(self, **overrides: Any) -> Machine:
        """A machine as the block asks for, with the guest loaded.

        Args:
            overrides: arguments of `Machine` that take the place of the block's.

        Raises:
            AssemblyError: it does not assemble; and whatever `Machine` raises.
        """
        image = self.image()
        machine = Machine(**self.options() | overrides)
        try:
            machine.load(image)
            if self.expect.input is not None:
                machine.feed(self.expect.input.encode())
        except BaseException:
            machine.close()
            raise
        return machine


def load_guest(path: Path | str, include_dirs: Sequence[Path | str] = ()) -> Guest:
    """Read a `.S` file's head.

    Args:
        include_dirs: folders beside its own below which the files may lie that it includes.

    Raises:
        LoadError: the file cannot be read.
        HeaderError: the block has an unknown key, or a value that cannot be.
    """
    path = Path(path)
    guest = parse_guest(read_source(path), path)
    return replace(guest, include_dirs=tuple(map(Path, include_dirs)))


def parse_guest(source: str, path: Path = Path("<source>")) -> Guest:
    """The same for a text at hand."""
    lines = source.splitlines()
    start, end = _find_block(lines, path)
    values = _parse_toml(lines[start:end], start, path)
    fields = _convert(values, _KEYS, "", path)
    return Guest(path, _summary(lines[end + 1 if end else 0 :]), **fields, source=source)


def parse_seconds(value: object) -> float:
    """Seconds from a number, or from text such as "5s", "500ms", "2m".

    Raises:
        UsageError: not a time.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|ms|us|m)?", str(value).strip(), re.ASCII)
    seconds = float(match[1]) * _SECONDS[match[2] or "s"] if match else 0.0
    if not 0 < seconds < MAX_TIMEOUT_S:
        raise UsageError(f'{excerpt(value)} is not a time; write "10s" or "500ms"')
    return seconds


# The block.


def _find_block(lines: list[str], path: Path) -> tuple[int, int]:
    """First and last-plus-one line of the block's content; (0, 0) where there is none."""
    comments = itertools.takewhile(lambda line: line.startswith("#") or not line.strip(), lines)
    opening = [number for number, line in enumerate(comments) if line.rstrip() == _OPEN]
    if not opening:
        return 0, 0
    start = opening[0]
    for end in range(start + 1, len(lines)):
        if lines[end].rstrip() == _CLOSE:
            return start + 1, end
        if not re.match(r"#( |$)", lines[end]):
            raise HeaderError(
                str(path), "", f"line {end + 1}: a line of the block starts with '# '"
            )
    raise HeaderError(str(path), "", f"line {start + 1}: the block never ends; close it with # ///")


def _parse_toml(lines: list[str], start: int, path: Path) -> dict[str, object]:
    """The block's values; blank lines in front make errors show the file's line numbers."""
    text = "".join(f"{line[2:]}\n" for line in lines)
    if len(text) > MAX_BLOCK_SIZE:
        raise HeaderError(
            str(path), "", f"the pykvm block is {MAX_BLOCK_SIZE >> 10} KiB long at most"
        )
    try:
        values = tomllib.loads("\n" * start + text)
        _check_numbers(values)
    except RecursionError:
        raise HeaderError(str(path), "", "not TOML that a guest needs: too deep") from None
    except tomllib.TOMLDecodeError as error:
        raise HeaderError(str(path), "", f"not TOML: {error}") from None
    except ValueError:  # Python reads no number of so many digits
        raise HeaderError(str(path), "", "not TOML: a whole number has 64 bits at most") from None
    return values


def _check_numbers(value: object) -> None:
    """Raise ValueError for a number that has no place in TOML."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            _check_numbers(each)
    elif isinstance(value, int) and value not in _INT64:
        raise ValueError


def _summary(lines: list[str]) -> str:
    words: list[str] = []
    for line in lines:
        text = line.strip()
        if text.startswith("#") and text.strip("# "):
            words.append(text.strip("# "))
        elif words or (text and not text.startswith("#")):
            break
    return " ".join(words)


# The keys: attribute of Guest or Expect, and what makes its value.

Converter = Callable[[Any], object]


def _is(kind: type, what: str) -> Converter:
    def convert(value: object) -> object:
        if type(value) is not kind:
            raise UsageError(f"{excerpt(value)} is not {what}")
        return value

    return convert


def _number(least: int) -> Converter:
    def convert(value: object) -> object:
        if type(value) is not int or value < least:
            raise UsageError(f"{excerpt(value)} is not a whole number of at least {least}")
        return value

    return convert


def _one_of(choices: tuple[str, ...]) -> Converter:
    def convert(value: object) -> object:
        if value not in choices:
            raise UsageError(f"there is no {excerpt(value)}; choose from {', '.join(choices)}")
        return value

    return convert


def _names(check: Converter) -> Converter:
    def convert(value: object) -> object:
        if not isinstance(value, list):
            raise UsageError(f'{excerpt(value)} is not a list such as ["name", "name"]')
        return tuple(check(each) for each in value)

    return convert


def _outcome(value: object) -> Outcome:
    _one_of(tuple(each.value for each in Outcome))(value)
    return Outcome(value)


def _exits(value: object) -> Mapping[str, int]:
    if not isinstance(value, dict):
        raise UsageError(f"{excerpt(value)} is not a table such as {{ PortOut = 3, Halt = 1 }}")
    for name, count in value.items():
        _one_of(EXITS)(name)
        _number(0)(count)
    return value


def parse_device(name: object) -> str:
    """The name of one of a machine's devices.

    Raises:
        UsageError: there is none of that name.
    """
    return str(_one_of(ALL_DEVICES)(name))


_TEXT, _FLAG = _is(str, 'a text in "quotes"'), _is(bool, "true or false")
_EXPECT_KEYS: Mapping[str, tuple[str, Converter]] = {
    "input": ("input", _TEXT),
    "output": ("output", _TEXT),
    "outcome": ("outcome", _outcome),
    "exit_code": ("exit_code", _number(0)),
    "exits": ("exits", _exits),
}
_KEYS: Mapping[str, tuple[str, Converter]] = {
    "mode": ("mode", Mode.parse),
    "load": ("load", _number(0)),
    "memory": ("memory", parse_size),
    "timeout": ("timeout_s", parse_seconds),
    "cpus": ("cpus", _number(1)),
    "cpu": ("cpu", _TEXT),
    "devices": ("devices", _names(parse_device)),
    "irqchip": ("irqchip", _one_of(IRQCHIPS)),
    "pit": ("pit", _FLAG),
    "append": ("append", _TEXT),
    "float": ("float_unclaimed", _FLAG),
    "exit_port": ("exit_port", _number(0)),
    "requires": ("requires", _names(_TEXT)),
    "expect": ("expect", _is(dict, "a table; write [expect]")),
}


def _convert(
    values: Mapping[str, object],
    keys: Mapping[str, tuple[str, Converter]],
    prefix: str,
    path: Path,
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in values.items():
        if key not in keys:
            raise HeaderError(
                str(path), prefix + key, f"no such key; there are {', '.join(sorted(keys))}"
            )
        attribute, convert = keys[key]
        try:
            result[attribute] = convert(value)
        except UsageError as error:
            raise HeaderError(str(path), prefix + key, str(error)) from None
    if isinstance(result.get("expect"), dict):
        result["expect"] = Expect(**_convert(result["expect"], _EXPECT_KEYS, "expect.", path))
    return result
