"""The pages that alerts point to: links lead somewhere, and the words on them are those that people will see."""

import re
from pathlib import Path

import pytest

from mqtt_api.conditions import ConditionType, Reason
from support.processes import ROOT

PAGES = sorted((ROOT / "docs" / "runbooks").glob("*.md"))
SOURCES = "\n".join(
    path.read_text(encoding="utf-8") for folder in ("broker", "operator") for path in (ROOT / folder).rglob("*.py")
)
FIELDS = (ROOT / "crds" / "mqttbrokers.yaml").read_text(encoding="utf-8") + (
    ROOT / "crds" / "mqttclients.yaml"
).read_text(encoding="utf-8")
OF_OTHERS = {"OOMKilled", "OOM", "CONNECT", "SUBSCRIBE"}

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def quoted(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`]+)`", text)


@pages
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#]+)#?([^)]*)\)", page.read_text(encoding="utf-8")):
        linked = page.parent / target
        assert linked.exists(), target
        headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
        assert not anchor or anchor in anchors, f"{target}#{anchor}"


@pages
def test_a_page_says_what_it_means_who_notices_where_to_look_and_what_to_do(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {page.stem}\n")
    assert "**What clients notice.**" in text
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Look", "Do"]
    assert re.search(r"^- ", text.split("## Do")[1], re.MULTILINE)


@pages
def test_looking_changes_nothing(page: Path) -> None:
    (block,) = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for line in block.splitlines():
        assert re.match(r"kubectl (get|describe|events|top) ", line), line


@pages
def test_events_of_the_log_have_the_names_that_the_code_gives_them(page: Path) -> None:
    for word in quoted(page):
        if re.fullmatch(r"(node|store|tls|policy|authz|connect|operator)\.[a-z_]+", word):
            assert f'"{word}"' in SOURCES, word


@pages
def test_conditions_and_reasons_are_those_of_the_api(page: Path) -> None:
    known = {*ConditionType, *Reason, *OF_OTHERS}
    for word in quoted(page):
        if re.fullmatch(r"[A-Z][A-Za-z]+", word):
            assert word in known or re.search(rf"\b{word}\b", FIELDS), word


@pages
def test_fields_are_those_of_the_definitions(page: Path) -> None:
    for word in quoted(page):
        path = re.fullmatch(r"(?:MQTTClient\.)?(?:spec\.)?([a-z]\w*(?:\.[a-z]\w*)+)", word)
        if path and path[1].split(".")[0] in ("podTemplate", "mqtt", "sessionStore", "limits", "credentials", "spec"):
            for name in path[1].split("."):
                assert re.search(rf"^ *{name}:", FIELDS, re.MULTILINE), word
