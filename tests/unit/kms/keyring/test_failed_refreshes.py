"""A refresh that fails without an answer of the KMS about the key never takes cached keys away; the hard TTLs do."""

from __future__ import annotations

import json

import pytest

from strongroom.kms import (
    AccessDenied,
    IntegrityError,
    InvalidRequest,
    KeyDestroyed,
    KeyDisabled,
    KeyNotFound,
    KeyPendingDeletion,
    KeyringFileError,
    KmsAuthenticationError,
    KmsUnavailable,
    LocalProvider,
    PartType,
    QuotaExceeded,
    RecordKind,
    ResilientProvider,
    StrongroomError,
    UnsupportedOperation,
)

KIND = RecordKind("record", "data", (PartType.INT64,))
SOFT, ENCRYPT, DECRYPT = 300, 900, 3600  # CachePolicy's defaults, in seconds


def missing(path):
    """Remove the file."""
    path.unlink()


def folder_gone(path):
    """Move the folder away."""
    path.parent.rename(path.parent.with_name("moved"))


def empty(path):
    """Leave nothing in the file, as after a full disk."""
    path.write_bytes(b"")


def truncated(path):
    """Cut the file in half."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def garbage(path):
    """Write bytes that are not text."""
    path.write_bytes(bytes(range(256)) * 8)


def other_json(path):
    """Write the JSON document of another program."""
    path.write_text('{"keks": 7}')


def readable_by_others(path):
    """Give everybody the right to read."""
    path.chmod(0o644)


def a_folder(path):
    """Put a folder in the file's place."""
    path.unlink()
    path.mkdir()


def dangling_link(path):
    """Put a link to nothing in the file's place."""
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


def protected(path):
    """Protect the file by a passphrase that this process does not have."""
    document = json.loads(path.read_text())
    document["protection"] = {"kdf": "scrypt", "n": 2, "r": 8, "p": 1, "salt": "AAAA", "check": "AAAA"}
    path.write_text(json.dumps(document))


def without_keks(path):
    """Take the KEKs out of the file by hand, as in a copy from before they were created."""
    document = json.loads(path.read_text())
    document["keks"] = {}
    path.write_text(json.dumps(document))


DAMAGES = [
    missing,
    folder_gone,
    empty,
    truncated,
    garbage,
    other_json,
    readable_by_others,
    a_folder,
    dangling_link,
    protected,
    without_keks,
]


class Warm:
    """A namespace whose keys are cached, and the keyring file in a folder of its own."""

    def __init__(self, deployment, namespace, sealed, path):
        self.deployment, self.namespace, self.sealed, self.path = deployment, namespace, sealed, path

    async def opens(self):
        """Open a stored value."""
        return (await self.deployment.keyring.open(self.namespace)).open(KIND, (1,), self.sealed)

    async def seals(self):
        """Seal a value."""
        return (await self.deployment.keyring.open(self.namespace)).seal(KIND, (1,), b"text")

    async def settled(self):
        """Wait for background refreshes."""
        for task in list(self.deployment.keyring._loading.values()):
            try:
                await task
            except StrongroomError:
                continue

    async def later(self, seconds):
        """Let time pass; then use the keys, and let the refresh that this starts end."""
        self.deployment.clock.now += seconds
        await self.opens()
        await self.settled()


@pytest.fixture
async def warm_file(deployment, tmp_path):
    folder = tmp_path / "keys"
    folder.mkdir()
    deployment.local = LocalProvider("local", folder / "keyring.json")
    deployment.provider.provider = deployment.local
    resilient = ResilientProvider("local", deployment.provider, clock=deployment.clock)
    deployment.keyring = deployment.another_process(providers={"local": resilient})
    namespace = await deployment.namespace()
    keys = await deployment.keyring.open(namespace)
    return Warm(deployment, namespace, keys.seal(KIND, (1,), b"text"), folder / "keyring.json")


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
async def test_a_damaged_keyring_file_is_an_outage(warm_file, damage):
    """Keys are used until encrypt_ttl, open values until decrypt_ttl, and are then refused with the file's own error."""
    damage(warm_file.path)
    await warm_file.later(SOFT)
    assert await warm_file.opens() == b"text"
    await warm_file.seals()
    await warm_file.later(ENCRYPT - SOFT)
    assert await warm_file.opens() == b"text"
    with pytest.raises((KeyringFileError, KeyNotFound)):
        await warm_file.seals()
    warm_file.deployment.clock.now += DECRYPT - ENCRYPT
    with pytest.raises((KeyringFileError, KeyNotFound)):
        await warm_file.opens()


@pytest.mark.parametrize("damage", [missing, empty, readable_by_others], ids=lambda damage: damage.__name__)
async def test_a_mended_keyring_file_needs_no_restart(warm_file, damage):
    """When the file is back, the next attempt uses it."""
    content = warm_file.path.read_bytes()
    damage(warm_file.path)
    await warm_file.later(SOFT)
    warm_file.path.write_bytes(content)
    warm_file.path.chmod(0o600)
    await warm_file.later(ENCRYPT)
    await warm_file.seals()


async def test_a_kek_deleted_from_the_keyring_file_is_a_revocation(warm_file):
    """The file records the deletion, which is an answer about this key: the next refresh evicts."""
    await warm_file.deployment.local.delete_kek(warm_file.deployment.kek)
    await warm_file.later(SOFT)
    with pytest.raises(KeyNotFound, match="deleted"):
        await warm_file.opens()


@pytest.mark.parametrize(
    "error",
    [
        KmsAuthenticationError(),
        InvalidRequest(),
        UnsupportedOperation(),
        QuotaExceeded(),
        IntegrityError(),
        KeyringFileError(),
        KmsUnavailable(),
        KeyNotFound(is_refusal=False),
        AccessDenied(is_refusal=False),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_says_nothing_about_the_key_is_an_outage(warm_file, error):
    """An expired token, a wrong mount or another KMS under the same address evicts nothing before the hard TTLs."""
    warm_file.deployment.provider.errors_by_version[("data", 1)] = error
    await warm_file.later(SOFT)
    assert await warm_file.opens() == b"text"
    await warm_file.seals()
    warm_file.deployment.clock.now += DECRYPT - SOFT
    with pytest.raises(type(error)):
        await warm_file.opens()


@pytest.mark.parametrize("outage", [KmsUnavailable(), KmsAuthenticationError()], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "refusal",
    [KeyDisabled(), KeyPendingDeletion(), KeyDestroyed(), AccessDenied(), KeyNotFound()],
    ids=lambda error: type(error).__name__,
)
async def test_a_refusal_of_one_kek_counts_in_the_outage_of_another(warm_file, refusal, outage):
    """The data key's KEK is disabled while the KMS of the index key does not answer: nothing more is sealed or opened."""
    warm_file.deployment.provider.errors_by_version[("data", 1)] = refusal
    warm_file.deployment.provider.errors_by_version[("index", 1)] = outage
    await warm_file.later(SOFT)
    with pytest.raises((type(refusal), type(outage))):
        await warm_file.opens()


async def test_a_version_that_never_opened_does_not_stop_the_others(warm_file):
    """A damaged row of the registry is not an outage: the namespace's other keys are refreshed for ever."""
    warm_file.deployment.provider.errors_by_version[("index", 1)] = IntegrityError()
    warm_file.deployment.keyring.evict(warm_file.namespace)
    for _ in range(20):
        await warm_file.later(SOFT)
        await warm_file.seals()
