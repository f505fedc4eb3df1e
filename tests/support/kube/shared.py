"""One cluster for all the processes that run tests side by side: the first puts it up, the last takes it down.

Knows who uses it by process id, so that one that was killed does not keep it up. Skips where no cluster can be.
"""

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.kube import building, clusters, components
from support.kube.place import Place, Tier
from support.processes import ROOT

UP_S_MAX = 100.0  # pytest gives a test, with its fixtures, 120


@contextlib.contextmanager
def shared_cluster(folder: Path, tier: Tier) -> Iterator[Place]:
    """The cluster of this tier. `folder` is the same for all who share it."""
    require(tier)
    place = Place(folder.resolve() / "clusters" / str(tier))
    users = folder / f"users-of-{tier}"
    users.mkdir(parents=True, exist_ok=True)
    me = users / str(os.getpid())
    with _locked(users):
        command(place, "up", f"--{tier}", "--backend", "local")
        me.touch()
    try:
        yield place
    finally:
        with _locked(users):
            me.unlink()
            if not _in_use(users):
                clusters.down(place)


def require(tier: Tier) -> None:
    """Skip the test where there can be no such cluster; in CI only what is missing on the machine is a reason."""
    if reason := clusters.missing(tier):
        pytest.skip(reason)
    if building.missing(components.FULL if tier is Tier.FULL else components.FAST):
        say = pytest.fail if os.environ.get("CI") else pytest.skip
        say("Kubernetes is not built: ./hack/test kubernetes builds it")


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
