"""MemberPicker: turns are fair, and what it remembers is bounded."""

from collections import Counter

from mqtt_broker.routing.shared import MemberPicker

KEY = ("g", "t")


def test_members_take_turns() -> None:
    picker = MemberPicker()
    assert [picker.pick(KEY, ["b", "a", "c"]) for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]


def test_nobody_to_pick_from_is_nobody() -> None:
    assert MemberPicker().pick(KEY, []) is None


def test_each_shared_subscription_has_its_own_turns() -> None:
    picker = MemberPicker()
    assert picker.pick(KEY, ["a", "b"]) == "a"
    assert picker.pick(("g", "other"), ["a", "b"]) == "a"
    assert picker.pick(KEY, ["a", "b"]) == "b"


def test_a_member_without_room_loses_its_turn_and_upsets_nobody_elses() -> None:
    picker = MemberPicker()
    assert picker.pick(KEY, ["a", "b", "c"]) == "a"
    assert picker.pick(KEY, ["a", "c"]) == "c"
    assert picker.pick(KEY, ["a", "b", "c"]) == "a"
    assert picker.pick(KEY, ["a", "b", "c"]) == "b"


def test_the_last_member_may_have_left() -> None:
    picker = MemberPicker()
    picker.pick(KEY, ["a", "b", "c"])
    picker.pick(KEY, ["a", "b", "c"])
    assert picker.pick(KEY, ["a", "c"]) == "c"


def test_over_many_rounds_everybody_gets_the_same() -> None:
    picker = MemberPicker()
    members = [f"worker-{number}" for number in range(7)]
    assert set(Counter(picker.pick(KEY, members) for _ in range(700)).values()) == {100}


def test_a_forgotten_round_starts_anew() -> None:
    picker = MemberPicker()
    picker.pick(KEY, ["a", "b"])
    picker.forget(KEY)
    picker.forget(KEY)
    assert len(picker) == 0
    assert picker.pick(KEY, ["a", "b"]) == "a"


def test_what_is_remembered_is_bounded() -> None:
    picker = MemberPicker(keys_max=2)
    for group in ("one", "two", "three"):
        picker.pick((group, "t"), ["a", "b"])
    assert len(picker) == 2
    assert picker.pick(("three", "t"), ["a", "b"]) == "b"
    assert picker.pick(("one", "t"), ["a", "b"]) == "a"
