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

TEST_S_MAX = 600.0  # the first one of each process also waits for the cluster, on whatever machine this is

_NUMBERS = itertools.count(1)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/kubernetes/" in item.path.as_posix() and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_S_MAX))


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for every process of this run, and for no other run."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def cluster(shared_folder: Path) -> Iterator[Place]:
    """An API server with our definitions. Namespaces keep tests apart."""
    with shared_cluster(shared_folder, Tier.FAST, define) as place:
        yield place


@pytest.fixture(scope="session")
def node_cluster(shared_folder: Path) -> Iterator[Place]:
    """A cluster with a node that runs pods, with our definitions and images of tools."""
    if not os.environ.get("STOA_LONG_TESTS"):
        pytest.skip("minutes of building: STOA_LONG_TESTS=1")
    with shared_cluster(shared_folder, Tier.FULL, equip) as place:
        yield place


def equip(place: Place) -> None:
    loaded.load(place, loaded.TOOLS)
    define(place)


def define(place: Place) -> None:
    """Only ours are waited for: other tests beside this one have definitions that come and go."""
    files = sorted((ROOT / "crds").glob("*.yaml"))
    kubectl.apply_files(place, files)
    names = [f"{file.stem}.mqtt.stoa.dev" for file in files]
    kubectl.call(place, "wait", "--for=condition=Established", "crd", *names, "--timeout=60s")


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
