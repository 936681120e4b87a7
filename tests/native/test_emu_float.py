"""Floating point where the differential tester once found a difference."""

from __future__ import annotations

import struct

from emulib import Machine

CODE = 0x8000
DENORMAL, ONE, SMALL, LARGE = 0x00000001, 0x3F800000, 0x0D800000, 0x71800000


def test_an_exception_before_computing_leaves_no_flag_of_a_result() -> None:
    """Intel SDM vol. 1 §11.5.3: DE unmasked in one element, an underflow in another."""
    with Machine() as machine:
        machine.write(CODE, b"\x0f\x5e\xc1")  # divps xmm0, xmm1
        machine.enter("long", CODE)
        state = machine.state()
        state.vec[0] = [*struct.unpack("<2Q", struct.pack("<4I", DENORMAL, SMALL, ONE, ONE)), 0, 0]
        state.vec[1] = [*struct.unpack("<2Q", struct.pack("<4I", ONE, LARGE, ONE, ONE)), 0, 0]
        state.mxcsr = 0x1C20  # PE is set already
        machine.set_state(state)
        assert machine.run() == "SHUTDOWN"  # there is no IDT
        assert machine.state().mxcsr == 0x1C22


def test_a_dot_product_keeps_the_flags_of_the_steps_before_an_exception() -> None:
    """Each multiplication and addition is a step of its own, as the processor has it."""
    third, infinity = 0x3EAAAAAB, 0x7F800000
    with Machine() as machine:
        machine.write(CODE, b"\x66\x0f\x3a\x40\xc1\xff")  # dpps xmm0, xmm1, 0xff
        machine.enter("long", CODE)
        state = machine.state()
        first, second = (third, infinity, ONE, infinity), (third, ONE, ONE, ONE | 1 << 31)
        state.vec[0] = [*struct.unpack("<2Q", struct.pack("<4I", *first)), 0, 0]
        state.vec[1] = [*struct.unpack("<2Q", struct.pack("<4I", *second)), 0, 0]
        state.mxcsr = 0x1F00  # IE unmasked: infinities meet in the last sum
        machine.set_state(state)
        assert machine.run() == "SHUTDOWN"  # there is no IDT
        assert machine.state().mxcsr == 0x1F21  # IE, and PE of the first product
