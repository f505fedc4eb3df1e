"""I10: how long clients go without: after a node is lost, after the store is back, during a planned end.

Each further fault that begins or ends meanwhile starts the clock anew: nobody is promised anything during two at once.
A planned end that cannot write to the store is a lost node: its sessions are free when its lease is over.
"""

from collections.abc import Iterator
from math import inf

from msgspec import Struct
from msgspec.structs import replace

from cluster.chaos.history import Fault, History, Life
from cluster.chaos.record import Acknowledged, How, only
from cluster.chaos.verdict import Finding

NODE_LOST = ("kill", "pause-long")
NODE_DRAINED = ("drain",)
STORE_LOST = (
    "store-kill",
    "store-pause",
    "store-partition",
    "store-oom",
    "store-errors",
    "store-readonly",
    "store-disk-full",
    "primary-kill",
    "primary-partition",
)


class Wait(Struct, frozen=True):
    """Somebody had nothing from `since` until `until`, and may wait `s_max` seconds. `figure` names the measurement."""

    who: str
    fault: Fault
    since: float
    until: float
    s_max: float
    figure: str


def judge(history: History) -> Finding:
    finding = Finding("I10", "clients are served again in time")
    acknowledged = [event.at for event in only(history.record, Acknowledged) if event.reason < 0x80]
    terms = history.terms
    loss_s_max, gap_s_max, return_s_max = (
        bound * terms.patience for bound in (terms.node_loss_s_max, terms.drain_gap_s_max, terms.store_return_s_max)
    )
    for fault in history.faults:
        if fault.kind in NODE_LOST:
            waits = list(_waits(history, fault, loss_s_max, "node_lost_s"))
        elif fault.kind in NODE_DRAINED:
            waits = [
                replace(wait, s_max=loss_s_max, figure="node_lost_s") if _store_struck(history, wait) else wait
                for wait in _waits(history, fault, gap_s_max, "drained_s")
            ]
        elif fault.kind in STORE_LOST and fault.ended_at < inf:
            again = min((at for at in acknowledged if at > fault.ended_at), default=inf)
            waits = [Wait("anybody", fault, fault.ended_at, again, return_s_max, "store_back_s")]
        else:
            continue
        for wait in waits:
            _judge_wait(history, finding, wait)
    return finding


def _judge_wait(history: History, finding: Finding, wait: Wait) -> None:
    disturbed_at = max((at for at in history.disturbances if wait.since < at < wait.until), default=wait.since)
    waited_s = wait.until - disturbed_at
    finding.looked_at += 1
    finding.figures[wait.figure] = max(finding.figures.get(wait.figure, 0.0), round(waited_s, 2))
    if waited_s > wait.s_max:
        after = f"{wait.fault.kind} of {wait.fault.target}"
        finding.accuse(f"{wait.who} waited {waited_s:.1f} s after {after}, {wait.s_max:g} s are allowed")


def _waits(history: History, fault: Fault, s_max: float, figure: str) -> Iterator[Wait]:
    """From the loss of its node, or of its connection if the node left well, until a client has its next CONNACK."""
    for life in history.links.values():
        if _was_hit(life, fault):
            since = fault.began_at if fault.kind in NODE_LOST else life.ended_at
            client = life.connected.client
            until = min((at for at in history.connected[client] if at > since), default=inf)
            yield Wait(client, fault, since, until, s_max, figure)


def _store_struck(history: History, wait: Wait) -> bool:
    """Whether the store was in trouble between the fault of this wait and its end."""
    return any(
        other.strikes_store and other.began_at < wait.until and other.ended_at > wait.fault.began_at
        for other in history.faults
    )


def _was_hit(life: Life, fault: Fault) -> bool:
    on_it = life.connected.node == fault.target and life.connected.at < fault.began_at < life.ended_at
    return on_it and life.connected.stays and life.how in (How.CLOSED, How.ABANDONED)
