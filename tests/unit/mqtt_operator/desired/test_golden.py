"""What typical brokers become, whole: a change of any word shows up here, to be looked at and kept on purpose."""

import pytest

from support.desired_examples import DOCUMENTS, GOLDEN, as_golden, built


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_broker_becomes_what_is_written_down(name: str) -> None:
    """After a wanted change: python -m support.desired_examples, and read the difference."""
    assert as_golden(built(name)) == (GOLDEN / f"{name}.yaml").read_text(encoding="utf-8")


def test_nothing_is_written_down_that_no_broker_becomes() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(DOCUMENTS)
