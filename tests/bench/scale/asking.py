"""One client at each of several nodes, asking over and over whether it may publish: when each node says so first.

Knows PUBLISH and its acknowledgement; does not know what was changed. A thread of its own, so that asking goes on while
others wait for an API server.
"""

import selectors
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from bench.driver import frames
from bench.nodes import ClusterNode
from bench.world import HOST, PASSWORD

ASK_S = 0.004  # between two times that a node is asked the same: what the figures are exact to
ANSWER_S_MAX = 30.0
NOT_AUTHORIZED = 0x87
CONNACK, PUBACK = 0x20, 0x40


@dataclass
class Question:
    """May the asker publish to this topic? `turned`: when each node first said yes, by its place."""

    topic: str
    turned: dict[int, float] = field(default_factory=dict)


class _Client:
    """One connection."""

    def __init__(self, place: int, node: ClusterNode, username: str) -> None:
        self.place = place
        self.socket = socket.create_connection((HOST, node.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(frames.connect(f"{username}-{place}", username, PASSWORD, frames.V5, clean=True))
        answer = self.socket.recv(1024)
        if answer[:1] != bytes([CONNACK]) or answer[3] != 0:
            raise RuntimeError(f"node {place} does not let the asker in: {answer!r}")
        self.socket.setblocking(False)  # noqa: FBT003 - the socket module's own signature
        self.asked: dict[int, Question] = {}
        self.next_at: dict[str, float] = {}
        self._rest = b""
        self._packet_id = 0

    def ask(self, question: Question, now: float) -> None:
        self._packet_id = self._packet_id % 60_000 + 1
        self.asked[self._packet_id] = question
        self.next_at[question.topic] = now + ANSWER_S_MAX
        self.socket.sendall(frames.publish(question.topic, 1, frames.V5, b"?", self._packet_id))

    def read(self) -> None:
        data = self._rest + self.socket.recv(65536)
        now = time.monotonic()
        while len(data) >= 2 and len(data) >= 2 + data[1]:
            frame, data = data[: 2 + data[1]], data[2 + data[1] :]
            if frame[0] == PUBACK:
                self._answered(frame, now)
        self._rest = data

    def _answered(self, frame: bytes, now: float) -> None:
        question = self.asked.pop(int.from_bytes(frame[2:4], "big"))
        is_refused = len(frame) > 4 and frame[4] == NOT_AUTHORIZED
        self.next_at[question.topic] = now + ASK_S
        if not is_refused:
            question.turned.setdefault(self.place, now)


class Askers:
    """Use as `with`. `ask` may be called from any thread."""

    def __init__(self, nodes: Sequence[ClusterNode], username: str) -> None:
        self._clients = [_Client(place, node, username) for place, node in enumerate(nodes)]
        self._open: list[Question] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for client in self._clients:
            client.socket.close()

    def ask(self, topic: str) -> Question:
        """From now on, until every node has said yes."""
        question = Question(topic)
        with self._lock:
            self._open.append(question)
        return question

    def withdraw(self, question: Question) -> None:
        """Nobody wants to know any more."""
        with self._lock:
            self._open = [each for each in self._open if each is not question]

    def wait(self, questions: Sequence[Question], seconds_max: float) -> None:
        """Until every node has said yes to all of them. Raises RuntimeError."""
        end = time.monotonic() + seconds_max
        while missing := [each.topic for each in questions if len(each.turned) < len(self._clients)]:
            if time.monotonic() > end:
                raise RuntimeError(f"not everywhere within {seconds_max:g} s: {missing[:5]}, {len(missing)} in all")
            time.sleep(0.01)

    def _run(self) -> None:
        selector = selectors.DefaultSelector()
        for client in self._clients:
            selector.register(client.socket, selectors.EVENT_READ, client)
        while not self._stop.is_set():
            for key, _ in selector.select(ASK_S / 2):
                key.data.read()
            self._ask_all()

    def _ask_all(self) -> None:
        now = time.monotonic()
        with self._lock:
            self._open = [each for each in self._open if len(each.turned) < len(self._clients)]
            questions = list(self._open)
        for client in self._clients:
            for question in questions:
                if client.place not in question.turned and now >= client.next_at.get(question.topic, 0.0):
                    client.ask(question, now)
