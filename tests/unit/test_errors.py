"""Errors are values: they pickle, come back equal, and so do results that hold them."""

from __future__ import annotations

import importlib
import multiprocessing
import pickle
import pkgutil
from collections.abc import Iterator

import pytest

import pykvm
from pykvm import errors
from pykvm.bench.document import DocumentError
from pykvm.errors import PykvmError
from pykvm.exits import PortIn

# What an error is made of, where that is more than a text.
PARTS: dict[type[PykvmError], tuple[object, ...]] = {
    errors.ClosedError: ("machine",),
    errors.KvmUnavailable: ("missing", "it is not there", "load it"),
    errors.MissingCapability: ("KVM_CAP_XSAVE2",),
    errors.CpuModelError: ("x86-64-v4", ["avx512f", "avx512bw"]),
    errors.KvmError: ("KVM_RUN", 14, "the memory is gone"),
    errors.MemoryAccessError: (0x1000, 8),
    errors.RegisterError: ("rax", "does not fit"),
    errors.UnclaimedAccess: ("port", 0x60, 1, None),
    errors.LoadError: ("hi.S", "is empty"),
    errors.AssemblyError: ("hi.S", 3, "  mov al", "too few operands"),
    DocumentError: ("hi.json", "is no result"),
    errors.HeaderError: ("hi.S", "memory", "is not a size"),
}
DIES = pykvm.parse_image(b"\xe4\x60\xf4", "long", name="<in al, 0x60>")


def kinds(base: type[PykvmError] = PykvmError) -> Iterator[type[PykvmError]]:
    yield base
    for each in base.__subclasses__():
        yield from kinds(each)


def all_kinds() -> list[type[PykvmError]]:
    for module in pkgutil.walk_packages(pykvm.__path__, "pykvm."):
        if not module.name.startswith(("pykvm.bench", "pykvm._", "pykvm.__")):
            importlib.import_module(module.name)
    return sorted(set(kinds()), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", all_kinds(), ids=lambda kind: kind.__name__)
def test_an_error_comes_back_equal(kind: type[PykvmError]) -> None:
    error = kind(*PARTS.get(kind, ("a text",)))
    again = pickle.loads(pickle.dumps(error))
    assert again == error
    assert (type(again), str(again), hash(again)) == (kind, str(error), hash(error))
    assert vars(again) == vars(error)
    assert again != PykvmError(str(error) + " and more")


def test_what_was_found_out_later_comes_back_too() -> None:
    error = errors.UnclaimedAccess("mmio", 0xD0000000, 4, 7)
    error.locate(0x10000, "mov dword ptr [rax], ecx")
    error.add_note("while the clock was read")
    again = pickle.loads(pickle.dumps(error))
    assert again == error
    assert (again.rip, again.__notes__) == (0x10000, ["while the clock was read"])
    assert pickle.loads(pickle.dumps(errors.RegisterError("rax", "is odd"))).name == "rax"


def die(backend: str) -> pykvm.Result:
    with pykvm.VM(memory="1M", backend=backend) as vm:
        vm.load(DIES)
        return vm.run(timeout=60)


def misuse(_: int) -> None:
    with pykvm.VM(memory="1M", backend="emu") as vm:
        vm.memory.read(0x100000, 1)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_results_and_errors_come_back_from_a_pool(method: str, backend: str) -> None:
    with multiprocessing.get_context(method).Pool(1) as pool:
        result = pool.map_async(die, [backend]).get(120)[0]
        with pytest.raises(errors.MemoryAccessError) as caught:
            pool.map_async(misuse, [0]).get(120)
    assert result.outcome is pykvm.Outcome.DIED
    assert result.exit == PortIn(0x60, 1)
    assert result.error == die(backend).error
    assert caught.value.gpa == 0x100000
