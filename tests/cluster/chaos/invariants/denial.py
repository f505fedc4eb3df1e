"""I6: deny stays deny: nobody gets in with a wrong password, nothing denied is accepted, granted or heard, ever.

Refusing what is allowed is no violation here: without a store, a policy or an answer the answer is no.
"""

from cluster.chaos.history import REFUSAL, History
from cluster.chaos.record import Connected, Refused, Subscribed, only
from cluster.chaos.terms import has_level
from cluster.chaos.verdict import Finding


def judge(history: History) -> Finding:
    finding = Finding("I6", "deny stays deny")
    _judge_entry(history, finding)
    _judge_publishing(history, finding)
    _judge_hearing(history, finding)
    return finding


def _judge_entry(history: History, finding: Finding) -> None:
    for event in only(history.record, Connected):
        if event.client.startswith(history.terms.impostors):
            finding.accuse(f"{event.client} got in", [event])
    finding.looked_at += sum(
        event.client.startswith(history.terms.impostors) for event in only(history.record, Refused)
    )


def _judge_publishing(history: History, finding: Finding) -> None:
    for message in history.messages.values():
        if message.reason is not None and has_level(message.topic, history.terms.unspoken):
            finding.looked_at += 1
            if message.reason < REFUSAL:
                finding.accuse(f"{message.name} was accepted for {message.topic}")


def _judge_hearing(history: History, finding: Finding) -> None:
    for event in only(history.record, Subscribed):
        if has_level(event.filter, history.terms.unheard):
            finding.looked_at += 1
            if event.granted < REFUSAL:
                finding.accuse(f"{event.client} was granted {event.filter}", [event])
    for receipts in history.receipts.values():
        for received in receipts.every:
            if has_level(received.topic, history.terms.unheard):
                finding.accuse(f"{received.client} heard {received.topic}", [received])
