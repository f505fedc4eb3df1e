"""What the operator is told on its command line and by its pod."""

import pytest

from mqtt_operator.errors import UsageError
from mqtt_operator.settings import OperatorSettings, PullPolicy, read_settings, repository_of

IMAGE = "registry.example/stoa:0.1.0"


def read(*arguments: str, image: str = IMAGE, **environment: str) -> OperatorSettings:
    return read_settings(["--broker-image", image, *arguments], environment)


def test_by_default_it_serves_its_own_namespace_as_its_pod() -> None:
    settings = read(POD_NAMESPACE="stoa-system", POD_NAME="stoa-operator-7c9f")
    assert (settings.namespace, settings.watched) == ("stoa-system", ("stoa-system",))
    assert settings.identity == "stoa-operator-7c9f"
    assert settings.leader_election
    assert not settings.is_cluster_wide


def test_without_a_pod_it_is_named_after_the_machine_and_lives_in_default() -> None:
    settings = read()
    assert (settings.namespace, settings.watched) == ("default", ("default",))
    assert settings.identity


def test_the_command_line_goes_before_the_pod() -> None:
    settings = read("--namespace", "a", "--watch-namespaces", " b,c,,b ", POD_NAMESPACE="x")
    assert (settings.namespace, settings.watched) == ("a", ("b", "c"))


def test_all_namespaces_are_served_only_if_that_is_asked_for() -> None:
    settings = read("--cluster-wide", POD_NAMESPACE="a")
    assert settings.is_cluster_wide
    assert settings.watched == ()


@pytest.mark.parametrize(
    "arguments",
    [("--namespace", "A"), ("--watch-namespaces", "a,b/c"), ("--watch-namespaces", "a" * 64), ("--namespace", "-")],
)
def test_what_cannot_be_a_namespace_is_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="cannot be a namespace"):
        read(*arguments)


@pytest.mark.parametrize("image", ["", "two words", "a,b"])
def test_what_cannot_be_an_image_is_refused(image: str) -> None:
    with pytest.raises(UsageError, match="cannot be an image"):
        read(image=image)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--cluster-wide", "--watch-namespaces", "a"),
        ("--metrics-port", "70000"),
        ("--log-level", "loud"),
        ("--nonsense",),
    ],
)
def test_what_makes_no_sense_ends_the_program_with_a_usage_line(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        read(*arguments)
    assert ended.value.code == 2


def test_the_operators_own_images_are_always_allowed() -> None:
    settings = read(
        "--store-image", "other:5000/redis@sha256:0a", "--allowed-image-repositories", "mirror/stoa,registry/team/"
    )
    assert settings.allowed_image_repositories == (
        "mirror/stoa",
        "other:5000/redis",
        "registry.example/stoa",
        "registry/team/",
    )


def test_the_store_runs_the_image_of_the_nodes_unless_told_otherwise() -> None:
    assert read().store_image == IMAGE
    assert read("--store-image", "redis:7").store_image == "redis:7"


@pytest.mark.parametrize(
    ("image", "repository"),
    [
        ("stoa", "stoa"),
        ("stoa:1", "stoa"),
        ("registry:5000/stoa", "registry:5000/stoa"),
        ("registry:5000/a/stoa:1@sha256:0a", "registry:5000/a/stoa"),
    ],
)
def test_a_repository_is_the_image_without_tag_and_digest(image: str, repository: str) -> None:
    assert repository_of(image) == repository


def test_how_images_are_fetched_is_passed_on() -> None:
    settings = read("--image-pull-policy", "Never", "--image-pull-secrets", "a,b")
    assert (settings.image_pull_policy, settings.image_pull_secrets) == (PullPolicy.NEVER, ("a", "b"))
    assert read().image_pull_policy is PullPolicy.IF_NOT_PRESENT


def test_leader_election_and_the_port_can_be_switched_off() -> None:
    settings = read("--no-leader-election", "--metrics-port", "0")
    assert (settings.leader_election, settings.metrics_port) == (False, 0)
