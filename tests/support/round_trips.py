"""A client in a process of its own that publishes to itself and measures: nothing else in the test delays it.

As a program it is `python -m support.round_trips PORT`. It goes on until SIGTERM, and then prints how long each message
took to come back, in seconds, as one JSON list in growing order. `RoundTrips` is that program, seen from a test.
"""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from mqtt_broker.wire.codec import encode
from mqtt_broker.wire.packets import Connect, ProtocolVersion, Publish, Subscribe, SubscriptionRequest
from support.processes import Program, environment

PAUSE_S = 0.005
ANSWER_S_MAX = 30.0
READY_S_MAX = 60.0  # on whatever machine this is
READY = "ready"
CONNACK_BYTES, SUBACK_BYTES = 4, 5
V3_1_1 = ProtocolVersion.V3_1_1
TOPIC = "bystander"


class RoundTrips:
    """Measures for as long as the context lasts; `took_s` is there after it."""

    def __init__(self, port: int) -> None:
        paths = os.pathsep.join((environment()["PYTHONPATH"], str(Path(__file__).parents[1])))
        self._program = Program([sys.executable, "-m", "support.round_trips", str(port)], environment(PYTHONPATH=paths))
        self.took_s: list[float] = []

    def __enter__(self) -> Self:
        self._program.wait_for_line(lambda line: line == READY, READY_S_MAX)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._program.stop() == 0, self._program.dump()
        self.took_s = json.loads(self._program.out[-1])


class _Stop:
    """Set by SIGTERM."""

    def __init__(self) -> None:
        self.is_asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, _number: int, _frame: object) -> None:
        self.is_asked = True


def main(port: int) -> None:
    stop, took = _Stop(), []
    message = encode(Publish(TOPIC, b"x"), V3_1_1)
    connect = Connect(V3_1_1, TOPIC, clean_start=True, keep_alive=0)
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S_MAX) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _ask(line, encode(connect, V3_1_1), CONNACK_BYTES)
        _ask(line, encode(Subscribe(1, (SubscriptionRequest(TOPIC),)), V3_1_1), SUBACK_BYTES)
        print(READY, flush=True)
        while not stop.is_asked:
            began = time.monotonic()
            _ask(line, message, len(message))
            took.append(time.monotonic() - began)
            time.sleep(PAUSE_S)
    print(json.dumps(sorted(took)), flush=True)


def _ask(line: socket.socket, data: bytes, answer_bytes: int) -> None:
    line.sendall(data)
    while answer_bytes:
        received = line.recv(answer_bytes)
        if not received:
            raise ConnectionError("the broker closed the connection")
        answer_bytes -= len(received)


if __name__ == "__main__":
    main(int(sys.argv[1]))
