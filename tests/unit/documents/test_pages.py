"""What the pages say about the tree is true: links lead somewhere, named tests exist, drawings are current."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
SECURITY = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), target


def test_every_test_that_stands_against_a_threat_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", SECURITY)
    assert len(named) > 30
    for file, test in named:
        source = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert re.search(rf"def {test}\(", source), f"{file}::{test}"


def test_every_threat_names_a_test() -> None:
    rows = [
        line for line in SECURITY.splitlines() if line.startswith("| ") and not line.startswith(("| threat", "| ---"))
    ]
    assert rows
    for row in rows:
        assert "::test_" in row, row


def test_every_file_in_the_table_of_ideas_exists() -> None:
    table = ARCHITECTURE.split("## From an idea to its file")[1].split("## Decisions")[0]
    for path in re.findall(r"`([\w/.]+)`", table):
        assert path.startswith("stoa") or (ROOT / path).exists(), path


def test_the_drawing_of_the_states_is_the_table() -> None:
    drawn = subprocess.run(
        [sys.executable, ROOT / "hack" / "state_diagram.py", "--check"], capture_output=True, text=True, check=False
    )
    assert drawn.returncode == 0, drawn.stderr


def test_the_sizes_can_be_measured() -> None:
    measured = subprocess.run(
        [sys.executable, ROOT / "hack" / "measure.py"], capture_output=True, text=True, check=True
    )
    assert "| broker/mqtt_broker |" in measured.stdout
