"""Who a client is: passwords, chains, client ids, anonymous. No answer means no."""

import asyncio
import time

import pytest
from argon2 import PasswordHasher

from mqtt_api.node_settings import AuthenticationSettings
from mqtt_api.policy import ClientLimits, Principal
from mqtt_broker.wire.packets import Properties, ProtocolVersion
from mqtt_broker.wire.reasons import ReasonCode
from support.broker import ANYONE, PASSWORDS, Broker, StartBroker, listener
from support.policies import PASSWORD, allow, policy, verifier

V3_1_1, V5 = ProtocolVersion.V3_1_1, ProtocolVersion.V5
BAD, DENIED, WRONG_ID = (
    ReasonCode.BAD_USER_NAME_OR_PASSWORD,
    ReasonCode.NOT_AUTHORIZED,
    ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
)


async def answer(
    broker: Broker,
    client_id: str,
    username: str | None = None,
    password: str | None = None,
    version: ProtocolVersion = V5,
    to: str | None = None,
) -> ReasonCode:
    """The reason in CONNACK."""
    async with await broker.dial(version, to=to) as client:
        secret = None if password is None else password.encode()
        return (await client.connect(client_id, username=username, password=secret)).reason


@pytest.fixture
def passwords_only(start_broker: StartBroker) -> Broker:
    return start_broker(policy(users={"pump": [allow("#")]}), authentication=(PASSWORDS,))


async def test_a_right_password_is_accepted(passwords_only: Broker) -> None:
    assert await answer(passwords_only, "pump", "pump", PASSWORD) is ReasonCode.SUCCESS
    assert await answer(passwords_only, "pump-7", "pump", PASSWORD, V3_1_1) is ReasonCode.SUCCESS


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("pump", "wrong"),
        ("pump", ""),
        ("pump", PASSWORD + " "),
        ("pump", None),
        ("unknown", PASSWORD),
        ("PUMP", PASSWORD),
        ("", PASSWORD),
        ("pump", "x" * 65_000),
    ],
)
async def test_anything_else_is_refused_in_the_same_words(
    passwords_only: Broker, username: str, password: str | None
) -> None:
    """[MQTT-3.1.4-2] An unknown user and a wrong password cannot be told apart."""
    assert await answer(passwords_only, "pump", username, password) in (BAD, DENIED)
    assert await answer(passwords_only, "pump", "pump", PASSWORD) is ReasonCode.SUCCESS


async def test_3_1_1_clients_hear_it_in_their_codes(passwords_only: Broker) -> None:
    assert await answer(passwords_only, "pump", "pump", "wrong", V3_1_1) in (BAD, DENIED)


async def test_an_unknown_user_takes_as_long_as_a_wrong_password(start_broker: StartBroker) -> None:
    """With verifiers of real cost: the hash dominates, and both pay for it."""
    cost = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=1)
    principal = Principal(username="pump", client_ids=("pump",), passwords=(cost.hash(PASSWORD),))
    broker = start_broker(policy(users={"pump": []}, principals={"pump": principal}), authentication=(PASSWORDS,))

    async def median_s(username: str) -> float:
        taken = []
        for _ in range(5):
            started = time.monotonic()
            assert await answer(broker, "pump", username, "wrong") in (BAD, DENIED)
            taken.append(time.monotonic() - started)
        return sorted(taken)[2]

    known, unknown = await median_s("pump"), await median_s("nobody")
    assert unknown > known / 3


async def test_nobody_is_anonymous_unless_the_chain_says_so(passwords_only: Broker) -> None:
    assert await answer(passwords_only, "anyone") in (BAD, DENIED)


async def test_an_empty_chain_refuses_everybody(start_broker: StartBroker) -> None:
    broker = start_broker(policy(users={"pump": [allow("#")]}, anonymous=[allow("#")]), authentication=())
    assert await answer(broker, "c") in (BAD, DENIED)
    assert await answer(broker, "pump", "pump", PASSWORD) in (BAD, DENIED)


async def test_a_wrong_password_does_not_fall_through_to_anonymous(start_broker: StartBroker) -> None:
    """Deny ends the chain: what was offered and is wrong is never made good by a later entry."""
    broker = start_broker(policy(users={"pump": []}, anonymous=[allow("#")]), authentication=(PASSWORDS, ANYONE))
    assert await answer(broker, "pump", "pump", "wrong") in (BAD, DENIED)
    assert await answer(broker, "anyone") is ReasonCode.SUCCESS


async def test_an_anonymous_client_has_no_right_until_one_is_granted(start_broker: StartBroker) -> None:
    broker = start_broker(policy(), authentication=(ANYONE,))
    async with await broker.dial() as client:
        await client.connect("anyone")
        assert await client.publish("t", b"x", qos=1) is DENIED
        assert await client.subscribe("t") == (DENIED,)


async def test_an_anonymous_client_may_not_use_a_client_id_that_belongs_to_somebody(start_broker: StartBroker) -> None:
    broker = start_broker(policy(users={"pump": []}, anonymous=[allow("#")]))
    assert await answer(broker, "pump") is WRONG_ID
    assert await answer(broker, "pump-7") is WRONG_ID
    assert await answer(broker, "other") is ReasonCode.SUCCESS


@pytest.mark.parametrize(
    ("client_id", "allowed"),
    [("pump", True), ("pump-7", True), ("pump7", False), ("other", False), ("pump/7", False), ("PUMP", False)],
)
async def test_a_user_may_use_only_its_client_ids(passwords_only: Broker, client_id: str, allowed: bool) -> None:
    assert await answer(passwords_only, client_id, "pump", PASSWORD) is (ReasonCode.SUCCESS if allowed else WRONG_ID)


async def test_both_passwords_of_a_rotation_work(start_broker: StartBroker) -> None:
    principal = Principal(username="pump", client_ids=("pump",), passwords=(verifier("old"), verifier("new")))
    broker = start_broker(policy(users={"pump": []}, principals={"pump": principal}), authentication=(PASSWORDS,))
    for password in ("old", "new"):
        assert await answer(broker, "pump", "pump", password) is ReasonCode.SUCCESS
    assert await answer(broker, "pump", "pump", "older") in (BAD, DENIED)


async def test_a_listener_may_have_a_chain_of_its_own(start_broker: StartBroker) -> None:
    broker = start_broker(
        policy(users={"pump": []}),
        authentication=(PASSWORDS,),
        listeners=(
            listener("strict"),
            listener("open", authentication=(ANYONE,)),
            listener("shut", authentication=()),
        ),
    )
    assert await answer(broker, "anyone", to="open") is ReasonCode.SUCCESS
    assert await answer(broker, "anyone", to="strict") in (BAD, DENIED)
    assert await answer(broker, "anyone", to="shut") in (BAD, DENIED)
    assert await answer(broker, "pump", "pump", PASSWORD, to="strict") is ReasonCode.SUCCESS
    assert await answer(broker, "pump", "pump", PASSWORD, to="shut") in (BAD, DENIED)


async def test_connections_of_one_user_are_bounded(start_broker: StartBroker) -> None:
    """MQTTClient limits.maxConnections"""
    principal = Principal(
        username="pump",
        client_ids=("pump-*",),
        passwords=(verifier(),),
        limits=ClientLimits(connections_max=1),
    )
    broker = start_broker(policy(users={"pump": []}, principals={"pump": principal}), authentication=(PASSWORDS,))
    async with await broker.dial() as first:
        await first.connect("pump-1", username="pump", password=PASSWORD.encode())
        assert await answer(broker, "pump-2", "pump", PASSWORD) is ReasonCode.QUOTA_EXCEEDED
        await first.disconnect()
    assert await answer(broker, "pump-2", "pump", PASSWORD) is ReasonCode.SUCCESS


async def test_subscriptions_of_one_user_are_bounded(start_broker: StartBroker) -> None:
    """MQTTClient limits.maxSubscriptions"""
    principal = Principal(
        username="pump", client_ids=("pump",), passwords=(verifier(),), limits=ClientLimits(subscriptions_max=2)
    )
    broker = start_broker(policy(users={"pump": [allow("#")]}, principals={"pump": principal}))
    async with await broker.dial() as client:
        await client.connect("pump", username="pump", password=PASSWORD.encode())
        reasons = await client.subscribe("a", "b", "c")
        assert reasons == (ReasonCode.SUCCESS, ReasonCode.SUCCESS, ReasonCode.QUOTA_EXCEEDED)
        assert await client.subscribe("a") == (ReasonCode.SUCCESS,)


async def test_messages_waiting_for_one_user_are_bounded(start_broker: StartBroker) -> None:
    """MQTTClient limits.maxQueuedMessages"""
    principal = Principal(
        username="pump", client_ids=("pump",), passwords=(verifier(),), limits=ClientLimits(queued_messages_max=2)
    )
    broker = start_broker(policy(users={"pump": [allow("#")]}, principals={"pump": principal}, anonymous=[allow("#")]))
    kept = Properties(session_expiry_interval=60)
    async with await broker.dial() as client:
        await client.connect("pump", username="pump", password=PASSWORD.encode(), properties=kept)
        await client.subscribe("t", qos=1)
        await client.disconnect()
    async with await broker.dial() as publisher:
        await publisher.connect("publisher")
        for number in range(5):
            await publisher.publish("t", b"%d" % number, qos=1)
    async with await broker.dial() as client:
        await client.connect("pump", username="pump", password=PASSWORD.encode(), clean_start=False, properties=kept)
        assert await client.receive_payloads(2) == [b"3", b"4"]
        await client.expect_silence()


@pytest.mark.parametrize(
    ("limits", "payload"),
    [(ClientLimits(messages_per_s=20), b"x"), (ClientLimits(bytes_per_s=10_000), b"x" * 490)],
    ids=["messagesPerSecond", "bytesPerSecond"],
)
async def test_a_users_rate_slows_it_down_and_loses_nothing(
    start_broker: StartBroker, limits: ClientLimits, payload: bytes
) -> None:
    """MQTTClient limits: its socket is read more slowly."""
    principal = Principal(username="pump", client_ids=("pump",), passwords=(verifier(),), limits=limits)
    broker = start_broker(policy(users={"pump": [allow("#")]}, principals={"pump": principal}))
    loop = asyncio.get_running_loop()
    async with await broker.dial() as client:
        await client.connect("pump", username="pump", password=PASSWORD.encode())
        started = loop.time()
        for _ in range(60):
            await client.publish("t", payload, qos=1)
        assert loop.time() - started > 1


async def test_many_log_ins_at_once_do_not_stop_the_broker(passwords_only: Broker) -> None:
    """Hashing is bounded: a living connection is served meanwhile."""
    async with await passwords_only.dial() as living:
        await living.connect("pump", username="pump", password=PASSWORD.encode())
        attempts = [asyncio.create_task(answer(passwords_only, "pump-x", "pump", "wrong")) for _ in range(40)]
        async with asyncio.timeout(2):
            await living.ping()
        assert {await attempt for attempt in attempts} <= {BAD, DENIED, ReasonCode.SERVER_BUSY}


async def test_a_password_never_reaches_the_log(passwords_only: Broker) -> None:
    secret = "hunter2-never-shown"
    await answer(passwords_only, "pump", "pump", secret)
    await passwords_only.logged("connect.refused", username="pump")
    assert secret not in passwords_only.program.dump()
    assert PASSWORD not in passwords_only.program.dump()


async def test_a_refused_log_in_is_one_line_with_address_and_reason(passwords_only: Broker) -> None:
    await answer(passwords_only, "pump", "pump", "wrong")
    entry = await passwords_only.logged("connect.refused", client_id="pump")
    assert entry["address"].startswith("127.0.0.1")
    assert entry["level"] == "info"
    assert entry["listener"] == "plain"


def test_a_chain_with_an_unknown_type_does_not_start(start_broker: StartBroker) -> None:
    with pytest.raises(AssertionError, match="Telepathy"):
        start_broker(policy(), authentication=(AuthenticationSettings(name="x", type="Telepathy"),))
