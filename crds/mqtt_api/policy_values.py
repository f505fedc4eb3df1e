"""The values a policy is made of, what is known of a client that asks, and the answers.

Knows shapes only; does not know how a decision is taken, how the values travel or where they came from.

Unknown fields: a rule tolerates them, as the reader of the document handles them (an allow then does not match, a deny
does); everywhere else the document is refused, as a criterion or a limit that is not understood must not be left out.
"""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from mqtt_api.scram import ScramVerifier


class Effect(StrEnum):
    ALLOW = "Allow"
    DENY = "Deny"


class Activity(StrEnum):
    ALL = "All"
    PUBLISH = "Publish"
    SUBSCRIBE = "Subscribe"


class Retained(StrEnum):
    ALL = "All"
    RETAINED = "Retained"
    NOT_RETAINED = "NotRetained"


class Sharing(StrEnum):
    ALL = "All"
    SHARED = "Shared"
    NOT_SHARED = "NotShared"


class Rule(Struct, frozen=True, kw_only=True):
    """One rule of one TopicPermission. `permission` is its reference, "namespace/name"; `topics` may hold templates.

    `qos` is never empty. `topics` is empty only where the document held a rule that this version cannot read.
    `shared_groups` empty = any group. `priority` is the permission's.
    """

    permission: str
    name: str
    effect: Effect
    activity: Activity
    topics: tuple[str, ...]
    qos: tuple[int, ...] = (0, 1, 2)
    retain: Retained = Retained.ALL
    shared_subscription: Sharing = Sharing.ALL
    shared_groups: tuple[str, ...] = ()
    priority: int = 0

    @property
    def reference(self) -> str:
        """How denials, the walk and can-i cite the rule: namespace/permission/rule."""
        return f"{self.permission}/{self.name}"


class CertificateMatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A client certificate that proves this principal. Every field that is set must be equal.

    `revoked_serials` are those that prove nothing any more.
    """

    issuer: str | None = None
    common_name: str | None = None
    subject: str | None = None
    san_dns: str | None = None
    san_uri: str | None = None
    san_email: str | None = None
    revoked_serials: tuple[str, ...] = ()


class ClientLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """None = no limit of its own. Rates are per second."""

    connections_max: int | None = None
    messages_per_s: int | None = None
    bytes_per_s: int | None = None
    subscriptions_max: int | None = None
    queued_messages_max: int | None = None


NO_LIMITS = ClientLimits()


class Principal(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One MQTTClient as the broker sees it. `passwords` are Argon2id verifiers in PHC form, never passwords.

    `scram` are the verifiers of the same passwords for SCRAM, empty where no chain asks for it. `retired` were one of
    them until another took their place as it was due: nobody logs in by them, and who is connected by them stays.
    `client_ids` are patterns: literal, `*` for any run of characters, `${username}`. `uid` is the object's. `purge`:
    its sessions are to end some time after it is gone.
    `permissions` are the references of the TopicPermissions that mean it, beside those for everybody who is logged in.
    """

    username: str
    uid: str = ""
    namespace: str = ""
    client_ids: tuple[str, ...] = ()
    passwords: tuple[str, ...] = ()
    scram: tuple[ScramVerifier, ...] = ()
    retired: tuple[str | ScramVerifier, ...] = ()
    certificates: tuple[CertificateMatch, ...] = ()
    groups: tuple[str, ...] = ()
    attributes: Mapping[str, str] = {}
    limits: ClientLimits = NO_LIMITS
    suspended: bool = False
    purge: bool = False
    permissions: tuple[str, ...] = ()


class Purge(Struct, frozen=True, kw_only=True):
    """The sessions of a client that was deleted for good end at `due_at`: seconds since 1970, in the store's time.

    `namespace` is that of the client.
    """

    due_at: int
    namespace: str = ""


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One revision of everything the broker may decide by.

    `permissions` are the rules of each TopicPermission, by its reference "namespace/name"; they are stored once, and
    principals list references, so that no object's change touches what others say. `revision` only grows; `digest`
    names the content, so that an unchanged compilation is not written again. `authenticated` are the permissions of
    everybody who is logged in, also without an MQTTClient; `anonymous` those of the principal without a name. `purges`
    are user names that nobody has any more; they stay until a node says that their sessions have ended.
    `scram_salt_key` is what SCRAM salts are derived with; a secret, empty where no chain asks for SCRAM.
    """

    revision: int = 0
    digest: str = ""
    default_effect: Effect = Effect.DENY
    permissions: Mapping[str, tuple[Rule, ...]] = {}
    principals: Mapping[str, Principal] = {}
    scram_salt_key: bytes = b""
    authenticated: tuple[str, ...] = ()
    anonymous: tuple[str, ...] = ()
    purges: Mapping[str, Purge] = {}

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All of them, permission by permission."""
        return tuple(rule for rules in self.permissions.values() for rule in rules)


class Facts(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a client when it asks: the values templates may use. Stored in its session.

    `source` is the name of the authentication entry that accepted it. An anonymous client has `anonymous` true and an
    empty user name.
    """

    client_id: str
    username: str = ""
    namespace: str = ""
    source: str = ""
    anonymous: bool = False
    attributes: Mapping[str, str] = {}
    certificate_cn: str = ""
    certificate_san_dns: str = ""


class Step(Struct, frozen=True):
    """One line of the walk: a rule and what came of it, in words a person can act on."""

    rule: str
    outcome: str


class Decision(Struct, frozen=True):
    """`rule` is the deciding rule's reference, or None: no rule said yes (default deny or default allow)."""

    allowed: bool
    rule: str | None
    reason: str


class Grant(Struct, frozen=True):
    """The answer to a subscription. `qos` is the highest granted, None = refused.

    `has_exceptions`: a deny overlaps the filter, so every delivery asks `may_receive` again.
    """

    qos: int | None
    rule: str | None
    reason: str
    has_exceptions: bool = False
