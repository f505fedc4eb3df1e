"""Programs made from Go modules, once for each version, in a cache outside the tree.

Knows Go and the cache; does not know what the programs do. Two builds at a time wait for each other.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from support.kube.components import KUBERNETES, Module
from support.kube.problems import ClusterError

GO_MINIMUM = (1, 26)
PROGRESS_INTERVAL_S = 15.0  # a line this often where nobody looks at a terminal
SAID_LINES_MAX = 30
FETCH_ATTEMPTS_MAX = 3  # what has arrived stays: the next attempt asks for the rest
FETCH_S_MAX = 240.0  # one attempt; Go itself waits for ever for a server that has stopped to answer
COMPILE_S_MAX = 1_800.0  # one module


def missing_go() -> str | None:
    """Why nothing can be built here; None if it can."""
    if shutil.which("go") is None:
        return "Go is not installed: https://go.dev/dl"
    said = subprocess.run(["go", "version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"go(\d+)\.(\d+)", said)
    if found is None or (int(found[1]), int(found[2])) < GO_MINIMUM:
        return f"Go {'.'.join(map(str, GO_MINIMUM))} or newer is needed, this is {said.strip() or 'unknown'}"
    return None


def program_path(module: Module, program: str) -> Path:
    """Where the program is, or will be. The folder is named after everything that it is made from."""
    digest = hashlib.sha256(" ".join(_flags(module)).encode())
    for path in sorted(module.folder.iterdir()):
        if path.name in ("go.mod", "go.sum") or path.suffix == ".go":
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return cache() / f"{module.name}-{module.version}-{digest.hexdigest()[:12]}" / program


def missing(wanted: Mapping[Module, Sequence[str]]) -> dict[Module, list[str]]:
    """What of it is not built yet."""
    absent = {
        module: [program for program in programs if not program_path(module, program).is_file()]
        for module, programs in wanted.items()
    }
    return {module: programs for module, programs in absent.items() if programs}


def build(wanted: Mapping[Module, Sequence[str]]) -> None:
    """Build what is missing, and say on standard error how far it is. Raises ClusterError."""
    if not missing(wanted):
        return
    if reason := missing_go():
        raise ClusterError(reason)
    with locked():
        absent = missing(wanted)
        for module, programs in absent.items():  # all of it first: without a network that is known in minutes
            _fetch(module, programs)
        for module, programs in absent.items():
            _build(module, programs)


def module_folder(module: Module) -> Path:
    """The sources of the upstream module: also files that are no Go. Fetched when they are not there."""
    command = ["go", "mod", "download", "-json", module.upstream]
    try:
        done = subprocess.run(
            command, cwd=module.folder, capture_output=True, text=True, check=False, timeout=FETCH_S_MAX
        )
    except subprocess.TimeoutExpired:
        raise ClusterError(f"{' '.join(command)}: not done within {FETCH_S_MAX:g} s") from None
    if done.returncode:
        raise ClusterError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return Path(json.loads(done.stdout)["Dir"])


def _fetch(module: Module, programs: Sequence[str]) -> None:
    """The sources of everything that they are made of."""
    packages = [module.package(program) for program in programs]
    _say(f"Fetching what {_what(module, programs)} is made of ...")
    for attempts_left in reversed(range(FETCH_ATTEMPTS_MAX)):
        try:
            _run_go(module, ["list", "-mod=readonly", "-deps", *packages], FETCH_S_MAX)
        except ClusterError as problem:
            if not attempts_left:
                raise ClusterError(f"{_what(module, programs)} could not be fetched: {problem}") from problem
            _say(f"    {problem}", "    Once more ...")
        else:
            return


def _build(module: Module, programs: Sequence[str]) -> None:
    home = program_path(module, programs[0]).parent
    home.mkdir(parents=True, exist_ok=True)
    _say(f"Building {_what(module, programs)}, once; this takes minutes ...")
    with tempfile.TemporaryDirectory(dir=home, prefix=".building-") as folder:
        packages = [module.package(program) for program in programs]
        try:
            _run_go(module, ["build", "-v", *_flags(module), "-o", f"{folder}/", *packages], COMPILE_S_MAX)
        except ClusterError as problem:
            raise ClusterError(f"{_what(module, programs)} could not be built: {problem}") from problem
        for package, program in zip(packages, programs, strict=True):
            (Path(folder) / _named_by_go(module, package)).replace(home / program)


def _run_go(module: Module, arguments: Sequence[str], deadline_s: float) -> None:
    with subprocess.Popen(
        ["go", *arguments],
        cwd=module.folder,
        env={**os.environ, "CGO_ENABLED": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        assert process.stderr is not None
        too_late = threading.Timer(deadline_s, process.terminate)
        too_late.start()
        try:
            said = _show_progress(process.stderr)
        except BaseException:
            process.terminate()
            raise
        finally:
            too_late.cancel()
    if process.returncode == -signal.SIGTERM:
        raise ClusterError(f"not done within {deadline_s:g} s")
    if process.returncode:
        raise ClusterError("\n".join(said))


def _show_progress(lines: Iterable[str]) -> list[str]:
    """Count the modules and packages that Go names, and return the end of what else it says."""
    started = shown = time.monotonic()
    modules, packages = 0, 0
    other: list[str] = []
    for line in lines:
        if line.startswith("go: downloading"):
            modules += 1
        elif re.fullmatch(r"[\w.\-/~]+", line.strip()):
            packages += 1
        else:
            other = [*other[-SAID_LINES_MAX:], line.rstrip()]
        now = time.monotonic()
        if now - shown > PROGRESS_INTERVAL_S:
            shown = now
            _say(f"    {_counted(modules, packages)}, {now - started:.0f} s")
    _say(f"    done: {_counted(modules, packages)}, {time.monotonic() - started:.0f} s")
    return other


def _counted(modules: int, packages: int) -> str:
    return f"{packages} packages compiled" if packages else f"{modules} modules fetched"


def _what(module: Module, programs: Sequence[str]) -> str:
    return f"{', '.join(programs)} ({module.upstream} {module.version})"


def _say(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr, flush=True)


def _flags(module: Module) -> list[str]:
    link = ["-s", "-w"]
    if module is KUBERNETES:
        link += _version_flags(module.version)
    return ["-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", " ".join(link)]


def _version_flags(version: str) -> list[str]:
    """Without these the API server gives a placeholder for its version, and clients refuse to talk to it."""
    major, minor, _ = version.removeprefix("v").split(".", 2)
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return [f"-X k8s.io/component-base/version.{name}={value}" for name, value in values.items()]


def _named_by_go(module: Module, package: str) -> str:
    if package == ".":
        return module.name
    *_, before, last = package.split("/")
    return before if re.fullmatch(r"v\d+", last) else last


def cache() -> Path:
    """Where everything is kept that is made or fetched once. `locked` makes it."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "stoa-kubernetes"


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """One at a time changes the cache."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
