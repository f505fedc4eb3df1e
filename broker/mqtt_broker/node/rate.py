"""A token bucket: how long a sender must pause. Pure: `now` comes in, nothing sleeps here."""


class TokenBucket:
    """Allows `per_second` units on average and `burst` at once; None = one second's worth."""

    __slots__ = ("_burst", "_filled_at", "_level", "_per_second")

    def __init__(self, per_second: int, now: float, burst: int | None = None) -> None:
        self._per_second = per_second
        self._burst = burst or per_second
        self._level = float(self._burst)
        self._filled_at = now

    def take(self, amount: int, now: float) -> float:
        """Spend `amount`; returns the seconds to pause until the bucket is out of debt (0.0: go on).

        The amount is always spent: what was received cannot be unread, the debt is paid by waiting.
        """
        self._level = min(self._burst, self._level + (now - self._filled_at) * self._per_second)
        self._filled_at = now
        self._level -= amount
        return 0.0 if self._level >= 0 else -self._level / self._per_second
