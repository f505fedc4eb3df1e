"""The clock that leases are measured by: it goes on while the machine sleeps, where the system has such a clock."""

import time


def boottime() -> float:
    """Seconds since some moment, never going back."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
