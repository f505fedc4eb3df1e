"""Since which revision each object is in force, and who waits for nodes to come that far."""

from mqtt_operator.reconcile.policy_ledger import GRACE_S, NOT_WRITTEN, Ledger


def test_an_object_waits_for_the_first_revision_that_holds_it() -> None:
    ledger: Ledger[str] = Ledger()
    ledger.touch("a", 0.0)
    assert (ledger.revision("a"), ledger.is_applied("a"), ledger.waiting) == (NOT_WRITTEN, False, 1)
    assert ledger.reached(100) == set()
    ledger.written(7)
    ledger.touch("b", 0.0)
    assert ledger.reached(6) == set()
    assert ledger.reached(7) == {"a"}
    assert (ledger.revision("a"), ledger.is_applied("a"), ledger.waiting) == (7, True, 1)
    ledger.written(8)
    assert ledger.reached(8) == {"b"}
    assert ledger.revision("a") == 7


def test_an_object_that_changes_again_waits_again() -> None:
    ledger: Ledger[str] = Ledger()
    ledger.believe("a", 3)
    assert ledger.is_applied("a")
    ledger.touch("a", 0.0)
    assert not ledger.is_applied("a")
    ledger.written(4)
    assert ledger.reached(4) == {"a"}


def test_who_waits_too_long_is_told_once_until_what_it_waits_for_is_another_thing() -> None:
    ledger: Ledger[str] = Ledger()
    ledger.touch("a", 0.0)
    assert ledger.overdue(GRACE_S - 0.1) == set()
    assert ledger.overdue(GRACE_S) == {"a"}
    assert ledger.overdue(GRACE_S + 1) == set()
    ledger.remind()
    assert ledger.overdue(GRACE_S + 1) == {"a"}


def test_one_that_is_gone_waits_for_nothing() -> None:
    ledger: Ledger[str] = Ledger()
    ledger.touch("a", 0.0)
    ledger.forget("a")
    ledger.written(1)
    assert (ledger.waiting, ledger.reached(1), ledger.revision("a")) == (0, set(), NOT_WRITTEN)
