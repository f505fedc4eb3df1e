"""hack/cluster with plain processes: what is there while a cluster is up, and that nothing is there afterwards."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.kube import clusters, daemons, kubectl
from support.kube.api import Api
from support.kube.place import Place, Tier
from support.kube.problems import ClusterError
from support.kube.shared import command, command_line, environment, require
from support.processes import Program
from support.waiting import wait_until

FIRST_PROCESSES = {"etcd", "kube-apiserver", "kube-controller"}  # the kernel keeps fifteen characters


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Where a cluster can be; none is left there."""
    require(Tier.FAST)
    place = Place(tmp_path / "clusters" / "second")
    yield place
    clusters.down(place)


def test_a_second_cluster_stands_beside_the_first_and_leaves_nothing(place: Place, cluster: Place, api: Api) -> None:
    said = command(place, "up", "--fast", "--backend", "local")
    assert said.stdout.splitlines() == [str(place.kubeconfig)]
    processes = daemons.running(place)
    assert set(processes.values()) == FIRST_PROCESSES
    second = Api(place.kubeconfig)
    assert second.call("POST", "/api/v1/namespaces", {"metadata": {"name": "only-here"}}).code == 201
    assert api.call("GET", "/api/v1/namespaces/only-here").code == 404
    second.close()

    assert "is up already" in command(place, "up", "--fast").stderr
    assert daemons.running(place) == processes
    shown = command(place, "status").stdout
    assert shown.startswith("second  local  fast  ready  ")
    assert all(str(pid) in shown for pid in processes)

    assert "is down" in command(place, "down").stderr
    assert list(place.root.parent.iterdir()) == []
    assert not any(Path(f"/proc/{pid}").exists() and _is_alive(pid) for pid in processes)
    assert not place.root.exists()
    assert "There was no cluster" in command(place, "down").stderr
    assert daemons.running(cluster)
    assert api.call("GET", "/version").code == 200


def test_kubectl_of_the_same_version_comes_with_it(cluster: Place) -> None:
    versions = kubectl.call(cluster, "version").splitlines()
    client, server = (
        next(line for line in versions if line.startswith(f"{side} Version")) for side in ("Client", "Server")
    )
    assert client.split()[-1] == server.split()[-1]


def test_what_an_up_that_was_killed_has_left_is_taken_down(place: Place) -> None:
    program = Program(command_line(place, "up", "--fast", "--backend", "local"), environment(place))
    wait_until(lambda: "kube-apiserver" in daemons.running(place).values(), 30.0)
    program.kill()
    left = daemons.running(place)
    assert {"etcd", "kube-apiserver"} <= set(left.values())
    assert "  not ready  " in command(place, "status").stdout
    command(place, "down")
    assert not any(_is_alive(pid) for pid in left)
    assert not place.root.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("first", ["", "trap '' INT; "], ids=["in front", "beside others"])
def test_an_up_that_is_interrupted_takes_down_what_it_started(number: signal.Signals, first: str, place: Place) -> None:
    """Also when a shell runs it beside others: then it is started with the interrupt ignored."""
    up = command_line(place, "up", "--fast", "--backend", "local")
    program = Program(["sh", "-c", f'{first}exec "$@"', "sh", *up], environment(place))
    wait_until(lambda: "etcd" in daemons.running(place).values(), 30.0)
    program.signal(number)
    assert program.wait(30.0) == 130
    assert daemons.running(place) == {}
    assert not place.root.exists()


def test_an_up_that_fails_says_why_and_leaves_nothing(place: Place) -> None:
    broken = (
        "import sys; from support.kube import __main__, plan; "
        "plan.Plan.program = lambda self, name: '/bin/false'; "
        "sys.exit(__main__.main(sys.argv[1:]))"
    )
    arguments = command_line(place, "up", "--fast", "--backend", "local")[3:]
    done = subprocess.run(
        [sys.executable, "-c", broken, *arguments], env=environment(place), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "error: etcd ended with 1" in done.stderr
    assert not place.root.exists()


def test_a_cluster_without_a_node_takes_no_images(cluster: Place, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    archive.touch()
    with pytest.raises(AssertionError, match="has no node"):
        command(cluster, "load-image", archive)
    with pytest.raises(AssertionError, match=r"other\.tar is not there"):
        command(cluster, "load-image", tmp_path / "other.tar")


def test_a_node_is_not_added_to_a_cluster_that_runs(cluster: Place) -> None:
    with pytest.raises(AssertionError, match="take it down first"):
        command(cluster, "up", "--full")


@pytest.mark.parametrize("name", ["../elsewhere", "UPPER", "", "a" * 41, "-a", "a-"])
def test_a_name_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ClusterError, match=f"'{name}' cannot be a name"):
        Place.named(name)


def test_a_cluster_that_is_not_there_has_no_status(place: Place) -> None:
    with pytest.raises(AssertionError, match="there is no cluster 'second'"):
        command(place, "status")


def _is_alive(pid: int) -> bool:
    """A process that nobody has waited for yet is not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z" and os.getpid() != pid
