"""What probes are told while a node waits for its store, serves, and leaves: a restart is for where it helps."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from cluster.nodes.scene import Scene
from mqtt_api.node_settings import DrainSettings, HTTPSettings
from support.processes import free_port
from support.waiting import eventually


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    drain = DrainSettings(connections_per_s=1, grace_s=10)
    with Scene(tmp_path, node={"drain": drain}) as scene:
        for node in scene.nodes:
            node.settings = replace(node.settings, http=HTTPSettings(host="127.0.0.1", port=free_port()))
        yield scene


async def probe(scene: Scene, number: int, path: str) -> tuple[int, str]:
    """Status and text; 0 if nobody answers."""
    http = scene.nodes[number].settings.http
    assert http is not None
    try:
        reader, writer = await asyncio.open_connection(http.host, http.port)
    except ConnectionRefusedError:
        return 0, ""
    with contextlib.closing(writer):
        writer.write(f"GET /{path} HTTP/1.1\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


async def test_a_node_that_waits_for_its_store_lives_has_started_and_is_not_ready(scene: Scene) -> None:
    scene.server.kill()
    scene.nodes[0].launch()
    await eventually(lambda: scene.events(0, "store.waiting"), 15.0, "the node to wait")
    assert await probe(scene, 0, "livez") == (200, "ok\n")
    assert await probe(scene, 0, "startupz") == (200, "ok\n")
    status, text = await probe(scene, 0, "readyz")
    assert status == 503
    assert text.startswith("not ready: waiting for the store: ")
    status, text = await probe(scene, 0, "status")
    assert status == 503
    assert '"ready": false' in text
    assert (await probe(scene, 0, "metrics"))[0] == 200
    scene.server.start()
    scene.found()
    await eventually(lambda: _is_ready(scene, 0), 15.0, "the node to be ready")


async def _is_ready(scene: Scene, number: int) -> bool:
    return await probe(scene, number, "readyz") == (200, "ok\n")


async def test_a_node_that_leaves_says_so_until_its_last_client_is_gone_and_is_gone_within_its_grace(
    scene: Scene,
) -> None:
    scene.start()
    await eventually(lambda: scene.facts(0).get("ready"), what="readiness in the lease")
    async with contextlib.AsyncExitStack() as ends:
        for number in range(5):
            client = await ends.enter_async_context(await scene.dial(0))
            await client.connect(f"c{number}")
        scene.nodes[0].program.signal(signal.SIGTERM)
        began = asyncio.get_running_loop().time()
        await eventually(lambda: _is_leaving(scene, 0), what="a node that leaves")
        await eventually(lambda: not scene.facts(0).get("ready"), what="a lease that says so")
        assert scene.facts(0)["is_draining"]
        assert (await probe(scene, 0, "livez"))[0] == 200
        assert await scene.status_of_exit(0) == 0
        assert asyncio.get_running_loop().time() - began < 10.0


async def _is_leaving(scene: Scene, number: int) -> bool:
    return await probe(scene, number, "readyz") == (503, "not ready: this node is leaving\n")
