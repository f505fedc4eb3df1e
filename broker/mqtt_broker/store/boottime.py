"""The clock of leases and of the store's time: it goes on while the machine sleeps, where the system has such a one."""

import time


def boottime() -> float:
    """Seconds since some moment, never going back."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
