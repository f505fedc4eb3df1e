"""The story of a CONNECT: authenticate, authorize, claim the session, evict its previous connection, accept.

A refusal is one line in the log and one reason code to the client; the connection that holds the session is not touched
before the newcomer has proved that the session is its own.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from msgspec.structs import replace

from mqtt_api.policy import Facts, Principal
from mqtt_broker.auth import audit
from mqtt_broker.auth.authorize import may_connect
from mqtt_broker.auth.principal import Identity, Refused
from mqtt_broker.node import groups, policy_feed, retained
from mqtt_broker.node.flows.disconnect import fire
from mqtt_broker.node.hub import ConnectTurn, Hub
from mqtt_broker.node.live import LiveSession
from mqtt_broker.session.message import has_its_format
from mqtt_broker.session.session import NEVER_S
from mqtt_broker.store.ports import Claim, Claimed, ClaimRefused, Detach, Done, Result, lapsed_will_of
from mqtt_broker.wire.packets import Connect, ProtocolVersion
from mqtt_broker.wire.reasons import ReasonCode

if TYPE_CHECKING:
    from mqtt_broker.node.client import ClientConnection

CLAIM_S_MAX = 10.0  # a store that does not answer by then: refused with 0x88, the claim is undone when it succeeds late
POLICY_CHANGES_MAX = 3  # a policy that changes during three checks in a row: better refused than decided by an old one


async def on_connect(client: "ClientConnection", packet: Connect) -> None:
    """Answer a CONNECT with CONNACK, accepted or refused. Never raises for what the peer sent.

    One with an authentication method is another story (authenticate.py), which ends in `enter` as well.
    """
    await enter(client, packet, turned_away(client.hub) or await _who(client, packet))


async def enter(
    client: "ClientConnection",
    packet: Connect,
    answer: Identity | Refused,
    *,
    authentication_data: bytes | None = None,
) -> None:
    """Take the session of an identity that may have it, and answer with CONNACK; a refusal ends the connection.

    `authentication_data`: the last message of an exchange, for a client that is accepted.
    """
    hub = client.hub
    if isinstance(answer, Refused):
        refuse(client, packet, answer)
        return
    principal = hub.principal(answer.facts)
    async with _turn(hub, answer.facts):
        refusal = await _take_session(client, packet, answer, principal, authentication_data)
    if refusal is not None:
        refuse(client, packet, refusal)


@contextlib.asynccontextmanager
async def _turn(hub: Hub, facts: Facts) -> AsyncIterator[None]:
    """Two CONNECTs of one client id take turns, or both would believe they own the session.

    Whoever waits counts as a connection of its principal already, or a limit could be passed by many at once.
    """
    client_id, username = facts.client_id, facts.username
    turn = hub.connecting.setdefault(client_id, ConnectTurn())
    turn.users += 1
    hub.connecting_per_user[username] = hub.connecting_per_user.get(username, 0) + 1
    try:
        async with turn.lock:
            yield
    finally:
        turn.users -= 1
        if not turn.users:
            del hub.connecting[client_id]
        hub.connecting_per_user[username] -= 1
        if not hub.connecting_per_user[username]:
            del hub.connecting_per_user[username]


# Who, and whether ----------------------------------------------------------------------------------------------------


def turned_away(hub: Hub) -> Refused | None:
    """Why nobody gets in now; asked before a password is hashed: that is what a storm would spend."""
    if hub.is_frozen:
        return Refused(ReasonCode.SERVER_UNAVAILABLE, "the store has been away for longer than this node's lease")
    return Refused(ReasonCode.SERVER_BUSY, "the node is overloaded") if hub.overload.level >= 2 else None


async def _who(client: "ClientConnection", packet: Connect) -> Identity | Refused:
    """The identity, with the client id it will use; decided under the policy that holds when this returns [D9]."""
    hub = client.hub
    for _ in range(POLICY_CHANGES_MAX):
        policy = hub.policy
        if policy is None:
            return Refused(ReasonCode.SERVER_UNAVAILABLE, "this node has no policy yet")
        answer = await client.listener.authenticator.authenticate(policy, candidate(packet), client.peer)
        if hub.policy is policy:
            return decided(hub, packet, answer) if isinstance(answer, Identity) else answer
    return Refused(ReasonCode.SERVER_BUSY, "the policy keeps changing")


def candidate(packet: Connect) -> Connect:
    """The CONNECT that is judged: with a client id, random if the client sent none."""
    return packet if packet.client_id else replace(packet, client_id=secrets.token_hex(16))


def decided(hub: Hub, packet: Connect, identity: Identity) -> Identity | Refused:
    """The identity with the client id it will use, if it may connect with that now."""
    named = identity if packet.client_id else _with_assigned_id(hub, identity)
    return _authorized(hub, packet, named) if isinstance(named, Identity) else named


def _with_assigned_id(hub: Hub, identity: Identity) -> Identity | Refused:
    """A client id for a client that leaves the choice to us [MQTT-3.1.3-6]: one that its principal may use.

    A pattern's `*` becomes the 128 random bits of the candidate. A principal with one client id gets that one, if
    nobody uses it.
    """
    random_id = identity.facts.client_id
    username = identity.facts.username
    for pattern in identity.client_ids:
        if "*" in pattern:
            chosen = pattern.replace("${username}", username).replace("*", random_id, 1).replace("*", "")
            return replace(identity, facts=replace(identity.facts, client_id=chosen))  # [MQTT-3.1.3-7]
    chosen = identity.client_ids[0].replace("${username}", username)
    if chosen in hub.sessions:
        return Refused(
            ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
            f"the client sent no client id and {chosen!r} is in use: send one, or allow {chosen + '-*'!r} in clientIDs",
        )
    return replace(identity, facts=replace(identity.facts, client_id=chosen))  # [MQTT-3.1.3-7]


def _authorized(hub: Hub, packet: Connect, identity: Identity) -> Identity | Refused:
    refusal = may_connect(identity, identity.facts.client_id, packet.will, hub.rights_of)
    if refusal is not None:
        return refusal
    will, is_checked = packet.will, hub.settings.mqtt.validate_payload_format
    if is_checked and will is not None and not has_its_format(will.payload, will.properties):
        return Refused(ReasonCode.PAYLOAD_FORMAT_INVALID, "the will says that it is UTF-8 and is not")
    if hub.draining:
        return Refused(ReasonCode.SERVER_UNAVAILABLE, "this node is shutting down")
    limit = identity.limits.connections_max
    username = identity.facts.username
    used = hub.connections_per_user.get(username, 0) + hub.connecting_per_user.get(username, 0)
    if limit is not None and used >= limit and identity.facts.client_id not in hub.connections:
        return Refused(ReasonCode.QUOTA_EXCEEDED, f"{used} connections of this principal are open, its limit")
    return identity


def refuse(client: "ClientConnection", packet: Connect, refused: Refused) -> None:
    """Answer with CONNACK and close, with one line in the log."""
    hub = client.hub
    hub.counters.connections_refused += 1
    if refused.reason in (ReasonCode.BAD_USER_NAME_OR_PASSWORD, ReasonCode.NOT_AUTHORIZED):
        hub.counters.auth_failures += 1
    audit.refused_connection(client.peer, packet.client_id, packet.username, refused.reason, refused.detail)
    client.connection.refuse(refused.reason)  # [MQTT-3.1.4-2] [MQTT-3.1.3-8] [MQTT-4.12.0-4]
    client.finish()  # [MQTT-3.2.2-7]


# The session ---------------------------------------------------------------------------------------------------------


async def _take_session(
    client: "ClientConnection",
    packet: Connect,
    identity: Identity,
    principal: Principal | None,
    authentication_data: bytes | None,
) -> Refused | None:
    """Claim the session and start the connection; None if accepted (or the client left meanwhile).

    `principal` is the one the identity was decided by.
    """
    hub, facts = client.hub, identity.facts
    if client.closed:
        return None
    known = hub.sessions.get(facts.client_id)
    if known is not None and not _same_principal(known.facts, facts):
        return _other_principals()
    previous = hub.connections.get(facts.client_id)
    if previous is not None:
        previous.take_over()  # [MQTT-3.1.4-3]; its last writes reach the store before the claim below
    claim = Claim(
        client_id=facts.client_id,  # [MQTT-3.1.3-2]
        facts=facts,
        protocol_version=packet.version,
        clean_start=packet.clean_start,  # [MQTT-3.1.4-4]
        expiry_interval_s=session_expiry_s(packet, hub.settings.mqtt.session_expiry_s_max),
        will=packet.will,  # [MQTT-3.1.2-7]
        bounds=hub.bounds_for(identity.limits),
    )
    result = await _claim(client, claim)
    if result is None:
        return Refused(ReasonCode.SERVER_UNAVAILABLE, "the store does not answer")
    if isinstance(result, ClaimRefused):
        return _other_principals()
    assert isinstance(result, Claimed)
    refusal = await _settle(hub, result)
    if refusal is not None:
        return refusal
    before = hub.sessions.get(facts.client_id)
    session = await _adopt(hub, result)
    if not _is_ours(hub, session, result):
        if not session.subscriptions:  # the feed says nothing of it
            hub.forget(session)
        return _claimed_elsewhere(hub, result)
    refusal = _attach(client, session, before, identity, result, principal)
    if refusal is None and not client.closed:
        _accept(client, packet, session, result, authentication_data)
    return refusal


async def _adopt(hub: Hub, claimed: Claimed) -> LiveSession:
    """The claimed session, routed and decided by the policy of now; in slices, for it may have many subscriptions.

    The one that the feed told of, if that was claimed after it.
    """
    client_id = claimed.record.client_id
    known = hub.sessions.get(client_id)
    if known is not None and not claimed.present and known.epoch < claimed.record.epoch:
        hub.forget(known)  # it ended with the claim
    await hub.left(client_id)
    known = hub.sessions.get(client_id)
    if known is not None and known.epoch > claimed.record.epoch:
        return known
    session = hub.adopt(claimed.record)
    await hub.turns.finish(policy_feed.deciding(hub, session))
    return session


def _is_ours(hub: Hub, session: LiveSession, claimed: Claimed) -> bool:
    """False if it was claimed elsewhere while it was routed and decided here, and what is told of that came meanwhile.

    From here to CONNACK nobody else has a turn: an order to let go that comes later finds the connection.
    """
    client_id, epoch = session.client_id, claimed.record.epoch
    if hub.sessions.get(client_id) is not session or session.epoch != epoch:
        return False
    return not hub.peers.is_evicted(client_id, epoch)


def _other_principals() -> Refused:
    return Refused(ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, "the client id has a session of another principal")


def _same_principal(one: Facts, other: Facts) -> bool:
    return one.username == other.username and one.anonymous == other.anonymous


def session_expiry_s(packet: Connect, expiry_s_max: int) -> int:
    """How long the session outlives its connection. MQTT 3.1.1 says clean, or as long as we keep any."""
    if packet.version is not ProtocolVersion.V5:
        return 0 if packet.clean_start else expiry_s_max
    asked = packet.properties.session_expiry_interval or 0
    return min(asked, expiry_s_max) if asked != NEVER_S or expiry_s_max != NEVER_S else NEVER_S


async def _claim(client: "ClientConnection", claim: Claim) -> Result | None:
    """The claim's result, or None after CLAIM_S_MAX; a claim that succeeds later is given back at once."""
    hub = client.hub
    answer: asyncio.Future[Result] = hub.loop.create_future()

    def claimed(result: Result) -> None:
        if isinstance(result, Claimed):
            hub.peers.claimed(result)
        if not answer.done():
            answer.set_result(result)
        elif isinstance(result, Claimed):
            _undo(hub, result)

    hub.pump.submit(claim, claimed)
    try:
        async with asyncio.timeout(CLAIM_S_MAX):
            return await asyncio.shield(answer)
    except TimeoutError:
        if answer.done():  # in the same turn
            return answer.result()
        answer.cancel()
        return None


async def _settle(hub: Hub, claimed: Claimed) -> Refused | None:
    """Wait until nobody else acts for this session; why it cannot be had, or None."""
    try:
        if await hub.peers.settled(claimed):
            return None
    except TimeoutError:
        _undo(hub, claimed)
        return Refused(ReasonCode.SERVER_UNAVAILABLE, "the node that held the session does not let go of it")
    return _claimed_elsewhere(hub, claimed)


def _claimed_elsewhere(hub: Hub, claimed: Claimed) -> Refused:
    _publish_lapsed_will(hub, claimed)  # its moment has passed, whoever has the session now
    return Refused(ReasonCode.SERVER_BUSY, "another connection with this client id was made meanwhile")


def _undo(hub: Hub, claimed: Claimed) -> None:
    """Give back a session that was claimed for a client that is gone: it lasts as long as it did before."""
    record = claimed.record
    hub.peers.when_settled(claimed, lambda: _publish_lapsed_will(hub, claimed))  # unless its client said goodbye there
    known = hub.sessions.get(record.client_id)
    if known is not None and known.epoch > record.epoch:
        return  # claimed elsewhere since
    expiry_s = record.expiry_interval_s if known is None else known.expiry_interval_s
    session = hub.adopt(record)
    session.expiry_interval_s = expiry_s
    policy_feed.decide_again(hub, session)
    if not session.outlives_connection or (hub.peers.follow_feed and not session.subscriptions):
        hub.forget(session)
    detach = Detach(client_id=record.client_id, epoch=record.epoch, expiry_interval_s=expiry_s, will_due_at=None)
    # Before, the next who claims it would find nobody to wait for, though an earlier owner may still act for it.
    hub.peers.when_settled(claimed, lambda: hub.pump.submit(detach))


def _publish_lapsed_will(hub: Hub, claimed: Claimed) -> None:
    """The session before this one ended with a will that was still to come: it is due now [MQTT-3.1.3-9].

    Not before who held the session has let go of it: its client may have taken back its will there.
    """
    record, will = claimed.record, claimed.lapsed_will
    if will is not None:
        name, number = lapsed_will_of(record.client_id, claimed.previous_epoch)
        fire(hub, replace(record, client_id=name, incarnation=number, epoch=number), will)


def _attach(
    client: "ClientConnection",
    session: LiveSession,
    before: LiveSession | None,
    identity: Identity,
    claimed: Claimed,
    principal: Principal | None,
) -> Refused | None:
    """The session is this connection's now, unless it may not be any more; `before` is what there was until the claim.

    What was decided before the claim is compared again when it takes effect [D9]; so is what the store had of it.
    """
    hub, facts = client.hub, session.facts
    _publish_lapsed_will(hub, claimed)
    client.attach(session, identity, claimed, principal)
    why = policy_feed.refused(hub, session)
    if session.facts != facts:
        policy_feed.decide_again(hub, session)
    if client.closed:  # it left while the claim was under way
        client.detach(with_will=True)
    elif why is not None:
        if before is not None:
            session.expiry_interval_s = before.expiry_interval_s  # who is refused changes nothing of what was there
        client.detach(with_will=False)
        return Refused(ReasonCode.NOT_AUTHORIZED, why)
    return None


def _accept(
    client: "ClientConnection",
    packet: Connect,
    session: LiveSession,
    claimed: Claimed,
    authentication_data: bytes | None,
) -> None:
    """CONNACK, and what waits for the session."""
    sent = client.connection.accept(
        claimed.present,  # [MQTT-3.2.2-2], [MQTT-3.2.2-3]
        assigned_client_id=None if packet.client_id else session.client_id,  # [MQTT-3.2.2-16]
        session_expiry_s=claimed.record.expiry_interval_s,
        authentication_data=authentication_data,
    )
    if not sent:  # CONNACK is larger than the client takes: it can never be told anything
        client.detach(with_will=True)
        client.finish()
        return
    client.accepted()
    client.outlet.drain()
    retained.take_up(client.hub, session, claimed.owed)
    _take_up_groups(client.hub, session, claimed)


def _take_up_groups(hub: Hub, session: LiveSession, claimed: Claimed) -> None:
    """What waits for its shared subscriptions; again when every node knows where this member is to be told of more."""
    if not session.has_shared:
        return
    groups.take_up_all(hub, session)
    if hub.peers.follow_feed:
        known = Done(position=claimed.position)
        hub.peers.in_force(known, lambda: groups.take_up_all(hub, session))
