"""Exits that the processor or the kernel handles; user space sees nothing of them."""

from __future__ import annotations

from pykvm.backend import exitkeys
from pykvm.bench.exits.guest import GuestSampler
from pykvm.bench.exits.loop import Loop
from pykvm.bench.exits.passing import natively
from pykvm.bench.exits.row import Row, guest_row
from pykvm.bench.sampler import Samples

MSR_APIC_BASE = 0x1B
_CR0_AM, _CR4_MCE, _CR4_OSXSAVE = 1 << 18, 1 << 6, 1 << 18
_UNKNOWN_CALL = 1000
_PAUSES = 100
_AMD = {b"AuthenticAMD", b"HygonGenuine"}

# Operation; what is in front of it; exit reasons; what it is.
_PLAIN = {
    "CPUID": (
        "cpuid", "mov eax, 1", "VMX 10 CPUID, SVM 72h CPUID",
        "CPUID leaf 1, from KVM's table",
    ),
    "RDMSR": (
        "rdmsr", f"mov ecx, {MSR_APIC_BASE:#x}", "VMX 31 RDMSR, SVM 7ch MSR",
        "RDMSR of IA32_APIC_BASE, which KVM keeps",
    ),
    "WRMSR": (
        "wrmsr", f"mov ecx, {MSR_APIC_BASE:#x}\n    mov eax, 0xfee00900\n    xor edx, edx",
        "VMX 32 WRMSR, SVM 7ch MSR", "WRMSR of the same value to IA32_APIC_BASE",
    ),
    "MOV to CR0": (
        "mov cr0, rax", f"xor r8, {_CR0_AM:#x}\n    mov rax, r8",
        "VMX 28 control-register accesses, SVM 10h CR0 write",
        "flips CR0.AM, which KVM does not leave to the guest",
    ),
    "MOV to CR3": (
        "mov cr3, rax", "mov rax, r9", "VMX 28 control-register accesses, SVM 13h CR3 write",
        "the value that CR3 has: flushes the TLB; no exit with EPT or NPT",
    ),
    "MOV to CR4": (
        "mov cr4, rax", f"xor r10, {_CR4_MCE:#x}\n    mov rax, r10",
        "VMX 28 control-register accesses, SVM 14h CR4 write",
        "flips CR4.MCE, which KVM does not leave to the guest",
    ),
    "MOV to CR8": (
        "mov cr8, rax", "xor eax, eax", "VMX 28 control-register accesses, SVM 18h CR8 write",
        "the task priority; no exit where the processor keeps it",
    ),
    "INVLPG": (
        "invlpg [rsp]", "", "VMX 14 INVLPG, SVM 79h INVLPG",
        "the stack's page; no exit with EPT or NPT",
    ),
    "MOV to DR7": (
        "mov dr7, rax", "mov eax, 0x400", "VMX 29 MOV DR, SVM 37h DR7 write",
        "no breakpoint; the first one exits, then KVM may leave the registers to the guest",
    ),
    "WBINVD": (
        "wbinvd", "", "VMX 54 WBINVD, SVM 89h WBINVD",
        "KVM executes it only where a device reads memory past the caches",
    ),
}  # fmt: skip
_KEEP_CONTROL = "mov r8, cr0\n    mov r9, cr3\n    mov r10, cr4"
_CR = ("MOV to CR0", "MOV to CR3", "MOV to CR4")

_XSETBV = Loop(
    "xsetbv",
    "xor ecx, ecx\n    mov eax, 3\n    xor edx, edx",
    setup=f"mov rax, cr4\n    or rax, {_CR4_OSXSAVE}\n    mov cr4, rax",
)
_PAUSE = Loop(
    "1:  pause\n    dec ecx\n    jnz 1b", f"mov ecx, {_PAUSES}", turns=_PAUSES, repeats=False
)

# The chips of a PC in the kernel.
_CHIPS = (("irqchip", "full"), ("pit", True))
_IO = "VMX 30 I/O instruction, SVM 7bh IOIO"
_PORTS = {
    "port in 1 B, PIC": ("in al, 0x21", "", "the mask of the first 8259"),
    "port out 1 B, PIC": ("out 0x21, al", "mov al, 0xff", "the same mask, all lines closed"),
    "port in 1 B, PIT": ("in al, 0x40", "", "counter 0 of the 8254"),
}


def _hypercall(sampler: GuestSampler) -> Samples:
    """VMCALL or VMMCALL, as the vendor of the guest's processor wants."""
    with sampler.machine(Loop()) as machine:
        leaf = next(each for each in machine.vcpu.get_cpuid() if each.function == 0)
    vendor = b"".join(each.to_bytes(4, "little") for each in (leaf.ebx, leaf.edx, leaf.ecx))
    operation = "vmmcall" if vendor in _AMD else "vmcall"
    given = f"mov eax, {_UNKNOWN_CALL}"
    return sampler.guest(Loop(operation, given, serve=natively(exitkeys.HYPERCALL)))


ROWS = (
    *(
        guest_row(
            name, "kernel", Loop(operation, given, setup=_KEEP_CONTROL if name in _CR else ""),
            "RDTSC pair", reason, text,
        )
        for name, (operation, given, reason, text) in _PLAIN.items()
    ),
    Row(
        "hypercall", "kernel", _hypercall, "RDTSC pair", "VMX 18 VMCALL, SVM 81h VMMCALL",
        "VMCALL or VMMCALL as the vendor wants, of a number that nobody knows",
    ),
    guest_row(
        "XSETBV", "kernel", _XSETBV, "RDTSC pair", "VMX 55 XSETBV, SVM 8dh XSETBV",
        "x87 and SSE state into XCR0",
    ),
    guest_row(
        "PAUSE loop, a turn", "kernel", _PAUSE, "RDTSC pair", "VMX 40 PAUSE, SVM 77h PAUSE",
        f"PAUSE, DEC, JNZ, {_PAUSES} times; exits only where it counts as spinning",
    ),
    *(
        guest_row(
            name, "kernel", Loop(operation, given, machine=_CHIPS), "RDTSC pair", _IO,
            f"{text}, a chip in the kernel",
        )
        for name, (operation, given, text) in _PORTS.items()
    ),
)  # fmt: skip
