"""Sizes of the code: lines per package, lengths of functions, share of docstrings, test lines per source line.

Reads Python by its syntax tree; prints one Markdown table. Figures only: judging them is people's work.
"""

import ast
import statistics
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("crds/mqtt_api", "broker/mqtt_broker", "operator/mqtt_operator")
OTHERS = ("hack", "tests")


@dataclass
class Sizes:
    """What was counted in a set of files. Lines are all lines of a file, blank ones and comments included."""

    files: list[int] = field(default_factory=list)
    functions: list[int] = field(default_factory=list)
    documented: int = 0

    def add(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        lines = text.count("\n")
        if not lines:
            return  # an empty __init__.py says nothing about the size of files
        self.files.append(lines)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self.functions.append((node.end_lineno or node.lineno) - node.lineno + 1)
                self.documented += ast.get_docstring(node) is not None

    @property
    def lines(self) -> int:
        return sum(self.files)


def measure(folder: Path) -> Sizes:
    sizes = Sizes()
    for path in sorted(folder.rglob("*.py")):
        if "node_modules" not in path.parts:
            sizes.add(path)
    return sizes


def percentile(values: list[int], share: float) -> int:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def row(name: str, sizes: Sizes, test_lines: int | None) -> str:
    if not sizes.files:
        return f"| {name} | 0 | | | | |"
    files = f"{len(sizes.files)}, {statistics.median(sizes.files):.0f}, {max(sizes.files)}"
    functions = docstrings = "-"
    if sizes.functions:
        lengths = sizes.functions
        functions = f"{statistics.median(lengths):.0f}, {percentile(lengths, 0.9)}, {max(lengths)}"
        docstrings = f"{100 * sizes.documented / len(lengths):.0f} %"
    tests = f"{test_lines / sizes.lines:.1f}" if test_lines is not None else ""
    return f"| {name} | {sizes.lines} | {files} | {functions} | {docstrings} | {tests} |"


def rows() -> list[str]:
    table = [
        "| part | lines | files: n, median, max lines | functions: median, p90, max | docstrings | tests |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    whole = Sizes()
    for package in PACKAGES:
        sizes = measure(ROOT / package)
        unit_tests = measure(ROOT / "tests" / "unit" / Path(package).name)
        table.append(row(package, sizes, unit_tests.lines))
        table.extend(
            row(f"- {folder.name}", measure(folder), None)
            for folder in sorted((ROOT / package).iterdir())
            if folder.is_dir() and any(folder.rglob("*.py"))
        )
        for attribute in ("files", "functions"):
            getattr(whole, attribute).extend(getattr(sizes, attribute))
        whole.documented += sizes.documented
    table.append(row("**all three**", whole, measure(ROOT / "tests").lines))
    table.extend(row(folder, measure(ROOT / folder), None) for folder in OTHERS)
    return table


def main() -> None:
    print("\n".join(rows()))


if __name__ == "__main__":
    main()
