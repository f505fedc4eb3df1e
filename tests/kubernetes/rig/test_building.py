"""Where built programs are kept, and what is said when they cannot be built."""

import json
import os
from pathlib import Path

import pytest

from support.kube import building, clusters, definitions, local
from support.kube.components import CERT_MANAGER, COREDNS, FULL, KUBERNETES, MODULES, PROMETHEUS_OPERATOR, Module
from support.kube.place import Tier
from support.kube.problems import ClusterError
from support.kube.shared import require

_MONITORING = "example/prometheus-operator-crd/monitoring.coreos.com"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ours is empty. That of Go stays: it would compile its standard library for minutes."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    monkeypatch.setenv("GOCACHE", os.environ.get("GOCACHE") or str(home / "go-build"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "stoa-kubernetes"


def _module(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> Module:
    """A module of our own with no dependencies."""
    monkeypatch.setattr("support.kube.components.MODULES", folder)
    module = Module("hello", "example.org/upstream", (".",))
    module.folder.mkdir(exist_ok=True)
    (module.folder / "go.mod").write_text(
        "module hello\n\ngo 1.26.0\n\n// example.org/upstream v1.2.3\n", encoding="utf-8"
    )
    (module.folder / "main.go").write_text(source, encoding="utf-8")
    module.__dict__["version"] = "v1.2.3"
    return module


def test_every_module_names_the_version_of_what_it_is_for() -> None:
    for module in (*FULL, PROMETHEUS_OPERATOR):
        assert module.version.startswith("v")
    assert {module.name for module in (*FULL, PROMETHEUS_OPERATOR)} == {path.name for path in MODULES.iterdir()}


def test_kubernetes_stands_on_its_own_published_parts_of_the_same_version() -> None:
    """Its go.mod points at folders of its own repository, which a module that uses it has to point elsewhere."""
    lines = (KUBERNETES.folder / "go.mod").read_text(encoding="utf-8").splitlines()
    replaced = [line.split() for line in lines if " => " in line]
    assert len(replaced) > 30
    assert all(line == [line[0], "=>", line[0], KUBERNETES.version.replace("v1.", "v0.")] for line in replaced)


def test_a_program_is_kept_under_everything_it_is_made_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = _module(tmp_path, monkeypatch, "package main")
    before = building.program_path(module, "hello")
    assert building.program_path(module, "hello") == before
    (module.folder / "go.sum").write_text("a line", encoding="utf-8")
    assert building.program_path(module, "hello") != before


def test_a_program_is_built_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if reason := building.missing_go():
        pytest.skip(reason)
    module = _module(tmp_path, monkeypatch, "package main\n\nfunc main() {}\n")
    wanted = {module: ("hello",)}
    assert building.missing(wanted) == {module: ["hello"]}
    building.build(wanted)
    assert building.missing(wanted) == {}
    assert "Building hello (example.org/upstream v1.2.3)" in capsys.readouterr().err
    building.build(wanted)
    assert capsys.readouterr().err == ""
    assert [path.name for path in building.program_path(module, "hello").parent.iterdir()] == ["hello"]


def test_a_build_that_fails_says_what_go_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := building.missing_go():
        pytest.skip(reason)
    module = _module(tmp_path, monkeypatch, "package main\n\nfunc main() { nothing() }\n")
    with pytest.raises(ClusterError, match="undefined: nothing"):
        building.build({module: ("hello",)})
    assert building.missing({module: ("hello",)})


def _stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """A `go` that says its version, and otherwise does this. Each call is a line of the file that is returned."""
    go, calls = folder / "bin" / "go", folder / "calls"
    go.parent.mkdir()
    go.write_text(
        f"#!/bin/sh\n[ $1 = version ] && echo 'go version go1.26.0 linux/amd64' && exit\n"
        f'echo "$1" >> {calls}\n{script}\n',
        encoding="utf-8",
    )
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{go.parent}:/usr/bin:/bin")
    return calls


def test_what_could_not_be_fetched_is_asked_for_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = _module(tmp_path, monkeypatch, "package main")
    first = f"[ $(wc -l < {tmp_path}/calls) = 1 ] && echo 'go: i/o timeout' >&2 && exit 1"
    result = 'for word; do case $word in /*) touch "$word/hello";; esac; done'
    calls = _stand_in(tmp_path, monkeypatch, f"{first}\n{result}")
    building.build({module: ("hello",)})
    assert calls.read_text(encoding="utf-8").split() == ["list", "list", "build"]
    assert building.missing({module: ("hello",)}) == {}


def test_what_cannot_be_fetched_is_given_up_and_nothing_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = _module(tmp_path, monkeypatch, "package main")
    calls = _stand_in(tmp_path, monkeypatch, "echo 'go: no such host' >&2; exit 1")
    with pytest.raises(ClusterError, match=r"^hello .* could not be fetched: go: no such host$"):
        building.build({module: ("hello",)})
    assert calls.read_text(encoding="utf-8").split() == ["list"] * building.FETCH_ATTEMPTS_MAX


def test_a_server_of_modules_that_does_not_answer_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "FETCH_S_MAX", 0.2)
    module = _module(tmp_path, monkeypatch, "package main")
    _stand_in(tmp_path, monkeypatch, "exec sleep 60")
    with pytest.raises(ClusterError, match=r"not done within 0\.2 s"):
        building.build({module: ("hello",)})
    with pytest.raises(ClusterError, match=r"not done within 0\.2 s"):
        building.module_folder(module)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("go version go1.25.9 linux/amd64", "Go 1.26 or newer is needed, this is go version go1.25.9 linux/amd64"),
        ("", "Go 1.26 or newer is needed, this is unknown"),
        ("go version go1.26.0 linux/amd64", None),
        ("go version go2.0 linux/amd64", None),
    ],
)
def test_an_old_go_is_named(said: str, reason: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = tmp_path / "go"
    go.write_text(f"#!/bin/sh\necho '{said}'\n", encoding="utf-8")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert building.missing_go() == reason


def test_without_go_it_says_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match=r"^Go is not installed: https://go.dev/dl$"):
        building.build({COREDNS: ("coredns",), CERT_MANAGER: ("cert-manager",)})


def test_a_module_that_cannot_be_fetched_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = tmp_path / "go"
    go.write_text('#!/bin/sh\necho \'{"Error": "no such host"}\'\nexit 1\n', encoding="utf-8")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ClusterError, match="no such host"):
        building.module_folder(CERT_MANAGER)


def test_files_of_a_module_are_found_in_its_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stand_in(tmp_path, monkeypatch, f"echo '{json.dumps({'Dir': str(tmp_path)})}'")
    assert building.module_folder(CERT_MANAGER) == tmp_path


def test_definitions_are_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = _stand_in(tmp_path, monkeypatch, f"echo '{json.dumps({'Dir': str(tmp_path)})}'")
    for name in ("deploy/crds/certificates.yaml", *(f"{_MONITORING}_{name}.yaml" for name in definitions.MONITORING)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    assert not definitions.are_fetched()
    definitions.fetch()
    assert definitions.are_fetched()
    definitions.fetch()
    assert calls.read_text(encoding="utf-8").split() == ["mod", "mod"]  # one for each module


def test_a_cluster_that_is_built_needs_no_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "is_built", lambda tier: True)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert local.missing(Tier.FAST) is None
    monkeypatch.setattr(local, "is_built", lambda tier: False)
    assert local.missing(Tier.FAST) == "Go is not installed: https://go.dev/dl"


def test_a_test_that_needs_a_cluster_is_skipped_where_none_could_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is in this test's cache."""
    monkeypatch.setattr(clusters, "missing", lambda tier, backend: None)
    with pytest.raises(pytest.skip.Exception, match=r"^Kubernetes is not built: \./hack/test kubernetes builds it"):
        require(Tier.FAST)
