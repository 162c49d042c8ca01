"""Each attack on a live database is refused on a read or a write, or found by the next verification."""

from __future__ import annotations

import pytest

from tests.support.freshness.all_attacks import FOUND, REFUSED
from tests.support.freshness.scene import new_scene
from tests.support.freshness.verification import differences, fold, tables

pytestmark = pytest.mark.integration

_DONE = object()


@pytest.mark.parametrize("attack", REFUSED, ids=str)
async def test_an_attack_is_refused(scene, admin, attack):
    """A call raises an error after the attack. The control: without the attack it succeeds."""
    steps = attack.steps(scene)
    await anext(steps)
    for refusal in attack.refusals:
        if refusal.writes:
            honest = await new_scene(scene.cell, admin)
            await anext(attack.steps(honest))
            await refusal.call(honest)
        else:
            await refusal.call(scene)
    await anext(steps)
    for refusal in attack.refusals:
        with pytest.raises(refusal.error):
            await refusal.call(scene)


@pytest.mark.parametrize("is_folded", [False, True], ids=["entries", "folded"])
@pytest.mark.parametrize("attack", FOUND, ids=str)
async def test_an_attack_is_found(scene, admin, attack, is_folded):
    """Verification names the table, and what the service writes afterwards does not hide it. Without the attack it names nothing."""
    shard_id, cell = scene.shard_id, scene.cell
    before = await differences(cell, shard_id)
    steps = attack.steps(scene)
    await anext(steps)
    if is_folded:
        await fold(cell, shard_id)
    assert await differences(cell, shard_id) == before, "no alarm before the attack"
    await anext(steps)
    wanted = {found.table for found in attack.findings}
    assert wanted <= tables(await differences(cell, shard_id) - before)
    if not is_folded:
        await admin.undo()
        assert await differences(cell, shard_id) == before, "no alarm after it was undone"
        return
    await anext(steps, _DONE)
    await fold(cell, shard_id)
    assert wanted <= tables(await differences(cell, shard_id) - before)
