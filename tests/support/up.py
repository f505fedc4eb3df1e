"""`stoa up` on a folder of custom resources, as a person starts it."""

import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from support.processes import Program, environment
from support.waiting import wait_until

READY_S_MAX = 60.0  # on whatever machine this is


def resource(kind: str, name: str, namespace: str = "default", **spec: object) -> dict[str, Any]:
    """One custom resource as a plain mapping."""
    return {
        "apiVersion": "mqtt.stoa.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def write_resources(path: Path, resources: Iterable[dict[str, Any]]) -> Path:
    """Several documents in one file, replaced in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(yaml.safe_dump_all(resources, sort_keys=False), encoding="utf-8")
    beside.replace(path)
    return path


def stoa(*arguments: str | Path) -> list[str]:
    """The command line of `stoa`, run by this Python from the tree."""
    return [sys.executable, "-m", "mqtt_operator.cli.main", *map(str, arguments)]


class Up:
    """A running `stoa up FOLDER --data DATA`, ready when it says so."""

    def __init__(self, folder: Path, data: Path, *arguments: str) -> None:
        self.folder = folder
        self.data = data
        self.ready_file = data.parent / f"{data.name}.ready"
        self._arguments = arguments
        self._program: Program | None = None

    @property
    def program(self) -> Program:
        assert self._program is not None
        return self._program

    def launch(self) -> Program:
        self.ready_file.unlink(missing_ok=True)
        command = stoa("up", self.folder, "--data", self.data, "--ready-file", self.ready_file, *self._arguments)
        self._program = Program(command, environment())
        return self._program

    def start(self) -> Self:
        program = self.launch()

        def ready() -> bool:
            assert program.returncode() is None, f"stoa up ended with {program.returncode()}:\n{program.dump()}"
            return self.ready_file.exists()

        try:
            wait_until(ready, READY_S_MAX, "stoa up to be ready")
        except AssertionError:
            if program.returncode() is None:
                program.stop()
            raise
        return self

    def credential(self, secret: str, key: str, namespace: str = "default") -> str:
        return (self.data / "secrets" / namespace / secret / key).read_text(encoding="utf-8").strip()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._program is not None and self._program.returncode() is None:
            self._program.stop()
