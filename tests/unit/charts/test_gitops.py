"""The examples for Argo CD and Flux: what they point to exists, and what they wait for is made."""

from typing import Any

import pytest
import yaml

from support.charts import BROKER, OPERATOR, HelmError, identity, rendered
from support.processes import ROOT

GITOPS = ROOT / "manifests" / "gitops"
WAVE = "argocd.argoproj.io/sync-wave"


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((GITOPS / name).read_text(encoding="utf-8")))


@pytest.mark.parametrize("application", documents("argocd/application.yaml"), ids=lambda each: each["metadata"]["name"])
def test_an_application_renders_its_chart_with_waves_in_order(application: dict[str, Any]) -> None:
    source = application["spec"]["source"]
    chart = ROOT / source["path"]
    try:
        made = rendered(chart, source["helm"]["valuesObject"])
    except HelmError as problem:
        pytest.fail(str(problem))
    waves = {
        each["kind"]: int(each["metadata"]["annotations"][WAVE])
        for each in made.objects
        if WAVE in each["metadata"].get("annotations", {})
    }
    expected = {"CustomResourceDefinition": -5, "Deployment": 0}
    if chart == BROKER:
        expected = {"MQTTBroker": 5, "MQTTClient": 10, "TopicPermission": 10}
    assert waves == expected
    assert "ServerSideApply=true" in application["spec"]["syncPolicy"]["syncOptions"]


def test_flux_installs_the_chart_of_the_tree() -> None:
    source, release = documents("flux/operator.yaml")
    spec = release["spec"]["chart"]["spec"]
    assert ROOT / spec["chart"] == OPERATOR
    assert spec["sourceRef"] == {"kind": source["kind"], "name": source["metadata"]["name"]}
    assert rendered(OPERATOR, release["spec"]["values"]).all("Deployment")


def test_flux_waits_for_objects_that_its_folder_makes() -> None:
    (kustomization,) = documents("flux/broker.yaml")
    folder = ROOT / kustomization["spec"]["path"]
    made = [
        document
        for file in sorted(folder.glob("*.yaml"))
        for document in yaml.safe_load_all(file.read_text(encoding="utf-8"))
    ]
    names = {identity(each)[::2] for each in made}
    for check in kustomization["spec"]["healthChecks"]:
        assert (check["kind"], check["name"]) in names
        assert check["namespace"] == kustomization["spec"]["targetNamespace"]
