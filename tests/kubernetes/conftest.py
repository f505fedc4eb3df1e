"""A real Kubernetes for tests: one API server for all of them, a namespace for each."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.kube import kubectl, loaded
from support.kube.api import Api
from support.kube.place import Place, Tier
from support.kube.shared import shared_cluster
from support.processes import ROOT

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for every process of this run, and for no other run."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def cluster(shared_folder: Path) -> Iterator[Place]:
    """An API server with our definitions. Namespaces keep tests apart."""
    with shared_cluster(shared_folder, Tier.FAST) as place:
        define(place)
        yield place


@pytest.fixture(scope="session")
def node_cluster(shared_folder: Path) -> Iterator[Place]:
    """A cluster with a node that runs pods, with our definitions and images of tools."""
    if not os.environ.get("STOA_LONG_TESTS"):
        pytest.skip("minutes of building: STOA_LONG_TESTS=1")
    with shared_cluster(shared_folder, Tier.FULL) as place:
        loaded.load(place, loaded.TOOLS)
        define(place)
        yield place


def define(place: Place) -> None:
    kubectl.apply_files(place, sorted((ROOT / "crds").glob("*.yaml")))
    kubectl.call(place, "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")


@pytest.fixture(scope="session")
def api(cluster: Place) -> Iterator[Api]:
    api = Api(cluster.kubeconfig)
    yield api
    api.close()


@pytest.fixture
def namespace(api: Api) -> Iterator[str]:
    """A namespace that enforces the strictest standard for pods."""
    name = f"test-{os.getpid()}-{next(_NUMBERS)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    assert api.call("POST", "/api/v1/namespaces", body).code == 201
    yield name
    api.call("DELETE", f"/api/v1/namespaces/{name}")
