"""SCRAM by AUTH packets: log in without sending the password, prove it anew while connected, and every refusal."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from mqtt_api.node_settings import AuthenticationSettings, TLSSettings
from mqtt_api.policy import Policy
from mqtt_broker.wire.packets import Auth, ConnAck, Disconnect, PingReq, Properties, ProtocolVersion
from mqtt_broker.wire.reasons import ReasonCode
from support.broker import ANYONE, PASSWORDS, Broker, StartBroker, listener
from support.certificates import Authority, trusting
from support.client import Client, dial
from support.policies import PASSWORD, allow, policy
from support.processes import ROOT, run
from support.scram import SCRAM, SHA_256, SHA_512, Prover, log_in, prove, prove_anew, with_scram
from support.tools import require

BAD, DENIED = ReasonCode.BAD_USER_NAME_OR_PASSWORD, ReasonCode.NOT_AUTHORIZED
OTHER_PASSWORD = "tr0ub4dor&3"
MORE = ReasonCode.CONTINUE_AUTHENTICATION
BOTH = pytest.mark.parametrize("method", [SHA_256, SHA_512])


def the_policy(revision: int = 1, *passwords: str) -> Policy:
    plain = policy(revision, users={"pump": [allow("#")], "viewer": [allow("#")]})
    return with_scram(plain, pump=passwords or (PASSWORD,))


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """For every test that does not change its policy, or stop it."""
    with Broker(tmp_path_factory.mktemp("scram"), the_policy(), authentication=(SCRAM,)) as running:
        yield running
        running.assert_no_traceback()


@pytest.fixture
def own_broker(start_broker: StartBroker) -> Broker:
    return start_broker(the_policy(), authentication=(SCRAM,))


def challenge_of(answer: object) -> dict[str, str]:
    """Nonce, salt and iterations of a challenge."""
    assert isinstance(answer, Auth), answer
    assert answer.properties.authentication_data is not None
    return dict(part.split("=", 1) for part in answer.properties.authentication_data.decode().split(","))


# Logging in ----------------------------------------------------------------------------------------------------------


@BOTH
async def test_a_proved_password_connects_and_the_broker_proves_itself_too(broker: Broker, method: str) -> None:
    """[MQTT-4.12.0-2] [MQTT-4.12.0-5] CONNACK holds the last word of the server, and the session works."""
    async with await broker.dial() as client:
        assert (await log_in(client, "pump", method=method)).reason is ReasonCode.SUCCESS
        await client.subscribe("t", qos=1)
        await client.publish("t", b"x", qos=1)
        assert (await client.receive_message()).payload == b"x"


@BOTH
async def test_it_works_inside_tls_as_well(start_broker: StartBroker, tmp_path: Path, method: str) -> None:
    authority = Authority(tmp_path / "pki")
    server = authority.server()
    tls = TLSSettings(certificate_file=str(server.certificate_file), key_file=str(server.key_file))
    broker = start_broker(the_policy(), authentication=(SCRAM,), listeners=(listener("tls", tls=tls),))
    async with await broker.dial(tls=trusting(authority.ca_file)) as client:
        assert (await log_in(client, "pump", method=method)).reason is ReasonCode.SUCCESS
        assert isinstance(await prove_anew(client, "pump", method=method), Auth)


async def test_both_passwords_of_a_rotation_work_by_one_challenge(start_broker: StartBroker) -> None:
    broker = start_broker(the_policy(1, "old", "new"), authentication=(SCRAM,))
    for password, reason in [("old", ReasonCode.SUCCESS), ("new", ReasonCode.SUCCESS), ("older", BAD)]:
        async with await broker.dial() as client:
            assert (await log_in(client, "pump", password)).reason is reason


async def test_a_client_without_a_client_id_gets_one_of_its_own(broker: Broker) -> None:
    """[MQTT-3.1.3-6] [MQTT-3.2.2-16]"""
    async with await broker.dial() as client:
        answer = await log_in(client, "pump", client_id="")
        assert answer.reason is ReasonCode.SUCCESS
        assert (answer.properties.assigned_client_identifier or "").startswith("pump-")


async def test_passwords_and_scram_live_in_one_chain(start_broker: StartBroker) -> None:
    broker = start_broker(the_policy(), authentication=(PASSWORDS, SCRAM, ANYONE))
    async with await broker.dial() as first, await broker.dial() as second:
        assert (await log_in(first, "pump")).reason is ReasonCode.SUCCESS
        answer = await second.connect("viewer", username="viewer", password=PASSWORD.encode())
        assert answer.reason is ReasonCode.SUCCESS


async def test_what_is_sent_behind_the_proof_waits_for_connack(broker: Broker) -> None:
    """[MQTT-3.1.4-6] Everything in one write: nothing is lost, nothing is answered too early."""
    async with await broker.dial() as client:
        prover = Prover("pump")
        await client.send(prover.connect(client, "pump"))
        challenge = await client.expect(Auth)
        proof = prover.answer(challenge.properties.authentication_data or b"")
        await client.send(prover.auth(MORE, proof), PingReq())
        assert isinstance(await client.receive(), ConnAck)
        await client.ping()


# What the wire shows -------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def tapped(port: int) -> AsyncIterator[tuple[int, bytearray]]:
    """A relay in front of the broker that keeps every byte of both directions, and its port."""
    seen = bytearray()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                seen.extend(data)
                writer.write(data)
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    relays: list[asyncio.Task[object]] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        relays.append(asyncio.create_task(pipe(reader, far_writer)))
        relays.append(asyncio.create_task(pipe(far_reader, writer)))

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], seen
    finally:
        server.close()
        await asyncio.gather(*relays)


@BOTH
async def test_the_password_never_crosses_the_wire_nor_reaches_the_log(broker: Broker, method: str) -> None:
    """Plain TCP, a log-in, a proof anew and a wrong password, recorded byte by byte: no password, in no clear form."""
    wrong = "wrong horse battery staple"
    async with tapped(broker.port) as (port, seen):
        async with await dial(port) as client:
            assert (await log_in(client, "pump", method=method)).reason is ReasonCode.SUCCESS
            assert isinstance(await prove_anew(client, "pump", method=method), Auth)
            await client.disconnect()
        async with await dial(port) as client:
            assert (await log_in(client, "pump", wrong, method)).reason is BAD
    assert method.encode() in seen
    for password in (PASSWORD, wrong):
        for form in (password.encode(), base64.b64encode(password.encode()), password.encode().hex().encode()):
            assert form not in seen
        assert password not in broker.program.dump()
    for verifier in the_policy().principals["pump"].scram:  # whoever saw the server key could play the broker
        assert verifier.server_key not in seen
        assert base64.b64encode(verifier.server_key) not in seen
        assert base64.b64encode(verifier.stored_key) not in seen


async def test_a_recorded_exchange_cannot_be_played_again(broker: Broker) -> None:
    """The proof belongs to the nonce of its challenge."""
    prover = Prover("pump")
    async with await broker.dial() as client:
        await client.send(prover.connect(client, "pump"))
        challenge = await client.expect(Auth)
        proof = prover.answer(challenge.properties.authentication_data or b"")
    async with await broker.dial() as client:
        await client.send(prover.connect(client, "pump"))
        await client.expect(Auth)
        await client.send(prover.auth(MORE, proof))
        assert (await client.expect(ConnAck)).reason is DENIED


# Other people's clients ----------------------------------------------------------------------------------------------


@BOTH
def test_mqtt_js_logs_in_with_a_few_lines_of_its_own(broker: Broker, method: str) -> None:
    node = require("node")
    script = ROOT / "tests" / "protocol" / "mqttjs" / "scram.mjs"
    if not (script.parent / "node_modules" / "mqtt").is_dir():
        require("npm")
        pytest.fail("the mqtt.js client is not installed: ./hack/test protocol installs it")
    program = run([node, script, str(broker.port), "pump", PASSWORD, method])
    assert program.returncode() == 0, program.dump()
    assert "ok" in program.lines
    assert run([node, script, str(broker.port), "pump", OTHER_PASSWORD, method]).returncode() == 1


# Refusals before CONNACK ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("username", "password"), [("pump", OTHER_PASSWORD), ("nobody", PASSWORD), ("PUMP", PASSWORD), ("pump", " ")]
)
@BOTH
async def test_an_unknown_user_and_a_wrong_password_look_alike(
    broker: Broker, username: str, password: str, method: str
) -> None:
    """[MQTT-4.12.0-4] The same messages, the same code, a challenge that is the same each time it is asked for."""
    challenges = []
    for _ in range(2):
        async with await broker.dial() as client:
            prover = Prover(username, password, method)
            await client.send(prover.connect(client, "pump"))
            challenge = await client.receive()
            challenges.append(challenge_of(challenge))
            assert isinstance(challenge, Auth)
            proof = prover.answer(challenge.properties.authentication_data or b"")
            await client.send(prover.auth(MORE, proof))
            answer = await client.expect(ConnAck)
            assert (answer.reason, answer.properties) == (BAD, Properties())
            await client.expect_closed()
    first, second = challenges
    assert (first["s"], first["i"]) == (second["s"], second["i"])
    assert first["r"] != second["r"]
    assert (len(base64.b64decode(first["s"])), first["i"]) == (16, "15000")


async def test_the_decoys_salt_stays_the_same_over_a_restart(own_broker: Broker) -> None:
    """A salt that changes would say: nobody has this name."""
    salts = set()
    for _ in range(2):
        async with await own_broker.dial() as client:
            await client.send(Prover("nobody").connect(client, "pump"))
            salts.add(challenge_of(await client.receive())["s"])
        own_broker.stop()
        own_broker.start()
    assert len(salts) == 1


@pytest.mark.parametrize("method", ["SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "scram-sha-256", "GS2-KRB5", ""])
async def test_an_unknown_method_is_refused_by_its_own_code(broker: Broker, method: str) -> None:
    """[MQTT-4.12.0-1]"""
    async with await broker.dial() as client:
        answer = await client.connect("pump", properties=Properties(authentication_method=method))
        assert answer.reason is ReasonCode.BAD_AUTHENTICATION_METHOD
        await client.expect_closed()


async def test_a_method_that_the_entry_does_not_offer_is_refused(start_broker: StartBroker) -> None:
    only = AuthenticationSettings(name="scram", type="SCRAM", mechanisms=(SHA_512,))
    broker = start_broker(the_policy(), authentication=(only,))
    for method, reason in [(SHA_256, ReasonCode.BAD_AUTHENTICATION_METHOD), (SHA_512, ReasonCode.SUCCESS)]:
        async with await broker.dial() as client:
            assert (await log_in(client, "pump", method=method)).reason is reason


async def test_a_chain_without_scram_has_no_method(start_broker: StartBroker) -> None:
    """[MQTT-4.12.0-1] Also where anybody may connect: who asks for a proof is not let in without one."""
    broker = start_broker(the_policy(), authentication=(PASSWORDS, ANYONE))
    async with await broker.dial() as client:
        answer = await log_in(client, "pump")
        assert answer.reason is ReasonCode.BAD_AUTHENTICATION_METHOD


async def test_a_policy_that_was_not_made_for_scram_lets_nobody_in(start_broker: StartBroker) -> None:
    broker = start_broker(policy(users={"pump": [allow("#")]}), authentication=(SCRAM,))
    async with await broker.dial() as client:
        assert (await log_in(client, "pump")).reason is ReasonCode.BAD_AUTHENTICATION_METHOD


@pytest.mark.parametrize("version", [ProtocolVersion.V3_1_1, ProtocolVersion.V5])
async def test_a_password_in_connect_is_nothing_to_scram(broker: Broker, version: ProtocolVersion) -> None:
    """MQTT 3.1.1 has no other way, so it cannot log in here."""
    async with await broker.dial(version) as client:
        assert (await client.connect("pump", username="pump", password=PASSWORD.encode())).reason in (BAD, DENIED)


@pytest.mark.parametrize(
    "data",
    [
        None,
        b"",
        b"\xff\xfe",
        b"n,,n=pump",
        b"n,,n=,r=abc",
        b"n,a=viewer,n=pump,r=abc",
        b"p=tls-unique,,n=pump,r=abc",
        b"n,,m=x,n=pump,r=abc",
        b"n,,n=pump,r=" + b"a" * 512,
        b"n,,n=pu=mp,r=abc",
        b"n,,n=pump\x00,r=abc",
    ],
)
async def test_what_is_no_scram_message_is_refused(broker: Broker, data: bytes | None) -> None:
    async with await broker.dial() as client:
        properties = Properties(authentication_method=SHA_256, authentication_data=data)
        assert (await client.connect("pump", properties=properties)).reason is DENIED
        await client.expect_closed()


@pytest.mark.parametrize("final", [None, b"", b"c=biws,r=abc", b"c=biws,r=other,p=AAAA", b"x" * 600, b"\xff"])
async def test_what_is_no_proof_is_refused(broker: Broker, final: bytes | None) -> None:
    async with await broker.dial() as client:
        prover = Prover("pump")
        await client.send(prover.connect(client, "pump"))
        await client.expect(Auth)
        await client.send(prover.auth(MORE, final))
        assert (await client.expect(ConnAck)).reason is DENIED
        await client.expect_closed()


@pytest.mark.parametrize("length_bytes", [0, 1, 31, 33, 64])
async def test_a_proof_of_another_length_is_a_wrong_one(broker: Broker, length_bytes: int) -> None:
    async with await broker.dial() as client:
        prover = Prover("pump")
        await client.send(prover.connect(client, "pump"))
        challenge = challenge_of(await client.receive())
        proof = base64.b64encode(bytes(length_bytes)).decode()
        await client.send(prover.auth(MORE, f"c=biws,r={challenge['r']},p={proof}".encode()))
        assert (await client.expect(ConnAck)).reason in (BAD, DENIED)
        await client.expect_closed()


async def test_another_method_in_the_middle_is_a_protocol_error(broker: Broker) -> None:
    """[MQTT-4.12.0-5]"""
    async with await broker.dial() as client:
        prover = Prover("pump")
        await client.send(prover.connect(client, "pump"))
        await client.expect(Auth)
        await client.send(Auth(MORE, Properties(authentication_method=SHA_512, authentication_data=b"x")))
        assert (await client.expect(ConnAck)).reason is ReasonCode.PROTOCOL_ERROR
        await client.expect_closed()


async def test_another_packet_in_the_middle_is_a_protocol_error(broker: Broker) -> None:
    """[MQTT-3.1.2-30]"""
    async with await broker.dial() as client:
        await client.send(Prover("pump").connect(client, "pump"))
        await client.expect(Auth)
        await client.send(PingReq())
        assert (await client.expect(ConnAck)).reason is ReasonCode.PROTOCOL_ERROR
        await client.expect_closed()


async def test_a_client_may_leave_in_the_middle(broker: Broker) -> None:
    async with await broker.dial() as client, await broker.dial() as other:
        await client.send(Prover("pump").connect(client, "pump"))
        await client.expect(Auth)
        await client.send(Disconnect(ReasonCode.NORMAL_DISCONNECTION))
        assert await client.expect_closed() is None
        await other.send(Prover("pump").connect(other, "pump"))
        await other.expect(Auth)
        await other.abort()
    async with await broker.dial() as client:
        assert (await log_in(client, "pump")).reason is ReasonCode.SUCCESS


async def test_the_user_name_in_connect_must_be_the_one_that_is_proved(broker: Broker) -> None:
    for username, reason in [("pump", ReasonCode.SUCCESS), ("viewer", DENIED), ("", DENIED)]:
        async with await broker.dial() as client:
            prover = Prover("pump")
            answer = await prove(client, prover, prover.connect(client, "pump", username))
            assert isinstance(answer, ConnAck)
            assert answer.reason is reason


async def test_a_client_id_of_another_user_is_refused_after_the_proof(broker: Broker) -> None:
    async with await broker.dial() as client:
        answer = await log_in(client, "pump", client_id="viewer")
        assert answer.reason is ReasonCode.CLIENT_IDENTIFIER_NOT_VALID


async def test_only_who_knows_the_password_learns_that_a_client_is_suspended(start_broker: StartBroker) -> None:
    plain = the_policy()
    suspended = replace(plain.principals["pump"], suspended=True)
    changed = replace(plain, principals={**plain.principals, "pump": suspended})
    broker = start_broker(changed, authentication=(SCRAM,))
    for password, reason in [(PASSWORD, DENIED), (OTHER_PASSWORD, BAD)]:
        async with await broker.dial() as client:
            assert (await log_in(client, "pump", password)).reason is reason


async def test_a_refusal_is_one_line_that_names_the_entry_and_the_reason(broker: Broker, unique: str) -> None:
    async with await broker.dial() as client:
        await log_in(client, "nobody", client_id=unique)
    entry = await broker.logged("connect.refused", client_id=unique)
    assert entry["reason"] == "BAD_USER_NAME_OR_PASSWORD"
    assert entry["detail"] == "scram: unknown user"


async def test_a_verifier_withdrawn_between_challenge_and_proof_proves_nothing(own_broker: Broker) -> None:
    async with await own_broker.dial() as client:
        prover = Prover("pump")
        await client.send(prover.connect(client, "pump"))
        challenge = await client.expect(Auth)
        await asyncio.to_thread(own_broker.apply, the_policy(2, OTHER_PASSWORD))
        proof = prover.answer(challenge.properties.authentication_data or b"")
        await client.send(prover.auth(MORE, proof))
        assert (await client.expect(ConnAck)).reason is BAD


def test_a_mechanism_that_does_not_exist_stops_the_start(start_broker: StartBroker) -> None:
    wrong = AuthenticationSettings(name="mine", type="SCRAM", mechanisms=("SCRAM-SHA-1",))
    with pytest.raises(AssertionError, match="SCRAM-SHA-1"):
        start_broker(the_policy(), authentication=(wrong,))


# Anew, on a living connection ----------------------------------------------------------------------------------------


@pytest.fixture
async def connected(broker: Broker) -> AsyncIterator[Client]:
    async with await broker.dial() as client:
        assert (await log_in(client, "pump")).reason is ReasonCode.SUCCESS
        yield client


async def test_a_proof_anew_is_told_and_messages_go_on_meanwhile(connected: Client) -> None:
    """MQTT 5.0, 4.12.1: packets of other kinds are exchanged by the earlier proof while it is under way."""
    await connected.subscribe("t", qos=1)
    for _ in range(3):
        prover = Prover("pump")
        await connected.send(prover.auth(ReasonCode.RE_AUTHENTICATE, prover.first))
        challenge = await connected.expect(Auth)
        assert await connected.publish("t", b"meanwhile", qos=1) is ReasonCode.SUCCESS
        assert (await connected.receive_message()).payload == b"meanwhile"
        proof = prover.answer(challenge.properties.authentication_data or b"")
        await connected.send(prover.auth(MORE, proof))
        answer = await connected.expect(Auth)
        assert answer.reason is ReasonCode.SUCCESS
        prover.check(answer.properties.authentication_data)
    await connected.ping()


@pytest.mark.parametrize(
    ("username", "password"), [("pump", OTHER_PASSWORD), ("nobody", PASSWORD), ("viewer", PASSWORD)]
)
async def test_a_failed_proof_anew_or_one_as_another_user_ends_the_connection(
    broker: Broker, connected: Client, username: str, password: str
) -> None:
    """[MQTT-4.12.1-2]"""
    answer = await prove_anew(connected, username, password)
    assert isinstance(answer, Disconnect)
    assert answer.reason is DENIED
    await connected.expect_closed()
    assert await broker.logged("reauthenticate.refused", client_id="pump", username="pump")


async def test_a_proof_anew_that_is_no_message_ends_the_connection(connected: Client) -> None:
    """[MQTT-4.12.1-2]"""
    await connected.send(Prover("pump").auth(ReasonCode.RE_AUTHENTICATE, None))
    goodbye = await connected.expect_closed()
    assert goodbye is not None
    assert goodbye.reason is DENIED


async def test_another_method_anew_is_a_protocol_error(connected: Client) -> None:
    """[MQTT-4.12.1-1]"""
    prover = Prover("pump", method=SHA_512)
    await connected.send(prover.auth(ReasonCode.RE_AUTHENTICATE, prover.first))
    goodbye = await connected.expect_closed()
    assert goodbye is not None
    assert goodbye.reason is ReasonCode.PROTOCOL_ERROR


@pytest.mark.parametrize("reason", [MORE, ReasonCode.RE_AUTHENTICATE])
async def test_an_auth_out_of_turn_is_a_protocol_error(connected: Client, reason: ReasonCode) -> None:
    """0x18 that nobody asked for, and a second 0x19 before the first one is over."""
    prover = Prover("pump")
    if reason is ReasonCode.RE_AUTHENTICATE:
        await connected.send(prover.auth(reason, prover.first))
        await connected.expect(Auth)
    await connected.send(prover.auth(reason, prover.first))
    goodbye = await connected.expect_closed()
    assert goodbye is not None
    assert goodbye.reason is ReasonCode.PROTOCOL_ERROR


async def test_who_connected_without_a_method_cannot_begin_one(start_broker: StartBroker) -> None:
    """[MQTT-4.12.0-7]"""
    broker = start_broker(the_policy(), authentication=(SCRAM, PASSWORDS))
    async with await broker.dial() as client:
        await client.connect("pump", username="pump", password=PASSWORD.encode())
        prover = Prover("pump")
        await client.send(prover.auth(ReasonCode.RE_AUTHENTICATE, prover.first))
        goodbye = await client.expect_closed()
        assert goodbye is not None
        assert goodbye.reason is ReasonCode.PROTOCOL_ERROR


# Policies that change ------------------------------------------------------------------------------------------------


async def test_a_withdrawn_verifier_ends_the_connection_that_used_it(start_broker: StartBroker) -> None:
    """And no other: who proved the password that stays, stays."""
    broker = start_broker(the_policy(1, "old", "new"), authentication=(SCRAM,))
    async with await broker.dial() as by_old, await broker.dial() as by_new:
        assert (await log_in(by_old, "pump", "old", client_id="pump-1")).reason is ReasonCode.SUCCESS
        assert (await log_in(by_new, "pump", "new", client_id="pump-2")).reason is ReasonCode.SUCCESS
        await asyncio.to_thread(broker.apply, the_policy(2, "new"))
        goodbye = await by_old.expect_closed()
        assert goodbye is not None
        assert goodbye.reason is DENIED
        await by_new.ping()


async def test_who_proved_the_new_password_anew_stays_when_the_old_one_goes(start_broker: StartBroker) -> None:
    broker = start_broker(the_policy(1, "old", "new"), authentication=(SCRAM,))
    async with await broker.dial() as client:
        assert (await log_in(client, "pump", "old")).reason is ReasonCode.SUCCESS
        assert isinstance(await prove_anew(client, "pump", "new"), Auth)
        await asyncio.to_thread(broker.apply, the_policy(2, "new"))
        await client.ping()
        await asyncio.to_thread(broker.apply, the_policy(3, "newer"))
        await client.expect_closed()


async def test_what_changes_for_somebody_else_ends_nothing(own_broker: Broker) -> None:
    async with await own_broker.dial() as client:
        await log_in(client, "pump")
        changed = the_policy(2)
        viewer = replace(changed.principals["viewer"], scram=())
        await asyncio.to_thread(own_broker.apply, replace(changed, principals={**changed.principals, "viewer": viewer}))
        await client.ping()
        assert isinstance(await prove_anew(client, "pump"), Auth)
    async with await own_broker.dial() as client:
        assert (await log_in(client, "viewer")).reason is BAD
