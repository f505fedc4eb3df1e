"""The clause table: which words are citations, what they prove, and what breaking a cited line means."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT))

from hack.clause_citations import Place, find, ids_in, mistakes_in  # noqa: E402 - found through the path
from hack.clause_mutation import mutations  # noqa: E402
from hack.clauses import TABLES, Clause, problems, read_table, rows_of  # noqa: E402

SOURCE = '''\
def forward(message, limit):
    """Send it on [MQTT-3.3.1-1]."""
    if message.size > limit:  # [MQTT-3.1.2-24]
        return False
    # [3.1.1 MQTT-3.3.1-3]
    message.dup = True
    return Packet(
        size=message.size,
        retain=message.retain,  # [MQTT-3.3.1-12..13]
    )
'''
TESTS = '''\
import pytest

CASES = {"too large [MQTT-3.1.2-24]": 1}


def helper():
    return CASES


def test_by_a_table():
    assert helper()


@pytest.mark.xfail
def test_that_fails():
    """[MQTT-3.3.1-1]"""


class Contract:
    def test_of_all(self):
        """[3.1.1 MQTT-3.3.1-3]"""


class TestOne(Contract):
    def test_own(self):
        pass  # [MQTT-3.3.1-13]
'''


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in (("broker/forward.py", SOURCE), ("tests/test_forward.py", TESTS)):
        path = tmp_path / name
        path.parent.mkdir()
        path.write_text(text)
    (tmp_path / "crds").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ("[MQTT-3.3.2-2]", ["MQTT-3.3.2-2"]),
        ("[3.1.1 MQTT-3.3.2-2] [MQTT-3.3.2-2]", ["3.1.1 MQTT-3.3.2-2", "MQTT-3.3.2-2"]),
        ("MQTT-3.3.1-9..11", ["MQTT-3.3.1-9", "MQTT-3.3.1-10", "MQTT-3.3.1-11"]),
        ("MQTT 5.0, 3.3.2", []),
    ],
)
def test_a_citation_names_its_version(words: str, ids: list[str]) -> None:
    assert list(ids_in(words)) == ids
    assert list(mistakes_in(words)) == []


@pytest.mark.parametrize("words", ["MQTT-3-8.3-4", "MQTT311-3.3.2-2", "MQTT-3.3.2"])
def test_what_looks_like_a_citation_and_is_none_is_a_mistake(words: str) -> None:
    assert list(mistakes_in(words)) == [words]


def test_a_citation_speaks_of_its_line_the_next_one_or_the_whole_function(tree: Path) -> None:
    obeyed = find(tree).obeyed
    path = "broker/forward.py"
    assert obeyed["MQTT-3.1.2-24"] == {Place(path, 3, "forward", 3)}
    assert obeyed["3.1.1 MQTT-3.3.1-3"] == {Place(path, 5, "forward", 6)}
    assert obeyed["MQTT-3.3.1-1"] == {Place(path, 2, "forward", 0)}
    assert obeyed["MQTT-3.3.1-12"] == obeyed["MQTT-3.3.1-13"] == {Place(path, 9, "forward", 9)}


def test_a_proof_is_the_test_around_a_citation_or_those_that_use_its_table(tree: Path) -> None:
    proved = find(tree).proved
    path = "tests/test_forward.py"
    assert proved["MQTT-3.1.2-24"] == {f"{path}::test_by_a_table"}
    assert proved["3.1.1 MQTT-3.3.1-3"] == {f"{path}::TestOne::test_of_all"}
    assert proved["MQTT-3.3.1-13"] == {f"{path}::TestOne::test_own"}


def test_a_test_that_is_expected_to_fail_proves_nothing(tree: Path) -> None:
    assert "MQTT-3.3.1-1" not in find(tree).proved


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        (3, "if not (message.size > limit):"),
        (6, "message.dup = not (True)"),
        (9, "retain=None,"),
    ],
)
def test_breaking_a_line_takes_its_effect_away(line: int, changed: str) -> None:
    strongest = mutations(SOURCE, Place("broker/forward.py", line, "forward", line))[0]
    assert strongest.apply(SOURCE).splitlines()[line - 1].strip().partition("  #")[0] == changed


@pytest.mark.parametrize("line", [3, 6, 9])
def test_every_way_of_breaking_a_line_is_python(line: int) -> None:
    for mutation in mutations(SOURCE, Place("broker/forward.py", line, "forward", line)):
        compile(mutation.apply(SOURCE), "mutated", "exec")


def test_citations_without_a_clause_and_clauses_without_a_test_are_problems(tree: Path) -> None:
    clauses = [
        Clause("MQTT-3.3.1-1", "both", (), "Says.", ""),
        Clause("MQTT-3.1.2-24", "server", (), "Says.", "a reason that is no longer true"),
        Clause("3.1.1 MQTT-3.3.1-3", "server", (), "Says.", ""),
        Clause("MQTT-3.3.1-12", "client", (), "Says.", ""),
    ]
    found = find(tree)
    said = "\n".join(problems({"5.0": rows_of(clauses, found)}, found))
    assert "broker/forward.py:9: there is no MQTT-3.3.1-13" in said
    assert "MQTT-3.3.1-1 has neither test nor reason" in said
    assert "MQTT-3.1.2-24 has a test: remove its reason" in said
    assert "MQTT-3.3.1-12 has neither" not in said
    assert "3.1.1 MQTT-3.3.1-3 has neither" not in said


def test_the_tables_hold_every_statement_of_both_versions_once() -> None:
    """251 in appendix B of MQTT 5.0, 141 in that of 3.1.1, in the standard's order."""
    for version, count in (("5.0", 251), ("3.1.1", 141)):
        clauses = read_table(TABLES[version])
        assert len({clause.id for clause in clauses}) == len(clauses) == count
        assert [clause.order for clause in clauses] == sorted(clause.order for clause in clauses)
