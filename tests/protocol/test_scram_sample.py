"""The SCRAM sample, as somebody with devices without TLS meets it: plain text, and passwords that are never sent."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mqtt_broker.wire.reasons import ReasonCode
from support.client import dial
from support.processes import ROOT, free_port, run
from support.scram import SHA_256, SHA_512, log_in
from support.up import Up, stoa
from support.waiting import eventually

SAMPLE = ROOT / "manifests" / "samples" / "scram"
PORT_LINE = "port: 1883"


class Field:
    """The sample, running on a port of its own."""

    def __init__(self, up: Up, port: int) -> None:
        self.up = up
        self.port = port

    def password(self, name: str) -> str:
        return self.up.credential(f"{name}-mqtt", "password", "mqtt")


@pytest.fixture
def field(tmp_path: Path) -> Iterator[Field]:
    port = free_port()
    folder = tmp_path / "scram"
    folder.mkdir()
    for file in SAMPLE.glob("*.yaml"):
        text = file.read_text(encoding="utf-8")
        (folder / file.name).write_text(text.replace(PORT_LINE, f"port: {port}"), encoding="utf-8")
    with Up(folder, tmp_path / "data") as up:
        yield Field(up, port)


def test_the_sample_is_valid() -> None:
    program = run(stoa("validate", SAMPLE))
    assert program.returncode() == 0, program.dump()
    assert "ok: 1 broker, 2 clients, 2 permissions" in program.lines


async def test_a_probe_reports_without_sending_its_password(field: Field) -> None:
    async with await dial(field.port) as station, await dial(field.port) as probe:
        assert (await log_in(station, "station", field.password("station"), SHA_512)).reason is ReasonCode.SUCCESS
        assert (await log_in(probe, "probe-1", field.password("probe-1"), SHA_256)).reason is ReasonCode.SUCCESS
        await station.subscribe("field/#", qos=1)
        assert await probe.publish("field/probe-1/depth", b"3.2", qos=1) is ReasonCode.SUCCESS
        assert (await station.receive_message()).payload == b"3.2"
        assert await probe.publish("field/station/x", b"1", qos=1) is ReasonCode.NOT_AUTHORIZED


async def test_nobody_is_asked_to_send_a_password_in_the_clear(field: Field) -> None:
    """Neither by the broker, which takes none, nor by the lines that `stoa up` shows."""
    async with await dial(field.port) as client:
        answer = await client.connect("probe-1", username="probe-1", password=field.password("probe-1").encode())
        assert answer.reason is ReasonCode.BAD_USER_NAME_OR_PASSWORD
    assert "mosquitto_pub" not in field.up.program.dump()
    assert field.password("probe-1") not in field.up.program.dump()


async def test_a_new_password_ends_the_connection_of_the_old_one(field: Field) -> None:
    """And the verifiers of those who did not change stay as they were, over a restart as well."""
    async with await dial(field.port) as station, await dial(field.port) as probe:
        await log_in(station, "station", field.password("station"))
        await log_in(probe, "probe-1", field.password("probe-1"))
        secret = field.up.data / "secrets" / "mqtt" / "probe-1-mqtt"
        for file in secret.iterdir():
            file.unlink()
        secret.rmdir()
        clients = field.up.folder / "clients.yaml"
        clients.write_text(clients.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
        goodbye = await probe.expect_closed()
        assert goodbye is not None
        assert goodbye.reason is ReasonCode.NOT_AUTHORIZED
        await station.ping()
    await eventually((secret / "password").exists)
    before = (field.up.data / "policy.json").read_bytes()
    assert field.up.program.stop() == 0
    field.up.start()
    assert (field.up.data / "policy.json").read_bytes() == before
    async with await dial(field.port) as probe:
        assert (await log_in(probe, "probe-1", field.password("probe-1"))).reason is ReasonCode.SUCCESS
