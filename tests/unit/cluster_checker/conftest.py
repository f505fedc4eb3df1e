"""A story begins for each test, with a publisher and a lasting subscriber to everything."""

from collections.abc import Callable

import pytest

from cluster.chaos.checker import judge
from support.chaos_story import Story

Accused = Callable[[Story, str], list[str]]


@pytest.fixture
def story() -> Story:
    """`pub` publishes, `sub` hears "t" and all below, and `#` but for names that begin with "$"."""
    return Story().connects("pub").connects("sub").subscribes("sub", "t/#")


@pytest.fixture
def accused() -> Accused:
    """What one judge says about a story: its sentences."""

    def sentences(story: Story, invariant: str) -> list[str]:
        return [violation.what for violation in judge(story.record, story.terms, [invariant])[0].violations]

    return sentences
