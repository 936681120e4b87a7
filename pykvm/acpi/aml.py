"""AML: small builders, each gives the bytes of one term.

    aml.scope("\\\\_SB", aml.device("COM1", aml.name("_HID", aml.eisa_id("PNP0501"))))

Source: ACPI 6.5 §20 (encoding) and §6.4 (resource data types); sections are cited as §.
"""

from __future__ import annotations

import struct

_ZERO, _ONE, _BYTE, _WORD, _DWORD, _STRING, _QWORD = 0x00, 0x01, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E
_NAME, _SCOPE, _BUFFER, _PACKAGE = b"\x08", b"\x10", b"\x11", b"\x12"
_DEVICE = b"\x5b\x82"
_ROOT = "\\"

EDGE = 1 << 1  # of extended_interrupt's flags; without it: level
_CONSUMER = 1 << 0


def integer(value: int) -> bytes:
    """§20.2.3: the shortest form of an unsigned number below 2^64."""
    if value < 2:
        return bytes((_ONE if value else _ZERO,))
    for size_bytes, prefix in ((1, _BYTE), (2, _WORD), (4, _DWORD), (8, _QWORD)):
        if value < 1 << 8 * size_bytes:
            return bytes((prefix,)) + value.to_bytes(size_bytes, "little")
    raise ValueError(f"{value:#x} does not fit into 64 bits")


def string(text: str) -> bytes:
    """§20.2.3."""
    return bytes((_STRING,)) + text.encode("ascii") + b"\0"


def eisa_id(text: str) -> bytes:
    """§19.3.4: three letters and four hexadecimal digits, packed into 32 bits."""
    letters = 0
    for letter in text[:3]:
        letters = letters << 5 | ord(letter) - 0x40
    packed = letters.to_bytes(2, "big") + bytes.fromhex(text[3:])
    return bytes((_DWORD,)) + packed


def package(*elements: bytes) -> bytes:
    """§20.2.5.4."""
    return _PACKAGE + _sized(bytes((len(elements),)) + b"".join(elements))


def buffer(data: bytes) -> bytes:
    """§20.2.5.4."""
    return _BUFFER + _sized(integer(len(data)) + data)


def name(path: str, value: bytes) -> bytes:
    """§20.2.5.1: an object that has a value."""
    return _NAME + _path(path) + value


def scope(path: str, *terms: bytes) -> bytes:
    """§20.2.5.1: terms inside an object that there is already."""
    return _SCOPE + _sized(_path(path) + b"".join(terms))


def device(path: str, *terms: bytes) -> bytes:
    """§20.2.5.2."""
    return _DEVICE + _sized(_path(path) + b"".join(terms))


def _path(path: str) -> bytes:
    """§20.2.2: one segment of four characters, filled up with underscores."""
    root = path.startswith(_ROOT)
    return (_ROOT if root else "").encode() + path.lstrip(_ROOT).ljust(4, "_").encode("ascii")


def _sized(body: bytes) -> bytes:
    """§20.2.4: the length, itself included, in front."""
    if len(body) + 1 < 1 << 6:
        return bytes((len(body) + 1,)) + body
    for more in (1, 2, 3):
        length = len(body) + 1 + more
        if length < 1 << 4 + 8 * more:
            first = more << 6 | length & 0xF
            return bytes((first,)) + (length >> 4).to_bytes(more, "little") + body
    raise ValueError(f"{len(body)} bytes are too many for one term")


# Resources.


def resources(*descriptors: bytes) -> bytes:
    """A resource template, closed by an end tag whose checksum 0 is not checked (§6.4.2.9)."""
    return buffer(b"".join(descriptors) + b"\x79\x00")


def io_ports(base: int, count: int) -> bytes:
    """§6.4.2.5: ports that cannot be moved, of which all 16 address bits are decoded."""
    return struct.pack("<BBHHBB", 0x47, 1, base, base, 1, count)


def irq(line: int) -> bytes:
    """§6.4.2.1: an ISA interrupt, edge-triggered and active high."""
    return struct.pack("<BH", 0x22, 1 << line)


def memory32_fixed(base: int, size_bytes: int) -> bytes:
    """§6.4.3.4: a range that can be read and written."""
    return struct.pack("<BHBII", 0x86, 9, 1, base, size_bytes)


def extended_interrupt(gsi: int, flags: int = EDGE) -> bytes:
    """§6.4.3.6: one line of the I/O APIC, active high."""
    return struct.pack("<BHBBI", 0x89, 6, flags | _CONSUMER, 1, gsi)
