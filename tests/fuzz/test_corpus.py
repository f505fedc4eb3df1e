"""Every input that was ever worth keeping, through every target; and a little of what hack/fuzz does for longer."""

from itertools import islice
from pathlib import Path

import pytest

from fuzz import corpora
from fuzz.mutate import mutations

MUTATIONS = 300  # of each target: quick, and the same ones each time


@pytest.mark.parametrize("name", corpora.TARGETS)
def test_every_kept_input_passes(name: str) -> None:
    for path in corpora.files(name):
        try:
            corpora.target(name).run(corpora.read(path))
        except Exception as problem:
            raise AssertionError(f"{path} fails: {problem}") from problem


@pytest.mark.parametrize("name", corpora.TARGETS)
def test_inputs_of_one_target_do_no_harm_to_another(name: str) -> None:
    for other in corpora.TARGETS:
        for data in corpora.inputs(other):
            corpora.target(name).run(data)


@pytest.mark.parametrize("name", corpora.TARGETS)
def test_mutations_of_kept_inputs_pass(name: str) -> None:
    for data in islice(mutations(corpora.inputs(name), seed=0), MUTATIONS):
        corpora.target(name).run(data)


@pytest.mark.parametrize("name", corpora.TARGETS)
def test_kept_inputs_are_small(name: str) -> None:
    assert all(len(data) <= corpora.INPUT_BYTES_MAX for data in corpora.inputs(name))


def test_input_that_is_found_is_kept_with_its_reason_and_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpora, "FOLDER", tmp_path)
    data = bytes(range(100))
    path = corpora.keep("codec", data, "it was odd")
    assert corpora.inputs("codec") == [data]
    assert path.read_text().startswith("# it was odd\n")
    assert corpora.keep("codec", data, "it was odd") == path
