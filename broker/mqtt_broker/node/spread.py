"""One message for more receivers than one loop turn, or larger than one call of the store, can bear: written in parts.

Knows slices and their order; does not know who waits for the acknowledgement. Between two parts others have their turn;
the publisher's own next message waits for the last one, so that no receiver gets the two in the wrong order.

A publisher that got no acknowledgement sends again. With QoS 1 that is a new message; with QoS 2, and for a will, the
store remembers by the message's token who has it already [D5a].
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from msgspec.structs import replace

from mqtt_broker.node.accepting import accept_of, hand_over
from mqtt_broker.node.hub import STORED_BYTES_AT_ONCE_MAX
from mqtt_broker.routing.delivery import Plan
from mqtt_broker.session.message import Message
from mqtt_broker.store.ports import Accept, Accepted, Marker, Part, Rejected, Result

if TYPE_CHECKING:
    from mqtt_broker.node.hub import Hub

log = logging.getLogger("mqtt_broker.publish")

RECEIVERS_PER_PART = 500  # appended by one call of the store within a few milliseconds, and delivered in one turn
EFFORT_PER_PART = 40

Done = Callable[[Result], None]


def start(
    hub: "Hub",
    message: Message,
    marker: Marker | None,
    fires_will_of: tuple[str, int] | None,
    done: Done = lambda _: None,
    *,
    will_epoch: int = 0,
) -> None:
    """Begin; `done(result)` runs when every receiver's part is durable and handed over, or at once if refused.

    A will that is on its way already is left alone. `will_epoch`: that of the connection it was left by.
    """
    if fires_will_of in hub.firing:
        return
    if fires_will_of is not None:
        hub.firing.add(fires_will_of)
    release = hub.pump.hold()  # from this moment on, for this is when the plan begins to be made
    token = _token(hub, marker, fires_will_of, will_epoch)
    work = _spread(hub, message, marker, fires_will_of, token, hub.peers.position)
    task = hub.loop.create_task(work, name="spread")
    hub.spreading.add(task)

    def ended(task: "asyncio.Task[Result]") -> None:
        release()
        hub.spreading.discard(task)
        if fires_will_of is not None:
            hub.firing.discard(fires_will_of)
        if not task.cancelled() and task.exception() is not None:
            log.error("a message for many could not be spread", exc_info=task.exception())
        elif not task.cancelled():
            done(task.result())

    task.add_done_callback(ended)


async def _spread(
    hub: "Hub",
    message: Message,
    marker: Marker | None,
    fires_will_of: tuple[str, int] | None,
    token: str,
    position: int,
) -> Result:
    decisions = hub.decisions
    plan = await hub.plan_at_leisure(message)
    sets_retained = message.retain
    for piece, part in _parts(hub, plan, len(message.payload), token):
        accept = accept_of(hub, message, piece, marker, fires_will_of, part)
        result: Result = Accepted()
        try:
            if accept is not None:
                accept = replace(accept, position=position, retain=sets_retained)
                result = await _commit(hub, accept)
        finally:
            hub.retained_under_way -= message.retain
        if not isinstance(result, Accepted):
            return result
        hand_over(hub, message, piece, accept, result, decisions)
        sets_retained = False  # once: a newer value may come between two parts
        hub.turns.spend(EFFORT_PER_PART)
        await hub.turns.share()
    return Accepted()


def _token(hub: "Hub", marker: Marker | None, fires_will_of: tuple[str, int] | None, will_epoch: int) -> str:
    """What makes it the same message when it is sent again; empty if nobody has to know it."""
    if marker is not None:
        session = hub.sessions.get(marker.client_id)
        incarnation = 0 if session is None else session.incarnation  # a later session may use the packet id anew
        return f"{marker.client_id}:{incarnation}:{marker.packet_id}"
    return "" if fires_will_of is None else f"will:{fires_will_of[0]}:{fires_will_of[1]}:{will_epoch}"


def _parts(hub: "Hub", plan: Plan, payload_bytes: int, token: str) -> Iterator[tuple[Plan, Part | None]]:
    """The plan in pieces. A store of one node takes a message with a token whole: all of it is written, or nothing."""
    receivers = plan.receivers
    if token and not hub.peers.follow_feed:
        yield plan, None
        return
    per_part = max(1, min(RECEIVERS_PER_PART, STORED_BYTES_AT_ONCE_MAX // max(1, payload_bytes)))
    starts = range(0, max(1, len(receivers)), per_part)
    for start in starts:
        piece = Plan(receivers[start : start + per_part], plan.groups if start == 0 else (), plan.as_of)
        yield piece, Part(token=token, is_last=start == starts[-1]) if token else None


async def _commit(hub: "Hub", accept: Accept) -> Result:
    """The store's answer. A receiver whose queue is full and refuses more is left out: the others have theirs."""
    while True:
        answer: asyncio.Future[Result] = hub.loop.create_future()
        hub.pump.submit(accept, answer.set_result)
        result = await answer
        if not isinstance(result, Rejected):
            return result
        hub.drop("rejected", 1)
        targets = tuple(target for target in accept.targets if target.client_id != result.client_id)
        queues = tuple(group for group in accept.groups if f"$share/{group.group}/{group.filter}" != result.client_id)
        accept = replace(accept, targets=targets, groups=queues)
