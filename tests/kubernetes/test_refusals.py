"""What a real API server refuses, and in which words: its own CEL engine against the corpus that the models pass.

Nothing is stored: every request is a dry run.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pytest
import yaml

from support.kube.api import Answer, Api
from support.processes import ROOT
from support.resource_examples import (
    BAD_COMBINATIONS,
    BAD_VALUES,
    BROKER,
    CLIENT,
    GOOD,
    PERMISSION,
    Document,
    Example,
    changed,
)
from support.structural_schema import nodes

GROUP = "/apis/mqtt.stoa.dev/v1alpha1"


# One expression refuses these together with other mistakes, so its sentence is about those; the models tell them apart.
COARSER = ("a topic with U+0000",)


# The same few rules stand at many fields; these are the places where the corpus has no mistake.
OUT_OF_BOUNDS = [
    changed(CLIENT, {"spec.limits": {"bytesPerSecond": 0}}),
    changed(
        BROKER,
        {
            "spec.drain": {"willGrace": "1h1s"},
            "spec.mqtt": {"maxSessionExpiry": "87601h", "sysInterval": "2h", "queue": {"maxBytes": "1Ki"}},
            "spec.listeners[0].authentication": [
                {
                    "name": "chain",
                    "type": "Password",
                    "usernameFrom": "SANURI",
                    "principals": "RequireMQTTClient",
                    "clientIDs": ["a"],
                    "mechanisms": ["SCRAM-SHA-512"],
                }
            ],
        },
    ),
    changed(BROKER, {"spec.sessionStore": {"managed": {"storage": "1Mi"}}}),
]


class Rule(NamedTuple):
    """A rule as it stands in a definition, at the field that it blames (`.spec.listeners[].tls`)."""

    kind: str
    field: str
    message: str


def _read_rules(about_changes: bool) -> Iterator[Rule]:
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        definition = yaml.safe_load(path.read_text(encoding="utf-8"))
        (version,) = definition["spec"]["versions"]
        for place, node in nodes(version["schema"]["openAPIV3Schema"]):
            for rule in node.get("x-kubernetes-validations", ()):
                if ("oldSelf" in rule["rule"]) is about_changes:
                    yield Rule(definition["spec"]["names"]["kind"], place + rule.get("fieldPath", ""), rule["message"])


RULES, RULES_ABOUT_CHANGES = (tuple(_read_rules(about_changes)) for about_changes in (False, True))


def _create(api: Api, document: Document, namespace: str) -> Answer:
    body = changed(document, {"metadata.namespace": namespace})
    path = f"{GROUP}/namespaces/{namespace}/{document['kind'].lower()}s"
    return api.call("POST", path, body, dryRun="All", fieldValidation="Strict")


def _broken(api: Api, document: Document, namespace: str) -> set[Rule]:
    """The rules that this document is refused for."""
    return _broken_of(document["kind"], _create(api, document, namespace), RULES)


def _broken_of(kind: str, answer: Answer, rules: Iterable[Rule]) -> set[Rule]:
    said = [(_general(field), sentence) for field, sentence in answer.causes]
    return {
        rule
        for rule in rules
        if rule.kind == kind
        and any(rule.field == field and sentence.endswith(rule.message) for field, sentence in said)
    }


def _general(field: str) -> str:
    """`spec.listeners[0].tls` -> `.spec.listeners[].tls`."""
    return "." + re.sub(r"\[\d+\]", "[]", field) if field else ""


@pytest.mark.parametrize("example", GOOD, ids=lambda example: example.title)
def test_what_is_right_is_accepted(example: Example, api: Api, namespace: str) -> None:
    answer = _create(api, example.document, namespace)
    assert answer.code == 201, answer.body["message"]


@pytest.mark.parametrize(
    "example", [example for example in BAD_VALUES if not example.models_only], ids=lambda example: example.title
)
def test_a_wrong_value_is_refused(example: Example, api: Api, namespace: str) -> None:
    answer = _create(api, example.document, namespace)
    assert answer.code in (400, 422), answer.body
    said = answer.body["message"]
    assert all(field.rpartition(".")[2].partition("[")[0] in said for field in example.mistakes), said


@pytest.mark.parametrize("example", BAD_COMBINATIONS, ids=lambda example: example.title)
def test_a_combination_is_refused_in_the_words_of_the_models(example: Example, api: Api, namespace: str) -> None:
    answer = _create(api, example.document, namespace)
    assert answer.code == 422, answer.body
    for field, words in example.mistakes.items():
        said = [sentence for place, sentence in answer.causes if place == field]
        assert said, answer.body["message"]
        assert example.title.startswith(COARSER) or any(words in sentence for sentence in said), said


def test_every_rule_refuses_something(api: Api, namespace: str) -> None:
    """The API server's CEL says no for each rule of the definitions at least once: none is only a promise."""
    documents = [example.document for example in (*BAD_VALUES, *BAD_COMBINATIONS)] + OUT_OF_BOUNDS
    refused = {rule for document in documents for rule in _broken(api, document, namespace)}
    assert sorted(set(RULES) - refused) == []


def test_every_rule_about_changes_refuses_one(api: Api, namespace: str) -> None:
    other_broker = {"spec": {"brokerRef": {"name": "another"}}}
    shared = changed(BROKER, {"spec.sessionStore": {"redis": {"addresses": ["redis:6379"], "keyPrefix": "one"}}})
    other_prefix = {"spec": {"sessionStore": {"redis": {"keyPrefix": "two"}}}}
    own_file = changed(
        BROKER,
        {
            "metadata.name": "file",
            "spec.sessionStore.embedded": {"storage": "2Gi", "storageClassName": "slow"},
            "spec.services": [{"name": "public", "listeners": ["mqtts"], "loadBalancerClass": "example.org/one"}],
        },
    )
    run_along = changed(BROKER, {"metadata.name": "along", "spec.sessionStore": {"managed": {"storage": "2Gi"}}})
    other_store: Document = {"spec": {"sessionStore": {"embedded": None, "managed": {}}}}
    other_volume = {"storage": "1Gi", "storageClassName": "fast"}
    other_class = [{"name": "public", "listeners": ["mqtts"], "loadBalancerClass": "example.org/two"}]
    refused = set()
    for document, patch in (
        (CLIENT, other_broker),
        (PERMISSION, other_broker),
        (shared, other_prefix),
        (own_file, other_store),
        (own_file, {"spec": {"sessionStore": {"embedded": other_volume}, "services": other_class}}),
        (run_along, {"spec": {"sessionStore": {"managed": other_volume}}}),
    ):
        refused |= _refused_change(api, document, patch, namespace)
    assert refused == set(RULES_ABOUT_CHANGES)


def _refused_change(api: Api, document: Document, patch: Document, namespace: str) -> set[Rule]:
    """The rules that the patch is refused for, of an object that is there."""
    path = f"{GROUP}/namespaces/{namespace}/{document['kind'].lower()}s"
    created = api.call("POST", path, changed(document, {"metadata.namespace": namespace}))
    assert created.code in (201, 409), created.body
    answer = api.call("PATCH", f"{path}/{document['metadata']['name']}", patch, kind="application/merge-patch+json")
    assert answer.code == 422, answer.body
    return _broken_of(document["kind"], answer, RULES_ABOUT_CHANGES)
