"""The question a person asks of a policy: may this client do that, and by which rule?

Knows how a question is checked and an answer put into words; decides nothing itself: the broker's own functions do.
"""

from msgspec import Struct

from mqtt_api.policy import Activity, Facts, Policy, Principal, Step, client_id_allowed, resolve
from mqtt_api.topics import TopicError, parse_shared, validate_filter, validate_topic_name
from mqtt_operator.errors import UsageError

WILDCARD_EXAMPLE = "1"


class Who(Struct, frozen=True, kw_only=True):
    """A client that has proved who it is. `username` empty = the anonymous client.

    `open_client_ids` are what a chain with `principals: Open` lets a user name without MQTTClient use; empty = no such
    chain. The certificate's names are those of the certificate it shows, if it shows one.
    """

    username: str = ""
    certificate_cn: str = ""
    certificate_san_dns: str = ""
    open_client_ids: tuple[str, ...] = ()


class Question(Struct, frozen=True, kw_only=True):
    """`client_id` None = one that the client may use. `topic` may be a whole `$share/group/filter`."""

    who: Who
    activity: Activity
    topic: str
    qos: int = 0
    retain: bool = False
    group: str | None = None
    client_id: str | None = None


class Answer(Struct, frozen=True, kw_only=True):
    """`rule` decided, None = no rule did. `walk` is empty if no rule was asked.

    `others` are the permissions that were not asked at all: they are for other subjects.
    """

    allowed: bool
    rule: str | None
    reason: str
    client_id: str
    walk: tuple[Step, ...] = ()
    others: tuple[str, ...] = ()


def can_i(policy: Policy, question: Question) -> Answer:
    """What the broker would answer a client that is logged in. Pure.

    Raises UsageError if the topic is none, or the question mixes what cannot go together.
    """
    group, topic = _checked_topic(question)
    principal = policy.principals.get(question.who.username)
    client_id = _client_id(question, principal)
    refusal = _refused_at_connect(policy, question, principal, client_id)
    if refusal is not None:
        return Answer(allowed=False, rule=None, reason=refusal, client_id=client_id)
    others = _others(policy, question.who, principal)
    rights = resolve(policy, _facts(question, principal, client_id))
    if question.activity is Activity.PUBLISH:
        decision = rights.may_publish(topic, question.qos, question.retain)
        walk = rights.walk_publish(topic, question.qos, question.retain)
        return Answer(
            allowed=decision.allowed,
            rule=decision.rule,
            reason=decision.reason,
            client_id=client_id,
            walk=walk,
            others=others,
        )
    grant = rights.may_subscribe(topic, question.qos, group)
    walk = rights.walk_subscribe(topic, question.qos, group)
    return Answer(
        allowed=grant.qos is not None,
        rule=grant.rule,
        reason=_grant_in_words(grant.reason, grant.qos, question.qos, grant.has_exceptions),
        client_id=client_id,
        walk=walk,
        others=others,
    )


def _others(policy: Policy, who: Who, principal: Principal | None) -> tuple[str, ...]:
    asked = permissions_of(policy, who.username, principal)
    return tuple(each for each in policy.permissions if each not in asked)


def permissions_of(policy: Policy, username: str, principal: Principal | None) -> tuple[str, ...]:
    """The references of those that are asked for this client; `username` "" is the anonymous one."""
    if not username:
        return policy.anonymous
    return (*policy.authenticated, *(() if principal is None else principal.permissions))


def _checked_topic(question: Question) -> tuple[str | None, str]:
    try:
        if question.activity is Activity.PUBLISH:
            if question.group is not None:
                raise UsageError("A publish has no shared group: leave --share out.")
            validate_topic_name(question.topic)
            return None, question.topic
        if question.retain:
            raise UsageError("Retain is a matter of publishing: leave --retain out.")
        return _shared(question)
    except TopicError as error:
        raise UsageError(f"That is not a topic to {question.activity.lower()}: {error}.") from error


def _shared(question: Question) -> tuple[str | None, str]:
    whole = question.topic if question.group is None else f"$share/{question.group}/{question.topic}"
    group, topic_filter = parse_shared(whole)
    if group is not None and group != (question.group or group):
        raise UsageError("--share must be a name without '/'.")
    validate_filter(topic_filter)
    return group, topic_filter


def _client_id(question: Question, principal: Principal | None) -> str:
    if question.client_id is not None:
        return question.client_id
    if principal is None:
        return question.who.username
    return likely_client_id(principal)


def likely_client_id(principal: Principal) -> str:
    """One that it may use: its user name if that is one, else its first pattern with '*' standing for something."""
    patterns = _patterns(principal)
    if client_id_allowed(patterns, principal.username, principal.username):
        return principal.username
    return patterns[0].replace("*", WILDCARD_EXAMPLE).replace("${username}", principal.username)


def _refused_at_connect(policy: Policy, question: Question, principal: Principal | None, client_id: str) -> str | None:
    """Why the client would not even be connected, or None."""
    who = question.who
    if principal is not None:
        if principal.suspended:
            return "the MQTTClient is suspended: it cannot connect"
        patterns = _patterns(principal)
    elif not who.username:
        return _claimed(policy, client_id)
    elif not who.open_client_ids:
        return f"no MQTTClient has the user name {who.username!r}, so nobody can log in with it"
    else:
        patterns = who.open_client_ids
    if client_id_allowed(patterns, who.username, client_id):
        return None
    return f"the client id {client_id!r} is not one it may use (clientIDs: {', '.join(patterns)})"


def _claimed(policy: Policy, client_id: str) -> str | None:
    """A client without a name takes no client id that an MQTTClient claims. `*` alone claims none, as it means all."""
    for username, principal in sorted(policy.principals.items()):
        claims = [pattern for pattern in _patterns(principal) if pattern.strip("*")]
        if client_id_allowed(claims, username, client_id):
            return f"the client id {client_id!r} belongs to the MQTTClient with user name {username!r}"
    return None


def _patterns(principal: Principal) -> tuple[str, ...]:
    return principal.client_ids or ("${username}",)


def _facts(question: Question, principal: Principal | None, client_id: str) -> Facts:
    who = question.who
    return Facts(
        client_id=client_id,
        username=who.username,
        namespace=principal.namespace if principal else "",
        anonymous=not who.username,
        attributes=principal.attributes if principal else {},
        certificate_cn=who.certificate_cn,
        certificate_san_dns=who.certificate_san_dns,
    )


def _grant_in_words(reason: str, granted: int | None, asked: int, has_exceptions: bool) -> str:
    if granted is None:
        return reason
    notes = [reason]
    if granted < asked:
        notes.append(f"granted at QoS {granted}, the highest that is allowed")
    if has_exceptions:
        notes.append("some topics inside it are denied and left out at delivery")
    return "; ".join(notes)
