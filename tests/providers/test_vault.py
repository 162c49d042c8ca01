from __future__ import annotations

import asyncio
import base64
import dataclasses
import ssl
from contextlib import aclosing

import pytest

from strongroom.kms import (
    AccessDenied,
    IntegrityError,
    InvalidRequest,
    KekRef,
    KeyDisabled,
    KeyNotFound,
    KmsAuthenticationError,
    KmsTimeout,
    KmsUnavailable,
    Secret,
    UnsupportedOperation,
    Wrapped,
)
from strongroom.kms.providers.transit import TransitProvider
from strongroom.kms.providers.transit.client import CONNECTIONS, TEXTS
from tests.support.kms.fix_vault import MADE_UP

from .test_contract import CONTEXT, OTHER, shown

pytestmark = pytest.mark.parametrize("kms", ["vault"], indirect=True, scope="session")

ROOT = Secret(bytes(range(32)))
PLAINTEXT = base64.b64encode(ROOT.reveal()).decode()
CONTEXTS = [base64.b64encode(text).decode() for text in (b'{"namespace":"1"}', b'{"namespace":"2"}')]


@pytest.fixture
def transit_server(kms):
    return kms.administrator.server


def opened(kms, token=None, **settings):
    """Return another provider that uses the bench's server."""
    return aclosing(kms.administrator.provider(token, **settings))


# --- retired versions


@pytest.mark.parametrize("trims", [True, False])
async def test_a_retired_version_is_trimmed(kms, kek, transit_server, trims):
    """A trimmed version is gone, although an administrator lowers the bound again. Without the right to trim it comes back."""
    old = await kms.provider.generate_data_key(kek, context=CONTEXT)
    await kms.provider.rotate_kek(kek)
    names = ["strongroom-use", "strongroom-manage"]
    if not trims:
        rule = 'path "transit/keys/+/trim" { capabilities = ["deny"] }'
        transit_server.request("POST", "sys/policies/acl/no-trim", {"policy": rule})
        names.append("no-trim")
    async with opened(kms, transit_server.token(*names)) as provider:
        await provider.retire_version(kek, "1")
        with pytest.raises(KeyDisabled):
            await provider.unwrap(old.wrapped, context=CONTEXT)
    lowered = transit_server.raw("POST", f"transit/keys/{kek.key_id}/config", {"min_decryption_version": 1})
    assert (lowered.status_code < 300) is not trims
    if trims:
        with pytest.raises(KeyDisabled):
            await kms.provider.unwrap(old.wrapped, context=CONTEXT)
    else:
        await kms.provider.unwrap(old.wrapped, context=CONTEXT)


# --- derived keys only


async def test_key_that_is_not_derived_is_refused(kms, transit_server):
    """A KEK without key derivation is refused by each call that wraps, because it ignores the encryption context."""
    transit_server.request("POST", "transit/keys/plain", {"type": "aes256-gcm96"})
    kek = KekRef("vault", "plain")
    foreign = Wrapped(kek, "1", b"vault:v1:" + base64.b64encode(bytes(60)))
    for call in (
        lambda: kms.provider.wrap(kek, ROOT, context=CONTEXT),
        lambda: kms.provider.generate_data_key(kek, context=CONTEXT),
        lambda: kms.provider.rewrap(foreign, kek, context=CONTEXT),
        lambda: kms.provider.create_kek("plain"),
    ):
        with pytest.raises(UnsupportedOperation, match=r"vault:plain is not a derived key.*derived=true"):
            await call()


def test_key_that_is_not_derived_ignores_the_context(transit_server):
    """The control: the server ignores the context with an ordinary key, and checks it with a derived key."""
    for name, derived, opens in (("ignorant", False, True), ("attentive", True, False)):
        transit_server.request("POST", f"transit/keys/{name}", {"derived": derived})
        body = {"plaintext": PLAINTEXT, "context": CONTEXTS[0]}
        made = transit_server.request("POST", f"transit/encrypt/{name}", body)
        body = {"ciphertext": made["ciphertext"], "context": CONTEXTS[1]}
        assert transit_server.raw("POST", f"transit/decrypt/{name}", body).is_success == opens


# --- a missing key is not created


async def test_a_missing_key_is_not_made_by_a_token_that_could(kms, transit_server):
    """Wrapping with a missing KEK creates none, even if the token could. The control does create one."""
    assert transit_server.request("GET", "transit/config/keys")["disable_upsert"] is False
    async with opened(kms, transit_server.root_token) as provider:
        with pytest.raises(KeyNotFound):
            await provider.wrap(KekRef("vault", "nobody-made"), ROOT, context=CONTEXT)
    assert transit_server.raw("GET", "transit/keys/nobody-made").status_code == 404
    transit_server.request("POST", "transit/encrypt/upserted", {"plaintext": PLAINTEXT, "context": CONTEXTS[0]})
    assert transit_server.request("GET", "transit/keys/upserted")["derived"] is True


async def test_policy_of_the_page_makes_no_key(kms, transit_server):
    """With the documented policy, the server does not create a key on use, so that a deleted key stays deleted."""
    async with opened(kms, transit_server.token("strongroom-use")) as provider:
        with pytest.raises(AccessDenied):
            await provider._post("encrypt", KekRef("vault", "raced"), {"plaintext": PLAINTEXT, "context": CONTEXTS[0]})
    assert transit_server.raw("GET", "transit/keys/raced").status_code == 404


async def test_check_tells_whether_keys_are_made_by_use(kms, transit_server):
    """The check reports the server's version and disable_upsert, if it may read that, and needs a valid token."""
    assert await kms.provider.check() == "version 2.7.2, unsealed; disable_upsert is NOT set, see transit.md"
    transit_server.request("POST", "transit/config/keys", {"disable_upsert": True})
    try:
        assert (await kms.provider.check()).endswith("disable_upsert is set")
    finally:
        transit_server.request("POST", "transit/config/keys", {"disable_upsert": False})
    async with opened(kms, transit_server.token("default")) as provider:
        assert "disable_upsert is set may not be read" in await provider.check()
    async with opened(kms, MADE_UP) as provider:
        with pytest.raises(KmsAuthenticationError):
            await provider.check()
    async with opened(kms, mount="nowhere") as provider:
        assert (await provider.check()).endswith("nor whether its Transit engine is at nowhere")
    async with opened(kms, transit_server.root_token, mount="nowhere") as provider:
        with pytest.raises(InvalidRequest, match="no handler for route"):
            await provider.check()
    transit_server.seal()
    try:
        with pytest.raises(KmsUnavailable, match="sealed"):
            await kms.provider.check()
    finally:
        transit_server.unseal()


# --- rights


async def test_policy_to_use_keys_is_enough_and_no_more(kms, kek, transit_server):
    """The first documented policy allows wrap, unwrap, rewrap and describe, but no creation, rotation or deletion."""
    async with opened(kms, transit_server.token("strongroom-use")) as provider:
        made = await provider.generate_data_key(kek, context=CONTEXT)
        wrapped = await provider.wrap(kek, made.root, context=CONTEXT)
        moved = await provider.rewrap(wrapped, kek, context=CONTEXT)
        assert (await provider.unwrap(moved, context=CONTEXT)).reveal() == made.root.reveal()
        assert (await provider.describe(kek)).state == "enabled"
        assert await provider.create_kek(kek.key_id) == kek
        for call in (
            lambda: provider.create_kek("not-allowed"),
            lambda: provider.rotate_kek(kek),
            lambda: provider.delete_kek(kek),
        ):
            with pytest.raises(AccessDenied):
                await call()
    assert (await kms.provider.describe(kek)).versions == ("1",)


async def test_revoked_token_is_told_from_a_missing_right(kms, kek, transit_server):
    """A missing right raises AccessDenied, and an invalid token KmsAuthenticationError, although the server's text is the same."""
    token = transit_server.token("strongroom-use")
    async with opened(kms, token) as provider:
        await provider.generate_data_key(kek, context=CONTEXT)
        transit_server.request("POST", "auth/token/revoke", {"token": token})
        with pytest.raises(KmsAuthenticationError, match="expired, revoked or made up"):
            await provider.generate_data_key(kek, context=CONTEXT)
    async with opened(kms, transit_server.token("default")) as provider:
        with pytest.raises(AccessDenied, match="permission denied"):
            await provider.generate_data_key(kek, context=CONTEXT)
    for token in (MADE_UP, transit_server.token("default")):
        answer = transit_server.raw("GET", f"transit/keys/{kek.key_id}", token=token)
        assert (answer.status_code, "permission denied" in answer.text) == (403, True)


async def test_token_that_may_not_look_itself_up(kms, kek, transit_server):
    """If a token may not look itself up, a missing right is reported as an expired token. The message explains it."""
    transit_server.request(
        "POST", "sys/policies/acl/blind", {"policy": 'path "transit/keys/x" { capabilities = ["read"] }'}
    )
    async with opened(kms, transit_server.token("blind", no_default_policy=True)) as provider:
        with pytest.raises(KmsAuthenticationError, match="or may not look itself up"):
            await provider.describe(kek)


@pytest.mark.parametrize("token", ["", "\n", "s.with\nnewline", "s.mit-ümlaut", "s.\x00"])
async def test_token_that_is_none(kms, kek, token):
    """An empty or malformed token raises KmsAuthenticationError, and the error does not show it."""
    async with opened(kms, " ", token_source=lambda: token) as provider:
        with pytest.raises(KmsAuthenticationError) as caught:
            await provider.describe(kek)
    assert not token.strip() or token not in shown(caught.value)
    assert caught.value.__context__ is None


async def test_token_file_that_is_gone(kms, kek, tmp_path):
    """An unreadable token file raises KmsAuthenticationError with the system's reason. A final newline is ignored."""
    file = tmp_path / "token"
    async with opened(kms, " ", token_source=lambda: file.read_text(encoding="utf-8")) as provider:
        with pytest.raises(KmsAuthenticationError, match="No such file"):
            await provider.describe(kek)
        file.write_bytes(b"\xff\xfe")
        with pytest.raises(KmsAuthenticationError, match="not text"):
            await provider.describe(kek)
        file.write_text(kms.secrets[0] + "\n")
        await provider.describe(kek)


# --- batches


async def test_server_refuses_250_with_a_context(kms, kek, transit_server):
    """The server accepts 249 items with a context in one request and refuses 250, so batches have 200."""
    made = await kms.provider.generate_data_key(kek, context=CONTEXT)
    item = {"ciphertext": made.wrapped.ciphertext.decode(), "context": CONTEXTS[0]}
    answers = [
        transit_server.raw("POST", f"transit/decrypt/{kek.key_id}", {"batch_input": [item] * count})
        for count in (250, 249)
    ]
    assert "exceeded maximum number of strings" in answers[0].text
    assert len(answers[1].json()["data"]["batch_results"]) == 249
    assert kms.provider.capabilities.batch == 200


async def test_a_thousand_with_failures_among_them(kms, kek, other_kek):
    """A thousand items of three KEKs are returned in order, and items that fail affect no other."""
    roots = [Secret(bytes([number % 251]) * 32) for number in range(8)]
    wrapped = [
        await kms.provider.wrap((kek, other_kek)[number % 2], root, context=CONTEXT)
        for number, root in enumerate(roots)
    ]
    missing = dataclasses.replace(wrapped[0], kek=kms.missing)
    items = [(wrapped[number % 8], CONTEXT) for number in range(1000)]
    for index, item in (
        (5, (missing, CONTEXT)),
        (6, (wrapped[6], OTHER)),
        (7, (dataclasses.replace(wrapped[7], kek=KekRef("vault", "../sys")), CONTEXT)),
        (900, (dataclasses.replace(wrapped[4], ciphertext=b"vault:v1:AAAA"), CONTEXT)),
    ):
        items[index] = item
    answers = await kms.provider.unwrap_many(items)
    failed = {index: type(answer) for index, answer in enumerate(answers) if not isinstance(answer, Secret)}
    assert failed == {5: KeyNotFound, 6: IntegrityError, 7: InvalidRequest, 900: IntegrityError}
    for index, answer in enumerate(answers):
        assert index in failed or answer.reveal() == roots[index % 8].reveal()


async def test_server_that_does_not_answer_is_not_asked_a_hundred_times(kms, kek, monkeypatch):
    """If the server hangs, only the first requests of a batch are sent. Each item gets KmsTimeout."""
    made = await kms.provider.generate_data_key(kek, context=CONTEXT)
    items = [(dataclasses.replace(made.wrapped, kek=KekRef("vault", f"k{number}")), CONTEXT) for number in range(150)]
    async with kms.faults["no answer"].provoke(kek) as provider:
        sent = []
        send = provider._client._send
        monkeypatch.setattr(provider._client, "_send", lambda *request: (sent.append(request), send(*request))[1])
        answers = await provider.unwrap_many(items)
    assert len(sent) <= CONNECTIONS
    assert {type(answer) for answer in answers} == {KmsTimeout}


# --- requests and versions


async def test_version_is_bound(kms, kek):
    """Only the version in the registry unwraps, and other spellings of a version are refused without a request."""
    made = await kms.provider.generate_data_key(kek, context=CONTEXT)
    body = made.wrapped.ciphertext.removeprefix(b"vault:v1:")
    for version in ("2", "0", "-1", "01", "", "x"):
        for named in (version, "1"):
            altered = Wrapped(kek, named, f"vault:v{version}:".encode() + body)
            with pytest.raises(IntegrityError):
                await kms.provider.unwrap(altered, context=CONTEXT)
            with pytest.raises(IntegrityError):
                await kms.provider.rewrap(altered, kek, context=CONTEXT)


async def test_version_of_the_registry_is_the_ciphertext_s(kms, kek):
    """A wrapped root whose version differs from the registry's is refused, even if the server has both."""
    old = await kms.provider.generate_data_key(kek, context=CONTEXT)
    await kms.provider.rotate_kek(kek)
    moved = dataclasses.replace(old.wrapped, kek_version="2")
    with pytest.raises(IntegrityError):
        await kms.provider.unwrap(moved, context=CONTEXT)
    with pytest.raises(IntegrityError):
        await kms.provider.rewrap(moved, kek, context=CONTEXT)
    assert (await kms.provider.unwrap(old.wrapped, context=CONTEXT)).reveal() == old.root.reveal()


async def test_versions_below_the_least_are_disabled(kms, kek, transit_server):
    """Roots below min_decryption_version raise KeyDisabled on unwrap and rewrap, until it is lowered."""
    old = await kms.provider.generate_data_key(kek, context=CONTEXT)
    await kms.provider.rotate_kek(kek)
    new = await kms.provider.generate_data_key(kek, context=CONTEXT)
    transit_server.request("POST", f"transit/keys/{kek.key_id}/config", {"min_decryption_version": 2})
    assert (await kms.provider.describe(kek)).versions == ("2",)
    answers = await kms.provider.unwrap_many([(old.wrapped, CONTEXT), (new.wrapped, CONTEXT)])
    assert isinstance(answers[0], KeyDisabled)
    assert answers[1].reveal() == new.root.reveal()
    with pytest.raises(KeyDisabled):
        await kms.provider.rewrap(old.wrapped, kek, context=CONTEXT)
    transit_server.request("POST", f"transit/keys/{kek.key_id}/config", {"min_decryption_version": 1})
    assert (await kms.provider.unwrap(old.wrapped, context=CONTEXT)).reveal() == old.root.reveal()


async def test_soft_deleted_key_is_not_rotated(kms, kek):
    """Rotating a soft-deleted key raises KeyDisabled, which is not retried, although the server answers 500."""
    await kms.administrator.disable(kek)
    with pytest.raises(KeyDisabled):
        await kms.provider.rotate_kek(kek)


async def test_rewrap_shows_no_root(kms, kek, transit_server):
    """A rewrap within a KEK needs no right to decrypt, because the root stays in the server."""
    made = await kms.provider.generate_data_key(kek, context=CONTEXT)
    policy = f'path "transit/rewrap/{kek.key_id}" {{ capabilities = ["update"] }}\n'
    policy += f'path "transit/keys/{kek.key_id}" {{ capabilities = ["read"] }}'
    transit_server.request("POST", "sys/policies/acl/rewraps", {"policy": policy})
    async with opened(kms, transit_server.token("rewraps")) as provider:
        moved = await provider.rewrap(made.wrapped, kek, context=CONTEXT)
        with pytest.raises(AccessDenied):
            await provider.unwrap(moved, context=CONTEXT)
    assert (await kms.provider.unwrap(moved, context=CONTEXT)).reveal() == made.root.reveal()


async def test_namespace_and_mount_of_the_server(kms, transit_server):
    """An engine in a namespace, at a custom path, works with the same policies. The root namespace does not have its keys."""
    transit_server.request("POST", "sys/namespaces/team", {})
    transit_server.request("POST", "sys/mounts/deep/transit", {"type": "transit"}, namespace="team")
    async with opened(kms, transit_server.root_token, namespace="team", mount="/deep/transit/") as provider:
        kek = await provider.create_kek("of-team")
        made = await provider.generate_data_key(kek, context=CONTEXT)
        assert (await provider.unwrap(made.wrapped, context=CONTEXT)).reveal() == made.root.reveal()
    with pytest.raises(KeyNotFound):
        await kms.provider.describe(kek)


# --- error texts and connections


def provocations(server):
    """Return, for each matched error text, a request that the server answers with it."""
    derived = {"type": "aes256-gcm96", "derived": True}
    for name in ("t-key", "t-old", "t-soft", "t-gone"):
        server.request("POST", f"transit/keys/{name}", derived)
    body = {"plaintext": PLAINTEXT, "context": CONTEXTS[0]}
    made = {name: server.request("POST", f"transit/encrypt/{name}", body)["ciphertext"] for name in ("t-key", "t-old")}
    server.request("POST", "transit/keys/t-old/rotate", {})
    server.request("POST", "transit/keys/t-old/config", {"min_decryption_version": 2})
    server.request("DELETE", "transit/keys/t-soft/soft-delete")
    server.request("POST", "transit/keys/t-gone/config", {"deletion_allowed": True})
    server.request("DELETE", "transit/keys/t-gone")
    item = {"ciphertext": made["t-key"], "context": CONTEXTS[1]}
    return {
        "message authentication failed": ("POST", "transit/decrypt/t-key", item),
        "invalid ciphertext": ("POST", "transit/decrypt/t-key", item | {"ciphertext": "vault:v1:AAAA"}),
        "key not found": ("POST", "transit/decrypt/t-gone", item),
        "no existing key named": ("POST", "transit/keys/t-gone/config", {"deletion_allowed": True}),
        "could not delete key; not found": ("DELETE", "transit/keys/t-gone", None),
        "disallowed by policy (too old)": (
            "POST",
            "transit/decrypt/t-old",
            {"ciphertext": made["t-old"], "context": CONTEXTS[0]},
        ),
        "soft-deleted": ("POST", "transit/encrypt/t-soft", body),
        "no handler for route": ("GET", "nowhere/keys/t-key", None),
        "unsupported path": ("GET", "transit/none/such", None),
    }


async def test_each_text_is_what_the_server_says(kms, transit_server):
    """Each matched error text is one that the server sends, and maps to its error."""
    requests = provocations(transit_server)
    assert set(requests) == {fragment for fragment, _ in TEXTS}
    async with opened(kms, transit_server.root_token) as provider:
        for fragment, kind in TEXTS:
            method, path, body = requests[fragment]
            assert fragment in transit_server.raw(method, path, body).json()["errors"][0].lower()
            with pytest.raises(kind) as caught:
                await provider._client.request(method, path, body, what="vault:test")
            assert type(caught.value) is kind


async def test_older_tls_is_refused(kek, transit_server):
    """The server refuses TLS 1.2, so that all other tests use TLS 1.3. The error has the reason."""
    context = ssl.create_default_context(cafile=str(transit_server.authority))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with aclosing(
        TransitProvider("vault", transit_server.address, token=lambda: MADE_UP, tls=context)
    ) as provider:
        with pytest.raises(KmsUnavailable, match="PROTOCOL_VERSION"):
            await provider.describe(kek)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 13\r\n\r\n<html></html>", KmsUnavailable),
        (b"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", KmsUnavailable),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", KmsUnavailable),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", KmsUnavailable),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 31\r\n\r\n{"data": {"batch_results":[1]}}', KmsUnavailable),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n{"data": {"batch_results":[]}}', KmsUnavailable),
        (b"HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n", KmsUnavailable),
        (b"nonsense\r\n\r\n", KmsUnavailable),
        (b"", KmsUnavailable),
    ],
)
async def test_what_is_not_the_engines_answer(kms, answer, error):
    """An answer of a proxy, a redirect or another server raises KmsUnavailable, without parts of the request."""
    received = bytearray()

    async def serve(reader, writer):
        received.extend(await reader.read(65536))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    wrapped = Wrapped(KekRef("vault", "x"), "1", b"vault:v1:" + base64.b64encode(bytes(60)))
    address = f"http://127.0.0.1:{port}"
    async with aclosing(TransitProvider("vault", address, token=lambda: kms.secrets[0], insecure=True)) as provider:
        with pytest.raises(error) as caught:
            await provider.unwrap(wrapped, context=CONTEXT)
    assert caught.value.__context__ is None or type(caught.value.__context__).__module__.startswith("strongroom")
    assert kms.secrets[0].encode() in received
    assert kms.secrets[0] not in shown(caught.value)
    server.close()
    await server.wait_closed()


def test_plain_http_is_for_this_machine(kms):
    """Plain HTTP is refused for a server on another machine."""
    for address, insecure in (
        ("http://vault.example.org:8200", False),
        ("http://vault.example.org:8200", True),
        ("http://127.0.0.1:8200", False),
        ("https://127.0.0.1:8200", True),
    ):
        with pytest.raises(InvalidRequest):
            TransitProvider("vault", address, token=lambda: kms.secrets[0], insecure=insecure)
