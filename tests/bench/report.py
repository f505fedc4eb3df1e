"""Results as tables: plain text for the terminal, Markdown for documents, JSON for machines. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from bench.figures import Spread, Summary, ranking, ratio

HEADINGS = (
    "rank",
    "broker",
    "per second",
    "busy cores",
    "CPU µs each",
    "store µs each",
    "ratio",
    "p50 µs",
    "p99 µs",
    "KiB each",
    "stall ms",
    "remarks",
)
REMARK_CHARACTERS_MAX = 90


@dataclass(frozen=True)
class Section:
    """One workload and every peer's summary, by the peer's title, in the order of the command line."""

    name: str
    title: str
    peers: Mapping[str, Summary]


def rows(section: Section) -> list[tuple[str, ...]]:
    """One row a peer, as in HEADINGS. The ratio is to the first peer's figure."""
    ranks = {name: str(place) for place, name in enumerate(ranking(section.peers), 1)}
    reference = next(iter(section.peers.values())).figure
    return [_row(name, summary, ranks.get(name, "-"), reference) for name, summary in section.peers.items()]


def _row(name: str, summary: Summary, rank: str, reference: Spread | None) -> tuple[str, ...]:
    against = ratio(summary.figure, reference)
    return (
        rank,
        name,
        _rate(summary),
        spread_text(summary.busy),
        spread_text(summary.cpu_us),
        spread_text(summary.store_us),
        "" if against is None else f"{against:.2f}",
        spread_text(summary.p50_us),
        spread_text(summary.p99_us),
        spread_text(summary.memory_kib),
        spread_text(summary.stall_ms),
        remarks(summary),
    )


def _rate(summary: Summary) -> str:
    text = spread_text(summary.per_second)
    return f"> {text}" if text and summary.is_below_limit else text


def remarks(summary: Summary) -> str:
    """Why there is no rank, and what else must be known."""
    notes = [f"{name} {count:,}" for name, count in summary.faults.items()]
    if summary.problem:
        notes.append(summary.problem.splitlines()[0][:REMARK_CHARACTERS_MAX])
    notes += dict.fromkeys(result.note for result in summary.results if result.note)
    return "; ".join(notes)


def spread_text(spread: Spread | None) -> str:
    """Median, and the range where there was more than one value."""
    if spread is None:
        return ""
    if spread.low == spread.high:
        return number_text(spread.median)
    return f"{number_text(spread.median)} ({number_text(spread.low)}-{number_text(spread.high)})"


def number_text(value: float) -> str:
    """Three digits that mean something, or all digits before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def plain(sections: Sequence[Section], conditions: Sequence[str]) -> str:
    """Columns that nobody filled are left out."""
    lines: list[str] = []
    for section in sections:
        table = [HEADINGS, *rows(section)]
        used = [column for column in range(len(HEADINGS)) if any(row[column] for row in table[1:])]
        widths = {column: max(len(row[column]) for row in table) for column in used}
        lines.append(f"{section.title}  [{section.name}]")
        lines += ["  " + "  ".join(row[c].ljust(widths[c]) for c in used).rstrip() for row in table]
        lines.append("")
    return "\n".join([*lines, *(f"- {line}" for line in conditions), ""])


def markdown(sections: Sequence[Section], conditions: Sequence[str]) -> str:
    table = [(section.title, row) for section in sections for row in rows(section)]
    used = [column for column in range(len(HEADINGS)) if any(row[column] for _, row in table)]
    lines = ["| workload | " + " | ".join(HEADINGS[c] for c in used) + " |", "| --- " * (len(used) + 1) + "|"]
    lines += [f"| {title} | " + " | ".join(row[c] for c in used) + " |" for title, row in table]
    return "\n".join([*lines, "", "Conditions:", "", *(f"- {line}" for line in conditions), ""])


def document(sections: Sequence[Section], conditions: Sequence[str]) -> dict[str, object]:
    """Every single result, for JSON."""
    return {
        "conditions": list(conditions),
        "workloads": [
            {
                "name": section.name,
                "title": section.title,
                "peers": {
                    name: [{**asdict(r), "per_second": r.per_second, "cpu_us": r.cpu_us} for r in summary.results]
                    for name, summary in section.peers.items()
                },
            }
            for section in sections
        ],
    }
