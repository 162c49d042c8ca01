"""Each attack on a live database is refused on a read or a write, or found by the next verification."""

from __future__ import annotations

import pytest

from tests.support.freshness.all_attacks import FOUND, REFUSED
from tests.support.freshness.scene import new_scene
from tests.support.freshness.verification import JOURNAL, REASON, RUNS_ARE_BOUND, differences, tables

pytestmark = pytest.mark.integration

_DONE = object()
verified = pytest.mark.skipif(not JOURNAL, reason=REASON)


@pytest.mark.parametrize("attack", REFUSED, ids=str)
async def test_an_attack_is_refused(scene, admin, attack):
    """A call raises an error after the attack. The control: without the attack it succeeds."""
    refusals = [each for each in attack.refusals if RUNS_ARE_BOUND or not each.of_run]
    if not refusals:
        pytest.skip("a run's sealed state does not bind its other rows yet")
    steps = attack.steps(scene)
    await anext(steps)
    for refusal in refusals:
        if refusal.writes:
            honest = await new_scene(scene.cell, admin)
            await anext(attack.steps(honest))
            await refusal.call(honest)
        else:
            await refusal.call(scene)
    await anext(steps)
    for refusal in refusals:
        with pytest.raises(refusal.error):
            await refusal.call(scene)


@verified
@pytest.mark.parametrize("attack", FOUND, ids=str)
async def test_an_attack_is_found(scene, attack):
    """Verification names the table. What the service writes afterwards does not hide it. Without the attack it names nothing."""
    steps = attack.steps(scene)
    await anext(steps)
    before = await differences(scene.cell)
    await anext(steps)
    wanted = {found.table for found in attack.findings}
    assert wanted <= tables(await differences(scene.cell) - before)
    await anext(steps, _DONE)
    assert wanted <= tables(await differences(scene.cell) - before)


@verified
@pytest.mark.parametrize("attack", FOUND, ids=str)
async def test_honest_callers_raise_no_alarm(scene, admin, attack):
    """Verification names nothing before the attack, and nothing once the administrator has undone it."""
    before = await differences(scene.cell)
    steps = attack.steps(scene)
    await anext(steps)
    assert await differences(scene.cell) == before
    await anext(steps)
    await admin.undo()
    assert await differences(scene.cell) == before
