"""A namespace without cached keys does not ask a KMS that is away at each call, and works soon after the KMS is back."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from strongroom.kms import KeyDisabled, KeyNotFound, KeyringFileError, KmsUnavailable, create_data_keys

FAILURE_TTL = 5.0
STEP = 0.1
"""Time between two calls of a caller, in seconds."""


@pytest.mark.parametrize("error", [KmsUnavailable, KeyringFileError])
async def test_an_outage_costs_few_calls_of_the_kms(deployment, error):
    """Ten callers make 6,000 calls in a minute. After the first ones, the KMS gets at most one in 2.5 seconds."""
    namespace = await deployment.namespace()
    deployment.provider.error = error("away")
    for _ in range(600):
        answers = await asyncio.gather(*(deployment.keyring.open(namespace) for _ in range(10)), return_exceptions=True)
        assert {type(answer) for answer in answers} == {error}
        deployment.clock.now += STEP
    assert 60 / FAILURE_TTL <= deployment.provider.unwraps <= 30


async def test_the_return_of_the_kms_is_noticed(deployment):
    """The namespace works five seconds after an outage of any length."""
    namespace = await deployment.namespace()
    deployment.provider.error = KmsUnavailable()
    for _ in range(1000):
        with pytest.raises(KmsUnavailable):
            await deployment.keyring.open(namespace)
        deployment.clock.now += STEP
    deployment.provider.error = None
    deployment.clock.now += FAILURE_TTL
    await deployment.keyring.open(namespace)


async def test_a_success_ends_the_memory(deployment):
    """A failure after a success counts as the first one. It is remembered for one second at most."""
    namespace = await deployment.namespace()
    for _ in range(5):
        await deployment.fails_once(namespace, KmsUnavailable())
        deployment.clock.now += 1
        await deployment.keyring.open(namespace)
        deployment.clock.now += 3600  # the keys are too old


async def test_a_failure_concerns_one_namespace(deployment):
    """Another namespace is loaded while the failure of the first one is remembered."""
    first, second = await deployment.namespace(), await deployment.namespace()
    await deployment.fails_once(first, KmsUnavailable())
    await deployment.keyring.open(second)


async def test_a_change_of_the_registry_ends_the_memory(deployment):
    """A notification of a change evicts the namespace. The next call asks the KMS, because the keys may have moved to another one."""
    namespace = await deployment.namespace()
    await deployment.fails_once(namespace, KmsUnavailable())
    deployment.keyring.evict(namespace)
    await deployment.keyring.open(namespace)


async def test_a_namespace_without_keys_is_found_as_soon_as_it_has_some(deployment):
    """The registry's answer that there are no keys is not remembered, because another process may create them now."""
    await deployment.namespace()  # makes the KEK
    namespace = uuid4()
    with pytest.raises(KeyNotFound):
        await deployment.keyring.open(namespace)
    await create_data_keys(deployment.another_process(), namespace, deployment.kek)
    await deployment.keyring.open(namespace)


async def test_a_refusal_replaces_an_outage(deployment):
    """When the KMS answers again that the key is disabled, callers get this answer."""
    namespace = await deployment.namespace()
    await deployment.fails_once(namespace, KmsUnavailable())
    deployment.clock.now += 1
    await deployment.fails_once(namespace, KeyDisabled())
