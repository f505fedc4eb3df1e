"""Tables of pages in docs/ that are made from code: conditions, reasons, alerts, rights.

Knows the marks between which they stand; does not know what else is on a page.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hack import rbac

from mqtt_api.conditions import CONDITIONS, REASONS, ConditionType

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"

OF_ALL = (ConditionType.ACCEPTED, ConditionType.RESOLVED_REFS, ConditionType.PROGRAMMED, ConditionType.READY)
OF_PERMISSIONS = (ConditionType.NO_CONFLICTS,)
ABNORMAL = (
    ConditionType.RECONCILING,
    ConditionType.STALLED,
    ConditionType.SECURITY_POSTURE_LOWERED,
    ConditionType.PAUSED,
)


def pages(alert_files: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[Path, str]]:
    """Each page with its tables as they should be. `alert_files`: by what they are about, then by name."""
    conditions = (DOCS / "conditions.md").read_text(encoding="utf-8")
    conditions = _with(conditions, "conditions", _conditions())
    yield DOCS / "conditions.md", _with(conditions, "reasons", _reasons())
    alerts = (DOCS / "alerts.md").read_text(encoding="utf-8")
    yield DOCS / "alerts.md", _with(alerts, "alerts", _alerts(alert_files))
    rights = (DOCS / "rights.md").read_text(encoding="utf-8")
    yield DOCS / "rights.md", _with(rights, "rights", rbac.explained().strip())


def _conditions() -> str:
    rows = [
        (f"`{condition}`", _owner(condition), "no" if condition in ABNORMAL else "yes", text)
        for condition, text in CONDITIONS.items()
    ]
    return _table(("condition", "on", "true is good", "when it is true"), rows)


def _owner(condition: ConditionType) -> str:
    if condition in OF_ALL:
        return "all three kinds"
    return "TopicPermission" if condition in OF_PERMISSIONS else "MQTTBroker"


def _reasons() -> str:
    return _table(("reason", "what it says"), [(f"`{reason}`", text) for reason, text in REASONS.items()])


def _alerts(alert_files: Mapping[str, Mapping[str, str]]) -> str:
    rows = [
        (f"[{name}](runbooks/{name}.md)", about, ", ".join(_severities(text)), _comment(text))
        for about, files in alert_files.items()
        for name, text in files.items()
    ]
    return _table(("alert", "about", "severity", "what it means"), rows)


def _severities(text: str) -> list[str]:
    document: dict[str, Any] = yaml.safe_load(text)
    return [rule["labels"]["severity"] for group in document["groups"] for rule in group["rules"]]


def _comment(text: str) -> str:
    """The first sentence of the comment on top."""
    lines = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ")]
    return " ".join(lines).partition(". ")[0].removesuffix(".") + "."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _with(page: str, name: str, body: str) -> str:
    """The page with this body between the marks of that name."""
    begin, end = f"<!-- {name}: generated from ", f"<!-- end of {name} -->"
    before, mark, rest = page.partition(begin)
    assert mark, f"no mark for {name}"
    source, _, rest = rest.partition(" -->")
    _, _, after = rest.partition(end)
    return f"{before}{begin}{source} -->\n\n{body}\n\n{end}{after}"
