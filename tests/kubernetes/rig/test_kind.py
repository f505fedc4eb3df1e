"""The backend of kind, against stand-ins for docker, kind and kubectl that write down how they were called."""

from pathlib import Path

import pytest

from support.kube import clusters, definitions, kind
from support.kube.components import KUBERNETES
from support.kube.place import Backend, Place, Record, Tier
from support.kube.problems import ClusterError

MINOR = KUBERNETES.version.rpartition(".")[0]


class StandIns:
    """Programs on the path. `calls` are the lines that they were called with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._calls = folder / "calls"
        for name in ("docker", "kind", "kubectl"):
            self.answer(name, "")

    def answer(self, name: str, text: str, status: int = 0) -> None:
        program = self.folder / name
        program.write_text(
            f"#!/bin/sh\necho \"{name} $*\" >> '{self._calls}'\ncat <<'TEXT'\n{text}\nTEXT\nexit {status}\n",
            encoding="utf-8",
        )
        program.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return self._calls.read_text(encoding="utf-8").splitlines() if self._calls.exists() else []


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIns:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(definitions, "apply", lambda place: None)
    return StandIns(folder)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "clusters" / "dev")


def test_the_newest_image_of_our_minor_version_is_taken(stand_ins: StandIns) -> None:
    images = [f"kindest/node:{tag}" for tag in (f"{MINOR}.2", f"{MINOR}.10", "v1.2.99", "latest")]
    stand_ins.answer("docker", "\n".join(images))
    assert kind.node_image() == f"kindest/node:{MINOR}.10"
    assert kind.missing() is None


@pytest.mark.parametrize(("said", "status"), [("", 0), ("kindest/node:v1.2.3", 0), (f"kindest/node:{MINOR}.1", 1)])
def test_without_docker_or_its_image_there_is_no_kind(said: str, status: int, stand_ins: StandIns) -> None:
    stand_ins.answer("docker", said, status)
    assert kind.missing() == f"Docker does not answer, or has no kindest/node image of {MINOR}"


def test_without_the_program_there_is_no_kind(stand_ins: StandIns) -> None:
    (stand_ins.folder / "kind").unlink()
    assert kind.missing() == "kind is not installed"


def test_up_and_down_name_the_cluster_and_its_kubeconfig(stand_ins: StandIns, place: Place) -> None:
    stand_ins.answer("docker", f"kindest/node:{MINOR}.1")
    assert clusters.up(place, Tier.FAST, Backend.KIND)
    assert place.record() == Record(Backend.KIND, Tier.FAST)
    named = f"--name={place.machine_name} --kubeconfig={place.kubeconfig}"
    assert (
        f"kind create cluster --config={kind.CONFIG} --image=kindest/node:{MINOR}.1 --wait=300s {named}"
        in stand_ins.calls
    )
    clusters.down(place)
    assert stand_ins.calls[-1] == f"kind delete cluster {named}"
    assert not place.root.exists()


def test_an_image_goes_to_the_cluster_by_its_archive(stand_ins: StandIns, place: Place, tmp_path: Path) -> None:
    place.write_record(Record(Backend.KIND, Tier.FULL))
    archive = tmp_path / "image.tar"
    archive.touch()
    clusters.load_image(place, archive)
    assert stand_ins.calls == [f"kind load image-archive {archive} --name={place.machine_name}"]


def test_an_up_that_fails_deletes_the_cluster_and_says_what_kind_said(stand_ins: StandIns, place: Place) -> None:
    stand_ins.answer("docker", f"kindest/node:{MINOR}.1")
    program = stand_ins.folder / "kind"
    program.write_text('#!/bin/sh\n[ "$1" = delete ] && exit 0\necho "no space left" >&2\nexit 1\n', encoding="utf-8")
    with pytest.raises(ClusterError, match="no space left"):
        clusters.up(place, Tier.FAST, Backend.KIND)
    assert not place.root.exists()


def test_the_refusal_names_what_is_missing_for_the_backend_that_was_asked_for(
    stand_ins: StandIns, place: Place
) -> None:
    (stand_ins.folder / "docker").unlink()
    with pytest.raises(ClusterError, match=r"^kind: docker is not installed$"):
        clusters.up(place, Tier.FULL, Backend.KIND)
