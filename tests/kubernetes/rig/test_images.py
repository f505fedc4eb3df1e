"""Image archives as `docker save` writes them."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

from support.kube import images


def test_an_archive_holds_one_layer_that_its_configuration_names(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")
    image = images.Image("localhost/one:1", ("/bin/program",), {"bin/program": program}, {"bin/sh": "program"}, "65532")
    path = tmp_path / "image.tar"
    images.write(image, path)
    with tarfile.open(path) as archive:
        (entry,) = json.loads(_read(archive, "manifest.json"))
        config, layer = json.loads(_read(archive, entry["Config"])), _read(archive, entry["Layers"][0])
    assert entry["RepoTags"] == ["localhost/one:1"]
    assert config["config"] == {
        "Entrypoint": ["/bin/program"],
        "User": "65532",
        "Env": ["PATH=/bin"],
        "WorkingDir": "/",
    }
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    with tarfile.open(fileobj=io.BytesIO(layer)) as files:
        assert {entry.name: (oct(entry.mode), entry.linkname) for entry in files} == {
            "bin/program": ("0o755", ""),
            "bin/sh": ("0o644", "program"),
            "tmp": ("0o1777", ""),
        }


def test_one_image_is_the_same_archive_twice(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")
    archives = [tmp_path / name for name in ("a.tar", "b.tar")]
    for archive in archives:
        images.write(images.Image("localhost/one:1", ("/program",), {"program": program}), archive)
    assert archives[0].read_bytes() == archives[1].read_bytes()


def test_layers_lie_in_the_archive_in_the_order_in_which_they_are_laid_over_each_other(tmp_path: Path) -> None:
    layers = [tmp_path / name for name in ("lower", "upper")]
    for layer in layers:
        layer.write_bytes(layer.name.encode())
    path = tmp_path / "image.tar"
    images.write_layers("localhost/two:1", images.Start(["/program"], env={"B": "2", "A": "1"}), layers, path)
    with tarfile.open(path) as archive:
        (entry,) = json.loads(_read(archive, "manifest.json"))
        config = json.loads(_read(archive, entry["Config"]))
        assert [_read(archive, name) for name in entry["Layers"]] == [b"lower", b"upper"]
    assert config["config"]["Env"] == ["A=1", "B=2"]


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()
