"""Control groups of both versions, on a file system that behaves like theirs."""

from pathlib import Path

import pytest

from support.kube import cgroups
from support.kube.problems import ClusterError


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    for controller in ("cpu", "cpuset", "memory"):
        (tmp_path / controller).mkdir()
        (tmp_path / controller / "cgroup.procs").touch()
    (tmp_path / "not-a-hierarchy").mkdir()
    (tmp_path / "cpu,cpuacct").symlink_to(tmp_path / "cpu")
    (tmp_path / "cpuset" / "cpuset.cpus").write_text("0-1", encoding="ascii")
    return tmp_path


def test_the_group_is_made_in_every_hierarchy_and_removed_from_each(version_1: Path) -> None:
    cgroups.create("ours", version_1)
    assert cgroups.present(version_1) == {"ours"}
    assert [path.parent.name for path in sorted(version_1.glob("*/ours"))] == ["cpu", "cpu,cpuacct", "cpuset", "memory"]
    assert not (version_1 / "not-a-hierarchy" / "ours").exists()
    (version_1 / "cpu" / "ours" / "besteffort" / "pod-1").mkdir(parents=True)
    cgroups.remove("ours", version_1)
    assert cgroups.present(version_1) == set()


def test_removing_a_group_that_is_not_there_is_no_error(version_1: Path) -> None:
    cgroups.remove("ours", version_1)


def test_a_group_that_stays_in_use_is_named(version_1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "REMOVED_S_MAX", 0.0)
    cgroups.create("ours", version_1)
    (version_1 / "cpu" / "ours" / "held").touch()
    with pytest.raises(ClusterError, match="ours is still in use"):
        cgroups.remove("ours", version_1)


def test_one_group_of_version_2_hands_its_controllers_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n", encoding="ascii")
    made = tmp_path / "ours"
    made.mkdir()
    (made / "cgroup.controllers").write_text("cpu memory pids\n", encoding="ascii")  # as the kernel does
    cgroups.create("ours", tmp_path)
    assert (made / "cgroup.subtree_control").read_text(encoding="ascii") == "+cpu +memory +pids"


def test_where_no_group_can_be_made_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").touch()
    (tmp_path / "ours").touch()
    with pytest.raises(ClusterError, match="no control groups can be made here"):
        cgroups.create("ours", tmp_path)
