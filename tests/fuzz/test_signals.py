"""Signals at random times change nothing of what machines do, and leave nothing behind."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from support import ordeal

import pykvm
from pykvm.loader.image import Image, Mode

SEED = 20261130
SLICE, FULL = 200, 20_000  # machines
KINDS = (signal.SIGINT, signal.SIGALRM, signal.SIGUSR1)
LONGEST_S = 0.004  # between two signals
ALARM_S = 0.0013  # between two more, from the kernel's own timer

# mov ecx, 200; next: mov eax, ecx; out 0xe9, al; loop next; xor eax, eax; out 0xf4, al; hlt
COUNT = bytes.fromhex("b9c8000000 89c8 e6e9 e2fa 31c0 e6f4 f4")
GUEST = Image("<counts down>", Mode.LONG, 0x1_0000, ((0x1_0000, COUNT),))
EXPECTED = bytes(range(200, 0, -1))


def live(backend: str, dice: random.Random) -> None:
    """One machine; it says all it has to, once, in as many runs as SIGINT makes of it."""
    cpus = dice.choice((1, 1, 2))
    with pykvm.VM(memory="1M", backend=backend, cpus=cpus, native=dice.random() < 0.5) as vm:
        vm.load(GUEST)
        result = vm.run(timeout=60)
        while result.outcome is pykvm.Outcome.INTERRUPTED:
            result = vm.run(timeout=60)
        assert (result.outcome, result.status) == (pykvm.Outcome.EXIT, 1), result
        assert result.output == EXPECTED, result


def main(backend: str, lives: str) -> None:
    """So many machines while signals come; how many of each were heard, as JSON."""
    heard: Counter[str] = Counter()
    for kind in KINDS:
        signal.signal(kind, lambda number, frame: heard.update([signal.Signals(number).name]))
    signal.setitimer(signal.ITIMER_REAL, ALARM_S, ALARM_S)
    print("ready", flush=True)
    for number in range(int(lives)):
        live(backend, random.Random(f"{SEED} {backend} {number}"))
    for kind in KINDS:  # at its end Python would let what it handles kill it
        signal.signal(kind, signal.SIG_IGN)
    print(json.dumps(heard), flush=True)


@pytest.mark.timeout(3600)
def test_signals_at_random_times(backend: str, full: bool) -> None:
    dice = random.Random(f"{SEED} {backend}")
    lives = FULL if full else SLICE
    with subprocess.Popen(
        ordeal.command("fuzz.test_signals", backend, lives),
        env=ordeal.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        while process.poll() is None:
            time.sleep(dice.uniform(0, LONGEST_S))
            process.send_signal(dice.choice((signal.SIGINT, signal.SIGUSR1)))
        out, err = process.communicate()
    assert process.returncode == 0, err[-6000:]
    heard = json.loads(out)
    print(heard)
    assert set(heard) == {kind.name for kind in KINDS}


if __name__ == "__main__":
    main(*sys.argv[1:])
