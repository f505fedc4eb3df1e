"""Bugs put into a record by hand, one for each invariant: a judge that does not see its bug is no judge.

Pure. A plant takes what a real run recorded and changes as little as it can; None where the record has no place for it.
"""

from collections.abc import Callable

from msgspec.structs import replace

from cluster.chaos.history import History, Message
from cluster.chaos.invariants.no_loss import debts
from cluster.chaos.record import (
    Acknowledged,
    Connected,
    Ended,
    Event,
    FaultBegan,
    FaultEnded,
    Found,
    How,
    Misbehaved,
    Received,
    Record,
    Sampled,
    Stray,
    only,
)
from cluster.chaos.terms import Terms, has_level

LATER_S = 0.001

Plant = Callable[[Record, Terms], Record | None]


def made_up(record: Record, terms: Terms) -> Record | None:
    """A process crashes."""
    return [*record, Misbehaved(record[-1].at, "a node", "ended with status 1")]


def lost(record: Record, terms: Terms) -> Record | None:
    """One acknowledged message never reaches one receiver."""
    for message, receivers in debts(History(record, terms)):
        return [e for e in record if not _is_receipt(e, message.name, receivers)]
    return None


def doubled(record: Record, terms: Terms) -> Record | None:
    """One QoS 2 message is handed over twice."""
    lasting = {(s.client, s.link) for s in History(record, terms).lasting if s.granted == 2}
    clients = {client for client, _ in lasting}
    for event in only(record, Received):
        if event.client in clients and event.qos == 2 and event.is_new and not event.retain:
            return _after(record, event, replace(event, at=event.at + LATER_S))
    return None


def reordered(record: Record, terms: Terms) -> Record | None:
    """Two messages of one stream change places on their way to a lasting session."""
    history = History(record, terms)
    for subscription in history.lasting:
        before: dict[tuple[str, str, int, int], Received] = {}
        for event in history.of(subscription.client).every:
            message = history.messages.get(event.message)
            if message is None or event.retain or message.sent_at < subscription.since or len(message.sent) > 1:
                continue
            if earlier := before.get(message.stream):
                return _exchange(record, earlier, event)
            before[message.stream] = event
    return None


def shared(record: Record, terms: Terms) -> Record | None:
    """A connection gets a packet after another one took its session over."""
    latest: dict[str, Connected] = {}
    for event in only(record, Connected):
        if old := latest.get(event.client):
            return _after(record, event, Stray(event.at + LATER_S, event.client, old.link, "Publish"))
        latest[event.client] = event
    return None


def undone(record: Record, terms: Terms) -> Record | None:
    """A node goes back to an earlier retained value."""
    history = History(record, terms)
    for found in only(record, Found):
        if found.is_final and (old := _overwritten(history, found)):
            return _instead(record, found, replace(found, message=old.name))
    return None


def opened(record: Record, terms: Terms) -> Record | None:
    """Something denied is accepted."""
    messages = History(record, terms).messages
    for event in only(record, Acknowledged):
        if has_level(messages[event.message].topic, terms.unspoken):
            return _instead(record, event, replace(event, reason=0))
    return None


def fired_twice(record: Record, terms: Terms) -> Record | None:
    """A will is published a second time."""
    wills = History(record, terms).wills
    for event in only(record, Received):
        if event.message in wills and not event.dup:
            return _after(record, event, replace(event, at=event.at + LATER_S))
    return None


def undead(record: Record, terms: Terms) -> Record | None:
    """A message is delivered on a connection that was made after its time."""
    history = History(record, terms)
    for message in history.messages.values():
        if message.expiry_s is None:
            continue
        over_at = max(message.sent[-1], message.acked_at) + message.expiry_s + terms.expiry_slack_s
        for event in only(record, Connected):
            if event.at > over_at:
                late = Received(
                    event.at + LATER_S,
                    event.client,
                    event.link,
                    message.name,
                    message.topic,
                    qos=1,
                    dup=False,
                    retain=False,
                    is_new=True,
                )
                return _after(record, event, late)
    return None


def swollen(record: Record, terms: Terms) -> Record | None:
    """A node grows past its bound."""
    for event in only(record, Sampled):
        return _instead(
            record, event, replace(event, rss_bytes=2 * max(terms.node_rss_bytes_max, terms.store_bytes_max))
        )
    return None


def forgotten(record: Record, terms: Terms) -> Record | None:
    """A node is killed, and one of its clients is never served again."""
    quiet = [event for event in record if not isinstance(event, FaultBegan | FaultEnded)]
    for event in only(record, Connected):
        if event.stays:
            return _without_return(quiet, event)
    return None


PLANTS: dict[str, Plant] = {
    "I0": made_up,
    "I1": lost,
    "I2": doubled,
    "I3": reordered,
    "I4": shared,
    "I5": undone,
    "I6": opened,
    "I7": fired_twice,
    "I8": undead,
    "I9": swollen,
    "I10": forgotten,
}


def _is_receipt(event: Event, message: str, clients: list[str]) -> bool:
    return isinstance(event, Received) and event.message == message and event.client in clients


def _after(record: Record, event: Event, more: Event) -> Record:
    place = next(number for number, one in enumerate(record) if one is event)
    return [*record[: place + 1], more, *record[place + 1 :]]


def _instead(record: Record, event: Event, other: Event) -> Record:
    return [other if one is event else one for one in record]


def _exchange(record: Record, one: Received, other: Received) -> Record:
    """Only the names change places: time, connection and packet stay."""
    return _instead(
        _instead(record, one, replace(one, message=other.message)), other, replace(other, message=one.message)
    )


def _overwritten(history: History, found: Found) -> Message | None:
    writes = [m for m in history.messages.values() if m.topic == found.topic and m.retain and not m.deletes]
    done = [
        m for m in writes if any(m.acked_at < later.sent_at and later.acked_at < found.asked_at for later in writes)
    ]
    return done[0] if done else None


def _without_return(record: Record, hit: Connected) -> Record:
    at = hit.at + LATER_S
    struck: list[Event] = [
        FaultBegan(at, -1, "kill", hit.node),
        Ended(at + LATER_S, hit.client, hit.link, How.CLOSED),
        FaultEnded(at + LATER_S, -1, "kill", hit.node),
    ]
    kept = [e for e in record if not (_is_of(e, hit.client) and e.at > hit.at)]
    return sorted([*kept, *struck], key=lambda event: event.at)


def _is_of(event: Event, client: str) -> bool:
    return getattr(event, "client", None) == client
