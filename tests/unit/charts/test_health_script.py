"""The script by which Argo CD judges our objects, run by a real Lua."""

from typing import Any

import pytest

from support.processes import ROOT

lupa = pytest.importorskip("lupa", reason="Lua as a library: ./hack/test installs it")

SCRIPT = (ROOT / "manifests" / "gitops" / "argocd" / "health.lua").read_text(encoding="utf-8")


def health(*conditions: tuple[str, str], generation: int = 1, seen: int = 1, **metadata: Any) -> tuple[str, str]:
    """Status and message that Argo CD shows. A condition's message is its name."""
    listed = [
        {"type": name, "status": status, "message": name, "observedGeneration": seen} for name, status in conditions
    ]
    document = {"metadata": {"generation": generation, **metadata}, "status": {"conditions": listed}}
    return run(document)


def run(document: dict[str, Any]) -> tuple[str, str]:
    lua = lupa.LuaRuntime()
    lua.globals().obj = lua.table_from(document, recursive=True)
    answer = lua.execute(SCRIPT)
    return answer.status, answer.message


@pytest.mark.parametrize("document", [{"metadata": {}}, {"metadata": {}, "status": {}}])
def test_an_object_that_nobody_has_looked_at_is_progressing(document: dict[str, Any]) -> None:
    assert run(document) == ("Progressing", "Waiting for the operator.")


def test_a_new_object_shows_what_the_schema_says_of_it() -> None:
    assert health(("Ready", "Unknown"))[0] == "Progressing"


def test_ready_is_healthy() -> None:
    assert health(("Accepted", "True"), ("Ready", "True"), ("Reconciling", "False")) == ("Healthy", "Ready")


def test_ready_for_an_older_generation_is_progressing() -> None:
    assert health(("Ready", "True"), generation=2, seen=1)[0] == "Progressing"


@pytest.mark.parametrize("wrong", ["Accepted", "ResolvedRefs"])
def test_what_somebody_must_mend_is_degraded(wrong: str) -> None:
    assert health((wrong, "False"), ("Ready", "False")) == ("Degraded", wrong)


def test_a_client_that_waits_for_its_broker_is_progressing() -> None:
    assert health(("Accepted", "True"), ("Programmed", "False"), ("Ready", "False"))[0] == "Progressing"


def test_a_broker_that_is_worked_on_is_progressing_and_one_that_is_not_is_degraded() -> None:
    assert health(("Ready", "False"), ("Reconciling", "True"))[0] == "Progressing"
    assert health(("Ready", "False"), ("Reconciling", "False"))[0] == "Degraded"


def test_a_stalled_broker_is_degraded_even_if_it_serves() -> None:
    assert health(("Ready", "True"), ("Stalled", "True")) == ("Degraded", "Stalled")


def test_a_paused_broker_is_suspended_whatever_else_holds() -> None:
    assert health(("Ready", "False"), ("Stalled", "True"), ("Paused", "True")) == ("Suspended", "Paused")


def test_an_object_on_its_way_out_is_progressing() -> None:
    assert health(("Ready", "True"), deletionTimestamp="2026-01-01T00:00:00Z")[0] == "Progressing"
