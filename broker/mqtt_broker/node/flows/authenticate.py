"""The story of an authentication by AUTH packets: before CONNACK, and anew on a living connection (MQTT 5.0, 4.12).

Carries the messages between the client and its exchange; does not know any mechanism, nor sessions. What is decided is
decided by the policy of the moment in which the client's message is judged.
"""

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from mqtt_broker.auth import audit
from mqtt_broker.auth.exchange import Challenge, Exchange, Progress, Proved
from mqtt_broker.auth.principal import Refused
from mqtt_broker.node.flows import connect
from mqtt_broker.protocol.connection import CONNECT_DEADLINE_S
from mqtt_broker.wire.packets import Auth, Connect
from mqtt_broker.wire.reasons import ReasonCode

if TYPE_CHECKING:
    from mqtt_broker.node.client import ClientConnection

# Of a challenge: answered later than that it proves nothing. Before CONNACK the machine's own deadline comes first.
CHALLENGE_S_MAX = CONNECT_DEADLINE_S


class Underway(Struct, frozen=True):
    """An exchange that waits for the client. `started_at` is the loop's time."""

    exchange: Exchange
    started_at: float


# Before CONNACK ------------------------------------------------------------------------------------------------------


async def on_connect(client: "ClientConnection", packet: Connect) -> None:
    """Answer a CONNECT with an authentication method: by AUTH, or by CONNACK if it is refused [MQTT-4.12.0-2]."""
    refusal = connect.turned_away(client.hub) or _begin(client, connect.candidate(packet))
    if refusal is not None:
        connect.refuse(client, packet, refusal)  # [MQTT-4.12.0-1]
        return
    await _go_on(client, packet, packet.properties.authentication_data)


async def on_auth(client: "ClientConnection", packet: Auth) -> None:
    """Go on with the exchange that waits; the machine has checked that its turn, reason and method are right."""
    assert client.connection.connect is not None
    await _go_on(client, client.connection.connect, packet.properties.authentication_data)


async def _go_on(client: "ClientConnection", packet: Connect, data: bytes | None) -> None:
    progress = _progress(client, data)
    if isinstance(progress, Challenge):
        client.connection.challenge(_method(packet), progress.data)
        client.challenged()
        return
    client.underway = None
    if isinstance(progress, Refused):
        connect.refuse(client, packet, progress)  # [MQTT-4.12.0-4]
        return
    answer = connect.decided(client.hub, packet, progress.identity)
    await connect.enter(client, packet, answer, authentication_data=progress.data)


# Anew, while everything else goes on ---------------------------------------------------------------------------------


def on_reauthentication(client: "ClientConnection", packet: Auth) -> None:
    """A connected client proves itself anew: AUTH 0x00 and nothing else changes, or the connection ends."""
    assert client.connection.connect is not None
    original = client.connection.connect
    refusal: Refused | None = None
    if packet.reason is ReasonCode.RE_AUTHENTICATE:
        refusal = _begin(client, replace(original, client_id=client.session.client_id))
    progress = refusal or _progress(client, packet.properties.authentication_data)
    if isinstance(progress, Challenge):
        client.connection.challenge(_method(original), progress.data)
        client.wrote()
        return
    client.underway = None
    _conclude(client, _method(original), progress)


def _conclude(client: "ClientConnection", method: str, progress: Proved | Refused) -> None:
    session = client.session
    if isinstance(progress, Proved) and progress.identity.facts.username != session.facts.username:
        # The session, its rights and its will belong to the one who connected.
        progress = Refused(ReasonCode.NOT_AUTHORIZED, f"as another user ({progress.identity.facts.username!r})")
    if isinstance(progress, Refused):
        client.hub.counters.auth_failures += 1
        audit.refused_reauthentication(session.client_id, session.facts.username, progress.detail)
        client.end(ReasonCode.NOT_AUTHORIZED)  # [MQTT-4.12.1-2]
        return
    assert client.credential is not None
    client.credential = replace(client.credential, scram=progress.identity.scram)
    client.connection.reauthenticate_success(method, progress.data)
    client.wrote()


# Both ----------------------------------------------------------------------------------------------------------------


def _begin(client: "ClientConnection", candidate: Connect) -> Refused | None:
    exchange = client.listener.authenticator.exchange(candidate)
    if isinstance(exchange, Refused):
        return exchange
    client.underway = Underway(exchange, client.hub.loop.time())
    return None


def _progress(client: "ClientConnection", data: bytes | None) -> Progress:
    hub, underway = client.hub, client.underway
    assert underway is not None  # the machine lets no AUTH through that nobody waits for
    if hub.policy is None:
        return Refused(ReasonCode.SERVER_UNAVAILABLE, "this node has no policy yet")
    if hub.loop.time() - underway.started_at > CHALLENGE_S_MAX:
        return Refused(ReasonCode.NOT_AUTHORIZED, "the challenge was answered too late")
    return underway.exchange.proceed(hub.policy, data)


def _method(packet: Connect) -> str:
    assert packet.properties.authentication_method is not None
    return packet.properties.authentication_method
