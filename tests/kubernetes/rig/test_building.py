"""Where built programs are kept, and what is said when they cannot be built."""

import json
from pathlib import Path

import pytest

from support.kube import building
from support.kube.components import CERT_MANAGER, COREDNS, FULL, KUBERNETES, MODULES, PROMETHEUS_OPERATOR, Module
from support.kube.problems import ClusterError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
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
    go = tmp_path / "go"
    go.write_text(f"#!/bin/sh\necho '{json.dumps({'Dir': str(tmp_path)})}'\n", encoding="utf-8")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert building.module_folder(CERT_MANAGER) == tmp_path
