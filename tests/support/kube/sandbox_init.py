"""The first process of a node: makes the node's own view of the machine, then waits for whoever ends.

Runs inside new mount, network and process namespaces, by its path, with the cluster's folder as the only argument. When
it is killed the kernel ends every process of the node, takes down every mount, link and packet filter rule, and nothing
of them is left.
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

READY = "the node's namespaces are ready"

# What containerd, kubelet and the network plugins write outside the folders that they are given goes to a layer of the
# cluster; the machine does not see it.
COVERED = ("/var/lib", "/var/log")
HELD = Path("/run/cluster")  # the cluster's folder, also when something is laid over its parents


def prepare(folder: Path) -> None:
    _call("mount", "-t", "tmpfs", "tmpfs", "/run")
    HELD.mkdir()
    _call("mount", "--rbind", folder, HELD)
    for covered in COVERED:
        layer = HELD / "layers" / covered.strip("/").replace("/", "-")
        upper, work = layer / "upper", layer / "work"
        upper.mkdir(parents=True)
        work.mkdir()
        options = f"lowerdir={covered},upperdir={upper},workdir={work}"
        _call("mount", "-t", "overlay", "overlay", "-o", options, covered)
    _call("mount", "--rbind", HELD, folder)
    # Volumes that are mounted later are to be seen by the containers that exist; only within this namespace.
    _call("mount", "--make-rshared", "/")
    _call("ip", "link", "set", "lo", "up")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="ascii")


def reap_for_ever() -> None:
    """Containers whose shim is gone become children of this process."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    while True:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        signal.sigtimedwait([signal.SIGCHLD], 1)


def _call(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True)


if __name__ == "__main__":
    prepare(Path(sys.argv[1]))
    print(READY, flush=True)
    reap_for_ever()
