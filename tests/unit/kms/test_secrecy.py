from __future__ import annotations

import base64
import copy
import pickle
import traceback
from datetime import UTC, datetime
from uuid import UUID

import pytest

from strongroom.kms import (
    XAES256GCM,
    GeneratedKey,
    IntegrityError,
    KekRef,
    KeyClass,
    Keyring,
    KeyringFileError,
    KmsError,
    LocalProvider,
    NamespaceKeys,
    PartType,
    RecordKind,
    Secret,
    SigningKey,
    StrongroomError,
    Suite,
    TokenKey,
    Wrapped,
    errors,
)
from strongroom.kms.keys import derivation
from strongroom.kms.keys.data_key import DataKey
from strongroom.kms.providers.local import Kek, KeyringFile, keyring_file

KIND = RecordKind("record", "data", (PartType.TEXT,))
MATERIAL = bytes(range(0x61, 0x81))  # letters, and bytes that repr() escapes
pytestmark = pytest.mark.usefixtures("cipher")

PASSPHRASE = "a passphrase that nobody guesses"  # noqa: S105 - of files that a test makes
ERRORS = [error for error in vars(errors).values() if isinstance(error, type) and issubclass(error, StrongroomError)]


def shown_forms():
    """Return every form in which the test key, or a derived key, could appear in a text or in bytes."""
    root = Secret(MATERIAL)
    keys = [MATERIAL, *(derivation.seal_key(root, suite).reveal() for suite in Suite)]
    keys += [derivation.certificate_seed(root).reveal()]
    keys += [derivation.token_key(root, "a").reveal(), derivation.identity_key(root, "a").reveal()]
    for key in keys:
        for part in (key[:8], key[12:20], key[24:]):  # a third of a key must not be shown either
            yield part
            yield part.hex().encode()
            yield repr(part)[2:-1].encode()
            yield ", ".join(map(str, part)).encode()
        yield base64.b64encode(key)[:40]
    yield PASSPHRASE.encode()


FORMS = list(shown_forms())


def assert_secret(content):
    content = content if isinstance(content, bytes) else content.encode()
    for form in FORMS:
        assert form not in content


def make_namespace_keys():
    key = DataKey(Secret(MATERIAL), version=1, suite=Suite.XAES_256_GCM)
    keys = NamespaceKeys(
        cell_id=UUID(int=1),
        namespace_id=UUID(int=2),
        data={1: key},
        index={1: Secret(MATERIAL)},
        identity={1: Secret(MATERIAL)},
        active={KeyClass.DATA: 1, KeyClass.IDENTITY: 1, KeyClass.INDEX: 1},
    )
    keys.open(KIND, ("a",), keys.seal(KIND, ("a",), b""))  # fills the caches
    keys.identity("a").token(b"")
    keys.index("a", epoch=1).token(b"")
    return keys


def make_kek():
    return Kek({1: Secret(MATERIAL)}, {1: "2026-11-23T00:00:00+00:00"})


def make_provider(path):
    provider = LocalProvider("local", path, passphrase=PASSPHRASE)
    provider._keyring = KeyringFile({"a": make_kek()})
    return provider


def make_keyring(path):
    keyring = Keyring(cell_id=UUID(int=1), providers={"local": make_provider(path)}, store=None)
    keyring._cache[UUID(int=2)] = make_namespace_keys()
    return keyring


HOLDERS = {
    "Secret": lambda _path: Secret(MATERIAL),
    "XAES256GCM": lambda _path: XAES256GCM(MATERIAL),
    "DataKey-1": lambda _path: DataKey(Secret(MATERIAL), version=1, suite=Suite.AES_256_GCM),
    "DataKey-2": lambda _path: DataKey(Secret(MATERIAL), version=1, suite=Suite.XAES_256_GCM),
    "SigningKey": lambda _path: SigningKey(derivation.certificate_seed(Secret(MATERIAL))),
    "TokenKey": lambda _path: TokenKey(Secret(MATERIAL)),
    "NamespaceKeys": lambda _path: make_namespace_keys(),
    "Keyring": make_keyring,
    "LocalProvider": make_provider,
    "Kek": lambda _path: make_kek(),
    "KeyringFile": lambda _path: KeyringFile({"a": make_kek()}),
    "GeneratedKey": lambda _path: GeneratedKey(Secret(MATERIAL), Wrapped(KekRef("local", "a"), "1", b"wrapped")),
}


@pytest.fixture(params=HOLDERS)
def holder(request, tmp_path):
    return HOLDERS[request.param](tmp_path / "keyring.json")


def test_control_finds_a_key_that_is_shown():
    """The control: the check finds a key in a text, in hex, in a pickle and in a list of numbers."""
    for shown in (
        repr(MATERIAL),
        MATERIAL.hex(),
        f"{list(MATERIAL)}",
        pickle.dumps(MATERIAL),
        [MATERIAL],
        {"k": MATERIAL},
    ):
        with pytest.raises(AssertionError):
            assert_secret(shown if isinstance(shown, (bytes, str)) else repr(shown))


def test_text_of_a_holder_shows_no_key(holder):
    """An object that holds keys shows none when it is logged, printed or formatted, alone or inside another object."""
    # An f-string without a conversion calls __format__.
    for text in (repr(holder), str(holder), f"{holder}", f"{holder!r:>400}", f"{[holder]}", f"{ ({'k': holder}) }"):
        assert_secret(text)
    assert_secret(ascii(holder))


def test_holder_is_not_pickled(holder):
    """An object that holds keys can't be pickled by any protocol, so that no key reaches a queue or a cache."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError) as refusal:
            pickle.dumps(holder, protocol)
        assert_secret("".join(traceback.format_exception(refusal.value)))


def test_holder_is_not_copied_deeply(holder):
    """An object that holds keys can't be deep-copied."""
    with pytest.raises(TypeError) as refusal:
        copy.deepcopy(holder)
    assert_secret(str(refusal.value))


@pytest.mark.parametrize("name", ["Secret", "XAES256GCM", "DataKey-1", "DataKey-2", "TokenKey", "NamespaceKeys"])
def test_holder_of_bare_keys_is_not_copied(name, tmp_path):
    """An object that holds key bytes itself can't be shallow-copied either."""
    with pytest.raises(TypeError):
        copy.copy(HOLDERS[name](tmp_path))


def test_passphrase_is_not_pickled(tmp_path):
    """A provider with a passphrase can't be pickled, even before it has read its keyring."""
    provider = LocalProvider("local", tmp_path / "keyring.json", passphrase=PASSPHRASE)
    try:
        pickled = pickle.dumps(provider)
    except TypeError:
        return
    assert_secret(pickled)


def test_secrets_are_not_compared_or_iterated():
    """A secret has no length, items or order, and equals only itself, so that it leaks no byte."""
    secret = Secret(MATERIAL)
    assert secret != Secret(MATERIAL)
    assert secret != MATERIAL
    for use in (
        len,
        list,
        bytes,
        sorted,
        lambda s: s[0],
        lambda s: s < Secret(b""),
        lambda s: s + b"",
        lambda s: b"".join([s]),
    ):
        with pytest.raises(TypeError):
            use(secret)
    assert not hasattr(secret, "__dict__")


# --- errors


def error_texts(error):
    """Return all text that a logger could write about an error, its causes and its context."""
    yield str(error)
    yield repr(error)
    yield repr(error.args)
    yield "".join(traceback.format_exception(error))
    yield pickle.dumps(error)


async def failures(path):
    """Return the errors of every operation that can fail, for each object that holds keys."""
    caught = []

    def attempt(call):
        with pytest.raises(Exception) as failure:  # noqa: PT011 - each of another class
            call()
        caught.append(failure.value)

    keys = make_namespace_keys()
    sealed = keys.seal(KIND, ("a",), b"text")
    for length in (0, 16, 31, 33):
        attempt(lambda length=length: XAES256GCM((MATERIAL * 2)[:length]))
    attempt(lambda: XAES256GCM(MATERIAL).encrypt(b"short", b"", None))
    attempt(lambda: XAES256GCM(MATERIAL).decrypt(bytes(24), bytes(16), None))
    attempt(lambda: keys.open(KIND, ("b",), sealed))
    attempt(lambda: keys.open(KIND, ("a",), sealed[:-1]))
    attempt(lambda: keys.open(KIND, ("a",), b""))
    attempt(lambda: keys.open(KIND, (1,), sealed))
    attempt(lambda: keys.open(KIND, ("a",), sealed[:4] + b"\x00\x00\x00\x09" + sealed[8:]))
    attempt(lambda: keys.seal_many(KIND, [(("a",), b"")] * (2**16 + 1)))
    attempt(lambda: keys.index("a", epoch=2))
    attempt(
        lambda: DataKey(Secret(MATERIAL), version=1, suite=Suite.AES_256_GCM).seal_groups(
            [(KIND, b"", (), [(("a",), b"")])]
        )
    )
    attempt(lambda: Secret(MATERIAL) + b"")
    attempt(lambda: TokenKey(Secret(MATERIAL)).token("text"))

    keyring_file.write_keyring(path, KeyringFile({"a": make_kek()}))
    provider = LocalProvider("local", path)
    wrapped = await provider.wrap(KekRef("local", "a"), Secret(MATERIAL), context={})
    for call in (
        provider.unwrap(wrapped, context={"other": "context"}),
        provider.unwrap(Wrapped(KekRef("local", "b"), "1", wrapped.ciphertext), context={}),
        provider.unwrap(Wrapped(KekRef("local", "a"), "2", wrapped.ciphertext), context={}),
        provider.wrap(KekRef("local", "b"), Secret(MATERIAL), context={}),
    ):
        with pytest.raises(StrongroomError) as failure:
            await call
        caught.append(failure.value)
    content = path.read_text()
    for damaged in (content[:-3], content.replace('"key"', '"kez"'), content.replace("keyring/1", "keyring/2")):
        path.write_text(damaged)
        attempt(lambda: keyring_file.read_keyring(path))
    path.write_text(content)
    path.chmod(0o644)
    attempt(lambda: keyring_file.read_keyring(path))
    return caught


async def test_errors_show_no_key(tmp_path):
    """No error of keys, ciphers or the keyring shows a key in its message or its traceback."""
    caught = await failures(tmp_path / "keyring.json")
    assert {IntegrityError, KeyringFileError} <= {type(error) for error in caught}
    for error in caught:
        for text in error_texts(error):
            assert_secret(text)


@pytest.mark.usefixtures("cheap_scrypt")
def test_errors_show_no_passphrase(tmp_path):
    """The error for a wrong passphrase does not contain the passphrase."""
    path = tmp_path / "keyring.json"
    keyring = keyring_file.new_keyring("another one")
    keyring.add_version("a")
    keyring_file.write_keyring(path, keyring, "another one")
    with pytest.raises(KeyringFileError) as failure:
        keyring_file.read_keyring(path, PASSPHRASE)
    for text in error_texts(failure.value):
        assert_secret(text)


@pytest.mark.parametrize("error", ERRORS)
def test_errors_are_pickled_and_copied(error):
    """Every error keeps its class and message when it is pickled or copied."""
    for original in (error(), error("a message of its own")):
        for again in (pickle.loads(pickle.dumps(original)), copy.copy(original), copy.deepcopy(original)):  # noqa: S301 - our own
            assert type(again) is error
            assert str(again) == str(original)
            assert again.args == original.args
    assert str(error("a message of its own")) == "a message of its own"
    assert str(error())


ROOTS = (errors.Unavailable, errors.Timeout, errors.NotAuthenticated)


def test_tree_of_errors():
    """All errors derive from StrongroomError, and only throttling, outage and timeout are retryable."""
    assert len(ERRORS) >= 18
    retryable = {error.__name__ for error in ERRORS if issubclass(error, KmsError) and error.retryable}
    assert retryable == {"Throttled", "KmsUnavailable", "KmsTimeout"}


@pytest.mark.parametrize(
    ("error", "roots"),
    [
        (errors.KmsUnavailable, {errors.Unavailable}),
        (errors.KmsTimeout, {errors.Unavailable, errors.Timeout}),
        (errors.KmsAuthenticationError, {errors.NotAuthenticated}),
    ],
)
def test_roots_catch_a_kms_error_too(error, roots):
    """`except Unavailable`, `Timeout` or `NotAuthenticated` catches the KMS's error of that name, and `KmsError` does too."""
    assert {root for root in ROOTS if issubclass(error, root)} == roots
    assert issubclass(error, KmsError)


def test_record_of_the_registry_holds_nothing_secret(tmp_path):
    """A keyring file stores when each version was created."""
    keyring = KeyringFile()
    before = datetime.now(UTC).replace(microsecond=0)
    keyring.add_version("a")
    keyring_file.write_keyring(tmp_path / "keyring.json", keyring)
    created = keyring_file.read_keyring(tmp_path / "keyring.json").keks["a"].created
    assert before <= datetime.fromisoformat(created[1]) <= datetime.now(UTC)
