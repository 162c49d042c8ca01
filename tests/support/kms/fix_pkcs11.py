"""The PKCS#11 provider on SoftHSM, with AES-GCM."""

from __future__ import annotations

import threading
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path

from strongroom.kms import KekRef, KeyNotFound, KmsAuthenticationError, KmsTimeout, KmsUnavailable
from strongroom.kms.providers.pkcs11 import Pkcs11Provider

from .kms_bench import Fault, KmsBench
from .softhsm import PIN, softhsm

WRONG_PIN = "wrong-horse-battery"


def provider_on(token, *, pin=None, **settings):
    """Return a provider on one of SoftHSM's tokens."""
    settings = {"module": softhsm().module, "pin": lambda: pin or PIN} | settings
    return Pkcs11Provider("pkcs11", token=token, **settings)


@contextmanager
def busy(provider):
    """Keep a module's thread busy, like a token that hangs."""
    release = threading.Event()
    provider._module._jobs.put((_Ignored(), lambda: release.wait(60)))
    try:
        yield
    finally:
        release.set()


class _Ignored:
    def set_running_or_notify_cancel(self):
        return True

    def set_result(self, result):
        """Do nothing: nothing waits for the result."""


@asynccontextmanager
async def pkcs11_bench(token="gcm", mechanism="AES_GCM", kind="pkcs11"):  # noqa: S107 - a token's label
    """Yield the bench."""
    async with aclosing(provider_on(token, mechanism=mechanism)) as provider:
        yield KmsBench(
            name=kind,
            provider=provider,
            missing=KekRef("pkcs11", "absent"),
            deleted=KeyNotFound,
            faults=_faults(provider, token, mechanism),
            secrets=(PIN, WRONG_PIN),
        )


def _faults(provider, token, mechanism):
    def another(label, **settings):
        @asynccontextmanager
        async def asked(_kek):
            async with aclosing(provider_on(label, mechanism=mechanism, **settings)) as made:
                yield made

        return asked

    @asynccontextmanager
    async def removed(_kek):
        folder = softhsm().tokens
        aside = folder.parent / "removed"
        aside.mkdir(exist_ok=True)
        moved = [(path, aside / path.name) for path in folder.iterdir() if token.encode() in _token_object(path)]
        assert len(moved) == 1
        for path, away in moved:
            path.rename(away)
        try:
            yield provider
        finally:
            for path, away in moved:
                away.rename(path)

    @asynccontextmanager
    async def hanging(_kek):
        async with aclosing(provider_on(token, mechanism=mechanism, timeout=0.2)) as made:
            with busy(made):
                yield made

    return {
        "wrong PIN": Fault(KmsAuthenticationError, another("spare", pin=WRONG_PIN)),
        "no such token": Fault(KmsUnavailable, another("nowhere")),
        "no such module": Fault(KmsUnavailable, another(token, module=Path("/nowhere/libpkcs11.so"))),
        "no module": Fault(KmsUnavailable, another(token, module=Path(__file__))),
        "removed token": Fault(KmsUnavailable, removed),
        "no answer": Fault(KmsTimeout, hanging),
    }


def _token_object(folder):
    return (folder / "token.object").read_bytes()
