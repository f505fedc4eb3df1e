"""One line per tier at the end of a run: how many tests, and for how many seconds they ran."""

from collections import Counter, defaultdict
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


class Tiers:
    """Adds up reports by the first folder below tests/. With several workers the seconds are the sum over them."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.outcomes: dict[str, Counter[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        parts = Path(report.nodeid.split("::")[0]).parts
        tier = parts[1] if len(parts) > 2 else "tests"
        self.seconds[tier] += report.duration
        if report.when == "call" or report.outcome != "passed":
            self.outcomes.setdefault(tier, Counter())[report.outcome] += 1

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for tier, outcomes in sorted(self.outcomes.items(), reverse=True):
            counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items(), reverse=True))
            terminalreporter.write_line(f"{tier}: {counts}, {self.seconds[tier]:.1f} s")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Tiers(), "tiers")
