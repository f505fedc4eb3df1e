"""Who we are towards the API server, and what a request is before anything is sent."""

from pathlib import Path

import pytest
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import kube_config

from mqtt_operator.kube import session as module
from mqtt_operator.kube.session import LoginError, NoAnswerError, Request, Session, find_configuration

KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: plant
contexts: [{name: plant, context: {cluster: plant, user: me}}]
clusters: [{name: plant, cluster: {server: "https://10.0.0.1:6443", insecure-skip-tls-verify: true}}]
users: [{name: me, user: {token: opensesame}}]
"""


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    """A file with this text; None: there is no such file."""
    path = tmp_path / "kubeconfig"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


@pytest.mark.parametrize("text", [KUBECONFIG])
@pytest.mark.usefixtures("kubeconfig")
async def test_a_persons_kubeconfig_says_where_and_who() -> None:
    session = Session()
    await session.open()
    login = await session.login()
    await session.close()
    await session.close()
    assert (login.server, login.token, login.verify) == ("https://10.0.0.1:6443", "opensesame", False)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "[]",
        "just text",
        "{current-context: plant}",
        KUBECONFIG.replace("current-context: plant", "current-context: other"),
        KUBECONFIG.replace("user: me", "user: nobody"),
        KUBECONFIG.replace("clusters:", "others:"),
        "{" + KUBECONFIG,
    ],
    ids=["missing", "empty", "list", "text", "no contexts", "other context", "no user", "no clusters", "no YAML"],
)
@pytest.mark.usefixtures("kubeconfig")
async def test_an_odd_kubeconfig_is_said_in_a_sentence_that_shows_nothing_of_it() -> None:
    with pytest.raises(LoginError, match="finds no API server") as refusal:
        await find_configuration()
    assert "KUBECONFIG" in refusal.value.to_do
    assert "opensesame" not in str(refusal.value)
    assert refusal.value.__cause__ is None


async def test_a_pod_uses_the_account_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token, authority = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("opensesame", encoding="utf-8")
    authority.write_text("no certificate", encoding="utf-8")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr(module, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr("kubernetes.aio.config.incluster_config.SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr("kubernetes.aio.config.incluster_config.SERVICE_CERT_FILENAME", str(authority))
    configuration = await find_configuration()
    assert configuration.host == "https://10.0.0.1:443"
    assert await configuration.get_api_key_with_prefix("BearerToken") == "bearer opensesame"


async def test_nothing_is_sent_before_it_is_open_or_after_it_is_closed() -> None:
    session = Session()
    with pytest.raises(NoAnswerError, match="never opened"):
        await session.request(Request("GET", "/"), seconds_max=1.0)
    session = Session(configured)
    await session.open()
    await session.close()
    with pytest.raises(NoAnswerError, match="closed"):
        await session.request(Request("GET", "/"), seconds_max=1.0)


async def test_however_many_calls_are_refused_at_once_the_log_in_is_read_anew_once() -> None:
    reads = 0

    async def configure() -> Configuration:
        nonlocal reads
        reads += 1
        return await configured()

    session = Session(configure)
    await session.open()
    await session.reload()
    assert reads == 1  # it was read a moment ago
    session._loaded_at -= 60
    for _ in range(3):
        await session.reload()
    assert reads == 2
    await session.close()


async def test_a_log_in_that_cannot_be_read_anew_leaves_the_old_one() -> None:
    async def configure() -> Configuration:
        if session._rest is not None:
            raise LoginError("gone")
        return await configured()

    session = Session(configure)
    await session.open()
    session._loaded_at -= 60
    before = session._rest
    with pytest.raises(LoginError):
        await session.reload()
    assert session._rest is before
    await session.close()


async def configured() -> Configuration:
    return Configuration(host="https://10.0.0.1:6443")
