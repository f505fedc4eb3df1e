"""What people may say about pods reaches them, and what they leave out has a sensible answer."""

from typing import Any

import msgspec
import pytest

from mqtt_operator.desired.image import is_allowed
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.objects import build
from support.desired_examples import INPUTS, example, inputs_for


def pod_of(name: str, pull_secrets: tuple[str, ...] = (), **changes: Any) -> Manifest:
    broker = example(name, **changes)
    manifests = build(broker, msgspec.structs.replace(inputs_for(broker), pull_secrets=pull_secrets))
    (nodes,) = [each for each in manifests if each["kind"] == "StatefulSet" and each["metadata"]["name"] == name]
    template: Manifest = nodes["spec"]["template"]
    return template


def test_pods_are_spread_over_zones_and_machines_as_a_wish() -> None:
    constraints = pod_of("trial")["spec"]["topologySpreadConstraints"]
    assert [(each["topologyKey"], each["whenUnsatisfiable"]) for each in constraints] == [
        ("topology.kubernetes.io/zone", "ScheduleAnyway"),
        ("kubernetes.io/hostname", "ScheduleAnyway"),
    ]


def test_constraints_of_people_s_own_replace_the_usual_ones() -> None:
    (constraint,) = pod_of("plant")["spec"]["topologySpreadConstraints"]
    assert (constraint["maxSkew"], constraint["minDomains"]) == (2, 2)
    assert constraint["labelSelector"]["matchLabels"]["app.kubernetes.io/instance"] == "plant"


def test_a_constraint_may_count_other_pods() -> None:
    other = {"labelSelector": {"matchLabels": {"app": "other"}}}
    wanted = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", **other}
    (constraint,) = pod_of("plant", podTemplate={"spec": {"topologySpreadConstraints": [wanted]}})["spec"][
        "topologySpreadConstraints"
    ]
    assert constraint == wanted


def test_placement_arrives_as_it_is_written() -> None:
    spec = pod_of("plant", podTemplate={"spec": {"priorityClassName": "high", "nodeSelector": {"disk": "fast"}}})[
        "spec"
    ]
    assert (spec["priorityClassName"], spec["nodeSelector"]) == ("high", {"disk": "fast"})
    assert pod_of("plant")["spec"]["tolerations"] == [{"key": "dedicated", "value": "mqtt", "effect": "NoSchedule"}]
    affinity = pod_of("plant")["spec"]["affinity"]["podAntiAffinity"]
    assert affinity["preferredDuringSchedulingIgnoredDuringExecution"][0]["weight"] == 1


def test_resources_are_the_declared_ones_or_enough_to_begin_with() -> None:
    def resources(name: str) -> Manifest:
        found: Manifest = pod_of(name)["spec"]["containers"][0]["resources"]
        return found

    assert resources("plant") == {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"memory": "2Gi"}}
    assert resources("trial")["requests"]["cpu"] == "250m"
    assert "cpu" not in resources("trial")["limits"]


def test_labels_and_annotations_of_people_s_own_stand_beside_ours() -> None:
    metadata = pod_of("plant")["metadata"]
    assert metadata["labels"]["cost-center"] == "7"
    assert metadata["annotations"]["example.org/note"] == "hello"
    assert metadata["annotations"]["mqtt.stoa.dev/restartedAt"] == "2026-11-23T11:00:00Z"


def test_images_are_fetched_with_the_brokers_secrets_and_the_operators() -> None:
    def pull_secrets(*operators: str) -> list[str]:
        return [each["name"] for each in pod_of("guarded", operators)["spec"]["imagePullSecrets"]]

    assert pull_secrets("registry", "mirror") == ["registry", "mirror"]
    assert pull_secrets() == ["registry"]
    assert "imagePullSecrets" not in pod_of("plant")["spec"]


def test_the_image_is_the_releases_or_the_declared_one() -> None:
    assert pod_of("plant")["spec"]["containers"][0]["image"] == INPUTS.image
    assert pod_of("guarded")["spec"]["containers"][0]["image"] == "registry.example.org/stoa/broker@sha256:" + "1" * 64


@pytest.mark.parametrize(
    ("repository", "is_fine"),
    [
        ("registry.example.org/stoa/broker", True),
        ("registry.example.org/stoa/broker/other", False),
        ("registry.example.org/stoa/brokers", False),
        ("mirror.example.org/any/thing", True),
        ("mirror.example.org", False),
        ("mirror.example.org.evil.example/any", False),
    ],
)
def test_only_repositories_that_the_operator_allows(repository: str, is_fine: bool) -> None:
    allowed = ["registry.example.org/stoa/broker", "mirror.example.org/"]
    assert is_allowed(repository, allowed) is is_fine
    assert not is_allowed(repository, [])


def test_a_volume_ends_with_its_broker_only_if_that_is_wanted() -> None:
    for name, policy in (("alone", "Delete"), ("trial", "Retain")):
        broker = example(name)
        stores = [each for each in build(broker, inputs_for(broker)) if "volumeClaimTemplates" in each.get("spec", {})]
        (store,) = stores
        assert store["spec"]["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": policy, "whenScaled": "Retain"}
