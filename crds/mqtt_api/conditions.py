"""The words users see under `status.conditions`, and the status every new object starts with.

Knows the vocabulary and its shape; does not know when a condition becomes true.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated

from pydantic import Field

from mqtt_api.kinds.markers import Items, Text
from mqtt_api.kinds.shape import Observed


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class ConditionType(StrEnum):
    """What a condition is about. The first four stand on all three kinds."""

    ACCEPTED = "Accepted"
    RESOLVED_REFS = "ResolvedRefs"
    PROGRAMMED = "Programmed"
    READY = "Ready"
    # Of a broker. While one of the first two is true, tools that wait for objects go on waiting, or give up.
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    SESSION_STORE_REACHABLE = "SessionStoreReachable"
    CERTIFICATES_READY = "CertificatesReady"
    DURABILITY_VERIFIED = "DurabilityVerified"
    SECURITY_POSTURE_LOWERED = "SecurityPostureLowered"
    PAUSED = "Paused"
    # Of a permission.
    NO_CONFLICTS = "NoConflicts"


CONDITIONS: Mapping[ConditionType, str] = MappingProxyType(
    {
        ConditionType.ACCEPTED: "The object makes sense by itself, and may do what it asks for.",
        ConditionType.RESOLVED_REFS: "Everything that the object refers to exists and can be used.",
        ConditionType.PROGRAMMED: "The nodes work by this generation of the object.",
        ConditionType.READY: "The object holds, everywhere: the one to wait for.",
        ConditionType.RECONCILING: "The operator is at work on the broker.",
        ConditionType.STALLED: "The operator cannot go on without a person.",
        ConditionType.SESSION_STORE_REACHABLE: "The operator reaches the store, and it is the broker's own.",
        ConditionType.CERTIFICATES_READY: "Every node serves the newest certificate of every listener.",
        ConditionType.DURABILITY_VERIFIED: "The store shows the settings that the declared durability needs.",
        ConditionType.SECURITY_POSTURE_LOWERED: "The broker was told to be less strict than it is by itself.",
        ConditionType.PAUSED: "An annotation tells the operator to leave the broker alone.",
        ConditionType.NO_CONFLICTS: "No rule of the permission contradicts or hides another rule.",
    }
)
"""One line for each condition, as the documentation prints it."""


class Reason(StrEnum):
    """Why a condition has its status: one word for programs, said once here for all conditions."""

    # Of every kind
    PENDING = "Pending"
    ACCEPTED = "Accepted"
    INVALID_SPEC = "InvalidSpec"
    RESOLVED = "Resolved"
    PROGRAMMED = "Programmed"
    SYNCED = "Synced"
    NOT_ACCEPTED = "NotAccepted"
    REFS_NOT_RESOLVED = "RefsNotResolved"
    NOT_PROGRAMMED = "NotProgrammed"
    # What an object refers to
    BROKER_NOT_FOUND = "BrokerNotFound"
    BROKER_NOT_ACCEPTED = "BrokerNotAccepted"
    CLIENT_NOT_FOUND = "ClientNotFound"
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105 - a word, no secret
    CONFIG_MAP_NOT_FOUND = "ConfigMapNotFound"
    KEY_NOT_FOUND = "KeyNotFound"
    INVALID_CONTENT = "InvalidContent"
    SECRET_NOT_OURS = "SecretNotOurs"  # noqa: S105 - a word, no secret
    ISSUER_NOT_FOUND = "IssuerNotFound"
    ISSUER_NOT_READY = "IssuerNotReady"
    CERT_MANAGER_NOT_INSTALLED = "CertManagerNotInstalled"
    PROMETHEUS_OPERATOR_NOT_INSTALLED = "PrometheusOperatorNotInstalled"
    STORAGE_CLASS_NOT_FOUND = "StorageClassNotFound"
    PRIORITY_CLASS_NOT_FOUND = "PriorityClassNotFound"
    # Why a broker is not accepted
    NO_CERTIFICATE_SOURCE = "NoCertificateSource"
    STORE_PREFIX_TAKEN = "StorePrefixTaken"
    NAME_TAKEN = "NameTaken"
    IMAGE_NOT_ALLOWED = "ImageNotAllowed"
    REFUSED_BY_API_SERVER = "RefusedByAPIServer"
    FORBIDDEN = "Forbidden"
    # Why a client or a permission is not accepted
    NAMESPACE_NOT_ATTACHED = "NamespaceNotAttached"
    TOPICS_NOT_DELEGATED = "TopicsNotDelegated"
    USERNAME_NOT_DELEGATED = "UsernameNotDelegated"
    CLIENT_IDS_NOT_DELEGATED = "ClientIDsNotDelegated"
    CERTIFICATE_NOT_DELEGATED = "CertificateNotDelegated"
    SUBJECTS_NOT_DELEGATED = "SubjectsNotDelegated"
    USERNAME_TAKEN = "UsernameTaken"
    POLICY_TOO_LARGE = "PolicyTooLarge"
    # How far a policy is
    POLICY_NOT_WRITTEN = "PolicyNotWritten"
    NODES_BEHIND = "NodesBehind"
    NO_NODES = "NoNodes"
    SUSPENDED = "Suspended"
    NO_CREDENTIALS = "NoCredentials"
    NO_CONFLICTS = "NoConflicts"
    RULES_SHADOWED = "RulesShadowed"
    RULES_CONTRADICT = "RulesContradict"
    # How far a broker is
    ALL_READY = "AllReady"
    SETTLED = "Settled"
    NODES_NOT_READY = "NodesNotReady"
    CREATING = "Creating"
    ROLLING_OUT = "RollingOut"
    SCALING = "Scaling"
    WAITING_FOR_NODES = "WaitingForNodes"
    WAITING_FOR_TURN = "WaitingForTurn"
    DELETING = "Deleting"
    ROLLOUT_STUCK = "RolloutStuck"
    MASS_REMOVAL = "MassRemoval"
    KUBERNETES_UNREACHABLE = "KubernetesUnreachable"
    ADDRESS_PENDING = "AddressPending"
    # The store
    STORE_REACHABLE = "StoreReachable"
    STORE_UNREACHABLE = "StoreUnreachable"
    STORE_LOGIN_REFUSED = "StoreLoginRefused"
    STORE_NOT_FIT = "StoreNotFit"
    STORE_REPLACED = "StoreReplaced"
    STORE_ROLLED_BACK = "StoreRolledBack"
    STORE_EMBEDDED = "StoreEmbedded"
    DURABILITY_SHOWN = "DurabilityShown"
    DURABILITY_DECLARED = "DurabilityDeclared"
    DURABILITY_NOT_MET = "DurabilityNotMet"
    # Certificates
    ALL_SERVED = "AllServed"
    NO_TLS = "NoTLS"
    CERTIFICATE_PENDING = "CertificatePending"
    CERTIFICATE_INVALID = "CertificateInvalid"
    CERTIFICATE_EXPIRING = "CertificateExpiring"
    CERTIFICATE_EXPIRED = "CertificateExpired"
    ISSUANCE_FAILED = "IssuanceFailed"
    NODES_SERVE_ANOTHER = "NodesServeAnother"
    # What weakens a broker
    DEFAULTS_KEPT = "DefaultsKept"
    DEFAULT_POLICY_ALLOW = "DefaultPolicyAllow"
    ANONYMOUS_ALLOWED = "AnonymousAllowed"
    PLAINTEXT_LISTENER = "PlaintextListener"
    SEVERAL_WEAKNESSES = "SeveralWeaknesses"
    # Left alone
    PAUSED = "Paused"
    NOT_PAUSED = "NotPaused"


REASONS: Mapping[Reason, str] = MappingProxyType(
    {
        Reason.PENDING: "Nobody has looked at this generation of the object yet.",
        Reason.ACCEPTED: "The object makes sense and may do what it asks for.",
        Reason.INVALID_SPEC: "The spec has mistakes; the message names each field.",
        Reason.RESOLVED: "Everything that the object refers to is there.",
        Reason.PROGRAMMED: "All nodes work by this generation.",
        Reason.SYNCED: "The client or permission holds on all nodes.",
        Reason.NOT_ACCEPTED: "The object is not accepted: condition Accepted says why.",
        Reason.REFS_NOT_RESOLVED: "Something it refers to is missing: condition ResolvedRefs says what.",
        Reason.NOT_PROGRAMMED: "Not all nodes work by it yet: condition Programmed says why.",
        Reason.BROKER_NOT_FOUND: "There is no MQTTBroker as brokerRef names.",
        Reason.BROKER_NOT_ACCEPTED: "The MQTTBroker has mistakes of its own, so nothing is compiled for it.",
        Reason.CLIENT_NOT_FOUND: "A subject names an MQTTClient that does not exist.",
        Reason.SECRET_NOT_FOUND: "A Secret that is named does not exist.",
        Reason.CONFIG_MAP_NOT_FOUND: "A ConfigMap that is named does not exist.",
        Reason.KEY_NOT_FOUND: "The Secret or ConfigMap has no such entry.",
        Reason.INVALID_CONTENT: "The entry is not what is needed, such as PEM or an Argon2id hash.",
        Reason.SECRET_NOT_OURS: "The Secret that is to be written exists already and was not made for this object.",
        Reason.ISSUER_NOT_FOUND: "There is no issuer as issuerRef names.",
        Reason.ISSUER_NOT_READY: "The issuer exists and says that it is not ready.",
        Reason.CERT_MANAGER_NOT_INSTALLED: "issuerRef needs cert-manager, whose kinds the cluster does not know.",
        Reason.PROMETHEUS_OPERATOR_NOT_INSTALLED: "monitoring needs the Prometheus operator, whose kinds the "
        "cluster does not know.",
        Reason.STORAGE_CLASS_NOT_FOUND: "There is no StorageClass of that name, or no default one.",
        Reason.PRIORITY_CLASS_NOT_FOUND: "There is no PriorityClass of that name.",
        Reason.NO_CERTIFICATE_SOURCE: "A listener with TLS names neither issuerRef nor secretRef.",
        Reason.STORE_PREFIX_TAKEN: "Another broker keeps its keys in the same place of the same store.",
        Reason.NAME_TAKEN: "An object that the broker needs exists already and belongs to somebody else.",
        Reason.IMAGE_NOT_ALLOWED: "The image is in none of the repositories that the operator allows.",
        Reason.REFUSED_BY_API_SERVER: "The API server refuses an object that the broker needs; the message quotes it.",
        Reason.FORBIDDEN: "The operator lacks a right; the message names verb and resource.",
        Reason.NAMESPACE_NOT_ATTACHED: "The broker is in another namespace, and its attachments do not name this one.",
        Reason.TOPICS_NOT_DELEGATED: "A topic is not covered by those that are handed to this namespace.",
        Reason.USERNAME_NOT_DELEGATED: "The user name does not begin as those that are handed to this namespace.",
        Reason.CLIENT_IDS_NOT_DELEGATED: "A client id does not begin as those that are handed to this namespace.",
        Reason.CERTIFICATE_NOT_DELEGATED: "A certificate could be somebody else's: its common name does not begin as "
        "the user names that are handed to this namespace.",
        Reason.SUBJECTS_NOT_DELEGATED: "A subject means clients that are not of this namespace.",
        Reason.USERNAME_TAKEN: "Another MQTTClient has, or claims, the same user name.",
        Reason.POLICY_TOO_LARGE: "The compiled policy is larger than a node takes; the last one holds.",
        Reason.POLICY_NOT_WRITTEN: "The policy could not be written to the store; the last one holds.",
        Reason.NODES_BEHIND: "The policy is written, and some nodes do not decide by it yet.",
        Reason.NO_NODES: "There is no node yet to work by it.",
        Reason.SUSPENDED: "The client is suspended: it is refused, and its data is kept.",
        Reason.NO_CREDENTIALS: "The client has no usable credential, so it cannot connect.",
        Reason.NO_CONFLICTS: "No rule contradicts or hides another one.",
        Reason.RULES_SHADOWED: "A rule never decides, because others that outrank it cover it.",
        Reason.RULES_CONTRADICT: "Rules of equal priority allow and deny the same; the deny holds.",
        Reason.ALL_READY: "All nodes accept clients and work by this generation.",
        Reason.SETTLED: "There is nothing left to do.",
        Reason.NODES_NOT_READY: "Some nodes do not accept clients.",
        Reason.CREATING: "What the broker needs is being made.",
        Reason.ROLLING_OUT: "Nodes are replaced, one at a time.",
        Reason.SCALING: "Nodes are added or taken away.",
        Reason.WAITING_FOR_NODES: "The next step waits until the nodes are ready.",
        Reason.WAITING_FOR_TURN: "Another broker is being upgraded; one at a time.",
        Reason.DELETING: "The broker is being deleted.",
        Reason.ROLLOUT_STUCK: "A replaced node does not become ready; the message says what to do.",
        Reason.MASS_REMOVAL: "So many clients are gone at once that an annotation must confirm it.",
        Reason.KUBERNETES_UNREACHABLE: "The API server does not answer the operator.",
        Reason.ADDRESS_PENDING: "A load balancer has no address yet.",
        Reason.STORE_REACHABLE: "The store answers.",
        Reason.STORE_UNREACHABLE: "The store does not answer.",
        Reason.STORE_LOGIN_REFUSED: "The store refuses the operator's credentials.",
        Reason.STORE_NOT_FIT: "The store is too old, or forbids what the broker needs.",
        Reason.STORE_REPLACED: "The store is empty or another broker's, and this broker had one with data.",
        Reason.STORE_ROLLED_BACK: "The store lost its latest writes; an annotation can accept that.",
        Reason.STORE_EMBEDDED: "The store is a file of the one node.",
        Reason.DURABILITY_SHOWN: "The store shows the settings that the level needs.",
        Reason.DURABILITY_DECLARED: "Nobody checked: durability.verification is Declared.",
        Reason.DURABILITY_NOT_MET: "The store's settings keep less than the level promises.",
        Reason.ALL_SERVED: "All nodes serve the newest certificates.",
        Reason.NO_TLS: "No listener has TLS.",
        Reason.CERTIFICATE_PENDING: "A certificate is not issued yet.",
        Reason.CERTIFICATE_INVALID: "A certificate or key cannot be used; the one before it is still served.",
        Reason.CERTIFICATE_EXPIRING: "A certificate expires soon and was not renewed.",
        Reason.CERTIFICATE_EXPIRED: "A certificate has expired.",
        Reason.ISSUANCE_FAILED: "cert-manager could not issue a certificate; the message quotes it.",
        Reason.NODES_SERVE_ANOTHER: "Some nodes still serve an older certificate.",
        Reason.DEFAULTS_KEPT: "Nothing weakens the broker.",
        Reason.DEFAULT_POLICY_ALLOW: "defaultPolicy is Allow: what no rule denies is granted.",
        Reason.ANONYMOUS_ALLOWED: "A chain lets in clients without a name.",
        Reason.PLAINTEXT_LISTENER: "A listener has no TLS.",
        Reason.SEVERAL_WEAKNESSES: "Several settings weaken the broker; the message lists them.",
        Reason.PAUSED: "The annotation mqtt.stoa.dev/pause-reconciliation is true.",
        Reason.NOT_PAUSED: "The operator looks after the broker.",
    }
)
"""One line for each reason, as the documentation prints it."""

READY = ConditionType.READY
"""The condition to wait for: the object holds, everywhere. The same word on all three kinds."""

REASON_PENDING = Reason.PENDING
"""Nobody has looked at this generation of the object yet."""

ConditionWord = Annotated[
    str,
    Text(
        "must start with a letter and hold letters, digits, '_', ',', ':', '.' and '-' only",
        pattern=r"^[A-Za-z]([A-Za-z0-9_,:./-]*[A-Za-z0-9_])?$",
        characters_max=316,
    ),
]


class Condition(Observed):
    """One thing that holds, or does not, with the reason: the shape of metav1.Condition."""

    type: ConditionWord = Field(description="What this condition is about, such as Ready.")
    status: ConditionStatus = Field(description="Whether it holds: True, False, or Unknown while nobody can tell.")
    reason: ConditionWord = Field(description="One word for programs that says why the condition has this status.")
    message: Annotated[str, Text("must be text", characters_min=0, characters_max=32_768)] = Field(
        description="A sentence for people: what was seen and what to do next."
    )
    last_transition_time: Annotated[
        str, Text("must be a time such as 2026-01-31T12:00:00Z", characters_max=64, format="date-time")
    ] = Field(description="When the status last changed, in RFC 3339 form.")
    observed_generation: Annotated[int, Field(strict=True, ge=0)] | None = Field(
        default=None, description="The metadata.generation this condition was decided for."
    )


Conditions = Annotated[tuple[Condition, ...], Items(count_max=32, key="type")]

# A new object is Pending before anybody has looked at it: tools that see no condition at all would call it ready.
# The API server fills this in as the schema's default, so the time cannot be the real one.
PENDING = Condition(
    type=READY,
    status=ConditionStatus.UNKNOWN,
    reason=REASON_PENDING,
    message="Waiting for the operator; if this stays, no operator watches this namespace (watchNamespaces).",
    last_transition_time="1970-01-01T00:00:00Z",
)
