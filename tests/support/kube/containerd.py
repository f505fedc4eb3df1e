"""containerd inside the node: runs containers for the kubelet, and takes images from archives."""

import os
import subprocess
from pathlib import Path

from support.kube import images, pod_network
from support.kube.components import NETWORK_PLUGINS
from support.kube.daemons import Daemon
from support.kube.plan import Plan
from support.kube.problems import ClusterError
from support.kube.sandbox import Sandbox

READY_S_MAX = 60.0
IMPORT_S_MAX = 300.0
SOCKET = "/run/containerd/containerd.sock"  # the node has a /run of its own
PAUSE_IMAGE = "localhost/stoa/pause:1"

# restrict_oom_score_adj: without it runc dies where the machine does not grant CAP_SYS_RESOURCE.
_CONFIG = """version = 3
root = '{root}/containers'
state = '/run/containerd'

[grpc]
  address = '{socket}'

[plugins.'io.containerd.internal.v1.opt']
  path = '{root}/opt'

[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = '{pause}'

[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = 'io.containerd.runc.v2'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['{plugins}']
    conf_dir = '{networks}'
"""


def start(plan: Plan, sandbox: Sandbox) -> None:
    """Return when it answers and has the image that every pod starts with."""
    folder = plan.place.root
    text = _CONFIG.format(
        root=folder / "containerd",
        socket=SOCKET,
        pause=PAUSE_IMAGE,
        plugins=NETWORK_PLUGINS,
        networks=pod_network.write(plan),
    )
    config = plan.place.file("containerd/config.toml", text)
    program = plan.program("containerd")
    # It looks for its shim on the path.
    path = f"{program.parent}:{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin"
    daemon = Daemon(
        plan.place, "containerd", sandbox.inside(program, f"--config={config}", "--log-level=warn"), {"PATH": path}
    )
    control = plan.program("ctr")
    daemon.wait_until(lambda: _answers(control, sandbox), READY_S_MAX)
    pause = folder / "pause.tar"
    images.write(images.busybox(PAUSE_IMAGE, ("/bin/sleep", "infinity")), pause)
    load_image(control, sandbox, pause)


def load_image(control: Path, sandbox: Sandbox, archive: Path) -> None:
    """Take an image from an archive, as pods see it. `control`: the program ctr."""
    with archive.open("rb") as file:
        done = subprocess.run(
            sandbox.inside(control, f"--address={SOCKET}", "--namespace=k8s.io", "images", "import", "-"),
            stdin=file,
            capture_output=True,
            check=False,
            timeout=IMPORT_S_MAX,
        )
    if done.returncode:
        raise ClusterError(f"{archive} is no image archive: {done.stderr.decode(errors='replace').strip()}")


def _answers(control: Path, sandbox: Sandbox) -> bool:
    command = sandbox.inside(control, f"--address={SOCKET}", "--connect-timeout=2s", "version")
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
