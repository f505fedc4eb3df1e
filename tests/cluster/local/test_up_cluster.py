"""`stoa up --nodes 3`, as a person starts it: one broker at several ports, one policy, and nodes that come and go."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.local.ports import free_ports
from mqtt_api.store_keys import StoreKeys
from mqtt_operator.channel.connection import connect
from mqtt_operator.local.data_folder import DataFolder
from mqtt_operator.local.run_document import read_run
from support.processes import Program, environment, run
from support.redis_server import RedisServer, ServerOptions
from support.tools import require
from support.up import Up, resource, stoa, write_resources
from support.waiting import wait_until

NODES = ("plant-0", "plant-1", "plant-2")
PERSISTENT = ("-V", "mqttv5", "-c", "-x", "300")
ANYONE = [{"name": "anyone", "type": "Anonymous"}]


def plant(folder: Path, port: int, topics: list[str], **spec: Any) -> Path:
    usual: dict[str, Any] = {
        "sessionStore": {"embedded": {}},
        "authentication": ANYONE,
        "listeners": [{"name": "mqtt", "port": port, "allowPlaintext": True}],
    }
    rule = {"name": "all", "effect": "Allow", "activity": "All", "topics": topics}
    write_resources(
        folder / "plant.yaml",
        [
            resource("MQTTBroker", "plant", **{**usual, **spec}),
            resource(
                "TopicPermission", "open", brokerRef={"name": "plant"}, subjects=[{"kind": "Anonymous"}], rules=[rule]
            ),
        ],
    )
    return folder


def nodes_of(up: Up) -> list[dict[str, Any]]:
    shown = run(stoa("nodes", up.folder, "--data", up.data, "-o", "json"))
    return list(json.loads("\n".join(shown.out)))


def publish(port: int, topic: str, message: str, *more: str) -> subprocess.CompletedProcess[str]:
    command = ["mosquitto_pub", "-V", "mqttv5", "-p", str(port), "-t", topic, "-m", message, "-q", "1", *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def subscriber(port: int, topic: str, *more: str) -> Program:
    return Program(
        ["mosquitto_sub", "-p", str(port), "-t", topic, "-q", "1", "-i", f"sub-{port}", *more], environment()
    )


def heard(client: Program, port: int, topic: str) -> None:
    """Return when the client has got something that was published at this port."""

    def came() -> bool:
        assert publish(port, topic, "hello").returncode == 0
        return "hello" in client.out

    wait_until(came, what="a message from another node")


@pytest.fixture(scope="module")
def port() -> int:
    return free_ports(3)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Up]:
    require("redis-server")
    require("mosquitto_pub")
    folder = tmp_path_factory.mktemp("cluster")
    with Up(plant(folder / "plant", port, ["a/#"]), folder / "data", "--nodes", "3", "--store", "auto") as running:
        yield running


def test_every_node_is_ready_at_ports_of_its_own(up: Up, port: int) -> None:
    shown = nodes_of(up)
    assert [(each["node"], each["state"], each["policy"]) for each in shown] == [(node, "ready", 1) for node in NODES]
    assert [each["address"] for each in shown] == [f"mqtt 127.0.0.1:{port + number}" for number in range(3)]
    wait_until(lambda: all(each["lag"] == 0 for each in nodes_of(up)), what="nobody to lag")


def test_a_message_reaches_subscribers_of_every_node(up: Up, port: int) -> None:
    with subscriber(port, "a/news") as first, subscriber(port + 2, "a/news") as last:
        for each in (first, last):
            heard(each, port + 1, "a/news")
            each.kill()


def test_a_changed_policy_is_in_force_on_every_node(up: Up, port: int) -> None:
    refused = [publish(port + number, "b/news", "x") for number in range(3)]
    assert all("Not authorized" in each.stderr for each in refused)
    plant(up.folder, port, ["a/#", "b/#"])
    wait_until(lambda: [each["policy"] for each in nodes_of(up)] == [2, 2, 2], what="revision 2 on every node")
    accepted = [publish(port + number, "b/news", "x") for number in range(3)]
    assert [each.stderr for each in accepted] == ["", "", ""]


def test_a_changed_setting_is_in_force_on_every_node(up: Up, port: int) -> None:
    plant(up.folder, port, ["a/#", "b/#"], mqtt={"maximumQoS": 0})
    up.program.wait_for_line("Applied: the settings of the node")
    refused = [publish(port + number, "a/news", "x") for number in range(3)]
    assert all(each.returncode != 0 or each.stderr for each in refused)
    plant(up.folder, port, ["a/#", "b/#"])
    wait_until(lambda: publish(port + 2, "a/news", "x").stderr == "", what="QoS 1 on the last node")


def test_a_killed_node_is_started_again(up: Up) -> None:
    pid = node_pid(up, "plant-1")
    run(["kill", "-9", str(pid)])
    up.program.wait_for_line("plant-1 ended (signal 9)")
    wait_until(lambda: nodes_of(up)[1]["state"] == "ready", 20.0, "plant-1 to be back")
    assert node_pid(up, "plant-1") != pid


def node_pid(up: Up, node: str) -> int:
    settings = f"{up.data}/nodes/{node}/settings.json"
    (pid,) = [
        int(each.name)
        for each in Path("/proc").iterdir()
        if each.name.isdigit() and settings in _command_line(each).split("\0")
    ]
    return pid


def _command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_text()
    except OSError:
        return ""


def test_no_process_shows_a_password_and_no_line_tells_one(up: Up) -> None:
    passwords = [path.read_text() for path in up.data.rglob("*.password")]
    assert len(passwords) == 2
    lines = [_command_line(each) for each in Path("/proc").iterdir() if each.name.isdigit()]
    told = [*lines, *up.program.lines, *(path.read_text() for path in up.data.rglob("settings.json"))]
    assert not any(password in text for password in passwords for text in told)


def test_a_drained_node_leaves_and_stays_away(up: Up, port: int) -> None:
    with subscriber(port + 2, "a/drain", *PERSISTENT) as client:
        heard(client, port, "a/drain")
        drained = run(stoa("drain", "plant-2", "-f", up.folder, "--data", up.data), 60.0)
        assert drained.returncode() == 0, drained.dump()
        assert drained.out[-1] == "plant-2 has left; it is back when `stoa up` is started again."
        client.kill()
    up.program.wait_for_line("plant-2 has left")
    assert [each["state"] for each in nodes_of(up)] == ["ready", "ready", "away"]
    again = run(stoa("drain", "plant-2", "-f", up.folder, "--data", up.data))
    assert (again.returncode(), again.out) == (0, ["plant-2 is not there: nothing to do."])
    assert publish(port, "a/drain", "while away").stderr == ""
    # The session of the drained node's client lives on: another node has what came meanwhile.
    name = ("-i", f"sub-{port + 2}")
    with subscriber(port, "a/drain", *name, *PERSISTENT) as back:
        back.wait_for_line("while away")
        back.kill()


def test_after_a_stop_nothing_is_left_and_a_new_start_has_all_of_it(up: Up, port: int) -> None:
    assert publish(port, "a/kept", "kept", "-r").stderr == ""
    store = store_pid(up)
    assert up.program.stop() == 0
    assert not Path(f"/proc/{store}").exists()
    assert not [each for each in Path("/proc").iterdir() if each.name.isdigit() and str(up.data) in _command_line(each)]
    up.start()
    assert [each["state"] for each in nodes_of(up)] == ["ready"] * 3
    with subscriber(port + 1, "a/kept") as back:
        back.wait_for_line("kept")
        back.kill()


def test_an_emptied_store_is_refused(up: Up) -> None:
    up.program.stop()
    shutil.rmtree(up.data / "redis" / "appendonlydir")
    refused = up.launch()
    assert refused.wait() == 1
    assert any("The store is empty, but it was in use" in line for line in refused.err), refused.dump()


def test_one_entrance_for_all_nodes_leads_past_one_that_leaves(tmp_path: Path) -> None:
    for program in ("redis-server", "haproxy", "mosquitto_pub"):
        require(program)
    port = free_ports(3)
    folder = plant(tmp_path / "plant", port, ["#"], sessionStore={"managed": {}}, replicas=2)
    with Up(folder, tmp_path / "data", "--front") as up:
        assert [each["address"] for each in nodes_of(up)] == [f"mqtt 127.0.0.1:{port + n}" for n in (1, 2)]
        assert publish(port, "a", "x").stderr == ""
        run(stoa("drain", "plant-0", "-f", up.folder, "--data", up.data), 60.0)
        wait_until(lambda: all(publish(port, "a", "x").returncode == 0 for _ in range(4)), what="the front to know")


def test_a_broker_that_declares_a_redis_uses_it_with_two_users(tmp_path: Path) -> None:
    require("redis-server")
    port = free_ports(2)
    with RedisServer(tmp_path / "redis") as redis:
        keys = StoreKeys("mqtt.plant")
        for user, rules in (("n", keys.broker_rules), ("o", keys.operator_rules)):
            redis.execute("ACL", "SETUSER", user, "on", f">{user}-secret", *rules)
        store = {
            "redis": {
                "addresses": [redis.address],
                "keyPrefix": "mqtt.plant",
                "credentialsRef": {"name": "n", "usernameKey": "user"},
                "operatorCredentialsRef": {"name": "o", "usernameKey": "user"},
            },
            "durability": {"level": "Memory"},
        }
        folder = plant(tmp_path / "plant", port, ["#"], sessionStore=store, replicas=2)
        secrets = [
            {"kind": "Secret", "metadata": {"name": user}, "stringData": {"user": user, "password": f"{user}-secret"}}
            for user in ("n", "o")
        ]
        write_resources(folder / "secrets.yaml", secrets)
        with Up(folder, tmp_path / "data") as up:
            assert [each["state"] for each in nodes_of(up)] == ["ready", "ready"]
            assert "Redis at " in "\n".join(up.program.out)


def test_ready_in_a_few_seconds(up: Up, tmp_path: Path) -> None:
    """Three nodes, a store server and all files made anew, on a machine that does other things besides."""
    del up  # only for its programs
    port = free_ports(3)
    folder = plant(tmp_path / "plant", port, ["#"], sessionStore={"managed": {}}, replicas=3)
    began = time.monotonic()
    with Up(folder, tmp_path / "data"):
        assert time.monotonic() - began < 15.0


def store_pid(up: Up) -> int:
    """The store server, asked by itself."""
    store = read_run(DataFolder(up.data)).store
    assert store is not None
    with connect(store) as client:
        return int(client.info("server")["process_id"])


def test_a_store_that_went_back_in_time_is_noticed_told_and_served_again(tmp_path: Path) -> None:
    for program in ("redis-server", "mosquitto_pub"):
        require(program)
    port = free_ports(2)
    folder = plant(tmp_path / "plant", port, ["#"], sessionStore={"managed": {}}, replicas=2)
    with Up(folder, tmp_path / "data") as up:
        files, backup = up.data / "redis" / "appendonlydir", tmp_path / "backup"
        shutil.copytree(files, backup)
        for _ in range(3):
            assert publish(port, "a", "kept", "-r").stderr == ""
        os.kill(store_pid(up), signal.SIGKILL)
        shutil.rmtree(files)
        backup.rename(files)
        up.program.wait_for_line("The store came back older than it was", 30.0)
        wait_until(lambda: [each["state"] for each in nodes_of(up)] == ["ready"] * 2, 30.0, "both nodes to serve again")
        assert publish(port + 1, "a", "x").stderr == ""


def test_a_plain_redis_named_on_the_command_line_will_do_also_after_it_was_restarted(tmp_path: Path) -> None:
    for program in ("redis-server", "mosquitto_pub"):
        require(program)
    port = free_ports(2)
    folder = plant(tmp_path / "plant", port, ["#"])
    with RedisServer(tmp_path / "redis", ServerOptions(appendfsync="always")) as redis:
        store = ("--nodes", "2", "--store", f"redis://{redis.address}")
        with Up(folder, tmp_path / "data", *store) as up:
            assert publish(port, "a", "x").stderr == ""
            redis.stop()
            redis.start()  # it has forgotten the users that it was given
            up.program.wait_for_line("the store is back")
            wait_until(lambda: [each["state"] for each in nodes_of(up)] == ["ready"] * 2, 20.0, "both nodes to be back")
            assert publish(port + 1, "a", "x").stderr == ""
