"""Making entries: what is given a number is settled, whatever happens."""

from __future__ import annotations

import pytest

from strongroom.kms.sealing.record_kinds import JOURNAL_ENTRY
from strongroom.storage.journal.entry import Changes, Entry
from strongroom.storage.journal.images import EXECUTIONS
from strongroom.storage.journal.outcomes import Settled
from strongroom.storage.journal.writer import Journal
from tests.support.one_keyring import OneKeyring

IMAGE = bytes([EXECUTIONS]) + bytes(64)


async def test_a_failure_while_entries_are_made_leaves_nothing_in_flight():
    """Numbers that were given before the failure are refused, so that later entries are folded."""
    journal = Journal(OneKeyring())
    with pytest.raises(TypeError):
        await journal.record([Changes(1, [IMAGE]), Changes(1, [None])])
    journal.settle(await journal.record([Changes(1, [IMAGE])]), Settled.COMMITTED)
    outcomes = journal.outcomes(1)
    assert (outcomes.settled, list(outcomes.refused)) == (4, [1, 2])


async def test_entries_stay_short_however_long_nothing_is_folded():
    """One entry names each refusal, also if they are more than two bytes can count. The entries after it do not."""
    keyring = OneKeyring()
    journal = Journal(keyring)
    ticket = await journal.record([Changes(1, [IMAGE])])
    for number in range(2, 70_000):
        journal._settle(1, number, Settled.REFUSED)
    journal._streams[1].last = 69_999
    journal.settle(ticket, Settled.COMMITTED)
    ticket, entry = await begun(journal, keyring)
    assert len(entry.refused) == 69_998
    journal.settle([ticket], Settled.COMMITTED)
    ticket, entry = await begun(journal, keyring)
    assert (len(ticket.entry) < 200, entry.refused, entry.settled) == (True, (), ticket.number)
    assert len(journal.outcomes(1).refused) == 69_998, "the process itself knows all of them"


DIGEST = bytes(range(32))


async def begun(journal, keyring):
    """Make an entry of shard 1; return its ticket and what it has."""
    [ticket] = await journal.record([Changes(1, [IMAGE])])
    key = (1, journal.writer.bytes, ticket.number)
    return ticket, Entry.unpack(keyring.keys.open(JOURNAL_ENTRY, key, ticket.entry))


async def test_the_next_entry_has_what_an_entry_replaced():
    """It is confirmed once, unless the entry that confirms it was not committed."""
    keyring = OneKeyring()
    journal = Journal(keyring)
    first, _ = await begun(journal, keyring)
    journal.settle([first], Settled.COMMITTED, [DIGEST])
    for settled in (Settled.REFUSED, Settled.UNKNOWN, Settled.COMMITTED):
        ticket, entry = await begun(journal, keyring)
        assert entry.digests == {1: DIGEST[:16]}
        assert entry.settled == ticket.number
        _, other = await begun(journal, keyring)
        assert not other.digests
        assert other.settled == 1, "the entry before it may never be committed"
        journal._settle(1, ticket.number + 1, Settled.COMMITTED)
        journal.settle([ticket], settled)
    ticket, entry = await begun(journal, keyring)
    assert not entry.digests
    assert entry.settled == ticket.number
    assert journal.outcomes(1).digests == {1: DIGEST[:16]}, "until it is folded"
    journal.folded(1, 1)
    assert not journal.outcomes(1).digests


async def test_an_entry_that_replaced_nothing_needs_no_confirmation():
    """Neither None nor an empty digest takes a byte of later entries."""
    keyring = OneKeyring()
    journal = Journal(keyring)
    for digest in (None, b""):
        ticket, _ = await begun(journal, keyring)
        journal.settle([ticket], Settled.COMMITTED, [digest])
    assert not (await begun(journal, keyring))[1].digests
