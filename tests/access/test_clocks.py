"""API keys and grants expire by the database server's clock, whatever the clock of the host says."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from strongroom.driver.access import AccessControl, changes, grants
from tests.support.access.people import OWNER
from tests.support.clocks.shifted_clock import ShiftedClock
from tests.support.fixtures.command_line import STRONGROOM

pytestmark = pytest.mark.integration

DAY = timedelta(days=1)


class Stored:
    """A stored policy, and the time of its server."""

    def __init__(self):
        self.version, self.data = 0, b""
        self.now = datetime(2026, 11, 29, 12, tzinfo=UTC)

    async def get(self):
        """Return the policy and the server's time."""
        return self.version, self.data, self.now

    async def put(self, data, *, version, next_version):
        """Replace the policy."""
        assert version == self.version
        self.version, self.data = next_version, data


async def test_the_time_is_that_of_the_server_and_never_goes_back():
    """It advances with the monotonic clock between reads, and a server whose clock jumps back makes nothing valid again."""
    stored, seconds = Stored(), [0.0]
    access = AccessControl(stored, clock=lambda: seconds[0])
    await access.latest()
    assert access.now() == stored.now
    seconds[0] += 60.0
    assert access.now() == stored.now + timedelta(seconds=60)
    stored.now -= DAY
    await access.latest()
    assert access.now() == stored.now + DAY + timedelta(seconds=60)
    stored.now += 2 * DAY
    await access.latest()
    assert access.now() == stored.now


async def test_a_grant_is_as_long_as_it_was_asked_for():
    """Eight hours of a break-glass grant are eight hours of the server, in the change that approves it too."""
    stored = Stored()
    access = AccessControl(stored)
    await access.change(lambda _: changes.first_owner(OWNER, now=access.now()))
    await access.change(lambda p: changes.add_principal(p, "second", by=OWNER, now=access.now()))
    await access.change(lambda p: changes.bind(p, "second", "owner", namespace_id=None, by=OWNER, now=access.now()))

    def ask(policy):
        return grants.request_grant(
            policy,
            role="key-custodian",
            namespace_id=None,
            reason="ticket 7",
            lifetime=timedelta(hours=8),
            by="second",
            now=access.now(),
        )[0]

    (asked,) = (await access.change(ask)).grants
    policy = await access.change(lambda p: grants.approve_grant(p, asked.grant_id, by=OWNER, now=access.now()))
    assert timedelta(0) <= policy.grants[0].expires_at - stored.now - timedelta(hours=8) < timedelta(minutes=10)


@pytest.mark.parametrize("error", [-400 * DAY, 400 * DAY])
def test_an_api_key_of_a_host_with_a_wrong_clock(config_path, tmp_path, error):
    """A key of 30 days works at once on another host, whether the clock of the host that made it is a year behind or ahead."""
    clock = ShiftedClock(tmp_path / "clock")
    clock.shift(error.total_seconds())

    def run(*arguments, **environment):
        variables = {**os.environ, **environment}
        done = subprocess.run(
            [STRONGROOM, *arguments], cwd=config_path.parent, env=variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("init", **clock.environment)
    printed = run("access", "init", OWNER, "--days", "30", **clock.environment)
    key = next(word for word in printed.split() if word.startswith("sr_"))
    assert OWNER in run("access", "list", STRONGROOM_API_KEY=key)
    assert OWNER in run("access", "list", STRONGROOM_API_KEY=key, **clock.environment)
