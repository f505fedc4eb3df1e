"""rumqttd, a Rust broker: one account. It has no topic rules of its own."""

from pathlib import Path

from bench.peers.base import Peer, Running, cache_folder, call, ports, spawn
from bench.world import HOST, PASSWORD, USERNAME, World

VERSION = "0.20.0"
CONNECTIONS_MAX = 20_000


class Rumqttd(Peer):
    name = "rumqttd"
    title = "rumqttd"

    def install(self) -> None:
        folder = cache_folder(self.name)
        # Without --locked: the lock it was published with names crates that current compilers refuse.
        call("cargo", "install", "--root", folder, f"rumqttd@{VERSION}", cwd=folder)

    def installed(self) -> bool:
        return self._program().exists()

    def version(self) -> str:
        return VERSION

    def conditions(self) -> str:
        return "no topic rules, as it has none; 500 messages in flight per client; MQTT 3.1.1 only here"

    def start(self, folder: Path, world: World, core: int | None) -> Running:
        port, tls_port = ports()
        config = folder / "rumqttd.toml"
        config.write_text(_config(world, port, tls_port), encoding="utf-8")
        process, log = spawn([self._program(), "--quiet", "--config", config], folder, core)
        running = Running(world, process.pid, port, tls_port, log, process)
        running.await_answer()
        return running

    def _program(self) -> Path:
        return cache_folder(self.name) / "bin" / "rumqttd"


def _config(world: World, port: int, tls_port: int) -> str:
    return f"""id = 0
[router]
id = 0
max_connections = {CONNECTIONS_MAX}
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
{_listener("1", port)}
{_listener("2", tls_port)}
[v4.2.tls]
certpath = "{world.server.certificate_file}"
keypath = "{world.server.key_file}"
"""


def _listener(number: str, port: int) -> str:
    return f"""[v4.{number}]
name = "v4-{number}"
listen = "{HOST}:{port}"
next_connection_delay_ms = 0
[v4.{number}.connections]
connection_timeout_ms = 60000
max_payload_size = 20480
max_inflight_count = 500
dynamic_filters = true
[v4.{number}.connections.auth]
{USERNAME} = "{PASSWORD}"
"""
