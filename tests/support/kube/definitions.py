"""The definitions of other people's resources that an operator for brokers writes: certificates and monitoring.

Copies of the files in their modules are kept beside the built programs: a cluster starts without Go or a network.
"""

import shutil
import tempfile
from pathlib import Path

from support.kube import kubectl
from support.kube.building import cache, locked, module_folder
from support.kube.components import CERT_MANAGER, PROMETHEUS_OPERATOR
from support.kube.place import Place

MONITORING = ("podmonitors", "prometheusrules", "servicemonitors")
SERVED_S_MAX = 60  # one of them has half a megabyte, and a laden machine takes its time


def apply(place: Place) -> None:
    """Return when all of them are served. Raises ClusterError."""
    fetch()
    kubectl.apply_files(place, sorted(_home().iterdir()))
    kubectl.call(place, "wait", "--for=condition=Established", "crd", "--all", f"--timeout={SERVED_S_MAX}s")


def are_fetched() -> bool:
    return _home().is_dir()


def fetch() -> None:
    """Keep them, once for each version. Raises ClusterError."""
    if are_fetched():
        return
    with locked():
        if are_fetched():
            return
        files = [*_cert_manager(), *_monitoring()]
        with tempfile.TemporaryDirectory(dir=cache(), prefix=".fetching-") as folder:
            copies = Path(folder) / "copies"
            copies.mkdir()
            for file in files:
                shutil.copyfile(file, copies / file.name)
            copies.rename(_home())


def _home() -> Path:
    return cache() / f"definitions-{CERT_MANAGER.version}-{PROMETHEUS_OPERATOR.version}"


def _cert_manager() -> list[Path]:
    return sorted((module_folder(CERT_MANAGER) / "deploy" / "crds").glob("*.yaml"))


def _monitoring() -> list[Path]:
    folder = module_folder(PROMETHEUS_OPERATOR) / "example" / "prometheus-operator-crd"
    return [folder / f"monitoring.coreos.com_{name}.yaml" for name in MONITORING]
