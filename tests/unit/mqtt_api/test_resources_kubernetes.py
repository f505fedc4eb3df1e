"""The parts of a broker that speak of Kubernetes: amounts, images, what is taken over as it is, and names."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from mqtt_api.kinds.attachments import prefixes_are_apart
from mqtt_api.kinds.free_form import FREE_FORM_BYTES_MAX
from mqtt_api.kinds.images import Image
from mqtt_api.kinds.mqttbroker import HTTP_PORT, HTTP_PORT_NAME
from mqtt_api.kinds.quantities import Quantity
from mqtt_api.kinds.services import SERVICE_NAME_CHARACTERS_MAX, TAKEN_SERVICE_NAMES
from mqtt_api.resources import InvalidResource, MQTTBroker, parse_document
from mqtt_operator.desired import names
from support.resource_examples import BROKER, Document, changed


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("500m", "0.5"),
        ("1.5", "1.5"),
        (2, "2"),
        ("1k", "1000"),
        ("1Ki", "1024"),
        ("1Gi", "1073741824"),
        ("1P", "1000000000000000"),
        ("1Pi", "1125899906842624"),
    ],
)
def test_an_amount_is_read_as_kubernetes_reads_it(text: object, amount: str) -> None:
    assert Quantity.parse(text).amount == Decimal(amount)


@pytest.mark.parametrize("text", ["", "lots", "-1", "1.", ".5", "1 Gi", "1u", "1e3", True, 1.5, None])
def test_what_is_no_amount_is_refused(text: object) -> None:
    with pytest.raises(PydanticCustomError, match="must be an amount such as"):
        Quantity.parse(text)


def test_a_digest_goes_before_a_tag() -> None:
    digest = f"sha256:{'0' * 64}"
    assert Image(repository="stoa", tag="1").reference == "stoa:1"
    assert Image(repository="stoa", tag="1", digest=digest).reference == f"stoa@{digest}"


@pytest.mark.parametrize(
    "repository", ["stoa", "stoa/broker", "registry.example.org:5000/stoa/broker", "10.0.0.1:80/a"]
)
def test_repositories_are_read_with_and_without_a_registry(repository: str) -> None:
    assert Image(repository=repository, tag="1").repository == repository


@pytest.mark.parametrize("repository", ["Stoa", "stoa:1", "stoa/", "/stoa", "stoa//broker", "a@b", "stoa:5000/", "a b"])
def test_what_is_no_repository_is_refused(repository: str) -> None:
    with pytest.raises(InvalidResource, match="must be a repository"):
        parse_document(changed(BROKER, {"spec.image": {"repository": repository, "tag": "1"}}))


def affinity(content: object) -> Document:
    return changed(BROKER, {"spec.podTemplate": {"spec": {"affinity": {"nodeAffinity": content}}}})


def test_an_affinity_is_kept_as_it_is_up_to_its_bound() -> None:
    content = {"a": ["x" * (FREE_FORM_BYTES_MAX - len('{"a": [""]}'))]}
    broker = parse_document(affinity(content))
    assert isinstance(broker, MQTTBroker)
    assert broker.spec.pod_template is not None
    assert broker.spec.pod_template.spec is not None
    assert broker.spec.pod_template.spec.affinity is not None
    assert broker.spec.pod_template.spec.affinity.node_affinity == content
    content["a"][0] += "x"
    with pytest.raises(InvalidResource, match="must have at most 16384 bytes"):
        parse_document(affinity(content))


@pytest.mark.parametrize("content", [{"a": b"x"}, {1: "a"}, {"a": {1, 2}}], ids=str)
def test_an_affinity_that_is_no_json_is_refused(content: object) -> None:
    with pytest.raises(InvalidResource, match="must hold text, numbers"):
        parse_document(affinity(content))


def test_an_affinity_that_contains_itself_is_refused() -> None:
    content: dict[str, object] = {}
    content["a"] = content
    with pytest.raises(InvalidResource, match="at most 12 deep"):
        parse_document(affinity(content))


PREFIXES = st.lists(st.text("ab.", min_size=1, max_size=4), max_size=5)


@given(PREFIXES, st.text("ab.", max_size=6))
def test_prefixes_that_are_apart_are_of_nobody_or_of_one(prefixes: list[str], name: str) -> None:
    if prefixes_are_apart(tuple(prefixes)):
        assert sum(name.startswith(prefix) for prefix in prefixes) <= 1


def test_what_a_node_listens_on_besides_is_what_the_definition_keeps_free() -> None:
    assert (HTTP_PORT, HTTP_PORT_NAME) == (names.HTTP_PORT, names.HTTP_PORT_NAME)


@pytest.mark.parametrize(
    "other",
    [
        names.headless_service,
        names.store,
        names.store_credentials,
        names.operator_store_credentials,
        names.store_server_secret,
        names.settings_config_map,
        names.policy_secret,
    ],
)
def test_no_entry_of_services_can_be_called_as_another_object_of_its_broker(other: Callable[[str], str]) -> None:
    entry = other("plant").removeprefix("plant-")
    assert names.extra_service("plant", entry) == other("plant")
    services = [{"name": entry, "listeners": ["mqtts"]}]
    with pytest.raises(InvalidResource, match="other objects of a broker are called so"):
        parse_document(changed(BROKER, {"spec.services": services}))


def test_names_that_are_kept_free_could_be_those_of_entries() -> None:
    assert all(len(name) <= SERVICE_NAME_CHARACTERS_MAX for name in TAKEN_SERVICE_NAMES)
