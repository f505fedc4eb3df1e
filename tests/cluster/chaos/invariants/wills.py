"""I7: a will is published at most once; once when its connection breaks for good; never after a goodbye.

Nor is it published if its client was back before the delay was over. Where the client cannot know whether the node saw
its goodbye, either is right.
"""

from collections.abc import Iterator
from math import inf

from cluster.chaos.history import History, Life, Subscription
from cluster.chaos.record import Asked, How, Received, WillOffered, only
from cluster.chaos.verdict import Finding

BROKEN = (How.ABORTED, How.CLOSED)
ENDINGS = ("kill", "rolling", "pause-long", "store-partition-long", "store-one-way")  # what a node read goes with it
GOODBYE_READ_S_MAX = 1.0  # so long it may take a node to write down a goodbye that it has read
STORE_NOTICED_S_MAX = 2.0  # so long it may take a node to use a store again that is back


def judge(history: History) -> Finding:
    finding = Finding("I7", "wills fire once when due, else never")
    asked = _last_asked(history)
    for will, watcher, heard in _cases(history):
        finding.looked_at += 1
        life = history.links.get(will.link)
        plain = [event for event in heard if not event.dup]  # one with DUP may be the first that arrives
        if len(plain) > 1:
            finding.accuse(f"{will.message} was published {len(plain)} times", [will, *plain])
        elif heard and life and _must_not(history, will, life):
            finding.accuse(f"{will.message} was published though its client left well or came back", [will, *heard])
        elif not heard and life and _must(will, life, asked):
            finding.accuse(f"{will.message} was not published to {watcher.client}", [will, life.connected])
    return finding


def missing(history: History) -> int:
    """How many wills are due and have not been heard: what a drain waits for."""
    asked = _last_asked(history)
    return sum(
        not heard and will.link in history.links and _must(will, history.links[will.link], asked)
        for will, _, heard in _cases(history)
    )


def _cases(history: History) -> Iterator[tuple[WillOffered, Subscription, list[Received]]]:
    """Each will with each lasting subscription that was there before it, and what that one heard of it."""
    for will in history.wills.values():
        for watcher in history.lasting:
            if watcher.since < will.at and watcher.until == inf and history.matches(watcher.topics, will.topic):
                yield will, watcher, history.of(watcher.client).by_message.get(will.message, [])


def _last_asked(history: History) -> dict[str, int]:
    return {event.client: event.link for event in only(history.record, Asked)}


def _must(will: WillOffered, life: Life, last_asked: dict[str, int]) -> bool:
    return life.how in BROKEN and last_asked[will.client] == will.link


def _must_not(history: History, will: WillOffered, life: Life) -> bool:
    if life.how is How.GOODBYE:
        written_by = _written_by(history, life.ended_at)
        is_delayed = written_by > life.ended_at + GOODBYE_READ_S_MAX
        endings = (*ENDINGS, "drain") if is_delayed else ENDINGS  # who leaves writes all of it first, if it can
        return not any(
            fault.kind in endings
            and fault.target in (life.connected.node, "nodes")
            and fault.began_at < written_by
            and life.ended_at < fault.ended_at + GOODBYE_READ_S_MAX
            for fault in history.faults
        )
    if life.how is not How.ABORTED or not life.connected.lasts:
        return False  # [MQTT-3.1.3-9] where the session ends with the connection, no delay is waited for
    back_at = min((next_.connected.at for next_ in history.links.values() if _is_next(will, life, next_)), default=inf)
    return back_at < life.ended_at + will.delay_s - history.terms.will_slack_s


def _written_by(history: History, said_at: float) -> float:
    """When a goodbye is surely in the store, if its node lives so long: not while the store is struck."""
    by = said_at + GOODBYE_READ_S_MAX
    for fault in sorted(history.faults, key=lambda fault: fault.began_at):
        if fault.strikes_store and fault.began_at < by and fault.ended_at > said_at:
            by = max(by, fault.ended_at + STORE_NOTICED_S_MAX + GOODBYE_READ_S_MAX)
    return by


def _is_next(will: WillOffered, life: Life, other: Life) -> bool:
    return other.connected.client == will.client and other.connected.at > life.ended_at
