"""Three real nodes on one real server, and what tests do with them.

Knows processes, the policy's way into the store, and doors; does not know what a right answer is. Methods that start or
end processes block.
"""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from msgspec.structs import replace

from cluster.chaos.node import WORLD, ClusterNode
from mqtt_api.node_settings import MQTTSettings, RedisSettings
from mqtt_api.policy import Policy, encode_policy
from mqtt_api.store_keys import StoreKeys
from mqtt_broker.wire.packets import ProtocolVersion
from mqtt_operator.channel.shared_store import SharedStore
from mqtt_operator.channel.terms import Writer
from support.broker import get
from support.client import Client, dial
from support.policies import open_policy
from support.redis_server import RedisServer, ServerOptions
from support.tools import require
from support.waiting import wait_until

KEYS = StoreKeys("mqtt.trio")
PASSWORD = "secret-of-trio"
APPLIED_S_MAX = 5.0
OPEN_S_MAX = 10.0
V5 = ProtocolVersion.V5
DIALLED: list[Client] = []  # by the test that runs


class Trio:
    """Nodes 0, 1 and 2. Use as `with`."""

    def __init__(
        self,
        folder: Path,
        policy: Policy | None = None,
        *,
        lease_s: float = 6.0,
        mqtt: MQTTSettings | None = None,
        on_revoke: str = "Mute",
        nodes: int = 3,
    ) -> None:
        require("redis-server")
        rules = {"node": KEYS.broker_rules, "operator": KEYS.operator_rules}
        users = tuple(f"{name} on >{PASSWORD} {' '.join(own)}" for name, own in rules.items())
        self.server = RedisServer(folder / "redis", ServerOptions(password=PASSWORD, users=users))
        password_file = folder / "password"
        password_file.write_text(PASSWORD)
        self._policy = policy or open_policy()
        settings = RedisSettings(
            addresses=(self.server.address,),
            key_prefix=KEYS.prefix,
            username="node",
            password_file=str(password_file),
            durability="Memory",
            lease_s=lease_s,
        )
        self._store = SharedStore(replace(settings, username="operator"))
        self._fence = 0
        self.nodes = [ClusterNode(f"node-{n}", folder / f"node-{n}", settings) for n in range(nodes)]
        for node in self.nodes:
            node.settings = replace(node.settings, on_revoke=on_revoke, mqtt=mqtt or node.settings.mqtt)

    def __enter__(self) -> Self:
        try:
            self.server.start()
            self._fence = self._store.found(WORLD, may_be_new=True).fence
            self.write(self._policy)
            self.start(*range(len(self.nodes)))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        complaints = [complaint for node in self.nodes for complaint in node.complaints()]
        self._end()
        assert not complaints, "\n".join(complaints)

    def _end(self) -> None:
        for node in self.nodes:
            node.close()
        self.server.stop()

    def start(self, *numbers: int) -> None:
        """All of them at once; returns when each of them takes connections."""
        with ThreadPoolExecutor(len(numbers)) as threads:
            list(threads.map(lambda number: self.nodes[number].start(), numbers))
        wait_until(lambda: all(map(self._is_open, numbers)), OPEN_S_MAX, "every node to listen")

    def _is_open(self, number: int) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.nodes[number].port), timeout=1):
                return True
        except OSError:
            return False

    # Policy ----------------------------------------------------------------------------------------------------------

    def write(self, policy: Policy) -> None:
        """Put it in force, as the operator does."""
        self._store.write_policy(Writer(world=WORLD, fence=self._fence), policy.revision, encode_policy(policy))

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

    # What nodes say --------------------------------------------------------------------------------------------------

    def status(self, number: int) -> dict[str, Any]:
        """What the node tells people of itself."""
        answer: dict[str, Any] = json.loads(get(Path(self.nodes[number].settings.admin_socket), "/status"))
        return answer

    def metric(self, number: int, line: str) -> float:
        """The value of one sample, named as it is written, labels included; 0 where there is none."""
        text = get(Path(self.nodes[number].settings.admin_socket), "/metrics").decode()
        found = [row.rsplit(" ", 1)[1] for row in text.splitlines() if row.rsplit(" ", 1)[0] == line]
        return float(found[0]) if found else 0.0

    # Clients ---------------------------------------------------------------------------------------------------------

    async def dial(self, number: int, version: ProtocolVersion = V5) -> Client:
        """A connection to this node; it ends with the test at the latest."""
        client = await dial(self.nodes[number].port, version)
        DIALLED.append(client)
        return client


class StartTrio(Protocol):
    """The fixture `start_trio`: running nodes that end with the test. No policy: an open one."""

    def __call__(self, policy: Policy | None = None, **options: Any) -> Trio: ...
