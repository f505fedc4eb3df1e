"""A simulated fleet for the quickstart: ordinary MQTT 5 clients over TLS, so that there is something to see.

Knows paho-mqtt and the credentials that `stoa up` issued into its data folder; does not know the broker's code, its
policy, or who watches. Every pump publishes a reading a second. Now and then one pump tries to stop another, which
nobody allowed: the refusal is told once, and so is its end when a rule is added.
"""

import argparse
import contextlib
import json
import math
import os
import random
import signal
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

READING_INTERVAL_S = 1.0
MISCHIEF_INTERVAL_S = 5.0
BROKER_WAIT_S_MAX = 60.0
PARENT_CHECK_INTERVAL_S = 0.2
READY_CHECK_INTERVAL_S = 0.1
RECONNECT_DELAY_S_MAX = 5
KEEP_ALIVE_S = 30
MISCHIEF_MAKER = "pump-7"
MISCHIEF_TOPIC = "plant/pump-8/stop"


@dataclass(frozen=True)
class Credentials:
    """One issued log-in: the files of a secret's folder."""

    username: str
    password: str
    host: str
    port: int
    ca_file: Path


def read_credentials(folder: Path) -> Credentials:
    """Raises OSError or ValueError if the folder is not complete."""

    def value(key: str) -> str:
        return (folder / key).read_text(encoding="utf-8").strip()

    ca_file = folder / "ca.crt"
    if not ca_file.stat().st_size:
        raise ValueError(f"{ca_file} is empty")
    return Credentials(value("username"), value("password"), value("host"), int(value("port")), ca_file)


class Stop:
    """Set by SIGTERM, SIGINT or the parent's end; every wait in this program ends with it."""

    def __init__(self, parent: int | None) -> None:
        self.event = threading.Event()
        self._parent = parent
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.event.set())

    def wait(self, seconds: float) -> bool:
        """Sleep, and say whether it is time to leave. A parent that is gone counts as an order to leave."""
        deadline = time.monotonic() + seconds
        while not self.event.is_set():
            if self._parent is not None and os.getppid() != self._parent:
                self.event.set()
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self.event.wait(min(left, PARENT_CHECK_INTERVAL_S))
        return self.event.is_set()


class Pump:
    """One device: connects, reconnects on its own, publishes a reading when told to."""

    def __init__(self, credentials: Credentials) -> None:
        self.name = credentials.username
        self._credentials = credentials
        self._phase = random.uniform(0, math.tau)
        self._refused = False
        self._mischief_id: int | None = None
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=self.name, protocol=mqtt.MQTTv5)
        self._client.username_pw_set(self.name, credentials.password)
        context = ssl.create_default_context(cafile=str(credentials.ca_file))
        self._client.tls_set_context(context)
        self._client.reconnect_delay_set(1, RECONNECT_DELAY_S_MAX)
        self._client.on_connect = lambda _client, _userdata, _flags, reason, _properties: self._connected(reason)
        self._client.on_publish = lambda _client, _userdata, packet_id, reason, _: self._answered(packet_id, reason)

    def start(self) -> None:
        """Raises OSError while the broker does not answer."""
        self._client.connect(self._credentials.host, self._credentials.port, keepalive=KEEP_ALIVE_S)
        self._client.loop_start()

    def publish_reading(self) -> None:
        if not self._client.is_connected():
            return  # a reading that nobody can hear is not worth keeping
        celsius = 21 + 3 * math.sin(self._phase + time.monotonic() / 20) + random.uniform(-0.2, 0.2)
        self._client.publish(f"plant/{self.name}/temperature", f"{celsius:.1f}", qos=0)

    def make_mischief(self) -> None:
        """Publish what only a plant operator should: QoS 1, so that the broker has to say what it thinks of it."""
        if self._client.is_connected():
            self._mischief_id = self._client.publish(MISCHIEF_TOPIC, "1", qos=1).mid

    def stop(self) -> None:
        """Say goodbye where somebody listens. Its thread may be waiting to connect again: it ends with the process."""
        self._client.disconnect()

    def _connected(self, reason: ReasonCode) -> None:
        if reason.is_failure:
            tell(f"{self.name} was refused at CONNECT: {reason} (0x{reason.value:02x})")

    def _answered(self, packet_id: int, reason: ReasonCode) -> None:
        if packet_id != self._mischief_id:
            return
        if reason.is_failure != self._refused:
            word = "DENIED" if reason.is_failure else "allowed"
            tell(f"{word} {self.name} publish {MISCHIEF_TOPIC}: {reason} (0x{reason.value:02x})")
        self._refused = reason.is_failure


def tell(line: str) -> None:
    print(f"fleet: {line}", flush=True)


def wait_until_ready(ready_file: Path, stop: Stop) -> Path | None:
    """The data folder of the broker that wrote this file when it was ready; None when it is time to leave.

    However long it takes: a broker that cannot start ends, and then so do we.
    """
    while not ready_file.exists():
        if stop.wait(READY_CHECK_INTERVAL_S):
            return None
    return Path(json.loads(ready_file.read_bytes())["data"])


@contextlib.contextmanager
def taken_away(ready_file: Path) -> Iterator[None]:
    """The file and its folder, made for us alone, go when we go."""
    try:
        yield
    finally:
        ready_file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # somebody else's folder, or files of theirs in it
            ready_file.parent.rmdir()


def log_to(path: Path) -> None:
    """Everything that is told from now on goes to this file, which only its owner can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(descriptor, stream.fileno())
    os.close(descriptor)


def pumps_below(secrets: Path) -> list[Pump]:
    """Those whose log-ins are below `secrets`. Raises OSError or ValueError if one is not complete."""
    found = [read_credentials(path.parent) for path in sorted(secrets.glob("*/*/password"))]
    return [Pump(credentials) for credentials in found if credentials.username.startswith("pump-")]


def start_all(pumps: list[Pump], stop: Stop) -> bool:
    """Connect every pump; True when all are on their way."""
    deadline = time.monotonic() + BROKER_WAIT_S_MAX
    waiting = list(pumps)
    while waiting:
        try:
            waiting[0].start()
        except OSError as error:
            if time.monotonic() > deadline:
                tell(f"the broker does not answer: {error}")
                return False
            if stop.wait(0.3):
                return False
        else:
            waiting.pop(0)
    return True


def run(secrets: Path, stop: Stop) -> int:
    try:
        pumps = pumps_below(secrets)
    except (OSError, ValueError) as error:
        tell(f"a log-in of a pump cannot be read: {error}")
        return 1
    if not pumps:
        tell(f"there is no log-in of a pump in {secrets}")
        return 1
    try:
        if not start_all(pumps, stop):
            return 0 if stop.event.is_set() else 1
        tell(f"{len(pumps)} pumps publish plant/<name>/temperature once a second")
        live(pumps, stop)
    finally:
        for pump in pumps:
            pump.stop()
    return 0


def live(pumps: list[Pump], stop: Stop) -> None:
    next_mischief = time.monotonic() + MISCHIEF_INTERVAL_S / 2
    while not stop.wait(READING_INTERVAL_S):
        for pump in pumps:
            pump.publish_reading()
        if time.monotonic() < next_mischief:
            continue
        next_mischief += MISCHIEF_INTERVAL_S
        for pump in pumps:
            if pump.name == MISCHIEF_MAKER:
                pump.make_mischief()


def main() -> int:
    parser = argparse.ArgumentParser(description="Pumps of a simulated plant, as MQTT 5 clients over TLS.")
    parser.add_argument("--ready-file", type=Path, required=True, help="start when `stoa up` has written this file")
    parser.add_argument("--parent", type=int, help="leave when this process is no longer the parent")
    parser.add_argument("--log", action="store_true", help="tell it to fleet.log in the data folder, not here")
    arguments = parser.parse_args()
    stop = Stop(arguments.parent)
    with taken_away(arguments.ready_file):
        data = wait_until_ready(arguments.ready_file, stop)
        if data is None:
            return 0
        if arguments.log:
            log_to(data / "fleet.log")
        return run(data / "secrets", stop)


if __name__ == "__main__":
    sys.exit(main())
