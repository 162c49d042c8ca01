from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from uuid import UUID

import pytest
from botocore.exceptions import ClientError, ParamValidationError

from strongroom.kms import (
    AccessDenied,
    InvalidRequest,
    KeyClass,
    KeyContext,
    KmsAuthenticationError,
    KmsUnavailable,
    Secret,
    Throttled,
)
from strongroom.kms.providers.aws.errors import error_of
from tests.support.kms.aws_server import Fault
from tests.support.kms.fix_aws import REGION, SECRETS, session

CONTEXT = KeyContext(UUID(int=1), UUID(int=2), KeyClass.DATA, 1).encryption_context()


async def test_the_sdk_says_nothing_of_keys_at_debug(moto_server, aws_provider, aws_kek, caplog):
    """With every logger at DEBUG, the provider logs no root, token or signature. The plain SDK does log them."""
    caplog.set_level(logging.DEBUG)
    made = await aws_provider.generate_data_key(aws_kek, context=CONTEXT)
    root = Secret(b"a root that a log may never hold")
    await aws_provider.wrap(aws_kek, root, context=CONTEXT)
    await aws_provider.unwrap(made.wrapped, context=CONTEXT)
    await aws_provider.rewrap(made.wrapped, aws_kek, context=CONTEXT)
    requests = [request.body for request in moto_server.requests]
    hidden = [*SECRETS, *(body["Plaintext"] for body in requests if "Plaintext" in body)]
    assert len(hidden) == 3
    assert not any(text in caplog.text for text in hidden)
    assert "AWS4-HMAC-SHA256" not in caplog.text
    plain = session().client("kms", region_name=REGION, endpoint_url=moto_server.address)
    plain.encrypt(KeyId=aws_kek.key_id, Plaintext=root.reveal(), EncryptionContext=CONTEXT)
    plain.close()
    assert all(text in caplog.text for text in hidden[1:])


async def test_errors_refer_to_nothing_of_the_sdk(moto_server, aws_provider, aws_kek):
    """An error has no exception of the SDK as its cause, because that holds the request with root and token."""
    for fault in (Fault("ThrottlingException", status=400), Fault()):
        moto_server.fault = fault
        with pytest.raises((Throttled, KmsUnavailable)) as caught:
            await aws_provider.wrap(aws_kek, Secret(bytes(32)), context=CONTEXT)
        assert (caught.value.__context__, caught.value.__cause__) == (None, None)


async def test_errors_tell_the_code_and_the_request(moto_server, aws_provider, aws_kek):
    """An error has AWS's error code and request id, for a search in AWS's log."""
    moto_server.fault = Fault("AccessDeniedException", "User: arn:aws:iam::1:user/a is not authorized", 400)
    with pytest.raises(AccessDenied, match="arn:aws:iam::1:user/a") as caught:
        await aws_provider.generate_data_key(aws_kek, context=CONTEXT)
    assert (caught.value.provider_code, caught.value.request_id) == ("AccessDeniedException", "6f5c1a")


async def test_texts_that_repeat_the_request_are_not_repeated(moto_server, aws_provider, aws_kek):
    """An error omits texts of AWS that contain values of the request, or the signed request."""
    for code in ("ValidationException", "InvalidSignatureException", "SomethingNewException"):
        moto_server.fault = Fault(code, f"Value '{SECRETS[1]}' at 'encryptionContext'", 400)
        with pytest.raises((InvalidRequest, KmsAuthenticationError)) as caught:
            await aws_provider.generate_data_key(aws_kek, context=CONTEXT)
        assert SECRETS[1] not in str(caught.value)
        assert code in str(caught.value)


def test_a_role_that_may_not_be_assumed_is_a_question_of_credentials():
    """A role that AWS refuses to assume raises KmsAuthenticationError, not AccessDenied."""
    answer = {"Error": {"Code": "AccessDenied", "Message": "not authorized to perform: sts:AssumeRole"}}
    assert type(error_of(ClientError(answer, "AssumeRole"), "kek", "Decrypt")) is KmsAuthenticationError
    assert type(error_of(ClientError(answer, "Decrypt"), "kek", "Decrypt")) is AccessDenied


def test_what_the_sdk_refuses_is_not_repeated():
    """A parameter that the SDK refuses raises InvalidRequest, without the parameter in the message."""
    error = error_of(ParamValidationError(report="Plaintext: a secret"), "kek", "Encrypt")
    assert type(error) is InvalidRequest
    assert "a secret" not in str(error)


def test_the_main_import_loads_no_sdk():
    """Importing Strongroom does not import boto3, so that a cell with another KMS does not need it."""
    script = "import sys, strongroom.kms, strongroom.driver; print([m for m in sys.modules if m.startswith('boto')])"
    assert subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout == "[]\n"


async def test_a_caller_who_gives_up_harms_nobody(moto_server, aws_provider, aws_kek):
    """A cancelled call leaves the provider usable."""
    made = await aws_provider.generate_data_key(aws_kek, context=CONTEXT)
    with moto_server.silence() as begun:
        calls = asyncio.gather(*(aws_provider.unwrap(made.wrapped, context=CONTEXT) for _ in range(40)))
        await asyncio.to_thread(begun.wait)
        calls.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calls
    assert (await aws_provider.unwrap(made.wrapped, context=CONTEXT)).reveal() == made.root.reveal()
