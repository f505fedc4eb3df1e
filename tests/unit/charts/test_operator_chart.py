"""The chart of the operator: what it makes of its values, and what it refuses."""

import re
from typing import Any, ClassVar

import pytest
import yaml

from mqtt_operator.settings import read_settings
from support.charts import BROKER, OPERATOR, HelmError, Manifest, identity, rendered, value_files, values_of
from support.processes import ROOT

MONITORING = "monitoring.coreos.com/v1"
EVERYTHING = values_of(OPERATOR / "ci" / "everything-values.yaml")


def operator(values: Manifest | None = None, **about: Any) -> Manifest:
    """The container."""
    (container,) = rendered(OPERATOR, values, **about).one("Deployment")["spec"]["template"]["spec"]["containers"]
    return dict(container)


def rules(role: Manifest) -> list[tuple[str, str, str]]:
    """Every right of a role: verb, group, resource."""
    return [
        (verb, group, resource)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


def test_the_defaults_make_these_objects() -> None:
    assert [name for name in rendered(OPERATOR).names if not name.startswith("CustomResourceDefinition")] == [
        "ClusterRole//stoa-operator-stoa-system-admin",
        "ClusterRole//stoa-operator-stoa-system-cluster",
        "ClusterRole//stoa-operator-stoa-system-edit",
        "ClusterRole//stoa-operator-stoa-system-view",
        "ClusterRoleBinding//stoa-operator-stoa-system-cluster",
        "Deployment/stoa-system/stoa-operator",
        "NetworkPolicy/stoa-system/stoa-operator",
        "Pod/stoa-system/stoa-operator-test",
        "Role/stoa-system/stoa-operator",
        "Role/stoa-system/stoa-operator-lease",
        "RoleBinding/stoa-system/stoa-operator",
        "RoleBinding/stoa-system/stoa-operator-lease",
        "Service/stoa-system/stoa-operator",
        "ServiceAccount/stoa-system/stoa-operator",
    ]


@pytest.mark.parametrize("file", value_files(OPERATOR), ids=lambda file: file.stem)
def test_every_object_has_the_common_labels_and_a_name_of_its_own(file: Any) -> None:
    made = rendered(OPERATOR, values_of(file), api_versions=[MONITORING])
    assert len(made.names) == len(set(made.names))
    for each in made.objects:
        if each["metadata"]["name"] in ("stoa-operator-one", "stoa-operator-two"):
            continue
        labels = each["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "stoa-operator", identity(each)
        assert labels["app.kubernetes.io/instance"] == "stoa-operator"
        assert labels["app.kubernetes.io/component"] in ("operator", "test")
        for workload in ("Deployment",):
            if each["kind"] == workload:
                assert each["spec"]["selector"]["matchLabels"].keys() == {
                    "app.kubernetes.io/name",
                    "app.kubernetes.io/instance",
                    "app.kubernetes.io/component",
                }


@pytest.mark.parametrize("file", value_files(OPERATOR), ids=lambda file: file.stem)
def test_pods_keep_to_the_restricted_standard_and_a_read_only_root(file: Any) -> None:
    made = rendered(OPERATOR, values_of(file))
    pods = [made.one("Deployment")["spec"]["template"]["spec"], *(pod["spec"] for pod in made.all("Pod"))]
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 65532
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_passwords_in_use_lie_in_memory_in_the_one_place_that_can_be_written() -> None:
    pod = rendered(OPERATOR).one("Deployment")["spec"]["template"]["spec"]
    assert operator()["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
    assert pod["volumes"] == [{"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}}]


class TestImages:
    @pytest.mark.parametrize(
        ("values", "image"),
        [
            ({}, "stoa:0.1.0"),
            ({"image": {"tag": "dev"}}, "stoa:dev"),
            ({"image": {"registry": "r.example.org", "repository": "a/b"}}, "r.example.org/a/b:0.1.0"),
            ({"global": {"imageRegistry": "all"}, "image": {"registry": "r"}}, "all/stoa:0.1.0"),
            ({"image": {"tag": "dev", "digest": "sha256:" + "0" * 64}}, "stoa@sha256:" + "0" * 64),
        ],
    )
    def test_an_image_is_named_by_registry_repository_and_digest_or_tag(self, values: Manifest, image: str) -> None:
        container = operator(values)
        assert container["image"] == image
        assert f"--broker-image={image}" in container["args"], "nodes run the same image"

    def test_the_image_of_stores_is_moved_by_the_same_registry(self) -> None:
        (argument,) = [a for a in operator(EVERYTHING)["args"] if a.startswith("--store-image=")]
        assert argument == "--store-image=registry.example.org/redis:7.2-bookworm"

    def test_pull_secrets_and_policy_reach_the_operator_for_its_nodes(self) -> None:
        made = rendered(OPERATOR, EVERYTHING).one("Deployment")["spec"]["template"]["spec"]
        assert made["imagePullSecrets"] == [{"name": "registry"}]
        (container,) = made["containers"]
        assert container["imagePullPolicy"] == "Always"
        assert {"--image-pull-policy=Always", "--image-pull-secrets=registry"} <= set(container["args"])
        repositories = "--allowed-image-repositories=registry.example.org/stoa,registry.example.org/test"
        assert repositories in container["args"]


class TestRights:
    def test_by_default_the_operator_has_rights_in_its_own_namespace_only(self) -> None:
        made = rendered(OPERATOR)
        assert "--watch-namespaces=stoa-system" in operator()["args"]
        assert {role["metadata"]["namespace"] for role in made.all("Role")} == {"stoa-system"}
        cluster = rules(made.one("ClusterRole", "stoa-operator-stoa-system-cluster"))
        assert {verb for verb, _, _ in cluster} <= {"get", "list", "watch"}

    def test_every_watched_namespace_gets_its_role_and_binding(self) -> None:
        made = rendered(OPERATOR, {"watchNamespaces": ["a", "b"]})
        assert "--watch-namespaces=a,b" in operator({"watchNamespaces": ["a", "b"]})["args"]
        for namespace in ("a", "b"):
            assert f"Role/{namespace}/stoa-operator" in made.names
            assert f"RoleBinding/{namespace}/stoa-operator" in made.names
        assert "Role/stoa-system/stoa-operator" not in made.names
        for binding in made.all("RoleBinding"):
            (subject,) = binding["subjects"]
            assert subject == {"kind": "ServiceAccount", "name": "stoa-operator", "namespace": "stoa-system"}

    @pytest.mark.parametrize("file", value_files(OPERATOR), ids=lambda file: file.stem)
    def test_no_role_for_the_whole_cluster_reaches_a_secret(self, file: Any) -> None:
        made = rendered(OPERATOR, values_of(file))
        bound = {binding["roleRef"]["name"] for binding in made.all("ClusterRoleBinding")}
        for role in made.all("ClusterRole"):
            reaches = any(resource == "secrets" for _, _, resource in rules(role))
            assert not (reaches and role["metadata"]["name"] in bound), role["metadata"]["name"]

    def test_cluster_wide_secrets_are_bound_in_named_namespaces(self) -> None:
        made = rendered(OPERATOR, {"clusterWide": True, "watchNamespaces": ["a"]})
        assert "--cluster-wide" in operator({"clusterWide": True})["args"]
        bindings = [b for b in made.all("RoleBinding") if b["roleRef"]["name"] == "stoa-operator-stoa-system-secrets"]
        assert {binding["metadata"]["namespace"] for binding in bindings} == {"a", "stoa-system"}
        assert {binding["roleRef"]["kind"] for binding in bindings} == {"ClusterRole"}

    @pytest.mark.parametrize("file", value_files(OPERATOR), ids=lambda file: file.stem)
    def test_no_right_is_a_wildcard_or_leads_to_others(self, file: Any) -> None:
        made = rendered(OPERATOR, values_of(file))
        for role in [*made.all("Role"), *made.all("ClusterRole")]:
            for verb, group, resource in rules(role):
                assert "*" not in (verb, group, resource)
                assert verb not in ("escalate", "bind", "impersonate")
                assert resource not in ("pods/exec", "pods/attach", "serviceaccounts/token")

    def test_edit_grants_no_topics(self) -> None:
        """Each of the three kinds can: a permission, a client by its groups, a broker by its defaults."""
        made = rendered(OPERATOR)
        edit = made.one("ClusterRole", "stoa-operator-stoa-system-edit")
        assert edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
        assert {resource for _, _, resource in rules(edit)} == {"mqttbrokers/scale"}
        view = made.one("ClusterRole", "stoa-operator-stoa-system-view")
        assert {verb for verb, _, _ in rules(view)} == {"get", "list", "watch"}

    def test_without_cluster_rights_nothing_is_made_beyond_namespaces(self) -> None:
        made = rendered(OPERATOR, values_of(OPERATOR / "ci" / "no-cluster-admin-values.yaml"))
        assert all(each["metadata"].get("namespace") for each in made.objects)
        assert "kubectl apply --server-side -f manifests/crds.yaml" in made.notes

    def test_cluster_wide_without_cluster_roles_is_refused(self) -> None:
        with pytest.raises(HelmError, match=r"clusterWide needs rbac\.clusterRoles"):
            rendered(OPERATOR, {"clusterWide": True, "rbac": {"clusterRoles": False}})

    def test_roles_of_somebody_else_are_left_to_them(self) -> None:
        made = rendered(OPERATOR, {"rbac": {"create": False}, "serviceAccount": {"create": False, "name": "mine"}})
        assert not made.all("Role")
        assert not made.all("RoleBinding")
        assert not made.all("ServiceAccount")
        assert made.one("Deployment")["spec"]["template"]["spec"]["serviceAccountName"] == "mine"

    def test_two_operators_in_one_cluster_share_no_name_outside_of_namespaces(self) -> None:
        values = {"crds": {"enabled": False}}
        one, other = (rendered(OPERATOR, values, namespace=namespace) for namespace in ("a", "b"))
        for first in one.objects:
            assert identity(first) not in map(identity, other.objects)


class TestDefinitions:
    def test_definitions_are_those_of_the_tree_and_are_kept(self) -> None:
        made = {each["metadata"]["name"]: each for each in rendered(OPERATOR).all("CustomResourceDefinition")}
        sources = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "crds").glob("*.yaml"))]
        assert made.keys() == {source["metadata"]["name"] for source in sources}
        for source in sources:
            definition = made[source["metadata"]["name"]]
            assert definition["spec"] == source["spec"]
            assert definition["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}

    def test_definitions_go_with_the_release_if_that_is_wanted_and_the_notes_warn(self) -> None:
        made = rendered(OPERATOR, {"crds": {"keep": False}})
        assert all("annotations" not in each["metadata"] for each in made.all("CustomResourceDefinition"))
        assert "WARNING: crds.keep is false" in made.notes

    def test_somebody_else_may_install_them(self) -> None:
        assert not rendered(OPERATOR, {"crds": {"enabled": False}}).all("CustomResourceDefinition")

    def test_argo_cd_makes_them_first(self) -> None:
        made = rendered(OPERATOR, {"argocd": {"syncWaves": True}})
        wave = "argocd.argoproj.io/sync-wave"
        waves = {each["metadata"]["annotations"][wave] for each in made.all("CustomResourceDefinition")}
        assert waves == {"-5"}
        assert made.one("Deployment")["metadata"]["annotations"][wave] == "0"


class TestMonitoring:
    VALUES: ClassVar[Manifest] = {
        "metrics": {
            "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}, "interval": "15s"},
            "prometheusRule": {"enabled": True},
            "dashboards": {"enabled": True},
        }
    }

    def test_kinds_that_the_cluster_does_not_know_are_left_out_and_the_notes_say_so(self) -> None:
        made = rendered(OPERATOR, self.VALUES)
        assert not made.all("ServiceMonitor")
        assert not made.all("PrometheusRule")
        assert "does not know monitoring.coreos.com/v1" in made.notes

    def test_a_service_monitor_finds_the_service(self) -> None:
        made = rendered(OPERATOR, self.VALUES, api_versions=[MONITORING])
        monitor, service = made.one("ServiceMonitor"), made.one("Service")
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert monitor["spec"]["endpoints"] == [{"port": "http-metrics", "interval": "15s"}]
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        assert "does not know" not in made.notes

    def test_the_rule_holds_the_alerts_about_the_operator(self) -> None:
        made = rendered(OPERATOR, self.VALUES, api_versions=[MONITORING])
        alerts = [rule["alert"] for group in made.one("PrometheusRule")["spec"]["groups"] for rule in group["rules"]]
        folder = ROOT / "operator" / "mqtt_operator" / "observability" / "alerts" / "operator"
        assert sorted(alerts) == sorted(file.stem for file in folder.glob("*.yaml"))

    def test_dashboards_come_as_config_maps_that_grafana_finds(self) -> None:
        boards = rendered(OPERATOR, self.VALUES).all("ConfigMap")
        assert {board["metadata"]["name"].rpartition("-")[2] for board in boards} == {"broker", "security", "operator"}
        for board in boards:
            assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
            assert board["metadata"]["annotations"] == {"grafana_folder": "MQTT"}
            ((key, text),) = board["data"].items()
            assert yaml.safe_load(text)["uid"] == key.removesuffix(".json")

    def test_health_scripts_are_there_for_all_three_kinds(self) -> None:
        made = rendered(OPERATOR, EVERYTHING).one("ConfigMap", "stoa-operator-argocd-health")
        script = (ROOT / "manifests" / "gitops" / "argocd" / "health.lua").read_text(encoding="utf-8")
        assert {key.rpartition("_")[2] for key in made["data"]} == {"MQTTBroker", "MQTTClient", "TopicPermission"}
        assert {text.strip() for text in made["data"].values()} == {script.strip()}


class TestPods:
    @pytest.mark.parametrize("file", value_files(OPERATOR), ids=lambda file: file.stem)
    def test_the_program_understands_its_arguments(self, file: Any) -> None:
        settings = read_settings(operator(values_of(file))["args"], {"POD_NAMESPACE": "stoa-system"})
        values = values_of(file)
        assert settings.is_cluster_wide is values.get("clusterWide", False)
        assert settings.metrics_port == 8081
        assert settings.leader_election is values.get("leaderElection", {}).get("enabled", True)

    def test_more_than_one_pod_needs_an_election(self) -> None:
        with pytest.raises(HelmError, match=r"needs leaderElection\.enabled"):
            rendered(OPERATOR, {"replicaCount": 2, "leaderElection": {"enabled": False}})

    def test_everything_extra_reaches_the_pod(self) -> None:
        made = rendered(OPERATOR, EVERYTHING)
        template = made.one("Deployment")["spec"]["template"]
        (container,) = template["spec"]["containers"]
        assert container["args"][-1] == "--log-level=debug"
        assert container["env"][-1]["name"] == "HTTPS_PROXY"
        assert container["envFrom"] == EVERYTHING["extraEnvFrom"]
        assert container["volumeMounts"][-1] == EVERYTHING["extraVolumeMounts"][0]
        assert template["spec"]["volumes"][-1] == EVERYTHING["extraVolumes"][0]
        assert template["metadata"]["annotations"].items() >= EVERYTHING["podAnnotations"].items()
        assert template["metadata"]["labels"].items() >= EVERYTHING["podLabels"].items()
        for key in ("nodeSelector", "tolerations", "affinity"):
            assert template["spec"][key] == EVERYTHING[key]
        assert {"stoa-operator-one", "stoa-operator-two"} <= {each["metadata"]["name"] for each in made.objects}

    def test_a_network_policy_says_who_reads_metrics_and_where_the_operator_connects(self) -> None:
        values = values_of(OPERATOR / "ci" / "cluster-wide-values.yaml")
        policy = rendered(OPERATOR, values).one("NetworkPolicy")["spec"]
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        assert policy["ingress"] == [
            {"ports": [{"port": "http-metrics", "protocol": "TCP"}], "from": values["networkPolicy"]["metricsPeers"]}
        ]
        assert {each["port"] for rule in policy["egress"] for each in rule["ports"]} == {
            53,
            443,
            6443,
            6379,
            26379,
            8081,
        }

    def test_notes_warn_of_an_open_operator(self) -> None:
        made = rendered(OPERATOR, {"networkPolicy": {"enabled": False}})
        assert not made.all("NetworkPolicy")
        assert "WARNING: networkPolicy.enabled is false" in made.notes


class TestNames:
    @pytest.mark.parametrize(
        ("release", "values", "name"),
        [
            ("stoa-operator", {}, "stoa-operator"),
            ("mine", {}, "mine-stoa-operator"),
            ("mine", {"nameOverride": "mqtt"}, "mine-mqtt"),
            ("mine", {"fullnameOverride": "mqtt"}, "mqtt"),
            ("r" * 53, {}, "r" * 43),
        ],
    )
    def test_objects_are_named_after_the_release(self, release: str, values: Manifest, name: str) -> None:
        assert rendered(OPERATOR, values, name=release).one("Deployment")["metadata"]["name"] == name

    def test_no_name_is_longer_than_kubernetes_takes(self) -> None:
        values = {"metrics": {"dashboards": {"enabled": True}}}
        for each in rendered(OPERATOR, values, name="r" * 53).objects:
            assert len(each["metadata"]["name"]) <= 63, identity(each)


def test_kubernetes_older_than_1_32_is_refused() -> None:
    for chart in (OPERATOR, BROKER):
        floor = yaml.safe_load((chart / "Chart.yaml").read_text(encoding="utf-8"))["kubeVersion"]
        assert re.fullmatch(r">=1\.32\.0-0", floor)
