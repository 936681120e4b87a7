"""Assembly for these tests: keystone in Intel syntax."""

from __future__ import annotations

import functools

import keystone

_BITS = {16: keystone.KS_MODE_16, 32: keystone.KS_MODE_32, 64: keystone.KS_MODE_64}


@functools.cache
def assemble(text: str, at: int = 0x8000, bits: int = 64) -> bytes:
    """The bytes of a program that lies at `at`."""
    engine = keystone.Ks(keystone.KS_ARCH_X86, _BITS[bits])
    return bytes(engine.asm(text, at)[0])
