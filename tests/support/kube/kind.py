"""The cluster made by kind, where Docker and an image of a node are there.

Knows the commands docker and kind; fetches nothing: an image that Docker does not have is not there.
"""

import re
import shutil
import subprocess
from pathlib import Path

from support.kube import cert_manager, daemons, definitions, kubectl
from support.kube.building import build, missing_go
from support.kube.components import CERT_MANAGER, KUBERNETES, ROOT
from support.kube.place import Backend, Place, Record, Tier
from support.kube.problems import ClusterError

CONFIG = ROOT / "hack" / "kind.yaml"
NODE_IMAGE = "kindest/node"
ANSWER_S_MAX = 20.0
CREATE_S_MAX = 600.0


def missing() -> str | None:
    """Why it cannot be used here; None if it can."""
    for program in ("docker", "kind", "kubectl"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if node_image() is None:
        return f"Docker does not answer, or has no {NODE_IMAGE} image of {_minor()}"
    return None


def node_image() -> str | None:
    """The newest image of a node that Docker has, of the minor version that the tests are for."""
    command = ["docker", "image", "ls", NODE_IMAGE, "--format", "{{.Repository}}:{{.Tag}}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=ANSWER_S_MAX)
    except (OSError, subprocess.TimeoutExpired):
        return None
    images = [image for image in done.stdout.split() if image.startswith(f"{NODE_IMAGE}:{_minor()}.")]
    return max(images, key=_patch, default=None) if done.returncode == 0 else None


def up(place: Place, tier: Tier) -> None:
    """Create it and wait for it. After a failure nothing of it is left. Raises ClusterError."""
    image = node_image()
    assert image is not None, "missing() was asked"
    place.write_record(Record(Backend.KIND, tier))
    program = shutil.which("kubectl")
    assert program is not None, "missing() was asked"
    try:
        _kind(place, "create", "cluster", f"--config={CONFIG}", f"--image={image}", "--wait=300s")
        kubectl.write_front(place, Path(program))
        definitions.apply(place)
        if tier is Tier.FULL:
            _start_cert_manager(place)
    except BaseException:
        down(place)
        raise


def down(place: Place) -> None:
    daemons.end_all(place)
    _kind(place, "delete", "cluster")
    place.remove()


def load_image(place: Place, archive: Path) -> None:
    command = ["kind", "load", "image-archive", str(archive), f"--name={place.machine_name}"]
    _call(command)


def _start_cert_manager(place: Place) -> None:
    if reason := missing_go():
        raise ClusterError(f"the controllers of cert-manager are built from source: {reason}")
    build({CERT_MANAGER: ("cert-manager",)})
    kubectl.call(place, "create", "namespace", cert_manager.NAMESPACE)
    cert_manager.start(place)


def _kind(place: Place, *arguments: str) -> None:
    _call(["kind", *arguments, f"--name={place.machine_name}", f"--kubeconfig={place.kubeconfig}"])


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=CREATE_S_MAX)
    if done.returncode:
        raise ClusterError(f"{' '.join(command)}: {done.stderr.strip()[-2_000:]}")


def _minor() -> str:
    """`v1.36`"""
    return KUBERNETES.version.rpartition(".")[0]


def _patch(image: str) -> int:
    found = re.search(r"\.(\d+)$", image)
    return int(found[1]) if found else -1
