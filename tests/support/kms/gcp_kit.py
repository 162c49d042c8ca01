"""The Cloud KMS provider, its server and its faults, for the contract suite and for the tests of Cloud KMS alone."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager

import grpc
from google.oauth2.credentials import Credentials

from strongroom.kms import (
    AccessDenied,
    KekRef,
    KeyDestroyed,
    KeyDisabled,
    KeyPendingDeletion,
    KmsAuthenticationError,
    KmsTimeout,
    KmsUnavailable,
    Throttled,
)
from strongroom.kms.providers.gcp import GcpKmsProvider

from .gcp_server import GcpServer, Refused, State, permission_denied, throttled, unauthenticated
from .kms_bench import Fault, KmsBench

KEY_RING = "projects/strongroom-test/locations/europe-west3/keyRings/cell-1"
TOKEN = "ya29.a0-not-to-be-shown"  # noqa: S105 - an invented token


class GcpAdministrator:
    """An administrator. It disables and enables versions, because a CryptoKey has no state of its own."""

    def __init__(self, server):
        self._server = server

    async def disable(self, kek):
        """Disable all versions of a key."""
        self._server.set_states(kek.key_id, State.DISABLED)

    async def enable(self, kek):
        """Enable all versions of a key."""
        self._server.set_states(kek.key_id, State.ENABLED)


def gcp_provider(server, **settings):
    """Return a provider on a local server. Its calls have a minute, because the server shares its processor with the tests."""
    usual = {"endpoint": f"http://127.0.0.1:{server.port}", "credentials": Credentials(token=TOKEN), "deadline": 60.0}
    given = usual | settings
    return GcpKmsProvider("gcp-kms", key_ring=KEY_RING, **{"insecure": given["endpoint"].startswith("http:")} | given)


@asynccontextmanager
async def gcp_server(credentials=None):
    """Yield a server, started."""
    server = GcpServer(KEY_RING, TOKEN)
    await server.start(credentials)
    yield server
    await server.stop()


@asynccontextmanager
async def gcp_bench():
    """Yield the bench."""
    async with gcp_server() as server:
        provider = gcp_provider(server)
        yield KmsBench(
            name="gcp",
            provider=provider,
            missing=KekRef("gcp-kms", f"{KEY_RING}/cryptoKeys/absent"),
            deleted=KeyPendingDeletion,
            administrator=GcpAdministrator(server),
            faults=gcp_faults(server, provider),
            secrets=(TOKEN,),
        )
        await provider.aclose()


def gcp_faults(server, provider):
    """Return every fault of the service, by name."""

    def having(**attributes):
        @asynccontextmanager
        async def provoke(_kek):
            with server.having(**attributes):
                yield provider

        return provoke

    def refusing(code, text=""):
        return having(refusing=Refused(code, text))

    def in_state(state, **attributes):
        @asynccontextmanager
        async def provoke(kek):
            server.set_states(kek.key_id, state)
            with server.having(**attributes):
                yield provider
            server.set_states(kek.key_id, State.ENABLED)

        return provoke

    def instead(make, **settings):
        @asynccontextmanager
        async def provoke(_kek):
            async with make() as elsewhere:
                other = gcp_provider(server, **elsewhere, **settings)
                yield other
                await other.aclose()

        return provoke

    @asynccontextmanager
    async def slow():
        with server.having(delay=0.6):
            yield {}

    denied = permission_denied("cloudkms.cryptoKeyVersions.useToDecrypt", KEY_RING)
    return {
        "disabled": Fault(KeyDisabled, in_state(State.DISABLED)),
        "pending deletion": Fault(KeyPendingDeletion, in_state(State.DESTROY_SCHEDULED)),
        "destroyed": Fault(KeyDestroyed, in_state(State.DESTROYED)),
        "being generated": Fault(KmsUnavailable, in_state(State.PENDING_GENERATION)),
        "disabled, without a reason": Fault(KeyDisabled, in_state(State.DISABLED, terse=True)),
        "pending deletion, without a reason": Fault(KeyPendingDeletion, in_state(State.DESTROY_SCHEDULED, terse=True)),
        "destroyed, without a reason": Fault(KeyDestroyed, in_state(State.DESTROYED, terse=True)),
        "access denied": Fault(AccessDenied, having(refusing=denied)),
        "unauthenticated": Fault(KmsAuthenticationError, having(refusing=unauthenticated("Decrypt"))),
        "another token": Fault(KmsAuthenticationError, instead(_nothing, credentials=Credentials(token=TOKEN[::-1]))),
        "no token": Fault(KmsAuthenticationError, instead(_nothing, credentials=None)),
        "throttled": Fault(Throttled, having(refusing=throttled(1.5)), retry_after=1.5),
        "throttled, no time": Fault(Throttled, having(refusing=throttled())),
        "unavailable": Fault(
            KmsUnavailable, refusing(grpc.StatusCode.UNAVAILABLE, "The service is currently unavailable.")
        ),
        "internal": Fault(KmsUnavailable, refusing(grpc.StatusCode.INTERNAL, "Internal error encountered.")),
        "unknown": Fault(KmsUnavailable, refusing(grpc.StatusCode.UNKNOWN)),
        "too late for itself": Fault(KmsTimeout, refusing(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline exceeded.")),
        "slow": Fault(KmsTimeout, instead(slow, deadline=0.3)),
        "connection refused": Fault(KmsUnavailable, instead(_refusing_port)),
        "silent": Fault(KmsTimeout, instead(_silent_port, deadline=0.3)),
        "answer damaged": Fault(KmsUnavailable, having(altering=flip_answer)),
        "checksum damaged": Fault(KmsUnavailable, having(altering=flip_checksum)),
        "checksum missing": Fault(KmsUnavailable, having(altering=drop_checksum)),
        "request damaged": Fault(KmsUnavailable, having(receiving=flip_request)),
    }


def flip_answer(answer):
    """Flip a bit of the answer's data."""
    name = _content(answer)
    setattr(answer, name, flipped(getattr(answer, name)))


def flip_checksum(answer):
    """Flip a bit of the answer's checksum."""
    name = f"{_content(answer)}_crc32c"
    setattr(answer, name, getattr(answer, name) ^ 1)


def drop_checksum(answer):
    """Remove the answer's checksum."""
    setattr(answer, f"{_content(answer)}_crc32c", None)


def flip_request(request):
    """Flip a bit of the request's data."""
    request.additional_authenticated_data = flipped(request.additional_authenticated_data)


def flipped(content):
    """Return the bytes with the lowest bit of the last one flipped."""
    return content[:-1] + bytes([content[-1] ^ 1])


def _content(answer):
    return "plaintext" if "plaintext" in type(answer).meta.fields else "ciphertext"


@asynccontextmanager
async def _nothing():
    yield {}


@asynccontextmanager
async def _refusing_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening
        yield {"endpoint": f"http://127.0.0.1:{taken.getsockname()[1]}"}


@asynccontextmanager
async def _silent_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()  # the system accepts connections, and nothing answers
        yield {"endpoint": f"http://127.0.0.1:{listening.getsockname()[1]}"}
