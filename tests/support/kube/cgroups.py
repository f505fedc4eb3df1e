"""The control group under which all pods of a cluster are, in both versions of control groups.

Knows the file system under /sys/fs/cgroup; does not know pods.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from support.kube.problems import ClusterError
from support.waiting import NotInTimeError, wait_until

MOUNT = Path("/sys/fs/cgroup")
REMOVED_S_MAX = 20.0


def create(name: str, mount: Path = MOUNT) -> None:
    """The group at the top of each hierarchy. Raises ClusterError where that is not allowed."""
    try:
        for hierarchy in _hierarchies(mount):
            (hierarchy / name).mkdir(exist_ok=True)
            _inherit(hierarchy, hierarchy / name)
    except OSError as problem:
        raise ClusterError(f"no control groups can be made here: {problem}") from None


def remove(name: str, mount: Path = MOUNT) -> None:
    """Take it and all below it away, once its processes are gone. Raises ClusterError if they do not go."""

    def gone() -> bool:
        left = [hierarchy / name for hierarchy in _hierarchies(mount) if (hierarchy / name).is_dir()]
        for group in left:
            _remove_tree(group)
        return not left

    try:
        wait_until(gone, REMOVED_S_MAX)
    except NotInTimeError:
        raise ClusterError(f"the control group {name} is still in use") from None


def present(mount: Path = MOUNT) -> set[str]:
    """Every group at the top, in any hierarchy."""
    return {group.name for hierarchy in _hierarchies(mount) for group in hierarchy.iterdir() if group.is_dir()}


def _hierarchies(mount: Path) -> Iterator[Path]:
    """One in version 2, one for each controller in version 1."""
    if (mount / "cgroup.controllers").exists():
        yield mount
        return
    for folder in sorted(mount.iterdir()) if mount.is_dir() else ():
        if not folder.is_symlink() and (folder / "cgroup.procs").exists():
            yield folder


def _inherit(parent: Path, group: Path) -> None:
    """A new group of version 2 limits nothing, and of version 1's cpusets has no processor, until it is told."""
    controllers = group / "cgroup.controllers"
    if controllers.exists():
        names = controllers.read_text(encoding="ascii").split()
        (group / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in names), encoding="ascii")
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (group / name).exists() and (parent / name).exists() and not controllers.exists():
            (group / name).write_text((parent / name).read_text(encoding="ascii"), encoding="ascii")


def _remove_tree(group: Path) -> None:
    """Groups are removed by rmdir, the innermost first; their files go by themselves."""
    with contextlib.suppress(OSError):
        for child in group.iterdir():
            if child.is_dir():
                _remove_tree(child)
        group.rmdir()
