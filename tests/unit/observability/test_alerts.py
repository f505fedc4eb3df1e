"""Every alert: valid, explained on a page, about metrics that exist, and fires when it should and not else."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from mqtt_operator.observability import rules
from support.processes import ROOT
from support.tools import require

TESTS = Path(__file__).parent / "alerts"
RUNBOOKS = ROOT / "docs" / "runbooks"
SOURCES = {name: (about, text) for about in ("broker", "operator") for name, text in rules.alert_files(about).items()}
RULES = [
    pytest.param(about, name, rule, id=f"{name}-{rule['labels']['severity']}")
    for name, (about, text) in SOURCES.items()
    for group in yaml.safe_load(text)["groups"]
    for rule in group["rules"]
]


def listed_metrics() -> set[str]:
    """Those that the pages list, which are held to what a node and an operator answer."""
    pages = [(ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("metrics.md", "alerts.md")]
    names = {name for page in pages for name in re.findall(r"^\| `((?:stoa|process)_\w+)` \|", page, re.MULTILINE)}
    return names | {f"{name}_{part}" for name in names for part in ("bucket", "sum", "count")}


def promtool(*arguments: str | Path) -> str:
    ran = subprocess.run([require("promtool"), *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_prometheus_accepts_every_file(tmp_path: Path) -> None:
    for name, (_, text) in SOURCES.items():
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    promtool("check", "rules", *sorted(tmp_path.iterdir()))


def test_alerts_fire_when_they_should_and_are_silent_otherwise() -> None:
    """Each test file is one of promtool's: with the sentences that people get."""
    promtool("test", "rules", *sorted(TESTS.glob("*.yaml")))


@pytest.mark.parametrize("name", SOURCES)
def test_an_alert_has_a_test_that_fires_and_one_that_stays_silent(name: str) -> None:
    document = yaml.safe_load((TESTS / f"{name}.yaml").read_text(encoding="utf-8"))
    expected = [each["exp_alerts"] for test in document["tests"] for each in test["alert_rule_test"]]
    assert [] in expected
    fired = {alert["exp_labels"]["severity"] for alerts in expected for alert in alerts}
    assert fired == {rule["labels"]["severity"] for rule in _rules(name)}


@pytest.mark.parametrize(("about", "name", "rule"), RULES)
def test_a_rule_says_what_and_how_bad_and_where_to_read_on(about: str, name: str, rule: dict[str, Any]) -> None:
    assert rule["alert"] == name
    assert rule["labels"] == {"severity": rule["labels"]["severity"]}
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["description"].endswith(".")
    assert rule["annotations"]["runbook_url"] == f"{rules.RUNBOOKS}/{name}"
    assert (RUNBOOKS / f"{name}.md").is_file()


@pytest.mark.parametrize(("about", "name", "rule"), RULES)
def test_a_rule_names_metrics_that_exist(about: str, name: str, rule: dict[str, Any]) -> None:
    named = set(re.findall(r"\b(?:stoa|process)_\w+", rule["expr"]))
    assert named or re.search(r"\bup\b", rule["expr"])
    assert named <= listed_metrics()


def test_every_page_belongs_to_an_alert() -> None:
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == set(SOURCES)


@pytest.mark.parametrize(
    ("expression", "bound"),
    [
        ("stoa_frozen == 1", 'stoa_frozen{broker="b"} == 1'),
        ('up{broker!=""} == 0', 'up{broker!="",broker="b"} == 0'),
        ("sum by (broker) (rate(stoa_x_total[5m]))", 'sum by (broker) (rate(stoa_x_total{broker="b"}[5m]))'),
        ('stoa_a{x="1"} / stoa_b', 'stoa_a{x="1",broker="b"} / stoa_b{broker="b"}'),
        ("time() - 3 * 86400", "time() - 3 * 86400"),
    ],
)
def test_every_selector_is_bound_to_the_broker(expression: str, bound: str) -> None:
    assert rules.scoped(expression, broker="b") == bound


def test_the_alerts_of_a_broker_are_about_it_alone(tmp_path: Path) -> None:
    groups = rules.alert_groups("mqtt", "plant")
    assert [group["name"].removeprefix("stoa-broker.") for group in groups] == list(rules.alert_files("broker"))
    for rule in (rule for group in groups for rule in group["rules"]):
        metrics = re.findall(r"\b(?:stoa_\w+|up)\b", rule["expr"])
        assert rule["expr"].count('namespace="mqtt",broker="plant"') == len(metrics)
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")
    promtool("check", "rules", file)


def test_what_a_caller_does_with_the_groups_is_its_own_affair() -> None:
    rules.alert_groups("mqtt", "plant")[0]["rules"][0]["expr"] = "changed"
    assert rules.alert_groups("mqtt", "plant")[0]["rules"][0]["expr"] != "changed"


def _rules(name: str) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(SOURCES[name][1])["groups"] for rule in group["rules"]]
