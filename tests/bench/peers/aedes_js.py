"""Aedes, the Node.js broker, as a small program around its package."""

import shutil
from pathlib import Path

from bench.peers.base import Peer, Running, cache_folder, call, ports, spawn
from bench.world import PASSWORD, USERNAME, World

VERSION = "1.2.0"
SOURCE = Path(__file__).parent / "aedes" / "broker.mjs"


class Aedes(Peer):
    name = "aedes"
    title = "Aedes"

    def install(self) -> None:
        folder = cache_folder(self.name)
        call("npm", "install", "--no-audit", "--no-fund", "--prefix", folder, f"aedes@{VERSION}", cwd=folder)
        shutil.copy(SOURCE, folder / SOURCE.name)

    def installed(self) -> bool:
        return (cache_folder(self.name) / SOURCE.name).exists()

    def version(self) -> str:
        return VERSION

    def conditions(self) -> str:
        return "defaults, in memory, password compared as text"

    def start(self, folder: Path, world: World, core: int | None) -> Running:
        port, tls_port = ports()
        files = (world.server.certificate_file, world.server.key_file)
        program = cache_folder(self.name) / SOURCE.name
        process, log = spawn(["node", program, str(port), str(tls_port), *files, USERNAME, PASSWORD], folder, core)
        running = Running(world, process.pid, port, tls_port, log, process)
        running.await_answer()
        return running
