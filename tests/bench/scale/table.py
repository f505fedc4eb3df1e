"""Figures of one kind each, with what was to be reached: printed as lines, and as Markdown. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured value in words, `target` empty where there is none."""

    what: str
    value: str
    target: str = ""


def plain(title: str, figures: Sequence[Figure]) -> str:
    width = max(len(figure.what) for figure in figures)
    middle = max(len(figure.value) for figure in figures)
    lines = [f"  {f.what.ljust(width)}  {f.value.ljust(middle)}  {f.target}".rstrip() for f in figures]
    return "\n".join([title, *lines, ""])


def markdown(title: str, figures: Sequence[Figure]) -> str:
    lines = [f"| {title} | measured | to reach |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {f.what} | {f.value} | {f.target} |" for f in figures), ""])
