"""/metrics: docs/metrics.md lists exactly what a node answers, names keep to conventions, and figures are true."""

import asyncio
import re
import sys
from pathlib import Path

import pytest
from msgspec import Struct

from mqtt_api.node_settings import ConnectionRateSettings, TLSSettings
from mqtt_api.policy import ClientLimits, Principal
from mqtt_broker.wire.packets import Properties, ProtocolVersion
from mqtt_broker.wire.reasons import ReasonCode
from support.broker import Broker, StartBroker, get, listener
from support.certificates import Authority
from support.policies import PASSWORD, allow, policy, verifier
from support.waiting import eventually

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `((?:stoa|process)_\w+)` \| (\w+) \| (?:`(\w+)` )?\| (.+) \|$", re.MULTILINE)
UNITS = ("bytes", "seconds", "info")


class Metric(Struct, frozen=True):
    """`label` "": none."""

    kind: str
    label: str
    text: str


def on_the_page() -> dict[str, Metric]:
    return {name: Metric(kind, label, text) for name, kind, label, text in ROW.findall(PAGE)}


def scrape(broker: Broker) -> str:
    return get(Path(broker.settings.admin_socket), "/metrics").decode()


def answered(text: str) -> dict[str, Metric]:
    texts = dict(re.findall(r"^# HELP (\w+) (.+)$", text, re.MULTILINE))
    labels = dict(re.findall(r"^(\w+)\{(\w+)=", text, re.MULTILINE))
    kinds = re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)
    assert re.search(r"\{\w+=\"[^\"]*\",", text) is None, "more than one label"
    return {name: Metric(kind, labels.get(name, ""), texts[name]) for name, kind in kinds}


def value(broker: Broker, series: str) -> float:
    (found,) = re.findall(rf"^{re.escape(series)} (\S+)$", scrape(broker), re.MULTILINE)
    return float(found)


@pytest.fixture
def broker(start_broker: StartBroker, tmp_path: Path) -> Broker:
    server = Authority(tmp_path / "pki").server()
    tls = TLSSettings(certificate_file=str(server.certificate_file), key_file=str(server.key_file))
    return start_broker(listeners=(listener(), listener("tls", tls=tls)))


def test_the_page_lists_what_is_answered_and_nothing_else(broker: Broker) -> None:
    listed, found = on_the_page(), answered(scrape(broker))
    if sys.platform != "linux":
        listed = {name: metric for name, metric in listed.items() if name.startswith("stoa_")}
    assert listed.keys() == found.keys()
    for name, metric in found.items():
        assert (listed[name].kind, listed[name].label) == (metric.kind, metric.label), name
        if name.startswith("stoa_"):
            assert listed[name].text == metric.text, name


def test_names_keep_to_the_conventions(broker: Broker) -> None:
    for name, metric in answered(scrape(broker)).items():
        assert name.endswith("_total") == (metric.kind == "counter"), name
        words = name.removesuffix("_total").split("_")
        assert not [word for word in words[:-1] if word in UNITS], f"{name}: the unit is the last word"


def test_every_reason_has_its_series_from_the_start(broker: Broker) -> None:
    text = scrape(broker)
    for metric in ("stoa_messages_dropped_total", "stoa_reading_pauses_total"):
        assert len(re.findall(rf"^{metric}\{{reason=\"\w+\"\}} 0\.0$", text, re.MULTILINE)) >= 4


def test_a_listener_tells_its_connections_and_until_when_its_certificate_holds(broker: Broker) -> None:
    assert value(broker, 'stoa_listener_connections{listener="tls"}') == 0
    assert value(broker, 'stoa_listener_connections_max{listener="tls"}') == 1_000
    not_after = value(broker, 'stoa_certificate_not_after_timestamp_seconds{listener="tls"}')
    assert not_after > value(broker, "process_start_time_seconds")


@pytest.mark.parametrize("version", [ProtocolVersion.V3_1_1, ProtocolVersion.V5])
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_packets_and_payloads_are_counted_both_ways(broker: Broker, version: ProtocolVersion, qos: int) -> None:
    async with await broker.dial(version) as client:
        await client.connect("c")
        await client.subscribe("t", qos=qos)
        for _ in range(3):  # the third by the fast lane
            await client.publish("t", b"12345", qos=qos)
            await client.receive_message()
        await client.ping()
        per_message = (1, 2, 4)[qos]  # of one direction: PUBLISH, and PUBACK or PUBREC, PUBREL, PUBCOMP
        others = 3  # CONNECT, SUBSCRIBE, PINGREQ and their answers
        wanted = 3 * per_message + others

        def counted() -> bool:
            names = ("stoa_packets_received_total", "stoa_packets_sent_total")
            return [value(broker, name) for name in names] == [wanted, wanted]

        await eventually(counted, what=f"{wanted} packets each way")
        for direction in ("received", "sent"):
            assert value(broker, f"stoa_messages_{direction}_total") == 3
            assert value(broker, f"stoa_{direction}_payload_bytes_total") == 15
    await eventually(lambda: value(broker, "stoa_connections") == 0, what="the end of the connection")
    assert value(broker, "stoa_packets_sent_total") >= wanted, "what an ended connection counted stays"


async def test_a_tls_handshake_that_fails_is_counted(broker: Broker) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", broker.port_of("tls"))
    writer.write(b"no handshake at all")
    await eventually(lambda: value(broker, "stoa_tls_failures_total") == 1, what="a failed handshake")
    assert value(broker, "stoa_connections_opened_total") == 1
    writer.close()


async def test_connections_over_their_rate_are_counted_as_delayed(start_broker: StartBroker) -> None:
    broker = start_broker(listeners=(listener(connection_rate=ConnectionRateSettings(per_s=20, burst=1)),))
    clients = [await broker.dial() for _ in range(3)]
    for number, client in enumerate(clients):
        assert (await client.connect(f"c{number}")).reason is ReasonCode.SUCCESS
    assert value(broker, "stoa_connections_delayed_total") == 2
    assert value(broker, "stoa_connects_received_total") == value(broker, "stoa_connections_accepted_total") == 3
    assert value(broker, "stoa_connections_refused_total") == 0
    for client in clients:
        await client.abort()


async def test_a_client_over_its_rate_is_counted_as_paused(start_broker: StartBroker) -> None:
    pump = Principal(
        username="pump", client_ids=("pump",), passwords=(verifier(),), limits=ClientLimits(messages_per_s=1)
    )
    broker = start_broker(policy(users={"pump": [allow("#")]}, principals={"pump": pump}))
    async with await broker.dial() as client:
        assert (await client.connect("pump", username="pump", password=PASSWORD.encode())).reason is ReasonCode.SUCCESS
        for _ in range(3):
            await client.publish("t", b"x", qos=0)
        await eventually(
            lambda: value(broker, 'stoa_reading_pauses_total{reason="rate"}') >= 1, what="a pause for its rate"
        )


async def test_what_the_store_holds_is_told(start_broker: StartBroker) -> None:
    broker = start_broker()
    kept = Properties(session_expiry_interval=60)
    async with await broker.dial() as away:
        await away.connect("away", properties=kept)
        await away.subscribe("t", qos=1)
    async with await broker.dial() as client:
        await client.connect("c")
        await client.publish("t", b"12345", qos=1)
        await client.publish("state", b"12345", qos=1, retain=True)
        assert value(broker, "stoa_store_messages") == 2
        assert value(broker, "stoa_store_message_bytes") >= 2 * len(b"12345")


async def test_an_expired_session_is_counted(start_broker: StartBroker) -> None:
    broker = start_broker()
    async with await broker.dial() as client:
        await client.connect("c", properties=Properties(session_expiry_interval=1))
    await eventually(lambda: value(broker, "stoa_sessions_expired_total") == 1, what="the end of the session")
