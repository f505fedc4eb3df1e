"""Threads that hash: as many as there are cores for us, and never more than a few.

Knows threads; does not know what is hashed. Hashing lets go of the interpreter's lock.
"""

import os
from concurrent.futures import ThreadPoolExecutor

THREADS_MAX = 4  # each takes 19 MiB while it hashes (argon2id.MEMORY_KIB)


def hashing_threads() -> ThreadPoolExecutor:
    """To be shut down by the caller; idle threads cost nothing."""
    return ThreadPoolExecutor(max_workers=min(THREADS_MAX, _cores()), thread_name_prefix="hash")


def _cores() -> int:
    """Those that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
