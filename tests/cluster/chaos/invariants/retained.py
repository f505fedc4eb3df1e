"""I5: retained messages: every node gives one value, the last acknowledged one or one that was under way after it.

A value is out of date once a later one was acknowledged before the question was asked; a deletion is a value too.
"""

from collections import defaultdict

from cluster.chaos.history import History, Message
from cluster.chaos.record import Found, only
from cluster.chaos.verdict import Finding


def judge(history: History) -> Finding:
    finding = Finding("I5", "retained values are the last ones, everywhere")
    writes: dict[str, list[Message]] = defaultdict(list)
    for message in history.messages.values():
        if message.retain and message.expiry_s is None and (message.reason or 0) < 0x80:
            writes[message.topic].append(message)
    finals: dict[str, list[Found]] = defaultdict(list)
    for found in only(history.record, Found):
        finding.looked_at += 1
        if found.is_final:
            finals[found.topic].append(found)
        if found.message:
            _judge_value(finding, writes[found.topic], found)
        elif not _may_be_absent(writes[found.topic], found):
            finding.accuse(f"{found.topic} has lost its value", [found])
    for topic, answers in finals.items():
        if len({found.message for found in answers}) > 1:
            finding.accuse(f"nodes do not agree on {topic}", answers)
    return finding


def _is_out_of_date(write: Message, writes: list[Message], asked_at: float) -> bool:
    """Another write began after this one was done, and was itself done before the question."""
    return any(write.acked_at < later.sent_at and later.acked_at < asked_at for later in writes)


def _judge_value(finding: Finding, writes: list[Message], found: Found) -> None:
    write = next((write for write in writes if write.name == found.message), None)
    if write is None:
        finding.accuse(f"{found.topic} holds what nobody wrote there", [found])
    elif _is_out_of_date(write, writes, found.asked_at):
        finding.accuse(f"{found.topic} holds an old value", [found])


def _may_be_absent(writes: list[Message], found: Found) -> bool:
    if all(write.acked_at >= found.asked_at for write in writes):
        return True  # nothing was promised yet
    return any(write.deletes and not _is_out_of_date(write, writes, found.asked_at) for write in writes)
