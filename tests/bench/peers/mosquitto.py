"""Eclipse Mosquitto as the system packages it: password file and access control list."""

import dataclasses
import shutil
import signal
import subprocess
from pathlib import Path

from bench.peers.base import Peer, PeerError, Running, call, ports, spawn
from bench.world import HOST, OTHER_USERS, OWN, PASSWORD, READABLE, USERNAME, World, other_user
from support.broker import write


@dataclasses.dataclass
class _Mosquitto(Running):
    acl_file: Path = Path()
    revision: int = 1

    def rewrite_policy(self) -> bool:
        assert self.process is not None
        self.revision += 1
        write(self.acl_file, _acl(self.revision).encode())
        self.process.send_signal(signal.SIGHUP)
        return True


class Mosquitto(Peer):
    name = "mosquitto"
    title = "Mosquitto"

    def install(self) -> None:
        if not self.installed():
            raise PeerError("Mosquitto is not installed: apt-get install mosquitto (macOS: brew install mosquitto)")

    def installed(self) -> bool:
        return _program("mosquitto") is not None and _program("mosquitto_passwd") is not None

    def version(self) -> str:
        output = subprocess.run([str(_program("mosquitto")), "-h"], capture_output=True, text=True, check=False).stdout
        return output.split()[2]

    def conditions(self) -> str:
        return "500 messages in flight per client (default 20), queues unbounded (default 1,000 messages)"

    def start(self, folder: Path, world: World, core: int | None) -> Running:
        port, tls_port = ports()
        passwords, acl = folder / "passwords", folder / "acl"
        passwords.touch(mode=0o600)
        call(str(_program("mosquitto_passwd")), "-b", passwords, USERNAME, PASSWORD, cwd=folder)
        write(acl, _acl(1).encode())
        config = folder / "mosquitto.conf"
        config.write_text(_config(folder, world, port, tls_port, passwords, acl), encoding="utf-8")
        process, log = spawn([str(_program("mosquitto")), "-c", config], folder, core)
        running = _Mosquitto(world, process.pid, port, tls_port, log, process, acl_file=acl)
        running.await_answer()
        return running


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin")


def _config(folder: Path, world: World, port: int, tls_port: int, passwords: Path, acl: Path) -> str:
    import getpass

    return "\n".join(
        [
            "per_listener_settings false",
            f"user {getpass.getuser()}",
            "allow_anonymous false",
            f"password_file {passwords}",
            f"acl_file {acl}",
            "persistence true",
            f"persistence_location {folder}/",
            "max_inflight_messages 500",
            "max_queued_messages 0",
            "set_tcp_nodelay true",
            f"listener {port} {HOST}",
            f"listener {tls_port} {HOST}",
            f"certfile {world.server.certificate_file}",
            f"keyfile {world.server.key_file}",
            "tls_version tlsv1.3",
            "",
        ]
    )


def _acl(revision: int) -> str:
    lines = [f"user {USERNAME}", *(f"topic read {topic}" for topic in READABLE)]
    for number in range(OTHER_USERS):
        name = other_user(number)
        lines += [
            f"user {name}",
            f"topic readwrite site/{name}/{revision if number == revision % OTHER_USERS else 0}/#",
        ]
    return "\n".join([*lines, f"pattern write {OWN.format(client='%c')}", ""])
