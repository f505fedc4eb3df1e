"""The store of a broker in one pass: whose it is, whether it may be used, and what to tell the policy's story of it.

Knows identities, and what each answer means for whether anything was lost; does not know keys or leases, Secrets, or
how a policy is written. An identity is made by us, stands in the status first, and is written to the store by whoever
writes the policy there, once.
"""

import asyncio
from collections.abc import Callable, Iterable

from msgspec import Struct

from mqtt_api.conditions import ConditionStatus, ConditionType, Reason
from mqtt_api.kinds.session_store import DurabilityLevel, Verification
from mqtt_api.node_settings import RedisSettings
from mqtt_api.resources import MQTTBroker
from mqtt_operator.channel.look import Look, durability_lacks, look
from mqtt_operator.channel.terms import LogInRefusedError, SharedStoreError
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.names import ACCEPT_STORE_ANNOTATION, DATA_VOLUME, store_pod
from mqtt_operator.reconcile.exchange import SharedPlace
from mqtt_operator.reconcile.keys import BrokerKey
from mqtt_operator.reconcile.problems import problem_of
from mqtt_operator.status.observation import Contact, StoreSeen
from mqtt_operator.status.verdict import Problem

Looker = Callable[[RedisSettings], Look]


class StoreView(Struct, frozen=True, kw_only=True):
    """`seen` for the status. `look`: what the store told; None: nothing that may be used. `place`: what the policy's
    story is told; None: it must not write. `is_ours`: the store has this broker's identity now.
    """

    seen: StoreSeen
    look: Look | None = None
    place: SharedPlace | None = None
    is_ours: bool = False


class Claims(Struct, frozen=True, kw_only=True):
    """What is known of the broker's identity. `world` is its own. `was_reached`: its store has answered with it once.

    `has_policy`: a policy of this broker has been written there once.
    `others`: the identities of the stores of all other brokers.
    """

    world: str
    was_reached: bool
    has_policy: bool
    others: dict[str, BrokerKey]


def claims_of(key: BrokerKey, status: Manifest, others: Iterable[tuple[BrokerKey, Manifest]]) -> Claims:
    """From the statuses of this broker and of the others."""
    claimed = {found: other for other, each in others if (found := each.get("storeID")) and other != key}
    return Claims(
        world=status.get("storeID", ""), was_reached=was_reached(status), has_policy="policy" in status, others=claimed
    )


async def view_store(broker: MQTTBroker, settings: RedisSettings, claims: Claims, looker: Looker = look) -> StoreView:
    """Ask the store, and judge the answer. Never raises for what the store does."""
    try:
        told = await asyncio.to_thread(looker, settings)
    except SharedStoreError as error:
        return _not_reached(broker, settings, claims, error)
    if told.world == claims.world:
        return _ours(broker, settings, claims, told)
    return _empty(broker, settings, claims) if not told.world else _others(broker, claims, told.world)


def was_reached(status: Manifest) -> bool:
    """The store has answered with the identity of this broker once: the condition is unknown until then."""
    for condition in status.get("conditions", ()):
        if condition["type"] == ConditionType.SESSION_STORE_REACHABLE:
            return bool(condition["status"] != ConditionStatus.UNKNOWN)
    return False


def _not_reached(broker: MQTTBroker, settings: RedisSettings, claims: Claims, error: SharedStoreError) -> StoreView:
    """The policy's story may go on trying: it changes nothing in a store that is not ours."""
    reason = Reason.STORE_LOGIN_REFUSED if isinstance(error, LogInRefusedError) else Reason.STORE_UNREACHABLE
    seen = StoreSeen(contact=_contact(claims), id=claims.world, problem=Problem(reason, problem_of(error).sentence))
    return StoreView(seen=seen, place=_place(broker, settings, claims, may_be_new=not claims.was_reached))


def _ours(broker: MQTTBroker, settings: RedisSettings, claims: Claims, told: Look) -> StoreView:
    lacks = durability_lacks(settings, told) if _is_checked(broker) else []
    accepted = broker.metadata.annotations.get(ACCEPT_STORE_ANNOTATION)
    note = f"Take the annotation {ACCEPT_STORE_ANNOTATION} away: it accepts the next loss too." if accepted else ""
    seen = StoreSeen(
        contact=Contact.REACHED,
        id=claims.world,
        durability=Problem(Reason.DURABILITY_NOT_MET, " ".join(lacks)) if lacks else None,
        rolled_back=_rolled_back(broker, claims.world, told),
        note=note,
    )
    place = _place(broker, settings, claims, may_be_new=False)
    return StoreView(seen=seen, look=told, place=place, is_ours=True)


def _is_checked(broker: MQTTBroker) -> bool:
    return broker.spec.session_store.durability.verification is Verification.REQUIRED


def _rolled_back(broker: MQTTBroker, world: str, told: Look) -> Problem | None:
    if not told.is_rolled_back or _accepts(broker, world):
        return None
    sentence = (
        "The store has lost acknowledged writes: it is older than what its nodes knew, and they wait. Bring its newest "
        f"data back, or accept the loss: annotate the broker with {ACCEPT_STORE_ANNOTATION}={world}."
    )
    return Problem(Reason.STORE_ROLLED_BACK, sentence)


def _empty(broker: MQTTBroker, settings: RedisSettings, claims: Claims) -> StoreView:
    """New, or emptied: only who was there before can tell."""
    accepted = broker.metadata.annotations.get(ACCEPT_STORE_ANNOTATION)
    if not claims.was_reached or accepted == claims.world:
        pending = Problem(Reason.PENDING, "The store is new: its identity is about to be written.")
        seen = StoreSeen(contact=_contact(claims), id=claims.world, problem=pending)
        return StoreView(seen=seen, place=_place(broker, settings, claims, may_be_new=True))
    sentence = (
        f"The store is empty, and it held identity {claims.world}: sessions, queues and retained messages would be "
        "lost in silence. Bring its data back, or start empty on purpose: annotate the broker with "
        f"{ACCEPT_STORE_ANNOTATION}={claims.world}."
    )
    return StoreView(seen=_replaced(claims, Problem(Reason.STORE_REPLACED, sentence)))


def _others(broker: MQTTBroker, claims: Claims, found: str) -> StoreView:
    is_managed = broker.spec.session_store.managed is not None
    owner = None if is_managed else claims.others.get(found)  # nobody else's server mounts a volume of ours
    if owner is not None:
        sentence = (
            f"MQTTBroker {owner} keeps its keys in the same place of the same store, and was there before "
            f"MQTTBroker {broker.reference}. A keyPrefix cannot change: delete this broker, and make it anew with "
            "another spec.sessionStore.redis.keyPrefix."
        )
        return StoreView(seen=_replaced(claims, Problem(Reason.STORE_PREFIX_TAKEN, sentence)))
    if broker.metadata.annotations.get(ACCEPT_STORE_ANNOTATION) == found:
        pending = Problem(Reason.PENDING, f"The store of identity {found} is taken over, as the annotation says.")
        return StoreView(seen=StoreSeen(contact=_contact(claims), id=found, problem=pending))
    sentence = (
        f"The store has identity {found}, and this broker's is {claims.world}: {_the_right_one(broker)} If this is it, "
        f"annotate the broker with {ACCEPT_STORE_ANNOTATION}={found}."
    )
    return StoreView(seen=_replaced(claims, Problem(Reason.STORE_REPLACED, sentence)))


def _the_right_one(broker: MQTTBroker) -> str:
    if broker.spec.session_store.managed is None:
        return "it is another store, or another broker's. Name the right one."
    claim = f"{DATA_VOLUME}-{store_pod(broker.metadata.name)}"
    return f"PersistentVolumeClaim {claim} holds the data of another broker. Bring the right volume back."


def _replaced(claims: Claims, problem: Problem) -> StoreSeen:
    return StoreSeen(contact=_contact(claims), id=claims.world, problem=problem)


def _contact(claims: Claims) -> Contact:
    return Contact.LOST if claims.was_reached else Contact.NEVER


def _accepts(broker: MQTTBroker, world: str) -> bool:
    """Less than Replicated never promised to survive the store's own loss."""
    if broker.spec.session_store.durability.level is not DurabilityLevel.REPLICATED:
        return True
    return broker.metadata.annotations.get(ACCEPT_STORE_ANNOTATION) == world


def _place(broker: MQTTBroker, settings: RedisSettings, claims: Claims, *, may_be_new: bool) -> SharedPlace:
    return SharedPlace(
        world=claims.world,
        may_be_new=may_be_new,
        accepts=_accepts(broker, claims.world),
        settings=settings,
        is_inherited=not claims.has_policy,
    )
