from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import sys
import textwrap
import threading
from contextlib import aclosing

import pytest

from strongroom.kms import (
    AccessDenied,
    IntegrityError,
    InvalidRequest,
    KekRef,
    KeyNotFound,
    KmsAuthenticationError,
    KmsTimeout,
    KmsUnavailable,
    Secret,
    UnsupportedOperation,
)
from tests.support.kms.fix_pkcs11 import WRONG_PIN, busy, provider_on

from .test_contract import CONTEXT, shown

pytestmark = pytest.mark.parametrize("kms", ["pkcs11"], indirect=True, scope="session")
ROOT = Secret(bytes(range(32)))


async def on_token(provider, job):
    """Run a function with the provider's own session, on its thread."""
    return await provider._run(job, None)


async def keys_of(provider, kek):
    """Return all keys of a KEK on the token."""
    versions = await on_token(provider, lambda session: provider._token.keys(session, kek.key_id))
    return [key for keys in versions.values() for key in keys]


async def make_key(provider, label, version=1, uses="ENCRYPT DECRYPT", **attributes):
    """Create a key as an operator could."""
    import pkcs11  # noqa: PLC0415 - where the bench is, it is there

    def job(session):
        flags = pkcs11.MechanismFlag(sum(pkcs11.MechanismFlag[use] for use in uses.split()))
        template = {pkcs11.Attribute[name]: value for name, value in attributes.items()}
        settings = {"label": label, "id": bytes([version]), "store": True, "capabilities": flags, "template": template}
        session.generate_key(pkcs11.KeyType.AES, 256, **settings)

    await on_token(provider, job)
    return KekRef("pkcs11", label)


# --- keys


async def test_keys_can_not_leave_the_token(kms, kek):
    """A KEK's keys are sensitive and not extractable, and the token does not show their value."""
    from pkcs11 import Attribute, AttributeSensitive  # noqa: PLC0415 - where the bench is, it is there

    await kms.provider.rotate_kek(kek)
    keys = await keys_of(kms.provider, kek)
    assert [key[Attribute.ID] for key in keys] == [bytes([0, 0, 0, 1]), bytes([0, 0, 0, 2])]
    for key in keys:
        yes = [
            key[name] for name in (Attribute.SENSITIVE, Attribute.NEVER_EXTRACTABLE, Attribute.PRIVATE, Attribute.LOCAL)
        ]
        no = [key[name] for name in (Attribute.EXTRACTABLE, Attribute.WRAP, Attribute.UNWRAP, Attribute.MODIFIABLE)]
        assert yes == [True] * 4
        assert no == [False] * 4
        with pytest.raises(AttributeSensitive):
            key[Attribute.VALUE]


@pytest.mark.parametrize("attributes", [{"EXTRACTABLE": True}, {"SENSITIVE": False}])
async def test_key_that_may_leave_is_refused(kms, attributes):
    """A key that is extractable wraps nothing."""
    kek = await make_key(kms.provider, f"leaky-{'-'.join(attributes)}", **attributes)
    with pytest.raises(UnsupportedOperation, match="may leave its token"):
        await kms.provider.wrap(kek, ROOT, context=CONTEXT)


async def test_key_that_does_not_allow_the_use(kms):
    """A key whose attributes forbid a use raises AccessDenied, and altered bytes still raise IntegrityError."""
    kek = await make_key(kms.provider, "retired")
    wrapped = await kms.provider.wrap(kek, ROOT, context=CONTEXT)
    sealer = await make_key(kms.provider, "seals-only", uses="ENCRYPT")
    sealed = await kms.provider.wrap(sealer, ROOT, context=CONTEXT)
    with pytest.raises(AccessDenied, match="CKA_DECRYPT is false"):
        await kms.provider.unwrap(sealed, context=CONTEXT)
    opener = await make_key(kms.provider, "opens-only", uses="DECRYPT")
    with pytest.raises(AccessDenied, match="CKA_ENCRYPT is false"):
        await kms.provider.wrap(opener, ROOT, context=CONTEXT)
    with pytest.raises(IntegrityError):
        await kms.provider.unwrap(dataclasses.replace(wrapped, kek=opener), context=CONTEXT)


async def test_key_without_a_version_is_no_kek(kms):
    """A key without a CKA_ID of 1 to 4 bytes is not a version, and the message says what is needed."""
    import pkcs11  # noqa: PLC0415 - where the bench is, it is there

    settings = {"label": "foreign", "id": b"12345", "store": True}
    await on_token(kms.provider, lambda session: session.generate_key(pkcs11.KeyType.AES, 256, **settings) and None)
    with pytest.raises(KeyNotFound, match="CKA_ID of 1 to 4 bytes"):
        await kms.provider.describe(KekRef("pkcs11", "foreign"))


async def test_two_keys_of_one_version_both_unwrap(kms):
    """Concurrent rotations may create two keys of one version. Both unwrap, and both are deleted."""
    from strongroom.kms.provider import associated_data  # noqa: PLC0415 - next to its use
    from strongroom.kms.providers.pkcs11.pkcs11 import _WRAP_LABEL  # noqa: PLC0415 - where the bench is, it is there

    kek = await make_key(kms.provider, "twins", 7)
    first = await kms.provider.wrap(kek, ROOT, context=CONTEXT)
    (before,) = await keys_of(kms.provider, kek)
    await make_key(kms.provider, "twins", 7)
    twins = await keys_of(kms.provider, kek)
    assert len(twins) == 2
    (newer,) = [key for key in twins if key != before]
    bound = associated_data(_WRAP_LABEL, "twins", 7, CONTEXT)
    second = await on_token(kms.provider, lambda _: kms.provider._wrapping.wrap(newer, ROOT.reveal(), bound))
    for ciphertext in (first.ciphertext, second):
        opened = await kms.provider.unwrap(dataclasses.replace(first, ciphertext=ciphertext), context=CONTEXT)
        assert opened.reveal() == ROOT.reveal()
    await kms.provider.delete_kek(kek)
    with pytest.raises(KeyNotFound):
        await kms.provider.describe(kek)


async def test_other_process_rotates_and_deletes(kms, kek):
    """Changes of a KEK by another process are visible at the next call."""
    from tests.support.kms.softhsm import PIN, softhsm  # noqa: PLC0415 - where the bench is, it is there

    def elsewhere(call):
        script = f"""
            import asyncio, pathlib
            from strongroom.kms import KekRef
            from strongroom.kms.providers.pkcs11 import Pkcs11Provider
            async def main():
                provider = Pkcs11Provider(
                    "pkcs11", pathlib.Path({str(softhsm().module)!r}), token="gcm", pin=lambda: {PIN!r}
                )
                await provider.{call}(KekRef("pkcs11", {kek.key_id!r}))
                await provider.aclose()
            asyncio.run(main())
        """
        subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)

    made = await kms.provider.generate_data_key(kek, context=CONTEXT)
    await asyncio.to_thread(elsewhere, "rotate_kek")
    assert (await kms.provider.wrap(kek, ROOT, context=CONTEXT)).kek_version == "2"
    assert (await kms.provider.unwrap(made.wrapped, context=CONTEXT)).reveal() == made.root.reveal()
    await asyncio.to_thread(elsewhere, "delete_kek")
    with pytest.raises(KeyNotFound):
        await kms.provider.unwrap(made.wrapped, context=CONTEXT)


async def test_lengths_and_spellings_of_a_version(kms, kek):
    """A root wrapped by GCM has 60 bytes, and a version has only one valid spelling."""
    made = await kms.provider.generate_data_key(kek, context=CONTEXT)
    assert len(made.wrapped.ciphertext) == 60
    for version in ("01", "+1", "0", "2", "", "x", "1" * 40, "\u0661"):
        with pytest.raises(KeyNotFound):
            await kms.provider.unwrap(dataclasses.replace(made.wrapped, kek_version=version), context=CONTEXT)


async def test_keys_of_another_mechanism(kms, kek):
    """A KEK works with its own mechanism only."""
    made = await kms.provider.generate_data_key(kek, context=CONTEXT)
    async with aclosing(provider_on("gcm", mechanism="AES_KEY_WRAP_PAD")) as provider:
        assert (provider.capabilities.context, kms.provider.capabilities.context) == ("commitment", "native")
        with pytest.raises(IntegrityError):
            await provider.unwrap(made.wrapped, context=CONTEXT)
        with pytest.raises(AccessDenied, match="CKA_WRAP is false"):
            await provider.wrap(kek, ROOT, context=CONTEXT)


# --- logins


@pytest.mark.usefixtures("kms")
async def test_wrong_pin_is_tried_once(monkeypatch):
    """A wrong PIN is tried once, because a token locks after several wrong ones. A new PIN is tried."""
    from strongroom.kms.providers.pkcs11 import token as pkcs11_token  # noqa: PLC0415 - where the bench is, it is there
    from tests.support.kms.softhsm import PIN  # noqa: PLC0415 - as above

    tried = []
    really = pkcs11_token.log_in

    def counted(token, pin):
        tried.append(pin)
        return really(token, pin)

    monkeypatch.setattr(pkcs11_token, "log_in", counted)
    pins = [WRONG_PIN]
    async with aclosing(provider_on("spare")) as provider:
        provider._token._pin = lambda: pins[-1]
        for _ in range(5):
            with pytest.raises(KmsAuthenticationError) as caught:
                await provider.check()
            assert WRONG_PIN not in shown(caught.value)
        assert "not tried again" in str(caught.value)
        assert tried == [WRONG_PIN]
        pins.append(f"{PIN}\n")
        assert "SoftHSM" in await provider.check()
        assert tried == [WRONG_PIN, PIN]


@pytest.mark.usefixtures("kms")
async def test_token_says_that_wrong_pins_were_tried():
    """The control of the test above: the token counts wrong PINs, and the check reports them."""
    import pkcs11  # noqa: PLC0415 - where the bench is, it is there

    async with aclosing(provider_on("spare", pin=WRONG_PIN)) as provider:
        with pytest.raises(KmsAuthenticationError):
            await provider.check()
        token = await provider._module.run(provider._token.find, seconds=5, what="test")
        assert token.flags & pkcs11.TokenFlag.USER_PIN_COUNT_LOW
    async with aclosing(provider_on("spare")) as provider:
        assert "wrong PINs" not in await provider.check()


@pytest.mark.usefixtures("kms")
async def test_login_is_the_process_s():
    """Closing a provider does not log out another provider of the same token, because PKCS#11 logins are per process."""
    first, second = provider_on("spare"), provider_on("spare")
    kek = await first.create_kek("shared")
    made = await second.generate_data_key(kek, context=CONTEXT)
    await first.aclose()
    assert (await second.unwrap(made.wrapped, context=CONTEXT)).reveal() == made.root.reveal()
    await second.aclose()
    async with aclosing(provider_on("spare", pin=WRONG_PIN)) as stranger:
        with pytest.raises(KmsAuthenticationError):
            await stranger.unwrap(made.wrapped, context=CONTEXT)
    async with aclosing(first):
        assert (await first.unwrap(made.wrapped, context=CONTEXT)).reveal() == made.root.reveal()


async def test_logout_elsewhere_is_no_missing_key(kms, kek):
    """A logout by other code in the process is not taken for missing keys, and no key is created again."""
    made = await kms.provider.generate_data_key(kek, context=CONTEXT)

    def log_out(_session):
        kms.provider._module.sessions["gcm"].close()  # closes the session and logs out
        kms.provider._module.sessions["gcm"] = kms.provider._token.find().open(
            rw=True
        )  # a session that is not logged in

    await on_token(kms.provider, log_out)
    assert (await kms.provider.unwrap(made.wrapped, context=CONTEXT)).reveal() == made.root.reveal()
    await on_token(kms.provider, log_out)
    assert await kms.provider.create_kek(kek.key_id) == kek
    assert len(await keys_of(kms.provider, kek)) == 1


@pytest.mark.parametrize("pin", ["", " \n", "with\x00zero", "with\ud800surrogate"])
@pytest.mark.usefixtures("kms")
async def test_pin_that_is_none(pin):
    """An empty or malformed PIN raises KmsAuthenticationError, and reaches neither the token nor the message."""
    async with aclosing(provider_on("spare")) as provider:
        provider._token._pin = lambda: pin
        with pytest.raises(KmsAuthenticationError) as caught:
            await provider.check()
    assert not pin.strip() or pin not in shown(caught.value)


@pytest.mark.usefixtures("kms")
async def test_pin_file_that_is_gone(tmp_path):
    """An unreadable PIN file raises KmsAuthenticationError with the system's reason."""
    async with aclosing(provider_on("spare")) as provider:
        provider._token._pin = (tmp_path / "pin").read_text
        with pytest.raises(KmsAuthenticationError, match="No such file"):
            await provider.check()


# --- the thread, and failures of a token


async def test_event_loop_goes_on_while_the_token_is_busy(kms, kek):
    """A slow call of the token does not block the event loop."""
    made = await kms.provider.generate_data_key(kek, context=CONTEXT)
    with busy(kms.provider):
        waiting = asyncio.create_task(kms.provider.unwrap(made.wrapped, context=CONTEXT))
        for _ in range(100):
            await asyncio.sleep(0.001)
        assert not waiting.done()
    assert (await waiting).reveal() == made.root.reveal()


async def test_module_is_called_on_one_thread(kms):
    """Providers of one module use its single thread, because the binding initialises modules without locks."""
    seen, inside, most = set(), 0, 0
    async with aclosing(provider_on("key-wrap", mechanism="AES_KEY_WRAP_PAD")) as other:

        def job(_session):
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            seen.add(threading.current_thread())
            threading.Event().wait(0.002)
            inside -= 1

        await asyncio.gather(*(on_token(provider, job) for provider in (kms.provider, other) for _ in range(20)))
    assert most == 1
    assert len(seen) == 1
    assert seen != {threading.main_thread()}


@pytest.mark.usefixtures("kms")
async def test_caller_that_gives_up_leaves_no_work(kek):
    """A call that timed out before its turn is not executed, and the next call succeeds."""
    done = []
    async with aclosing(provider_on("gcm")) as provider:
        await provider.check()
        patient, provider._timeout = provider._timeout, 0.1
        with busy(provider):
            with pytest.raises(KmsTimeout):
                await on_token(provider, done.append)
            with pytest.raises(KmsTimeout):
                await provider.describe(kek)
        provider._timeout = patient
        assert (await provider.describe(kek)).state == "enabled"
    assert done == []


async def test_general_error_of_a_token_in_trouble(kms, kek):
    """CKR_GENERAL_ERROR is an IntegrityError only if the key still works. Otherwise it is KmsUnavailable."""
    import pkcs11  # noqa: PLC0415 - where the bench is, it is there

    def broken(*_):
        raise pkcs11.GeneralError

    made = await kms.provider.generate_data_key(kek, context=CONTEXT)
    altered = dataclasses.replace(made.wrapped, ciphertext=bytes(60))
    with pytest.raises(IntegrityError):
        await kms.provider.unwrap(altered, context=CONTEXT)
    async with aclosing(provider_on("gcm")) as provider:
        provider._wrapping = dataclasses.replace(provider._wrapping, unwrap=broken)
        for wrapped in (altered, made.wrapped):
            with pytest.raises(KmsUnavailable) as caught:
                await provider.unwrap(wrapped, context=CONTEXT)
            assert caught.value.provider_code == "GeneralError"
        answers = await provider.unwrap_many([(made.wrapped, CONTEXT)] * 3)
        assert {type(answer) for answer in answers} == {KmsUnavailable}


@pytest.mark.usefixtures("kms")
async def test_forked_process():
    """After PKCS#11 was opened, a forked process is refused at once and its parent still works. A spawned process works."""
    from tests.support.kms.softhsm import PIN, softhsm  # noqa: PLC0415 - where the bench is, it is there

    script = f"""
        import asyncio, os, pathlib, sys, warnings
        from strongroom.kms import KekRef, KmsError
        from strongroom.kms.providers.pkcs11 import Pkcs11Provider
        warnings.simplefilter("ignore")
        module = pathlib.Path({str(softhsm().module)!r})
        provider = Pkcs11Provider("pkcs11", module, token="spare", pin=lambda: {PIN!r})
        kek = asyncio.run(provider.create_kek("of-a-fork"))
        child = os.fork()
        if child == 0:
            for each in (provider, Pkcs11Provider("pkcs11", module, token="spare", pin=lambda: {PIN!r})):
                try:
                    asyncio.run(each.describe(kek))
                except KmsError as error:
                    print(type(error).__name__, "forked" in str(error), flush=True)
            asyncio.run(provider.aclose())
            os._exit(0)
        os.waitpid(child, 0)
        print(asyncio.run(provider.describe(kek)).state)
    """
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", textwrap.dedent(script)], check=True, capture_output=True, text=True
    )
    assert done.stdout.split("\n")[:3] == ["KmsUnavailable True", "KmsUnavailable True", "enabled"]


@pytest.mark.usefixtures("kms")
async def test_two_tokens_of_one_label():
    """A label that two tokens share is refused, because the wrong token could be used."""
    from tests.support.kms.softhsm import PIN, softhsm  # noqa: PLC0415 - where the bench is, it is there

    for _ in range(2):
        command = ["softhsm2-util", "--init-token", "--free", "--label", "double", "--so-pin", PIN, "--pin", PIN]
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    assert softhsm().module.exists()
    async with aclosing(provider_on("double")) as provider:
        with pytest.raises(InvalidRequest, match="2 tokens have the label 'double'"):
            await provider.check()


@pytest.mark.usefixtures("kms")
def test_each_code_that_is_mapped_exists():
    """Each mapped CKR_ code exists in the binding, because a misspelt code would become KmsUnavailable."""
    import pkcs11  # noqa: PLC0415 - where the bench is, it is there

    from strongroom.kms.providers.pkcs11.token import _BY_NAME  # noqa: PLC0415 - as above

    assert all(issubclass(getattr(pkcs11, name), pkcs11.PKCS11Error) for name in _BY_NAME)
    assert len(_BY_NAME) > 20


@pytest.mark.usefixtures("kms")
async def test_another_token_of_the_same_label_is_an_outage(kms, kek):
    """A token that was replaced by another one with its label has no keys of it. That is not taken for deleted keys."""
    made = await kms.provider.generate_data_key(kek, context=CONTEXT)
    async with aclosing(provider_on("gcm")) as provider:
        await provider.check()
        provider._token._serial = b"of another token"
        await on_token(provider, lambda _session: provider._token._drop())
        with pytest.raises(KmsUnavailable, match="another token has the label") as caught:
            await provider.unwrap(made.wrapped, context=CONTEXT)
        assert not caught.value.is_refusal
    assert (await kms.provider.unwrap(made.wrapped, context=CONTEXT)).reveal() == made.root.reveal()
