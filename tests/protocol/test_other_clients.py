"""Other people's clients, unchanged: paho, the mosquitto programs and mqtt.js over TLS, in 3.1.1 and 5.

Each makes the same round: publish and subscribe, a retained message, a will, a persistent session.
"""

import asyncio
import contextlib
import queue
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from mqtt_api.node_settings import TLSSettings
from support.broker import PASSWORDS, Broker, listener
from support.certificates import Authority, trusting
from support.policies import PASSWORD, allow, policy
from support.processes import ROOT, Program, run
from support.tools import require

USER = "guest"
STEP_S_MAX = 10.0
PAHO_VERSIONS = pytest.mark.parametrize("version", [paho.MQTTv311, paho.MQTTv5], ids=["v3.1.1", "v5"])
PROGRAM_VERSIONS = pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])


class Served:
    """A TLS broker and what a client needs to use it."""

    def __init__(self, broker: Broker, ca_file: Path) -> None:
        self.broker = broker
        self.ca_file = ca_file


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    authority = Authority(folder / "pki")
    server = authority.server()
    tls = TLSSettings(certificate_file=str(server.certificate_file), key_file=str(server.key_file))
    rules = policy(users={USER: [allow("#")], "limited": [allow("ok/#")]})
    with Broker(folder / "broker", rules, listeners=(listener("tls", tls=tls),), authentication=(PASSWORDS,)) as broker:
        yield Served(broker, authority.ca_file)
        broker.assert_no_traceback()


# paho ----------------------------------------------------------------------------------------------------------------


class Paho:
    """A paho client whose callbacks end in queues."""

    def __init__(self, served: Served, client_id: str, version: MQTTProtocolVersion, clean: bool = True) -> None:
        self.messages: queue.Queue[paho.MQTTMessage] = queue.Queue()
        self.connected: queue.Queue[Any] = queue.Queue()
        self.published: queue.Queue[Any] = queue.Queue()
        self.subscribed: queue.Queue[Any] = queue.Queue()
        self._served, self._version, self._clean = served, version, clean
        session = None if version == paho.MQTTv5 else clean
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id, session, protocol=version)
        self.client.username_pw_set(client_id.split("-")[0], PASSWORD)
        self.client.tls_set_context(trusting(served.ca_file))
        self.client.on_message = lambda _client, _data, message: self.messages.put(message)
        self.client.on_connect = lambda _client, _data, _flags, reason, _properties: self.connected.put(reason)
        self.client.on_publish = lambda _client, _data, _id, reason, _properties: self.published.put(reason)
        self.client.on_subscribe = lambda _client, _data, _id, reasons, _properties: self.subscribed.put(reasons)

    def __enter__(self) -> Self:
        more: dict[str, Any] = {}
        if self._version == paho.MQTTv5:
            kept: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho has no types for it
            kept.SessionExpiryInterval = 0 if self._clean else 60
            more = {"clean_start": self._clean, "properties": kept}
        self.client.connect("localhost", self._served.broker.port, **more)
        self.client.loop_start()
        assert not self.connected.get(timeout=STEP_S_MAX).is_failure
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def subscribe(self, topic: str, qos: int) -> Any:
        self.client.subscribe(topic, qos)
        return self.subscribed.get(timeout=STEP_S_MAX)[0]

    def publish(self, topic: str, payload: str, qos: int, retain: bool = False) -> Any:
        self.client.publish(topic, payload, qos, retain)
        return self.published.get(timeout=STEP_S_MAX)

    def next(self) -> tuple[str, bytes, bool]:
        message = self.messages.get(timeout=STEP_S_MAX)
        return message.topic, bytes(message.payload), message.retain


@PAHO_VERSIONS
def test_paho_publishes_and_subscribes(served: Served, version: MQTTProtocolVersion) -> None:
    with Paho(served, f"{USER}-p", version) as client:
        for qos in (0, 1, 2):
            client.subscribe(f"paho/{version}/{qos}", qos)
            client.publish(f"paho/{version}/{qos}", f"at {qos}", qos)
            assert client.next() == (f"paho/{version}/{qos}", f"at {qos}".encode(), False)


@PAHO_VERSIONS
def test_paho_sees_retained_messages(served: Served, version: MQTTProtocolVersion) -> None:
    topic = f"paho/{version}/kept"
    with Paho(served, f"{USER}-p", version) as client:
        client.publish(topic, "kept", 1, retain=True)
        client.subscribe(topic, 1)
        assert client.next() == (topic, b"kept", True)
        client.publish(topic, "", 1, retain=True)


@PAHO_VERSIONS
def test_paho_leaves_a_will(served: Served, version: MQTTProtocolVersion) -> None:
    topic = f"paho/{version}/will"
    with Paho(served, f"{USER}-p", version) as witness:
        witness.subscribe(topic, 1)
        dying = Paho(served, f"{USER}-d", version)
        dying.client.will_set(topic, "gone", 1)
        with dying:
            socket: Any = dying.client.socket()
            dying.client.reconnect_delay_set(60, 60)
            with contextlib.suppress(OSError):
                socket.close()
            assert witness.next() == (topic, b"gone", False)


@PAHO_VERSIONS
def test_paho_comes_back_to_its_session(served: Served, version: MQTTProtocolVersion) -> None:
    topic = f"paho/{version}/away"
    with Paho(served, f"{USER}-k{version}", version, clean=False) as client:
        client.subscribe(topic, 1)
    with Paho(served, f"{USER}-p", version) as publisher:
        publisher.publish(topic, "while away", 1)
    with Paho(served, f"{USER}-k{version}", version, clean=False) as client:
        assert client.next() == (topic, b"while away", False)


def test_paho_is_told_why_it_was_refused(served: Served) -> None:
    """MQTT 5 only: 3.1.1 has no word for it."""
    with Paho(served, "limited-p", paho.MQTTv5) as client:
        assert client.publish("forbidden", "x", 1).value == 0x87
        assert client.subscribe("forbidden", 1).value == 0x87
        assert not client.subscribe("ok/x", 1).is_failure


# mosquitto -----------------------------------------------------------------------------------------------------------


def mosquitto(served: Served, program: str, version: str, client_id: str, *arguments: str) -> list[str]:
    return [
        require(f"mosquitto_{program}"),
        *("-V", version, "-h", "localhost", "-p", str(served.broker.port), "--cafile", str(served.ca_file)),
        *("-u", client_id.split("-")[0], "-P", PASSWORD, "-i", client_id, *arguments),
    ]


async def subscribed(served: Served, client_id: str, count: int = 1) -> None:
    """Wait until the broker knows this many subscriptions more than nothing for a freshly connected client."""
    await served.broker.logged("client.connected", client_id=client_id)
    await asyncio.sleep(0.3)


@PROGRAM_VERSIONS
@pytest.mark.parametrize("qos", ["0", "1", "2"])
async def test_mosquitto_publishes_and_subscribes(served: Served, version: str, qos: str) -> None:
    """[3.1.1 MQTT-7.0.0-2]"""
    topic, name = f"mosquitto/{version}/{qos}", f"{USER}-sub{version}{qos}"
    with Program(mosquitto(served, "sub", version, name, "-t", topic, "-q", qos, "-C", "1", "-v")) as subscriber:
        await subscribed(served, name)
        published = run(mosquitto(served, "pub", version, f"{USER}-pub", "-t", topic, "-q", qos, "-m", "hello"))
        assert published.returncode() == 0, published.dump()
        assert subscriber.wait(STEP_S_MAX) == 0
        assert subscriber.out == [f"{topic} hello"]


@PROGRAM_VERSIONS
async def test_mosquitto_sees_retained_messages(served: Served, version: str) -> None:
    topic = f"mosquitto/{version}/kept"
    publish = mosquitto(served, "pub", version, f"{USER}-pub", "-t", topic, "-q", "1", "-r")
    assert run([*publish, "-m", "kept"]).returncode() == 0
    arguments = ("-t", topic, "-C", "1", "-F", "%r %p", "-W", "5")
    assert run(mosquitto(served, "sub", version, f"{USER}-sub", *arguments)).out == ["1 kept"]
    assert run([*publish, "-n"]).returncode() == 0


@PROGRAM_VERSIONS
async def test_mosquitto_leaves_a_will(served: Served, version: str) -> None:
    topic, witness_name, dying_name = f"mosquitto/{version}/will", f"{USER}-wit{version}", f"{USER}-die{version}"
    will = ("--will-topic", topic, "--will-payload", "gone", "--will-qos", "1", "-t", "nothing")
    with Program(mosquitto(served, "sub", version, witness_name, "-t", topic, "-q", "1", "-C", "1")) as witness:
        await subscribed(served, witness_name)
        dying = Program(mosquitto(served, "sub", version, dying_name, *will))
        await subscribed(served, dying_name)
        dying.signal(signal.SIGKILL)
        dying.wait()
        assert witness.wait(STEP_S_MAX) == 0
        assert witness.out == ["gone"]


@PROGRAM_VERSIONS
async def test_mosquitto_comes_back_to_its_session(served: Served, version: str) -> None:
    topic, name = f"mosquitto/{version}/away", f"{USER}-keep{version}"
    keep = ("-c", "-t", topic, "-q", "1", *(("-x", "60") if version == "mqttv5" else ()))
    assert run(mosquitto(served, "sub", version, name, *keep, "-E")).returncode() == 0
    assert run(mosquitto(served, "pub", version, f"{USER}-pub", "-t", topic, "-q", "1", "-m", "x")).returncode() == 0
    assert run(mosquitto(served, "sub", version, name, *keep, "-C", "1", "-W", "5")).out == ["x"]


async def test_mosquitto_says_why_it_was_refused(served: Served) -> None:
    arguments = ("-t", "forbidden", "-q", "1", "-m", "x")
    refused = run(mosquitto(served, "pub", "mqttv5", "limited-pub", *arguments))
    assert any("Not authorized" in line for line in refused.lines), refused.dump()


# mqtt.js -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["4", "5"])
def test_mqttjs_makes_its_round(served: Served, version: str) -> None:
    node = require("node")
    script = ROOT / "tests" / "protocol" / "mqttjs" / "round.mjs"
    if not (script.parent / "node_modules" / "mqtt").is_dir():
        require("npm")
        pytest.fail("the mqtt.js client is not installed: ./hack/test protocol installs it")
    made = run([node, script, str(served.broker.port), served.ca_file, USER, PASSWORD, version], deadline_s=60)
    assert made.returncode() == 0, made.dump()
    assert made.out == ["ok"]
