"""Values: each one explained, in the table and in the schema, and whatever is misspelt or mistaken is refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.charts import BROKER, OPERATOR, HelmError, Manifest, rendered, value_files, values_of

CHARTS = [OPERATOR, BROKER]
TLS: Manifest = {"tls": {"issuerRef": {"name": "ca"}}}

from hack import chart_values  # noqa: E402 - support.charts has put the root on the path


def leaves(values: Manifest, schema: Manifest, path: str = "") -> Iterator[str]:
    """Every key that is somebody's to set: down to where the schema leaves the rest to Kubernetes."""
    for key, value in values.items():
        place = f"{path}.{key}".lstrip(".")
        inner = schema["properties"][key]
        if isinstance(value, dict) and value and "properties" in inner:
            yield from leaves(value, inner, place)
        else:
            yield place


def schema_of(chart: Path) -> Manifest:
    loaded: Manifest = json.loads((chart / "values.schema.json").read_text(encoding="utf-8"))
    return loaded


def objects_in(schema: Any) -> Iterator[Manifest]:
    if isinstance(schema, dict):
        if "properties" in schema and schema.get("additionalProperties") is not None:
            yield schema
        for value in schema.values():
            yield from objects_in(value)


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_every_value_is_explained_in_the_table_and_in_the_schema(chart: Path) -> None:
    values, schema = yaml.safe_load((chart / "values.yaml").read_text(encoding="utf-8")), schema_of(chart)
    readme = (chart / "README.md").read_text(encoding="utf-8")
    explained = {value.key: value for value in chart_values.explained(chart)}
    for key in leaves(values, schema):
        assert any(key == name or key.startswith(f"{name}.") for name in explained), key
    for key, value in explained.items():
        assert f"| `{key}` | `{value.default}` | {value.text} |" in readme
        assert value.text.endswith("."), key


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_the_schema_is_strict(chart: Path) -> None:
    schema = schema_of(chart)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(yaml.safe_load((chart / "values.yaml").read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "file", [*value_files(OPERATOR), *value_files(BROKER)], ids=lambda f: f"{f.parts[-3]}-{f.stem}"
)
def test_the_values_that_ci_installs_say_what_they_are_for_and_render(file: Path) -> None:
    assert file.read_text(encoding="utf-8").startswith("# ")
    assert rendered(file.parents[1], values_of(file)).objects


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"replicas": 3}, "additional properties 'replicas' not allowed"),
        ({"image": {"name": "x"}}, "at '/image': additional properties 'name' not allowed"),
        ({"image": {"digest": "sha256:short"}}, "/image/digest"),
        ({"image": {"pullPolicy": "always"}}, "/image/pullPolicy"),
        ({"replicaCount": "2"}, "/replicaCount"),
        ({"watchNamespaces": ["Upper"]}, "/watchNamespaces/0"),
        ({"logging": {"level": "verbose"}}, "/logging/level"),
        ({"metrics": {"serviceMonitor": {"interval": "often"}}}, "/metrics/serviceMonitor/interval"),
        ({"networkPolicy": {"storePorts": [70_000]}}, "/networkPolicy/storePorts/0"),
    ],
)
def test_the_operators_chart_refuses_what_is_misspelt_or_mistaken(values: Manifest, place: str) -> None:
    with pytest.raises(HelmError, match=place):
        rendered(OPERATOR, values)


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"listener": []}, "additional properties 'listener' not allowed"),
        ({"store": {"type": "redis"}}, "/store/type"),
        ({"replicas": 0}, "/replicas"),
        ({"listeners": []}, "/listeners"),
        ({"listeners": [{"name": "mqtts"}]}, "missing property 'port'"),
        ({"clients": {"Pump": {}}}, "invalid propertyName 'Pump'"),
        ({"clients": {"pump": {"brokerRef": {"name": "other"}}}}, "/clients/pump/brokerRef"),
        ({"permissions": {"p": {"subjects": []}}}, "missing property 'rules'"),
        ({"tls": {"issuerRef": {"nmae": "x"}}}, "/tls/issuerRef"),
        ({"store": {"durability": {"level": "Tape"}}}, "/store/durability/level"),
        ({"store": {"redis": {"adresses": ["redis:6379"]}}}, "'adresses' not allowed"),
        ({"spec": {"replica": 3}}, "at '/spec': additional properties 'replica' not allowed"),
        ({"spec": {"mqtt": {"maxPacketSize": True}}}, "/spec/mqtt/maxPacketSize"),
        ({"listeners": [{"name": "mqtts", "port": 8883, "tsl": {}}]}, "'tsl' not allowed"),
        ({"services": [{"name": "outside", "typ": "LoadBalancer"}]}, "'typ' not allowed"),
        ({"authentication": [{"name": "passwords", "type": "Pasword"}]}, "/authentication/0/type"),
        ({"clients": {"pump": {"credential": {}}}}, "'credential' not allowed"),
        ({"permissions": {"p": {"subjects": [{"all": {}}], "rules": [{"topic": "t"}]}}}, "/permissions/p/rules/0"),
    ],
)
def test_the_brokers_chart_refuses_what_is_misspelt_or_mistaken(values: Manifest, place: str) -> None:
    with pytest.raises(HelmError, match=place):
        rendered(BROKER, {**TLS, **values})


def test_a_comment_explains_the_key_below_it(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text(
        "# About the file.\na:\n  # -- First,\n  # and more.\n  b: 1\n  c: {}\n# -- Last.\nd: [x]\n", encoding="utf-8"
    )
    assert chart_values.explained(tmp_path) == [
        chart_values.Value("a.b", "1", "First, and more."),
        chart_values.Value("d", '["x"]', "Last."),
    ]
