from __future__ import annotations

import base64
import logging
import subprocess
import sys

import pytest

from strongroom.kms import (
    AccessDenied,
    IntegrityError,
    InvalidRequest,
    KekRef,
    KeyConflict,
    KeyDisabled,
    KeyPendingDeletion,
    KmsAuthenticationError,
    KmsUnavailable,
    Secret,
    Throttled,
)
from tests.support.kms.azure_server import Failure, encoded, error_body
from tests.support.kms.azure_vaults import opened, refusal
from tests.support.kms.fix_azure import TOKEN

# --- errors


ERRORS = [
    (400, "BadParameter", None, InvalidRequest, False),
    (401, "Unauthorized", None, KmsAuthenticationError, True),
    (403, "Forbidden", "AccessDenied", AccessDenied, True),
    (403, "Forbidden", "ForbiddenByConnection", AccessDenied, True),
    (403, "Forbidden", "KeyExpired", KeyDisabled, True),
    (403, "Forbidden", "KeyNotYetValid", KeyDisabled, True),
    (403, "Forbidden", None, AccessDenied, True),
    (409, "Conflict", None, KeyConflict, True),
    (409, "Conflict", "ObjectIsDeletedButRecoverable", KeyPendingDeletion, True),
    (429, "Throttled", None, Throttled, False),
    (500, "InternalServerError", None, KmsUnavailable, False),
    (418, "Teapot", None, KmsUnavailable, False),
]


@pytest.mark.parametrize(("status", "code", "inner", "kind", "shown"), ERRORS)
async def test_error_says_code_and_request(vault, status, code, inner, kind, shown):
    """Each answer maps to its error, with the service's code and request id, and without text that may contain a root."""
    vault.server.failure = Failure(status, error_body(code, "THE SERVICE'S TEXT", inner))
    error = await refusal(vault.provider.wrap(KekRef("vault", "k"), Secret(bytes(32)), context={}))
    assert type(error) is kind
    assert error.provider_code == (inner or code)
    assert error.request_id == f"request-{len(vault.server.requests)}"
    assert str(error).startswith("vault:k: ")
    assert ("THE SERVICE'S TEXT" in str(error)) is shown


@pytest.mark.parametrize(
    "content",
    ["", "[]", "null", "{", {}, {"value": None}, {"value": "!"}, {"error": "text"}, {"error": {"innererror": [1]}}],
)
@pytest.mark.parametrize("status", [200, 500])
async def test_answer_that_is_not_the_services(vault, content, status):
    """A malformed answer of a gateway raises a KmsError, and never gives a root or a wrapped key."""
    kek = await vault.provider.create_kek("k")
    made = await vault.provider.generate_data_key(kek, context={})
    vault.server.failure = Failure(status, content, suffix="wrapkey")
    assert type(await refusal(vault.provider.wrap(kek, made.root, context={}))) is KmsUnavailable
    error = await refusal(vault.provider.unwrap(made.wrapped, context={}))
    assert type(error) in (IntegrityError, KmsUnavailable)
    vault.server.failure = Failure(status, content)
    for call in (
        vault.provider.wrap(kek, made.root, context={}),
        vault.provider.describe(kek),
        vault.provider.rotate_kek(kek),
    ):
        assert type(await refusal(call)) is KmsUnavailable


async def test_root_of_another_length_is_refused(vault):
    """An unwrapped value that does not have 32 bytes is refused."""
    kek = await vault.provider.create_kek("k")
    wrapped = await vault.provider.wrap(kek, Secret(bytes(40)), context={})
    assert type(await refusal(vault.provider.unwrap(wrapped, context={}))) is IntegrityError


async def test_key_of_the_wrong_kind_is_told_when_wrapping():
    """A vault with the algorithm of the wrong key type fails at the first wrap."""
    async with opened(algorithm="A256KW") as vault:
        vault.server.added("rsa", "RSA", 3072, ["wrapKey", "unwrapKey"])
        error = await refusal(vault.provider.wrap(KekRef("vault", "rsa"), Secret(bytes(32)), context={}))
        assert type(error) is InvalidRequest


# --- secrecy


async def test_nothing_secret_is_logged(vault, caplog):
    """With all loggers at DEBUG, no root, wrapped root or token is logged."""
    caplog.set_level(logging.DEBUG)
    kek = await vault.provider.create_kek("k")
    made = await vault.provider.generate_data_key(kek, context={})
    await vault.provider.unwrap(made.wrapped, context={})
    echo = encoded(made.root.reveal())
    vault.server.failure = Failure(400, error_body("BadParameter", f"'{echo}' has invalid value"), suffix="wrapkey")
    error = await refusal(vault.provider.wrap(kek, made.root, context={}))
    root, sealed = made.root.reveal(), made.wrapped.ciphertext
    secrets = {text for value in (root, sealed) for text in (value.hex(), encoded(value), repr(value)[2:-1])}
    secrets |= {base64.b64encode(root).decode(), TOKEN}
    printed = f"{caplog.text} {error} {error!r} {error.__context__!r} {error.__cause__!r} {vault.provider!r}"
    assert "/unwrapkey" in caplog.text  # the control: the SDK's log was searched too
    assert not any(text in printed for text in secrets)


def test_keys_and_sealing_load_no_vendor_package():
    """Azure's packages are imported only when the provider is used."""
    loaded = "import sys, strongroom.kms; print([name for name in sys.modules if name.split('.')[0] in {names}])"
    names = {"azure", "aiohttp", "msal"}
    seen = subprocess.run(
        [sys.executable, "-c", loaded.replace("{names}", repr(names))], check=True, capture_output=True, text=True
    )
    assert seen.stdout.strip() == "[]"
