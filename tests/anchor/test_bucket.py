"""The anchors in an S3 bucket with object lock: numbered, signed, and found in spite of what else is written there."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import orjson
import pytest
from botocore.exceptions import ClientError

from strongroom.driver.anchor import AnchorUnavailable
from strongroom.driver.anchor import bucket as anchor_bucket
from strongroom.driver.anchor.configured import _bucket
from strongroom.driver.audit.statement import new_statement
from strongroom.kms import Secret, SigningKey
from strongroom.storage.cell.positions import Position
from tests.support.audit.logs import KEY
from tests.support.s3_server import Store

CELL = UUID(int=7)
OTHER_KEY = SigningKey(Secret(bytes(32)))


def position(number, name="registry", digest=b"a"):
    """Return a position."""
    return Position(name, number, digest * 32)


@pytest.fixture
async def anchors(bucket):
    """The anchors of a cell in the bucket."""
    made = _bucket(bucket.config(), CELL)
    yield made
    await made.aclose()


def key_of(number):
    """Return the key of an object."""
    return f"strongroom/{CELL}/{number // 1000:012d}/{number:015d}.json"


async def test_numbers_rise_and_objects_are_locked(anchors, bucket):
    """Each change is a new object with the next number and a retention lock. Without a change nothing is written."""
    assert await anchors.newest(KEY.public_key) is None
    for number in (1, 2, 3):
        assert await anchors.write([position(number)], KEY)
    assert not await anchors.write([position(3)], KEY)
    assert not await anchors.write([position(2)], KEY), "an older position is not written"
    assert bucket.keys() == [key_of(1), key_of(2), key_of(3)]
    newest = await anchors.newest(KEY.public_key)
    assert (newest.number, newest.positions) == (3, (position(3),))
    locked = bucket.client.head_object(Bucket=bucket.name, Key=key_of(3))
    assert locked["ObjectLockMode"] == "COMPLIANCE"
    kept = locked["ObjectLockRetainUntilDate"] - datetime.now(UTC)
    assert timedelta(days=29) < kept < timedelta(days=31)


async def test_an_object_can_not_be_deleted(anchors, bucket):
    """S3 refuses to delete a locked version, and a delete marker hides nothing. Without the lock it would be deleted."""
    await anchors.write([position(5)], KEY)
    (version,) = bucket.versions()
    with pytest.raises(ClientError, match="AccessDenied"):
        bucket.client.delete_object(Bucket=bucket.name, Key=version["Key"], VersionId=version["VersionId"])
    bucket.client.delete_object(Bucket=bucket.name, Key=version["Key"])
    assert bucket.keys() == []
    assert (await anchors.newest(KEY.public_key)).positions == (position(5),)
    bucket.put("unlocked", b"x")
    (other,) = [each for each in bucket.versions() if each["Key"] == "unlocked"]
    bucket.client.delete_object(Bucket=bucket.name, Key="unlocked", VersionId=other["VersionId"])
    assert "unlocked" not in {each["Key"] for each in bucket.versions()}, "control"


async def test_an_overwritten_object_is_found_through_its_versions(anchors, bucket):
    """A person with the right to write can add a version, and not replace the locked one."""
    for number in (1, 2):
        await anchors.write([position(number)], KEY)
    bucket.put(key_of(2), bucket.get(key_of(1)))
    bucket.put(key_of(2), b"{}")
    assert (await anchors.newest(KEY.public_key)).positions == (position(2),)


def made_up(number, *, key=KEY, named=None, cell=CELL):
    """Return the key and the content of an object that the anchors did not write."""
    statement = new_statement(
        [position(99)], at=datetime.now(UTC), number=number if named is None else named, complete=True
    )
    return key_of(number).replace(str(CELL), str(cell)), anchor_bucket._encoded(statement.signed(key))


async def test_made_up_and_replayed_objects_count_for_nothing(anchors, bucket):
    """An object with a bad signature, of another key, copied to a higher key, or with another number is passed over."""
    await anchors.write([position(4)], KEY)
    first = bucket.get(key_of(1))
    altered = orjson.loads(first)
    altered["positions"][0][1] = 99
    attacks = {
        key_of(2): first,
        key_of(3): orjson.dumps({**orjson.loads(first), "number": 3}),
        key_of(4): orjson.dumps({**altered, "number": 4}),
        key_of(5): b"not JSON",
        key_of(6): b"[]",
        key_of(7): orjson.dumps({**altered, "number": 7, "positions": [["registry", -1, "zz"]]}),
        f"strongroom/{CELL}/000000000009/000000000000008.json": first,
        f"strongroom/{CELL}/999999999999/999999999999999.json": first,
        f"strongroom/{CELL}/nonsense/x": b"x",
        key_of(8): b"x" * (2**22 + 1),
    }
    for key, content in (*attacks.items(), made_up(1200, key=OTHER_KEY), made_up(1300, named=1)):
        bucket.put(key, content)
    assert (await anchors.newest(KEY.public_key)).positions == (position(4),)
    bucket.put(*made_up(1400))
    assert (await anchors.newest(KEY.public_key)).positions == (position(99),), "control: a signed one counts"


async def test_a_made_up_object_does_not_block_the_next_number(anchors, bucket):
    """The next anchor takes the next free number."""
    await anchors.write([position(1)], KEY)
    for number in (2, 3):
        bucket.put(key_of(number), b"made up")
    assert await anchors.write([position(2)], KEY)
    assert bucket.keys()[-1] == key_of(4)
    assert (await anchors.newest(KEY.public_key)).positions == (position(2),)


async def test_too_many_made_up_objects_are_an_error(anchors, bucket, monkeypatch):
    """A reader does not look at objects without end, and does not take an older anchor for the newest one."""
    monkeypatch.setattr(anchor_bucket, "MOST_INVALID", 3)
    await anchors.write([position(1)], KEY)
    for number in range(2, 6):
        bucket.put(key_of(number), b"made up")
    with pytest.raises(AnchorUnavailable, match="were not written by this cell"):
        await anchors.newest(KEY.public_key)


async def test_an_object_has_the_positions_of_all_processes(anchors, bucket):
    """Two processes that write at once lose nothing of each other, and no number is used twice."""
    other = _bucket(bucket.config(), CELL)
    for number in (1, 2):
        await asyncio.gather(
            anchors.write([position(number, "registry")], KEY), other.write([position(number, "policy")], KEY)
        )
    newest = await other.newest(KEY.public_key)
    assert newest.positions == (position(2, "policy"), position(2, "registry"))
    assert len(bucket.versions()) == len(bucket.keys()) == 4
    await other.aclose()


async def test_an_object_that_another_process_wrote_after_the_reading_counts(anchors, bucket):
    """A process that read the newest object before another one wrote the next reads it again, and keeps its positions."""
    await anchors.write([position(1)], KEY)
    read = await anchors.newest(KEY.public_key)
    await anchors.write([position(1, "policy")], KEY)
    assert await anchors.write([position(2)], KEY, newest=read)
    newest = await anchors.newest(KEY.public_key)
    assert (newest.number, newest.positions) == (3, (position(1, "policy"), position(2)))
    assert bucket.keys() == [key_of(1), key_of(2), key_of(3)]


async def test_an_object_is_written_again_before_its_lock_ends(bucket, monkeypatch):
    """If nothing changes, a new object replaces one whose lock will end."""
    anchors = _bucket(bucket.config(retention_days=1), CELL)
    await anchors.write([position(1)], KEY)
    assert not await anchors.write([position(1)], KEY)
    monkeypatch.setattr(anchor_bucket.AnchorBucket, "age", timedelta(hours=13))
    assert await anchors.write([position(1)], KEY)
    assert bucket.keys() == [key_of(1), key_of(2)]
    await anchors.aclose()


async def test_the_largest_cell_fits(anchors, bucket):
    """The positions of 16,384 shards are written and read. Positions that a reader would not take are not written."""
    shards = [position(2**62, f"shard/{number}") for number in range(16_384)]
    assert await anchors.write(shards, KEY)
    assert len((await anchors.newest(KEY.public_key)).positions) == len(shards)
    with pytest.raises(AnchorUnavailable, match="report it as a bug"):
        await anchors.write([position(1, f"shard/{number}") for number in range(60_000)], KEY)
    assert len(bucket.keys()) == 1


async def test_many_folders(anchors, bucket, monkeypatch):
    """A reader finds the newest object over a border of folders."""
    monkeypatch.setattr(anchor_bucket, "FOLDER", 2)
    for number in range(1, 6):
        await anchors.write([position(number)], KEY)
    assert len({each["Key"].rpartition("/")[0] for each in bucket.versions()}) == 3
    assert (await anchors.newest(KEY.public_key)).number == 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lock": False}, "has no object lock.*--object-lock-enabled-for-bucket"),
        ({"lock": False, "versioning": "Enabled"}, "has no object lock"),
        ({"versioning": "Suspended"}, "versioning of the bucket .* is not enabled.*put-bucket-versioning"),
    ],
)
@pytest.mark.usefixtures("bucket")
async def test_a_bucket_whose_objects_can_be_deleted_is_refused(s3, settings, message):
    """A bucket without object lock or without versioning is refused, and the message says what to do."""
    unlocked = Store(s3, **settings)
    anchors = _bucket(unlocked.config(), CELL)
    for _ in range(2):
        with pytest.raises(AnchorUnavailable, match=message):
            await anchors.write([position(1)], KEY)
    assert unlocked.keys() == []
    unlocked.client.close()
    await anchors.aclose()


async def test_errors_name_the_cause(s3, bucket):
    """A missing bucket, a refusal and an address without a server are errors with what to do, and without the server's text."""
    missing = _bucket(bucket.config(bucket="no-such-bucket"), CELL)
    with pytest.raises(AnchorUnavailable, match=r"no-such-bucket refused .*NoSuchBucket.*correct anchor.bucket"):
        await missing.newest(KEY.public_key)
    await missing.aclose()
    anchors = _bucket(bucket.config(), CELL)
    for status, code in ((403, "AccessDenied"), (403, "RequestTimeTooSkewed"), (503, "SlowDown"), (500, "<b>")):
        s3.fault = (status, code)
        with pytest.raises(AnchorUnavailable) as caught:
            await anchors.newest(KEY.public_key)
        assert "a text of the server" not in str(caught.value)
        assert (code if code.isalnum() else "500") in str(caught.value)
    s3.fault = None
    await anchors.aclose()
    away = _bucket(bucket.config(endpoint="http://127.0.0.1:1"), CELL)
    with pytest.raises(AnchorUnavailable, match=r"can't be reached.*127.0.0.1:1"):
        await away.newest(KEY.public_key)
    await away.aclose()
