"""Finds the clause ids that sources and tests cite, and which tests a citation makes into a proof.

Reads Python by its tokens and its syntax tree; runs nothing and knows nothing of what the clauses say.
"""

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("broker", "crds")
TESTS = ("tests",)

CITATION = re.compile(r"(3\.1\.1 )?MQTT-(\d+\.\d+\.\d+)-(\d+)(?:\.\.(\d+))?")
LIKE_A_CITATION = re.compile(r"MQTT[0-9.]*-\d+[.-]\d[\d.-]*")
NOT_READ = ("node_modules", "hack")  # the tests of this table are full of citations that are none

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, order=True)
class Place:
    """Where an id is cited. `function` is the innermost one around it, or the module's own level: "".

    `code_line` is the line that the citation speaks of; 0 if it stands in a docstring, which speaks of the whole
    function.
    """

    path: str
    line: int
    function: str
    code_line: int


@dataclass(frozen=True)
class Test:
    """A test function: its pytest ids (several where subclasses inherit it) and the lines it takes."""

    ids: tuple[str, ...]
    node: Function

    @property
    def first_line(self) -> int:
        return min([self.node.lineno, *(decorator.lineno for decorator in self.node.decorator_list)])

    @property
    def last_line(self) -> int:
        return self.node.end_lineno or self.node.lineno


@dataclass
class Found:
    """Everything that is cited: places in the sources, test ids, and text that looks like an id and is none."""

    obeyed: dict[str, set[Place]] = field(default_factory=lambda: defaultdict(set))
    proved: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    cited_at: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    mistakes: list[str] = field(default_factory=list)


def ids_in(text: str) -> Iterator[str]:
    """Ids as the tables write them: `MQTT-3.3.1-9..11` is three."""
    for match in CITATION.finditer(text):
        version, section, first, last = match.groups()
        for number in range(int(first), int(last or first) + 1):
            yield f"{version or ''}MQTT-{section}-{number}"


def mistakes_in(text: str) -> Iterator[str]:
    rest = CITATION.sub("", text)
    yield from (match.group() for match in LIKE_A_CITATION.finditer(rest))


def python_files(folders: Iterable[str], root: Path = ROOT) -> Iterator[Path]:
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            if not any(part in NOT_READ for part in path.relative_to(root).parts):
                yield path


def find(root: Path = ROOT) -> Found:
    """Read all sources and tests below `root`."""
    found = Found()
    for path in python_files(SOURCES, root):
        _read_source(path, root, found)
    classes = _TestClasses(root)
    for path in python_files(TESTS, root):
        _read_tests(path, root, classes, found)
    return found


# Sources -------------------------------------------------------------------------------------------------------------


def _read_source(path: Path, root: Path, found: Found) -> None:
    text, name = path.read_text(encoding="utf-8"), path.relative_to(root).as_posix()
    tree = ast.parse(text)
    functions = [node for node in ast.walk(tree) if isinstance(node, Function | ast.ClassDef)]
    for line, code_line, words in [*_comments(text), *((line, 0, words) for line, words in _docstrings(tree))]:
        around = [node for node in functions if node.lineno <= (code_line or line) <= (node.end_lineno or 0)]
        function = max(around, key=lambda node: node.lineno).name if around else ""
        found.mistakes.extend(f"{name}:{line}: {mistake}" for mistake in mistakes_in(words))
        for clause in ids_in(words):
            found.obeyed[clause].add(Place(name, line, function, code_line))
            found.cited_at[clause].add(f"{name}:{line}")


def _comments(text: str) -> Iterator[tuple[int, int, str]]:
    """Line of each comment, the line of code it speaks of (its own, or the next one with code), its words."""
    code_lines: set[int] = set()
    comments: list[tuple[int, str]] = []
    blank = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            comments.append((token.start[0], token.string))
        elif token.type not in blank:
            code_lines.update(range(token.start[0], token.end[0] + 1))
    lines = sorted(code_lines)
    for line, words in comments:
        yield line, next((code for code in lines if code >= line), 0), words


def _docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Each line of each text that stands as a statement: docstrings, and those of constants and fields."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            for offset, words in enumerate(node.value.value.splitlines()):
                yield node.lineno + offset, words


# Tests ---------------------------------------------------------------------------------------------------------------


class _TestClasses:
    """Which classes with tests pytest collects, by the name of the class whose methods they run."""

    def __init__(self, root: Path) -> None:
        self._bases: dict[str, set[str]] = defaultdict(set)
        self._collected: dict[str, str] = {}
        for path in python_files(TESTS, root):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef):
                    self._bases[node.name].update(base.id for base in node.bases if isinstance(base, ast.Name))
                    if node.name.startswith("Test") and path.name.startswith("test_"):
                        self._collected[node.name] = f"{path.relative_to(root).as_posix()}::{node.name}"

    def running(self, name: str) -> list[str]:
        """The pytest ids of the collected classes that are `name` or inherit from it."""
        return [prefix for collected, prefix in sorted(self._collected.items()) if self._inherits(collected, name)]

    def _inherits(self, name: str, base: str) -> bool:
        return name == base or any(self._inherits(parent, base) for parent in self._bases.get(name, ()))


def _proves(node: Function) -> bool:
    """True for a test, unless it is marked as one that fails: that proves nothing."""
    marks = " ".join(ast.unparse(decorator) for decorator in node.decorator_list)
    return node.name.startswith("test_") and "xfail" not in marks


def _tests(tree: ast.Module, name: str, classes: _TestClasses) -> list[Test]:
    tests: list[Test] = []
    for node in tree.body:
        if isinstance(node, Function) and _proves(node):
            tests.append(Test((f"{name}::{node.name}",), node))
        elif isinstance(node, ast.ClassDef):
            prefixes = classes.running(node.name)
            tests.extend(
                Test(tuple(f"{prefix}::{method.name}" for prefix in prefixes), method)
                for method in node.body
                if isinstance(method, Function) and _proves(method) and prefixes
            )
    return tests


def _read_tests(path: Path, root: Path, classes: _TestClasses, found: Found) -> None:
    text, name = path.read_text(encoding="utf-8"), path.relative_to(root).as_posix()
    tree = ast.parse(text)
    tests = _tests(tree, name, classes)
    words_of = [*((line, words) for line, _, words in _comments(text)), *_strings(tree)]
    words_of += [(test.first_line, test.node.name) for test in tests]
    for line, words in words_of:
        found.mistakes.extend(f"{name}:{line}: {mistake}" for mistake in mistakes_in(words))
        clauses = set(ids_in(words))
        for clause in clauses:
            found.cited_at[clause].add(f"{name}:{line}")
        if clauses:
            for test in _proofs_at(line, tree, tests):
                for clause in clauses:
                    found.proved[clause].update(test.ids)


def _strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every text in a test file may carry ids: docstrings, and the names of parametrized cases."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for offset, words in enumerate(node.value.splitlines()):
                yield node.lineno + offset, words


def _proofs_at(line: int, tree: ast.Module, tests: list[Test]) -> list[Test]:
    """The test around a line; or, for a table or a helper of the module, the tests that use it by name."""
    around = [test for test in tests if test.first_line <= line <= test.last_line]
    if around:
        return around
    names: set[str] = set()
    for statement in tree.body:
        if statement.lineno <= line <= (statement.end_lineno or statement.lineno):
            names |= _names_bound(statement)
    while (
        more := {bound for statement in tree.body if _uses(statement, names) for bound in _names_bound(statement)}
        - names
        - {test.node.name for test in tests}
    ):
        names |= more
    return [test for test in tests if _uses(test.node, names)]


def _names_bound(statement: ast.stmt) -> set[str]:
    if isinstance(statement, Function):
        return {statement.name}
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}


def _uses(node: ast.AST, names: set[str]) -> bool:
    return any(isinstance(part, ast.Name) and part.id in names for part in ast.walk(node))
