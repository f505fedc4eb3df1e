"""I8: what has expired is not delivered: to nobody who connects only after its time.

A connection that was there in time proves nothing, for a delivery may have begun before; so does a repetition. Time
runs from when the broker has a message: a node that is stopped may read it seconds after it was sent, so that one which
was never acknowledged proves nothing either.
"""

from cluster.chaos.history import History
from cluster.chaos.verdict import Finding


def judge(history: History) -> Finding:
    finding = Finding("I8", "expired stays expired")
    expiring = {message.name: message for message in history.messages.values() if message.expiry_s is not None}
    finding.looked_at = sum(message.reason is not None for message in expiring.values())
    for receipts in history.receipts.values():
        for event in receipts.every:
            message = expiring.get(event.message)
            if message is None or event.dup:
                continue
            assert message.expiry_s is not None
            connected = history.links[event.link].connected
            begun_at = max(message.sent[-1], message.acked_at)
            if connected.at > begun_at + message.expiry_s + history.terms.expiry_slack_s:
                finding.accuse(f"{event.client} got {event.message} after its time", [connected, event])
    return finding
