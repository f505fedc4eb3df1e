"""What a run prints: findings per invariant, faults by kind with their hits, and the violations with evidence.

Pure: values in, text out.
"""

from collections import Counter
from collections.abc import Collection, Iterable

from msgspec import Struct, field

from cluster.chaos.checker import judge
from cluster.chaos.history import History
from cluster.chaos.hits import Tally, tally
from cluster.chaos.planted import PLANTS
from cluster.chaos.record import Acknowledged, Received, Record, only
from cluster.chaos.terms import Terms
from cluster.chaos.verdict import Finding, Violation

VIOLATIONS_SHOWN_MAX = 10


class Report(Struct):
    """One round judged. Of the judges with a bug planted for them, `caught` saw it and `blind` did not."""

    findings: list[Finding]
    faults: dict[str, Tally]
    acknowledged: int
    received: int
    caught: list[str] = field(default_factory=list)
    blind: list[str] = field(default_factory=list)

    @property
    def untried(self) -> list[str]:
        """Judges for whose bug there was no place."""
        return [name for name in PLANTS if name not in (*self.caught, *self.blind)]

    @property
    def violations(self) -> list[Violation]:
        return [violation for finding in self.findings for violation in finding.violations]

    @property
    def is_clean(self) -> bool:
        """Nothing is broken, and every judge that could be tested saw its planted bug."""
        return not self.violations and not self.blind


def examine(record: Record, terms: Terms, proven: Collection[str] = ()) -> Report:
    """Judge a record; then, on copies of it, put each judge to the test that is not `proven` by an earlier round."""
    history = History(record, terms)
    report = Report(
        findings=judge(record, terms),
        faults=tally(history),
        acknowledged=sum(event.reason < 0x80 for event in only(record, Acknowledged)),
        received=len(only(record, Received)),
    )
    before = {finding.invariant: len(finding.violations) for finding in report.findings}
    for name in [name for name in PLANTS if name not in proven]:
        planted = PLANTS[name](record, terms)
        if planted is not None:
            (report.caught if _count(planted, terms, name) > before[name] else report.blind).append(name)
    return report


def _count(record: Record, terms: Terms, name: str) -> int:
    return len(judge(record, terms, [name])[0].violations)


def total(reports: list[Report]) -> Report:
    """All rounds as one."""
    findings: dict[str, Finding] = {}
    for report in reports:
        for finding in report.findings:
            known = findings.setdefault(finding.invariant, Finding(finding.invariant, finding.title))
            known.looked_at += finding.looked_at
            known.violations += finding.violations
            for name, value in finding.figures.items():
                known.figures[name] = max(known.figures.get(name, 0.0), value)
    return Report(
        findings=list(findings.values()),
        faults=_sum(reports),
        acknowledged=sum(report.acknowledged for report in reports),
        received=sum(report.received for report in reports),
        caught=_named(report.caught for report in reports),
        blind=_named(report.blind for report in reports),
    )


def _named(judges: Iterable[list[str]]) -> list[str]:
    together = {name for names in judges for name in names}
    return [name for name in PLANTS if name in together]


def _sum(reports: list[Report]) -> dict[str, Tally]:
    struck: Counter[str] = Counter()
    hit: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for report in reports:
        for kind, one in report.faults.items():
            struck[kind] += one.struck
            hit[kind] += one.hit
            most[kind] = max(most[kind], one.in_flight_max)
    return {kind: Tally(struck[kind], hit[kind], most[kind]) for kind in sorted(struck)}


def render(report: Report) -> str:
    """The whole of it as text."""
    lines = ["", "fault                   struck   hit  in flight, most"]
    lines += [f"{kind:22}{one.struck:8}{one.hit:6}{one.in_flight_max:17}" for kind, one in report.faults.items()]
    lines += ["", "invariant                                                looked at  violations"]
    for finding in report.findings:
        figures = " ".join(f"{name}={value:g}" for name, value in finding.figures.items())
        title = f"{finding.invariant:4}{finding.title}"
        lines.append(f"{title:55}{finding.looked_at:11}{len(finding.violations):12}  {figures}".rstrip())
    lines += ["", f"messages acknowledged {report.acknowledged}, received {report.received}"]
    lines.append(f"planted bugs caught: {' '.join(name for name in report.caught if name not in report.blind)}")
    if report.untried:
        lines.append(f"no place for a planted bug: {' '.join(report.untried)}")
    if report.blind:
        lines.append(f"PLANTED BUGS MISSED: {' '.join(report.blind)}")
    lines += ["", *(str(violation) for violation in report.violations[:VIOLATIONS_SHOWN_MAX])]
    if len(report.violations) > VIOLATIONS_SHOWN_MAX:
        lines.append(f"... and {len(report.violations) - VIOLATIONS_SHOWN_MAX} more violations")
    lines.append(f"violations: {len(report.violations)}")
    return "\n".join(lines)
