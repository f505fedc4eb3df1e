"""Programs of other people that some tests need."""

import os
import shutil

import pytest


def require(command: str) -> str:
    """The path of a program; without it the test is skipped, but never in CI: there it is expected."""
    found = shutil.which(command)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{command} is not installed")
        pytest.skip(f"{command} is not installed: ./hack/test says how")
    return found
