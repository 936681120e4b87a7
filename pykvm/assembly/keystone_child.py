"""The child of keystone_process.py: a line of JSON in, a line of JSON out.

keystone, which is under the GPL 2, is imported here and nowhere else. Nothing of pykvm is, so
that the child starts quickly.
"""

from __future__ import annotations

import json
import resource
import sys
from typing import Any

import keystone

MEMORY_BYTES = 1 << 30


def main() -> None:
    """Answer [bits, [instruction, ...]] with [[bytes in hexadecimal, errno, error], ...]."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    modes = {16: keystone.KS_MODE_16, 32: keystone.KS_MODE_32, 64: keystone.KS_MODE_64}
    engines = {bits: keystone.Ks(keystone.KS_ARCH_X86, mode) for bits, mode in modes.items()}
    for line in sys.stdin:
        bits, texts = json.loads(line)
        print(json.dumps([encode(engines[bits], text) for text in texts]), flush=True)


def encode(engine: Any, text: str) -> tuple[str, int, str]:
    """One instruction's bytes, or what keystone says of it."""
    try:
        code, _ = engine.asm(text, 0, as_bytes=True)
    except keystone.KsError as error:
        return "", error.errno, str(error)
    return code.hex() if code else "", 0, ""


if __name__ == "__main__":
    main()
