"""What CPUID does not offer a processor does not have: instructions, control bits, MSRs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from pykvm import VM, Outcome, assemble
from pykvm.cpumodel import MODELS, CpuidEntry
from pykvm.errors import UsageError

# An instruction, the first model that has it, and the one below that does not.
INSTRUCTIONS = {
    "popcnt": ("popcnt eax, ecx", 2),
    "sse3": ("haddps xmm0, xmm1", 2),
    "fisttp": ("fisttp word ptr [rsp - 8]", 2),
    "ssse3": ("pshufb xmm0, xmm1", 2),
    "ssse3 mmx": ("pshufb mm0, mm1", 2),
    "sse4.1": ("pmulld xmm0, xmm1", 2),
    "sse4.1 3a": ("roundsd xmm0, xmm1, 0", 2),
    "sse4.2": ("pcmpgtq xmm0, xmm1", 2),
    "crc32": ("crc32 eax, ecx", 2),
    "cx16": ("cmpxchg16b [rsp - 16]", 2),
    "lahf": ("lahf", 2),
    "movbe": ("movbe eax, [rsp - 8]", 3),
    "bmi1": ("andn eax, ecx, edx", 3),
    "bmi2": ("rorx eax, ecx, 5", 3),
    "osxsave": ("mov rax, cr4; bts rax, 18; mov cr4, rax", 3),
}
AVX = "mov rax, cr4; bts rax, 18; mov cr4, rax; mov eax, 7; xor edx, edx; xor ecx, ecx; xsetbv; "

# What neither level has, and the emulator's own processor does.
BEYOND = {
    "aes": "aesenc xmm0, xmm1",
    "pclmul": "pclmulqdq xmm0, xmm1, 0",
    "sha": "sha1msg1 xmm0, xmm1",
    "adx": "adcx eax, ecx",
    "rdrand": "rdrand eax",
    "rdseed": "rdseed eax",
    "rdtscp": "rdtscp",
    "rdpid": ".byte 0xf3, 0x0f, 0xc7, 0xf8",
    "clflushopt": "clflushopt [rsp]",
    "clwb": "clwb [rsp]",
    "stac": "stac",
    "invpcid": "xor eax, eax; mov dword ptr [rsp - 16], eax; mov eax, 2; "
    "mov qword ptr [rsp - 16], 0; mov qword ptr [rsp - 8], 0; invpcid rax, [rsp - 16]",
    "smap": "mov rax, cr4; bts rax, 21; mov cr4, rax",
    "umip": "mov rax, cr4; bts rax, 11; mov cr4, rax",
    "fsgsbase": "mov rax, cr4; bts rax, 16; mov cr4, rax",
    "pcid": "mov rax, cr4; bts rax, 17; mov cr4, rax",
    "tsc_aux": "mov ecx, 0xc0000103; rdmsr",
    "tsc_adjust": "mov ecx, 0x3b; rdmsr",
    "spec_ctrl": "mov ecx, 0x48; rdmsr",
    "arch_capabilities": "mov ecx, 0x10a; rdmsr",
}


def runs(source: str, cpu: str, entries: Iterable[CpuidEntry] = ()) -> bool:
    """Whether this gets to its HLT, rather than to a fault that nobody handles."""
    with VM(backend="emu", cpu=cpu) as vm:
        if entries:
            vm.vcpu.set_cpuid(tuple(entries))
        vm.load(assemble(source.replace("; ", "\n") + "\nhlt"))
        outcome = vm.run(20).outcome
    assert outcome in (Outcome.HALT, Outcome.SHUTDOWN)
    return outcome is Outcome.HALT


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_a_level_has_its_instructions_and_no_others(name: str) -> None:
    source, level = INSTRUCTIONS[name]
    assert runs(source, f"x86-64-v{level}")
    assert not runs(source, f"x86-64-v{level - 1}")


@pytest.mark.parametrize(
    "source", ["vaddps ymm0, ymm1, ymm2", "vpaddd ymm0, ymm1, ymm2", "vfmadd231ps ymm0, ymm1, ymm2",
               "vcvtph2ps ymm0, xmm1", "vbroadcastss ymm0, xmm1"],
)  # fmt: skip
def test_avx_begins_with_level_3(source: str) -> None:
    assert runs(AVX + source, "x86-64-v3")
    assert not runs(source, "x86-64-v2")


@pytest.mark.parametrize("name", BEYOND)
def test_levels_have_nothing_beyond(name: str) -> None:
    assert runs(BEYOND[name], "host")
    assert not runs(BEYOND[name], "x86-64-v3")


def result_of(source: str, cpu: str) -> int:
    with VM(backend="emu", cpu=cpu) as vm:
        vm.load(assemble(source))
        vm.run(20)
        return vm.registers.rax


def test_tzcnt_and_lzcnt_are_what_they_were_before() -> None:
    """F3 before BSF and BSR means nothing there. Intel SDM vol. 2, TZCNT, LZCNT."""
    zero = "mov eax, 7\nxor ecx, ecx\ntzcnt eax, ecx\nhlt"
    one = "mov ecx, 1\nlzcnt eax, ecx\nhlt"
    assert (result_of(zero, "x86-64-v3"), result_of(one, "x86-64-v3")) == (32, 31)
    assert (result_of(zero, "x86-64-v2"), result_of(one, "x86-64-v2")) == (7, 0)


def without(register: str, function: int, bit: int) -> list[CpuidEntry]:
    """Level 3 but for one bit."""
    entries = []
    for entry in MODELS["x86-64-v3"].entries(0, 1):
        if entry.function == function:
            entry = replace(entry, **{register: getattr(entry, register) & ~(1 << bit)})
        entries.append(entry)
    return entries


def test_a_table_of_ones_own_counts_as_well() -> None:
    no_avx2, no_sse2 = without("ebx", 7, 5), without("edx", 1, 26)
    assert not runs(AVX + "vpaddd ymm0, ymm1, ymm2", "x86-64-v3", no_avx2)
    assert not runs(AVX + "vbroadcastss ymm0, xmm1", "x86-64-v3", no_avx2)
    assert runs(AVX + "vpaddd xmm0, xmm1, xmm2", "x86-64-v3", no_avx2)
    assert runs(AVX + "vbroadcastss ymm0, [rsp]", "x86-64-v3", no_avx2)
    assert runs("addps xmm0, xmm1", "x86-64-v3", no_sse2)
    assert not runs("addpd xmm0, xmm1", "x86-64-v3", no_sse2)
    assert not runs(AVX, "x86-64-v3", without("ecx", 1, 28))


def test_monitor_is_there_where_cpuid_has_it() -> None:
    source = "mov eax, 0x20000; xor ecx, ecx; xor edx, edx; monitor; mwait"
    entries = without("ecx", 1, 12)
    with_monitor = [
        replace(entry, ecx=entry.ecx | 1 << 3) if entry.function == 1 else entry
        for entry in entries
    ]
    assert not runs(source, "host")
    assert not runs(source, "x86-64-v3", entries)
    assert runs(source, "x86-64-v3", with_monitor)


def test_code_is_what_it_is_on_each_processor() -> None:
    """One processor executes TZCNT where the other has BSF, out of the same bytes."""
    source = "mov eax, 7\nxor ecx, ecx\ntzcnt eax, ecx\nagain: jmp again"
    with VM(backend="emu", cpus=1) as vm:
        for entries, expected in (
            (MODELS["x86-64-v3"].entries(0, 1), 32),
            (MODELS["x86-64-v2"].entries(0, 1), 7),
            (MODELS["x86-64-v3"].entries(0, 1), 32),
        ):
            vm.vcpu.set_cpuid(entries)
            vm.load(assemble(source))
            vm.run(0.05)
            assert vm.registers.rax == expected


def test_a_machine_has_a_few_different_processors() -> None:
    with VM(backend="emu", cpus=9) as vm:
        for index, vcpu in enumerate(vm.vcpus[:7]):
            vcpu.set_cpuid(without("edx", 1, index + 2))
        with pytest.raises(UsageError, match="8 different"):
            vm.vcpus[7].set_cpuid(without("edx", 1, 15))
        vm.vcpus[0].set_cpuid(MODELS["x86-64-v2"].entries(0, 9))
        assert vm.vcpus[8].get_cpuid()


def test_amds_processors_have_syscall_in_compatibility_mode_and_no_sysenter() -> None:
    """AMD APM vol. 3, SYSCALL, SYSENTER; Intel SDM vol. 2B."""
    compat = """
        mov ecx, 0xc0000080
        rdmsr
        or eax, 1
        wrmsr
        mov ecx, 0xc0000081
        xor eax, eax
        mov edx, 0x10
        wrmsr
        mov ecx, 0xc0000083
        lea rax, [rip + target]
        xor edx, edx
        wrmsr
        push 0x08
        lea rax, [rip + narrow]
        push rax
        retfq
    narrow:
        .byte 0x0f, 0x05
        hlt
    target:
        mov eax, 77
        hlt
    """
    assert result_of(compat, "x86-64-v2,vendor=amd") == 77
    assert not runs("sysenter", "x86-64-v2,vendor=amd")
    assert result_of(compat, "x86-64-v2") != 77
