"""All judges over one record. Pure: a record and the terms go in, findings come out."""

from collections.abc import Iterable

from cluster.chaos.history import History
from cluster.chaos.invariants import (
    bounds,
    denial,
    exactly_once,
    expiry,
    no_loss,
    nothing_made_up,
    order,
    ownership,
    recovery,
    retained,
    wills,
)
from cluster.chaos.record import Record
from cluster.chaos.terms import Terms
from cluster.chaos.verdict import Finding, Judge

JUDGES: dict[str, Judge] = {
    "I0": nothing_made_up.judge,
    "I1": no_loss.judge,
    "I2": exactly_once.judge,
    "I3": order.judge,
    "I4": ownership.judge,
    "I5": retained.judge,
    "I6": denial.judge,
    "I7": wills.judge,
    "I8": expiry.judge,
    "I9": bounds.judge,
    "I10": recovery.judge,
}


def judge(record: Record, terms: Terms, invariants: Iterable[str] = tuple(JUDGES)) -> list[Finding]:
    """One finding for each invariant asked for, in that order."""
    history = History(record, terms)
    return [JUDGES[name](history) for name in invariants]


def owed(record: Record, terms: Terms) -> int:
    """How much is still on its way that must arrive: a drain waits for 0, or for its deadline."""
    history = History(record, terms)
    return no_loss.missing(history) + wills.missing(history)
