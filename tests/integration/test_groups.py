"""GROUP BY of an attribute whose values the index counts: exact, named from opened documents, and without opening them again."""

from __future__ import annotations

from collections import Counter

import pytest

from strongroom.kms import activate_index_key, begin_index_rotation
from strongroom.visibility import Layout, QueryBudgetExceeded, new_layout
from strongroom.visibility.backends.elasticsearch.reader import ElasticsearchReader
from strongroom.visibility.backends.postgres import PostgresReader
from strongroom.visibility.index import document_tokens
from strongroom.visibility.index.tokens import GROUP_TOKENS
from strongroom.visibility.search import searcher
from strongroom.visibility.search.group_names import GroupNames
from tests.support.sealed_namespace import sealed
from tests.support.searches import BASE, run, searching

pytestmark = pytest.mark.integration

READERS = {"PostgreSQL": PostgresReader, "Elasticsearch": ElasticsearchReader}
KINDS = tuple(READERS)
TIER = "TemporalLowCardinalityKeywordTier"
PLAN = "TemporalLowCardinalityKeywordPlan"
ATTRIBUTES = {TIER: "Keyword", PLAN: "Keyword"}
GROUPED, BY_PLAN = f"GROUP BY {TIER}", f"GROUP BY {PLAN}"


def documents(numbers, tiers=20):
    """Return runs of several tiers, of which every seventh has none. The plans have the same values as the tiers."""
    return [
        run(
            number,
            start=BASE + number,
            **({} if number % 7 == 0 else {TIER: f"t{number % tiers}", PLAN: f"t{number % 3}"}),
        )
        for number in numbers
    ]


def counts(runs, name=TIER):
    """Return the answer of GROUP BY to all runs."""
    return len(runs), dict(Counter(each.get(name, "") for each in runs))


@pytest.fixture
def opened_for_groups(monkeypatch):
    """Return the number of documents that each naming of groups opened."""
    numbers, opening = [], searcher.open_rows

    async def open_rows(keyring, namespace_id, rows):
        numbers.append(len(rows))
        return await opening(keyring, namespace_id, rows)

    monkeypatch.setattr(searcher, "open_rows", open_rows)
    return numbers


@pytest.mark.parametrize("kind", KINDS)
async def test_a_repeated_group_by_is_exact_and_opens_only_what_is_new(
    config_path, elasticsearch, kind, opened_for_groups
):
    """A known group costs no opened document. Counts follow every write, and a filter, and a new value is named at once."""
    async with sealed(config_path, elasticsearch, kind, attributes=ATTRIBUTES) as ours:
        runs = documents(range(300))
        await ours.write(runs)
        assert await ours.count(GROUPED) == counts(runs)
        assert await ours.count(BY_PLAN) == counts(runs, PLAN)
        assert opened_for_groups == [20, 3], "one document of each group"
        runs += documents(range(300, 400), tiers=22)
        await ours.write(runs[300:])
        assert await ours.count(GROUPED) == counts(runs)
        assert opened_for_groups == [20, 3, 2]
        assert await ours.count(f"{TIER} = 't3' {GROUPED}") == (counts(runs)[1]["t3"], {"t3": counts(runs)[1]["t3"]})
        assert await ours.count(f"{TIER} IN ('t1', 't2') {BY_PLAN}") == counts(
            [each for each in runs if each.get(TIER) in {"t1", "t2"}], PLAN
        )
        assert await ours.count(GROUPED) == counts(runs)
        assert opened_for_groups == [20, 3, 2]


@pytest.mark.parametrize("kind", KINDS)
async def test_groups_are_exact_with_two_epochs(config_path, elasticsearch, kind):
    """A value has a token in each epoch, and an epoch without group tokens is opened. Known names of one epoch name no other."""
    async with sealed(config_path, elasticsearch, kind, attributes=ATTRIBUTES) as ours:
        cell, runs = ours.strongroom, documents(range(120))
        await ours.write(runs)
        assert await ours.count(GROUPED) == counts(runs)
        for version, layout in ((2, Layout()), (3, new_layout("strict")), (4, Layout())):
            begun = await begin_index_rotation(cell.keyring, ours.namespace_id, layout=str(layout))
            assert await ours.count(GROUPED) == counts(runs)
            await activate_index_key(cell.keyring, ours.namespace_id, begun.version)
            await ours.write(runs[::2], version=version)
            for query, name in ((GROUPED, TIER), (BY_PLAN, PLAN), (GROUPED, TIER)):
                assert await ours.count(query) == counts(runs, name), (version, query)
            await cell.index_rotation(wait=0).rotate(ours.namespace_id, ours.types)
            if cell.search_index is not None:
                await cell.search_index.refresh()
            assert await ours.count(GROUPED) == counts(runs)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_index_that_answers_with_other_documents_names_no_group_wrongly(
    config_path, elasticsearch, kind, monkeypatch
):
    """A name is taken only if the opened value has the token of the group. A wrong document leaves the group without a name."""
    reader = READERS[kind]
    answer = reader.of_groups

    async def exchanged(self, query, first, tokens):
        rows = dict(await answer(self, query, first, tokens))
        return dict(zip(rows, [*rows.values()][1:] + [*rows.values()][:1], strict=True))

    async with sealed(config_path, elasticsearch, kind, attributes=ATTRIBUTES) as ours:
        runs = documents(range(100))
        await ours.write(runs)
        monkeypatch.setattr(reader, "of_groups", exchanged)
        assert await ours.count(GROUPED) == (100, {"": 100})
        monkeypatch.undo()
        assert await ours.count(GROUPED) == counts(runs), "nothing wrong was cached"
        ours.visibility = searching(ours.strongroom)
        assert await ours.count(GROUPED) == counts(runs)


@pytest.mark.parametrize("kind", KINDS)
async def test_known_groups_are_counted_in_one_request(config_path, elasticsearch, kind, monkeypatch):
    """A repeated GROUP BY asks the index once: for the number of documents, and for those of each group."""
    reader, asked = READERS[kind], []

    def record(name, function):
        async def call(self, *arguments, **named):
            asked.append(name)
            return await function(self, *arguments, **named)

        monkeypatch.setattr(reader, name, call)

    for name in ("count", "counts", "groups", "of_groups"):
        record(name, getattr(reader, name))
    async with sealed(config_path, elasticsearch, kind, attributes=ATTRIBUTES) as ours:
        runs = documents(range(100))
        await ours.write(runs)
        for wanted in (["groups", "of_groups"], ["groups"]):
            asked.clear()
            assert await ours.count(GROUPED) == counts(runs)
            assert asked == wanted


@pytest.mark.parametrize("kind", KINDS)
async def test_a_group_that_vanishes_between_two_requests_is_counted_in_a_snapshot(
    config_path, elasticsearch, kind, monkeypatch
):
    """A group without a document can't be named, so the answer would lack its runs."""
    reader, calls = READERS[kind], []
    answer = reader.of_groups

    async def vanished(self, query, first, tokens):
        calls.append(len(tokens))
        return {} if len(calls) == 1 else await answer(self, query, first, tokens)

    async with sealed(config_path, elasticsearch, kind, attributes=ATTRIBUTES) as ours:
        runs = documents(range(100))
        await ours.write(runs)
        monkeypatch.setattr(reader, "of_groups", vanished)
        assert await ours.count(GROUPED) == counts(runs)
        assert calls == [20, 20]


@pytest.mark.parametrize("kind", KINDS)
async def test_tokens_of_another_attribute_are_no_groups(config_path, elasticsearch, kind, monkeypatch):
    """The limit is one of values. Two attributes have the same tag here, so the index also counts values of the other one."""
    for module in (document_tokens, searcher):
        monkeypatch.setattr(module, "first_group_token", lambda _: GROUP_TOKENS)
    async with sealed(config_path, elasticsearch, kind, attributes=ATTRIBUTES) as ours:
        runs = documents(range(100))
        await ours.write(runs)
        monkeypatch.setattr(searcher, "MAX_GROUPS", 21)
        assert await ours.count(GROUPED) == counts(runs), "20 values, and runs without one"
        assert await ours.count(BY_PLAN) == counts(runs, PLAN)
        monkeypatch.setattr(searcher, "MAX_GROUPS", 20)
        with pytest.raises(QueryBudgetExceeded, match="more than 20 groups"):
            await ours.count(GROUPED)


def test_the_cached_names_have_a_limited_size_and_belong_to_one_attribute_and_epoch():
    """A token of another attribute or epoch has no name. When the cache is full, the others are dropped, and nothing else fails."""

    class Keys:
        pass

    first, second = Keys(), Keys()
    names = GroupNames(kept=1000)
    names.keep(first, 1, TIER, {7: "gold", 8: "iron"})
    assert names.known(first, 1, TIER) == {7: "gold", 8: "iron"}
    for keys, epoch, attribute in ((second, 1, TIER), (first, 2, TIER), (first, 1, PLAN)):
        assert names.known(keys, epoch, attribute) == {}
    names.keep(second, 1, TIER, dict.fromkeys(range(5), "x" * 20))
    assert len(names.known(second, 1, TIER)) == 0, "too large on its own"
    names.keep(second, 1, TIER, dict.fromkeys(range(4), "x" * 20))
    assert len(names.known(second, 1, TIER)) == 4
    assert names.known(first, 1, TIER) == {}
