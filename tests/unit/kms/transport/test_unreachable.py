from __future__ import annotations

import asyncio
import ssl

import boto3
import botocore.exceptions
import grpc
import httpx
import pytest
import urllib3
from azure.core import AsyncPipelineClient
from azure.core.exceptions import AzureError
from azure.core.rest import HttpRequest
from botocore.config import Config
from elastic_transport import TransportError
from elasticsearch import AsyncElasticsearch

from strongroom.driver.audit.sinks import SinkUnavailable, SyslogOverTls
from strongroom.kms import failed_connection
from strongroom.kms.providers.gcp.errors import failure

SECRET = "hunter2"  # noqa: S105 - of a test
REASONS = {"127.0.0.1:1": "Connection refused", "nowhere.invalid:443": "Name or service not known"}


async def elasticsearch(place):
    """Call a search cluster."""
    client = AsyncElasticsearch(f"https://user:{SECRET}@{place}", max_retries=0)
    try:
        await client.search(query={"term": {"x": SECRET}})
    finally:
        await client.close()


async def transit(place):
    """Call a server as the transit provider does."""
    async with httpx.AsyncClient() as client:
        await client.post(f"https://{place}/", headers={"X-Vault-Token": SECRET})


async def aws(place):
    """Call AWS KMS."""
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": SECRET}
    client = boto3.client(
        "kms",
        region_name="eu-central-1",
        endpoint_url=f"https://{place}",
        config=Config(retries={"max_attempts": 0}),
        **keys,
    )
    await asyncio.to_thread(client.encrypt, KeyId=SECRET, Plaintext=SECRET)


async def azure(place):
    """Call Azure Key Vault."""
    async with AsyncPipelineClient(f"https://{place}") as client:
        await client.send_request(HttpRequest("POST", f"https://{place}", json=SECRET))


async def pool(place):
    """Call with urllib3."""
    await asyncio.to_thread(urllib3.PoolManager(retries=False).request, "POST", f"https://{place}", body=SECRET)


ERRORS = (TransportError, httpx.HTTPError, botocore.exceptions.BotoCoreError, AzureError, urllib3.exceptions.HTTPError)


@pytest.mark.parametrize("place", REASONS)
@pytest.mark.parametrize("call", [elasticsearch, transit, aws, azure, pool], ids=lambda call: call.__name__)
async def test_the_reason_is_found_below_every_librarys_error(call, place):
    """The reason of the system or the resolver, and the address if the library has it; nothing of the request."""
    with pytest.raises(ERRORS) as caught:
        await call(place)
    text = failed_connection(caught.value)
    assert text.endswith(REASONS[place])
    assert SECRET not in text
    if call is not transit:
        assert text.startswith(place.partition(":")[0])


def test_an_error_without_a_reason_has_its_class():
    """No text of a library is used, because it may quote a request."""
    assert failed_connection(RuntimeError(SECRET)) == "RuntimeError"
    assert failed_connection(ssl.SSLError(1, SECRET)) == "SSLError"
    looped = RuntimeError()
    looped.__cause__ = looped
    assert failed_connection(looped) == "RuntimeError"


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("127.0.0.1:1", "127.0.0.1:1: Connection refused"),
        ("nowhere.invalid:443", "nowhere.invalid:443: Domain name not found"),
    ],
)
async def test_the_reason_of_grpc(place, expected):
    """GRPC has the reason in the text of its status."""
    async with grpc.aio.insecure_channel(place) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/kms/Decrypt")(b"", timeout=60)
    assert f"(UNAVAILABLE; {expected})" in str(failure(caught.value, "gcp:key"))


@pytest.mark.parametrize("place", ["127.0.0.1:1", "nowhere.invalid:6514"])
async def test_a_syslog_collector_that_is_not_there(place):
    """An export has the collector's address and the reason."""
    host, port = place.split(":")
    with pytest.raises(SinkUnavailable) as caught:
        await SyslogOverTls(host, int(port), ssl.create_default_context).send([SECRET.encode()])
    assert place in str(caught.value)
    assert any(str(caught.value).endswith(reason) for reason in REASONS.values())
