"""The dashboards: current, with queries that Prometheus understands, about metrics that exist."""

import importlib.util
import json
import re
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from mqtt_operator.observability import boards
from support.processes import ROOT
from support.tools import require
from unit.observability.test_alerts import listed_metrics

UID_CHARACTERS_MAX = 40  # Grafana's


def load(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(boards.board_file(name))
    return document


def queries(board: dict[str, Any]) -> list[str]:
    targets = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    return [*targets, *(str(v["definition"]) for v in board["templating"]["list"] if "definition" in v)]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gen_boards", ROOT / "hack" / "gen_boards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_files_are_what_the_generator_writes(generator: ModuleType) -> None:
    assert generator.main(["--check"]) == 0


@pytest.mark.parametrize("name", boards.BOARDS)
def test_a_board_names_metrics_that_exist(name: str) -> None:
    named = {metric for query in queries(load(name)) for metric in re.findall(r"\b(?:stoa|process)_\w+", query)}
    assert named
    assert named <= listed_metrics()


@pytest.mark.parametrize("name", boards.BOARDS)
def test_prometheus_understands_every_query(name: str, tmp_path: Path) -> None:
    expressions = [target["expr"] for panel in load(name)["panels"] for target in panel.get("targets", ())]
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(expressions)
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": name, "rules": rules}]}), encoding="utf-8")
    ran = subprocess.run([require("promtool"), "check", "rules", file], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("name", boards.BOARDS)
def test_a_board_can_be_provided_without_a_question(name: str) -> None:
    """A fixed uid, the data source a variable, no inputs to fill in, and every panel with a unit."""
    board = load(name)
    assert board["uid"] == f"stoa-{name}"
    assert "mqtt" in board["tags"]
    assert "__inputs" not in board
    assert "id" not in board
    assert board["templating"]["list"][0]["type"] == "datasource"
    for panel in (panel for panel in board["panels"] if panel["type"] != "row"):
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert "[5m]" not in json.dumps(panel), "$__rate_interval fits every data source"


@pytest.mark.parametrize("name", boards.BOARDS)
def test_panels_lie_beside_and_below_each_other(name: str) -> None:
    places = [panel["gridPos"] for panel in load(name)["panels"]]
    taken = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(taken) == len(set(taken))
    assert all(p["x"] + p["w"] <= 24 for p in places)
    assert len({panel["id"] for panel in load(name)["panels"]}) == len(places)


@pytest.mark.parametrize("name", boards.BROKER_BOARDS)
def test_the_board_of_a_broker_shows_it_and_leaves_the_other_boards_alone(name: str) -> None:
    one, other = (json.loads(boards.broker_board(name, "mqtt", broker)) for broker in ("plant", "farm"))
    assert len({one["uid"], other["uid"], load(name)["uid"]}) == 3
    assert len(one["uid"]) <= UID_CHARACTERS_MAX
    assert one["title"].endswith(": mqtt/plant")
    constants = {v["name"]: v["query"] for v in one["templating"]["list"] if v["type"] == "constant"}
    assert constants == {"namespace": "mqtt", "broker": "plant"}
    assert one["panels"] == load(name)["panels"]


def test_the_same_broker_gets_the_same_board() -> None:
    """Else its ConfigMap would be written anew with every pass."""
    boards.broker_board.cache_clear()
    before = boards.broker_board("broker", "mqtt", "plant")
    boards.broker_board.cache_clear()
    assert boards.broker_board("broker", "mqtt", "plant") == before
