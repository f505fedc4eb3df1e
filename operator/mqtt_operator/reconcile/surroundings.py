"""What the operator itself was started with, as far as brokers are made of it.

Knows names and meanings; does not know where any of it was read.
"""

from pathlib import Path

from msgspec import Struct


class Surroundings(Struct, frozen=True, kw_only=True):
    """`namespace`: where the operator runs. `image` and `version`: its own release. `store_image`: of managed stores.

    `allowed_repositories`: images of people's own come from these (desired.image.is_allowed). `pull_policy`,
    `pull_secrets`, `host`, `cluster_domain`: as in desired.Inputs. `private_folder`: where
    passwords of stores lie while they are in use; nobody else may read it, and nothing of it outlives the operator.
    """

    namespace: str
    image: str
    version: str
    store_image: str
    private_folder: Path
    allowed_repositories: tuple[str, ...] = ()
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    host: str = "0.0.0.0"  # noqa: S104 - within a pod, whose NetworkPolicy says who gets there
    cluster_domain: str = "cluster.local"
