"""A model check of the journal: writers that crash, statements with every outcome, folding, and an administrator of the database.

The database is a dictionary. The journal, its entries, folding and the comparison are the product's own. Each example is a random
sequence of steps. Without an attack no step raises an alarm; after one, every later comparison finds it.
"""

from __future__ import annotations

import asyncio
import itertools
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from strongroom.kms.sealing.record_kinds import JOURNAL_ENTRY
from strongroom.storage.journal import folding
from strongroom.storage.journal.elements import ElementHash
from strongroom.storage.journal.entry import Changes, Entry, Permissions, replaced_digest
from strongroom.storage.journal.folding import (
    ABANDONED_AFTER,
    UNCONFIRMED_AFTER,
    UNKNOWN_AFTER,
    StoredEntry,
    fold,
)
from strongroom.storage.journal.images import EXECUTIONS, TAG_BYTES
from strongroom.storage.journal.outcomes import Outcomes, Settled
from strongroom.storage.journal.sums import ShardSums, differing
from strongroom.storage.journal.writer import Journal
from tests.support.counts import examples
from tests.support.one_keyring import CELL, OneKeyring

SHARD = 1
ROWS = st.integers(0, 2)


def image_of(row):
    """Return the image of a row of `executions`, without its tag."""
    return bytes([EXECUTIONS]) + CELL.bytes + bytes([row])


def digest_of(images):
    """Return the digest of replaced rows as a statement returns it; None for none."""
    return replaced_digest(b"".join(len(each).to_bytes(2, "big") + each for each in images)) or None


class Insertion:
    """Stands for a connection that inserts entries which replace nothing."""

    def __init__(self, entries):
        self.entries = entries

    async def execute(self, _, writer, shards, numbers, sealed):
        """Insert the entries."""
        for _, number, entry in zip(shards, numbers, sealed, strict=True):
            self.entries[writer, number] = (entry, [])

    async def fetchrow(self, _, __, writer, number):
        """Return whether an entry is there."""
        return (writer, number) in self.entries or None


EDITS = ("own image", "no image", "another version", "twice", "truncated")
EXAMPLES = settings(
    max_examples=examples(150), stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


class JournalMachine(RuleBasedStateMachine):
    """Some writers, the rows of one shard, its entries and its sums."""

    def __init__(self):
        super().__init__()
        self.keyring = OneKeyring()
        self.elements = ElementHash(self.keyring.keys, SHARD)
        self.numbers = itertools.count(1)
        self.writers = [self.process() for _ in range(2)]
        self.rows = {}
        self.entries = {}
        self.sums = ShardSums()
        self.before = []
        self.in_flight = []
        self.given_up = []
        self.attacked = False
        self.witness = None
        self.is_edited = self.is_told = False
        self.known = {}

    def process(self):
        """Return the journal of a new process. Its id is not random, so that an example can be run again."""
        journal = Journal(self.keyring)
        journal.writer = UUID(int=next(self.numbers))
        return journal

    def tag(self):
        """Return a tag that no row had before."""
        return next(self.numbers).to_bytes(TAG_BYTES, "big")

    def ticket(self, writer, row, tag):
        """Make the entry of a write of a row: a new tag, or None to delete it."""
        changes = Changes(SHARD)
        if tag is None:
            changes.rows.append(image_of(row))
        else:
            changes.overwrite(image_of(row), tag)
        return asyncio.run(writer.record([changes]))[0]

    def commit(self, writer, ticket, row, tag):
        """Execute a statement: replace the row, and insert the entry with the image of the replaced one. Return its digest."""
        self.before.append((dict(self.rows), dict(self.entries), self.sums))
        old = self.rows.pop(row, None)
        if tag is not None:
            self.rows[row] = tag
        replaced = [] if old is None else [image_of(row) + old]
        self.entries[writer.writer, ticket.number] = (ticket.entry, replaced)
        return digest_of(replaced)

    def settle(self, writer, ticket, row, tag, digest):
        """Give a writer the answer of a statement that was committed."""
        writer.settle([ticket], Settled.COMMITTED, [digest])
        self.known[writer.writer, ticket.number] = (row, tag)

    @rule(
        which=st.integers(0, 1), row=ROWS, deletes=st.booleans(), outcome=st.sampled_from(["done", "refused", "lost"])
    )
    def write(self, which, row, deletes, outcome):
        """Write a row. The statement is committed, refused, or committed while its answer is lost."""
        writer, tag = self.writers[which], None if deletes else self.tag()
        ticket = self.ticket(writer, row, tag)
        if outcome == "refused":
            writer.settle([ticket], Settled.REFUSED)
            return
        digest = self.commit(writer, ticket, row, tag)
        if outcome == "done":
            self.settle(writer, ticket, row, tag, digest)
        else:
            writer.settle([ticket], Settled.UNKNOWN)

    @rule(which=st.integers(0, 1), row=ROWS)
    def send(self, which, row):
        """Send a statement that stays in flight."""
        writer, tag = self.writers[which], self.tag()
        self.in_flight.append((writer, self.ticket(writer, row, tag), row, tag))

    @precondition(lambda self: self.in_flight)
    @rule()
    def give_up(self):
        """Give up the oldest statement in flight. The server may still execute it."""
        writer, ticket, *_ = self.in_flight[0]
        if ticket not in self.given_up:
            self.given_up.append(ticket)
            writer.settle([ticket], Settled.UNKNOWN)

    @precondition(lambda self: self.in_flight)
    @rule(committed=st.booleans())
    def arrive(self, committed):
        """End the oldest statement in flight."""
        writer, ticket, row, tag = self.in_flight.pop(0)
        digest = self.commit(writer, ticket, row, tag) if committed else None
        if ticket in self.given_up:
            return
        if committed:
            self.settle(writer, ticket, row, tag, digest)
        else:
            writer.settle([ticket], Settled.REFUSED)

    @rule(which=st.integers(0, 1), committed=st.booleans())
    def crash(self, which, committed):
        """End a writer without a word. What it had in flight is committed or not. Another process takes its place."""
        gone = self.writers[which]
        for writer, ticket, row, tag in self.in_flight:
            if writer is gone and committed:
                self.commit(writer, ticket, row, tag)
        self.in_flight = [each for each in self.in_flight if each[0] is not gone]
        self.writers[which] = self.process()

    @rule(which=st.integers(0, 1), patient=st.booleans())
    def fold(self, which, patient):
        """Fold as one of the writers, which may have waited for all gaps that no running statement can close."""
        writer = self.writers[which]
        result = self.folded(writer, patient=patient)
        if result.problems:
            assert self.attacked, result.problems
            asyncio.run(writer.state_outcomes(Insertion(self.entries), SHARD))
            self.is_told |= writer is self.witness and not any(each[0] is writer for each in self.in_flight)
            return
        self.before.append((dict(self.rows), dict(self.entries), self.sums))
        self.sums = result.sums
        for key in result.entries:
            del self.entries[key]
        writer.folded(SHARD, self.sums.writers.get(writer.writer, 0))

    def folded(self, writer=None, *, patient=False):
        """Return what folding would give."""
        stored = []
        for (owner, number), (entry, replaced) in self.entries.items():
            packed = self.keyring.keys.open(JOURNAL_ENTRY, (SHARD, owner.bytes, number), entry)
            digest = digest_of(replaced) or b""
            stored.append(StoredEntry(owner, number, Entry.unpack(packed), replaced, digest))
        outcomes = {} if writer is None else {writer.writer: writer.outcomes(SHARD)}
        running = {(each[0].writer, each[1].number) for each in self.in_flight}
        gaps = fold(self.sums, stored, self.elements, outcomes=outcomes).gaps if patient else []
        alive = {each.writer for each in self.writers}  # they fold every ten seconds, so nobody waits an hour for them
        waits = {gap: UNKNOWN_AFTER if gap[0] in alive else ABANDONED_AFTER for gap in gaps}
        for gap in waits:
            if not gap[2]:  # unconfirmed
                waits[gap] = 0.0 if gap[0] in alive else UNCONFIRMED_AFTER
        waited = {gap: seconds for gap, seconds in waits.items() if gap[:2] not in running}
        return fold(self.sums, stored, self.elements, outcomes=outcomes, waited=waited)

    def alarms(self):
        """Return what a verification by each process, and by a new one, finds."""
        found = []
        for writer in (None, *self.writers):
            result = self.folded(writer)
            live = {EXECUTIONS: self.elements.sum([image_of(row) + tag for row, tag in self.rows.items()])}
            found.append(bool(differing(result.total(self.elements), live) or result.problems))
        return found

    @precondition(lambda self: not self.attacked and self.rows)
    @rule(data=st.data(), attack=st.sampled_from(["older", "deleted", "brought back", "entry and row"]))
    def attack(self, data, attack):
        """Change the rows as an administrator could, to a state that the shard had before."""
        states = [state for state in self.before if state[0] != self.rows]
        row = data.draw(st.sampled_from(sorted(self.rows)))
        if attack == "deleted":
            del self.rows[row]
        elif attack == "entry and row" and self.entries:
            key = data.draw(st.sampled_from(list(self.entries)))
            writer = next((each for each in self.writers if each.writer == key[0]), None)
            if writer is None or key[1] in writer.outcomes(SHARD).unknown:
                return  # nobody knows whether it was committed, so it may be missing
            del self.entries[key]
            del self.rows[row]
            self.witness = writer
        else:
            older = [state[0] for state in states if state[0].get(row, b"") != self.rows[row]]
            if not older:
                return
            state = data.draw(st.sampled_from(older))
            if attack == "older" and row in state:
                self.rows[row] = state[row]
            elif missing := [each for each in state if each not in self.rows]:
                self.rows[missing[0]] = state[missing[0]]
            else:
                return
        self.attacked = True

    @precondition(lambda self: not self.attacked and self.entries)
    @rule(data=st.data(), edit=st.sampled_from(EDITS), puts_back=st.booleans())
    def edit_replaced(self, data, edit, puts_back):
        """Edit what an entry replaced, with or without putting the replaced row back. The writer of the entry knows its digest."""
        keys = [key for key, (_, replaced) in self.entries.items() if replaced and key in self.known]
        alive = {each.writer: each for each in self.writers}
        keys = [key for key in keys if key[0] in alive]
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        entry, [image] = self.entries[key]
        row, tag = self.known[key]
        edited = {
            "own image": [image if tag is None else image_of(row) + tag],
            "no image": [],
            "another version": [image_of(row) + self.tag()],
            "twice": [image, image],
            "truncated": [image[:-1]],
        }[edit]
        if edited == [image]:
            return
        self.entries[key] = (entry, edited)
        if puts_back:
            self.rows[row] = image[-TAG_BYTES:]
        self.attacked, self.is_edited, self.witness = True, True, alive[key[0]]

    @precondition(lambda self: not self.attacked and self.rows)
    @rule(data=st.data(), which=st.integers(0, 1))
    def undo_deletion(self, data, which):
        """Delete a row, and put it back with an entry that has deleted nothing: the edit that fits the sums."""
        row = data.draw(st.sampled_from(sorted(self.rows)))
        writer, old = self.writers[which], self.rows[row]
        self.write(which, row, deletes=True, outcome="done")
        key = writer.writer, writer.outcomes(SHARD).settled - 1
        if self.in_flight or not self.entries.get(key, (b"", []))[1]:
            return
        self.entries[key] = (self.entries[key][0], [])
        self.rows[row] = old
        self.attacked, self.is_edited, self.witness = True, True, writer

    @precondition(lambda self: not self.attacked and self.rows)
    @rule(data=st.data(), which=st.integers(0, 1))
    def forge_answer(self, data, which):
        """Execute a statement wrongly: the row stays, and the entry names its own image. The answer has the digest of that."""
        writer, tag = self.writers[which], self.tag()
        row = data.draw(st.sampled_from(sorted(self.rows)))
        ticket = self.ticket(writer, row, tag)
        own = [image_of(row) + tag]
        self.entries[writer.writer, ticket.number] = (ticket.entry, own)
        writer.settle([ticket], Settled.COMMITTED, [digest_of(own)])
        self.attacked = True

    @invariant()
    def alarms_are_right(self):
        """Without an attack nobody raises an alarm. Changed rows are found by every process, also by a new one.

        If the entry vanished with the row, or lists other replaced rows, its writer finds it, once nothing that it sent before is in
        flight. So do the others as soon as a later entry has a word about it. After folding, the writer has added such an entry.
        """
        if not self.attacked:
            assert not any(self.alarms())
        elif self.witness is None or self.is_told:
            assert all(self.alarms())
        elif self.witness in self.writers and not any(each[0] is self.witness for each in self.in_flight):
            assert self.alarms()[1 + self.writers.index(self.witness)]


def test_no_false_alarm_and_no_attack_unnoticed():
    """The machine finds no sequence of steps that raises an alarm without an attack, or none after one."""
    run_state_machine_as_test(JournalMachine, settings=EXAMPLES)


def fold_at_once(monkeypatch):
    """Pass over entries with an unknown outcome without waiting."""
    monkeypatch.setattr(folding, "UNKNOWN_AFTER", 0.0)


def forget_refusals(monkeypatch):
    """Forget which entries were refused as soon as anything is folded."""
    folded = Journal.folded
    monkeypatch.setattr(Journal, "folded", lambda self, shard_id, _: folded(self, shard_id, 2**63))


def believe_refusals(monkeypatch):
    """Take entries for refused although their writer does not know."""
    settle = Journal.settle
    known = {Settled.UNKNOWN: Settled.REFUSED}
    monkeypatch.setattr(
        Journal, "settle", lambda self, each, settled, *rest: settle(self, each, known.get(settled, settled), *rest)
    )


def believe_what_was_replaced(monkeypatch):
    """Compare no digest of what an entry replaced."""
    changed = folding._changed
    monkeypatch.setattr(
        folding, "_changed", lambda *given: (each for each in changed(*given) if "other replaced rows" not in each)
    )


def allow_the_own_image(monkeypatch):
    """Let an entry replace the image that it adds."""
    made = Permissions.__init__

    def allow(self, entry):
        made(self, entry)
        self._own = dict.fromkeys(self._own, b"")

    monkeypatch.setattr(Permissions, "__init__", allow)


def confirm_only_once(monkeypatch):
    """Forget a digest when the entry that had it was refused."""
    settle = Outcomes.settle

    def forget(self, number, settled, digest):
        self.naming.pop(number, None)
        settle(self, number, settled, digest)

    monkeypatch.setattr(Outcomes, "settle", forget)


FOUND_BY_STEPS = {
    fold_at_once: [("send", 1, 0), ("give_up",), ("fold", 1, False), ("arrive", True)],
    forget_refusals: [("send", 0, 0), ("give_up",), ("fold", 0, False)],
    confirm_only_once: [
        *(("write", 0, 0, False, "done"), ("write", 0, 0, True, "done")),
        *(("write", 0, 0, False, "refused"), ("write", 0, 0, False, "done")),
    ],
}
"""The steps that show a mistake. A search finds these three after several hundred examples, and not always after 2000."""


def take(steps):
    """Take steps, and check the alarms after each one."""
    machine = JournalMachine()
    for name, *arguments in steps:
        getattr(machine, name)(*arguments)
        machine.alarms_are_right()


@pytest.mark.parametrize("mistake", FOUND_BY_STEPS)
def test_the_alarms_show_mistakes(mistake, monkeypatch):
    """Control: these steps give a wrong alarm or none if the product has the mistake, and only then."""
    take(FOUND_BY_STEPS[mistake])
    mistake(monkeypatch)
    with pytest.raises(AssertionError):
        take(FOUND_BY_STEPS[mistake])


@pytest.mark.parametrize("mistake", [believe_refusals, believe_what_was_replaced, allow_the_own_image])
def test_the_machine_finds_mistakes(mistake, monkeypatch):
    """Control: a search finds each of these mistakes within some dozens of examples."""
    mistake(monkeypatch)
    with pytest.raises((AssertionError, ExceptionGroup)):
        run_state_machine_as_test(
            JournalMachine, settings=settings(EXAMPLES, max_examples=2000, phases=[Phase.generate])
        )
