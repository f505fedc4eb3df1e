"""Clients in other languages: built once into a cache outside the tree, run by the protocol tests.

Knows toolchains, build steps and where the results lie; does not know what the clients do. `python -m support.foreign`
builds what is missing; hack/test does that before the tests, so that no test waits for a compiler.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.processes import ROOT

BUILD_S_MAX = 900.0
PROBE_S_MAX = 20.0

Steps = Callable[[Path, Path], Sequence[Sequence[str | Path]]]
"""From the folder of the sources, a copy, and that of the results: the commands that build."""


class BuildError(Exception):
    """A build step failed; the text is the end of what it said."""


@dataclass(frozen=True)
class Tool:
    """A program of a toolchain. `minimum`: the version it needs to have, as far as somebody cares."""

    command: str
    minimum: tuple[int, int] = (0, 0)
    version_argument: str = "--version"

    def missing(self) -> str | None:
        """Why it cannot be used; None if it can."""
        if shutil.which(self.command) is None:
            return f"{self.command} is not installed"
        if self.minimum > (0, 0) and (found := self._version()) < self.minimum:
            return f"{self.command} {_dotted(found)} is too old, {_dotted(self.minimum)} is needed"
        return None

    def _version(self) -> tuple[int, int]:
        command = [self.command, self.version_argument]
        said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PROBE_S_MAX)
        found = re.search(r"(\d+)\.(\d+)", said.stdout + said.stderr)
        return (int(found[1]), int(found[2])) if found else (0, 0)


@dataclass(frozen=True)
class Foreign:
    """One client program in a folder of tests/protocol. `advice` says how its toolchain is installed."""

    name: str
    tools: tuple[Tool, ...]
    advice: str
    steps: Steps
    run: Callable[[Path], list[str | Path]]
    environment: Mapping[str, str] = field(default_factory=dict)

    def missing(self) -> str | None:
        """What of its toolchain is missing, and how to get it; None if all is there."""
        reasons = [reason for tool in self.tools if (reason := tool.missing())]
        return f"{'; '.join(reasons)}: {self.advice}" if reasons else None

    def command(self) -> list[str | Path]:
        """How the built program is started. Skips the test where it cannot be built; in CI it has to be built."""
        if reason := self.missing():
            pytest.skip(reason)
        if not self._home.is_dir():
            say = pytest.fail if os.environ.get("CI") else pytest.skip
            say(f"the {self.name} client is not built: ./hack/test protocol builds it")
        return self.run(self._home)

    def build(self) -> None:
        """Build it unless that is done. Raises BuildError. Two of these at a time do no harm."""
        if self._home.is_dir():
            return
        _cache().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_cache(), prefix=f"{self.name}-") as text:
            sources, results = Path(text) / "sources", Path(text) / "results"
            shutil.copytree(self._folder, sources)
            results.mkdir()
            for step in self.steps(sources, results):
                self._call(step, sources)
            if not self._home.is_dir():
                results.rename(self._home)

    def _call(self, step: Sequence[str | Path], folder: Path) -> None:
        command = [str(part) for part in step]
        env = {**os.environ, **self.environment}
        try:
            done = subprocess.run(
                command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=BUILD_S_MAX
            )
        except subprocess.TimeoutExpired:
            raise BuildError(f"{' '.join(command)}: not done within {BUILD_S_MAX:g} s") from None
        if done.returncode:
            raise BuildError(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-2_000:]}")

    @property
    def _folder(self) -> Path:
        return ROOT / "tests" / "protocol" / self.name

    @property
    def _home(self) -> Path:
        """Named after everything it is built from, locks and sources."""
        digest = hashlib.sha256()
        for path in sorted(self._folder.rglob("*")):
            if path.is_file():
                digest.update(f"{path.relative_to(self._folder)}\0{path.stat().st_size}\0".encode())
                digest.update(path.read_bytes())
        return _cache() / f"{self.name}-{digest.hexdigest()[:16]}"


def _cache() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "stoa-tests"


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _java_steps(sources: Path, results: Path) -> Sequence[Sequence[str | Path]]:
    libraries = results / "lib"
    return (
        ("mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={libraries}"),
        ("javac", "-cp", f"{libraries}/*", "-d", results, "Round.java"),
    )


def _rust_steps(sources: Path, results: Path) -> Sequence[Sequence[str | Path]]:
    target = _cache() / "cargo-target"  # kept: after a change only what it touches is compiled again
    return (
        ("cargo", "build", "--quiet", "--locked", "--target-dir", target),
        ("cp", target / "debug" / "round", results / "round"),
    )


def _go_steps(sources: Path, results: Path) -> Sequence[Sequence[str | Path]]:
    return (("go", "build", "-o", results / "round", "."),)


JAVA = Foreign(
    name="java",
    tools=(Tool("java"), Tool("javac", (17, 0), "-version"), Tool("mvn")),
    advice="apt-get install default-jdk-headless maven",
    steps=_java_steps,
    run=lambda home: ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{home}{os.pathsep}{home / 'lib'}/*", "Round"],
)
RUST = Foreign(
    name="rust",
    tools=(Tool("cargo", (1, 85)), Tool("cc")),
    advice="https://rustup.rs, and apt-get install gcc libc6-dev",
    steps=_rust_steps,
    run=lambda home: [home / "round"],
)
GO = Foreign(
    name="go",
    tools=(Tool("go", (1, 24), "version"),),
    advice="https://go.dev/dl",
    steps=_go_steps,
    run=lambda home: [home / "round"],
    environment={"CGO_ENABLED": "0"},
)
ALL = (JAVA, RUST, GO)


def main() -> int:
    """Build what can be built and say what cannot: a client less is a test less, no reason to stop."""
    for client in ALL:
        if reason := client.missing():
            print(f"No {client.name} client, its tests are skipped: {reason}", file=sys.stderr)
            continue
        try:
            client.build()
        except BuildError as problem:
            print(f"The {client.name} client could not be built: {problem}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
