"""The models of the custom resources: what they accept, and every mistake they tell."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mqtt_api.kinds.shape import Shape, yaml_name
from mqtt_api.resources import (
    KINDS,
    InvalidResource,
    Mistake,
    MQTTBroker,
    MQTTClient,
    TopicPermission,
    parse_document,
)
from support.resource_examples import (
    BAD_COMBINATIONS,
    BAD_VALUES,
    BROKER,
    CLIENT,
    GOOD,
    PERMISSION,
    Example,
    changed,
)


def mistakes_of(document: object) -> list[Mistake]:
    with pytest.raises(InvalidResource) as refusal:
        parse_document(document)
    return list(refusal.value.mistakes)


def told(document: object) -> dict[str, str]:
    return {mistake.field: mistake.message for mistake in mistakes_of(document)}


@pytest.mark.parametrize("example", GOOD, ids=lambda example: example.title)
def test_a_right_document_is_accepted(example: Example) -> None:
    resource = parse_document(example.document)
    assert resource.kind == example.document["kind"]


@pytest.mark.parametrize("example", GOOD, ids=lambda example: example.title)
def test_a_resource_written_out_again_reads_as_the_same(example: Example) -> None:
    resource = parse_document(example.document)
    written = resource.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert parse_document(written) == resource


@pytest.mark.parametrize("example", [*BAD_VALUES, *BAD_COMBINATIONS], ids=lambda example: example.title)
def test_a_mistake_is_told_by_field_and_nothing_else_is_blamed(example: Example) -> None:
    messages = told(example.document)
    assert messages.keys() == example.mistakes.keys()
    for field, words in example.mistakes.items():
        assert words in messages[field]


def test_every_rule_across_fields_has_an_example_that_breaks_it() -> None:
    broken = {mistake.message for example in BAD_COMBINATIONS for mistake in mistakes_of(example.document)}
    rules = [rule for shape in _shapes(Shape) for rule in shape.invariants if rule.holds is not None]
    assert len(rules) > 20
    assert {rule.message for rule in rules} <= broken


def test_all_mistakes_of_a_document_are_told_at_once_across_levels() -> None:
    document = changed(
        BROKER,
        {
            "apiVersion": "v1",
            "metadata.name": "Plant",
            "spec.replicas": 2,
            "spec.mqtt": {"maxKeepAlive": "1d", "queue": {"overflow": "Explode"}},
            "spec.listeners[0].port": 0,
            "spec.listeners[0].allowPlaintext": True,
            "spec.listeners[1]": {"name": "mqtt", "port": 1883, "colour": "red"},
            "spec.authentication[0].principals": "Open",
        },
    )
    assert told(document).keys() == {
        "apiVersion",
        "metadata.name",
        "spec.replicas",
        "spec.mqtt.maxKeepAlive",
        "spec.mqtt.queue.overflow",
        "spec.listeners[0].port",
        "spec.listeners[0].allowPlaintext",
        "spec.listeners[1].colour",
        "spec.listeners[1].tls",
        "spec.authentication[0].principals",
    }


def test_each_mistake_is_told_once() -> None:
    document = changed(BROKER, {"spec.listeners[0].port": 0, "spec.replicas": 2, "spec.colour": "red"})
    fields = [mistake.field for mistake in mistakes_of(document)]
    assert len(fields) == len(set(fields))


def test_a_rule_about_a_field_that_is_wrong_itself_is_not_judged() -> None:
    document = changed(BROKER, {"spec.listeners[0].tls": {"clientAuth": "Perhaps", "crl": {"ref": {}}}})
    assert told(document).keys() == {
        "spec.listeners[0].tls.clientAuth",
        "spec.listeners[0].tls.crl.ref.kind",
        "spec.listeners[0].tls.crl.ref.name",
        "spec.listeners[0].tls.crl.ref.key",
    }


def test_a_line_with_nothing_behind_it_is_told_as_empty() -> None:
    document = changed(BROKER, {"spec.listeners[0].tls": None, "spec.mqtt": None})
    assert told(document) == {
        "spec.listeners[0].tls": "is empty: give it a value or leave the line out",
        "spec.mqtt": "is empty: give it a value or leave the line out",
    }


def test_an_empty_line_alone_is_a_mistake_even_where_absence_is_allowed() -> None:
    assert told(changed(CLIENT, {"spec.username": None})).keys() == {"spec.username"}


def test_a_document_that_contains_itself_is_refused() -> None:
    spec: dict[str, Any] = {"brokerRef": {"name": "plant"}}
    spec["limits"] = spec["credentials"] = spec
    assert told({**CLIENT, "spec": spec}).keys() >= {"spec.limits.credentials"}


def test_a_document_whose_aliases_stand_for_a_billion_values_is_refused_at_once() -> None:
    laughs: Any = None
    for _ in range(64):
        laughs = [laughs, laughs]
    assert "spec.topics" in told(changed(CLIENT, {"spec.topics": laughs}))


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
_FIELDS = st.sampled_from(
    ["spec", "metadata", "name", "kind", "listeners", "tls", "rules", "topics", "mqtt", "queue", "match", "limits"]
)
_VALUES = st.recursive(
    _SCALARS, lambda below: st.lists(below, max_size=3) | st.dictionaries(_FIELDS | _SCALARS, below, max_size=4)
)


@given(st.sampled_from([BROKER, CLIENT, PERMISSION]), st.data())
def test_whatever_stands_in_a_field_the_answer_is_a_resource_or_its_mistakes(base: dict[str, Any], data: Any) -> None:
    spec = {**base["spec"], data.draw(st.sampled_from(sorted(base["spec"]))): data.draw(_VALUES)}
    mistakes: tuple[Mistake, ...] | None = None
    try:
        parse_document({**base, "spec": spec, data.draw(_FIELDS): data.draw(_VALUES)})
    except InvalidResource as refusal:
        mistakes = refusal.mistakes
    assert mistakes is None or (mistakes and all(mistake.message for mistake in mistakes))


@pytest.mark.parametrize("document", [None, [], "kind: MQTTBroker", 7], ids=repr)
def test_a_document_that_is_no_mapping_is_refused(document: object) -> None:
    assert mistakes_of(document) == [Mistake("", "must be a mapping with apiVersion, kind, metadata and spec")]


@pytest.mark.parametrize("kind", [None, "Deployment", ["MQTTBroker"]], ids=repr)
def test_another_kind_is_refused_with_the_kinds_there_are(kind: object) -> None:
    assert mistakes_of({**BROKER, "kind": kind}) == [
        Mistake("kind", "must be one of MQTTBroker, MQTTClient, TopicPermission")
    ]


@pytest.mark.parametrize("name", [7, None, 1.5, True], ids=repr)
def test_a_field_whose_name_is_no_text_is_told_in_words(name: object) -> None:
    (mistake,) = mistakes_of(changed(CLIENT, {"spec": {"brokerRef": {"name": "plant"}, name: "x"}}))
    assert mistake.field.startswith("spec")
    assert mistake.message == "must have text as the names of its fields"


@pytest.mark.parametrize("name", [7, None, 1.5, True], ids=repr)
def test_an_empty_field_whose_name_is_no_text_is_told_too(name: object) -> None:
    assert mistakes_of(changed(CLIENT, {"spec": {"brokerRef": {"name": "plant"}, name: None}}))


def test_names_that_could_disturb_a_terminal_are_escaped_in_paths() -> None:
    spec = {"brokerRef": {"name": "plant"}, "\x1b[2J": 1}
    fields = told(changed(CLIENT, {"metadata.labels": {"example.org/a": 3}, "spec": spec})).keys()
    assert fields == {'metadata.labels["example.org/a"]', 'spec["\\u001b[2J"]'}


def test_no_message_repeats_a_value_which_might_be_a_secret() -> None:
    secret = "hunter2 \n"
    document = changed(
        CLIENT,
        {"spec.username": secret, "spec.password": secret, "spec.limits": secret, "spec.suspended": secret},
    )
    assert "hunter2" not in "".join(message for _, message in mistakes_of(document))


def test_the_error_reads_as_a_list_of_fields_and_sentences() -> None:
    with pytest.raises(InvalidResource, match=r"^spec\.replicas: must be at least 1; spec\.x: is not a known field"):
        parse_document(changed(BROKER, {"spec.replicas": 0, "spec.x": 1}))


def test_defaults_are_the_ones_that_refuse() -> None:
    broker = parse_document(BROKER)
    assert isinstance(broker, MQTTBroker)
    assert broker.spec.authorization.default_policy == "Deny"
    assert broker.spec.listeners[0].tls is not None
    assert not broker.spec.listeners[0].allow_plaintext
    assert broker.spec.listeners[0].tls.min_version == "TLS1.2"
    client = parse_document(CLIENT)
    assert isinstance(client, MQTTClient)
    assert client.spec.credentials.passwords == ()
    assert client.spec.client_ids == ("${username}",)


def test_a_user_name_that_is_not_written_is_the_name_of_the_object() -> None:
    nameless, named = parse_document(CLIENT), parse_document(changed(CLIENT, {"spec.username": "Pump 7"}))
    assert isinstance(nameless, MQTTClient)
    assert isinstance(named, MQTTClient)
    assert (nameless.username, named.username) == ("pump-7", "Pump 7")


def test_an_object_without_a_namespace_is_in_the_default_one() -> None:
    resource = parse_document(changed(PERMISSION, {}, without=["metadata.namespace"]))
    assert isinstance(resource, TopicPermission)
    assert resource.reference == "default/pumps"


def test_a_new_object_is_pending() -> None:
    for document in (BROKER, CLIENT, PERMISSION):
        (condition,) = parse_document(document).status.conditions
        assert (condition.type, condition.status, condition.reason) == ("Ready", "Unknown", "Pending")


def test_metadata_and_status_of_a_later_version_pass() -> None:
    later = {"metadata.finalizers": ["x"], "status": {"weather": "fine", "conditions": []}}
    assert parse_document(changed(BROKER, later)).status.conditions == ()


def test_a_resource_cannot_be_changed() -> None:
    broker = parse_document(BROKER)
    assert isinstance(broker, MQTTBroker)
    with pytest.raises(ValidationError, match="frozen"):
        broker.spec.replicas = 3  # type: ignore[misc]  # that it is refused is the point


def test_a_bug_in_a_rule_is_not_taken_for_a_field_with_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = MQTTBroker.invariants[0]._replace(holds=lambda self: self.no_such_field)
    monkeypatch.setattr(MQTTBroker, "invariants", (rule,))
    with pytest.raises(AttributeError):
        parse_document(BROKER)


@pytest.mark.parametrize(
    ("python", "yaml"),
    [
        ("client_ids", "clientIDs"),
        ("client_ca_refs", "clientCARefs"),
        ("maximum_qos", "maximumQoS"),
        ("qos", "qos"),
        ("san_dns", "sanDNS"),
        ("dns_names", "dnsNames"),
        ("bytes_per_second", "bytesPerSecond"),
        ("crl", "crl"),
    ],
)
def test_names_are_written_as_kubernetes_writes_them(python: str, yaml: str) -> None:
    assert yaml_name(python) == yaml


def test_the_words_of_python_are_understood_too() -> None:
    spec: Any = {"broker_ref": {"name": "plant"}, "client_ids": ["a"]}
    assert MQTTClient.model_validate({**CLIENT, "spec": spec}).spec.client_ids == ("a",)


def test_every_kind_says_its_name() -> None:
    assert {kind: model.__name__ for kind, model in KINDS.items()} == {kind: kind for kind in KINDS}


def _shapes(shape: type[Shape]) -> list[type[Shape]]:
    return [shape, *(below for child in shape.__subclasses__() for below in _shapes(child))]
