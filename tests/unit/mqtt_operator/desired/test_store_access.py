"""How the operator reaches a store: settings without files, and secrets that nobody sees by accident."""

import pytest

from mqtt_operator.desired.store_access import (
    MissingEntryError,
    RedisSecrets,
    managed_access,
    managed_admin_access,
    redis_access,
)
from support.desired_examples import example

OPERATOR_SECRET = {"password": b"word", "admin-password": b"admins", "ca.crt": b"CA"}


def test_the_managed_store_knows_the_operator_and_an_administrator() -> None:
    broker = example("trial")
    access = managed_access(broker, OPERATOR_SECRET)
    assert (access.settings.username, access.secrets.password) == ("operator", "word")
    assert access.settings.addresses == ("trial-store.mqtt.svc:6379",)
    assert access.settings.tls is not None
    assert (access.settings.tls.ca_files, access.secrets.ca_pem) == ((), "CA")
    admin = managed_admin_access(broker, OPERATOR_SECRET)
    assert (admin.settings.username, admin.secrets.password) == ("admin", "admins")


def test_a_redis_of_people_s_own_knows_the_operator_by_its_own_log_in() -> None:
    secrets = RedisSecrets(
        node={"username": b"n", "secret": b"nodes"}, operator={"username": b"o \n", "password": b"word\n"}, ca_pem="CA"
    )
    access = redis_access(example("plant"), secrets)
    assert (access.settings.username, access.secrets.password) == ("o", "word")
    assert (access.settings.key_prefix, access.settings.password_file) == ("mqtt.plant", None)
    assert access.secrets.ca_pem == "CA"


def test_without_one_it_logs_in_as_the_nodes_do() -> None:
    access = redis_access(
        example("guarded"), RedisSecrets(node={"password": b"nodes"}, sentinel={"username": b"s", "password": b"p"})
    )
    assert (access.settings.username, access.secrets.password) == (None, "nodes")
    assert (access.settings.sentinel_username, access.secrets.sentinel_password) == ("s", "p")
    assert access.settings.tls is None


def test_a_redis_without_passwords_is_asked_for_none() -> None:
    access = redis_access(example("plant", sessionStore={"redis": {"addresses": ["redis:6379"]}}), RedisSecrets())
    assert (access.settings.username, access.secrets.password, access.secrets.sentinel_password) == (None, None, None)


@pytest.mark.parametrize("entries", [{}, {"username": b"o"}, {"username": b"o", "password": b"\xff"}])
def test_an_entry_that_is_missing_or_no_text_is_named(entries: dict[str, bytes]) -> None:
    secrets = RedisSecrets(node={"username": b"n", "secret": b"nodes"}, operator=entries)
    with pytest.raises(MissingEntryError) as caught:
        redis_access(example("plant"), secrets)
    assert caught.value.ref.name == "redis-operator"
    assert caught.value.key == ("password" if entries else "username")


def test_secrets_are_not_shown() -> None:
    access = managed_access(example("trial"), OPERATOR_SECRET)
    assert "word" not in repr(access.secrets)
    assert "secret-word" not in repr(RedisSecrets(node={"password": b"secret-word"}))
