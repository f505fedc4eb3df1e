"""mochi-mqtt, the Go broker, as a small program around its module."""

import shutil
from pathlib import Path

from bench.peers.base import Peer, Running, cache_folder, call, ports, spawn
from bench.world import PASSWORD, USERNAME, World

MODULE = "github.com/mochi-mqtt/server/v2"
VERSION = "v2.7.9"
SOURCE = Path(__file__).parent / "mochi" / "main.go"


class Mochi(Peer):
    name = "mochi"
    title = "mochi-mqtt"

    def install(self) -> None:
        folder = cache_folder(self.name)
        shutil.copy(SOURCE, folder / "main.go")
        if not (folder / "go.mod").exists():
            call("go", "mod", "init", "bench/mochi", cwd=folder)
        call("go", "get", f"{MODULE}@{VERSION}", cwd=folder)
        call("go", "mod", "tidy", cwd=folder)
        call("go", "build", "-o", "broker", ".", cwd=folder)

    def installed(self) -> bool:
        return (cache_folder(self.name) / "broker").exists()

    def version(self) -> str:
        return VERSION.removeprefix("v")

    def conditions(self) -> str:
        return "defaults; its rules name users, not client ids"

    def start(self, folder: Path, world: World, core: int | None) -> Running:
        port, tls_port = ports()
        files = (world.server.certificate_file, world.server.key_file)
        command: list[str | Path] = [
            cache_folder(self.name) / "broker",
            str(port),
            str(tls_port),
            *files,
            USERNAME,
            PASSWORD,
        ]
        process, log = spawn(command, folder, core)
        running = Running(world, process.pid, port, tls_port, log, process)
        running.await_answer()
        return running
