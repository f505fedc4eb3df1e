"""Nodes on a store to which things happen: each node may reach it through a proxy of its own, and any process may die.

Knows processes, the operator's way into the store, and what nodes tell; does not know what a right answer is. Methods
that start or end processes block: an event loop calls them in threads.
"""

import asyncio
import json
import shutil
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from msgspec.structs import replace

from cluster.chaos.node import WORLD, ClusterNode
from mqtt_api.node_settings import RedisSettings
from mqtt_api.policy import Policy, encode_policy
from mqtt_api.store_keys import StoreKeys
from mqtt_broker.wire.packets import (
    NO_PROPERTIES,
    ConnAck,
    Connect,
    Properties,
    ProtocolVersion,
    SubAck,
    Subscribe,
    SubscriptionRequest,
    Will,
)
from mqtt_operator.channel.shared_store import SharedStore
from mqtt_operator.channel.terms import Writer
from support.broker import get
from support.client import Client, dial
from support.policies import open_policy
from support.proxy import Proxy
from support.redis_server import RedisServer, ServerOptions
from support.tools import require
from support.waiting import eventually, wait_until

KEYS = StoreKeys("mqtt.scene")
PASSWORD = "secret-of-scene"
LEASE_S = 4.0
TRIO_LEASE_S = 6.0
APPLIED_S_MAX = 5.0
V5 = ProtocolVersion.V5
EXIT_S_MAX = 20.0
DIALLED: list[Client] = []  # by the test that runs


class Scene:
    """Use as `with`. `store` and `node` change fields of the settings, `server` those of the server's options.

    No policy: an open one. `proxied`: whether nodes reach the store through the proxies.
    """

    def __init__(
        self,
        folder: Path,
        policy: Policy | None = None,
        *,
        nodes: int = 2,
        proxied: bool = True,
        durability: str = "Memory",
        store: Mapping[str, Any] | None = None,
        node: Mapping[str, Any] | None = None,
        server: Mapping[str, Any] | None = None,
    ) -> None:
        require("redis-server")
        self.folder = folder
        rules = {"node": KEYS.broker_rules, "operator": KEYS.operator_rules}
        users = tuple(f"{name} on >{PASSWORD} {' '.join(own)}" for name, own in rules.items())
        appendfsync = "always" if durability == "Disk" else None
        options = ServerOptions(password=PASSWORD, users=users, appendfsync=appendfsync)
        self.server = RedisServer(folder / "redis", replace(options, **(server or {})))
        self._nodes_max = nodes
        self.proxies = [Proxy((self.server.host, self.server.port)) for _ in range(nodes if proxied else 0)]
        password_file = folder / "password"
        password_file.write_text(PASSWORD)
        self._settings = RedisSettings(
            addresses=(self.server.address,),
            key_prefix=KEYS.prefix,
            username="node",
            durability=durability,
            **{"lease_s": LEASE_S, "password_file": str(password_file), **(store or {})},
        )
        self._changes = dict(node or {})
        self._policy = policy or open_policy()
        self._fence = 0
        self.operator = SharedStore(replace(self._settings, username="operator"))
        self.nodes: list[ClusterNode] = []
        self._ends = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as ends:
            ends.callback(self._end_nodes)
            for proxy in self.proxies:
                ends.enter_context(proxy)
            ends.callback(self.server.stop)
            self.server.start()
            self.found()
            for number in range(self._nodes_max):
                address = self.proxies[number].address if self.proxies else None
                self.nodes.append(self.make_node(f"node-{number}", f"node-{number}", address))
            self._ends = ends.pop_all()
        return self

    def make_node(self, name: str, folder: str, address: str | None = None) -> ClusterNode:
        """Another process; not started, and not ended by us unless it is put into `nodes`."""
        settings = replace(self._settings, addresses=(address or self.server.address,))
        node = ClusterNode(name, self.folder / folder, settings)
        node.settings = replace(node.settings, **self._changes)
        return node

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        traces = [line for node in self.nodes if not node.is_down for line in node.program.err if "Traceback" in line]
        self._ends.close()
        assert not traces, traces

    def _end_nodes(self) -> None:
        for node in self.nodes:
            node.close()

    # The store -------------------------------------------------------------------------------------------------------

    def found(self, revision: int = 1) -> None:
        """Give the store its identity and a policy, as the operator does; also after a rollback, which it accepts."""
        self._fence = self.operator.found(WORLD, may_be_new=revision == 1).fence
        self.write(replace(self._policy, revision=revision))

    def write(self, policy: Policy) -> None:
        """Put it in force, as the operator does."""
        self.operator.write_policy(Writer(world=WORLD, fence=self._fence), policy.revision, encode_policy(policy))

    def apply(self, policy: Policy) -> None:
        """`write`, and wait until every node decides by it."""
        self.write(policy)
        self.wait_for_revision(policy.revision)

    def wait_for_revision(self, revision: int) -> None:
        """Until every node decides by it."""
        numbers = range(len(self.nodes))
        wait_until(
            lambda: all(self.status(number)["policy_revision"] == revision for number in numbers),
            APPLIED_S_MAX,
            f"revision {revision} everywhere",
        )

    def save(self, name: str) -> None:
        """Keep a copy of the server's data as it is on its disk now."""
        shutil.copytree(self.server.folder / "appendonlydir", self.folder / name)

    def bring_back(self, name: str) -> None:
        """Put a copy in the place of the data of a server that does not run."""
        data = self.server.folder / "appendonlydir"
        shutil.rmtree(data)
        shutil.copytree(self.folder / name, data)

    # Nodes -----------------------------------------------------------------------------------------------------------

    def start(self, *numbers: int) -> Self:
        """All of these at once, or all there are."""
        chosen = numbers or tuple(range(len(self.nodes)))
        with ThreadPoolExecutor(len(chosen)) as threads:
            list(threads.map(lambda number: self.nodes[number].start(), chosen))
        return self

    def drain(self, number: int) -> int:
        """SIGTERM, and wait for the end; its status. The log can be read until the node is started again."""
        program = self.nodes[number].program
        program.signal(signal.SIGTERM)
        return program.wait(EXIT_S_MAX)

    async def status_of_exit(self, number: int, deadline_s: float = EXIT_S_MAX) -> int:
        """Wait for a node to end by itself."""
        return await asyncio.to_thread(self.nodes[number].program.wait, deadline_s)

    def status(self, number: int) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(get(self.door(number), "/status"))
        return answer

    def facts(self, number: int) -> dict[str, Any]:
        """What the node tells of itself with its lease, as it lies in the store."""
        lease = self.server.execute("HGET", KEYS.leases, self.nodes[number].name)
        told: dict[str, Any] = json.loads(lease.split(b" ", 3)[3])
        return told

    def lacks(self, number: int) -> str:
        """What /readyz says; "" if the node is ready."""
        try:
            get(self.door(number), "/readyz")
        except AssertionError as refused:
            status, body = refused.args[0]
            assert status == 503
            return str(body.decode())
        return ""

    def metric(self, number: int, name: str) -> float:
        """A sample without labels."""
        lines = get(self.door(number), "/metrics").decode().splitlines()
        return next(float(line.rsplit(" ", 1)[1]) for line in lines if line.rsplit(" ", 1)[0] == name)

    def door(self, number: int) -> Path:
        return Path(self.nodes[number].settings.admin_socket)

    def events(self, number: int, name: str) -> list[dict[str, Any]]:
        """Lines of the node's log of this event."""
        lines = (json.loads(line) for line in list(self.nodes[number].program.err) if line.startswith("{"))
        return [line for line in lines if line.get("event") == name]

    async def logged(self, number: int, name: str, deadline_s: float = 15.0) -> dict[str, Any]:
        found = await eventually(lambda: self.events(number, name), deadline_s, f"{name} in the log of node {number}")
        return found[0]

    def wait_ready(self, number: int, deadline_s: float = 15.0) -> None:
        wait_until(lambda: not self.lacks(number), deadline_s, f"node {number} to be ready")

    # Clients ---------------------------------------------------------------------------------------------------------

    async def dial(self, number: int, version: ProtocolVersion = V5) -> Client:
        """A connection to this node; it ends with the test at the latest."""
        client = await dial(self.nodes[number].port, version)
        DIALLED.append(client)
        return client


class StartScene(Protocol):
    """The fixture `start_scene`: a store and proxies, and nodes that are not started yet; ends with the test."""

    def __call__(self, **options: Any) -> Scene: ...


@contextmanager
def running_trio(
    folder: Path, policy: Policy | None = None, *, nodes: int = 3, lease_s: float = TRIO_LEASE_S, **node: Any
) -> Iterator[Scene]:
    """Nodes that serve, and of which none ends by itself. `node`: as of Scene."""
    with Scene(folder, policy, nodes=nodes, proxied=False, store={"lease_s": lease_s}, node=node) as scene:
        yield scene.start()
        complaints = [complaint for each in scene.nodes for complaint in each.complaints()]
        assert not complaints, "\n".join(complaints)


class StartTrio(Protocol):
    """The fixture `start_trio`: running nodes that end with the test, as `running_trio` makes them."""

    def __call__(self, policy: Policy | None = None, **options: Any) -> Scene: ...


async def rest_of(client: Client, deadline_s: float = 10.0) -> bytes:
    """Every byte that still comes until the connection ends."""
    received = b""
    async with asyncio.timeout(deadline_s):
        try:
            while data := await client.receive_bytes(65_536):
                received += data
        except ConnectionError:
            pass
    return received


async def connect(
    client: Client,
    client_id: str,
    deadline_s: float,
    *,
    clean_start: bool = False,
    keep_alive: int = 60,
    will: Will | None = None,
    properties: Properties = NO_PROPERTIES,
) -> ConnAck:
    """As Client.connect, for an answer that may take long."""
    packet = Connect(
        version=client.version,
        client_id=client_id,
        clean_start=clean_start,
        keep_alive=keep_alive,
        will=will,
        properties=properties,
    )
    await client.send(packet)
    return await client.expect(ConnAck, deadline_s)


async def subscribe(client: Client, topic_filter: str, deadline_s: float, qos: int = 1) -> SubAck:
    """As Client.subscribe, for an answer that may take long."""
    await client.send(Subscribe(client.packet_id(), (SubscriptionRequest(topic_filter, qos),)))
    return await client.expect(SubAck, deadline_s)
