"""Which events are told anew, and which again."""

from datetime import UTC, datetime

from mqtt_operator.kube.events import EVENTS_MAX, NOTE_CHARACTERS_MAX, SAME_S_MAX, EventBook, EventSource
from mqtt_operator.kube.port import EventType

ABOUT = {
    "apiVersion": "mqtt.stoa.dev/v1alpha1",
    "kind": "MQTTBroker",
    "metadata": {"name": "plant", "namespace": "mqtt", "uid": "1", "resourceVersion": "7"},
}


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def book(time: Time) -> EventBook:
    wall = datetime(2026, 1, 31, 12, tzinfo=UTC)
    return EventBook(EventSource("stoa-operator", "operator-0"), clock=time, wall=lambda: wall)


def test_an_event_says_what_happened_to_whom_and_who_says_so() -> None:
    entry = book(Time()).enter(ABOUT, EventType.WARNING, "StoreUnreachable", "The store is away.")
    assert entry.series is None
    manifest = entry.manifest
    assert manifest["metadata"]["namespace"] == "mqtt"
    assert manifest["metadata"]["name"].startswith("plant.")
    assert (manifest["type"], manifest["reason"], manifest["note"]) == (
        "Warning",
        "StoreUnreachable",
        "The store is away.",
    )
    assert manifest["regarding"] == {
        "apiVersion": "mqtt.stoa.dev/v1alpha1",
        "kind": "MQTTBroker",
        "name": "plant",
        "namespace": "mqtt",
        "uid": "1",
    }
    assert manifest["eventTime"] == "2026-01-31T12:00:00.000000Z"
    assert (manifest["reportingController"], manifest["reportingInstance"]) == ("stoa-operator", "operator-0")


def test_the_same_again_is_counted_on_the_first_one() -> None:
    events = book(Time())
    first = events.enter(ABOUT, EventType.NORMAL, "Scaled", "To 3 nodes.")
    again = [events.enter(ABOUT, EventType.NORMAL, "Scaled", "To 3 nodes.") for _ in range(2)]
    assert [entry.name for entry in again] == [first.name] * 2
    assert [entry.series["series"]["count"] for entry in again if entry.series] == [2, 3]


def test_another_sentence_and_the_same_much_later_are_events_of_their_own() -> None:
    time = Time()
    events = book(time)
    first = events.enter(ABOUT, EventType.NORMAL, "Scaled", "To 3 nodes.")
    other = events.enter(ABOUT, EventType.NORMAL, "Scaled", "To 4 nodes.")
    time.now = SAME_S_MAX + 1
    later = events.enter(ABOUT, EventType.NORMAL, "Scaled", "To 3 nodes.")
    assert [other.series, later.series] == [None, None]
    assert len({first.name, other.name, later.name}) == 3


def test_a_long_sentence_is_cut_to_what_the_api_takes() -> None:
    entry = book(Time()).enter(ABOUT, EventType.NORMAL, "Scaled", "a" * 5_000)
    assert len(entry.manifest["note"]) == NOTE_CHARACTERS_MAX


def test_it_does_not_remember_more_than_it_may() -> None:
    events = book(Time())
    events.enter(ABOUT, EventType.NORMAL, "Scaled", "first")
    for number in range(EVENTS_MAX):
        events.enter(ABOUT, EventType.NORMAL, "Scaled", str(number))
    assert events.enter(ABOUT, EventType.NORMAL, "Scaled", "first").series is None
