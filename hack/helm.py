"""Charts rendered without a cluster: by the Helm library where it is installed, else by a `helm` on the PATH.

Knows how to ask either; does not know what stands in a chart.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

CHARTS = Path(__file__).resolve().parent.parent / "charts"
KUBE_VERSION = "v1.36.0"
NOTES = "NOTES.txt"
_Loader = getattr(
    yaml, "CSafeLoader", yaml.SafeLoader
)  # the definitions are long: the one in C takes a tenth of the time


class HelmError(Exception):
    """The chart cannot be rendered with these values; the text is Helm's."""


class NoHelmError(HelmError):
    """Neither the library nor the program is here."""


class Release(NamedTuple):
    """What a chart is rendered for. `api_versions`: what the cluster knows besides Kubernetes' own."""

    name: str = "stoa-operator"
    namespace: str = "stoa-system"
    api_versions: Sequence[str] = ()
    kube_version: str = KUBE_VERSION


def render(chart: Path, values: Mapping[str, Any], release: Release) -> dict[str, str]:
    """The texts by their path in the chart, NOTES.txt among them where the library is here. Raises HelmError."""
    try:
        import helm_python
    except ImportError:
        return _by_program(chart, values, release)
    return _by_library(helm_python, chart, values, release)


def objects(texts: Mapping[str, str]) -> list[dict[str, Any]]:
    """Every object in these texts."""
    manifests = (text for path, text in texts.items() if not path.endswith(NOTES))
    return [document for text in manifests for document in yaml.load_all(text, _Loader) if document]


def _by_library(helm: Any, chart: Path, values: Mapping[str, Any], release: Release) -> dict[str, str]:
    options = {
        "name": release.name,
        "namespace": release.namespace,
        "api_versions": list(release.api_versions),
        "kube_version": release.kube_version,
    }
    try:
        with helm.Chart.load(chart) as loaded:
            # Chart.render() does not pass on what the cluster knows, the function below it does.
            native, handle = helm._native, loaded._raw()  # noqa: SLF001 - there is no public name for it
            answer = native.call_string("helm_render", handle, json.dumps(dict(values)), json.dumps(options))
    except helm.HelmError as problem:
        raise HelmError(str(problem)) from problem
    return {path.partition("/")[2]: text for path, text in json.loads(answer).items() if text.strip()}


def _by_program(chart: Path, values: Mapping[str, Any], release: Release) -> dict[str, str]:
    program = shutil.which("helm")
    if program is None:
        raise NoHelmError("Helm is not here: install helm-python-sdk (./hack/test does), or put helm on the PATH.")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "values.json"
        file.write_text(json.dumps(dict(values)), encoding="utf-8")
        known = [f"--api-versions={version}" for version in release.api_versions]
        command = [
            program,
            "template",
            release.name,
            str(chart),
            f"--namespace={release.namespace}",
            f"--values={file}",
        ]
        ran = subprocess.run(
            [*command, f"--kube-version={release.kube_version}", *known], capture_output=True, text=True, check=False
        )
    if ran.returncode != 0:
        raise HelmError(ran.stderr)
    return _by_source(ran.stdout)


def _by_source(text: str) -> dict[str, str]:
    """Helm writes the path of its template above each object."""
    found: dict[str, str] = {}
    for part in text.split("---\n# Source: ")[1:]:
        source, _, body = part.partition("\n")
        path = source.partition("/")[2]
        found[path] = f"{found[path]}---\n{body}" if path in found else body
    return found
