from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from moto.kms.models import kms_backends

from strongroom.kms import (
    AccessDenied,
    IntegrityError,
    InvalidRequest,
    KekRef,
    KeyClass,
    KeyConflict,
    KeyContext,
    KeyNotFound,
    QuotaExceeded,
    Secret,
    UnsupportedOperation,
)
from strongroom.kms.providers.aws.key_id import AwsKeyId
from tests.support.kms.aws_server import ROTATIONS, Fault
from tests.support.kms.fix_aws import ACCOUNT, REGION, key_of, moto_key, provider_at, sent

CONTEXT = KeyContext(UUID(int=1), UUID(int=2), KeyClass.DATA, 1).encryption_context()
OTHER_REGION = "us-east-2"


@pytest.mark.parametrize(
    "text",
    [
        "12345678-1234-1234-1234-123456789012",
        "mrk-0123456789abcdef0123456789abcdef",
        "alias/strongroom-a/b_c",
        "arn:aws:kms:eu-west-1:123456789012:key/12345678-1234-1234-1234-123456789012",
        "arn:aws-us-gov:kms:us-gov-west-1:123456789012:alias/a",
    ],
)
def test_names_that_aws_has_are_taken(text):
    """Each of AWS's four forms of a key id is accepted, and may be part of a KEK's URI."""
    assert AwsKeyId.parse(KekRef.parse(f"aws-kms:{text}").key_id).text == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alias/",
        "customer-a",
        "12345678-1234-1234-1234-12345678901",
        "12345678-1234-1234-1234-123456789012\n",
        "arn:aws:s3:eu-west-1:123456789012:key/12345678-1234-1234-1234-123456789012",
        "arn:aws:kms:eu-west-1:123456789012:12345678-1234-1234-1234-123456789012",
        "arn:aws:kms:eu-west-1@elsewhere:123456789012:alias/a",
    ],
)
async def test_other_names_reach_nobody(moto_server, aws_provider, text):
    """A malformed key id is refused without a request."""
    with pytest.raises(InvalidRequest):
        await aws_provider.generate_data_key(KekRef("aws-kms", text), context=CONTEXT)
    assert not moto_server.requests


async def test_each_form_of_a_name_is_the_same_key(aws_provider, administrator, aws_kek):
    """Key id, ARN, alias and alias ARN wrap with the same key, and the wrapped key's KEK unwraps it."""
    alias = f"alias/form-{time.monotonic_ns()}"
    administrator.create_alias(AliasName=alias, TargetKeyId=key_of(aws_kek))
    for name in (key_of(aws_kek), aws_kek.key_id, alias, f"arn:aws:kms:{REGION}:{ACCOUNT}:{alias}"):
        made = await aws_provider.generate_data_key(KekRef("aws-kms", name), context=CONTEXT)
        assert made.wrapped.kek.key_id == (aws_kek.key_id if "alias" in name else name)
        assert (await aws_provider.unwrap(made.wrapped, context=CONTEXT)).reveal() == made.root.reveal()
        assert (await aws_provider.describe(KekRef("aws-kms", name))).state == "enabled"


async def test_an_alias_may_be_moved(aws_provider, administrator, aws_kek):
    """A key that was wrapped under an alias unwraps after the alias has moved, because it names the actual key."""
    name = KekRef("aws-kms", f"alias/moved-{time.monotonic_ns()}")
    administrator.create_alias(AliasName=name.key_id, TargetKeyId=key_of(aws_kek))
    old = await aws_provider.generate_data_key(name, context=CONTEXT)
    given = await aws_provider.wrap(name, old.root, context=CONTEXT)
    later = await aws_provider.create_kek(f"later-{time.monotonic_ns()}")
    administrator.update_alias(AliasName=name.key_id, TargetKeyId=key_of(later))
    assert old.wrapped.kek == given.kek == aws_kek
    for wrapped in (old.wrapped, given):
        assert (await aws_provider.unwrap(wrapped, context=CONTEXT)).reveal() == old.root.reveal()
        with pytest.raises(IntegrityError):  # the control: the alias itself no longer unwraps it
            await aws_provider.unwrap(dataclasses.replace(wrapped, kek=name), context=CONTEXT)
    moved = await aws_provider.rewrap(old.wrapped, name, context=CONTEXT)
    assert moved.kek == later
    assert (await aws_provider.unwrap(moved, context=CONTEXT)).reveal() == old.root.reveal()


async def test_an_alias_is_rotated_described_and_deleted(aws_provider, administrator, aws_kek):
    """Operations that AWS refuses for an alias are done on the key of the alias."""
    name = KekRef("aws-kms", f"alias/life-{time.monotonic_ns()}")
    administrator.create_alias(AliasName=name.key_id, TargetKeyId=key_of(aws_kek))
    version = await aws_provider.rotate_kek(name)
    assert (
        (await aws_provider.describe(name)).primary_version
        == (await aws_provider.describe(aws_kek)).primary_version
        == version
    )
    assert (await aws_provider.delete_kek(name)).kek == name
    assert (await aws_provider.describe(aws_kek)).state == "pending_deletion"


async def test_a_multi_region_key_opens_in_its_other_region(moto_server, administrator):
    """A root that was wrapped in one region unwraps in a region with a replica of the key."""
    here = provider_at(moto_server.address, multi_region=True)
    there = provider_at(moto_server.address, region=OTHER_REGION)
    kek = await here.create_kek(f"mrk-{time.monotonic_ns()}")
    assert key_of(kek).startswith("mrk-")
    made = await here.generate_data_key(kek, context=CONTEXT)
    with pytest.raises(KeyNotFound):
        await there.unwrap(made.wrapped, context=CONTEXT)
    administrator.replicate_key(KeyId=key_of(kek), ReplicaRegion=OTHER_REGION)
    assert (await there.unwrap(made.wrapped, context=CONTEXT)).reveal() == made.root.reveal()
    moved = await there.rewrap(made.wrapped, kek, context=CONTEXT)
    assert moved.kek == kek
    assert (await here.unwrap(moved, context=CONTEXT)).reveal() == made.root.reveal()
    await here.aclose()
    await there.aclose()


async def test_a_key_of_another_region_is_not_asked_for_here(moto_server, aws_kek):
    """A single-region key of another region raises KeyNotFound without a request."""
    other = provider_at(moto_server.address, region=OTHER_REGION)
    moto_server.requests.clear()
    with pytest.raises(KeyNotFound, match=REGION):
        await other.generate_data_key(aws_kek, context=CONTEXT)
    assert not moto_server.requests
    await other.aclose()


async def test_two_at_once_make_one_key(moto_server, aws_provider, administrator):
    """Two processes that create a KEK of one name at once get the same key, and the spare key is deleted."""
    other, together = provider_at(moto_server.address), threading.Barrier(2, timeout=120)

    def meet(request):
        if request.operation == "CreateAlias":
            together.wait()

    moto_server.before = meet
    name = f"race-{time.monotonic_ns()}"
    first, second = await asyncio.gather(aws_provider.create_kek(name), other.create_kek(name))
    assert first == second
    assert len(sent(moto_server, "CreateKey")) == 2
    (spare,) = [body["KeyId"] for body in sent(moto_server, "ScheduleKeyDeletion")]
    assert spare != first.key_id
    assert (await aws_provider.describe(first)).state == "enabled"
    assert (await aws_provider.describe(KekRef("aws-kms", spare))).state == "pending_deletion"
    assert administrator.describe_key(KeyId=f"alias/strongroom-{name}")["KeyMetadata"]["Arn"] == first.key_id
    await other.aclose()


async def test_a_key_without_its_alias_is_not_left_behind(moto_server, aws_provider):
    """A principal that may create keys but not aliases is refused, and its new key is deleted."""
    moto_server.before = lambda request: (
        Fault("AccessDeniedException", "not authorized to perform: kms:CreateAlias", 400)
        if request.operation == "CreateAlias"
        else None
    )
    with pytest.raises(AccessDenied):
        await aws_provider.create_kek(f"unnamed-{time.monotonic_ns()}")
    (body,) = sent(moto_server, "ScheduleKeyDeletion")
    assert body["PendingWindowInDays"] == 7


@pytest.mark.parametrize("name", ["", "a b", "a:b", "ü", "a" * 201, "a\n"])
async def test_names_that_make_no_alias(moto_server, aws_provider, name):
    """A name that AWS would refuse as an alias is refused before a key is created."""
    with pytest.raises(InvalidRequest):
        await aws_provider.create_kek(name)
    assert not moto_server.requests


async def test_versions_are_aws_key_materials(aws_provider, aws_kek):
    """Each rotation adds a version. Versions are listed oldest first, and a root names the version that wrapped it."""
    made = []
    for _ in range(4):
        made.append((await aws_provider.generate_data_key(aws_kek, context=CONTEXT)).wrapped)
        await aws_provider.rotate_kek(aws_kek)
    given = await aws_provider.wrap(aws_kek, Secret(bytes(32)), context=CONTEXT)
    info = await aws_provider.describe(aws_kek)
    assert [wrapped.kek_version for wrapped in (*made, given)] == list(info.versions)
    assert info.primary_version == given.kek_version == info.versions[-1]
    assert len(set(info.versions)) == 5


async def test_a_root_is_not_opened_by_another_version_than_it_names(aws_provider, aws_kek):
    """A root is neither unwrapped nor rewrapped if its registry row names another version."""
    made = await aws_provider.generate_data_key(aws_kek, context=CONTEXT)
    version = await aws_provider.rotate_kek(aws_kek)
    wrong = dataclasses.replace(made.wrapped, kek_version=version)
    with pytest.raises(IntegrityError):
        await aws_provider.unwrap(wrong, context=CONTEXT)
    with pytest.raises(IntegrityError):
        await aws_provider.rewrap(wrong, aws_kek, context=CONTEXT)


async def test_a_rotation_is_waited_for_and_not_begun_twice(moto_server, aws_provider, aws_kek):
    """A rotation returns when the new version wraps, despite failed requests. A rotation that takes too long raises KeyConflict."""
    asked = []

    def fails_once(request):
        if request.operation == "DescribeKey":
            asked.append(request)
            return Fault("ThrottlingException", "Rate exceeded", 400) if len(asked) == 2 else None
        return None

    moto_server.before = fails_once
    version = await aws_provider.rotate_kek(aws_kek)
    assert (await aws_provider.generate_data_key(aws_kek, context=CONTEXT)).wrapped.kek_version == version
    assert len(sent(moto_server, "RotateKeyOnDemand")) == 1
    hasty = provider_at(moto_server.address, rotation_seconds=0.05)
    with pytest.raises(KeyConflict, match="has begun"):
        await hasty.rotate_kek(aws_kek)
    await hasty.aclose()


async def test_rotations_run_out(aws_provider, aws_kek):
    """After the 25 on-demand rotations that AWS allows, a rotation raises QuotaExceeded, not Throttled."""
    await aws_provider.rotate_kek(aws_kek)
    key = moto_key(aws_kek)
    key.materials += [dataclasses.replace(key.materials[-1], id=bytes([n]) * 32) for n in range(ROTATIONS)]
    with pytest.raises(QuotaExceeded):
        await aws_provider.rotate_kek(aws_kek)


async def test_a_key_that_does_not_rotate_has_one_version(aws_provider, aws_kek):
    """A key in a custom key store has version 1, and rotating it is refused."""
    moto_key(aws_kek).custom_store = True
    made = await aws_provider.generate_data_key(aws_kek, context=CONTEXT)
    given = await aws_provider.wrap(aws_kek, made.root, context=CONTEXT)
    assert (made.wrapped.kek_version, given.kek_version) == ("1", "1")
    assert (await aws_provider.describe(aws_kek)).versions == ("1",)
    assert (await aws_provider.unwrap(made.wrapped, context=CONTEXT)).reveal() == made.root.reveal()
    with pytest.raises(UnsupportedOperation):
        await aws_provider.rotate_kek(aws_kek)
    moto_key(aws_kek).custom_store = False  # if AWS reports a material later, old wrapped keys still unwrap
    assert (await aws_provider.unwrap(made.wrapped, context=CONTEXT)).reveal() == made.root.reveal()


async def test_deletion_waits_as_configured_and_is_told(moto_server, aws_provider, aws_kek):
    """A deletion is scheduled with the configured days and returns its date. A second deletion changes nothing."""
    info = await aws_provider.delete_kek(aws_kek)
    assert [body["PendingWindowInDays"] for body in sent(moto_server, "ScheduleKeyDeletion")] == [7]
    left = info.deletion_at - datetime.now(UTC)
    assert timedelta(days=6, hours=23) < left <= timedelta(days=7)
    assert info.deletion_at.tzinfo is UTC
    assert info.versions == ()
    assert await aws_provider.delete_kek(aws_kek) == info
    assert len(sent(moto_server, "ScheduleKeyDeletion")) == 1


async def test_a_key_that_was_deleted_is_not_found(aws_provider, aws_kek):
    """After the waiting period, a deleted key raises KeyNotFound."""
    made = await aws_provider.generate_data_key(aws_kek, context=CONTEXT)
    await aws_provider.delete_kek(aws_kek)
    del kms_backends[ACCOUNT][REGION].keys[key_of(aws_kek)]
    for call in (
        aws_provider.unwrap(made.wrapped, context=CONTEXT),
        aws_provider.describe(aws_kek),
        aws_provider.delete_kek(aws_kek),
    ):
        with pytest.raises(KeyNotFound):
            await call


@pytest.mark.parametrize("state", ["PendingImport", "Unavailable", "Creating"])
async def test_states_that_have_no_name_of_ours(aws_provider, aws_kek, state):
    """A key that is temporarily unusable has the state disabled."""
    moto_key(aws_kek).key_state = state
    assert (await aws_provider.describe(aws_kek)).state == "disabled"
