"""One cluster for all the processes that run tests side by side: the first puts it up, the last takes it down.

Knows who uses it by process id, so that one that was killed does not keep it up. Skips where no cluster can be.
"""

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.kube import clusters, local
from support.kube.place import Backend, Place, Tier
from support.processes import ROOT

UP_S_MAX = 240.0  # ten seconds where nobody else works


@contextlib.contextmanager
def shared_cluster(folder: Path, tier: Tier, prepare: Callable[[Place], None]) -> Iterator[Place]:
    """The cluster of this tier. `folder` is the same for all who share it; `prepare` is called by the first one."""
    require(tier)
    place = Place(folder.resolve() / "clusters" / str(tier))
    users = folder / f"users-of-{tier}"
    users.mkdir(parents=True, exist_ok=True)
    me = users / str(os.getpid())
    with _locked(users):
        if not _in_use(users):
            command(place, "up", f"--{tier}", "--backend", "local")
            prepare(place)
        me.touch()
    try:
        yield place
    finally:
        with _locked(users):
            me.unlink()
            if not _in_use(users):
                clusters.down(place)


def require(tier: Tier) -> None:
    """Skip the test where there can be no such cluster, or none is built: no test waits for a compiler."""
    if reason := clusters.missing(tier, Backend.LOCAL):
        pytest.skip(reason)
    if not local.is_built(tier):
        pytest.skip("Kubernetes is not built: ./hack/test kubernetes builds it, or says why it cannot")


def command(place: Place, verb: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Call hack/cluster's program for this cluster, in a process of its own. Raises when it fails."""
    done = subprocess.run(
        command_line(place, verb, *arguments),
        env=environment(place),
        capture_output=True,
        text=True,
        check=False,
        timeout=UP_S_MAX,
    )
    if done.returncode:
        raise AssertionError(f"{verb} ended with {done.returncode}:\n{done.stderr}")
    return done


def command_line(place: Place, verb: str, *arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "support.kube", verb, *map(str, arguments), "--name", place.name]


def environment(place: Place) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "tests"), "STOA_CLUSTERS": str(place.root.parent)}


def _in_use(users: Path) -> bool:
    """Whether one of them still runs; the entries of those that do not are taken away."""
    for entry in users.glob("[0-9]*"):
        if Path(f"/proc/{entry.name}").exists():
            return True
        entry.unlink()
    return False


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
