"""Nodes whose files are mounted Secrets: passwords, authorities and certificates that change while nodes run."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from msgspec.structs import replace

from cluster.nodes.scene import PASSWORD, Scene
from mqtt_api.node_settings import ListenerSettings, RedisTLSSettings, TLSSettings
from support.certificates import Authority
from support.client import Client
from support.mounted import Mounted
from support.processes import free_port
from support.redis_server import TLSFiles
from support.waiting import eventually

SECOND = "second-of-scene"


@contextlib.asynccontextmanager
async def traffic(scene: Scene) -> AsyncIterator[list[int]]:
    """One client publishes QoS 1 at node 0 to another at node 1, until the end; the numbers that were acknowledged."""
    acknowledged: list[int] = []
    stop = asyncio.Event()

    async def publish(publisher: Client) -> None:
        while not stop.is_set():
            await publisher.publish("t", b"%d" % len(acknowledged), qos=1)
            acknowledged.append(len(acknowledged))
            await asyncio.sleep(0.01)

    async with await scene.dial(0) as publisher, await scene.dial(1) as device:
        await device.connect("device")
        await device.subscribe("t", qos=1)
        await publisher.connect("publisher")
        publishing = asyncio.create_task(publish(publisher))
        yield acknowledged
        stop.set()
        await publishing
        received = [int((await device.receive_message()).payload) for _ in acknowledged]
        assert received == acknowledged  # nobody was disconnected, and nothing lost


async def more(acknowledged: list[int], count: int = 5) -> None:
    before = len(acknowledged)
    await eventually(lambda: len(acknowledged) >= before + count, what="acknowledgements")


@pytest.fixture
def credentials(tmp_path: Path) -> Mounted:
    return Mounted(tmp_path / "credentials", {"password": PASSWORD.encode()})


@pytest.fixture
def scene(tmp_path: Path, credentials: Mounted) -> Iterator[Scene]:
    with Scene(tmp_path, store={"password_file": str(credentials / "password")}) as scene:
        yield scene.start()


async def test_a_rotated_store_password_is_taken_without_a_word_to_any_client(
    scene: Scene, credentials: Mounted
) -> None:
    """Two are valid while the nodes' files change; whoever connects from then on uses the new one."""
    async with traffic(scene) as acknowledged:
        await more(acknowledged)
        scene.server.execute("ACL", "SETUSER", "node", f">{SECOND}")
        credentials.swap({"password": SECOND.encode()})
        await more(acknowledged)
        scene.server.execute("ACL", "SETUSER", "node", f"<{PASSWORD}")
        await more(acknowledged)  # connections that stand are not asked again
        scene.server.execute("CLIENT", "KILL", "USER", "node")
        await more(acknowledged)
    assert not [event for number in range(2) for event in scene.events(number, "node.frozen")]


async def test_a_password_that_was_taken_away_too_early_heals_as_soon_as_the_file_has_the_new_one(
    scene: Scene, credentials: Mounted
) -> None:
    async with traffic(scene) as acknowledged:
        await more(acknowledged)
        scene.server.execute("ACL", "SETUSER", "node", "resetpass", f">{SECOND}")
        scene.server.execute("CLIENT", "KILL", "USER", "node")
        away = (await scene.logged(0, "store.away"))["message"]
        assert "check the user's ACL entry and the password file" in away
        assert PASSWORD not in away
        credentials.swap({"password": SECOND.encode()})
        await more(acknowledged)


async def test_the_authority_of_the_stores_certificate_is_replaced_while_nodes_run(tmp_path: Path) -> None:
    """Nodes trust both while the server changes its certificate, then the new one alone."""
    first, second = Authority(tmp_path / "first", "first"), Authority(tmp_path / "second", "second")
    trust = Mounted(tmp_path / "trust", {"ca.crt": first.ca_file.read_bytes()})
    files = TLSFiles(first.ca_file, first.server())
    tls = RedisTLSSettings(ca_files=(str(trust / "ca.crt"),))
    with Scene(tmp_path, store={"tls": tls}, server={"tls": files}) as scene:
        scene.start()
        async with traffic(scene) as acknowledged:
            await more(acknowledged)
            trust.swap({"ca.crt": first.ca_file.read_bytes() + second.ca_file.read_bytes()})
            renewed = second.server()
            with scene.server.client() as administrator:  # connected before, for it trusts the first authority alone
                certificate, key = str(renewed.certificate_file), str(renewed.key_file)
                administrator.config_set("tls-cert-file", certificate, "tls-key-file", key)
                administrator.execute_command("CLIENT", "KILL", "USER", "node")
                await more(acknowledged)
                trust.swap({"ca.crt": second.ca_file.read_bytes()})
                administrator.execute_command("CLIENT", "KILL", "USER", "node")
                await more(acknowledged)
        with pytest.raises(redis.ConnectionError, match="certificate verify failed"):
            scene.server.execute("PING")


async def test_a_renewed_certificate_is_served_told_with_the_lease_and_breaks_no_connection(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    issued = authority.server("first")
    served = Mounted(tmp_path / "tls", secret_of(issued))
    tls = TLSSettings(certificate_file=str(served / "tls.crt"), key_file=str(served / "tls.key"))
    with Scene(tmp_path) as scene:
        node = scene.nodes[0]
        secure = ListenerSettings(name="mqtts", host="127.0.0.1", port=free_port(), tls=tls)
        node.settings = replace(node.settings, listeners=(*node.settings.listeners, secure))
        scene.start()
        async with await scene.dial(0) as client:
            await client.connect("c")
            await eventually(lambda: told(scene).get("ready"), what="readiness in the lease")
            first = told(scene)["certificates"]["mqtts"]
            assert int(first["serial"], 16) == issued.serial
            renewed = authority.server("second")
            served.swap(secret_of(renewed))
            await eventually(
                lambda: int(told(scene)["certificates"]["mqtts"]["serial"], 16) == renewed.serial, what="the new serial"
            )
            assert told(scene)["certificates"]["mqtts"]["not_after"].endswith("+00:00")
            await client.ping()


def secret_of(issued: Any) -> dict[str, bytes]:
    return {"tls.crt": issued.certificate_file.read_bytes(), "tls.key": issued.key_file.read_bytes()}


def told(scene: Scene) -> dict[str, Any]:
    """What node 0 says of itself in its lease, as it lies in the store."""
    return scene.facts(0)


async def test_a_lease_tells_version_and_readiness_and_a_node_that_leaves_is_not_ready(tmp_path: Path) -> None:
    with Scene(tmp_path) as scene:
        scene.start()
        await eventually(lambda: told(scene).get("ready"), what="readiness in the lease")
        assert told(scene)["version"] == scene.status(0)["version"]
        assert "certificates" not in told(scene)  # none is told by leaving it out
