"""Passwords become Argon2id verifiers once; a restart hashes nothing and changes nothing."""

from pathlib import Path

import pytest
from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import VerifyMismatchError

from mqtt_operator.credentials.argon2id import MEMORY_KIB, TIME_COST, standard_hasher, verifier_mistake
from mqtt_operator.local.data_folder import DataFolder
from mqtt_operator.local.verifiers import verifiers_of


class CountingHasher(PasswordHasher):
    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.hashed: list[bytes] = []

    def hash(self, password: bytes | str, *, salt: bytes | None = None) -> str:
        self.hashed.append(password if isinstance(password, bytes) else password.encode())
        return super().hash(password, salt=salt)


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path)


def test_a_verifier_accepts_its_password_only(data: DataFolder, cheap_hasher: PasswordHasher) -> None:
    (verifier,) = verifiers_of(data, {"pump": (b"secret",)}, cheap_hasher).argon2["pump"]
    assert cheap_hasher.verify(verifier, b"secret")
    with pytest.raises(VerifyMismatchError):
        cheap_hasher.verify(verifier, b"other")


def test_a_restart_hashes_nothing_and_gives_the_same(data: DataFolder) -> None:
    passwords = {"a": (b"1", b"2"), "b": (b"1",)}
    hasher = CountingHasher()
    first = verifiers_of(data, passwords, hasher)
    assert len(hasher.hashed) == 3
    assert verifiers_of(data, passwords, hasher) == first
    assert len(hasher.hashed) == 3


def test_only_what_changed_is_hashed(data: DataFolder) -> None:
    hasher = CountingHasher()
    before = verifiers_of(data, {"a": (b"1",)}, hasher).argon2
    after = verifiers_of(data, {"a": (b"2", b"1")}, hasher).argon2
    assert hasher.hashed == [b"1", b"2"]
    assert after["a"][1:] == before["a"]


def test_a_password_that_went_away_is_forgotten(data: DataFolder) -> None:
    hasher = CountingHasher()
    first = verifiers_of(data, {"a": (b"1",)}, hasher)
    verifiers_of(data, {}, hasher)
    assert data.verifiers.read_bytes() == b"{}"
    assert verifiers_of(data, {"a": (b"1",)}, hasher) != first


def test_equal_passwords_of_two_clients_cannot_be_told_from_the_file(
    data: DataFolder, cheap_hasher: PasswordHasher
) -> None:
    found = verifiers_of(data, {"a": (b"same",), "b": (b"same",)}, cheap_hasher).argon2
    assert found["a"] != found["b"]


def test_user_name_and_password_are_kept_apart(data: DataFolder, cheap_hasher: PasswordHasher) -> None:
    found = verifiers_of(data, {"ab": (b"c",), "a": (b"bc",)}, cheap_hasher).argon2
    assert cheap_hasher.verify(found["ab"][0], b"c")
    assert cheap_hasher.verify(found["a"][0], b"bc")


def test_neither_file_holds_a_password_and_both_are_private(data: DataFolder, cheap_hasher: PasswordHasher) -> None:
    verifiers_of(data, {"pump": (b"hunter2",)}, cheap_hasher)
    for path in (data.verifiers, data.verifiers_key):
        assert b"hunter2" not in path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("junk", [b"", b"[1]", b"{"])
def test_a_broken_cache_is_made_again(data: DataFolder, cheap_hasher: PasswordHasher, junk: bytes) -> None:
    data.verifiers.write_bytes(junk)
    (verifier,) = verifiers_of(data, {"pump": (b"x",)}, cheap_hasher).argon2["pump"]
    assert cheap_hasher.verify(verifier, b"x")


def test_the_standard_hash_is_argon2id_with_the_documented_cost() -> None:
    verifier = standard_hasher().hash("x")
    found = extract_parameters(verifier)
    assert (found.type, found.time_cost, found.memory_cost) == (Type.ID, TIME_COST, MEMORY_KIB)
    assert verifier_mistake(verifier) is None
