"""MQTTClient: one device or program, how it proves who it is, its client ids, groups and limits.

Knows the shape and which combinations contradict each other; does not know what the client may do, which
TopicPermissions say.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, StrictBool

from mqtt_api.conditions import PENDING, Conditions
from mqtt_api.kinds.common import (
    ATTRIBUTE_KEY,
    IMMUTABLE_BROKER_REF,
    PLAIN_TEXT_PATTERN,
    BrokerRef,
    DataKey,
    ObjectName,
    Resource,
)
from mqtt_api.kinds.markers import Entries, Items, Text
from mqtt_api.kinds.mqttbroker import CLIENT_ID_PATTERNS_MAX, ClientIDPattern
from mqtt_api.kinds.quantities import Bytes, BytesBetween
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


class CertificateCredential(Shape):
    """A client certificate that proves this client."""

    match: CertificateFields = Field(description="Which certificate it is; all fields that are written must be equal.")
    revoked_serials: Annotated[tuple[Serial, ...], Items(REVOKED_SERIALS_MAX, unique=True)] = Field(
        default=(), description="Serial numbers, in hexadecimal, of such certificates that are refused from now on."
    )


class Credentials(Shape):
    """How the client proves who it is: any of these is enough."""

    passwords: Annotated[tuple[PasswordSource, ...], Items(PASSWORDS_MAX)] = Field(
        default=(), description="Passwords; two while one replaces the other."
    )
    certificates: Annotated[tuple[CertificateCredential, ...], Items(CERTIFICATES_MAX)] = Field(
        default=(), description="Client certificates."
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

    invariants = (IMMUTABLE_BROKER_REF,)


class MQTTClientStatus(Observed):
    """What was seen of the client."""

    observed_generation: Annotated[int, Field(strict=True, ge=0)] | None = Field(
        default=None, description="The metadata.generation this status was made for."
    )
    username: Username | None = Field(default=None, description="The user name that holds.")
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

    @property
    def username(self) -> str:
        """The user name that holds: the written one, or the object's name."""
        return self.spec.username or self.metadata.name
