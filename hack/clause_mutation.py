"""Breaks the line that obeys a clause, in a copy of the tree, and runs the tests that are said to prove the clause.

Knows places and test ids; does not know what clauses say. A mutation is a change of text that takes the line's effect
away: a condition turned round, a statement or an argument left out, a bound moved, a value replaced.
"""

import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree as ET

from hack.clause_citations import ROOT, Place

COPIED = ("broker", "crds", "operator", "tests", "pyproject.toml", "README.md", "LICENSE")
UNIT_S_MAX = 120
PROTOCOL_S_MAX = 300
BASELINE_S_MAX = 900
PYTEST_FAILED = 1
PYTEST_PASSED = 0
TURNED = {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<", "is not": "is", "is": "is not"}
SWAPPED = {"min": "max", "max": "min", "any": "all", "all": "any"}


@dataclass(frozen=True)
class Target:
    """A clause that may be broken: where it is obeyed, what proves it."""

    id: str
    places: tuple[Place, ...]
    tests: tuple[str, ...]

    @property
    def lines(self) -> tuple[Place, ...]:
        """Cited lines of code; functions cited as a whole only where there is no such line."""
        lines = tuple(place for place in self.places if place.code_line)
        return lines or tuple(place for place in self.places if place.function)


@dataclass(frozen=True)
class Mutation:
    """Replace the text between two offsets (in characters) of a file. The lower the rank, the more of the line goes."""

    rank: int
    line: int
    what: str
    start: int
    end: int
    text: str

    def apply(self, source: str) -> str:
        return source[: self.start] + self.text + source[self.end :]


# What can be changed on a line ---------------------------------------------------------------------------------------


class _Source:
    """Offsets of syntax nodes in a text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree = ast.parse(text)
        self._starts = [0]
        for line in text.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._lines = text.splitlines(keepends=True)

    def offset(self, line: int, column_bytes: int) -> int:
        prefix = self._lines[line - 1].encode()[:column_bytes].decode()
        return self._starts[line - 1] + len(prefix)

    def span(self, node: ast.expr | ast.stmt | ast.keyword) -> tuple[int, int]:
        start = self.offset(node.lineno, node.col_offset)
        return start, self.offset(node.end_lineno or node.lineno, node.end_col_offset or node.col_offset)

    def change(self, node: ast.expr | ast.stmt | ast.keyword, rank: int, what: str, text: str) -> Mutation:
        start, end = self.span(node)
        return Mutation(rank, node.lineno, what, start, end, text)

    def words(self, node: ast.expr | ast.stmt | ast.keyword) -> str:
        start, end = self.span(node)
        return self.text[start:end]


def mutations(text: str, place: Place) -> list[Mutation]:
    """What can be done to the cited line, or to any line of a function that is cited as a whole."""
    source = _Source(text)
    if place.code_line:
        return sorted(set(_on_line(source, place.code_line)), key=lambda m: (m.rank, m.start, m.what))
    lines = _lines_of(source.tree, place)
    return sorted({m for line in lines for m in _on_line(source, line)}, key=lambda m: (m.rank, m.start, m.what))


def _lines_of(tree: ast.AST, place: Place) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == place.function:
            if not node.lineno <= place.line <= (node.end_lineno or 0):
                continue
            for statement in node.body[1:]:
                yield from range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)


def _on_line(source: _Source, line: int) -> Iterator[Mutation]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.stmt) and node.lineno == line:
            yield from _of_statement(source, node)
        elif isinstance(node, ast.Dict):
            yield from _of_entries(source, node, line)
        elif isinstance(node, ast.Call):
            yield from _of_arguments(source, node, line)
        if isinstance(node, ast.expr) and node.lineno == line:
            yield from _of_expression(source, node)
        if isinstance(node, ast.IfExp) and node.test.lineno == line:
            yield source.change(node.test, 1, "condition turned round", f"not ({source.words(node.test)})")
        if isinstance(node, ast.comprehension):
            for condition in node.ifs:
                if condition.lineno == line:
                    yield source.change(condition, 0, "condition turned round", f"not ({source.words(condition)})")


def _of_statement(source: _Source, node: ast.stmt) -> Iterator[Mutation]:
    match node:
        case ast.If(test=test) | ast.While(test=test) | ast.Assert(test=test):
            yield source.change(test, 0, "condition turned round", f"not ({source.words(test)})")
        case ast.Raise() | ast.AugAssign():
            yield source.change(node, 0, "left out", "pass")
        case ast.Expr(value=value) if not isinstance(value, ast.Constant):
            yield source.change(node, 0, "left out", "pass")
        case ast.Continue():
            yield source.change(node, 0, "left out", "pass")
        case ast.Return(value=value) if value is not None:
            turned = f"not ({source.words(value)})" if _is_condition(value) else "None"
            yield source.change(value, 1, f"returns {turned}", turned)
        case ast.Assign(value=ast.Constant(value=None)):
            yield source.change(node, 0, "left out", "pass")
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value) if not isinstance(value, ast.Dict):
            turned = f"not ({source.words(value)})" if _is_condition(value) else "None"
            yield source.change(value, 1, f"is {turned}", turned)
        case _:
            return


def _is_condition(node: ast.expr) -> bool:
    is_not = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    is_constant = isinstance(node, ast.Constant) and isinstance(node.value, bool)
    return isinstance(node, ast.Compare) or is_not or is_constant


def _of_entries(source: _Source, node: ast.Dict, line: int) -> Iterator[Mutation]:
    for key, value in zip(node.keys, node.values, strict=True):
        if key is not None and key.lineno == line:
            start, _ = source.span(key)
            _, end = source.span(value)
            following = source.text[end : end + 1]
            yield Mutation(1, line, "entry left out", start, end + (following == ","), "")


def _of_arguments(source: _Source, node: ast.Call, line: int) -> Iterator[Mutation]:
    for keyword in node.keywords:
        if keyword.lineno == line and keyword.arg:
            yield source.change(keyword, 1, f"{keyword.arg} is None", f"{keyword.arg}=None")
    for argument in node.args:
        if argument.lineno == line and isinstance(argument, ast.Name | ast.Attribute):
            words = source.words(argument)
            yield source.change(argument, 2, f"not {words} for {words}", f"not {words}")


def _of_expression(source: _Source, node: ast.expr) -> Iterator[Mutation]:
    match node:
        case ast.Compare(ops=[_]):
            yield from _turned(source, node)
        case ast.BoolOp(values=values):
            for value in values:
                yield source.change(value, 2, "condition turned round", f"not ({source.words(value)})")
        case ast.Constant(value=bool() as value):
            yield source.change(node, 2, f"{not value} for {value}", str(not value))
        case ast.Constant(value=int() | float() as value):
            yield source.change(node, 2, f"{value + 1} for {value}", str(value + 1))
        case ast.Call(func=ast.Name(id=name) as function) if name in SWAPPED:
            yield source.change(function, 1, f"{SWAPPED[name]} for {name}", SWAPPED[name])
        case _:
            return


def _turned(source: _Source, node: ast.Compare) -> Iterator[Mutation]:
    left, right = source.words(node.left), source.words(node.comparators[0])
    words = source.words(node)[len(left) :].removesuffix(right).strip()
    if words in TURNED:
        yield source.change(node, 1, f"{TURNED[words]} for {words}", f"{left} {TURNED[words]} {right}")
    elif words in ("in", "not in"):
        yield source.change(node, 1, "membership turned round", f"not ({source.words(node)})")


# Run -----------------------------------------------------------------------------------------------------------------


def _copy_tree(to: Path) -> None:
    unwanted = shutil.ignore_patterns("node_modules", "__pycache__", ".hypothesis")
    for name in COPIED:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, to / name, ignore=unwanted)
        elif path.exists():
            shutil.copy(path, to / name)


def _run(tree: Path, tests: Iterable[str], seconds_max: int) -> int:
    """pytest's exit status; one that hangs has failed."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        return subprocess.run(
            command, cwd=tree, env=environment, timeout=seconds_max, capture_output=True, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        return PYTEST_FAILED


def _status(tree: Path, tests: tuple[str, ...]) -> tuple[int, str]:
    """Quick tests first; those with a real broker only if they do not see it."""
    unit = [test for test in tests if test.startswith("tests/unit/")]
    others = [test for test in tests if test not in unit]
    for group, seconds_max in ((unit, UNIT_S_MAX), (others, PROTOCOL_S_MAX)):
        if group and (status := _run(tree, group, seconds_max)) != PYTEST_PASSED:
            return status, "unit" if group is unit else "protocol"
    return PYTEST_PASSED, ""


def _failing(tree: Path, tests: list[str]) -> set[str]:
    """Those that fail on the unbroken tree."""
    report = tree / "baseline.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *tests]
    subprocess.run(command, cwd=tree, timeout=BASELINE_S_MAX, capture_output=True, check=False)
    bad: set[str] = set()
    for case in ET.parse(report).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name', '').partition('[')[0]}"
            bad.update(test for test in tests if test.replace(".py::", "::").endswith(name))
    return bad


def _try(tree: Path, target: Target, chance: random.Random) -> tuple[bool, str]:
    """Break one line of the target. Whether a test noticed, and one line that says what was done."""
    choices: list[tuple[Place, list[Mutation]]] = []
    for place in target.lines:
        found = mutations((tree / place.path).read_text(encoding="utf-8"), place)
        if found:
            choices.append((place, [mutation for mutation in found if mutation.rank == found[0].rank]))
    if not choices:
        return False, f"{target.id}: nothing on its lines can be changed"
    place, strongest = chance.choice(choices)
    mutation = chance.choice(strongest)
    path = tree / place.path
    source = path.read_text(encoding="utf-8")
    path.write_text(mutation.apply(source), encoding="utf-8")
    try:
        status, tier = _status(tree, target.tests)
    finally:
        path.write_text(source, encoding="utf-8")
    verdict = "SURVIVED" if status == PYTEST_PASSED else "killed" if status == PYTEST_FAILED else "killed (import)"
    where = f"{place.path}:{mutation.line}"
    return status != PYTEST_PASSED, f"{target.id}: {verdict} {tier}  {where}  {mutation.what}"


def mutate(targets: list[Target], count: int, seed: int, chosen: list[str]) -> int:
    """Break `count` clauses drawn by `seed`, or those `chosen`. Prints a line each; returns 1 if one survived.

    Drawn are clauses with a cited line and a test; one line and one of the changes that take most of its effect away
    are drawn for each.
    """
    possible = [target for target in targets if target.lines and target.tests]
    chance = random.Random(seed)
    drawn = [target for target in possible if target.id in chosen] or chance.sample(possible, min(count, len(possible)))
    killed = 0
    with tempfile.TemporaryDirectory(prefix="clauses-") as folder:
        tree = Path(folder)
        _copy_tree(tree)
        failing = _failing(tree, sorted({test for target in drawn for test in target.tests}))
        for test in sorted(failing):
            print(f"{test} fails without any mutation, and proves nothing now")
        for target in drawn:
            passing = tuple(test for test in target.tests if test not in failing)
            noticed, line = _try(tree, replace(target, tests=passing), chance)
            killed += noticed
            print(line, flush=True)
    print(f"{killed} of {len(drawn)} killed, drawn from {len(possible)} with seed {seed}")
    return 0 if killed == len(drawn) else 1
