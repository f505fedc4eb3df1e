"""Certificates that cert-manager issues: from whom, how long, with what key.

Knows the shape and which lifetimes contradict each other; does not know listeners, clients or cert-manager.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from mqtt_api.kinds.common import LABEL_CHARACTERS_MAX, ObjectName
from mqtt_api.kinds.markers import Text
from mqtt_api.kinds.quantities import Duration, DurationBetween
from mqtt_api.kinds.shape import Rule, Shape, yaml_name

CERT_MANAGER_GROUP = "cert-manager.io"
DURATION_DEFAULT = Duration("2160h")  # cert-manager's own: 90 days
COMMON_NAME_CHARACTERS_MAX = 64  # X.520; no CA signs more
ISSUER_KIND_DEFAULT = "Issuer"

# cert-manager's own lower bounds.
CertificateDuration = Annotated[Duration, DurationBetween("1h", "87600h")]
RenewBefore = Annotated[Duration, DurationBetween("5m", "87600h")]


class KeyAlgorithm(StrEnum):
    ECDSA = "ECDSA"
    RSA = "RSA"
    ED25519 = "Ed25519"


class RotationPolicy(StrEnum):
    ALWAYS = "Always"
    NEVER = "Never"


_KEY_SIZES = {KeyAlgorithm.ECDSA: (256, 384, 521), KeyAlgorithm.RSA: (2_048, 3_072, 4_096), KeyAlgorithm.ED25519: ()}


class IssuerRef(Shape):
    """Who issues the certificate."""

    name: ObjectName = Field(description="Name of the issuer; one of kind Issuer is in the same namespace.")
    kind: Annotated[
        str,
        Text("must be a kind such as Issuer", pattern=r"^[A-Z][A-Za-z0-9]*$", characters_max=LABEL_CHARACTERS_MAX),
    ] = Field(default=ISSUER_KIND_DEFAULT, description="Issuer, ClusterIssuer, or the kind of an external issuer.")
    group: ObjectName = Field(
        default=CERT_MANAGER_GROUP, description="The API group of that kind; external issuers have their own."
    )


class PrivateKey(Shape):
    """The key of a certificate."""

    algorithm: KeyAlgorithm = Field(default=KeyAlgorithm.ECDSA, description="ECDSA, RSA or Ed25519.")
    size: Annotated[int, Field(strict=True, ge=256, le=4_096)] | None = Field(
        default=None,
        description="ECDSA: 256, 384 or 521. RSA: 2048, 3072 or 4096. Not for Ed25519. Absent: 256, or 2048 for RSA.",
    )
    rotation_policy: RotationPolicy = Field(
        default=RotationPolicy.ALWAYS, description="Always: each renewal makes a new key. Never: the key stays."
    )

    invariants = (
        Rule(
            cel="!has(self.size) || self.size in (!has(self.algorithm) || self.algorithm == 'ECDSA' ? [256, 384, 521]"
            " : self.algorithm == 'RSA' ? [2048, 3072, 4096] : [])",
            message="must fit the algorithm: ECDSA 256, 384 or 521; RSA 2048, 3072 or 4096; none for Ed25519",
            holds=lambda self: self.size is None or self.size in _KEY_SIZES[self.algorithm],
            field="size",
        ),
    )


def _lifetime_is_longer(shape: "Issued") -> bool:
    return shape.renew_before is None or shape.renew_before.seconds < (shape.duration or DURATION_DEFAULT).seconds


class Issued(Shape):
    """The fields of a certificate that is issued for us; whatever has them says what they mean without `issuer_ref`."""

    issuer_ref: IssuerRef | None = Field(default=None, description="The issuer of cert-manager that is asked for it.")
    duration: CertificateDuration | None = Field(
        default=None, description="Only with issuerRef: how long a certificate is valid. Absent: 2160h."
    )
    renew_before: RenewBefore | None = Field(
        default=None,
        description="Only with issuerRef: how long before its end it is renewed. Absent: when a third of its life is "
        "left.",
    )
    private_key: PrivateKey | None = Field(
        default=None, description="Only with issuerRef: its key. Absent: ECDSA with 256 bits, a new one each time."
    )


def _only_when_issued(field: str) -> Rule:
    name = yaml_name(field)

    def holds(shape: Issued) -> bool:
        return shape.issuer_ref is not None or getattr(shape, field) is None

    message = "is for a certificate that is issued: leave it out, or name an issuerRef"
    return Rule(cel=f"has(self.issuerRef) || !has(self.{name})", message=message, holds=holds, field=name)


ISSUED_RULES = (
    _only_when_issued("duration"),
    _only_when_issued("renew_before"),
    _only_when_issued("private_key"),
    Rule(
        cel="!has(self.renewBefore)"
        f" || duration(self.renewBefore) < duration(has(self.duration) ? self.duration : '{DURATION_DEFAULT}')",
        message=f"must be shorter than duration ({DURATION_DEFAULT} if that is absent)",
        holds=_lifetime_is_longer,
        field="renewBefore",
    ),
)
"""For every shape made of `Issued`."""
