"""Charts as tests see them: rendered objects by kind and name, and what Helm refuses.

Knows hack/helm.py; does not know what stands in a chart.
"""

import json
import os
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.processes import ROOT

sys.path.append(str(ROOT))

from hack.helm import CHARTS, HelmError, NoHelmError, Release, objects, render

OPERATOR, BROKER = CHARTS / "stoa-operator", CHARTS / "stoa"
NAMES = {OPERATOR: "stoa-operator", BROKER: "plant"}
NAMESPACES = {OPERATOR: "stoa-system", BROKER: "plant"}

Manifest = dict[str, Any]


class Rendered:
    """What a chart makes of some values."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = dict(texts)
        self.objects: list[Manifest] = objects(texts)

    @property
    def notes(self) -> str:
        return self.texts["templates/NOTES.txt"]

    @property
    def names(self) -> list[str]:
        """Kind, namespace and name of each object."""
        return sorted("/".join(identity(each)) for each in self.objects)

    def all(self, kind: str) -> list[Manifest]:
        return [each for each in self.objects if each["kind"] == kind]

    def one(self, kind: str, name: str = "") -> Manifest:
        (found,) = [each for each in self.all(kind) if name in ("", each["metadata"]["name"])]
        return found


def rendered(chart: Path, values: Mapping[str, Any] | None = None, **about: Any) -> Rendered:
    """The chart with these values. `about`: fields of Release. Raises HelmError; skipped where Helm is not."""
    release = {"name": NAMES[chart], "namespace": NAMESPACES[chart], **about}
    try:
        return Rendered(_texts(chart, json.dumps(values or {}), json.dumps(release)))
    except NoHelmError as problem:
        if os.environ.get("CI"):
            pytest.fail(str(problem))
        pytest.skip(str(problem))


@cache
def _texts(chart: Path, values: str, release: str) -> dict[str, str]:
    """Remembered: a chart with the definitions in it takes a tenth of a second."""
    return render(chart, json.loads(values), Release(**json.loads(release)))


def identity(manifest: Manifest) -> tuple[str, str, str]:
    return manifest["kind"], manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"]


def value_files(chart: Path) -> list[Path]:
    return sorted((chart / "ci").glob("*-values.yaml"))


def values_of(file: Path) -> Manifest:
    loaded: Manifest = yaml.safe_load(file.read_text(encoding="utf-8"))
    return loaded


__all__ = [
    "BROKER",
    "OPERATOR",
    "HelmError",
    "Manifest",
    "Rendered",
    "identity",
    "rendered",
    "value_files",
    "values_of",
]
