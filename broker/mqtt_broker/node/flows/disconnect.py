"""The story of an end: the client says goodbye, breaks the protocol, falls silent, is sent away or is taken over.

What is left behind is decided once, here: the session's expiry, its will, and what shared subscriptions get back.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mqtt_broker.auth import audit
from mqtt_broker.node import groups
from mqtt_broker.node.flows.publish import accept_message
from mqtt_broker.node.hub import Hub
from mqtt_broker.node.live import LiveSession
from mqtt_broker.session.message import Message, from_will
from mqtt_broker.session.session import SessionRecord
from mqtt_broker.session.will import due_at
from mqtt_broker.store.ports import Accept, Detach, Result, Return, Stale, lapsed_will_of
from mqtt_broker.wire.packets import Disconnect, ProtocolVersion, Will
from mqtt_broker.wire.reasons import ReasonCode

if TYPE_CHECKING:
    from mqtt_broker.node.client import ClientConnection

NOTHING = Message(topic="", payload=b"", qos=0)  # to nobody: where only a will's record is to go


def on_disconnect(client: "ClientConnection", packet: Disconnect) -> None:
    """DISCONNECT of the client: 0x00 removes the will, any other reason leaves it due."""
    session = client.session
    asked = packet.properties.session_expiry_interval
    if asked is not None:  # the machine has refused to raise it from 0
        session.expiry_interval_s = min(asked, client.hub.settings.mqtt.session_expiry_s_max)
    # [MQTT-3.14.4-3]
    normal = packet.reason == ReasonCode.NORMAL_DISCONNECTION or client.connection.version is not ProtocolVersion.V5
    client.detach(with_will=not normal, is_goodbye=normal)
    client.finish()


def leave(
    client: "ClientConnection",
    session: LiveSession,
    *,
    with_will: bool,
    planned_stop: bool = False,
    is_goodbye: bool = False,
) -> None:
    """Let go of the session after its connection ended. Idempotence is the caller's: once per connection.

    `is_goodbye`: the client took its will back.
    """
    hub = client.hub
    outlet = session.outlet
    assert outlet is not None
    orphans = outlet.close()
    session.outlet = None
    now = hub.store_now()
    will_due_at = due_at(session.will, session.expiry_interval_s, now) if with_will else None
    if will_due_at is not None and planned_stop:
        will_due_at = max(will_due_at, now + hub.settings.drain.will_grace_s)
    taken_from = outlet.groups_taken_from
    detach = Detach(
        client_id=session.client_id,
        epoch=session.epoch,
        expiry_interval_s=session.expiry_interval_s,
        will_due_at=will_due_at,
        sent_up_to=outlet.sent_up_to,
    )
    may_owe = session.will is not None and (is_goodbye or (will_due_at is not None and planned_stop))
    hub.pump.submit(detach, lambda result: _detached(hub, detach, result, may_owe=may_owe))
    if taken_from or session.has_shared:  # after the mark says what was really sent: that alone stays [MQTT-4.8.2-4]
        hub.pump.submit(Return(client_id=session.client_id, epoch=session.epoch))
    if not session.outlives_connection or (hub.peers.follow_feed and not session.subscriptions):
        hub.forget(session)
    hub.release_rights(session)
    groups.redeliver(hub, orphans)
    _wake_groups(hub, taken_from)
    if will_due_at is not None and session.will is not None and will_due_at <= now:
        fire(hub, session, session.will)


def _detached(hub: Hub, detach: Detach, result: Result, *, may_owe: bool) -> None:
    """`may_owe`: another node that claimed the session before this was written found a will, and takes it for owed.

    It waits for this node before it publishes that. By then it is gone.
    """
    hub.due_changed.set()
    if may_owe and isinstance(result, Stale):
        hub.pump.submit(Accept(message=NOTHING, fires_will_of=lapsed_will_of(detach.client_id, detach.epoch)))


def _wake_groups(hub: Hub, keys: Iterable[tuple[str, str]]) -> None:
    """What `Return` gave back waits for another member: count it as backlog and wake the group."""
    for key in keys:
        if hub.tree.members(*key):
            hub.group_backlog[key] = max(1, hub.group_backlog.get(key, 0))
            groups.wake(hub, key)


def fire(hub: Hub, owner: LiveSession | SessionRecord, will: Will) -> None:
    """Publish a will that is due; decided again with the facts its session has and the policy of now.

    The will record goes in the same step of the store, so that it fires at most once.
    """
    facts = hub.refreshed(owner.facts)
    origin = (owner.client_id, owner.incarnation)
    message = from_will(will, facts, hub.store_now(), hub.settings.mqtt.message_expiry_s_max)
    decision = hub.rights_of(facts).may_publish(will.topic, will.qos, will.retain)
    if decision.allowed:
        accept_message(hub, message, fires_will_of=origin, will_epoch=owner.epoch)  # [MQTT-3.1.2-8]
        return
    hub.counters.denials += 1
    audit.denied(
        client_id=facts.client_id,
        username=facts.username,
        action="will",
        topic=will.topic,
        rule=decision.rule,
        reason=decision.reason,
        qos=will.qos,
        retain=will.retain,
    )
    hub.pump.submit(Accept(message=message, fires_will_of=origin))  # to nobody: only the record goes
