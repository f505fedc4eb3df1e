"""Topic aliases of one connection, both directions."""

import pytest

from mqtt_broker.protocol.aliases import InboundAliases, OutboundAliases, without_topic_alias
from mqtt_broker.wire.errors import Violation
from mqtt_broker.wire.packets import NO_PROPERTIES, Properties
from mqtt_broker.wire.reasons import ReasonCode


def test_a_name_with_an_alias_sets_it_and_an_empty_name_means_it() -> None:
    """MQTT 5.0, 3.3.2.3.4"""
    aliases = InboundAliases(2)
    assert aliases.resolve(2, "a/b") == "a/b"
    assert aliases.resolve(2, "") == "a/b"


def test_an_alias_can_be_set_anew_for_ever_in_a_bounded_table() -> None:
    aliases = InboundAliases(1)
    for number in range(1_000):
        aliases.resolve(1, f"topic/{number}")
    assert aliases.resolve(1, "") == "topic/999"
    assert len(aliases._names) == 1


@pytest.mark.parametrize(("alias", "topic"), [(0, "a"), (3, "a"), (65_535, "a"), (0, ""), (1, ""), (2, "")])
def test_zero_too_large_and_unknown_aliases_are_invalid(alias: int, topic: str) -> None:
    """[MQTT-3.3.2-8] [MQTT-3.3.2-9] [MQTT-3.2.2-17]"""
    aliases = InboundAliases(2)
    with pytest.raises(Violation) as raised:
        aliases.resolve(alias, topic)
    assert raised.value.reason is ReasonCode.TOPIC_ALIAS_INVALID
    assert aliases._names == {}


def test_without_a_maximum_every_alias_is_invalid() -> None:
    """[MQTT-3.2.2-18] MQTT 5.0, 3.2.2.3.8"""
    with pytest.raises(Violation):
        InboundAliases(0).resolve(1, "a")


def test_the_first_topics_get_numbers_and_later_ones_go_without() -> None:
    """[MQTT-3.3.2-11] [MQTT-3.1.2-26]"""
    aliases = OutboundAliases(2)
    for topic in ("long/a", "long/b"):
        number = aliases.candidate(topic)
        assert number is not None
        aliases.commit(topic, number)
    assert [aliases.known(topic) for topic in ("long/a", "long/b", "long/c")] == [1, 2, None]
    assert aliases.candidate("long/c") is None


def test_a_candidate_is_nothing_until_it_is_committed() -> None:
    aliases = OutboundAliases(2)
    assert aliases.candidate("long/a") == 1
    assert aliases.known("long/a") is None
    assert aliases.candidate("long/b") == 1


@pytest.mark.parametrize(("topic", "gains"), [("abc", False), ("äb", False), ("abcd", True), ("äbc", True)])
def test_a_name_as_short_as_its_alias_gets_none(topic: str, gains: bool) -> None:
    assert (OutboundAliases(1).candidate(topic) is not None) is gains


def test_properties_lose_the_alias_and_nothing_else() -> None:
    assert without_topic_alias(Properties(topic_alias=7)) is NO_PROPERTIES
    assert without_topic_alias(Properties(topic_alias=7, content_type="x")) == Properties(content_type="x")
