from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

import grpc
import pytest
from google.cloud.kms_v1 import KeyManagementServiceAsyncClient
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcAsyncIOTransport
from google.cloud.kms_v1.types import service

from strongroom.kms import (
    AccessDenied,
    InvalidRequest,
    KeyClass,
    KeyContext,
    KeyDisabled,
    KmsError,
    KmsTimeout,
    KmsUnavailable,
    Secret,
    StrongroomError,
    Throttled,
)
from tests.support.kms.gcp_kit import TOKEN, gcp_faults, gcp_provider
from tests.support.kms.gcp_server import Refused, State, throttled

CONTEXT = KeyContext(UUID(int=1), UUID(int=2), KeyClass.DATA, 1).encryption_context()
ROOT = Secret(bytes(range(32)))


async def test_no_call_is_tried_again(gcp_double, cloud_kms, gcp_kek):
    """The provider does not retry, because retries are made above the providers."""
    for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL):
        before = len(gcp_double.calls)
        with gcp_double.having(refusing=Refused(code, "")), pytest.raises(KmsError):
            await cloud_kms.wrap(gcp_kek, ROOT, context=CONTEXT)
        assert len(gcp_double.calls) == before + 1


async def test_errors_hang_on_nothing(gcp_double, cloud_kms, gcp_kek):
    """No error has a cause or context in which a request or token could be found."""
    made = await cloud_kms.wrap(gcp_kek, ROOT, context=CONTEXT)
    for name, fault in gcp_faults(gcp_double, cloud_kms).items():
        async with fault.provoke(gcp_kek) as faulty:
            with pytest.raises(StrongroomError) as caught:
                await faulty.unwrap(made, context=CONTEXT)
        assert caught.value.__cause__ is None, name
        assert caught.value.__context__ is None, name


async def test_error_tells_reason_and_request(gcp_double, cloud_kms, gcp_kek):
    """An error has the service's reason, the retry time and the request id."""
    with gcp_double.having(refusing=throttled(2.25)), pytest.raises(Throttled) as caught:
        await cloud_kms.wrap(gcp_kek, ROOT, context=CONTEXT)
    error = caught.value
    assert (error.retry_after, error.provider_code, error.request_id) == (2.25, "RATE_LIMIT_EXCEEDED", "request-17")
    assert "Cryptographic requests per minute" in str(error)
    gcp_double.set_states(gcp_kek.key_id, State.DISABLED)
    with pytest.raises(KeyDisabled) as disabled:
        await cloud_kms.wrap(gcp_kek, ROOT, context=CONTEXT)
    assert disabled.value.provider_code == "KEY_DISABLED"
    assert str(disabled.value).startswith(f"{gcp_kek}: ")


async def test_text_of_a_malformed_request_is_not_repeated(gcp_double, cloud_kms, gcp_kek):
    """An error omits texts of the service that may repeat the request."""
    sent = base64.b64encode(ROOT.reveal()).decode()
    for code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE):
        refused = Refused(code, f"Invalid value at 'plaintext': {sent}")
        with gcp_double.having(refusing=refused), pytest.raises(KmsError) as caught:
            await cloud_kms.wrap(gcp_kek, ROOT, context=CONTEXT)
        assert sent not in str(caught.value)
        assert str(caught.value).endswith(f"({code.name})")


async def test_details_that_are_none(gcp_double, cloud_kms, gcp_kek):
    """Unreadable error details do not change the error."""
    broken = Refused(grpc.StatusCode.PERMISSION_DENIED, "no")
    broken.trailer = lambda: (("grpc-status-details-bin", b"\xff\xff\xff"),)
    with gcp_double.having(refusing=broken), pytest.raises(AccessDenied) as caught:
        await cloud_kms.wrap(gcp_kek, ROOT, context=CONTEXT)
    assert caught.value.provider_code == "PERMISSION_DENIED"


async def test_refusal_that_nobody_may_look_into(gcp_double, cloud_kms, gcp_kek):
    """A refusal whose reason can't be found stays InvalidRequest."""
    made = await cloud_kms.wrap(gcp_kek, ROOT, context=CONTEXT)
    gcp_double.set_states(gcp_kek.key_id, State.DISABLED)
    with gcp_double.having(terse=True, blind=True):
        for call in (cloud_kms.wrap(gcp_kek, ROOT, context=CONTEXT), cloud_kms.unwrap(made, context=CONTEXT)):
            with pytest.raises(InvalidRequest) as caught:
                await call
            assert caught.value.provider_code == "FAILED_PRECONDITION"


async def test_an_old_version_is_disabled_alone(gcp_double, cloud_kms, gcp_kek):
    """A disabled version refuses its own roots only, and the primary version still works."""
    old = await cloud_kms.wrap(gcp_kek, ROOT, context=CONTEXT)
    await cloud_kms.rotate_kek(gcp_kek)
    gcp_double.set_states(gcp_kek.key_id, State.DISABLED, "1")
    for terse in (False, True):
        with gcp_double.having(terse=terse), pytest.raises(KeyDisabled):
            await cloud_kms.unwrap(old, context=CONTEXT)
    new = await cloud_kms.wrap(gcp_kek, ROOT, context=CONTEXT)
    assert (await cloud_kms.unwrap(new, context=CONTEXT)).reveal() == ROOT.reveal()
    info = await cloud_kms.describe(gcp_kek)
    assert (info.state, info.primary_version, info.versions) == ("enabled", "2", ("2",))


async def test_server_that_comes_back_is_used_again(gcp_double, cloud_kms, gcp_kek):
    """After an outage, the same provider reconnects. gRPC's own pause between attempts would grow to minutes."""
    made = await cloud_kms.wrap(gcp_kek, ROOT, context=CONTEXT)
    await gcp_double.stop()
    for _ in range(3):
        with pytest.raises((KmsUnavailable, KmsTimeout)):
            await cloud_kms.unwrap(made, context=CONTEXT)
    await gcp_double.start(port=gcp_double.port)
    since = time.monotonic()
    while True:
        try:
            assert (await cloud_kms.unwrap(made, context=CONTEXT)).reveal() == ROOT.reveal()
            break
        except (KmsUnavailable, KmsTimeout):
            assert time.monotonic() - since < 180
            await asyncio.sleep(0.05)


async def test_silent_peer_is_given_up_by_the_system(gcp_double, cloud_kms):
    """A connection to a peer that acknowledges nothing is closed after 5 s, not after TCP's default time."""
    await cloud_kms.check()
    assert _user_timeouts(gcp_double.port) == [5000]


def _user_timeouts(port):
    """Return the TCP user timeout in ms of each connection of this process to a port."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            with socket.socket(fileno=os.dup(int(link.name))) as copy:
                if copy.family != socket.AF_UNIX and copy.getpeername()[1] == port:
                    found.append(copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
        except OSError:
            continue  # not a socket, or not connected
    return found


async def test_plain_connection_goes_through_no_proxy(gcp_double, monkeypatch):
    """An unencrypted connection ignores the proxies of the environment."""
    for name in ("http_proxy", "grpc_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    provider = gcp_provider(gcp_double)
    assert await provider.check()
    await provider.aclose()


async def test_no_log_record_holds_a_root(gcp_double, cloud_kms, gcp_kek, caplog):
    """At level DEBUG, no log record holds a root or token. The control shows both in the log of Google's client."""
    for name in ("", "google", "grpc", "urllib3"):
        caplog.set_level(logging.DEBUG, name or None)
    loggers = [logging.getLogger(name) for name in ("google", "google.cloud.kms_v1", "grpc")]
    for logger in loggers:
        logger.addHandler(caplog.handler)
    try:
        made = await cloud_kms.wrap(gcp_kek, ROOT, context=CONTEXT)
        await cloud_kms.unwrap(made, context=CONTEXT)
        await cloud_kms.check()
        assert _held(caplog.records) == []
        caplog.clear()
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{gcp_double.port}")
        client = KeyManagementServiceAsyncClient(transport=KeyManagementServiceGrpcAsyncIOTransport(channel=channel))
        request = service.EncryptRequest(name=gcp_kek.key_id, plaintext=ROOT.reveal())
        await client.encrypt(request, metadata=[("authorization", f"Bearer {TOKEN}")])
        await channel.close()
        assert set(_held(caplog.records)) == {"root", "token"}
    finally:
        for logger in loggers:
            logger.removeHandler(caplog.handler)


def _held(records):
    """Return which of root and token appear in log records."""
    material = ROOT.reveal()
    looked_for = {
        "root": (material.hex(), base64.b64encode(material).decode(), repr(material)[2:-1]),
        "token": (TOKEN,),
    }
    texts = [repr(vars(record)) for record in records]
    return [what for what, forms in looked_for.items() for form in forms for text in texts if form in text]


def test_main_package_loads_none_of_it():
    """Importing `strongroom.kms` does not import Google's libraries."""
    code = (
        "import sys, strongroom.kms; print([name for name in sys.modules if name.split('.')[0] in ('grpc', 'google')])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == []
