"""The parts that tell the stories, put together as the settings say."""

from pathlib import Path

import pytest

from mqtt_operator.errors import ExpectedError
from mqtt_operator.handlers.parts import private_folder, surroundings
from mqtt_operator.settings import read_settings


def test_passwords_lie_in_an_empty_folder_that_nobody_else_may_read(tmp_path: Path) -> None:
    folder = private_folder(tmp_path, "operator-0")
    assert folder.stat().st_mode & 0o777 == 0o700
    (folder / "password").write_text("left by one that was killed", encoding="utf-8")
    assert list(private_folder(tmp_path, "operator-0").iterdir()) == []
    assert private_folder(tmp_path, "operator-1") != folder


def test_a_place_that_somebody_else_has_laid_is_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "stoa-operator-operator-0").symlink_to(elsewhere)
    with pytest.raises(ExpectedError, match="cannot be made"):
        private_folder(tmp_path, "operator-0")
    assert elsewhere.exists()


def test_the_stories_know_what_the_settings_say(tmp_path: Path) -> None:
    arguments = [
        "--broker-image",
        "registry/stoa:1",
        "--store-image",
        "registry/redis:7",
        "--image-pull-policy",
        "Never",
    ]
    arguments += ["--image-pull-secrets", "a,b", "--node-host", "::", "--cluster-domain", "plant.local"]
    around = surroundings(read_settings(arguments, {"POD_NAMESPACE": "stoa-system"}), tmp_path)
    assert (around.namespace, around.image, around.store_image) == (
        "stoa-system",
        "registry/stoa:1",
        "registry/redis:7",
    )
    assert around.allowed_repositories == ("registry/redis", "registry/stoa")
    assert (around.pull_policy, around.pull_secrets) == ("Never", ("a", "b"))
    assert (around.host, around.cluster_domain, around.private_folder) == ("::", "plant.local", tmp_path)
    assert around.version
