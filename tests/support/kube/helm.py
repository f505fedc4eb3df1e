"""Helm as a person has it, for one cluster: install, upgrade, test, uninstall. By the library that carries Helm."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import helm_python

from support.kube.components import ROOT
from support.kube.place import Place

CHARTS = ROOT / "charts"
READY_S_MAX = 180


def install(place: Place, chart: Path, name: str, namespace: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """`helm upgrade --install --wait`. Returns the release. Raises HelmError with Helm's words."""
    with _config(place, namespace) as config:
        known = {release["name"] for release in config.list()}
        act = config.upgrade if name in known else config.install
        release: dict[str, Any] = act(
            chart, name, dict(values), namespace=namespace, timeout=READY_S_MAX, wait="watcher"
        )
        return release


def test(place: Place, name: str, namespace: str) -> dict[str, Any]:
    """`helm test`. Raises HelmError when one of them fails."""
    with _config(place, namespace) as config:
        answer: dict[str, Any] = config.test(name, timeout=READY_S_MAX)
        return answer


def uninstall(place: Place, name: str, namespace: str) -> None:
    """`helm uninstall --wait`. Raises HelmError."""
    with _config(place, namespace) as config:
        config.uninstall(name, timeout=READY_S_MAX, wait="watcher")


def _config(place: Place, namespace: str) -> helm_python.Config:
    return helm_python.Config(kubeconfig_path=place.kubeconfig, namespace=namespace)
