"""TLS: versions, mutual authentication, revocation, and changes while connections live."""

import asyncio
import ssl
from pathlib import Path

import pytest

from mqtt_api.node_settings import AuthenticationSettings, ListenerSettings, TLSSettings
from mqtt_api.policy import CertificateMatch, Policy, Principal
from mqtt_broker.wire.reasons import ReasonCode
from support import frames
from support.broker import ANYONE, PASSWORDS, Broker, StartBroker, listener
from support.certificates import Authority, Issued, trusting
from support.client import ConnectionClosedError
from support.policies import PASSWORD, allow, policy, verifier
from support.waiting import eventually

X509 = AuthenticationSettings(name="devices", type="X509")
X509_OPEN = AuthenticationSettings(name="devices", type="X509", principals="Open", client_ids=("${username}",))
X509_SAN = AuthenticationSettings(name="devices", type="X509", username_from="SANDNS", principals="Open")


class World:
    """An authority, a server certificate, and settings that name their files."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.server = self.authority.server()
        self.foreign = Authority(folder / "foreign", "foreign-ca")

    def listener(
        self,
        client_auth: str = "None",
        crl: Path | None = None,
        min_version: str = "TLS1.2",
        authentication: tuple[AuthenticationSettings, ...] = (X509, PASSWORDS, ANYONE),
    ) -> ListenerSettings:
        tls = TLSSettings(
            certificate_file=str(self.server.certificate_file),
            key_file=str(self.server.key_file),
            min_version=min_version,
            client_auth=client_auth,
            client_ca_files=() if client_auth == "None" else (str(self.authority.ca_file),),
            crl_files=() if crl is None else (str(crl),),
        )
        return listener("tls", tls=tls, authentication=authentication)

    def trusting(self, identity: Issued | None = None) -> ssl.SSLContext:
        return trusting(self.authority.ca_file, identity)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "pki")


def the_policy(revision: int = 1, *, revoked_serials: tuple[str, ...] = ()) -> Policy:
    """One MQTTClient, pump, with a password and a certificate; and what a certificate may do by itself."""
    match = CertificateMatch(common_name="pump", revoked_serials=revoked_serials)
    pump = Principal(username="pump", client_ids=("pump", "pump-*"), passwords=(verifier(),), certificates=(match,))
    return policy(
        revision,
        users={"pump": [allow("#")]},
        anonymous=[allow("#")],
        authenticated=[allow("dev/${cert.cn}/#")],
        principals={"pump": pump},
    )


async def connects(broker: Broker, context: ssl.SSLContext, client_id: str = "c", **login: object) -> ReasonCode | None:
    """The reason in CONNACK, or None if TLS already said no."""
    try:
        async with await broker.dial(tls=context) as client:
            return (await client.connect(client_id, **login)).reason  # type: ignore[arg-type]  # as given
    except (ssl.SSLError, ConnectionClosedError, ConnectionError):
        return None


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_messages_travel_over_tls(start_broker: StartBroker, world: World, version: ssl.TLSVersion) -> None:
    broker = start_broker(listeners=(world.listener(),))
    context = world.trusting()
    context.minimum_version = context.maximum_version = version
    async with await broker.dial(tls=context) as client:
        await client.connect("c")
        await client.subscribe("t", qos=1)
        await client.publish("t", b"x" * 100_000, qos=1)
        assert len((await client.receive_message()).payload) == 100_000
        session: ssl.SSLObject = client.writer.get_extra_info("ssl_object")
        assert session.version() == version.name.replace("TLSv1_", "TLSv1.")


async def test_tls_1_3_prefers_aes_256(start_broker: StartBroker, world: World) -> None:
    broker = start_broker(listeners=(world.listener(),))
    async with await broker.dial(tls=world.trusting()) as client:
        session: ssl.SSLObject = client.writer.get_extra_info("ssl_object")
        cipher = session.cipher()
        assert cipher is not None
        assert cipher[0] == "TLS_AES_256_GCM_SHA384"


async def test_old_versions_and_suites_are_refused(start_broker: StartBroker, world: World) -> None:
    broker = start_broker(listeners=(world.listener(),))
    for suites in ("ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA", "AES256-GCM-SHA384", "ECDHE-ECDSA-AES256-SHA384"):
        context = world.trusting()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(suites + ":@SECLEVEL=0")
        assert await connects(broker, context) is None


async def test_a_listener_may_demand_tls_1_3(start_broker: StartBroker, world: World) -> None:
    broker = start_broker(listeners=(world.listener(min_version="TLS1.3"),))
    context = world.trusting()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert await connects(broker, context) is None
    assert await connects(broker, world.trusting()) is ReasonCode.SUCCESS


async def test_plain_text_on_a_tls_port_is_closed_without_a_word(start_broker: StartBroker, world: World) -> None:
    broker = start_broker(listeners=(world.listener(),))
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
    writer.write(frames.connect())
    async with asyncio.timeout(5):
        said = await reader.read()
    assert not said.startswith(b"\x20")
    writer.close()


async def test_a_handshake_that_never_ends_is_ended(start_broker: StartBroker, world: World) -> None:
    broker = start_broker(listeners=(world.listener(),))
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
    async with asyncio.timeout(15):
        assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize("client_auth", ["Optional", "Required"])
async def test_a_certificate_of_our_authority_is_an_identity(
    start_broker: StartBroker, world: World, client_auth: str
) -> None:
    broker = start_broker(the_policy(), listeners=(world.listener(client_auth),))
    assert await connects(broker, world.trusting(world.authority.client("pump")), "pump") is ReasonCode.SUCCESS


async def test_without_a_certificate_required_refuses_and_optional_asks_the_chain(
    start_broker: StartBroker, world: World
) -> None:
    required = start_broker(the_policy(), listeners=(world.listener("Required"),))
    optional = start_broker(the_policy(), listeners=(world.listener("Optional"),))
    login = {"username": "pump", "password": PASSWORD.encode()}
    assert await connects(required, world.trusting(), "pump", **login) is None
    assert await connects(optional, world.trusting(), "pump", **login) is ReasonCode.SUCCESS


@pytest.mark.parametrize("fault", ["foreign authority", "expired", "for servers only"])
async def test_a_certificate_that_is_no_good_is_refused(start_broker: StartBroker, world: World, fault: str) -> None:
    broker = start_broker(the_policy(), listeners=(world.listener("Optional"),))
    identity = {
        "foreign authority": lambda: world.foreign.client("pump"),
        "expired": lambda: world.authority.client("pump", expired=True),
        "for servers only": lambda: world.authority.client("pump", for_servers=True),
    }[fault]()
    assert await connects(broker, world.trusting(identity), "pump") is None
    await broker.logged("tls.failed")


async def test_a_certificate_of_an_unknown_name_is_nobody(start_broker: StartBroker, world: World) -> None:
    """principals: RequireMQTTClient"""
    broker = start_broker(the_policy(), listeners=(world.listener("Required", authentication=(X509,)),))
    reason = await connects(broker, world.trusting(world.authority.client("stranger")), "stranger")
    assert reason is not None
    assert reason.is_error


async def test_an_open_listener_takes_every_valid_certificate_as_itself(
    start_broker: StartBroker, world: World
) -> None:
    """principals: Open; permissions by the certificate's own fields."""
    broker = start_broker(the_policy(), listeners=(world.listener("Required", authentication=(X509_OPEN,)),))
    context = world.trusting(world.authority.client("sensor-1"))
    async with await broker.dial(tls=context) as client:
        assert (await client.connect("sensor-1")).reason is ReasonCode.SUCCESS
        assert await client.publish("dev/sensor-1/x", b"x", qos=1) is ReasonCode.NO_MATCHING_SUBSCRIBERS
        assert await client.publish("dev/sensor-2/x", b"x", qos=1) is ReasonCode.NOT_AUTHORIZED
    assert await connects(broker, context, "sensor-2") is ReasonCode.CLIENT_IDENTIFIER_NOT_VALID


async def test_the_user_name_may_come_from_the_alternative_name(start_broker: StartBroker, world: World) -> None:
    broker = start_broker(the_policy(), listeners=(world.listener("Required", authentication=(X509_SAN,)),))
    identity = world.authority.client("some-name", dns="sensor-9.plant")
    assert await connects(broker, world.trusting(identity), "sensor-9.plant") is ReasonCode.SUCCESS
    assert await connects(broker, world.trusting(identity), "some-name") is ReasonCode.CLIENT_IDENTIFIER_NOT_VALID


async def test_a_user_name_that_is_not_the_certificates_is_refused(start_broker: StartBroker, world: World) -> None:
    broker = start_broker(the_policy(), listeners=(world.listener("Required"),))
    context = world.trusting(world.authority.client("pump"))
    reason = await connects(broker, context, "pump", username="admin", password=PASSWORD.encode())
    assert reason is not None
    assert reason.is_error


async def test_a_revoked_certificate_is_refused_and_others_are_not(start_broker: StartBroker, world: World) -> None:
    revoked, good = world.authority.client("revoked"), world.authority.client("pump")
    crl = world.authority.crl([revoked.serial])
    broker = start_broker(the_policy(), listeners=(world.listener("Required", crl),))
    assert await connects(broker, world.trusting(revoked), "revoked") is None
    assert await connects(broker, world.trusting(good), "pump") is ReasonCode.SUCCESS


async def test_a_stale_revocation_list_refuses_everybody(start_broker: StartBroker, world: World) -> None:
    """Fail closed."""
    crl = world.authority.crl(stale=True)
    broker = start_broker(the_policy(), listeners=(world.listener("Required", crl),))
    assert await connects(broker, world.trusting(world.authority.client("pump")), "pump") is None


async def test_a_new_revocation_list_holds_without_a_restart(start_broker: StartBroker, world: World) -> None:
    pump, other = world.authority.client("pump"), world.authority.client("pump")
    crl = world.authority.crl()
    broker = start_broker(the_policy(), listeners=(world.listener("Required", crl),))
    async with await broker.dial(tls=world.trusting(other)) as living:
        await living.connect("pump")
        world.authority.crl([pump.serial])

        async def refused() -> bool:
            return await connects(broker, world.trusting(pump), "pump-1") is None

        await eventually(refused, what="the revoked certificate to be refused")
        await living.ping()
        world.authority.crl()

        async def accepted() -> bool:
            return await connects(broker, world.trusting(pump), "pump-1") is ReasonCode.SUCCESS

        await eventually(accepted, what="the certificate to be accepted again")
        await living.ping()


async def test_a_new_server_certificate_is_served_and_living_connections_stay(
    start_broker: StartBroker, world: World
) -> None:
    """No restart, no dropped connection; the status names the serial that is served."""
    broker = start_broker(listeners=(world.listener(),))
    async with await broker.dial(tls=world.trusting()) as living:
        await living.connect("living")
        renewed = world.authority.server()

        def served() -> bool:
            return int(str(broker.status()["listeners"]["tls"]["serial"]).replace(":", ""), 16) == renewed.serial

        await eventually(served, what="the renewed certificate in /status")
        async with await broker.dial(tls=world.trusting()) as fresh:
            await fresh.connect("fresh")
            session: ssl.SSLObject = fresh.writer.get_extra_info("ssl_object")
            certificate = session.getpeercert()
            assert certificate is not None
            assert int(str(certificate["serialNumber"]), 16) == renewed.serial
        await living.ping()


async def test_a_certificate_that_does_not_fit_its_key_changes_nothing(start_broker: StartBroker, world: World) -> None:
    """The old pair stays in service, and the log says which file is wrong."""
    broker = start_broker(listeners=(world.listener(),))
    before = broker.status()["listeners"]["tls"]["serial"]
    good = world.server.certificate_file.read_bytes()
    world.server.certificate_file.write_bytes(world.authority.server("other").certificate_file.read_bytes())
    await asyncio.to_thread(broker.program.wait_for_line, str(world.server.key_file))
    assert broker.status()["listeners"]["tls"]["serial"] == before
    assert await connects(broker, world.trusting()) is ReasonCode.SUCCESS
    world.server.certificate_file.write_bytes(good)


async def test_a_new_authority_is_trusted_without_a_restart(start_broker: StartBroker, world: World) -> None:
    broker = start_broker(the_policy(), listeners=(world.listener("Required"),))
    foreign = world.foreign.client("pump")
    assert await connects(broker, world.trusting(foreign), "pump") is None
    both = world.authority.ca_file.read_bytes() + world.foreign.ca_file.read_bytes()
    context = world.trusting(foreign)
    world.authority.ca_file.write_bytes(both)

    async def accepted() -> bool:
        return await connects(broker, context, "pump") is ReasonCode.SUCCESS

    await eventually(accepted, what="the new authority to be trusted")


@pytest.mark.parametrize("missing", ["certificate_file", "key_file"])
def test_a_missing_file_stops_the_start_with_its_name(start_broker: StartBroker, world: World, missing: str) -> None:
    getattr(world.server, missing).unlink()
    with pytest.raises(AssertionError, match=getattr(world.server, missing).name):
        start_broker(listeners=(world.listener(),))


async def test_a_serial_revoked_in_the_client_object_ends_its_connection(
    start_broker: StartBroker, world: World
) -> None:
    identity = world.authority.client("pump")
    serial = f"{identity.serial:x}"
    broker = start_broker(the_policy(), listeners=(world.listener("Required"),))
    async with await broker.dial(tls=world.trusting(identity)) as client:
        assert (await client.connect("pump")).reason is ReasonCode.SUCCESS
        broker.apply(the_policy(2, revoked_serials=(serial,)))
        await client.expect_closed()
    reason = await connects(broker, world.trusting(identity), "pump")
    assert reason is None or reason.is_error
