from __future__ import annotations

from dataclasses import replace

import pytest

from strongroom.kms import CachePolicy
from strongroom.kms.keyring.ageing import Action, KeyAge, Load, least_jitter, new_age, next_action

POLICY = CachePolicy(soft_ttl=100, encrypt_ttl=200, decrypt_ttl=500, failure_ttl=5, retry_pause=1)
FRESH = KeyAge(unwrapped_at=0, confirmed_at=0, fresh_until=100)
CONFIRMED = replace(FRESH, confirmed_at=450)
"""The registry answered at 450. The KMS has been down since 0."""
PARTIAL = replace(FRESH, fresh_until=5, incomplete=True)
NOT_DUE = {"retry_at": 10_000}
"""A load failed a moment ago."""

TABLE = [
    # the soft TTL
    ("fresh", FRESH, 99.9, Load.NONE, Action.USE),
    ("due", FRESH, 100, Load.NONE, Action.REFRESH),
    ("due and loading", FRESH, 100, Load.RUNNING, Action.USE),
    ("due, but a load failed a moment ago", replace(FRESH, **NOT_DUE), 100, Load.NONE, Action.USE),
    # the encrypt TTL
    ("last moment of sealing", FRESH, 199.9, Load.NONE, Action.REFRESH),
    ("too old to seal", FRESH, 200, Load.NONE, Action.LOAD),
    ("too old to seal and loading", FRESH, 200, Load.RUNNING, Action.LOAD),
    # an outage of the KMS, while the registry confirms the keys
    ("outage, load failed", CONFIRMED, 460, Load.FAILED, Action.OPEN_ONLY),
    ("outage, retry not due", replace(CONFIRMED, **NOT_DUE), 460, Load.NONE, Action.OPEN_ONLY),
    ("outage, retry not due, but loading", replace(CONFIRMED, **NOT_DUE), 460, Load.RUNNING, Action.LOAD),
    ("outage before the encrypt TTL", FRESH, 150, Load.FAILED, Action.USE),
    # the decrypt TTL
    ("last moment of opening", CONFIRMED, 499.9, Load.FAILED, Action.OPEN_ONLY),
    ("too old to open", CONFIRMED, 500, Load.FAILED, Action.REFUSE),
    ("too old to open, retry not due", replace(CONFIRMED, **NOT_DUE), 500, Load.NONE, Action.REFUSE),
    ("too old to open, but a load may help", CONFIRMED, 500, Load.NONE, Action.LOAD),
    # an outage of the registry
    ("not confirmed within the encrypt TTL", FRESH, 200, Load.FAILED, Action.REFUSE),
    ("confirmed, unwrapped long ago", replace(CONFIRMED, confirmed_at=250), 449.9, Load.FAILED, Action.OPEN_ONLY),
    ("no longer confirmed", replace(CONFIRMED, confirmed_at=250), 450, Load.FAILED, Action.REFUSE),
    # the KMS refused one version
    ("refused version, asked a moment ago", PARTIAL, 4.9, Load.NONE, Action.USE),
    ("refused version, due", PARTIAL, 5, Load.NONE, Action.LOAD),
    ("refused version, retry not due", replace(PARTIAL, **NOT_DUE), 5, Load.NONE, Action.USE),
    ("refused version, refused again", PARTIAL, 5, Load.FAILED, Action.USE),
]


@pytest.mark.parametrize(("age", "now", "load", "action"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_action_at_each_age(age, now, load, action):
    """Each TTL, refusal and outage leads to the action that section "The cache" of DESIGN.md names."""
    assert next_action(age, POLICY, now=now, load=load) is action


@pytest.mark.parametrize("now", [0, 150, 300])
def test_keys_that_a_failed_load_evicted_are_refused(now):
    """Keys of any age are refused if the registry has changed and the new rows can't be unwrapped."""
    assert next_action(FRESH, POLICY, now=now, load=Load.FAILED, is_cached=False) is Action.REFUSE


def test_keys_never_gain_rights_with_age():
    """Without a load, the allowed actions only become fewer as time passes."""
    order = [Action.USE, Action.OPEN_ONLY, Action.REFUSE]
    for age in (FRESH, CONFIRMED, PARTIAL):
        steps = [order.index(next_action(age, POLICY, now=now, load=Load.FAILED)) for now in range(0, 700, 5)]
        assert steps == sorted(steps)


@pytest.mark.parametrize(
    ("incomplete", "jitter", "fresh_until"), [(False, 1.0, 150), (False, 0.9, 140), (True, 0.9, 55)]
)
def test_fresh_keys_are_due_after_the_soft_or_the_failure_ttl(incomplete, jitter, fresh_until):
    """Complete keys are due after the soft TTL times the jitter. Incomplete keys are due after the failure TTL."""
    age = new_age(POLICY, asked_at=50, incomplete=incomplete, jitter=jitter)
    assert age == KeyAge(50, 50, fresh_until, incomplete, due_at=fresh_until)


@pytest.mark.parametrize(
    ("namespaces", "is_first", "least"), [(99, True, 0.9), (100, True, 0.1), (10_000, True, 0.1), (10_000, False, 0.9)]
)
def test_first_refreshes_of_many_namespaces_are_spread(namespaces, is_first, least):
    """Namespaces that a list unwrapped together are refreshed over all of the soft TTL. Later refreshes keep their distance."""
    assert least_jitter(namespaces, is_first=is_first) == least
