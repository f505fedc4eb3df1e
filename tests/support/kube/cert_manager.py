"""The controllers of cert-manager, as a process beside the API server; they issue what Certificates ask for."""

from support.kube.building import program_path
from support.kube.components import CERT_MANAGER
from support.kube.daemons import Daemon
from support.kube.place import Place

NAMESPACE = "cert-manager"  # where issuers of the whole cluster have their Secrets


def start(place: Place) -> None:
    """Return at once: that it works shows in Certificates that are Ready. Its definitions have to be there."""
    program = program_path(CERT_MANAGER, "cert-manager")
    Daemon(place, "cert-manager", [program, f"--kubeconfig={place.kubeconfig}", f"--namespace={NAMESPACE}"])
