"""The clause table: every normative statement of MQTT, the line that obeys it and the test that proves it.

Reads docs/clauses/*.tsv (what the statements say, in our words) and the citations in the sources and the tests.
How to cite: `MQTT-3.3.2-2` is a statement of MQTT 5.0, `3.1.1 MQTT-3.3.2-2` one of MQTT 3.1.1 (the same number often
means another statement there); `MQTT-3.3.1-9..11` stands for three. In sources the id stands in a comment at the line
that obeys it, in tests in the docstring, the name of a case, or a comment within the test.

    hack/clauses.py                     print the table
    hack/clauses.py --markdown          write docs/clauses.md
    hack/clauses.py --check             fail on ids that do not exist, on server clauses with neither test nor reason
                                        (but those in docs/clauses/unproved.txt, which may only shrink), and on a page
                                        that is out of date
    hack/clauses.py --mutate N --seed S break the cited line of N clauses drawn by seed, and run the cited tests
"""

import argparse
import csv
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from hack.clause_citations import Found, Place, find  # noqa: E402 - found through the path
from hack.clause_mutation import Target, mutate  # noqa: E402

DATA = ROOT / "docs" / "clauses"
TABLES = {"5.0": DATA / "mqtt-5.0.tsv", "3.1.1": DATA / "mqtt-3.1.1.tsv"}
UNPROVED = DATA / "unproved.txt"
PAGE = ROOT / "docs" / "clauses.md"
BINDS = ("server", "client", "both")
OF_CLIENTS = "binds the client"
HEADER = ("| clause | binds | says | obeyed at | proved by |", "|---|---|---|---|---|")


@dataclass(frozen=True)
class Clause:
    """One row of the tables. `like`: the clauses of 5.0 that ask the same; their lines obey one that is not cited."""

    id: str
    binds: str
    like: tuple[str, ...]
    says: str
    reason: str

    @property
    def binds_server(self) -> bool:
        return self.binds != "client"

    @property
    def order(self) -> tuple[int, ...]:
        return tuple(int(number) for number in re.findall(r"\d+", self.id.rpartition("MQTT-")[2]))


@dataclass(frozen=True)
class Row:
    """A clause with what was found for it."""

    clause: Clause
    obeyed: tuple[Place, ...]
    proved: tuple[str, ...]

    @property
    def why_not(self) -> str:
        """Why there is no test; "" if there is one, or if nobody has said why."""
        if self.proved:
            return ""
        return self.clause.reason or ("" if self.clause.binds_server else OF_CLIENTS)

    @property
    def is_open(self) -> bool:
        return self.clause.binds_server and not self.proved and not self.why_not


def read_table(path: Path) -> list[Clause]:
    """Raises ValueError for a row that is not of the table's form."""
    clauses: list[Clause] = []
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            if row["binds"] not in BINDS or not row["says"] or None in row.values():
                raise ValueError(f"{path.name}: {row}")
            clauses.append(Clause(row["id"], row["binds"], tuple(row["like"].split()), row["says"], row["reason"]))
    return clauses


def rows_of(clauses: list[Clause], found: Found) -> list[Row]:
    rows = []
    for clause in clauses:
        own = found.obeyed.get(clause.id, set())
        places = own or {place for name in clause.like for place in found.obeyed.get(name, ())}
        rows.append(Row(clause, tuple(sorted(places)), tuple(sorted(found.proved.get(clause.id, ())))))
    return rows


def target_of(row: Row) -> Target:
    return Target(row.clause.id, row.obeyed, row.proved)


# Print ---------------------------------------------------------------------------------------------------------------


def _short(test: str) -> str:
    path, _, name = test.partition("::")
    return f"{Path(path).name}::{name.rpartition('::')[2]}"


def _tests(row: Row) -> list[str]:
    return sorted({_short(test) for test in row.proved})


def print_table(version: str, rows: list[Row]) -> None:
    print(f"MQTT {version}\n")
    for row in rows:
        print(f"{row.clause.id}  [{row.clause.binds}]  {row.clause.says}")
        for place in row.obeyed:
            print(f"    obeyed at  {place.path}:{place.line}")
        for test in row.proved:
            print(f"    proved by  {test}")
        if not row.proved:
            print(f"    no test:   {row.why_not or 'NOT YET'}")
    print()


def totals(version: str, rows: list[Row]) -> str:
    binding = [row for row in rows if row.clause.binds_server]
    counts = Counter("proved" if row.proved else "open" if row.is_open else "reason" for row in binding)
    clients = [row for row in rows if not row.clause.binds_server]
    checked = sum(1 for row in clients if row.proved)
    return (
        f"MQTT {version}: {len(rows)} clauses, {len(binding)} bind the server: {counts['proved']} proved by tests, "
        f"{counts['reason']} with a reason, {counts['open']} open; {sum(1 for row in binding if row.obeyed)} cited at "
        f"the line that obeys. Of {len(clients)} that bind clients, {checked} are tested for what the server does "
        "when one is broken."
    )


def page(tables: dict[str, list[Row]]) -> str:
    """The table as Markdown, by function instead of line, so that it changes only with what it says."""
    lines = [
        "<!-- Generated by hack/clauses.py from docs/clauses/*.tsv, the sources and the tests. Do not edit. -->",
        "# The clauses of MQTT",
        "",
        "Every normative statement of MQTT 5.0 and 3.1.1 in our words, the functions that obey it and the tests that",
        "prove it. Citations: `MQTT-3.3.2-2` is of 5.0, `3.1.1 MQTT-3.3.2-2` of 3.1.1.",
        "",
        *(f"- {totals(version, rows)}" for version, rows in tables.items()),
    ]
    for version, rows in tables.items():
        lines += ["", f"## MQTT {version}", "", *HEADER, *(_page_row(row) for row in rows)]
    return "\n".join(lines) + "\n"


def _page_row(row: Row) -> str:
    places = sorted({f"{place.path.partition('/')[2]} {place.function}".strip() for place in row.obeyed})
    proofs = "<br>".join(_tests(row)) or f"*{row.why_not or 'not yet'}*"
    cells = (row.clause.id, row.clause.binds, row.clause.says, "<br>".join(places), proofs)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


# Check ---------------------------------------------------------------------------------------------------------------


def read_unproved() -> set[str]:
    lines = UNPROVED.read_text(encoding="utf-8").splitlines()
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def problems(tables: dict[str, list[Row]], found: Found) -> list[str]:
    """What is wrong with the citations, one line each."""
    rows = {row.clause.id: row for table in tables.values() for row in table}
    wrong = [f"{place}: no id: write MQTT-x.y.z-n or 3.1.1 MQTT-x.y.z-n" for place in sorted(set(found.mistakes))]
    for clause in sorted(found.cited_at.keys() - rows.keys()):
        wrong += [f"{place}: there is no {clause}" for place in sorted(found.cited_at[clause])]
    allowed = read_unproved()
    wrong += [f"docs/clauses/unproved.txt: there is no {name}" for name in sorted(allowed - rows.keys())]
    for name, row in rows.items():
        if row.is_open and name not in allowed:
            wrong.append(f"{name} has neither test nor reason: {row.clause.says}")
        elif name in allowed and not row.is_open:
            wrong.append(f"{name} is no longer unproved: remove it from docs/clauses/unproved.txt")
        if row.clause.reason and row.proved:
            wrong.append(f"{name} has a test: remove its reason ({row.clause.reason})")
    if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page(tables):
        wrong.append("docs/clauses.md is out of date: run hack/clauses.py --markdown")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description="The clause table: what obeys and what proves each statement of MQTT.")
    parser.add_argument("--markdown", action="store_true", help="write docs/clauses.md")
    parser.add_argument("--check", action="store_true", help="fail on wrong citations and on open server clauses")
    parser.add_argument("--open", action="store_true", help="print the open server clauses only")
    parser.add_argument("--mutate", type=int, metavar="N", help="break the cited lines of N clauses, one at a time")
    parser.add_argument("--seed", type=int, default=1, help="which clauses --mutate draws, and how it breaks them")
    parser.add_argument("--of", metavar="ID", action="append", default=[], help="with --mutate: these clauses instead")
    arguments = parser.parse_args()
    found = find()
    tables = {version: rows_of(read_table(path), found) for version, path in TABLES.items()}
    if arguments.mutate or arguments.of:
        candidates = [target_of(row) for rows in tables.values() for row in rows if row.clause.binds_server]
        return mutate(candidates, arguments.mutate or 0, arguments.seed, arguments.of)
    if arguments.markdown:
        PAGE.write_text(page(tables), encoding="utf-8")
    elif arguments.check:
        wrong = problems(tables, found)
        print("\n".join(wrong), end="\n" if wrong else "")
        return 1 if wrong else 0
    else:
        for version, rows in tables.items():
            print_table(version, [row for row in rows if row.is_open or not arguments.open])
    print("\n".join(totals(version, rows) for version, rows in tables.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
