"""The figures below $SYS: names, values, averages, and what changes from one reading to the next."""

import msgspec
import pytest

from mqtt_broker.node.sys_topics import Figures, MovingAverage, SysTopics

NOTHING = Figures(
    version="1.2.3",
    uptime_s=0,
    clients_connected=0,
    sessions=0,
    sessions_expired=0,
    subscriptions=0,
    shared_subscriptions=0,
    retained_messages=0,
    kept_messages=0,
    kept_bytes=0,
    connections_opened=0,
    connects_received=0,
    packets_received=0,
    packets_sent=0,
    publishes_received=0,
    publishes_sent=0,
    publishes_dropped=0,
    payload_bytes_received=0,
    payload_bytes_sent=0,
    bytes_received=0,
    bytes_sent=0,
    memory_bytes=0,
    memory_bytes_max=0,
)


def shown(topics: SysTopics, topic_filter: str = "$SYS/#") -> dict[str, str]:
    return {
        message.topic.removeprefix("$SYS/broker/"): message.payload.decode() for message in topics.match(topic_filter)
    }


def test_before_the_first_reading_nothing_stands_there() -> None:
    assert shown(SysTopics(0.0)) == {}


def test_sums_over_the_cluster_stand_below_a_name_of_their_own() -> None:
    topics = SysTopics(0.0)
    sums = {"nodes": 3, "clients/connected": 9}
    topics.update(msgspec.structs.replace(NOTHING, clients_connected=2, cluster=sums), 1.0)
    assert shown(topics, "$SYS/broker/cluster/#") == {"cluster/nodes": "3", "cluster/clients/connected": "9"}
    assert shown(topics, "$SYS/broker/clients/connected") == {"clients/connected": "2"}


def test_names_and_forms_are_mosquittos() -> None:
    topics = SysTopics(0.0)
    figures = msgspec.structs.replace(
        NOTHING, uptime_s=60, clients_connected=2, sessions=5, publishes_received=120, memory_bytes=7
    )
    topics.update(figures, 60.0)
    values = shown(topics)
    assert values["version"] == "stoa version 1.2.3"
    assert values["uptime"] == "60 seconds"
    clients = {name: value for name, value in values.items() if name.startswith("clients/")}
    assert clients == {
        "clients/connected": "2",
        "clients/active": "2",
        "clients/disconnected": "3",
        "clients/inactive": "3",
        "clients/total": "5",
        "clients/maximum": "2",
        "clients/expired": "0",
    }
    assert values["publish/messages/received"] == "120"
    assert values["heap/current"] == "7"
    assert values["retained messages/count"] == "0"
    assert {"load/publish/received/1min", "load/bytes/sent/5min", "load/connections/15min"} <= values.keys()


def test_messages_are_packets_of_every_type_and_publishes_their_payload() -> None:
    topics = SysTopics(0.0)
    figures = msgspec.structs.replace(
        NOTHING,
        packets_received=30,
        packets_sent=40,
        publishes_sent=4,
        payload_bytes_received=500,
        payload_bytes_sent=600,
        bytes_sent=900,
    )
    topics.update(figures, 60.0)
    values = shown(topics)
    assert (values["messages/received"], values["messages/sent"], values["publish/messages/sent"]) == ("30", "40", "4")
    assert (values["publish/bytes/received"], values["publish/bytes/sent"], values["bytes/sent"]) == (
        "500",
        "600",
        "900",
    )
    assert float(values["load/messages/sent/1min"]) > float(values["load/publish/sent/1min"]) > 0


def test_what_the_store_holds_has_its_name_of_today_and_the_old_one() -> None:
    topics = SysTopics(0.0)
    topics.update(msgspec.structs.replace(NOTHING, kept_messages=7, kept_bytes=70, retained_messages=3), 1.0)
    values = shown(topics)
    assert (values["store/messages/count"], values["messages/stored"]) == ("7", "7")
    assert values["store/messages/bytes"] == "70"


def test_sockets_and_connects_are_averaged_apart() -> None:
    topics = SysTopics(0.0)
    topics.update(msgspec.structs.replace(NOTHING, connections_opened=120, connects_received=60), 60.0)
    values = shown(topics)
    assert float(values["load/sockets/1min"]) == pytest.approx(2 * float(values["load/connections/1min"]), abs=0.02)


def test_the_messages_are_retained_and_of_nobody() -> None:
    topics = SysTopics(0.0)
    for message in topics.update(NOTHING, 1.0):
        assert (message.retain, message.qos, message.publisher, message.username) == (True, 0, "", "")


def test_only_what_changed_is_published_again() -> None:
    topics = SysTopics(0.0)
    first = topics.update(NOTHING, 10.0)
    assert len(first) == len(topics)
    changed = topics.update(msgspec.structs.replace(NOTHING, uptime_s=20, subscriptions=1), 20.0)
    assert {message.topic for message in changed} == {"$SYS/broker/uptime", "$SYS/broker/subscriptions/count"}
    assert shown(topics, "$SYS/broker/uptime") == {"uptime": "20 seconds"}


@pytest.mark.parametrize(
    ("topic_filter", "count"),
    [("#", 0), ("+/broker/version", 0), ("$SYS", 0), ("$SYS/broker/+", 2), ("$SYS/broker/clients/+", 7)],
)
def test_only_a_filter_that_begins_with_sys_shows_them(topic_filter: str, count: int) -> None:
    """[MQTT-4.7.2-1]"""
    topics = SysTopics(0.0)
    topics.update(NOTHING, 1.0)
    assert len(topics.match(topic_filter)) == count


def test_the_maximum_of_clients_stays_when_they_leave() -> None:
    topics = SysTopics(0.0)
    for now, connected in enumerate((1, 3, 0), 1):
        topics.update(msgspec.structs.replace(NOTHING, clients_connected=connected, sessions=connected), float(now))
    assert shown(topics, "$SYS/broker/clients/maximum") == {"clients/maximum": "3"}


def test_switched_off_nothing_is_shown_and_switched_on_everything_is_published() -> None:
    topics = SysTopics(0.0)
    count = len(topics.update(NOTHING, 1.0))
    topics.clear()
    assert shown(topics) == {}
    assert len(topics.update(NOTHING, 2.0)) == count


def test_a_steady_rate_is_what_the_averages_come_to() -> None:
    average = MovingAverage()
    for minute in range(1, 121):
        average.update(minute * 600, 60.0)
    one, five, fifteen = average.per_minute
    assert one == pytest.approx(600)
    assert five == pytest.approx(600)
    assert fifteen == pytest.approx(600, rel=0.01)


def test_a_burst_fades_from_the_short_average_first() -> None:
    average = MovingAverage()
    average.update(600, 10.0)
    assert average.per_minute[0] > average.per_minute[1] > average.per_minute[2] > 0
    for _ in range(60):
        average.update(600, 10.0)
    assert average.per_minute[0] < average.per_minute[1] < average.per_minute[2]


def test_how_often_a_rate_is_read_does_not_change_it() -> None:
    seldom, often = MovingAverage(), MovingAverage()
    seldom.update(1_000, 60.0)
    for second in range(1, 61):
        often.update(second * 1_000 // 60, 1.0)
    assert often.per_minute == pytest.approx(seldom.per_minute, rel=0.01)


def test_two_readings_of_one_moment_divide_by_nothing() -> None:
    topics = SysTopics(5.0)
    topics.update(NOTHING, 5.0)
    topics.update(msgspec.structs.replace(NOTHING, bytes_sent=10), 5.0)
    assert shown(topics, "$SYS/broker/load/bytes/sent/1min") == {"load/bytes/sent/1min": "0.00"}
