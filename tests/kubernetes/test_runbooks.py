"""The command lines of the runbooks, run as they stand there; only the namespace is another one."""

import re
import shlex
from pathlib import Path

import pytest

from support.kube import kubectl
from support.kube.place import Place
from support.processes import ROOT

PAGES = sorted((ROOT / "docs" / "runbooks").glob("*.md"))
NEEDS_A_NODE = ("top",)  # figures that only a kubelet has


def lines(page: Path) -> list[str]:
    (block,) = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [line for line in block.splitlines() if line.split()[1] not in NEEDS_A_NODE]


@pytest.fixture
def plant(cluster: Place, namespace: str) -> str:
    """A namespace with the objects of the quickstart."""
    kubectl.call(
        cluster, "apply", "--server-side", f"--namespace={namespace}", f"--filename={ROOT}/manifests/quickstart.yaml"
    )
    return namespace


def test_every_line_looks_at_something_that_is_there(cluster: Place, plant: str) -> None:
    ran = 0
    for line in sorted({line for page in PAGES for line in lines(page)}):
        _, *arguments = shlex.split(line.replace("--namespace mqtt", f"--namespace {plant}"))
        kubectl.call(cluster, *arguments)
        ran += 1
    assert ran > 10
