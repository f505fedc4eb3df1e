"""manifests/ and the generated parts of the charts: current, complete, and what people apply."""

from typing import Any

import yaml

from support.charts import OPERATOR, identity, rendered
from support.processes import ROOT

from hack import gen_manifests  # isort: skip - support.charts has put the root on the path

MANIFESTS = ROOT / "manifests"


def documents(name: str) -> list[dict[str, Any]]:
    text = (MANIFESTS / name).read_text(encoding="utf-8")
    return [document for document in yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if document]


def test_every_generated_file_is_current() -> None:
    """Else: `make gen`."""
    rendered(OPERATOR)  # skips where Helm is not
    assert gen_manifests.main(["--check"]) == 0


def test_install_yaml_is_the_chart_without_helm() -> None:
    namespace, *others = documents("install.yaml")
    assert identity(namespace) == ("Namespace", "", "stoa-system")
    values = {"crds": {"keep": False}, "tests": {"enabled": False}}
    assert sorted("/".join(identity(each)) for each in others) == rendered(OPERATOR, values).names
    text = (MANIFESTS / "install.yaml").read_text(encoding="utf-8")
    assert "helm" not in text.lower()


def test_definitions_come_first_in_install_yaml() -> None:
    kinds = [document["kind"] for document in documents("install.yaml")[1:]]
    definitions = kinds.count("CustomResourceDefinition")
    assert definitions == 3
    assert set(kinds[:definitions]) == {"CustomResourceDefinition"}


def test_crds_yaml_holds_the_definitions_and_nothing_else() -> None:
    assert [document["metadata"]["name"] for document in documents("crds.yaml")] == [
        "mqttbrokers.mqtt.stoa.dev",
        "mqttclients.mqtt.stoa.dev",
        "topicpermissions.mqtt.stoa.dev",
    ]
