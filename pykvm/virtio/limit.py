"""How often and how much: rates that requests are held to."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf

from pykvm.errors import UsageError

WAIT_MAX_S = 86400.0  # then whoever waits looks again


class TokenBucket:
    """Tokens that come at a steady rate, up to a burst of them.

    Whoever takes more than there are leaves a debt, and others wait until it is paid: so the
    rate holds in the long run, and what is larger than the burst gets through.

    Args:
        per_second: how many come.
        burst: how many are kept; a tenth of a second's worth otherwise, at least one.
        clock: seconds, which only go up.
    """

    def __init__(
        self,
        per_second: float,
        burst: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._burst = max(1.0, per_second / 10) if burst is None else burst
        if not 0 < per_second < inf or not 0 < self._burst < inf:
            raise UsageError(f"a rate is more than 0 a second and finite, not {per_second}")
        self._per_second = per_second
        self._clock = clock
        self._tokens = self._burst
        self._seen_s = clock()

    @property
    def wait_s(self) -> float:
        """How long until something can be taken, or is to be looked for; 0 where that is now."""
        now_s = self._clock()
        self._tokens = min(self._burst, self._tokens + (now_s - self._seen_s) * self._per_second)
        self._seen_s = now_s
        if self._tokens > 0:
            return 0.0
        return min(-self._tokens / self._per_second + 1e-6, WAIT_MAX_S)

    def take(self, count: float) -> None:
        """Take that many, whether they are there or not."""
        self._tokens -= count


class Limit:
    """A rate of operations and one of bytes; either may be left out.

    Args:
        operations_per_s, bytes_per_s: the rates.
        clock: seconds, which only go up.

    Raises:
        UsageError: a rate is not more than 0, or not finite.
    """

    def __init__(
        self,
        operations_per_s: float | None = None,
        bytes_per_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._operations, self._bytes = (
            None if rate is None else TokenBucket(rate, clock=clock)
            for rate in (operations_per_s, bytes_per_s)
        )

    def admit(self, size_bytes: int) -> float:
        """Let one operation through, or say how long it has to wait."""
        buckets = [(self._operations, 1), (self._bytes, size_bytes)]
        wait_s = max((bucket.wait_s for bucket, _ in buckets if bucket), default=0.0)
        if not wait_s:
            for bucket, count in buckets:
                if bucket:
                    bucket.take(count)
        return wait_s
