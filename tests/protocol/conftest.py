"""Brokers for the protocol tier. One open broker serves a whole file; tests with wishes of their own start one."""

import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mqtt_api.policy import Policy
from mqtt_broker.wire.packets import ProtocolVersion
from support.broker import Broker, StartBroker
from support.policies import open_policy

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """An open broker for all tests of one file; each test uses names of its own (`unique`)."""
    with Broker(tmp_path_factory.mktemp("broker"), open_policy()) as running:
        yield running
        running.assert_no_traceback()


@pytest.fixture
def start_broker(tmp_path: Path) -> Iterator[StartBroker]:
    """Start brokers that end with the test; by default an open one."""
    with ExitStack() as stack:
        started: list[Broker] = []

        def start(policy: Policy | None = None, **options: Any) -> Broker:
            folder = tmp_path / f"broker-{len(started)}"
            broker = Broker(folder, policy or open_policy(), **options)
            started.append(stack.enter_context(broker))
            return broker

        yield start
        for broker in started:
            broker.assert_no_traceback()


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> str:
    """A name that no other test uses: for client ids and first topic levels."""
    return f"{re.sub('[^a-z]', '', request.node.name.lower())[5:20]}{next(_numbers)}"


@pytest.fixture
def another() -> Callable[[], str]:
    """More such names."""
    return lambda: f"another{next(_numbers)}"


@pytest.fixture(params=[ProtocolVersion.V3_1_1, ProtocolVersion.V5], ids=["v3.1.1", "v5"])
def version(request: pytest.FixtureRequest) -> ProtocolVersion:
    """The same behaviour in both versions of the protocol."""
    chosen: ProtocolVersion = request.param
    return chosen
