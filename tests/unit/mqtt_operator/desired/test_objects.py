"""What holds of everything that is made for a broker, whatever the broker looks like."""

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest

from mqtt_api.node_settings import NodeSettings, RedisSettings
from mqtt_operator.desired import kinds, labels, names
from mqtt_operator.desired.inputs import Inputs, ManagedStore, Passwords
from mqtt_operator.desired.labels import Component
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.objects import build, no_longer_wanted, removable_kinds
from mqtt_operator.desired.redis_users import digest
from support.desired_examples import DOCUMENTS, INPUTS, MANAGED, UID, built, example, inputs_for, read_broker

every_broker = pytest.mark.parametrize("name", DOCUMENTS)

# Kubernetes' Pod Security Standards, level restricted.
RESTRICTED_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected"}
STATEFUL_SET_NAME_CHARACTERS_MAX = 52  # what it adds must fit into a label


def of_kind(manifests: list[Manifest], kind: kinds.Kind) -> list[Manifest]:
    return [each for each in manifests if each["kind"] == kind.kind]


def templates(manifests: list[Manifest]) -> Iterator[Manifest]:
    for each in of_kind(manifests, kinds.STATEFUL_SET):
        yield each["spec"]["template"]


def stateful_sets(broker: Any, inputs: Inputs) -> str:
    return json.dumps(of_kind(build(broker, inputs), kinds.STATEFUL_SET), sort_keys=True)


def settings_of(manifests: list[Manifest]) -> NodeSettings:
    (config_map,) = [
        each for each in of_kind(manifests, kinds.CONFIG_MAP) if each["metadata"]["name"].endswith("-settings")
    ]
    (document,) = config_map["data"].values()
    return msgspec.json.decode(document, type=NodeSettings)


@every_broker
def test_equal_brokers_become_equal_objects(name: str) -> None:
    assert built(name) == built(name)


@every_broker
def test_every_object_has_its_owner_its_namespace_and_its_labels(name: str) -> None:
    for each in built(name):
        metadata = each["metadata"]
        assert metadata["namespace"] == "mqtt"
        assert metadata["labels"][labels.BROKER_LABEL] == name
        assert metadata["labels"][labels.MANAGED_BY_LABEL] == "stoa-operator"
        (owner,) = metadata["ownerReferences"]
        assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == (UID, True, True)


@every_broker
def test_no_two_objects_have_one_name(name: str) -> None:
    identities = [(each["kind"], each["metadata"]["name"]) for each in built(name)]
    assert len(set(identities)) == len(identities)


@every_broker
def test_pods_come_after_what_they_need(name: str) -> None:
    manifests = built(name)
    order = [(each["kind"], each["metadata"]["name"]) for each in manifests]
    for kind in (kinds.SERVICE_ACCOUNT, kinds.NETWORK_POLICY, kinds.SECRET):
        for each in of_kind(manifests, kind):
            assert order.index((kind.kind, each["metadata"]["name"])) < order.index(("StatefulSet", name))


@every_broker
def test_every_pod_passes_the_restricted_standard(name: str) -> None:
    for template in templates(built(name)):
        spec = template["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & spec.keys()
        assert {key for volume in spec["volumes"] for key in volume if key != "name"} <= RESTRICTED_VOLUMES | {"secret"}
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert "privileged" not in container["securityContext"]
            assert all("hostPort" not in port for port in container["ports"])


@every_broker
def test_every_pod_has_no_token_and_a_root_file_system_that_is_read_only(name: str) -> None:
    """Beyond the standard: what breaks in can neither ask Kubernetes anything nor leave a file [D11]."""
    for template in templates(built(name)):
        assert template["spec"]["automountServiceAccountToken"] is False
        for container in template["spec"]["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
            assert writable <= {names.RUN_FOLDER, names.DATA_FOLDER, "/data"}
    (account,) = of_kind(built(name), kinds.SERVICE_ACCOUNT)
    assert account["automountServiceAccountToken"] is False


@every_broker
def test_images_are_named_exactly(name: str) -> None:
    for template in templates(built(name)):
        for container in template["spec"]["containers"]:
            assert "@sha256:" in container["image"] or name == "small"  # which names a tag on purpose


@every_broker
def test_secrets_stand_in_secrets_only(name: str) -> None:
    """Neither as they are, nor as a Secret has them, nor as a digest that could be tried against guesses."""
    words = [MANAGED.node.password, MANAGED.operator.password, MANAGED.admin.password]
    words += [MANAGED.private_key.decode(), '{"the": "policy"}', *MANAGED.node.also_accepted]
    forms = [form for word in words for form in (word, digest(word), base64.b64encode(word.encode()).decode())]
    for each in built(name):
        if each["kind"] != "Secret":
            assert not [form for form in forms if form in json.dumps(each)]


def test_nobody_mounts_the_operators_log_in() -> None:
    for template in templates(built("trial")):
        assert names.operator_store_credentials("trial") not in json.dumps(template)


def test_only_the_store_mounts_what_the_store_reads() -> None:
    nodes, store = [json.dumps(each) for each in reversed(list(templates(built("trial"))))]
    assert names.store_server_secret("trial") in store
    assert names.store_server_secret("trial") not in nodes


def test_inputs_do_not_show_what_they_hold() -> None:
    inputs = inputs_for(example("trial"))
    for value in (inputs, inputs.managed, MANAGED.node, inputs_for(example("alone"))):
        for secret in (MANAGED.node.password, MANAGED.private_key.decode(), "policy"):
            assert secret not in repr(value)


@every_broker
def test_selectors_mean_the_pods_of_their_component_and_no_others(name: str) -> None:
    manifests = built(name)
    pods = [template["metadata"]["labels"] for template in templates(manifests)]
    for selected in selectors(manifests):
        meant = [pod[labels.COMPONENT_LABEL] for pod in pods if selected.items() <= pod.items()]
        assert len(meant) == 1, selected
    (nodes,) = [pod for pod in pods if pod[labels.COMPONENT_LABEL] == Component.BROKER]
    wanted = dict(part.split("=") for part in labels.pods_selector(name).split(","))
    assert wanted.items() <= nodes.items()


def selectors(manifests: list[Manifest]) -> Iterator[Mapping[str, str]]:
    for each in manifests:
        spec = each.get("spec", {})
        match each["kind"]:
            case "Service":
                yield spec["selector"]
            case "NetworkPolicy":
                yield spec["podSelector"]["matchLabels"]
            case "StatefulSet":
                yield spec["selector"]["matchLabels"]
                for constraint in spec["template"]["spec"].get("topologySpreadConstraints", ()):
                    yield constraint["labelSelector"]["matchLabels"]
            case "PodDisruptionBudget":
                yield spec["selector"]["matchLabels"]


def test_prometheus_is_led_to_each_node_once() -> None:
    manifests = built("plant")
    (monitor,) = of_kind(manifests, kinds.SERVICE_MONITOR)
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    found = [
        each["metadata"]["name"]
        for each in of_kind(manifests, kinds.SERVICE)
        if wanted <= each["metadata"]["labels"].items()
    ]
    assert found == [names.headless_service("plant")]


@every_broker
def test_every_file_that_a_node_is_told_of_is_in_its_pod(name: str) -> None:
    manifests = built(name)
    (template,) = [
        each for each in templates(manifests) if each["metadata"]["labels"][labels.COMPONENT_LABEL] == "broker"
    ]
    present = set(files(template["spec"]))
    missing = [path for path in told(settings_of(manifests)) if path not in present]
    assert missing == []


def told(settings: NodeSettings) -> Iterator[str]:
    for listener in settings.listeners:
        if listener.tls is not None:
            tls = listener.tls
            yield from (tls.certificate_file, tls.key_file, *tls.client_ca_files, *tls.crl_files)
    if settings.policy_file:
        yield settings.policy_file
    if isinstance(settings.store, RedisSettings):
        yield from (file for file in (settings.store.password_file, settings.store.sentinel_password_file) if file)
        yield from () if settings.store.tls is None else settings.store.tls.ca_files


def files(spec: Manifest) -> Iterator[str]:
    """The files that lie in the pod's volumes."""
    folders = {mount["name"]: mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
    for volume in spec["volumes"]:
        sources = volume.get("projected", {}).get("sources", [volume])
        contents = [content for source in sources for content in source.values() if isinstance(content, dict)]
        for item in (item for content in contents for item in content.get("items", ())):
            yield f"{folders[volume['name']]}/{item['path']}"


@every_broker
def test_a_pod_reads_the_settings_that_are_there(name: str) -> None:
    manifests = built(name)
    (config_map,) = [
        each for each in of_kind(manifests, kinds.CONFIG_MAP) if each["metadata"]["name"] == f"{name}-settings"
    ]
    (template,) = [
        each for each in templates(manifests) if each["metadata"]["labels"][labels.COMPONENT_LABEL] == "broker"
    ]
    (volume,) = [each["configMap"] for each in template["spec"]["volumes"] if each["name"] == "settings"]
    (item,) = volume["items"]
    assert volume["name"] == config_map["metadata"]["name"]
    assert item["key"] in config_map["data"]
    assert template["metadata"]["annotations"][names.CONFIG_HASH_ANNOTATION] in item["key"]


@pytest.mark.parametrize("name", ["trial", "small"])
def test_new_certificates_and_passwords_restart_nothing(name: str) -> None:
    """[D10]"""
    broker = example(name)
    other = ManagedStore(
        image=MANAGED.image,
        node=Passwords(password="new", also_accepted=(digest("nodes-word"),)),
        operator=Passwords(password="new"),
        admin=Passwords(password="new"),
        certificate=b"new",
        private_key=b"new",
        ca=b"new",
    )
    assert stateful_sets(broker, inputs_for(broker, managed=other)) == stateful_sets(broker, inputs_for(broker))


def test_a_new_policy_restarts_nothing() -> None:
    broker = example("alone")
    assert stateful_sets(broker, inputs_for(broker, policy=b"new")) == stateful_sets(broker, inputs_for(broker))


@pytest.mark.parametrize(
    "changes",
    [
        {"mqtt": {"receiveMaximum": 7}},
        {"authorization": {"onRevoke": "Disconnect"}},
        {"authentication": [{"name": "scram", "type": "SCRAM"}]},
        {"rebalance": {"tolerancePercent": 50}},
        {"podDisruptionBudget": {"maxUnavailable": 1}},
        {"services": []},
        {"monitoring": {}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_nodes_take_while_they_run_restarts_nothing(changes: dict[str, Any]) -> None:
    broker, changed = example("plant"), example("plant", **changes)
    assert build(broker, INPUTS) != build(changed, INPUTS)
    assert stateful_sets(changed, INPUTS) == stateful_sets(broker, INPUTS)


def config_hash(name: str, inputs: Inputs = INPUTS, **changes: Any) -> str:
    return word_of(build(example(name, **changes), inputs))


def word_of(manifests: list[Manifest]) -> str:
    word: str = of_kind(manifests, kinds.STATEFUL_SET)[-1]["spec"]["template"]["metadata"]["annotations"][
        names.CONFIG_HASH_ANNOTATION
    ]
    return word


@pytest.mark.parametrize(
    "changes",
    [
        {"image": {"repository": "registry.example.org/other", "tag": "1"}},
        {"podTemplate": {"spec": {"resources": {"limits": {"memory": "3Gi"}}}}},
        {"podTemplate": {"metadata": {"annotations": {"example.org/note": "bye"}}}},
        {"listeners": [{"name": "mqtts", "port": 8884, "tls": {"secretRef": {"name": "other"}}}], "services": []},
        {"sessionStore": {"redis": {"addresses": ["other:6379"]}}},
    ],
    ids=["image", "resources", "annotations", "ports", "store"],
)
def test_what_only_a_new_pod_can_have_changes_the_hash(changes: dict[str, Any]) -> None:
    assert config_hash("plant", **changes) != config_hash("plant")


def test_a_person_who_asks_for_a_restart_changes_the_hash() -> None:
    document = DOCUMENTS["plant"]
    asked = {"mqtt.stoa.dev/restartedAt": "2026-11-24T11:00:00Z"}
    broker = read_broker({**document, "metadata": {"name": "plant", "annotations": asked}})
    assert stateful_sets(broker, INPUTS) != stateful_sets(example("plant"), INPUTS)
    assert word_of(build(broker, INPUTS)) != config_hash("plant")


def test_another_world_changes_the_hash() -> None:
    assert config_hash("plant", msgspec.structs.replace(INPUTS, world="other")) != config_hash("plant")


def test_the_name_of_a_release_and_a_longer_goodbye_do_not_change_the_hash() -> None:
    assert config_hash("plant", msgspec.structs.replace(INPUTS, version="0.2.0")) == config_hash("plant")
    assert config_hash("plant", drain={"connectionsPerSecond": 2000}) == config_hash("plant")


def test_the_image_of_people_s_own_has_no_version_that_we_know() -> None:
    (template,) = templates(built("guarded"))
    assert labels.VERSION_LABEL not in template["metadata"]["labels"]


def test_the_number_of_nodes_is_that_of_now_on_the_way_to_the_declared_one() -> None:
    broker = example("plant")
    for inputs, expected in ((INPUTS, 3), (msgspec.structs.replace(INPUTS, replicas=5), 5)):
        (nodes,) = of_kind(build(broker, inputs), kinds.STATEFUL_SET)
        assert nodes["spec"]["replicas"] == expected


@pytest.mark.parametrize("name", ["trial", "alone"])
def test_the_longest_name_of_a_broker_leaves_room(name: str) -> None:
    document = {**DOCUMENTS[name], "metadata": {"name": "b" * 40}}
    broker = read_broker(document)
    for each in build(broker, inputs_for(broker)):
        bound = STATEFUL_SET_NAME_CHARACTERS_MAX if each["kind"] == "StatefulSet" else 63
        assert len(each["metadata"]["name"]) <= bound


def test_kinds_that_the_api_server_does_not_know_are_not_made() -> None:
    broker = example("plant")
    inputs = msgspec.structs.replace(
        INPUTS, has_cert_manager=False, has_service_monitors=False, has_prometheus_rules=False
    )
    foreign = {kinds.CERTIFICATE, kinds.SERVICE_MONITOR, kinds.PROMETHEUS_RULE}
    assert not {kind.kind for kind in foreign} & {each["kind"] for each in build(broker, inputs)}
    assert not foreign & set(removable_kinds(inputs))
    assert foreign <= set(removable_kinds(INPUTS))


# What is no longer wanted ---------------------------------------------------------------------------------------------


def leftovers(name: str, found: list[Manifest], **changes: Any) -> list[str]:
    broker = example(name, **changes)
    left = no_longer_wanted(broker, build(broker, inputs_for(broker)), found)
    return [f"{each['kind']}/{each['metadata']['name']}" for each in left]


def test_nothing_is_left_over_of_a_broker_as_it_is() -> None:
    assert leftovers("plant", built("plant")) == []


def test_what_a_changed_broker_does_not_want_any_more_is_left_over() -> None:
    changes: dict[str, Any] = {"services": [], "monitoring": {}, "autoscaling": None}
    changes |= {"listeners": [{"name": "mqtt", "port": 1883, "allowPlaintext": True}]}
    assert leftovers("plant", built("plant"), **changes) == [
        "ConfigMap/plant-client-cas",
        "Service/plant-public",
        "Service/plant-ports",
        "Certificate/plant-mqtts-tls",
        "Certificate/plant-wss-tls",
        "HorizontalPodAutoscaler/plant",
        "ServiceMonitor/plant",
        "PrometheusRule/plant",
        "ConfigMap/plant-dashboard-broker",
    ]


def secret_of_cert_manager(name: str) -> Manifest:
    annotations = {"cert-manager.io/certificate-name": name}
    return {"kind": "Secret", "metadata": {"name": name, "annotations": annotations}}


def test_a_certificate_that_is_served_is_kept_and_that_of_a_former_listener_is_left_over() -> None:
    found = [secret_of_cert_manager(f"plant-{listener}-tls") for listener in ("mqtts", "wss", "former")]
    assert leftovers("plant", found) == ["Secret/plant-former-tls"]


def test_what_only_looks_like_ours_is_never_left_over() -> None:
    """Labels can be written by anybody [threat 81]."""
    foreign_owner = [{"uid": "another", "controller": True}]
    found = [
        {"kind": "Secret", "metadata": {"name": "people-s-own"}},
        {"kind": "ConfigMap", "metadata": {"name": "another-broker-s", "ownerReferences": foreign_owner}},
        {**secret_of_cert_manager("plant-x-tls"), "kind": "ConfigMap"},
        {"kind": "Secret", "metadata": {"name": "mine", "annotations": {"cert-manager.io/certificate-name": "mine"}}},
    ]
    assert leftovers("plant", found) == []
