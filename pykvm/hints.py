"""What to do about a run that ended badly."""

from __future__ import annotations

from pykvm import host, layout
from pykvm.culprit import culprit
from pykvm.disasm import Instruction
from pykvm.errors import UnclaimedAccess
from pykvm.exits import FailEntry, InternalError, Shutdown, Timeout
from pykvm.loader.image import Mode
from pykvm.machine import Machine
from pykvm.paging import read_linear
from pykvm.parts import DEVICES
from pykvm.registers import CR0_PE, EFER_LMA, RFLAGS_IF, SpecialRegisters
from pykvm.result import Outcome, Result

# Vectors by name, Intel SDM vol. 3A table 6-1.
_DE, _DB, _BP, _UD, _GP, _PF = 0, 1, 3, 6, 13, 14
_VECTORS = {_DE: "#DE", _DB: "#DB", _BP: "#BP", _UD: "#UD", _GP: "#GP", _PF: "#PF"}
_BY_MNEMONIC = {
    "div": _DE, "idiv": _DE, "int1": _DB, "int3": _BP, "ud0": _UD, "ud1": _UD, "ud2": _UD,
    "(bad)": _UD,
}  # fmt: skip
_PRIVILEGED = (
    "hlt", "cli", "sti", "lgdt", "lidt", "lldt", "ltr", "lmsw", "clts", "invd", "wbinvd",
    "invlpg", "rdmsr", "wrmsr", "swapgs", "sysret", "sysexit", "in", "out", "iretq",
)  # fmt: skip


SECTOR_END, BOOT_SIGNATURE = 512, b"\x55\xaa"
STACK_WORDS = 16  # how many are looked through
INT_N = b"\xcd"


def hints(machine: Machine, result: Result) -> list[str]:
    """Advice, most useful first; empty for a run that ended well."""
    if result.outcome in (Outcome.EXIT, Outcome.HALT):
        return []
    special = machine.vcpus[result.vcpu].get_special()
    if special.cr0 & CR0_PE:
        return _boot_sector(machine) + _by_exit(machine, result)
    return _bios_call(machine, result, special) or _by_exit(machine, result)


def _by_exit(machine: Machine, result: Result) -> list[str]:
    found = culprit(machine.vcpus[result.vcpu], machine.memory, result.exit)
    if isinstance(result.error, UnclaimedAccess):
        return _unclaimed(machine, result.error)
    match result.exit:
        case Shutdown():
            return _triple_fault(machine, result, found)
        case InternalError(InternalError.EMULATION):
            return _not_emulated(machine, result, found)
        case InternalError():
            return ["this is KVM's own trouble: look at the end of `dmesg`"]
        case FailEntry():
            return [
                "the processor found the guest's state inconsistent: compare segments, cr0, cr4 "
                "and efer above with the mode that the guest should be in"
            ]
        case Timeout():
            return _timeout(machine, result, found)
    return []


# What was written for a PC's BIOS.


def _boot_sector(machine: Machine) -> list[str]:
    image = machine.image
    if image is None or image.mode is Mode.REAL or len(image.pieces) != 1:
        return []
    if image.pieces[0][1][SECTOR_END - 2 : SECTOR_END] != BOOT_SIGNATURE:
        return []
    return [f"this looks like a boot sector (55 AA at byte {SECTOR_END - 2}): --mode real"]


def _bios_call(machine: Machine, result: Result, special: SpecialRegisters) -> list[str]:
    """Whether the stack leads back to an INT whose vector nobody has set."""
    registers = machine.vcpus[result.vcpu].get_registers()

    def read(base: int, offset: int, size_bytes: int) -> bytes:
        return read_linear(machine.memory, special, base + (offset & 0xFFFF), size_bytes)

    for word in range(STACK_WORDS):
        frame = read(special.ss.base, registers.rsp + 2 * word, 4)
        ip, cs = int.from_bytes(frame[:2], "little"), int.from_bytes(frame[2:], "little")
        code = read(cs << 4, ip - 2, 2)
        if code[:1] == INT_N and read(special.idt.base, 4 * code[1], 4) == bytes(4):
            return [
                f"the guest called INT {code[1]:x}h at {cs:#x}:{ip - 2 & 0xFFFF:#x}; there is no "
                "BIOS, and it has set no vector of its own"
            ]
    return []


def _unclaimed(machine: Machine, error: UnclaimedAccess) -> list[str]:
    bus = machine.ports if error.space == "port" else machine.mmio
    claims = [f"{claim.name} {claim.base:#x}..{claim.end - 1:#x}" for claim in bus.claims]
    lines = [f"at {error.space} addresses there are: {', '.join(claims) or 'no devices'}"]
    wired = {claim.name for claim in (*machine.ports.claims, *machine.mmio.claims)}
    if missing := [name for name in DEVICES if name not in wired]:
        lines.append(f"not in this machine: {', '.join(missing)}")
    if error.space == "port" and error.address in layout.CHIP_PORTS:
        lines.append(f"{layout.CHIP_PORTS[error.address]} brings what a PC has at this port")
    if error.space == "mmio" and error.address < layout.RAM_HOLE_BASE:
        lines.append(f"RAM ends at {machine.memory.regions[0].end:#x}; --memory gives more")
    lines.append("--float (float_unclaimed=True) lets such reads give all ones, as on a PC")
    return lines


def _not_emulated(machine: Machine, result: Result, found: Instruction | None) -> list[str]:
    special = machine.vcpus[result.vcpu].get_special()
    if found is not None and found.mnemonic == "(bad)":
        return ["these bytes are no instruction: is the mode right, has the guest run into data?"]
    name = f"`{found}`" if found else "an instruction that is not mapped"
    if host.emulates_cpl0() and special.ss.dpl == 0:
        if getattr(machine.backend, "assist", False):
            return [f"neither KVM nor pykvm's emulator can do {name}: they have no AVX-512"]
        return [
            f"this host has neither VT-x nor AMD-V: KVM runs code at CPL 0 in its instruction "
            f"emulator, which cannot do {name}",
            "pykvm's own emulator can: it takes over there with --backend auto, unless --no-assist "
            "is given (assist=True in Python)",
            "at CPL 3 (mode user) it runs on the processor; on hardware it runs everywhere; "
            "`pykvm doctor` says what this host can do",
        ]
    return [
        f"KVM had to emulate {name} and cannot: it does so for accesses to addresses without "
        "memory and where the processor cannot run the mode; use a plain MOV for device memory"
    ]


def _timeout(machine: Machine, result: Result, found: Instruction | None) -> list[str]:
    registers = machine.vcpus[result.vcpu].get_registers()
    lines = ["a longer --timeout, if it was still at work"]
    if found is not None and found.mnemonic == "hlt":
        state = "set" if registers.rflags & RFLAGS_IF else "clear: no interrupt can wake it"
        lines.insert(0, f"it waits in HLT for an interrupt; IF is {state}")
    if found is not None and found.mnemonic in ("vmcall", "vmmcall"):
        lines.insert(
            0,
            f"{found.mnemonic} at CPL 0 never returns from KVM on some hosts; "
            "--backend auto goes on in pykvm's emulator there",
        )
    return lines


# Triple faults.


def _triple_fault(machine: Machine, result: Result, found: Instruction | None) -> list[str]:
    """Which exception it may have been, and why the guest could not take it."""
    special = machine.vcpus[result.vcpu].get_special()
    lines = []
    vector = _likely_vector(special, found)
    if vector is not None:
        name = _VECTORS.get(vector, f"vector {vector}")
        about = f" at {special.cr2:#x}" if vector == _PF else ""
        lines.append(f"the first exception was {name}{about}, by the look of the instruction")
    lines.append(_idt_state(machine, special, vector))
    if found is not None and found.mnemonic == "int" and special.ss.dpl == 3:
        lines.append("INT n from CPL 3 does not reach the IDT on every host; see `pykvm doctor`")
    return lines


def _likely_vector(special: SpecialRegisters, found: Instruction | None) -> int | None:
    if found is None or special.cr2:
        return _PF
    if found.mnemonic == "int":
        return int(found.operands, 0)
    if found.mnemonic in _PRIVILEGED and special.ss.dpl == 3:
        return _GP
    return _BY_MNEMONIC.get(found.mnemonic)


def _idt_state(machine: Machine, special: SpecialRegisters, vector: int | None) -> str:
    if special.idt.limit == 0:
        return (
            "no IDT is loaded (its limit is 0), so any exception is the end: "
            "build one and load it with LIDT"
        )
    where = f"the IDT at {special.idt.base:#x}"
    if vector is None:
        return f"{where} has no usable gate for the exception, for #DF, or no usable stack"
    gate_bytes = 16 if special.efer & EFER_LMA else 8 if special.bits == 32 else 4
    start = vector * gate_bytes
    gate = read_linear(machine.memory, special, special.idt.base + start, gate_bytes)
    if start + gate_bytes - 1 > special.idt.limit:
        return f"{where} ends before vector {vector}"
    if len(gate) < gate_bytes:
        return f"{where} is not mapped"
    if gate_bytes > 4 and not gate[5] & 0x80:  # P, Intel SDM vol. 3A §6.11
        return f"{where} has no gate for vector {vector}"
    return f"{where} has a gate for vector {vector}: look at its selector and at the stack"
