"""Tests on a cluster with a node: an operator from its chart, brokers, and clients as people have them."""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator

import pytest

from support.kube import loaded
from support.kube.place import Place
from support.kube.plant import Plant
from support.kube.problems import ClusterError

_NUMBERS = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A node that starts, an image that is loaded, a rollout: minutes, on a machine that does more than this."""
    for item in items:
        if "kubernetes/full" in item.path.as_posix():
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="module")
def settle(node_cluster: Place) -> Iterator[Callable[..., Plant]]:
    """Makes a namespace with an operator in it, or in one `apart`; `values` are those of its chart.

    All are gone with the module.
    """
    loaded.load(node_cluster, loaded.PRODUCT)
    plants: list[Plant] = []

    def make(*, apart: bool = False, **values: object) -> Plant:
        name = f"full-{os.getpid()}-{next(_NUMBERS)}"
        plant = Plant(node_cluster, name, home=f"{name}-system" if apart else "")
        plants.append(plant)
        plant.settle(**values)
        return plant

    yield make
    for plant in plants:
        with contextlib.suppress(ClusterError):  # what does not go is a matter of the tests of deletion
            plant.clear()


@pytest.fixture(scope="module")
def plant(settle: Callable[..., Plant]) -> Plant:
    """A namespace with an operator, shared by the tests of a module."""
    return settle()
