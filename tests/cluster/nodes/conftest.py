"""Nodes for the tests of this folder. One open trio serves most; tests with wishes of their own start some."""

import itertools
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cluster.nodes.scene import DIALLED, Scene, StartScene, StartTrio, running_trio
from mqtt_api.policy import Policy
from mqtt_broker.wire.packets import ProtocolVersion

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Three open nodes; each test uses names of its own (`unique`) and ends no node."""
    with running_trio(tmp_path_factory.mktemp("trio")) as running:
        yield running


@pytest.fixture
def start_trio(tmp_path: Path) -> Iterator[StartTrio]:
    """Start nodes that end with the test; by default open ones."""
    with ExitStack() as ends:

        def start(policy: Policy | None = None, **options: Any) -> Scene:
            return ends.enter_context(running_trio(tmp_path / "trio", policy, **options))

        yield start


@pytest.fixture
def start_scene(tmp_path: Path) -> Iterator[StartScene]:
    """A store and nodes that are not started yet."""
    with ExitStack() as ends:
        yield lambda **options: ends.enter_context(Scene(tmp_path, **options))


@pytest.fixture(autouse=True)
async def hang_up() -> AsyncIterator[None]:
    """Whatever a test leaves open is closed in its own event loop."""
    yield
    for client in DIALLED:
        await client.close()
    DIALLED.clear()


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> str:
    """A name that no other test uses: for client ids and first topic levels."""
    return f"{re.sub('[^a-z]', '', request.node.name.lower())[5:20]}{next(_numbers)}"


@pytest.fixture(params=[ProtocolVersion.V3_1_1, ProtocolVersion.V5], ids=["v3.1.1", "v5"])
def version(request: pytest.FixtureRequest) -> ProtocolVersion:
    """The same behaviour in both versions of the protocol."""
    chosen: ProtocolVersion = request.param
    return chosen
