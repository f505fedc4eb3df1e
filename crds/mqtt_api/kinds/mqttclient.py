"""MQTTClient: one device or program, how it proves who it is, its client ids, groups and limits.

Knows the shape and which combinations contradict each other; does not know what the client may do, which
TopicPermissions say.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, StrictBool

from mqtt_api.conditions import PENDING, Conditions
from mqtt_api.kinds.certificates import COMMON_NAME_CHARACTERS_MAX, ISSUED_RULES, Issued
from mqtt_api.kinds.common import (
    ATTRIBUTE_KEY,
    IMMUTABLE_BROKER_REF,
    PLAIN_TEXT_PATTERN,
    BrokerRef,
    DataKey,
    DeletionPolicy,
    ObjectName,
    Resource,
)
from mqtt_api.kinds.markers import Entries, Items, Text
from mqtt_api.kinds.mqttbroker import CLIENT_ID_PATTERNS_MAX, ClientIDPattern
from mqtt_api.kinds.quantities import Bytes, BytesBetween, Duration, DurationBetween
from mqtt_api.kinds.shape import Observed, Rule, Shape

USERNAME_CHARACTERS_MAX = 256
PASSWORDS_MAX = 8  # each one is an expensive hash to try at a login
CERTIFICATES_MAX = 16
REVOKED_SERIALS_MAX = 256
GROUPS_MAX = 64
ATTRIBUTES_MAX = 32

Username = Annotated[
    str,
    Text(
        "must not hold control characters",
        pattern=PLAIN_TEXT_PATTERN,
        characters_max=USERNAME_CHARACTERS_MAX,
    ),
]
GroupName = Annotated[str, Text("must not hold control characters", pattern=PLAIN_TEXT_PATTERN, characters_max=128)]
AttributeValue = Annotated[
    str, Text("must not hold control characters", pattern=PLAIN_TEXT_PATTERN, characters_max=256)
]
CertificateText = Annotated[
    str, Text("must not hold control characters", pattern=PLAIN_TEXT_PATTERN, characters_max=1_024)
]
Serial = Annotated[
    str,
    Text(
        'must be a serial number in hexadecimal, in quotes: "0a1f" or "0a:1f"',
        pattern=r"^[0-9A-Fa-f]{1,2}(:?[0-9A-Fa-f]{2}){0,19}$",  # RFC 5280 4.1.2.2: at most 20 octets
        characters_max=59,
    ),
]


class PasswordSecretRef(Shape):
    """A password in a Secret of yours: watched, never written."""

    name: ObjectName = Field(description="Name of the Secret, in the same namespace.")
    key: DataKey | None = Field(default=None, description="The entry that holds the password itself.")
    hash_key: DataKey | None = Field(
        default=None, description="The entry that holds an Argon2id hash of the password ($argon2id$...)."
    )

    invariants = (
        Rule(
            cel="has(self.key) != has(self.hashKey)",
            message="must name either key (the password) or hashKey (its Argon2id hash)",
            holds=lambda self: (self.key is None) != (self.hash_key is None),
        ),
    )


class GeneratedPassword(Shape):
    """A password that is made up for the client and written to a Secret."""

    secret_name: ObjectName = Field(
        description="Name of the Secret to create; one that exists already and was not made for this is left alone."
    )
    every: Annotated[Duration, DurationBetween("1m", "87600h")] | None = Field(
        default=None, description="How often a new password is made. Absent: never."
    )
    overlap: Annotated[Duration, DurationBetween("0s", "8760h")] | None = Field(
        default=None,
        description="Only with every: how long the old password works beside the new one. Absent: a tenth of every, "
        "and at most 24h.",
    )

    invariants = (
        Rule(
            cel="has(self.every) || !has(self.overlap)",
            message="goes with every: without it no password is replaced",
            holds=lambda self: self.every is not None or self.overlap is None,
            field="overlap",
        ),
        Rule(
            cel="!has(self.every) || !has(self.overlap) || duration(self.overlap) < duration(self.every)",
            message="must be shorter than every: at most two passwords work at a time",
            holds=lambda self: self.every is None or self.overlap is None or self.overlap.seconds < self.every.seconds,
            field="overlap",
        ),
    )


class PasswordSource(Shape):
    """Where one password comes from."""

    secret_ref: PasswordSecretRef | None = Field(
        default=None, description="A password in a Secret of yours: watched, never written."
    )
    generate: GeneratedPassword | None = Field(
        default=None, description="A password that is made up for the client and written to a Secret."
    )

    invariants = (
        Rule(
            cel="has(self.secretRef) != has(self.generate)",
            message="must have either secretRef or generate",
            holds=lambda self: (self.secret_ref is None) != (self.generate is None),
        ),
    )


class CertificateFields(Shape):
    """Fields of a client certificate; all that are written must be equal."""

    issuer: CertificateText | None = Field(
        default=None, description="Distinguished name of the CA, in RFC 4514 form, such as CN=device-ca."
    )
    common_name: CertificateText | None = Field(default=None, description="Common name of the subject.")
    subject: CertificateText | None = Field(
        default=None, description="Distinguished name of the subject, in RFC 4514 form."
    )
    san_dns: CertificateText | None = Field(default=None, description="One of the DNS names.")
    san_uri: CertificateText | None = Field(default=None, description="One of the URIs.")
    san_email: CertificateText | None = Field(default=None, description="One of the e-mail addresses.")

    invariants = (
        Rule(
            cel="has(self.commonName) || has(self.subject)"
            " || has(self.sanDNS) || has(self.sanURI) || has(self.sanEmail)",
            message="must name commonName, subject, sanDNS, sanURI or sanEmail: a CA alone stands for many clients",
            holds=lambda self: any((self.common_name, self.subject, self.san_dns, self.san_uri, self.san_email)),
        ),
    )


class CertificateCredential(Issued):
    """A client certificate that proves this client: one that exists, or one that is issued for it."""

    match: CertificateFields | None = Field(
        default=None,
        description="Instead of issuerRef: which certificate it is; all fields that are written must be equal.",
    )
    secret_name: ObjectName | None = Field(
        default=None,
        description="Only with issuerRef: name of the Secret with the certificate (tls.crt, tls.key, ca.crt). Its "
        "common name is the client's user name.",
    )
    revoked_serials: Annotated[tuple[Serial, ...], Items(REVOKED_SERIALS_MAX, unique=True)] = Field(
        default=(), description="Serial numbers, in hexadecimal, of such certificates that are refused from now on."
    )

    invariants = (
        Rule(
            cel="has(self.match) != has(self.issuerRef)",
            message="must have either match or issuerRef",
            holds=lambda self: (self.match is None) != (self.issuer_ref is None),
        ),
        Rule(
            cel="has(self.issuerRef) == has(self.secretName)",
            message="goes with issuerRef, which cannot do without it",
            holds=lambda self: (self.issuer_ref is None) == (self.secret_name is None),
            field="secretName",
        ),
        *ISSUED_RULES,
    )


def _no_secret_twice(credentials: "Credentials") -> bool:
    generated = [source.generate.secret_name for source in credentials.passwords if source.generate is not None]
    issued = [each.secret_name for each in credentials.certificates if each.secret_name is not None]
    return len({*generated, *issued}) == len(generated) + len(issued)


_GENERATED_TWICE = (
    "self.passwords.all(p, !has(p.generate) || self.passwords.exists_one(q, has(q.generate)"
    " && q.generate.secretName == p.generate.secretName))"
)
_ISSUED_TWICE = (
    "self.certificates.all(c, !has(c.secretName) || self.certificates.exists_one(d, has(d.secretName)"
    " && d.secretName == c.secretName))"
)
_GENERATED_AND_ISSUED = (
    "self.certificates.all(c, !has(c.secretName) || !self.passwords.exists(p, has(p.generate)"
    " && p.generate.secretName == c.secretName))"
)


class Credentials(Shape):
    """How the client proves who it is: any of these is enough."""

    passwords: Annotated[tuple[PasswordSource, ...], Items(PASSWORDS_MAX)] = Field(
        default=(), description="Passwords; two while one replaces the other."
    )
    certificates: Annotated[tuple[CertificateCredential, ...], Items(CERTIFICATES_MAX)] = Field(
        default=(), description="Client certificates."
    )

    invariants = (
        Rule(
            cel=f"(!has(self.passwords) || {_GENERATED_TWICE})"
            f" && (!has(self.certificates) || {_ISSUED_TWICE})"
            f" && (!has(self.passwords) || !has(self.certificates) || {_GENERATED_AND_ISSUED})",
            message="must not write two credentials to one Secret: each needs a secretName of its own",
            holds=_no_secret_twice,
        ),
    )


class ClientLimits(Shape):
    """Limits of this client alone; what is absent has none beyond the broker's."""

    max_connections: Annotated[int, Field(strict=True, ge=1, le=100_000)] | None = Field(
        default=None, description="How many connections it has at a time."
    )
    messages_per_second: Annotated[int, Field(strict=True, ge=1, le=10_000_000)] | None = Field(
        default=None, description="How many messages it publishes in a second before it is slowed down."
    )
    bytes_per_second: Annotated[Bytes, BytesBetween("1", "16Gi")] | None = Field(
        default=None, description="How many bytes it sends in a second before it is slowed down."
    )
    max_subscriptions: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None = Field(
        default=None, description="How many subscriptions each of its sessions holds."
    )
    max_queued_messages: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None = Field(
        default=None, description="How many messages wait for each of its sessions."
    )


class MQTTClientSpec(Shape):
    """Who the client is."""

    broker_ref: BrokerRef = Field(description="The broker it connects to.")
    username: Username | None = Field(
        default=None, description="Its user name, unique in the broker. Absent: the name of this object."
    )
    client_ids: Annotated[tuple[ClientIDPattern, ...], Items(CLIENT_ID_PATTERNS_MAX, count_min=1, unique=True)] = Field(
        default=("${username}",),
        description="The MQTT client ids it may use. '*' stands for any characters, ${username} for its user name.",
    )
    credentials: Credentials = Field(
        default=Credentials(), description="How it proves who it is. Nothing here: it cannot connect."
    )
    groups: Annotated[tuple[GroupName, ...], Items(GROUPS_MAX, unique=True)] = Field(
        default=(), description="The groups it belongs to; TopicPermissions name them."
    )
    attributes: Annotated[
        Mapping[str, AttributeValue],
        Entries(
            ATTRIBUTES_MAX,
            "must have keys of at most 63 letters, digits, '-', '_' and '.'",
            f"^{ATTRIBUTE_KEY}$",
        ),
    ] = Field(default={}, description="Facts about it that topics of permissions may use: ${attr.KEY}.")
    limits: ClientLimits = Field(default=ClientLimits(), description="Limits of this client alone.")
    suspended: StrictBool = Field(
        default=False, description="True: it is disconnected and refused until this is false; its data is kept."
    )
    deletion_policy: DeletionPolicy = Field(
        default=DeletionPolicy.RETAIN,
        description="When this object is deleted. Retain: its sessions and queues stay until they expire. Delete: they "
        "are removed.",
    )

    invariants = (IMMUTABLE_BROKER_REF,)


class Binding(Observed):
    """A Secret as the service-binding specification has it: type, host, port, username, password, ca.crt."""

    name: ObjectName = Field(description="Name of the Secret, in the same namespace.")


class MQTTClientStatus(Observed):
    """What was seen of the client."""

    observed_generation: Annotated[int, Field(strict=True, ge=0)] | None = Field(
        default=None, description="The metadata.generation this status was made for."
    )
    username: Username | None = Field(default=None, description="The user name that holds.")
    binding: Binding | None = Field(
        default=None, description="The Secret with all that the client needs to connect, where one was made for it."
    )
    applied_revision: Annotated[int, Field(strict=True, ge=0)] | None = Field(
        default=None, description="The revision of the policy that first held this generation on every node."
    )
    conditions: Conditions = Field(
        default=(PENDING,), description="What holds of the object; Ready is the one to wait for."
    )


class MQTTClient(Resource):
    """A device or program that may connect to a broker."""

    kind: Literal["MQTTClient"]
    spec: MQTTClientSpec = Field(description="Who the client is.")
    status: MQTTClientStatus = Field(default=MQTTClientStatus(), description="What was seen of the client.")

    invariants = (
        Rule(
            cel="!has(self.spec.credentials) || !has(self.spec.credentials.certificates)"
            " || !self.spec.credentials.certificates.exists(c, has(c.issuerRef))"
            " || size(has(self.spec.username) ? self.spec.username : self.metadata.name)"
            f" <= {COMMON_NAME_CHARACTERS_MAX}",
            message=f"the user name must have at most {COMMON_NAME_CHARACTERS_MAX} characters to stand in a "
            "certificate that is issued",
            holds=lambda self: (
                all(each.issuer_ref is None for each in self.spec.credentials.certificates)
                or len(self.username) <= COMMON_NAME_CHARACTERS_MAX
            ),
        ),
    )

    @property
    def username(self) -> str:
        """The user name that holds: the written one, or the object's name."""
        return self.spec.username or self.metadata.name
