"""The open sample: whatever client is pointed at it may do everything. Each of its doors is opened by name."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from mqtt_broker.wire.packets import Properties, ProtocolVersion, Will
from mqtt_broker.wire.reasons import ReasonCode
from support.client import dial
from support.processes import ROOT, free_port
from support.up import Up, write_resources

SAMPLE = ROOT / "manifests" / "samples" / "open" / "broker.yaml"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("open")
    chosen = free_port()
    resources = list(yaml.safe_load_all(SAMPLE.read_text(encoding="utf-8")))
    resources[0]["spec"]["listeners"][0]["port"] = chosen
    write_resources(folder / "resources" / "broker.yaml", resources)
    with Up(folder / "resources", folder / "data"):
        yield chosen


@pytest.mark.parametrize("version", list(ProtocolVersion), ids=lambda version: str(version.name))
async def test_anybody_may_do_everything(port: int, version: ProtocolVersion) -> None:
    topic = f"open/{version}"
    async with await dial(port, version) as client:
        will = Will(f"{topic}/will", b"gone", 1, retain=True)
        answer = await client.connect(f"c{version}", will=will)
        assert answer.reason is ReasonCode.SUCCESS
        await client.subscribe(f"{topic}/#", qos=2)
        for qos in (0, 1, 2):
            await client.publish(f"{topic}/{qos}", b"%d" % qos, qos=qos, retain=True)
            assert (await client.receive_message()).payload == b"%d" % qos
        await client.disconnect()


async def test_a_log_in_that_nobody_can_check_gives_no_identity_and_no_refusal(port: int) -> None:
    """Many clients and test suites always send one; without it they would be let in as well."""
    async with await dial(port) as client:
        answer = await client.connect("c", username="somebody", password=b"anything")
        assert answer.reason is ReasonCode.SUCCESS


async def test_everything_of_mqtt_5_is_there(port: int) -> None:
    async with await dial(port) as client:
        limits = (await client.connect("all", properties=Properties(session_expiry_interval=5))).properties
        for missing in (
            limits.maximum_qos,
            limits.retain_available,
            limits.wildcard_subscription_available,
            limits.subscription_identifiers_available,
            limits.shared_subscription_available,
        ):
            assert missing in (None, 1)
        assert await client.subscribe("$share/group/shared", qos=2) == (ReasonCode.GRANTED_QOS_2,)
        assert await client.subscribe("#") == (ReasonCode.GRANTED_QOS_0,)


@pytest.mark.parametrize("door", ["allowPlaintext", "Anonymous", "permission"])
async def test_with_one_door_left_shut_it_is_not_open(tmp_path: Path, door: str) -> None:
    resources = list(yaml.safe_load_all(SAMPLE.read_text(encoding="utf-8")))
    spec = resources[0]["spec"]
    spec["listeners"][0]["port"] = chosen = free_port()
    if door == "allowPlaintext":
        del spec["listeners"][0]["allowPlaintext"]
    elif door == "Anonymous":
        spec["authentication"] = [{"name": "passwords", "type": "Password"}]
    else:
        del resources[1]
    write_resources(tmp_path / "resources" / "broker.yaml", resources)
    up = Up(tmp_path / "resources", tmp_path / "data")
    if door == "allowPlaintext":
        program = up.launch()
        assert program.wait() == 1
        assert "allowPlaintext" in program.dump()
        assert "Traceback" not in program.dump()
        return
    with up:
        async with await dial(chosen) as client:
            answer = await client.connect("c")
            if door == "Anonymous":
                assert answer.reason.is_error
            else:
                assert await client.publish("t", b"x", qos=1) is ReasonCode.NOT_AUTHORIZED
                assert await client.subscribe("t") == (ReasonCode.NOT_AUTHORIZED,)
