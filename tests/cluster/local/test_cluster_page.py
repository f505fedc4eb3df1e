"""docs/cluster.md: its command lines do what it says, and its users are those that the code knows."""

import re
import shlex
import shutil
import sys
from collections.abc import Iterator

import pytest

from cluster.local.ports import free_ports
from mqtt_api.store_keys import StoreKeys
from support.processes import ROOT, Program, environment
from support.tools import require
from support.up import Up
from support.waiting import wait_until

PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
NODES, WATCH, PUBLISH, DRAIN = [line for block in BLOCKS for line in block.splitlines()]
START = "    .venv/bin/stoa up manifests/samples/quickstart --nodes 3 --store auto\n"


class Place:
    """Three running nodes, and the page's lines pointed at them."""

    def __init__(self, up: Up, port: int) -> None:
        self.up = up
        self._changes = {
            "8883": str(port),
            "8885": str(port + 2),
            ".stoa/plant": str(up.data),
            "manifests/samples/quickstart": str(up.folder),
            ".venv/bin/stoa": f"{shlex.quote(sys.executable)} -m mqtt_operator.cli.main",
        }

    def run(self, line: str) -> Program:
        for old, new in self._changes.items():
            line = line.replace(old, new)
        if "mqtt_operator" in line:
            line += f" --data {self.up.data}"
        return Program(["sh", "-c", f"exec {line}"], environment(), cwd=ROOT)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    require("redis-server")
    require("mosquitto_pub")
    folder = tmp_path_factory.mktemp("page")
    port = free_ports(3)
    copy = folder / "quickstart"
    shutil.copytree(ROOT / "manifests" / "samples" / "quickstart", copy)
    broker_file = copy / "broker.yaml"
    broker_file.write_text(broker_file.read_text(encoding="utf-8").replace("port: 8883", f"port: {port}"))
    assert START in PAGE
    with Up(copy, folder / "data", "--nodes", "3", "--store", "auto") as up:
        yield Place(up, port)


def test_nodes_are_shown_as_on_the_page(place: Place) -> None:
    with place.run(NODES) as shown:
        assert shown.wait() == 0, shown.dump()
    heading = "    " + shown.out[0]
    assert heading in PAGE.splitlines()
    assert [line.split()[:2] for line in shown.out[1:]] == [[f"plant-{number}", "ready"] for number in range(3)]


def test_what_is_published_at_one_node_is_heard_at_another(place: Place) -> None:
    with place.run(WATCH) as watching:

        def heard() -> bool:
            with place.run(PUBLISH) as published:
                assert published.wait() == 0, published.dump()
            return "plant/pump-1/note hello" in watching.out

        wait_until(heard, what="the viewer to see the note")
        watching.kill()


def test_a_node_is_sent_away(place: Place) -> None:
    with place.run(DRAIN) as drained:
        assert drained.wait(60.0) == 0, drained.dump()
    with place.run(NODES) as shown:
        assert shown.wait() == 1
    assert [line.split()[1] for line in shown.out[1:]] == ["ready", "ready", "away"]


@pytest.mark.parametrize("user", ["node", "operator"])
def test_the_rights_of_the_users_are_those_of_the_code(user: str) -> None:
    keys = StoreKeys("mqtt.plant")
    rules = keys.broker_rules if user == "node" else keys.operator_rules
    assert f"user {user} on {' '.join(rules)}" in PAGE.splitlines()
