"""I4: one connection per client id, and CONNACK tells the truth about the session.

After the CONNACK of a later connection an earlier one gets nothing but its DISCONNECT. Whatever was on its way is read
before that CONNACK, so an event after it was sent after it. But a node that is stopped between its last look at its
lease and the write itself writes when it goes on, what it had decided before: as a slow network would have brought it.
"""

from collections import defaultdict
from itertools import pairwise

from cluster.chaos.history import History, Life
from cluster.chaos.record import Asked, Connected, only
from cluster.chaos.verdict import Finding

STOPPED = ("pause", "pause-long")
WRITE_S_MAX = 0.05  # what a write under way takes to arrive once its node goes on


def judge(history: History) -> Finding:
    finding = Finding("I4", "one owner per client id, session present never lies")
    lives: dict[str, list[Life]] = defaultdict(list)
    for life in history.links.values():
        lives[life.connected.client].append(life)
    first_asked: dict[str, Asked] = {}
    for asked in only(history.record, Asked):
        first_asked.setdefault(asked.client, asked)
    for own in lives.values():
        own.sort(key=lambda life: life.connected.at)
        _judge_traffic(history, finding, own)
        _judge_presence(finding, own, first_asked[own[0].connected.client])
    return finding


def _judge_traffic(history: History, finding: Finding, lives: list[Life]) -> None:
    over_at = {old.connected.link: (old, new) for old, new in pairwise(lives)}
    for event in history.traffic.get(lives[0].connected.client, ()):
        finding.looked_at += 1
        old, new = over_at.get(event.link, (None, None))
        if old and new and event.at > new.connected.at and not _was_under_way(history, old, event.at):
            finding.accuse(f"{event.client}: a packet on a connection that was taken over", [new.connected, event])


def _was_under_way(history: History, old: Life, at: float) -> bool:
    return any(
        fault.kind in STOPPED and fault.target == old.connected.node and 0 <= at - fault.ended_at <= WRITE_S_MAX
        for fault in history.faults
    )


def _judge_presence(finding: Finding, lives: list[Life], first: Asked) -> None:
    """A CONNECT whose CONNACK never came may have made a session all the same."""
    before: Connected | None = None
    for life in lives:
        now = life.connected
        finding.looked_at += 1
        if now.session_present and not now.is_resume:
            finding.accuse(f"{now.client} asked for a new session and is told of an old one", [now])
        if before and before.lasts and now.is_resume and not now.session_present:
            finding.accuse(f"{now.client} is told that its session is gone", [before, now])
        if now.session_present and first.link == now.link:
            finding.accuse(f"{now.client} is told of a session that never was", [now])
        before = now
