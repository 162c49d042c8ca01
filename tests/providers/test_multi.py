from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest

from strongroom.kms import (
    AccessDenied,
    Capabilities,
    IntegrityError,
    InvalidRequest,
    KekInfo,
    KekRef,
    KeyDisabled,
    KeyNotFound,
    KeyringFileError,
    KmsTimeout,
    KmsUnavailable,
    LocalProvider,
    Secret,
    StrongroomError,
    Throttled,
    Wrapped,
)
from strongroom.kms.providers.multi import MultiProvider
from strongroom.kms.providers.multi.errors import error_of_all
from strongroom.kms.providers.multi.wrapped_format import Copies, read_copies, write_copies
from tests.support.kms.fix_multi import two_keyrings

from .test_contract import CONTEXT, OTHER, shown, spellings

ROOT = Secret(bytes(range(32)))


class Recording:
    """A wrapper of a provider that keeps the sizes of batches, and that fails on demand."""

    def __init__(self, provider, *, batch=10_000):
        self.provider = provider
        self.batches = []
        self.error = None
        self.capabilities = dataclasses.replace(provider.capabilities, batch=batch)

    async def unwrap_many(self, items):
        """Record the size, then raise or call the provider."""
        self.batches.append(len(items))
        if self.error is not None:
            raise self.error
        return await self.provider.unwrap_many(items)

    def __getattr__(self, name):
        if self.error is not None:
            raise self.error
        return getattr(self.provider, name)


@pytest.fixture
async def keyrings():
    async with two_keyrings() as made:
        yield made


@pytest.fixture
def recorded(keyrings):
    return {name: Recording(provider) for name, provider in keyrings.providers.items()}


@pytest.fixture
def multi(recorded):
    return MultiProvider("multi", recorded)


@pytest.fixture
def lenient(recorded):
    return MultiProvider("multi", recorded, policy="any")


@pytest.fixture
async def multi_kek(multi):
    return await multi.create_kek("a")


def altered(wrapped, turn, ciphertext):
    """Return a wrapped root with one copy replaced, as a writer of the registry could do."""
    copies = read_copies(wrapped)
    of = [dataclasses.replace(copy, ciphertext=ciphertext) if at == turn else copy for at, copy in enumerate(copies.of)]
    return write_copies(wrapped.kek, Copies(of, copies.check))


# --- names


async def test_kek_is_named_by_its_children(multi, multi_kek):
    """A multi-KEK is named by the KEKs of its children, and has a URI."""
    assert str(multi_kek) == "multi:one:a,two:a"
    assert KekRef.parse(str(multi_kek)) == multi_kek
    assert await multi.create_kek("two:x,one:y") == KekRef("multi", "two:x,one:y")


@pytest.mark.parametrize(
    "key_id",
    [
        "",
        "one:a",
        "one:a,",
        "one:a,one:a",
        "one:a,two",
        "one:a,,two:a",
        "one:a,two:a b",
        ",".join(f"one:{n}" for n in range(9)),
    ],
)
async def test_names_that_are_none(multi, key_id):
    """A name of fewer than two, more than eight, equal or malformed KEKs raises InvalidRequest in each call."""
    kek = KekRef("multi", key_id)
    for call in (
        lambda: multi.wrap(kek, ROOT, context=CONTEXT),
        lambda: multi.unwrap(Wrapped(kek, "1,1", b"\x01\x02" + bytes(64)), context=CONTEXT),
        lambda: multi.describe(kek),
        lambda: multi.rotate_kek(kek),
        lambda: multi.delete_kek(kek),
    ):
        with pytest.raises(InvalidRequest):
            await call()


async def test_providers_that_are_not_its_own(multi, recorded):
    """A KEK of an unknown provider raises KeyNotFound. A multi-provider needs two children, and none is a multi-provider."""
    for key_id in ("one:a,three:a", "one:a,multi:a"):
        with pytest.raises(KeyNotFound, match="not one of its providers"):
            await multi.create_kek(key_id)
    with pytest.raises(KeyNotFound):
        await recorded["one"].describe(KekRef("one", "a"))
    for providers in ({"one": recorded["one"]}, {"one": recorded["one"], "multi": multi}):
        with pytest.raises(InvalidRequest):
            MultiProvider("outer", providers)


async def test_name_with_a_comma(keyrings):
    """A KEK with a comma in its name is refused, and no KEK is created."""
    with pytest.raises(InvalidRequest):
        await MultiProvider("multi", keyrings.providers).create_kek("a,b")
    with pytest.raises(KeyNotFound):
        await keyrings.providers["one"].describe(KekRef("one", "a,b"))


# --- unwrapping with any child


async def test_any_child_unwraps(multi, multi_kek, keyrings):
    """A root unwraps with either keyring, and not without both. Each copy unwraps with its own child only."""
    made = await multi.generate_data_key(multi_kek, context=CONTEXT)
    for lost in ("one", "two"):
        path = keyrings.path(lost)
        path.rename(path.with_suffix(".aside"))
        assert (await multi.unwrap(made.wrapped, context=CONTEXT)).reveal() == made.root.reveal()
        path.with_suffix(".aside").rename(path)
    for copy in read_copies(made.wrapped).of:
        opened = await keyrings.providers[copy.kek.provider].unwrap(copy, context=CONTEXT)
        assert opened.reveal() == made.root.reveal()
    for name in ("one", "two"):
        keyrings.path(name).unlink()
    with pytest.raises(KeyringFileError):
        await multi.unwrap(made.wrapped, context=CONTEXT)


async def test_first_child_that_opens_is_the_only_one_asked(multi, multi_kek, recorded):
    """Children are called in the order of the name, and the next one only if the one before fails."""
    backwards = await multi.create_kek("two:a,one:a")
    items = [(await multi.wrap(each, ROOT, context=CONTEXT), CONTEXT) for each in (multi_kek, multi_kek, backwards)]
    items[1] = (altered(items[1][0], 0, b"spoilt"), CONTEXT)
    answers = await multi.unwrap_many(items)
    assert [answer.reveal() for answer in answers] == [ROOT.reveal()] * 3
    assert recorded["one"].batches == [2]
    assert recorded["two"].batches == [1, 1]


async def test_altered_copy_does_not_hide_another(multi, multi_kek):
    """An altered copy does not stop another copy from unwrapping. If all are altered, IntegrityError is raised."""
    wrapped = await multi.wrap(multi_kek, ROOT, context=CONTEXT)
    for spoilt in (b"", b"x", bytes(60), read_copies(wrapped).of[0].ciphertext[:-1]):
        for turn in (0, 1):
            opened = await multi.unwrap(altered(wrapped, turn, spoilt), context=CONTEXT)
            assert opened.reveal() == ROOT.reveal()
        both = altered(altered(wrapped, 0, spoilt), 1, spoilt)
        with pytest.raises(IntegrityError):
            await multi.unwrap(both, context=CONTEXT)


async def test_copy_of_another_root_is_not_believed(multi, multi_kek):
    """A copy of another root is skipped. Two copies that agree on another root are refused by the check value."""
    wrapped = await multi.wrap(multi_kek, ROOT, context=CONTEXT)
    foreign = read_copies(await multi.wrap(multi_kek, Secret(bytes(32)), context=CONTEXT)).of
    swapped = altered(wrapped, 0, foreign[0].ciphertext)
    assert (await multi.unwrap(swapped, context=CONTEXT)).reveal() == ROOT.reveal()
    assert read_copies(await multi.rewrap(swapped, multi_kek, context=CONTEXT)).check == read_copies(wrapped).check
    with pytest.raises(IntegrityError):
        await multi.unwrap(altered(swapped, 1, foreign[1].ciphertext), context=CONTEXT)


async def test_copies_in_another_order_or_of_other_keks(multi, multi_kek):
    """Copies in the wrong order, repeated, or of other KEKs or versions than the registry's are refused."""
    other = await multi.create_kek("b")
    wrapped = await multi.wrap(multi_kek, ROOT, context=CONTEXT)
    (one, two), check = read_copies(wrapped).of, read_copies(wrapped).check
    stranger = read_copies(await multi.wrap(other, ROOT, context=CONTEXT)).of[0]
    for of in ([two, one], [one, one], [stranger, two], [one, two, two], []):
        spoilt = dataclasses.replace(write_copies(multi_kek, Copies(of, check)), kek_version=wrapped.kek_version)
        with pytest.raises(IntegrityError):
            await multi.unwrap(spoilt, context=CONTEXT)
    for version in ("1,2", "1", "1,-", "", "1,1,1"):
        with pytest.raises(IntegrityError):
            await multi.unwrap(dataclasses.replace(wrapped, kek_version=version), context=CONTEXT)
    with pytest.raises(IntegrityError):
        await multi.unwrap(wrapped, context=OTHER)


async def test_each_truncation_is_refused(multi, multi_kek):
    """A truncated or extended wrapped root, or one of another format, raises IntegrityError."""
    wrapped = await multi.wrap(multi_kek, ROOT, context=CONTEXT)
    content = wrapped.ciphertext
    spoilt = [content[:length] for length in range(len(content))] + [content + b"\x00", b"\x02" + content[1:]]
    answers = await multi.unwrap_many([(dataclasses.replace(wrapped, ciphertext=each), CONTEXT) for each in spoilt])
    assert {type(answer) for answer in answers} == {IntegrityError}


def test_copies_that_no_row_takes():
    """Copies that are too long for a registry row are refused when they are wrapped."""
    kek, children = KekRef("multi", "one:a,two:a"), [KekRef("one", "a"), KekRef("two", "a")]
    room = (4096 - 2 - 32) // 2 - 6 - len("one:a") - 1
    for size, fits in ((room, True), (room + 1, False), (100_000, False)):
        copies = Copies([Wrapped(child, "1", bytes(size)) for child in children], bytes(32))
        if fits:
            assert len(write_copies(kek, copies).ciphertext) == 4096
        else:
            with pytest.raises(InvalidRequest, match="name fewer KEKs"):
                write_copies(kek, copies)


async def test_batches_are_each_provider_s_own(keyrings):
    """Each child gets batches of its own size."""
    providers = {
        "one": Recording(keyrings.providers["one"], batch=7),
        "two": Recording(keyrings.providers["two"], batch=3),
    }
    multi = MultiProvider("multi", providers)
    kek = await multi.create_kek("a")
    good = await multi.wrap(kek, ROOT, context=CONTEXT)
    items = [(good if number % 4 else altered(good, 0, b""), CONTEXT) for number in range(20)]
    answers = await multi.unwrap_many(items)
    assert {answer.reveal() for answer in answers} == {ROOT.reveal()}
    assert providers["one"].batches == [7, 7, 6]
    assert providers["two"].batches == [3, 2]


# --- a child that is down


async def test_all_children_wrap_or_none(multi, multi_kek, recorded):
    """With policy `all`, a wrap fails while a child is down. The error names the child."""
    recorded["two"].error = KmsUnavailable("the second is down", retry_after=3.0, provider_code="503", request_id="r-1")
    with pytest.raises(KmsUnavailable, match="two:a: KmsUnavailable: the second is down") as caught:
        await multi.wrap(multi_kek, ROOT, context=CONTEXT)
    assert (caught.value.retry_after, caught.value.provider_code, caught.value.request_id) == (3.0, "503", "r-1")
    assert not any(text in shown(caught.value) for text in spellings(ROOT))
    with pytest.raises(KmsUnavailable):
        await multi.check()


async def test_missing_copy_shows_and_is_made_later(lenient, multi_kek, recorded, keyrings):
    """With policy `any`, a child that is down is skipped, the version shows it, and a rewrap adds its copy."""
    recorded["two"].error = KmsTimeout()
    made = await lenient.generate_data_key(multi_kek, context=CONTEXT)
    assert made.wrapped.kek_version == "1,-"
    assert (await lenient.describe(multi_kek)).primary_version == "1,-"
    assert "two: FAILS" in await lenient.check()
    recorded["two"].error = None
    assert (await lenient.describe(multi_kek)).primary_version == "1,1" != made.wrapped.kek_version
    whole = await lenient.rewrap(made.wrapped, multi_kek, context=CONTEXT)
    assert whole.kek_version == "1,1"
    keyrings.path("one").unlink()
    assert (await lenient.unwrap(whole, context=CONTEXT)).reveal() == made.root.reveal()
    with pytest.raises(KeyringFileError):
        await lenient.unwrap(made.wrapped, context=CONTEXT)


async def test_rewrap_keeps_the_copy_of_a_child_that_is_down(lenient, multi_kek, recorded):
    """A rewrap keeps the old copy of a child that is down."""
    made = await lenient.generate_data_key(multi_kek, context=CONTEXT)
    await lenient.rotate_kek(multi_kek)
    recorded["two"].error = Throttled()
    moved = await lenient.rewrap(made.wrapped, multi_kek, context=CONTEXT)
    assert moved.kek_version == "2,1"
    recorded["two"].error = None
    recorded["one"].error = KmsUnavailable()
    assert (await lenient.unwrap(moved, context=CONTEXT)).reveal() == made.root.reveal()


@pytest.mark.parametrize("error", [AccessDenied(), KeyDisabled(), KeyNotFound(), KeyringFileError()])
async def test_refusal_is_not_being_down(lenient, multi_kek, recorded, error):
    """A child that refuses is not skipped by any policy, so that a missing right loses no copies silently."""
    recorded["two"].error = error
    with pytest.raises(type(error)):
        await lenient.wrap(multi_kek, ROOT, context=CONTEXT)


async def test_nobody_is_up(lenient, multi_kek, recorded):
    """If all children are down, wrapping fails with every policy, and unwrapping does not report altered data."""
    made = await lenient.generate_data_key(multi_kek, context=CONTEXT)
    for each in recorded.values():
        each.error = KmsUnavailable("down")
    for call in (
        lambda: lenient.wrap(multi_kek, ROOT, context=CONTEXT),
        lambda: lenient.unwrap(made.wrapped, context=CONTEXT),
        lambda: lenient.describe(multi_kek),
        lenient.check,
    ):
        with pytest.raises(KmsUnavailable):
            await call()


@pytest.mark.parametrize(
    ("errors", "told", "retry_after"),
    [
        ((IntegrityError(), IntegrityError()), IntegrityError, None),
        ((IntegrityError(), AccessDenied()), AccessDenied, None),
        ((AccessDenied(), KeyDisabled()), AccessDenied, None),
        ((AccessDenied(), KmsTimeout()), KmsTimeout, None),
        ((IntegrityError(), KmsUnavailable()), KmsUnavailable, None),
        ((Throttled(retry_after=5.0), Throttled(retry_after=2.0)), Throttled, 2.0),
        ((Throttled(retry_after=5.0), KmsUnavailable()), Throttled, None),
        ((KeyringFileError(), IntegrityError()), KeyringFileError, None),
        ((KeyringFileError(), KmsUnavailable()), KmsUnavailable, None),
    ],
)
def test_most_useful_error(errors, told, retry_after):
    """Retryable errors are preferred to refusals, and refusals to IntegrityError. The message names each child's error."""
    error = error_of_all("multi:x", dict(zip((KekRef("one", "a"), KekRef("two", "b")), errors, strict=True)))
    assert type(error) is told
    assert getattr(error, "retry_after", None) == retry_after
    if told is IntegrityError:
        assert str(error) == str(IntegrityError())
    else:
        assert all(
            f"{uri}: {type(each).__name__}" in str(error) for uri, each in zip(("one:a", "two:b"), errors, strict=True)
        )


# --- life of a KEK


async def test_versions_of_children_that_rotate_apart(multi, multi_kek, keyrings):
    """A child that rotates on its own changes the version, and old and new wrapped roots unwrap."""
    before = await multi.generate_data_key(multi_kek, context=CONTEXT)
    await keyrings.providers["two"].rotate_kek(KekRef("two", "a"))
    info = await multi.describe(multi_kek)
    assert (info.state, info.primary_version) == ("enabled", "1,2")
    assert {"1,1", "1,2", "-,1", "1,-"} <= set(info.versions)
    assert await multi.rotate_kek(multi_kek) == "2,3"
    assert (await multi.unwrap(before.wrapped, context=CONTEXT)).reveal() == before.root.reveal()


async def test_deleting_goes_on_after_a_failure(multi, multi_kek, recorded):
    """A deletion that one child refused raises an error. Repeating it deletes the rest."""
    made = await multi.generate_data_key(multi_kek, context=CONTEXT)
    recorded["two"].error = AccessDenied("no right to delete")
    with pytest.raises(AccessDenied, match="no right to delete"):
        await multi.delete_kek(multi_kek)
    recorded["two"].error = None
    assert (await multi.unwrap(made.wrapped, context=CONTEXT)).reveal() == made.root.reveal()
    assert (await multi.delete_kek(multi_kek)).state == "destroyed"
    with pytest.raises(KeyNotFound):
        await multi.unwrap(made.wrapped, context=CONTEXT)


class Scheduling:
    """A provider that schedules deletions."""

    capabilities = Capabilities("commitment", "client", 10, "scheduled")

    async def delete_kek(self, kek):
        """Schedule the deletion."""
        return KekInfo(kek, "pending_deletion", "", (), datetime(2030, 1, 1, tzinfo=UTC))

    async def describe(self, kek):
        """Return the date of the deletion."""
        return KekInfo(kek, "pending_deletion", "1", ("1",), datetime(2030, 1, 1, tzinfo=UTC))


async def test_what_children_can_do_together(keyrings):
    """The capabilities are those of all children. A deletion is scheduled if one child only schedules it. No version is retired."""
    multi = MultiProvider("multi", {"one": keyrings.providers["one"], "later": Scheduling()})
    assert multi.capabilities == Capabilities("commitment", "client", 200, "scheduled", retires_versions=False)
    await keyrings.providers["one"].create_kek("a")
    kek = KekRef("multi", "one:a,later:a")
    assert ((await multi.describe(kek)).state, (await multi.describe(kek)).primary_version) == ("enabled", "1,-")
    gone = await multi.delete_kek(kek)
    assert (gone.state, gone.deletion_at) == ("pending_deletion", datetime(2030, 1, 1, tzinfo=UTC))
    info = await multi.describe(kek)
    assert (info.state, info.primary_version, info.deletion_at) == ("pending_deletion", "-,-", gone.deletion_at)


# --- over a real server


@pytest.mark.parametrize("kms", ["vault"], indirect=True, scope="session")
async def test_over_a_keyring_and_openbao(kms, tmp_path):
    """With a keyring file and OpenBao, each unwraps while the other is down, and a rewrap completes the copies."""
    local = LocalProvider("local", tmp_path / "keyring.json")
    await local.create_keyring()
    strict, lenient = [
        MultiProvider("multi", {"vault": kms.provider, "local": local}, policy=policy) for policy in ("all", "any")
    ]
    kek = await strict.create_kek("beside-a-file")
    assert str(kek) == "multi:vault:beside-a-file,local:beside-a-file"
    made = await strict.generate_data_key(kek, context=CONTEXT)
    child = KekRef("vault", "beside-a-file")
    for fault, error in (("sealed", KmsUnavailable), ("no answer", KmsTimeout)):
        async with kms.faults[fault].provoke(child):
            assert (await strict.unwrap(made.wrapped, context=CONTEXT)).reveal() == made.root.reveal()
            with pytest.raises(error) as caught:
                await strict.wrap(kek, ROOT, context=CONTEXT)
            assert not any(text in shown(caught.value) for text in (*kms.secrets, *spellings(ROOT)))
            partial = await lenient.wrap(kek, ROOT, context=CONTEXT)
            assert partial.kek_version == "-,1"
        whole = await lenient.rewrap(partial, kek, context=CONTEXT)
        assert whole.kek_version == "1,1"
    (tmp_path / "keyring.json").unlink()
    assert (await strict.unwrap(whole, context=CONTEXT)).reveal() == ROOT.reveal()
    with pytest.raises(StrongroomError):
        await strict.unwrap(partial, context=CONTEXT)
