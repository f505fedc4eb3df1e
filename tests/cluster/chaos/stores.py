"""The stores that a cluster under test can stand on, each with what can be done to it.

Knows servers, proxies and how a node is told of them; does not know nodes or clients. Methods block.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from cluster.chaos.clock import WallClock, compiler
from cluster.chaos.disk import SmallDisk
from cluster.chaos.node import WORLD
from mqtt_api.node_settings import RedisSettings
from mqtt_api.policy import Policy, encode_policy
from mqtt_api.store_keys import StoreKeys
from mqtt_operator.channel.shared_store import SharedStore
from mqtt_operator.channel.terms import Writer
from support.broker import write
from support.proxy import Proxy
from support.redis_server import RedisServer, Sentinel, ServerOptions, redis_binary

KEYS = StoreKeys("mqtt.chaos")
NODE_USER = "node"
OPERATOR_USER = "operator"
ADMIN_PASSWORD = "admin-of-chaos"
PASSWORD = "secret-of-chaos"
LEASE_S = 6.0
MASTER_NAME = "chaos"


class Place(Protocol):
    """Where the state of a cluster lies. `has` names what a fault may need: redis, sentinel, proxy, clock, tmpfs."""

    has: frozenset[str]

    def start(self, policy: Policy) -> None:
        """Begin, found the world, and put a policy in force."""
        ...

    def stop(self) -> None: ...

    def settings(self, node: str) -> str | RedisSettings:
        """What a node is told. The same for each call with one name."""
        ...

    def heal(self) -> None:
        """Undo whatever was done to it. Idempotent."""
        ...

    def used_bytes(self) -> int: ...


class OwnFile:
    """The embedded store: one node, one SQLite file."""

    has: frozenset[str] = frozenset()

    def __init__(self, folder: Path) -> None:
        self.file = folder / "store.db"
        self.policy_file = folder / "policy.json"

    def start(self, policy: Policy) -> None:
        write(self.policy_file, encode_policy(policy))

    def stop(self) -> None:
        pass

    def settings(self, node: str) -> str | RedisSettings:
        return f"sqlite:{self.file}"

    def heal(self) -> None:
        pass

    def used_bytes(self) -> int:
        return self.file.stat().st_size if self.file.exists() else 0


def _options(durability: str, replica_of: RedisServer | None = None) -> ServerOptions:
    users = (
        f"{NODE_USER} on >{PASSWORD} {' '.join(KEYS.broker_rules)}",
        f"{OPERATOR_USER} on >{PASSWORD} {' '.join(KEYS.operator_rules)}",
    )
    appendfsync = {"Disk": "always", "Replicated": "everysec"}.get(durability)
    return ServerOptions(
        password=ADMIN_PASSWORD,
        users=users,
        appendfsync=appendfsync,
        replica_of=replica_of,
        more={"logfile": "log"},
    )


class OneRedis:
    """One server; each node reaches it through a proxy of its own."""

    def __init__(
        self, folder: Path, durability: str, nodes: tuple[str, ...], *, wants: frozenset[str] = frozenset()
    ) -> None:
        """`wants`: a clock that can be set ("clock"), a disk that can be filled ("tmpfs"), where they can be had."""
        folder.mkdir(parents=True, exist_ok=True)
        self.durability = durability
        self.clock = WallClock(folder / "clock") if "clock" in wants and compiler() else None
        program = redis_binary()
        assert program is not None, "there is no redis-server on the path"
        binary = self.clock.wrapped(program) if self.clock else program
        disk = SmallDisk(folder / "redis")
        self.disk = disk if "tmpfs" in wants and disk.mount() else None
        self._ends = ExitStack()
        if self.disk is not None:
            self._ends.callback(self.disk.unmount)
        self.server = RedisServer(folder / "redis", _options(durability), binary=binary)
        extras = {"clock": self.clock is not None, "tmpfs": self.disk is not None}
        self.has = frozenset({"redis", "proxy", *(name for name, is_there in extras.items() if is_there)})
        self.proxies = {node: Proxy((self.server.host, self.server.port)) for node in nodes}
        self._password_file = folder / "password"
        self._password_file.write_text(PASSWORD)
        self.is_down = False

    def start(self, policy: Policy) -> None:
        for proxy in self.proxies.values():
            self._ends.enter_context(proxy)
        self._ends.callback(self.server.stop)
        self.server.start()
        _write_policy(self._settings((self.server.address,), OPERATOR_USER), policy)

    def stop(self) -> None:
        self._ends.close()

    def settings(self, node: str) -> str | RedisSettings:
        return self._settings((self.proxies[node].address,), NODE_USER)

    def _settings(self, addresses: tuple[str, ...], username: str) -> RedisSettings:
        return RedisSettings(
            addresses=addresses,
            key_prefix=KEYS.prefix,
            username=username,
            password_file=str(self._password_file),
            durability=self.durability,
            lease_s=LEASE_S,
        )

    def kill(self) -> None:
        """SIGKILL."""
        self.is_down = True
        self.server.kill()

    def restart(self) -> None:
        """After `kill`: the same folder and port."""
        self.server.start()
        self.is_down = False

    def heal(self) -> None:
        for proxy in self.proxies.values():
            proxy.heal()
        if self.clock is not None:
            self.clock.set(0)
        if self.disk is not None:
            self.disk.free()
        if self.is_down:
            self.restart()
        self.server.resume()
        for name, value in (("maxmemory", 0), ("min-replicas-to-write", 0)):
            self.server.execute("CONFIG", "SET", name, value)
        if self.server.role() != "master":
            self.server.execute("REPLICAOF", "NO", "ONE")

    def used_bytes(self) -> int:
        return int(self.server.execute("INFO", "memory")["used_memory"])


class WatchedRedis:
    """A primary, a replica that may be promoted, and a sentinel. Nodes wait for the replica with each write."""

    def __init__(self, folder: Path, durability: str) -> None:
        self.has = frozenset({"sentinel"})
        folder.mkdir(parents=True, exist_ok=True)
        self.durability = durability
        first = RedisServer(folder / "redis-0", _options(durability))
        self.servers = [first, RedisServer(folder / "redis-1", _options(durability, first))]
        self.sentinel = Sentinel(folder / "sentinel", first, MASTER_NAME)
        self._password_file = folder / "password"
        self._password_file.write_text(PASSWORD)
        self._down: list[RedisServer] = []
        self._locked: list[RedisServer] = []

    def start(self, policy: Policy) -> None:
        for server in self.servers:
            server.start()
        self.servers[0].wait_for_replicas(1)
        self.sentinel.start()
        self.sentinel.wait_for_replicas(1)
        _write_policy(self._settings((self.servers[0].address,), OPERATOR_USER, None), policy)

    def stop(self) -> None:
        self.sentinel.stop()
        for server in self.servers:
            server.stop()

    def settings(self, node: str) -> str | RedisSettings:
        return self._settings((self.sentinel.address,), NODE_USER, MASTER_NAME)

    def _settings(self, addresses: tuple[str, ...], username: str, master_name: str | None) -> RedisSettings:
        return RedisSettings(
            addresses=addresses,
            key_prefix=KEYS.prefix,
            master_name=master_name,
            username=username,
            password_file=str(self._password_file),
            durability=self.durability,
            replicas=1 if self.durability == "Replicated" else 0,
            lease_s=LEASE_S,
        )

    @property
    def primary(self) -> RedisServer:
        """Whom the sentinel holds for it."""
        port = self.sentinel.master_port()
        return next(server for server in self.servers if server.port == port)

    def kill(self, server: RedisServer) -> None:
        """SIGKILL."""
        self._down.append(server)
        server.kill()

    def lock_out(self, server: RedisServer) -> None:
        """Cut a server off from its replica and the sentinel, who log in as `default`; nodes still reach it."""
        self._locked.append(server)
        with server.client() as client:
            client.config_set("requirepass", f"not {ADMIN_PASSWORD}")
            for kind in ("replica", "normal"):
                client.execute_command("CLIENT", "KILL", "TYPE", kind, "USER", "default", "SKIPME", "yes")

    def heal(self) -> None:
        for server in self._locked:
            with server.client(password=f"not {ADMIN_PASSWORD}") as client:
                client.config_set("requirepass", ADMIN_PASSWORD)
        self._locked.clear()
        for server in self.servers:
            if server not in self._down:
                server.resume()
        for server in self._down:
            server.start()
        self._down.clear()
        primary = self.primary
        for server in self.servers:  # whoever comes back is told at once what the sentinel would tell it 8 s later
            if server is not primary:
                server.execute("REPLICAOF", primary.host, primary.port)
        primary.wait_for_replicas(1, 30.0)
        self.sentinel.wait_for_replicas(1, 30.0)

    def used_bytes(self) -> int:
        return int(self.primary.execute("INFO", "memory")["used_memory"])


def _write_policy(settings: RedisSettings, policy: Policy) -> None:
    store = SharedStore(settings)
    found = store.found(WORLD, may_be_new=True)
    store.write_policy(Writer(world=WORLD, fence=found.fence), policy.revision, encode_policy(policy))
