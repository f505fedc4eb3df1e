"""I0: what is received was sent, to that topic, and nothing that nobody ended has ended.

Not a promise of its own: without it the other judges would look at a dream.
"""

from cluster.chaos.history import History
from cluster.chaos.record import Misbehaved, only
from cluster.chaos.verdict import Finding


def judge(history: History) -> Finding:
    finding = Finding("I0", "nothing is made up, nothing crashes")
    topics = {name: message.topic for name, message in history.messages.items()}
    topics |= {name: will.topic for name, will in history.wills.items()}
    deleted = {message.topic for message in history.messages.values() if message.deletes}
    for receipts in history.receipts.values():
        for event in receipts.every:
            finding.looked_at += 1
            if topics.get(event.message) != event.topic and not (event.message == "" and event.topic in deleted):
                finding.accuse("received what nobody sent to that topic", [event])
    for misbehaved in only(history.record, Misbehaved):
        finding.accuse(f"{misbehaved.name}: {misbehaved.what}")
    return finding
