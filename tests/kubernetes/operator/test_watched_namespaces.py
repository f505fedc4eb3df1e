"""Several watched namespaces: one that is deleted, or whose Role is taken away, harms none of the others."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import rights
from support.kube import kubectl
from support.kube.api import Api
from support.kube.place import Place
from support.operator_program import Operator, operator
from support.resource_examples import BROKER, CLIENT, Document, changed
from support.through_proxy import through_proxy
from support.waiting import wait_until

GROUP = "/apis/mqtt.stoa.dev/v1alpha1"
SEEN_S_MAX = 150.0
GONE_S_MAX = 60.0
HELD = changed(
    BROKER,
    {
        "metadata.name": "held",
        "spec.sessionStore": {"redis": {"addresses": ["redis:6379"]}},
        "spec.deletionPolicy": "Delete",
    },
)
"""The framework sees to its end."""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def other(namespace: str) -> str:
    """A second namespace that is to be watched; nobody has made it yet."""
    return f"{namespace}-other"


@pytest.fixture
def other_is_there(cluster: Place, api: Api, namespace: str, other: str) -> Iterator[None]:
    make_namespace(cluster, api, other, home=namespace)
    yield
    api.call("DELETE", f"/api/v1/namespaces/{other}")


@pytest.fixture
def kubeconfig(cluster: Place, namespace: str, tmp_path: Path) -> Path:
    """The operator's account, with its rights in the first namespace only."""
    rights.grant(cluster, namespace)
    return rights.kubeconfig(cluster, namespace, tmp_path / "kubeconfig")


def test_an_operator_that_starts_while_a_namespace_is_missing_serves_the_others_and_then_that_one_too(
    cluster: Place, api: Api, namespace: str, other: str, kubeconfig: Path
) -> None:
    declare(cluster, namespace, BROKER, HELD)
    with operator(kubeconfig, namespace, "--watch-namespaces", f"{namespace},{other}") as running:
        running.wait_ready()
        wait_until(lambda: is_told_of(running, namespace, "plant"), SEEN_S_MAX)
        assert f"Namespace {other} is not served" in running.get("/readyz")[1]
        assert namespaces(running) == {"served": 1, "forbidden": 1}
        assert_held_until_its_end_is_told(cluster, api, namespace)
        make_namespace(cluster, api, other, home=namespace)
        try:
            declare(cluster, other, BROKER, HELD)
            wait_until(lambda: is_told_of(running, other, "plant"), SEEN_S_MAX)
            assert_held_until_its_end_is_told(cluster, api, other)
            assert running.get("/readyz") == (200, "ok\n")
            assert namespaces(running) == {"served": 2, "forbidden": 0}
            assert [event["level"] for event in lines_about(running, other)] == ["warning", "info"]
        finally:
            api.call("DELETE", f"/api/v1/namespaces/{other}")


@pytest.mark.usefixtures("other_is_there")
def test_a_namespace_that_is_deleted_harms_no_other_one_and_is_served_again_when_it_is_back(
    cluster: Place, api: Api, namespace: str, other: str, kubeconfig: Path, tmp_path: Path
) -> None:
    declare(cluster, namespace, BROKER)
    declare(cluster, other, BROKER)
    with (
        through_proxy(kubeconfig, tmp_path) as (proxy, behind),
        operator(behind, namespace, "--watch-namespaces", f"{namespace},{other}", "--no-leader-election") as running,
    ):
        wait_until(lambda: is_told_of(running, other, "plant"), SEEN_S_MAX)
        delete_namespace(api, other)
        proxy.cut()  # watches that are there go on for some minutes
        wait_until(lambda: "forbidden" in events_about(running, other), SEEN_S_MAX, running.program.dump())
        assert running.get("/readyz")[0] == 200
        before = len(running.told())
        declare(cluster, namespace, CLIENT, HELD)
        wait_until(lambda: any(told.clients for told in running.told()[before:]), SEEN_S_MAX)
        assert_held_until_its_end_is_told(cluster, api, namespace)
        make_namespace(cluster, api, other, home=namespace)
        before = len(running.told())
        declare(cluster, other, BROKER)
        wait_until(lambda: any(told.broker == f"{other}/plant" for told in running.told()[before:]), SEEN_S_MAX)
        assert events_about(running, other) == ["forbidden", "served"]  # and not a line for each attempt
        assert not [each for each in running.events() if each["event"] in ("kube.follow", "framework.failed")]
        assert not [each for each in running.events() if each["event"].startswith("kopf")]


def test_where_no_namespace_may_be_looked_into_it_is_not_ready_and_says_why(
    namespace: str, other: str, kubeconfig: Path
) -> None:
    with operator(kubeconfig, namespace, "--watch-namespaces", other) as running:
        wait_until(lambda: "may not" in running.get("/readyz")[1], SEEN_S_MAX)
        code, text = running.get("/readyz")
        assert code == 503
        assert f"in namespace {other}" in text
        assert running.get("/livez")[0] == 200


@pytest.mark.usefixtures("other_is_there")
def test_a_role_that_is_taken_away_takes_nothing_from_brokers_that_admit_clients_from_there(
    cluster: Place, namespace: str, other: str, kubeconfig: Path, tmp_path: Path
) -> None:
    """No answer is no order: their clients are still those that were seen last."""
    foreign = changed(CLIENT, {"spec.brokerRef": {"name": "plant", "namespace": namespace}})
    declare(cluster, namespace, admitting(other))
    declare(cluster, other, foreign)
    with (
        through_proxy(kubeconfig, tmp_path) as (proxy, behind),
        operator(behind, namespace, "--watch-namespaces", f"{namespace},{other}", "--no-leader-election") as running,
    ):
        mine = [f"{other}/pump-7"]
        wait_until(lambda: any(told.clients == mine for told in running.told()), SEEN_S_MAX)
        kubectl.call(cluster, "delete", "rolebinding", rights.ACCOUNT, "--namespace", other)
        proxy.cut()
        wait_until(lambda: "forbidden" in events_about(running, other), SEEN_S_MAX)
        before = len(running.told())
        declare(cluster, namespace, changed(CLIENT, {"metadata.name": "pump-8"}))
        wait_until(lambda: running.told()[before:], SEEN_S_MAX)
        assert {tuple(told.clients) for told in running.told()[before:]} == {(f"{other}/pump-7", f"{namespace}/pump-8")}


def test_until_a_namespace_may_be_looked_into_brokers_that_admit_its_clients_keep_their_policy(
    cluster: Place, namespace: str, other: str, kubeconfig: Path
) -> None:
    declare(cluster, namespace, admitting(other), changed(BROKER, {"metadata.name": "alone"}))
    with operator(kubeconfig, namespace, "--watch-namespaces", f"{namespace},{other}") as running:
        wait_until(lambda: is_told_of(running, namespace, "alone"), SEEN_S_MAX)
        waiting = f"policy {namespace}/plant: Nobody knows the mqttclients of namespace {other}"
        wait_until(lambda: waiting in running.program.dump(), SEEN_S_MAX)
        assert not is_told_of(running, namespace, "plant")


def admitting(namespace: str) -> Document:
    handed = {
        "namespaces": {"names": [namespace]},
        "topics": ["shared/#"],
        "clientIDPrefix": "other.",
        "usernamePrefix": "other.",
    }
    return changed(BROKER, {"spec.attachments": [handed]})


def make_namespace(cluster: Place, api: Api, name: str, *, home: str) -> None:
    """As people do it, with the Role that the chart makes."""
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    wait_until(lambda: api.call("POST", "/api/v1/namespaces", body).code == 201, GONE_S_MAX)
    rights.grant_in(cluster, name, home)


def delete_namespace(api: Api, name: str) -> None:
    path = f"/api/v1/namespaces/{name}"
    api.call("DELETE", path)
    wait_until(lambda: api.call("GET", path).code == 404, GONE_S_MAX)


def declare(cluster: Place, namespace: str, *documents: Document) -> None:
    kubectl.apply(cluster, [changed(document, {"metadata.namespace": namespace}) for document in documents])


def assert_held_until_its_end_is_told(cluster: Place, api: Api, namespace: str) -> None:
    path = f"{GROUP}/namespaces/{namespace}/mqttbrokers/held"
    wait_until(lambda: "finalizers" in api.call("GET", path).body["metadata"], SEEN_S_MAX, "the framework is at work")
    api.call("DELETE", path)
    wait_until(lambda: api.call("GET", path).code == 404, SEEN_S_MAX, "its end was told")


def is_told_of(running: Operator, namespace: str, broker: str) -> bool:
    stories = {told.story for told in running.told() if told.broker == f"{namespace}/{broker}"}
    return stories == {"broker", "policy"}


def lines_about(running: Operator, namespace: str) -> list[dict[str, str]]:
    return [dict(event) for event in running.events() if event.get("watched") == namespace]


def events_about(running: Operator, namespace: str) -> list[str]:
    return [line["event"].removeprefix("namespace.") for line in lines_about(running, namespace)]


def namespaces(running: Operator) -> dict[str, float]:
    return {state: running.metric(f'stoa_operator_namespaces{{state="{state}"}}') for state in ("served", "forbidden")}
