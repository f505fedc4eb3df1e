"""A bar chart as SVG, drawn by hand: one bar a peer, its figure at the end, the conditions below. Pure."""

from collections.abc import Sequence
from html import escape

from bench.figures import Summary
from bench.report import Section, number_text, remarks

WIDTH, BAR, GAP, LEFT, RIGHT, LINE = 760, 22, 10, 130, 190, 16
OURS, THEIRS, UNRANKED = "#1f6f8b", "#9aa5b1", "#e0e4e8"
CHARACTERS_PER_LINE = 118


def chart(section: Section, conditions: Sequence[str]) -> str | None:
    """The workload's figure of every peer, the smaller the better; None if no peer has one."""
    bars = [(name, summary) for name, summary in section.peers.items() if summary.figure is not None]
    if not bars:
        return None
    unit = _unit(bars[0][1])
    longest = max(summary.figure.high for _, summary in bars if summary.figure is not None) or 1.0
    parts = [
        _text(10, 24, section.title, size=16),
        _text(10, 42, f"{unit}, less is better; line: lowest to highest round"),
    ]
    top = 58
    for place, (name, summary) in enumerate(bars):
        parts += _bar(top + place * (BAR + GAP), name, summary, longest, OURS if place == 0 else THEIRS)
    below = top + len(bars) * (BAR + GAP) + LINE
    small = [piece for line in conditions for piece in _wrapped(line)]
    parts += [_text(10, below + i * 13, line, size=10, colour="#66707a") for i, line in enumerate(small)]
    height = below + len(small) * 13
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{height}" fill="white"/>', *parts, "</svg>", ""])


def _unit(summary: Summary) -> str:
    if summary.memory_kib is not None:
        return "KiB each"
    return "longest stall, ms" if summary.stall_ms is not None else "broker CPU, µs each"


def _bar(y: int, name: str, summary: Summary, longest: float, colour: str) -> list[str]:
    figure = summary.figure
    assert figure is not None
    scale = (WIDTH - LEFT - RIGHT) / longest
    middle = y + BAR / 2
    label = number_text(figure.median) + (f"  ({remarks(summary)})" if not summary.is_ranked else "")
    fill = colour if summary.is_ranked else UNRANKED
    low, high = LEFT + figure.low * scale, LEFT + figure.high * scale
    return [
        _text(10, middle + 4, name),
        f'<rect x="{LEFT}" y="{y}" width="{max(1.0, figure.median * scale):.1f}" height="{BAR}" fill="{fill}"/>',
        f'<path d="M{low:.1f} {middle}H{high:.1f}" stroke="#333" stroke-width="1.5"/>',
        _text(max(LEFT + figure.median * scale, high) + 6, middle + 4, label[:34]),
    ]


def _text(x: float, y: float, text: str, *, size: int = 12, colour: str = "#1b2733") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}">{escape(text)}</text>'


def _wrapped(line: str) -> list[str]:
    pieces = [""]
    for word in line.split():
        if len(pieces[-1]) + len(word) >= CHARACTERS_PER_LINE:
            pieces.append("")
        pieces[-1] = f"{pieces[-1]} {word}".strip()
    return pieces
