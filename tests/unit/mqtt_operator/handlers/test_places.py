"""Which objects of the cluster the operator follows, and which not."""

from mqtt_operator.desired import kinds
from mqtt_operator.handlers.places import DECLARED, OF_OURS, of_home, standing
from mqtt_operator.reconcile.registry import EVERYWHERE, Scope


def test_everything_that_people_declare_is_followed_in_each_namespace() -> None:
    declared = {each.scope for each in standing(("a", "b")) if each.scope is not None}
    assert declared == {Scope(kind, namespace) for kind in DECLARED for namespace in ("a", "b")}


def test_no_namespaces_means_all_of_them_and_then_their_labels_too() -> None:
    followed = list(standing(()))
    assert {each.place.namespace for each in followed} == {EVERYWHERE}
    assert Scope(kinds.NAMESPACE, EVERYWHERE) in {each.scope for each in followed}
    assert kinds.NAMESPACE not in {each.place.kind for each in standing(("a",))}


def test_what_is_made_for_brokers_is_sorted_out_by_the_api_server() -> None:
    """A cluster may have a hundred thousand pods; only ours should ever be sent."""
    made = [each for each in standing(("a",)) if each.scope is None]
    assert {each.place.selector for each in made} == {OF_OURS} == {"app.kubernetes.io/managed-by=stoa-operator"}
    assert {kinds.STATEFUL_SET, kinds.POD, kinds.SERVICE, kinds.NETWORK_POLICY} <= {each.place.kind for each in made}


def test_kinds_that_others_install_may_be_missing_and_ours_may_not() -> None:
    optional = {each.place.kind: each.place.optional for each in standing(("a",))}
    assert optional[kinds.CERTIFICATE]
    assert not optional[kinds.MQTT_CLIENT]
    assert not optional[kinds.POD]


def test_secrets_are_followed_in_single_namespaces_only_and_releases_are_left_out() -> None:
    """No right to read the Secrets of the whole cluster is ever asked for."""
    assert {kinds.SECRET, kinds.CONFIG_MAP}.isdisjoint(each.place.kind for each in standing(()))
    by_kind = {each.place.kind: each.place for each in of_home("a")}
    assert {place.namespace for place in by_kind.values()} == {"a"}
    assert by_kind[kinds.SECRET].fields == "type!=helm.sh/release.v1"
    assert by_kind[kinds.CONFIG_MAP].fields == ""
