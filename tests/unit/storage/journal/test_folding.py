"""The rule of folding, without a database: what explains a missing entry, and what does not."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.storage.journal.entry import Entry, Permissions, replaced_digest, split_images
from strongroom.storage.journal.folding import (
    ABANDONED_AFTER,
    UNCONFIRMED_AFTER,
    UNKNOWN_AFTER,
    StoredEntry,
    fold,
)
from strongroom.storage.journal.images import EXECUTIONS
from strongroom.storage.journal.sums import ShardSums, pack_sums

WRITER = UUID(int=7)


class Elements:
    """Stands for the keyed hash: an image counts as its bytes."""

    def packed_sums(self, removed, added):
        """Return the sums by table."""
        totals = dict.fromkeys((image[0] for image in [*removed, *added]), 0)
        for sign, images in ((-1, removed), (1, added)):
            for image in images:
                totals[image[0]] += sign * int.from_bytes(image, "big")
        return pack_sums({table: total % 2**256 for table, total in totals.items()})


def digest(*images):
    """Return the digest of what an entry replaced."""
    return replaced_digest(b"".join(len(each).to_bytes(2, "big") + each for each in images))


def stored(number, *, settled=1, refused=(), unknown=(), added=0, rows=(), replaced=(), older=(), digests=None):
    """Return an entry of the writer."""
    entry = Entry(settled, refused, unknown, pack_sums({EXECUTIONS: added}), rows, (), older, digests or {})
    return StoredEntry(WRITER, number, entry, list(replaced), digest(*replaced))


UNCONFIRMED = {(WRITER, number, False): UNCONFIRMED_AFTER for number in range(1, 10)}
"""Time after which no entry needs a confirmation, and gaps are still waited for."""


def folded(*entries, sums=None, outcomes=None, waited=None, below=None):
    """Fold entries."""
    waited = UNCONFIRMED if waited is None else {**UNCONFIRMED, **waited}
    return fold(sums or ShardSums(), entries, Elements(), outcomes=outcomes or {}, waited=waited, below=below or {})


def image(row, tag=0):
    """Return the image of a row of `executions`."""
    return bytes([EXECUTIONS]) + row.to_bytes(16, "big") + tag.to_bytes(16, "big")


def test_entries_in_order_are_folded():
    """All entries of a writer without a gap go into the sums."""
    result = folded(stored(1, added=5), stored(2, settled=2, added=7))
    assert result.sums.sums == {EXECUTIONS: 12}
    assert result.sums.writers == {WRITER: 2}
    assert not result.problems
    assert not result.pending


def test_a_missing_entry_is_a_problem_only_when_a_later_one_settles_it():
    """An entry that may be in flight makes the later ones wait; one that was settled without a word is missing."""
    waiting = folded(stored(1), stored(3, settled=2))
    assert [each.number for each in waiting.pending] == [3]
    assert waiting.gaps == [(WRITER, 2, True), (WRITER, 3, False)]
    assert not waiting.problems
    assert "entry 2" in folded(stored(1), stored(3, settled=3)).problems[0]


def test_a_refused_entry_is_passed_over():
    """A later entry says that its statement was rolled back."""
    result = folded(stored(1), stored(3, settled=3, refused=(2,)))
    assert result.sums.writers == {WRITER: 3}
    assert not result.problems


def test_an_unknown_entry_is_waited_for_until_its_statement_must_have_ended():
    """The server may still run the statement after its client has given up."""
    entries = stored(1), stored(3, settled=3, unknown=(2,))
    early = folded(*entries, waited={(WRITER, 2, True): UNKNOWN_AFTER - 1})
    assert (WRITER, 2, True) in early.gaps
    assert early.sums.writers == {WRITER: 1}
    assert folded(*entries, waited={(WRITER, 2, True): UNKNOWN_AFTER}).sums.writers == {WRITER: 3}


def test_an_entry_that_was_refused_must_not_be_there():
    """The database reported that it refused the write, and executed it."""
    result = folded(stored(1), stored(2, added=9), stored(3, settled=3, refused=(2,)))
    assert "was refused" in result.problems[0]


def test_an_unknown_entry_may_be_there():
    """A write whose outcome its caller does not know counts if it is there."""
    result = folded(stored(1), stored(2, added=9), stored(3, settled=3, unknown=(2,)))
    assert result.sums.sums[EXECUTIONS] == 9
    assert not result.problems


def test_a_folded_entry_must_not_come_back():
    """An entry counts once."""
    result = folded(stored(2), sums=ShardSums(4, {}, {WRITER: 2}))
    assert "came back" in result.problems[0]


def test_the_last_number_of_a_process_that_ended_is_needed():
    """Another process deleted the row that the entry added. Control: without the writer in the sums, entry and row fit again."""
    emptied = {EXECUTIONS: 0}
    assert "came back" in folded(stored(1, added=5), sums=ShardSums(4, emptied, {WRITER: 1})).problems[0]
    forgotten = folded(stored(1, added=5), sums=ShardSums(4, emptied))
    assert not forgotten.problems
    assert forgotten.sums.sums == {EXECUTIONS: 5}


def test_the_last_number_of_a_process_that_sleeps_is_needed():
    """It writes again after days. Control: if the sums forget it, its folded entries count as missing."""
    after = stored(2, settled=2)
    assert not folded(after, sums=ShardSums(4, {}, {WRITER: 1})).problems
    assert "entry 1 of writer" in folded(after, sums=ShardSums(4)).problems[0]


def test_the_writer_itself_settles_its_last_entries():
    """A process that folds its own entries knows which were refused, and which are missing."""
    outcomes = {WRITER: Entry(4, (2, 3), (), b"")}
    assert folded(stored(1), outcomes=outcomes).sums.writers == {WRITER: 3}
    assert "entry 1" in folded(outcomes=outcomes).problems[0]


def test_an_abandoned_gap_is_passed_over():
    """The process that made the missing entry is gone."""
    entries = stored(1), stored(3, settled=2)
    assert folded(*entries, waited={(WRITER, 2, True): UNKNOWN_AFTER}).sums.writers == {WRITER: 1}
    assert folded(*entries, waited={(WRITER, 2, True): ABANDONED_AFTER}).sums.writers == {WRITER: 3}


def test_a_missing_entry_is_a_problem_behind_a_gap_too():
    """An entry that is waited for hides no missing one behind it."""
    outcomes = {WRITER: Entry(3, (), (1,), b"")}
    assert "entry 2" in folded(outcomes=outcomes).problems[0]


def test_a_limited_page_of_entries_is_not_judged_beyond_its_end():
    """What the page leaves out is not missing, and is folded later."""
    outcomes = {WRITER: Entry(9, (), (), b"")}
    result = folded(*(stored(number) for number in (1, 2, 3)), outcomes=outcomes, below={WRITER: 4})
    assert result.sums.writers == {WRITER: 3}
    assert not result.problems


def test_the_wait_for_unknown_entries_of_later_pages_begins_at_once():
    """A process knows all of its unknown entries. So one on each page does not make folding wait for one page after the other."""
    outcomes = {WRITER: Entry(9, (), (2, 7), b"")}
    pages = [stored(1), stored(3)], [stored(4), stored(5)]
    first = folded(*pages[0], outcomes=outcomes, below={WRITER: 4}, waited={(WRITER, 2, True): UNKNOWN_AFTER})
    assert first.sums.writers == {WRITER: 3}
    assert first.gaps == [(WRITER, 7, True)]
    second = folded(*pages[1], sums=first.sums, outcomes=outcomes, below={WRITER: 6})
    assert (second.sums.writers, second.gaps) == ({WRITER: 5}, [(WRITER, 7, True)])
    waited = {(WRITER, 7, True): UNKNOWN_AFTER}
    last = folded(stored(8), stored(6), sums=second.sums, outcomes=outcomes, waited=waited)
    assert (last.sums.writers, last.problems) == ({WRITER: 8}, [])


def test_nobody_guesses_about_a_writer_in_this_process():
    """A transaction of this process may run for hours; what it does not know itself is waited for as for any other one."""
    waited = {(WRITER, 1, True): ABANDONED_AFTER, (WRITER, 2, True): ABANDONED_AFTER}
    in_flight = {WRITER: Entry(1, (), (), b"")}
    assert folded(stored(3), outcomes=in_flight, waited=waited).sums.writers == {}
    unknown = {WRITER: Entry(4, (), (1, 2), b"")}
    assert folded(stored(3), outcomes=unknown, waited=waited).sums.writers == {WRITER: 3}


@pytest.mark.parametrize("length", range(17, 33))
def test_a_short_image_is_a_problem(length):
    """Bytes that are too short for the table's image name no row."""
    assert "may not replace" in folded(stored(1, replaced=[bytes([EXECUTIONS]) * length])).problems[0]


def test_a_replaced_row_needs_a_permission_of_its_entry():
    """Each row that a write may replace is used once; any other is a problem."""
    row = image(1)[:-16]
    allowed = stored(1, added=100, rows=(row,), replaced=[image(1, 3)])
    assert not folded(allowed).problems
    assert folded(stored(1, rows=(row,), replaced=[image(2, 3)])).problems
    assert folded(stored(1, rows=(row,), replaced=[image(1, 3), image(1, 4)])).problems


OLD, ROW = image(1, 3), image(1)[:-16]


def unwaited(*entries, outcomes=None):
    """Fold entries that nobody has waited for."""
    return fold(ShardSums(), entries, Elements(), outcomes=outcomes or {})


def test_a_later_entry_confirms_what_an_entry_replaced():
    """The entry is folded if its digest is that of the later entry; another one is a problem."""
    replacing = stored(1, rows=(ROW,), added=100, replaced=[OLD])
    good = unwaited(replacing, stored(2, settled=2, digests={1: digest(OLD)}))
    assert good.entries == [(WRITER, 1)]
    assert not good.problems
    for other in (digest(image(1, 4)), digest()):
        problems = unwaited(replacing, stored(2, settled=2, digests={1: other})).problems
        assert any("other replaced rows" in problem for problem in problems)


@pytest.mark.parametrize("replaced", [[], [OLD, OLD], [image(1, 4)], [image(1, 3)[:-1]]])
def test_an_edited_entry_is_found_by_its_writer(replaced):
    """The process that made the entry knows the digest, and compares it although nothing in the table has it."""
    known = {WRITER: Entry(2, (), (), b"", digests={1: digest(OLD)})}
    edited = stored(1, rows=(ROW,), added=100, replaced=replaced)
    assert "other replaced rows" in unwaited(edited, outcomes=known).problems[0]


def test_a_settled_entry_without_a_digest_replaced_nothing():
    """So nothing can be added to it."""
    edited = stored(1, rows=(ROW,), replaced=[OLD])
    assert "other replaced rows" in unwaited(edited, stored(2, settled=2)).problems[0]
    assert not unwaited(stored(1, rows=(ROW,)), stored(2, settled=2)).problems


def test_an_entry_without_a_word_waits_for_its_writer():
    """It counts in the total, is no problem, and is folded when its process seems to have ended."""
    entry = stored(1, rows=(ROW,), added=100, replaced=[OLD])
    result = unwaited(entry)
    assert (result.entries, result.problems, result.gaps) == ([], [], [(WRITER, 1, False)])
    assert result.total(Elements()) == {EXECUTIONS: (100 - int.from_bytes(OLD, "big")) % 2**256}
    assert folded(entry).entries == [(WRITER, 1)]


def test_a_limited_page_waits_longer_for_a_word():
    """The word may be on the next page."""
    entries = stored(1, rows=(ROW,), replaced=[OLD]), stored(2, settled=2, digests={1: digest(OLD)})
    assert folded(*entries[:1], below={WRITER: 2}).entries == []


def test_an_entry_with_an_unknown_outcome_is_not_compared():
    """Its writer has no answer, and so no digest."""
    entries = stored(1, rows=(ROW,), replaced=[OLD]), stored(2, settled=2, unknown=(1,))
    result = unwaited(*entries)
    assert (result.entries, result.problems) == ([(WRITER, 1)], [])


def test_an_entry_does_not_replace_its_own_image():
    """Only an older version of the row, whatever the database reports. A row that is written twice may replace the first version."""
    own = ROW + image(1, 9)[-8:]
    assert not folded(stored(1, older=(own,), replaced=[OLD])).problems
    assert "may not replace" in folded(stored(1, older=(own,), replaced=[image(1, 9)])).problems[0]
    twice = (own, ROW + image(1, 8)[-8:])
    assert not folded(stored(1, older=twice, replaced=[image(1, 9)])).problems


def test_ranges_permit_their_rows():
    """A range has its first key and not its end."""
    space = bytes(16)
    entry = Entry(1, (), (), b"", ranges=[(3, b"\x00\x05", b"\x00\x07")])
    used = [Permissions(entry).use(bytes([3]) + space + key + bytes(16), 16) for key in (b"\x00\x05", b"\x00\x06")]
    assert used == [True, True]
    refused = [b"\x00\x04", b"\x00\x07", b"\x00\x05\x00"]
    assert not any(Permissions(entry).use(bytes([3]) + space + key + bytes(16), 16) for key in refused)


_numbers = st.lists(st.integers(0, 2**64 - 1), max_size=4)
_bytes = st.binary(min_size=1, max_size=40)


@given(
    st.builds(
        Entry,
        st.integers(0, 2**64 - 1),
        _numbers,
        _numbers,
        st.dictionaries(st.integers(0, 255), st.integers(0, 2**256 - 1), max_size=4).map(pack_sums),
        st.lists(_bytes, max_size=3),
        st.lists(
            st.integers(0, 99).flatmap(
                lambda n: st.tuples(st.just(n), st.binary(min_size=n, max_size=n), st.binary(min_size=n, max_size=n))
            ),
            max_size=3,
        ),
        st.lists(_bytes, max_size=3),
        st.dictionaries(st.integers(0, 2**64 - 1), st.binary(min_size=16, max_size=16), max_size=3),
    )
)
def test_an_entry_survives_packing(entry):
    """Unpacking gives what was packed."""
    other = Entry.unpack(entry.pack())
    assert other.pack() == entry.pack()
    assert other._replace(refused=[*other.refused], unknown=[*other.unknown]) == entry


@given(st.lists(st.binary(min_size=17, max_size=300), max_size=5))
def test_images_are_split_by_their_lengths(images):
    """What a statement wrote is split into the same images."""
    assert split_images(b"".join(len(each).to_bytes(2, "big") + each for each in images)) == images
