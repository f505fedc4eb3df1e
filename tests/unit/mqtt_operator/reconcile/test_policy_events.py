"""Which events clients and permissions get in the course of a broker's story, and how few."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from mqtt_api.conditions import Reason
from mqtt_operator.desired.kinds import MQTT_BROKER, MQTT_CLIENT
from mqtt_operator.reconcile.event_writer import BURST_EVENTS_MAX
from mqtt_operator.status.verdict import Problem
from support.policy_rig import KEY, PolicyRig
from unit.mqtt_operator.reconcile.documents import broker, client, permission, secret

CERTIFICATE = {"certificates": [{"match": {"commonName": "pump"}}]}
BROUGHT = {"passwords": [{"secretRef": {"name": "brought", "key": "password"}}]}


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[PolicyRig]:
    async with PolicyRig() as rig:
        rig.tell_place()
        yield rig


def told(rig: PolicyRig) -> list[tuple[str, str, str]]:
    return [each[:3] for each in rig.kube.events]


async def test_objects_that_are_fine_cost_no_event_at_a_first_start_and_none_at_a_second(rig: PolicyRig) -> None:
    rig.see(broker(), permission())
    rig.see(*(client(f"pump-{number}", spec__credentials=CERTIFICATE) for number in range(2 * BURST_EVENTS_MAX)))
    await rig.in_force()
    assert rig.status(MQTT_CLIENT, "pump-7")["conditions"]["Ready"][0] == "True"
    await rig.restart()
    await rig.in_force()
    assert told(rig) == []


async def test_many_passwords_that_are_made_at_once_are_told_of_a_few(rig: PolicyRig) -> None:
    rig.see(broker())
    for number in range(BURST_EVENTS_MAX + 20):
        made = {"passwords": [{"generate": {"secretName": f"pump-{number}-mqtt"}}]}
        rig.see(client(f"pump-{number}", spec__credentials=made))
    await rig.in_force()
    assert {reason for _, _, reason in told(rig)} == {"PasswordGenerated"}
    assert BURST_EVENTS_MAX <= len(told(rig)) < BURST_EVENTS_MAX + 20


async def test_nodes_that_are_slow_are_no_event_of_each_client(rig: PolicyRig) -> None:
    rig.see(broker(), client(spec__credentials=CERTIFICATE))
    for _ in range(4):
        await rig.run()
        rig.wait(6.0)
    assert rig.status(MQTT_CLIENT, "pump-7")["conditions"]["Ready"][1] == "NotProgrammed"
    await rig.in_force()
    assert rig.status(MQTT_CLIENT, "pump-7")["conditions"]["Ready"][0] == "True"
    assert told(rig) == []


async def test_a_secret_that_is_missing_and_comes_is_told_twice(rig: PolicyRig) -> None:
    rig.see(broker(), client(spec__credentials=BROUGHT))
    await rig.in_force()
    rig.see(secret("brought", password="open sesame"))
    await rig.in_force()
    assert told(rig) == [("pump-7", "Warning", "SecretNotFound"), ("pump-7", "Normal", "Ready")]
    assert "sesame" not in repr(rig.kube.events)


@pytest.mark.parametrize("reason", [Reason.STORE_UNREACHABLE, Reason.SECRET_NOT_FOUND])
async def test_a_broker_without_a_store_is_no_event_of_each_of_its_clients(rig: PolicyRig, reason: Reason) -> None:
    rig.see(broker(), client(spec__credentials=CERTIFICATE), permission())
    rig.exchange.tell_place(KEY, None, Problem(reason, "Something about the store."))
    await rig.run()
    assert rig.status(MQTT_CLIENT, "pump-7")["conditions"]["ResolvedRefs"][:2] == ("False", reason.value)
    rig.tell_place()
    await rig.in_force()
    assert told(rig) == []


async def test_a_broker_that_does_not_exist_is_an_event_and_so_is_that_it_came(rig: PolicyRig) -> None:
    rig.see(client(spec__credentials=CERTIFICATE))
    await rig.run()
    assert told(rig) == [("pump-7", "Warning", "BrokerNotFound")]
    rig.see(broker())
    await rig.in_force()
    assert told(rig)[1:] == [("pump-7", "Normal", "Ready")]
    rig.kube.take(MQTT_BROKER, "plant")
    await rig.run()
    assert told(rig)[2:] == [("pump-7", "Warning", "BrokerNotFound")]


async def test_a_client_that_is_suspended_and_let_in_again_is_told(rig: PolicyRig) -> None:
    rig.see(broker(), client(spec__credentials=CERTIFICATE))
    await rig.in_force()
    rig.see(client(spec__credentials=CERTIFICATE, spec__suspended=True))
    await rig.in_force()
    rig.see(client(spec__credentials=CERTIFICATE))
    await rig.in_force()
    assert told(rig) == [("pump-7", "Normal", "Suspended"), ("pump-7", "Normal", "Resumed")]
