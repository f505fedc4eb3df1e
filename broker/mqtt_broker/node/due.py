"""Wills and expiries whose moment has come: asked of the store, acted on here, at most once each."""

import asyncio
import contextlib
import logging

from mqtt_broker.node.flows.disconnect import fire
from mqtt_broker.node.hub import Hub
from mqtt_broker.node.purge import Purges
from mqtt_broker.store.ports import Due, End, StoreError

log = logging.getLogger("mqtt_broker.due")

LOOK_AGAIN_S_MAX = 5.0  # also the delay after a store that did not answer
LOOK_AGAIN_S_MIN = 0.05
LOOK_AGAIN_CLUSTER_S = 0.5


async def follow_due(hub: Hub) -> None:
    """Runs for as long as the node: sleeps until the next moment, or until a session with an earlier one appears."""
    is_away = False
    purges = Purges(hub)
    while True:
        hub.due_changed.clear()
        pause_s = look_again_s = LOOK_AGAIN_S_MAX
        if hub.peers.follow_feed:
            pause_s = look_again_s = LOOK_AGAIN_CLUSTER_S  # what other nodes add is not told
        try:
            due = await hub.store.due() if hub.peers.is_elder else Due()
        except StoreError as problem:
            if not is_away:
                log.warning("wills and expiries wait for the store: %s", problem)
            is_away = True
        else:
            is_away = False
            act(hub, due)
            if hub.peers.is_elder:
                purges.look()
            if due.next_at is not None:
                pause_s = min(look_again_s, max(LOOK_AGAIN_S_MIN, due.next_at - hub.store_now()))
        with contextlib.suppress(TimeoutError):
            # Not wait_for: it may swallow a cancellation that comes together with the event, and run for ever.
            async with asyncio.timeout(pause_s):
                await hub.due_changed.wait()


def act(hub: Hub, due: Due) -> None:
    """Fire what is due and end what has expired. A session that is connected again is left alone."""
    for will_due in due.wills:
        record = will_due.record
        if record.client_id not in hub.connections and record.will is not None:
            known = hub.sessions.get(record.client_id)
            is_known = known is not None and known.incarnation == record.incarnation
            fire(hub, known if known is not None and is_known else record, record.will)
    for topic in due.retained_topics if not hub.peers.follow_feed else ():
        hub.forget_retained(topic)
    for expiry in due.expiries:
        session = hub.sessions.get(expiry.client_id)
        if expiry.client_id in hub.connecting:
            continue  # somebody is claiming it this moment
        if session is not None and (session.outlet is not None or session.incarnation != expiry.incarnation):
            continue
        hub.counters.sessions_expired += 1
        if session is not None and not hub.peers.follow_feed:
            hub.forget(session)
        hub.pump.submit(End(client_id=expiry.client_id, incarnation=expiry.incarnation, if_expired=True))
