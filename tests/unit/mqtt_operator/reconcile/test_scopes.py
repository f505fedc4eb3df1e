"""What has been listed completely: until then, nobody knows."""

import pytest

from mqtt_operator.desired.kinds import MQTT_CLIENT, SECRET
from mqtt_operator.errors import ExpectedError
from mqtt_operator.kube.port import Call, ForbiddenError
from mqtt_operator.reconcile.scopes import EVERYWHERE, HiddenError, Scope, Scopes, UnseenError

HERE = Scope(SECRET, "mqtt")
FORBIDDEN = ForbiddenError(Call("list", "mqtt.stoa.dev", "mqttclients"), "b")


def test_what_nobody_lists_is_unknown() -> None:
    with pytest.raises(UnseenError, match="secrets of namespace mqtt are not watched"):
        Scopes().require(SECRET, "mqtt")


def test_what_is_about_to_be_listed_is_unknown_until_it_is_complete() -> None:
    scopes = Scopes()
    scopes.expect(HERE)
    with pytest.raises(UnseenError, match="have not been listed yet"):
        scopes.require(SECRET, "mqtt")
    assert scopes.complete(HERE)
    scopes.require(SECRET, "mqtt")
    assert not scopes.complete(HERE)  # it was


def test_what_cannot_be_listed_says_why_and_what_to_do() -> None:
    scopes = Scopes()
    scopes.expect(HERE)
    scopes.fail(HERE, ExpectedError("It is forbidden.", to_do="Mend the Role."))
    with pytest.raises(UnseenError, match="secrets of namespace mqtt: It is forbidden") as unseen:
        scopes.require(SECRET, "mqtt")
    assert unseen.value.to_do == "Mend the Role."


def test_what_was_complete_stays_so_when_a_later_list_fails() -> None:
    """The last known state is frozen, not forgotten."""
    scopes = Scopes()
    scopes.expect(HERE)
    scopes.complete(HERE)
    scopes.fail(HERE, ExpectedError("away"))
    scopes.expect(HERE)
    scopes.require(SECRET, "mqtt")


def test_a_list_of_everywhere_knows_every_namespace() -> None:
    scopes = Scopes()
    scopes.expect(Scope(SECRET, EVERYWHERE))
    scopes.complete(Scope(SECRET, EVERYWHERE))
    scopes.require(SECRET, "mqtt")
    assert scopes.knows(SECRET, "mqtt")
    assert not scopes.knows(MQTT_CLIENT, "mqtt")


def test_what_nobody_lists_any_more_is_unknown_again() -> None:
    scopes = Scopes()
    scopes.expect(HERE)
    scopes.complete(HERE)
    scopes.drop(HERE)
    scopes.drop(HERE)
    with pytest.raises(UnseenError):
        scopes.require(SECRET, "mqtt")


def test_a_kind_is_known_when_each_of_its_scopes_is() -> None:
    scopes = Scopes()
    with pytest.raises(UnseenError, match="No mqttclients have been listed"):
        scopes.require_all(MQTT_CLIENT, none_matters)
    for namespace in ("a", "b"):
        scopes.expect(Scope(MQTT_CLIENT, namespace))
    scopes.complete(Scope(MQTT_CLIENT, "a"))
    with pytest.raises(UnseenError, match="of namespace b"):
        scopes.require_all(MQTT_CLIENT, none_matters)
    scopes.complete(Scope(MQTT_CLIENT, "b"))
    scopes.require_all(MQTT_CLIENT, none_matters)


def test_what_is_hidden_is_left_out_where_it_does_not_matter() -> None:
    scopes = Scopes()
    for namespace in ("a", "b"):
        scopes.expect(Scope(MQTT_CLIENT, namespace))
    scopes.complete(Scope(MQTT_CLIENT, "a"))
    assert not scopes.fail(Scope(MQTT_CLIENT, "b"), ExpectedError("away"))
    with pytest.raises(UnseenError):  # it may be answered any moment
        scopes.require_all(MQTT_CLIENT, none_matters)
    assert scopes.fail(Scope(MQTT_CLIENT, "b"), FORBIDDEN)
    assert not scopes.fail(Scope(MQTT_CLIENT, "b"), FORBIDDEN)
    scopes.require_all(MQTT_CLIENT, none_matters)
    assert not scopes.knows(MQTT_CLIENT, "b")
    with pytest.raises(HiddenError, match="of namespace b: The operator may not list"):
        scopes.require_all(MQTT_CLIENT, lambda namespace: namespace == "b")


def test_where_everything_is_hidden_nothing_is_known() -> None:
    scopes = Scopes()
    scopes.expect(Scope(MQTT_CLIENT, "b"))
    scopes.fail(Scope(MQTT_CLIENT, "b"), FORBIDDEN)
    with pytest.raises(HiddenError):
        scopes.require_all(MQTT_CLIENT, none_matters)


def none_matters(_namespace: str) -> bool:
    return False
