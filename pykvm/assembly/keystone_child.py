"""The child of keystone_process.py: a line of JSON in, a line of JSON out for each instruction.

keystone, which is under the GPL 2, is imported here and nowhere else. Nothing of pykvm is, so
that the child starts quickly.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from typing import Any

MEMORY_BYTES = 1 << 30


def main() -> None:
    """Say that all is there, then answer [bits, seconds, [instruction, ...]].

    An answer is [bytes in hexadecimal, errno, error]. An instruction that takes more than those
    seconds of processor time is the end, by SIGPROF.
    """
    engines = start()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        bits, seconds, texts = json.loads(line)
        for text in texts:
            signal.setitimer(signal.ITIMER_PROF, seconds)
            answer = encode(engines[bits], text)
            signal.setitimer(signal.ITIMER_PROF, 0)
            print(json.dumps(answer), flush=True)


def start() -> dict[int, Any]:
    """An engine for each size of code, with no more memory than one could need."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGPROF])
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = MEMORY_BYTES if most == resource.RLIM_INFINITY else min(MEMORY_BYTES, most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import keystone

    modes = {16: keystone.KS_MODE_16, 32: keystone.KS_MODE_32, 64: keystone.KS_MODE_64}
    return {bits: keystone.Ks(keystone.KS_ARCH_X86, mode) for bits, mode in modes.items()}


def encode(engine: Any, text: str) -> tuple[str, int, str]:
    """One instruction's bytes, or what keystone says of it."""
    import keystone

    try:
        code, _ = engine.asm(text, 0, as_bytes=True)
    except keystone.KsError as error:
        return "", error.errno, str(error)
    return code.hex() if code else "", 0, ""


if __name__ == "__main__":
    main()
