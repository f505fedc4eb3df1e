"""SCRAM verifiers: made only where a chain asks for them, once, and from the same passwords as the others."""

from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher

from mqtt_api.policy import ScramMechanism, decode_policy
from mqtt_api.resources import MQTTBroker, parse_document
from mqtt_api.scram import ITERATIONS, SALT_KEY_BYTES, salt_of
from mqtt_operator.credentials import verifiers
from mqtt_operator.credentials.scram import make_verifier, mechanisms_of, password_mistake, username_mistake
from mqtt_operator.local.data_folder import DataFolder
from mqtt_operator.local.deploy import Deployment, Site
from mqtt_operator.local.reconciler import Options, Reconciler
from mqtt_operator.local.verifiers import verifiers_of

BOTH = tuple(ScramMechanism)
SHA_256, SHA_512 = BOTH
PASSWORDS = {"name": "passwords", "type": "Password"}
SCRAM = {"name": "scram", "type": "SCRAM"}
KEY = bytes(SALT_KEY_BYTES)


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path)


def of(document: dict[str, Any]) -> tuple[ScramMechanism, ...]:
    broker = parse_document(document)
    assert isinstance(broker, MQTTBroker)
    return mechanisms_of(broker)


def test_the_mechanisms_are_those_that_any_chain_offers(broker: Any) -> None:
    own = {"name": "b", "port": 1, "tls": {}, "authentication": [{**SCRAM, "mechanisms": ["SCRAM-SHA-512"]}]}
    assert of(broker()) == ()
    assert of(broker(authentication=[PASSWORDS, SCRAM])) == BOTH
    assert of(broker(listeners=[own])) == (SHA_512,)
    assert of(broker(authentication=[{**SCRAM, "mechanisms": ["SCRAM-SHA-256"]}], listeners=[own])) == BOTH


def test_a_verifier_has_the_documented_cost_and_the_salt_of_its_name() -> None:
    made = make_verifier(KEY, SHA_256, "pump", b"secret")
    assert (made.iterations, made.salt) == (ITERATIONS, salt_of(KEY, SHA_256, "pump"))
    assert made.is_whole
    assert b"secret" not in made.stored_key + made.server_key


def test_a_restart_makes_nothing_and_gives_the_same(
    data: DataFolder, cheap_hasher: PasswordHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords = {"a": (b"1", b"2"), "b": (b"1",)}
    first = verifiers_of(data, passwords, cheap_hasher, BOTH)
    assert {user: len(found) for user, found in first.scram.items()} == {"a": 4, "b": 2}
    monkeypatch.setattr(verifiers, "make_verifier", lambda *_: pytest.fail("made again"))
    assert verifiers_of(data, passwords, cheap_hasher, BOTH) == first


def test_without_a_chain_that_asks_there_are_none_and_they_are_forgotten(
    data: DataFolder, cheap_hasher: PasswordHasher
) -> None:
    with_scram = verifiers_of(data, {"a": (b"1",)}, cheap_hasher, BOTH)
    assert b"stored_key" in data.verifiers.read_bytes()
    without = verifiers_of(data, {"a": (b"1",)}, cheap_hasher)
    assert (without.scram, without.salt_key) == ({"a": ()}, b"")
    assert without.argon2 == with_scram.argon2
    assert b"stored_key" not in data.verifiers.read_bytes()


def test_both_passwords_of_a_rotation_share_a_salt(data: DataFolder, cheap_hasher: PasswordHasher) -> None:
    """One challenge has to do for both."""
    found = verifiers_of(data, {"a": (b"old", b"new")}, cheap_hasher, (SHA_256,)).scram["a"]
    assert len({each.salt for each in found}) == 1
    assert len({each.stored_key for each in found}) == 2


def test_equal_passwords_of_two_clients_cannot_be_told_from_their_verifiers(
    data: DataFolder, cheap_hasher: PasswordHasher
) -> None:
    found = verifiers_of(data, {"a": (b"same",), "b": (b"same",)}, cheap_hasher, (SHA_256,)).scram
    assert found["a"][0].stored_key != found["b"][0].stored_key


def test_another_count_of_iterations_makes_them_anew(
    data: DataFolder, cheap_hasher: PasswordHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifiers_of(data, {"a": (b"1",)}, cheap_hasher, (SHA_256,))
    before = data.verifiers.read_bytes()
    monkeypatch.setattr(verifiers, "ITERATIONS", ITERATIONS + 1)
    verifiers_of(data, {"a": (b"1",)}, cheap_hasher, (SHA_256,))
    assert data.verifiers.read_bytes() != before


@pytest.mark.parametrize(
    ("password", "wrong"),
    [
        (b"secret", None),
        ("pässwörd".encode(), None),
        (b"\xff\xfe", "UTF-8"),
        (b"line\n", "line break"),
        ("\u00ad".encode(), "empty"),
    ],
)
def test_a_password_that_scram_cannot_prove_is_left_out_and_named(
    data: DataFolder, cheap_hasher: PasswordHasher, password: bytes, wrong: str | None
) -> None:
    found = verifiers_of(data, {"a": (password, b"good")}, cheap_hasher, (SHA_256,))
    mistake = password_mistake(password)
    if wrong is None:
        assert mistake is None
        assert len(found.scram["a"]) == 2
    else:
        assert mistake is not None
        assert wrong in mistake
        assert len(found.scram["a"]) == 1
        with pytest.raises(ValueError, match="the password"):
            make_verifier(KEY, SHA_256, "a", password)
    assert len(found.argon2["a"]) == 2


def test_a_user_name_that_changes_when_it_is_prepared_is_named() -> None:
    assert username_mistake("pump-7") is None
    for username in ("pu\u00admp", "\u2168", "a\u0007"):
        assert username_mistake(username) is not None


def test_what_cannot_log_in_by_scram_is_noted(folder: Any, broker: Any, client: Any, secret: Any) -> None:
    sources = [{"secretRef": {"name": "s", "hashKey": "h"}}, {"secretRef": {"name": "s", "key": "k"}}]
    folder.put("broker.yaml", broker(authentication=[SCRAM]))
    folder.put("clients.yaml", client("pump-1"), client("pump-2", username="pu\u00admp"))
    folder.put("more.yaml", client("pump-3", credentials={"passwords": sources}))
    phc = PasswordHasher(memory_cost=8192, time_cost=1, parallelism=1).hash("x")
    folder.put("secret.yaml", secret("s", {"h": phc, "k": "tab\t"}))
    notes = " ".join(folder.read().notes)
    assert notes.count("no log-in by SCRAM") == 3
    assert "the user name is not what SASLprep" in notes
    assert "passwords[0]: no log-in by SCRAM: a hash is not enough" in notes
    assert "passwords[1]: no log-in by SCRAM: the password holds a character" in notes
    assert "tab\t" not in notes
    folder.put("broker.yaml", broker())
    assert folder.read().notes == ()


def deployed(folder: Any, data: DataFolder, hasher: PasswordHasher) -> Deployment:
    data.root.mkdir(exist_ok=True)
    site = Site(admin_socket=data.root / "s.sock")
    return Reconciler(Options(folder=folder.path), data, [site], hasher=hasher).start(folder.read())


def test_the_policy_holds_them_and_never_the_password(
    folder: Any, broker: Any, client: Any, tmp_path: Path, cheap_hasher: PasswordHasher
) -> None:
    data = DataFolder(tmp_path / "data")
    folder.put("broker.yaml", broker(authentication=[SCRAM]))
    folder.put("clients.yaml", client())
    deployed(folder, data, cheap_hasher)
    written = data.policy.read_bytes()
    policy = decode_policy(written)
    assert {each.mechanism for each in policy.principals["pump-7"].scram} == set(BOTH)
    assert len(policy.scram_salt_key) == SALT_KEY_BYTES
    password = (data.secret("default", "pump-7-mqtt") / "password").read_bytes()
    assert password not in written + data.verifiers.read_bytes()
    deployed(folder, data, cheap_hasher)
    assert data.policy.read_bytes() == written


def test_nobody_is_shown_how_to_send_a_password_where_none_is_taken(
    folder: Any, broker: Any, client: Any, tmp_path: Path, cheap_hasher: PasswordHasher
) -> None:
    data = DataFolder(tmp_path / "data")
    folder.put("clients.yaml", client())
    for chain, accounts in [([SCRAM], 0), ([SCRAM, PASSWORDS], 1)]:
        folder.put("broker.yaml", broker(authentication=chain))
        assert len(deployed(folder, data, cheap_hasher).accounts) == accounts
