"""aMQTT, the other Python broker, in an environment of its own."""

import sys
from pathlib import Path

import yaml

from bench.peers.base import Peer, Running, cache_folder, call, ports, spawn
from bench.world import HOST, OWN_WIDE, PASSWORD, READABLE, USERNAME, World
from support.policies import verifier

VERSION = "0.12.1"
CONNECTIONS_MAX = 20_000


class AMQTT(Peer):
    name = "amqtt"
    title = "aMQTT"

    def install(self) -> None:
        folder = cache_folder(self.name)
        call(sys.executable, "-m", "venv", folder / "env", cwd=folder)
        pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        call(folder / "env" / "bin" / "python", *pip, f"amqtt=={VERSION}", cwd=folder)

    def installed(self) -> bool:
        return self._program().exists()

    def version(self) -> str:
        return VERSION

    def conditions(self) -> str:
        return (
            "its file plugin with an Argon2id verifier of the smallest parameters; its rules name users, not client ids"
        )

    def start(self, folder: Path, world: World, core: int | None) -> Running:
        port, tls_port = ports()
        passwords = folder / "passwords"
        passwords.write_text(f"{USERNAME}:{verifier(PASSWORD)}\n", encoding="utf-8")
        config = folder / "broker.yaml"
        config.write_text(yaml.safe_dump(_config(world, port, tls_port, passwords)), encoding="utf-8")
        process, log = spawn([self._program(), "-c", config], folder, core)
        running = Running(world, process.pid, port, tls_port, log, process)
        running.await_answer()
        return running

    def _program(self) -> Path:
        return cache_folder(self.name) / "env" / "bin" / "amqtt"


def _config(world: World, port: int, tls_port: int, passwords: Path) -> dict[str, object]:
    files = {"certfile": str(world.server.certificate_file), "keyfile": str(world.server.key_file)}
    return {
        "listeners": {
            "default": {"type": "tcp", "max_connections": CONNECTIONS_MAX},
            "plain": {"bind": f"{HOST}:{port}"},
            "tls": {"bind": f"{HOST}:{tls_port}", "ssl": True, **files},
        },
        "plugins": {
            "amqtt.plugins.authentication.FileAuthPlugin": {"password_file": str(passwords)},
            "amqtt.plugins.topic_checking.TopicAccessControlListPlugin": {
                "publish_acl": {USERNAME: [OWN_WIDE]},
                "acl": {USERNAME: list(READABLE)},
            },
        },
    }
