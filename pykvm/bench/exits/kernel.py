"""Exits that the processor or the kernel handles; user space sees nothing of them."""

from __future__ import annotations

from pykvm.bench.exits.loop import Loop
from pykvm.bench.exits.row import guest_row

_PLAIN = {
    "CPUID": ("mov eax, 1\n    cpuid", "VMX 10, SVM 72h"),
    "VMCALL": ("mov eax, 1000\n    vmcall", "VMX 18"),
    "VMMCALL": ("mov eax, 1000\n    vmmcall", "SVM 81h"),
    "RDMSR": ("mov ecx, 0x1b\n    rdmsr", "VMX 31, SVM 7ch"),
    "MOV to CR0": ("mov rax, cr0\n    mov cr0, rax", "VMX 28, SVM 10h"),
    "MOV to CR3": ("mov rax, cr3\n    mov cr3, rax", "VMX 28, SVM 13h"),
    "MOV to CR4": ("mov rax, cr4\n    mov cr4, rax", "VMX 28, SVM 14h"),
    "MOV to CR8": ("xor eax, eax\n    mov cr8, rax", "VMX 28, SVM 18h"),
    "INVLPG": ("invlpg [rsp]", "VMX 14, SVM 79h"),
    "MOV to DR7": ("mov eax, 0x400\n    mov dr7, rax", "VMX 29, SVM 37h"),
    "WBINVD": ("wbinvd", "VMX 54, SVM 89h"),
    "PAUSE": ("pause", "VMX 40, SVM 77h"),
}

ROWS = tuple(
    guest_row(name, "kernel", Loop(operation), "KVM_RUN", reason)
    for name, (operation, reason) in _PLAIN.items()
)
