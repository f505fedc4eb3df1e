"""The command line of a program that must not outlive us.

Knows how guard.py is called; guard.py itself is a program, and imports nothing of ours.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from mqtt_operator.local.guard import STARTED_EVENT

__all__ = ["STARTED_EVENT", "guarded"]


def guarded(lock: Path, command: Sequence[str]) -> list[str]:
    """This command, ended when our end of its standard input closes; it holds the file `lock` while it lives."""
    return [sys.executable, "-P", "-m", "mqtt_operator.local.guard", str(lock), *command]
