"""A bench for each KMS on this machine. A missing KMS skips its tests, or fails them if services are required."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from importlib import import_module
from itertools import count

import pytest

from tests.support.services import ServiceMissing, missing

KINDS = ("local", "vault", "aws", "gcp", "azure", "azure_hsm", "pkcs11", "pkcs11_kw", "multi")
_numbers = count(1)


@pytest.fixture(scope="session", params=KINDS)
async def kms(request):
    """Return the bench of each kind of KMS: the `KIND_bench()` of `tests/support/kms/fix_KIND.py`."""
    async with AsyncExitStack() as stack:
        module = import_module(f"tests.support.kms.fix_{request.param}")
        try:
            bench = await stack.enter_async_context(getattr(module, f"{request.param}_bench")())
        except ServiceMissing as reason:
            missing(str(reason))
        yield bench


@pytest.fixture
async def kek(kms):
    """Return a new KEK for the test."""
    return await kms.provider.create_kek(f"test-{next(_numbers)}")


@pytest.fixture
async def other_kek(kms):
    """Return a second new KEK for the test."""
    return await kms.provider.create_kek(f"test-{next(_numbers)}")


@pytest.fixture
async def vault():
    """Return a new Azure Key Vault for the test."""
    from tests.support.kms.azure_vaults import opened  # noqa: PLC0415 - Azure's libraries are optional

    async with opened() as vault:
        yield vault


@pytest.fixture
async def gcp_double():
    """Return a new stand-in for Google Cloud KMS for the test."""
    from tests.support.kms.gcp_kit import gcp_server  # noqa: PLC0415 - Google's libraries are optional

    async with gcp_server() as server:
        yield server


@pytest.fixture
async def cloud_kms(gcp_double):
    """Return a provider of Google Cloud KMS that calls the stand-in."""
    from tests.support.kms.gcp_kit import gcp_provider  # noqa: PLC0415 - Google's libraries are optional

    provider = gcp_provider(gcp_double)
    yield provider
    await provider.aclose()


@pytest.fixture
async def gcp_kek(cloud_kms):
    """Return a KEK of Google Cloud KMS."""
    return await cloud_kms.create_kek("tenant-a")


@pytest.fixture(scope="module")
def moto_server():
    """Return a server with AWS's semantics, shared by the tests of a module."""
    from tests.support.kms.fix_aws import running_server  # noqa: PLC0415 - AWS's libraries are optional

    with running_server() as running:
        yield running


@pytest.fixture
async def aws_provider(moto_server):
    """Return a provider of AWS KMS that calls the module's server."""
    from tests.support.kms.fix_aws import provider_at  # noqa: PLC0415 - AWS's libraries are optional

    moto_server.requests.clear()
    provider = provider_at(moto_server.address, deletion_days=7)
    yield provider
    moto_server.fault, moto_server.before = None, lambda _request: None
    await provider.aclose()


@pytest.fixture
async def administrator(moto_server):
    """Return boto3's client of a principal that may create aliases and replicate keys."""
    from tests.support.kms.fix_aws import AwsAdministrator  # noqa: PLC0415 - AWS's libraries are optional

    client = AwsAdministrator(moto_server).client
    yield client
    client.close()


@pytest.fixture
async def aws_kek(aws_provider):
    """Return a KEK of AWS KMS."""
    return await aws_provider.create_kek(f"own-{time.monotonic_ns()}")
