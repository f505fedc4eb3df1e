"""The definitions of other people's resources that an operator for brokers writes: certificates and monitoring."""

from pathlib import Path

from support.kube import kubectl
from support.kube.building import module_folder
from support.kube.components import CERT_MANAGER, PROMETHEUS_OPERATOR
from support.kube.place import Place

MONITORING = ("podmonitors", "prometheusrules", "servicemonitors")
SERVED_S_MAX = 30


def apply(place: Place) -> None:
    """Return when all of them are served."""
    kubectl.apply_files(place, [*_cert_manager(), *_monitoring()])
    kubectl.call(place, "wait", "--for=condition=Established", "crd", "--all", f"--timeout={SERVED_S_MAX}s")


def _cert_manager() -> list[Path]:
    return sorted((module_folder(CERT_MANAGER) / "deploy" / "crds").glob("*.yaml"))


def _monitoring() -> list[Path]:
    folder = module_folder(PROMETHEUS_OPERATOR) / "example" / "prometheus-operator-crd"
    return [folder / f"monitoring.coreos.com_{name}.yaml" for name in MONITORING]
