"""The Secret with a password that is made up for a client: read as a state, and written as one.

Knows entries and annotations of that Secret; does not know when a password is replaced (credentials/rotation.py), or
who makes the request. Beside what the service-binding specification names it may hold the password that is about to
replace the one in use, and the one before it, as long as they are good.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from mqtt_api import keys
from mqtt_api.resources import MQTTClient
from mqtt_operator.credentials.rotation import Generated
from mqtt_operator.desired import names
from mqtt_operator.desired.labels import MANAGED_BY, MANAGED_BY_LABEL
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.owned import encoded
from mqtt_operator.desired.service_binding import Endpoint, service_binding
from mqtt_operator.reconcile.seen import DataObject
from mqtt_operator.status.verdict import write_time

STAGED_KEY = "next-password"
FORMER_KEY = "previous-password"
MADE_AT_ANNOTATION = f"{keys.GROUP}/password-made-at"
FORMER_UNTIL_ANNOTATION = f"{keys.GROUP}/previous-password-until"


def is_ours(found: DataObject, client: MQTTClient) -> bool:
    """True if it was made for this very client: what others wrote is never touched, and not used either."""
    return client.metadata.uid in found.owners and found.labels.get(MANAGED_BY_LABEL) == MANAGED_BY


def generated_of(found: DataObject, now: datetime) -> Generated | None:
    """The passwords in it; None if there is none. A time that is missing or spoilt counts from now."""
    password = found.data.get(names.PASSWORD_KEY)
    if not password:
        return None
    former = found.data.get(FORMER_KEY)
    return Generated(
        password=password,
        made_at=_moment(found.annotations, MADE_AT_ANNOTATION) or now,
        staged=found.data.get(STAGED_KEY) or None,
        former=former,
        former_until=None if former is None else _moment(found.annotations, FORMER_UNTIL_ANNOTATION) or now,
    )


def binding_manifest(client: MQTTClient, secret_name: str, state: Generated, endpoint: Endpoint) -> Manifest:
    """The Secret as it should be."""
    manifest = service_binding(client, secret_name, state.password.decode(), endpoint)
    more = {STAGED_KEY: state.staged, FORMER_KEY: state.former}
    manifest["data"] |= encoded({key: value for key, value in more.items() if value is not None})
    annotations = {MADE_AT_ANNOTATION: write_time(state.made_at)}
    if state.former_until is not None:
        annotations[FORMER_UNTIL_ANNOTATION] = write_time(state.former_until)
    manifest["metadata"]["annotations"] = annotations
    return manifest


def is_so(found: DataObject, manifest: Manifest) -> bool:
    """True if nothing of it has to be written."""
    wanted: Mapping[str, str] = manifest["metadata"]["annotations"]
    times = {name: found.annotations.get(name) for name in (MADE_AT_ANNOTATION, FORMER_UNTIL_ANNOTATION)}
    return encoded(found.data) == manifest["data"] and times == {name: wanted.get(name) for name in times}


def _moment(annotations: Mapping[str, str], name: str) -> datetime | None:
    try:
        return datetime.fromisoformat(annotations[name]).astimezone(UTC)
    except (KeyError, ValueError):
        return None
