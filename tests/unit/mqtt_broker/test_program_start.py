"""A node can be told to stop before it has begun."""

import signal
import subprocess
import sys

from mqtt_broker.__main__ import stop_while_starting
from support.processes import environment

_ASK = "import mqtt_broker.__main__, sys; print(*(name for name in sys.modules if name in ('asyncio', 'msgspec')))"


def run(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False)


def test_nothing_that_takes_long_is_read_before_signals_are_heard() -> None:
    done = run(_ASK)
    assert (done.returncode, done.stdout.strip()) == (0, "")


def test_a_signal_while_it_starts_ends_it_in_order() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        begin = f"from {stop_while_starting.__module__} import stop_while_starting; stop_while_starting()"
        assert run(f"{begin}; import os; os.kill(os.getpid(), {int(number)})").returncode == 0
