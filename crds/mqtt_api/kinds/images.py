"""A container image: where it is and which one exactly.

Knows how it is written; does not know registries or what is in an image.
"""

from typing import Annotated

from pydantic import Field

from mqtt_api.kinds.markers import Text
from mqtt_api.kinds.shape import Rule, Shape

TAG_CHARACTERS_MAX = 128
DIGEST_CHARACTERS_MAX = 71

Repository = Annotated[
    str,
    Text(
        "must be a repository such as registry.example.org/stoa/broker, without tag and digest",
        pattern=r"^[a-z0-9]([-a-z0-9._]*[a-z0-9])?(:[0-9]{1,5}/[a-z0-9]([-a-z0-9._]*[a-z0-9])?)?"
        r"(/[a-z0-9]([-a-z0-9._]*[a-z0-9])?)*$",
    ),
]
Tag = Annotated[
    str,
    Text(
        "must be a tag: letters, digits, '_', '.' and '-', not beginning with '.' or '-'",
        pattern=r"^[A-Za-z0-9_][-A-Za-z0-9_.]*$",
        characters_max=TAG_CHARACTERS_MAX,
    ),
]
Digest = Annotated[
    str,
    Text(
        "must be a digest: sha256: and 64 hexadecimal digits in lower case",
        pattern=r"^sha256:[0-9a-f]{64}$",
        characters_max=DIGEST_CHARACTERS_MAX,
    ),
]


class Image(Shape):
    """A container image."""

    repository: Repository = Field(
        description="Registry and name, such as registry.example.org/stoa/broker; one that the operator allows."
    )
    tag: Tag | None = Field(default=None, description="Which one of the repository; who can write there can change it.")
    digest: Digest | None = Field(default=None, description="Which one exactly, whatever the tag says.")

    invariants = (
        Rule(
            cel="has(self.tag) || has(self.digest)",
            message="needs a digest, or at least a tag",
            holds=lambda self: self.tag is not None or self.digest is not None,
        ),
    )

    @property
    def reference(self) -> str:
        """As a container runtime reads it: with the digest if there is one, else with the tag."""
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"
