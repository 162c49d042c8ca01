from __future__ import annotations

import asyncio
import inspect
import time
from uuid import UUID, uuid4

import pytest

from strongroom.kms import (
    AccessDenied,
    IntegrityError,
    KekRef,
    Keyring,
    KmsTimeout,
    Secret,
    Wrapped,
    create_data_keys,
)
from strongroom.kms.providers.azure import AzureKeyVaultProvider
from strongroom.kms.providers.azure import client as azure_vault
from tests.support.kms.azure_server import Failure, encoded, error_body
from tests.support.kms.azure_vaults import opened, refusal
from tests.unit.kms.conftest import MemoryStore

CONTEXT = {"strongroom:namespace": "a"}
TENANT = "11111111-2222-3333-4444-555555555555"


# --- requests


@pytest.mark.parametrize(("algorithm", "length"), [("RSA-OAEP-256", 384), ("A256KW", 40)])
async def test_wrap_and_unwrap_are_done_by_the_service_under_a_named_version(algorithm, length):
    """Wrapping looks up the current version and uses it. Unwrapping takes one request with the version that wrapped."""
    async with opened(algorithm=algorithm) as vault:
        kek = await vault.provider.create_kek("tenant-a")
        (version,) = vault.server.keys["tenant-a"]
        vault.server.requests.clear()
        made = await vault.provider.generate_data_key(kek, context=CONTEXT)
        (newer,) = {await vault.provider.rotate_kek(kek)}
        await vault.provider.unwrap(made.wrapped, context=CONTEXT)
        looked, wrapped, _, unwrapped = vault.server.requests
        assert (looked["method"], looked["path"]) == ("GET", "/keys/tenant-a")
        assert (wrapped["method"], wrapped["path"]) == ("POST", f"/keys/tenant-a/{version.id}/wrapkey")
        assert (unwrapped["method"], unwrapped["path"]) == ("POST", f"/keys/tenant-a/{version.id}/unwrapkey")
        sent = wrapped["body"].decode()
        assert encoded(made.root.reveal()) in sent
        assert f'"{algorithm}"' in sent
        assert "namespace" not in sent  # the service accepts no context
        assert made.wrapped.kek_version == version.id != newer
        assert len(made.wrapped.ciphertext) == length
        assert {each["query"]["api-version"] for each in vault.server.requests} == {"2025-07-01"}


async def test_keys_are_made_for_wrapping_only():
    """A new KEK allows wrap and unwrap only, and has the documented size."""
    for algorithm, kty, size in (("RSA-OAEP-256", "RSA", 3072), ("A256KW", "oct-HSM", 256)):
        async with opened(algorithm=algorithm) as vault:
            await vault.provider.create_kek("made")
            (version,) = vault.server.keys["made"]
            assert (version.kty, version.size, version.key_ops) == (kty, size, ["wrapKey", "unwrapKey"])
            await vault.provider.create_kek("made")
            assert len(vault.server.keys["made"]) == 1


async def test_first_request_carries_neither_token_nor_root(vault):
    """The first request, which discovers authentication, carries neither a token nor a body."""
    vault.server.added("there", "oct-HSM", 256, ["wrapKey", "unwrapKey"])
    wrapped = Wrapped(KekRef("vault", "there"), vault.server.keys["there"][0].id, b"x" * 40)
    await refusal(vault.provider.unwrap(wrapped, context={}))
    first, second = vault.server.requests
    assert (first["path"], first["authorized"], first["body"]) == (second["path"], False, b"")
    assert second["authorized"]
    assert vault.credential.asked == [(("https://vault.azure.net/.default",), TENANT)]


async def test_one_failure_is_one_request(vault):
    """The SDK neither retries nor follows redirects, so that the token stays with the vault."""
    await vault.provider.check()
    for failure in (
        Failure(503, error_body("ServiceUnavailable", "")),
        Failure(429, error_body("Throttled", ""), {"Retry-After": "1"}),
        Failure(302, None, {"Location": "/keys"}),
    ):
        vault.server.failure = failure
        vault.server.requests.clear()
        await refusal(vault.provider.check())
        assert len(vault.server.requests) == 1


async def test_answer_is_waited_for_two_seconds():
    """A vault that does not answer raises KmsTimeout after two seconds, or after the configured limit."""
    async with opened(read_seconds=azure_vault.READ_SECONDS) as vault:
        await vault.provider.check()
        vault.server.hang = asyncio.Event()
        began = time.monotonic()
        async with asyncio.timeout(60):
            assert type(await refusal(vault.provider.check())) is KmsTimeout
        assert time.monotonic() - began > 1.5
    parameters = inspect.signature(AzureKeyVaultProvider).parameters
    assert (parameters["connect_seconds"].default, parameters["read_seconds"].default) == (1.0, 2.0)


async def test_check_uses_no_key(vault):
    """The check lists one key, and reports if it lacks the right to do so."""
    text = await vault.provider.check()
    assert "localhost" in text
    assert {each["path"] for each in vault.server.requests} == {"/keys"}
    assert vault.server.requests[-1]["query"]["maxresults"] == "1"
    vault.server.failure = Failure(403, error_body("Forbidden", "no", "ForbiddenByRbac"))
    assert type(await refusal(vault.provider.check())) is AccessDenied


async def test_many_are_unwrapped_a_few_at_once(vault):
    """Items of a batch are unwrapped concurrently, with a limit."""
    kek = await vault.provider.create_kek("k")
    made = await vault.provider.generate_data_key(kek, context={})
    vault.server.pause = 0.02
    answers = await asyncio.gather(*(vault.provider.unwrap_many([(made.wrapped, {})] * 50) for _ in range(2)))
    assert {answer.reveal() for batch in answers for answer in batch} == {made.root.reveal()}
    assert 4 < vault.server.most_running <= 16


async def test_closing_closes_the_credential():
    """Closing the provider closes its credential."""
    async with opened() as vault:
        await vault.provider.check()
    assert vault.credential.closed


# --- the context, which the service does not check


@pytest.mark.parametrize("algorithm", ["RSA-OAEP-256", "A256KW"])
async def test_root_moved_to_another_namespace_is_refused_by_the_commitment(algorithm):
    """The service unwraps a root that was copied to another namespace, and the commitment refuses it."""
    async with opened(algorithm=algorithm) as vault:
        store = MemoryStore()
        keyring = Keyring(cell_id=UUID(int=1), providers={"vault": vault.provider}, store=store)
        kek = await vault.provider.create_kek("shared")
        one, other = uuid4(), uuid4()
        for namespace in (one, other):
            await create_data_keys(keyring, namespace, kek)
        mine, theirs = store.get(one), store.get(other)
        store.change(one, wrapped=theirs.wrapped, kek_version=theirs.kek_version)
        moved = Wrapped(kek, theirs.kek_version, theirs.wrapped)
        assert isinstance(await vault.provider.unwrap(moved, context={}), Secret)  # the control: the KMS unwraps it
        (answer,) = await keyring.unwrap([store.get(one)])
        assert type(answer) is IntegrityError
        store.change(one, wrapped=theirs.wrapped, kek_version=theirs.kek_version, commitment=theirs.commitment)
        (answer,) = await keyring.unwrap([store.get(one)])
        assert type(answer) is IntegrityError
        store.put(mine)
        assert isinstance((await keyring.unwrap([store.get(one)]))[0], Secret)
