"""Nodes of a cluster inside the test: real hubs and flows on a real server, over transports that are not sockets.

Knows how such a node is put together, and how a test gets between two of its steps; does not know what a right answer
is. All nodes share the test's event loop, so that what happens between two awaits of one happens to nobody else.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self, cast

from mqtt_api.node_settings import AuthenticationSettings, NodeSettings
from mqtt_api.policy import encode_policy
from mqtt_broker.auth.authenticate import Authenticator
from mqtt_broker.auth.passwords import PasswordVerifier
from mqtt_broker.auth.principal import Peer
from mqtt_broker.node.client import ClientConnection
from mqtt_broker.node.due import follow_due
from mqtt_broker.node.hub import Hub
from mqtt_broker.node.node import _load
from mqtt_broker.node.peers.cluster import Cluster
from mqtt_broker.node.policy_feed import offer
from mqtt_broker.node.serving import Serving
from mqtt_broker.store.redis.store import RedisStore
from mqtt_broker.wire.codec import encode
from mqtt_broker.wire.packets import Connect, Packet, Properties, ProtocolVersion
from support.inprocess import FakeTransport, InProcessClient, VirtualLoop
from support.policies import open_policy
from support.redis_rig import WORLD, make_world, settings_for
from support.redis_server import RedisServer
from support.waiting import eventually

ANONYMOUS = AuthenticationSettings(name="anonymous", type="Anonymous")
V5 = ProtocolVersion.V5


class InsideNode:
    """One node, and the listener of its connections. Made by `Inside.node`."""

    def __init__(self, hub: Hub, cluster: Cluster, store: RedisStore) -> None:
        self.hub = hub
        self.cluster = cluster
        self.store = store
        self.name = "inside"
        self.authenticator = Authenticator(hub.settings.authentication, hub.passwords)

    # A listener, as its connections see it --------------------------------------------------------------------------

    def identify(self, transport: asyncio.BaseTransport, address: str) -> Peer:
        return Peer(address=address, listener=self.name)

    def connection_closed(self, client: ClientConnection) -> None:
        """Nobody counts them."""

    # What tests do --------------------------------------------------------------------------------------------------

    def open(self) -> InProcessClient:
        connection = ClientConnection(self.hub, self, "192.0.2.1")
        transport = FakeTransport(cast("VirtualLoop", self.hub.loop), connection)
        connection.connection_made(transport)
        return InProcessClient(connection, transport)

    def say(self, client: InProcessClient, *packets: Packet) -> None:
        client.transport.deliver(b"".join(encode(packet, V5) for packet in packets))

    async def told(self, client: InProcessClient, kind: type[Packet], deadline_s: float = 10.0) -> Any:
        """The next packet of this kind that the node writes; others before it are passed over."""
        found: list[Packet] = []

        def look() -> bool:
            found.extend(packet for packet in client.take() if isinstance(packet, kind))
            return bool(found)

        await eventually(look, deadline_s, f"a {kind.__name__}")
        return found[0]

    def come(self, client_id: str, *, lasts_s: int = 300) -> InProcessClient:
        """Send a CONNECT; the answer is not waited for."""
        client = self.open()
        properties = Properties(session_expiry_interval=lasts_s)
        self.say(client, Connect(V5, client_id=client_id, clean_start=False, keep_alive=0, properties=properties))
        return client


class Inside:
    """A world on a server of its own, and the nodes in it. Use as `async with`."""

    def __init__(self, folder: Path) -> None:
        self.server = RedisServer(folder / "redis")
        self.settings = settings_for(self.server)
        self.nodes: list[InsideNode] = []
        self._ends = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._ends.enter_context(self.server)
        make_world(self.server, self.settings)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._ends.aclose()

    async def node(self, name: str) -> InsideNode:
        """Another node, which serves when this returns."""
        return await self._ends.enter_async_context(self._running(name))

    @contextlib.asynccontextmanager
    async def _running(self, name: str) -> AsyncIterator[InsideNode]:
        store = await RedisStore.open(self.settings)
        passwords = PasswordVerifier(1, 1)
        tasks: list[asyncio.Task[None]] = []
        try:
            settings = NodeSettings(
                node=name,
                broker="test/inside",
                world=WORLD,
                store=self.settings,
                policy_file="",
                admin_socket="",
                listeners=(),
                authentication=(ANONYMOUS,),
            )
            hub = Hub(settings, store, await store.join(name, WORLD), passwords)
            serving = Serving(hub, list, lambda: False)
            cluster = Cluster(serving, store, hub.membership, self.settings, lambda: None, lambda _: _nothing())
            hub.peers = cluster
            snapshot = await _load(hub)
            await cluster.start(snapshot)
            await offer(hub, encode_policy(open_policy(1)), "the test")
            await eventually(lambda: hub.revision == 1, what="the policy in force")
            node = InsideNode(hub, cluster, store)
            self.nodes.append(node)
            work = [*cluster.tasks(), ("due", follow_due(hub))]
            tasks += [asyncio.create_task(each, name=what) for what, each in work]
            yield node
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            passwords.close()
            await store.close()


async def _nothing() -> None:
    """The policy comes from the test."""
