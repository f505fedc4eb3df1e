"""The operator as a process of its own, for tests that look at it from outside."""

import json
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from support.processes import ROOT, Program, environment, free_port
from support.waiting import wait_until

START_S_MAX = 150.0  # on whatever machine this is
STAND_IN = "support.operator_stand_in"


class Told(NamedTuple):
    """One pass of a story without a plot: see operator_stand_in."""

    story: str
    broker: str
    clients: list[str]
    permissions: list[str]
    deleting: bool
    there: bool
    mistakes: list[str]


class Operator:
    """`program` is the process; `port` where its probes are."""

    def __init__(self, program: Program, port: int) -> None:
        self.program = program
        self.port = port

    def get(self, path: str) -> tuple[int, str]:
        """Code and text of an answer; code 0 while nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def wait_ready(self, deadline_s: float = START_S_MAX) -> None:
        wait_until(lambda: self.get("/readyz")[0] == 200, deadline_s, f"ready; it wrote:\n{self.program.dump()}")

    def wait_leading(self, deadline_s: float = START_S_MAX) -> None:
        wait_until(lambda: self.metric("stoa_operator_leader") == 1, deadline_s, f"leads; {self.program.dump()}")

    def metric(self, name: str) -> float:
        """The sample with exactly this name and these labels; 0 if there is none."""
        lines = self.get("/metrics")[1].splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")), 0.0)

    def told(self) -> list[Told]:
        """Every pass of the stand-in so far."""
        return [Told(**json.loads(line)) for line in self.program.out if line.startswith("{")]

    def events(self) -> list[Mapping[str, Any]]:
        """Every log line so far."""
        return [json.loads(line) for line in self.program.err if line.startswith("{")]


@contextmanager
def operator(
    kubeconfig: Path, namespace: str, *arguments: str, module: str = STAND_IN, name: str = "operator-0", **env: str
) -> Iterator[Operator]:
    """Run it. At the end it is asked to stop, unless it has ended."""
    port = free_port()
    command = [sys.executable, "-P", "-m", module, "--namespace", namespace, "--broker-image", "stoa:test"]
    command += ["--metrics-host", "127.0.0.1", "--metrics-port", str(port), "--log-level", "debug", *arguments]
    # Each in a place of its own, as in a pod: an instance empties that of a former one with its name.
    with tempfile.TemporaryDirectory(prefix="stoa-operator-") as folder:
        surroundings = environment(KUBECONFIG=str(kubeconfig), POD_NAME=name, TMPDIR=folder, **env)
        surroundings["PYTHONPATH"] += f":{ROOT / 'tests'}"
        with Program(command, surroundings) as program:
            yield Operator(program, port)
