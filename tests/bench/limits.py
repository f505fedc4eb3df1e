"""How many files this process may have open, and how many connections that allows."""

import resource

RESERVED_FILES = 256  # everything that is no load connection


def raise_open_files() -> int:
    """Raise the soft limit as far as it goes, for us and the brokers started after; the connections it allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted - RESERVED_FILES
