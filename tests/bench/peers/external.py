"""A broker that somebody else started: named on the command line as NAME=HOST:PORT,PID."""

import re
from pathlib import Path

from bench.peers.base import Peer, PeerError, Running
from bench.world import HOST, PASSWORD, USERNAME, World

_FORM = re.compile(r"(?P<name>[\w.-]+)=(?P<host>[\w.:-]+):(?P<port>\d+),(?P<pid>\d+)")


class External(Peer):
    """It must know the load account and grant it what the others grant. It runs where it runs: no core is set."""

    def __init__(self, text: str) -> None:
        """Raises PeerError for text of another form, or a host that is not this machine."""
        found = _FORM.fullmatch(text)
        if found is None:
            raise PeerError(f"{text!r} is not NAME=HOST:PORT,PID")
        if found["host"] not in (HOST, "localhost"):
            raise PeerError(f"{found['host']} is another machine: its CPU cannot be read, and load stays on this one")
        self.name = self.title = found["name"]
        self._port = int(found["port"])
        self._pid = int(found["pid"])

    def install(self) -> None:
        """It runs already."""

    def installed(self) -> bool:
        return True

    def version(self) -> str:
        return "as found"

    def conditions(self) -> str:
        return f"started by hand; must accept user {USERNAME!r} with password {PASSWORD!r}"

    def start(self, folder: Path, world: World, core: int | None) -> Running:
        running = Running(world, self._pid, self._port, None)
        running.await_answer()
        return running
