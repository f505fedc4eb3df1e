"""What Helm itself says of the charts, and what they are to those who look for one."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from support.charts import BROKER, OPERATOR, rendered, value_files, values_of
from support.processes import ROOT

helm_python = pytest.importorskip("helm_python", reason="Helm as a library: ./hack/test installs it")

CHARTS = [OPERATOR, BROKER]
CASES = [pytest.param(chart, file, id=f"{chart.name}-{file.stem}") for chart in CHARTS for file in value_files(chart)]
INFO = 1
GOLDEN = Path(__file__).parent / "golden"

charts = pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)


def about(chart: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((chart / "Chart.yaml").read_text(encoding="utf-8"))
    return loaded


@pytest.mark.parametrize(("chart", "file"), CASES)
def test_helm_finds_nothing_to_complain_about(chart: Path, file: Path) -> None:
    report = helm_python.lint(chart, values_of(file), strict=True, kube_version="v1.36.0")
    assert [message for message in report["messages"] if message["severity"] > INFO] == []


@charts
def test_a_chart_is_of_the_version_of_its_program(chart: Path) -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{about(chart)["version"]}"' in project
    assert about(chart)["appVersion"] == about(chart)["version"]


@charts
def test_what_artifact_hub_is_told_is_true(chart: Path) -> None:
    annotations = {name.partition("/")[2]: yaml.safe_load(text) for name, text in about(chart)["annotations"].items()}
    assert annotations["license"] == "Apache-2.0"
    (image,) = annotations["images"]
    assert image["image"] == f"stoa:{about(chart)['appVersion']}"
    assert annotations["changes"]
    if chart == OPERATOR:
        kinds = {document["kind"] for document in annotations["crdsExamples"]}
        assert kinds == {crd["kind"] for crd in annotations["crds"]}
        names = {each["metadata"]["name"] for each in rendered(OPERATOR).all("CustomResourceDefinition")}
        assert names == {crd["name"] for crd in annotations["crds"]}


@pytest.mark.parametrize("name", ["default", "managed"])
def test_the_objects_of_a_broker_are_those_that_were_looked_at(name: str) -> None:
    """A change of the chart that changes an object shows here. That of the operator shows in manifests/install.yaml."""
    made = rendered(BROKER, values_of(BROKER / "ci" / f"{name}-values.yaml"), name="plant").objects
    hooks = [each for each in made if "helm.sh/hook" not in each["metadata"].get("annotations", {})]
    text = yaml.safe_dump_all(hooks, sort_keys=True)
    assert (GOLDEN / f"stoa-{name}.yaml").read_text(encoding="utf-8") == text
