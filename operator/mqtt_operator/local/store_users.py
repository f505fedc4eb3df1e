"""Passwords for the users of a store: made once, kept in files of mode 0600, and given to a server that lets us.

Knows files and which user is for whom; does not know how Redis writes users.
"""

import secrets
from pathlib import Path

import msgspec

from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired.redis_settings import LogIn, RedisPlace, build_redis_settings, key_prefix
from mqtt_operator.local.data_folder import DataFolder
from mqtt_operator.local.files import make_private_folder, read_or_none, write_private

PASSWORD_BYTES = 32


def make_log_in(folder: Path, user: str, username: str) -> LogIn:
    """The log-in of NODE or OPERATOR, with a new password if there is none in this folder. Raises DataFolderError."""
    path = folder / f"{user}.password"
    if read_or_none(path) is None:
        write_private(path, secrets.token_urlsafe(PASSWORD_BYTES).encode())
    return LogIn(username=username, password_file=str(path))


def read_password(log_in: LogIn) -> str:
    """The password of a log-in that `make_log_in` made."""
    return Path(log_in.password_file or "").read_text("utf-8")


def with_users_of_our_own(broker: MQTTBroker, data: DataFolder, place: RedisPlace) -> RedisPlace:
    """The same place with a user for nodes and one for the operator, if we may make them there; else as it is.

    Whoever is named on the command line may do everything, most often, and nodes must not. Idempotent: a server that
    was restarted, or a replica that was promoted, has forgotten them. Raises DataFolderError and SharedStoreError.
    """
    from mqtt_operator.channel.acl import NODE, OPERATOR, create_users, user_name  # not for a single node

    folder = make_private_folder(data.shared_store)
    prefix = key_prefix(broker)
    log_ins = {user: make_log_in(folder, f"own-{user}", user_name(prefix, user)) for user in (NODE, OPERATOR)}
    passwords = {user: read_password(log_in) for user, log_in in log_ins.items()}
    if not create_users(build_redis_settings(broker, place, place.operator), passwords):
        return place
    return msgspec.structs.replace(place, node=log_ins[NODE], operator=log_ins[OPERATOR])
