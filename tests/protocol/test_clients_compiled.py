"""Clients in Java (HiveMQ), Rust (rumqttc) and Go (Eclipse Paho), unchanged, over TLS, in 3.1.1 and 5.

Each program makes the whole round by itself: publish and subscribe, retained, will, persistent session.
"""

from collections.abc import Iterator

import pytest

from support import foreign
from support.foreign import Foreign
from support.policies import PASSWORD
from support.processes import run
from support.served import USER, Served, serving

ROUND_S_MAX = 90.0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.mark.parametrize("client", foreign.ALL, ids=lambda client: client.name)
@pytest.mark.parametrize("number", ["4", "5"], ids=["v3.1.1", "v5"])
def test_client_makes_its_round(served: Served, client: Foreign, number: str) -> None:
    command = [*client.command(), str(served.broker.port), served.ca_file, USER, PASSWORD, number]
    made = run(command, deadline_s=ROUND_S_MAX)
    assert made.returncode() == 0, made.dump()
    assert made.out == ["ok"], made.dump()
