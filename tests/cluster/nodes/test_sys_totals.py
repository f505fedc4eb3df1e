"""$SYS/broker/cluster: every node shows the sums over all of them."""

from msgspec.structs import replace

from cluster.nodes.scene import StartTrio
from mqtt_api.node_settings import MQTTSettings
from mqtt_broker.wire.packets import Publish
from support.client import Client
from support.policies import allow, policy

SHOWN_S_MAX = 10.0


async def shows(client: Client, name: str, wanted: bytes) -> None:
    """Wait for this value of `$SYS/broker/cluster/<name>`."""
    value = b""
    while value != wanted:
        message = await client.expect(Publish, SHOWN_S_MAX)
        if message.topic == f"$SYS/broker/cluster/{name}":
            value = message.payload


async def test_every_node_shows_the_sums_over_all_nodes(start_trio: StartTrio) -> None:
    """Another node's part is as old as its last renewal; its own figures stand beside, for itself alone."""
    rights = policy(anonymous=[allow("#"), allow("$SYS/#", name="sys")])
    trio = start_trio(rights, mqtt=replace(MQTTSettings(), sys_interval_s=1))
    clients = [await trio.dial(number) for number in (0, 0, 1, 2)]
    for number, client in enumerate(clients):
        await client.connect(f"c{number}")
    for number in range(3):
        watcher = await trio.dial(number)
        await watcher.connect("watcher")  # one id: it moves from node to node
        await watcher.subscribe("$SYS/broker/cluster/#", qos=0)
        await shows(watcher, "clients/connected", b"5")
        await watcher.subscribe("$SYS/broker/cluster/nodes", qos=0)
        await shows(watcher, "nodes", b"3")
