"""Rules of the access policy: the last owner stays, nobody gives permissions that they lack, grants need two people and expire."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.driver.access import InvalidPolicyChange, PermissionDenied, Policy, changes, grants
from strongroom.driver.access.api_keys import find_by_api_key, make_api_key
from strongroom.driver.access.authorization import decide, permissions_of
from strongroom.driver.access.roles import ACCOUNT_ROLES, NAMESPACE_ROLES
from strongroom.driver.operations import Permission
from strongroom.driver.stores import OPERATIONS
from tests.support.access.people import OWNER

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
HERE = uuid4()
SHRED = OPERATIONS["shredding.finish"]


def policy(**roles):
    """Return a policy with an owner, and with others that have one role each. A role with a colon is one in the namespace."""
    made = changes.first_owner(OWNER, now=NOW)
    for name, role in roles.items():
        made = changes.add_principal(made, name, by=OWNER, now=NOW)
        place = HERE if role.startswith(":") else None
        if role:
            made = changes.bind(made, name, role.removeprefix(":"), namespace_id=place, by=OWNER, now=NOW)
    return made


def asked(made, by, **what):
    """Return a policy with a requested grant, and the grant."""
    given = {"namespace_id": HERE, "reason": "ticket 7", "lifetime": timedelta(hours=2), "by": by, "now": NOW} | what
    return grants.request_grant(made, **given)


def test_a_policy_survives_its_encoding():
    """A policy with every kind of entry is the same after encoding and decoding."""
    made = policy(bob="key-custodian", eve=":write")
    _, kept = make_api_key(now=NOW, lifetime=timedelta(days=3))
    made = changes.add_api_key(made, "bob", kept, by=OWNER, now=NOW)
    made = changes.add_subject(made, "eve", "CN=eve,O=Ex\\, Inc", by=OWNER, now=NOW)
    made, grant = asked(made, "bob", operation="shredding.finish")
    made = grants.approve_grant(made, grant.grant_id, by=OWNER, now=NOW)
    made = changes.add_hold(made, "case 1", by=OWNER, now=NOW)
    made = changes.put_availability_first(changes.keep_for(made, 500), HERE, on=True)
    assert Policy.decode(made.version + 1, made.encode()).encode() == made.encode()
    assert Policy.decode(0, made.encode()) == Policy()
    assert kept.hash.encode() not in repr(made).encode()


def test_a_restore_is_approved_for_one_state():
    """A grant of `restore.accept` names the state that both people saw. It allows no other one, and no other operation has a state."""
    made, state = policy(bob="owner"), "4be7d1c09a5f3e2d8c6b1a0f9e8d7c6b"
    for what in (
        {"operation": grants.ACCEPT},
        {"operation": grants.ACCEPT, "state": "x"},
        {"role": "auditor", "state": state},
    ):
        with pytest.raises(InvalidPolicyChange, match="--state"):
            asked(made, "bob", namespace_id=None, **what)
    made, grant = asked(made, "bob", namespace_id=None, operation=grants.ACCEPT, state=state)
    assert not grants.is_approved(made, principal="bob", state=state, now=NOW)
    made = grants.approve_grant(made, grant.grant_id, by=OWNER, now=NOW)
    approved = {
        (name, each): grants.is_approved(made, principal=name, state=each, now=NOW)
        for name in ("bob", OWNER)
        for each in (state, state[::-1], "")
    }
    assert [key for key, value in approved.items() if value] == [("bob", state)]
    assert not grants.is_approved(made, principal="bob", state=state, now=NOW + timedelta(hours=3))
    assert grants.is_approved(Policy(), principal="", state=state, now=NOW)


def test_the_last_owner_stays():
    """No change removes the last owner."""
    made = policy(bob="admin")
    for change in (
        lambda: changes.remove_principal(made, OWNER, by=OWNER, now=NOW),
        lambda: changes.unbind(made, OWNER, "owner", namespace_id=None, by=OWNER, now=NOW),
    ):
        with pytest.raises(InvalidPolicyChange, match="last owner"):
            change()
    two = changes.bind(made, "bob", "owner", namespace_id=None, by=OWNER, now=NOW)
    left = changes.remove_principal(two, OWNER, by="bob", now=NOW)
    assert list(left.holders("owner")) == ["bob"]


@given(giver=st.sampled_from(sorted(ACCOUNT_ROLES)), role=st.sampled_from(sorted(ACCOUNT_ROLES)))
def test_nobody_gives_or_takes_more_than_they_have(giver, role):
    """A principal can give or take no role beyond its own permissions, and create no key for a principal that has more."""
    made = policy(giver=giver, taker="", strong=role)
    may = ACCOUNT_ROLES[role] <= ACCOUNT_ROLES[giver]
    _, key = make_api_key(now=NOW, lifetime=timedelta(days=1))
    for change in (
        lambda: changes.bind(made, "taker", role, namespace_id=None, by="giver", now=NOW),
        lambda: changes.unbind(made, "strong", role, namespace_id=None, by="giver", now=NOW),
        lambda: changes.remove_principal(made, "strong", by="giver", now=NOW),
        lambda: changes.add_api_key(made, "strong", key, by="giver", now=NOW),
        lambda: changes.add_subject(made, "strong", "CN=x", by="giver", now=NOW),
    ):
        if may:
            change()
        else:
            with pytest.raises(PermissionDenied):
                change()


def test_a_namespace_admin_gives_roles_there_and_nowhere_else():
    """An admin of a namespace gives roles in that namespace only."""
    made = policy(bob=":admin", eve="")
    changes.bind(made, "eve", "write", namespace_id=HERE, by="bob", now=NOW)
    for place, role in ((uuid4(), "read"), (None, "read-only"), (None, "owner")):
        with pytest.raises(PermissionDenied):
            changes.bind(made, "eve", role, namespace_id=place, by="bob", now=NOW)


def test_a_grant_counts_from_approval_to_the_second():
    """A grant does not count before its approval, from its end on, in another namespace, or for another operation."""
    made, grant = asked(policy(bob="key-custodian"), "bob", operation="shredding.finish")
    assert not decide(made, "bob", SHRED, (HERE,), now=NOW).allowed
    at = NOW + timedelta(minutes=5)
    made = grants.approve_grant(made, grant.grant_id, by=OWNER, now=at)
    end = at + timedelta(hours=2)
    for moment, allowed in ((at, True), (end - timedelta(microseconds=1), True), (end, False)):
        assert decide(made, "bob", SHRED, (HERE,), now=moment).allowed == allowed
    assert not decide(made, "bob", SHRED, (uuid4(),), now=at).allowed
    assert not decide(made, OWNER, SHRED, (HERE,), now=at).allowed, "not even an owner alone"
    other = replace(SHRED, method="another")
    assert not decide(made, "bob", other, (HERE,), now=at).allowed
    ended = grants.end_grant(made, grant.grant_id, by="bob", now=at)
    assert not decide(ended, "bob", SHRED, (HERE,), now=at).allowed


def test_a_granted_role_ends_too():
    """A granted role lets a principal read a namespace for two hours."""
    made, grant = asked(policy(bob="developer", eve="admin"), "bob", role="read")
    with pytest.raises(PermissionDenied):
        grants.approve_grant(made, grant.grant_id, by="bob", now=NOW)
    made = grants.approve_grant(made, grant.grant_id, by="eve", now=NOW)
    read = OPERATIONS["history.read_history_branch"]
    decision = decide(made, "bob", read, (HERE,), now=NOW)
    assert (decision.allowed, decision.grant) == (True, grant.grant_id)
    assert not decide(made, "bob", read, (HERE,), now=NOW + timedelta(hours=2)).allowed
    assert not decide(made, "bob", OPERATIONS["visibility.record_workflow_executions"], (HERE,), now=NOW).allowed


def test_who_approves_must_have_what_it_gives_and_not_by_a_grant():
    """A grant can't be approved by its requester, twice, or after it has expired."""
    made, grant = asked(
        policy(bob="key-custodian", eve="admin", zoe="key-custodian"), "bob", operation="shredding.finish"
    )
    for by in ("bob", "eve", "nobody"):
        with pytest.raises((PermissionDenied, InvalidPolicyChange)):
            grants.approve_grant(made, grant.grant_id, by=by, now=NOW)
    borrowed, second = asked(made, "eve", role="key-custodian", namespace_id=None)
    borrowed = grants.approve_grant(borrowed, second.grant_id, by=OWNER, now=NOW)
    assert Permission.SHRED in permissions_of(borrowed, "eve", HERE, now=NOW)
    with pytest.raises(PermissionDenied):
        grants.approve_grant(borrowed, grant.grant_id, by="eve", now=NOW)
    with pytest.raises(InvalidPolicyChange):
        grants.approve_grant(made, grant.grant_id, by="zoe", now=NOW + timedelta(hours=24))
    approved = grants.approve_grant(made, grant.grant_id, by="zoe", now=NOW)
    with pytest.raises(InvalidPolicyChange):
        grants.approve_grant(approved, grant.grant_id, by=OWNER, now=NOW)


@pytest.mark.parametrize(
    "what",
    [
        {"operation": "shredding.finish", "lifetime": timedelta(hours=8, seconds=1)},
        {"operation": "shredding.finish", "lifetime": timedelta(0)},
        {"operation": "shredding.finish", "reason": "  "},
        {"operation": "shredding.finish", "reason": "a\nb"},
        {"operation": "shredding.finish", "namespace_id": None},
        {"operation": "audit.shorten_retention"},
        {"operation": "namespaces.get"},
        {"operation": "nothing"},
        {"role": "owner"},
        {"role": "read", "operation": "shredding.finish"},
        {},
    ],
)
def test_grants_that_are_refused(what):
    """A request that is too long, has no reason, or names an operation that needs no grant is refused."""
    with pytest.raises(InvalidPolicyChange):
        asked(policy(bob="key-custodian"), "bob", **what)


def test_api_keys():
    """A key is found by its whole text only, until it expires. A principal has at most two, and only a hash is stored."""
    made = policy(bob="auditor")
    text, kept = make_api_key(now=NOW, lifetime=timedelta(days=1))
    made = changes.add_api_key(made, "bob", kept, by=OWNER, now=NOW)
    assert text.split("_", 2)[2].encode() not in made.encode()  # the secret may have a "_" too
    found = find_by_api_key(made, text, now=NOW)
    assert (found[0].name, found[1].key_id) == ("bob", kept.key_id)
    assert find_by_api_key(made, text, now=NOW + timedelta(days=1)) is None
    for wrong in (
        text[:-1],
        text[:-1] + ("A" if text[-1] != "A" else "B"),
        text.upper(),
        "",
        "sr_",
        text + "x",
        " " + text,
    ):
        assert find_by_api_key(made, wrong, now=NOW) is None
    _, second = make_api_key(now=NOW, lifetime=timedelta(days=400))
    made = changes.add_api_key(made, "bob", second, by=OWNER, now=NOW)
    _, third = make_api_key(now=NOW, lifetime=timedelta(days=1))
    with pytest.raises(InvalidPolicyChange, match="revoke"):
        changes.add_api_key(made, "bob", third, by=OWNER, now=NOW)
    assert find_by_api_key(changes.revoke_api_key(made, kept.key_id, by=OWNER, now=NOW), text, now=NOW) is None
    _, forever = make_api_key(now=NOW, lifetime=timedelta(days=401))
    with pytest.raises(InvalidPolicyChange, match="400 days"):
        changes.add_api_key(policy(bob=""), "bob", forever, by=OWNER, now=NOW)


@given(name=st.text(max_size=140))
def test_odd_names_are_refused_or_kept_whole(name):
    """A name can't contain a line feed or another character that breaks a log."""
    try:
        made = changes.add_principal(policy(), name, by=OWNER, now=NOW)
    except InvalidPolicyChange:
        return
    assert name.isascii()
    assert name.isprintable()
    assert name in made.principals


def test_roles_and_places_go_together():
    """A role of a namespace can't be given in the cell, and the other way round."""
    for role in NAMESPACE_ROLES.keys() - ACCOUNT_ROLES.keys():
        with pytest.raises(InvalidPolicyChange, match="roles in the whole cell"):
            changes.bind(policy(bob=""), "bob", role, namespace_id=None, by=OWNER, now=NOW)
    with pytest.raises(InvalidPolicyChange, match="roles in a namespace"):
        changes.bind(policy(bob=""), "bob", "owner", namespace_id=HERE, by=OWNER, now=NOW)
