from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import textwrap

import pytest

from strongroom.driver.config import load_config
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef, LocalProvider, Secret, StrongroomError, Suite
from strongroom.kms.keys import derivation

pytestmark = pytest.mark.integration

# A process in which everything goes wrong, and which prints all that it can: reprs, tracebacks with locals, logs at their loudest.
FAILING = textwrap.dedent(
    """
    import asyncio, copy, logging, pickle, sys, traceback
    from pathlib import Path
    from uuid import UUID

    logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
    from strongroom.driver import Strongroom, load_config
    from strongroom.kms import KekRef, PartType, RecordKind, rewrap_data_keys, rotate_data_key
    from strongroom.storage import EVERY_NAMESPACE

    KIND = RecordKind("record", "data", (PartType.INT64,))

    class KeptEvents:
        async def record(self, event):
            print(event)

    def shown(error):
        print("".join(traceback.format_exception(error)), repr(error), error.args, vars(error))
        frame = error.__traceback__
        while frame is not None:
            for name, value in frame.tb_frame.f_locals.items():
                try:
                    print(name, repr(value))
                except AttributeError:
                    pass  # an object that is being copied has no attributes yet
            frame = frame.tb_next

    async def main(path, namespace_id, leak):
        config = load_config(path)
        print(config)
        async with Strongroom.open(config, audit=KeptEvents()) as strongroom:
            keyring, store = strongroom.keyring, strongroom.keyring.store
            keys = await keyring.open(namespace_id)
            sealed = keys.seal(KIND, (1,), b"text")
            provider = keyring.provider("local")
            records = await store.list_data_keys(namespace_id)
            roots = await keyring.unwrap(records)
            made = await provider.generate_data_key(KekRef("local", "own"), context={})
            held = [strongroom, keyring, keys, provider, provider.inner, provider.inner.file, records, roots, made]
            held += [keys.active_data_key(), keys.identity("x"), keyring._cache, keyring._leases, keyring._loader]
            held.append(await provider.inner.file.current())
            for each in held:
                print(repr(each), str(each), f"{each}", [each], {"it": each})
                for spoil in (pickle.dumps, copy.deepcopy, vars):
                    try:
                        print(spoil(each))
                    except Exception as error:
                        shown(error)
            if leak:
                print(roots[0].reveal().hex() if leak == "hex" else list(roots[0].reveal()))
            lost = KekRef("local", "absent")
            failing = [
                lambda: asyncio.to_thread(keys.open, KIND, (2,), sealed),
                lambda: asyncio.to_thread(keys.open, KIND, (1,), sealed[:-1]),
                lambda: asyncio.to_thread(keys.open, KIND, (1,), b"nonsense"),
                lambda: asyncio.to_thread(keys.seal, KIND, ("wrong",), b"text"),
                lambda: keyring.open(UUID(int=7)),
                lambda: provider.wrap(lost, roots[0], context={}),
                lambda: provider.unwrap(made.wrapped, context={"other": ""}),
                lambda: provider.describe(lost),
                lambda: rewrap_data_keys(keyring, lost),
                lambda: rewrap_data_keys(keyring, KekRef("local", "own"), to=lost),
                lambda: rewrap_data_keys(keyring, KekRef("local", "own"), to=KekRef("elsewhere", "a")),
                lambda: rotate_data_key(keyring, UUID(int=7)),
            ]
            for call in failing:
                try:
                    await call()
                except Exception as error:
                    shown(error)
                else:
                    raise SystemExit("it was to fail")
            async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
                await connection.execute("UPDATE data_keys SET wrapped = substr(wrapped, 2) WHERE namespace_id = $1", namespace_id)
            keyring.evict(namespace_id)
            broken = await keyring.open(namespace_id)
            for use in (lambda: broken.seal(KIND, (1,), b""), lambda: broken.identity("x")):
                try:
                    use()
                except Exception as error:
                    shown(error)
            Path(sys.argv[4]).unlink()
            try:
                await provider.check()
            except Exception as error:
                shown(error)
            task = asyncio.create_task(keyring.open(UUID(int=9)))
            task.set_name("never looked at")
            raise RuntimeError("the end") from None

    asyncio.run(main(Path(sys.argv[1]), UUID(sys.argv[2]), sys.argv[3]), debug=True)
    """
)


def spellings(key):
    """Return the forms in which a third of a key could be in the output of a process."""
    for part in (key[:10], key[11:21], key[22:32]):
        yield part.hex()
        yield repr(part)[2:-1]
        yield ", ".join(map(str, part))
    for offset in range(3):
        yield base64.b64encode(key[offset:])[:16].decode()


@pytest.fixture
def namespace_and_keys(config_path):
    """A cell with a namespace: its id, and every key of it in all forms."""

    async def prepare():
        config = load_config(config_path)
        await Strongroom.init(config)
        async with Strongroom.open(config) as strongroom:
            kek = await strongroom.create_kek(KekRef("local", "own"))
            namespace = await strongroom.namespaces.create("a", kek=kek)
            records = await strongroom.keyring.store.list_data_keys(namespace.namespace_id)
            return namespace.namespace_id, await strongroom.keyring.unwrap(records)

    namespace_id, roots = asyncio.run(prepare())
    keyring_file = config_path.parent / "strongroom-keyring.json"
    kept = json.loads(keyring_file.read_text())["keks"]
    keys = [base64.b64decode(version["key"]) for kek in kept.values() for version in kek.values()]
    for root in roots:
        assert isinstance(root, Secret)
        keys += [root.reveal(), *(derivation.seal_key(root, suite).reveal() for suite in Suite)]
        keys += [derivation.identity_key(root, "x").reveal()]
    return namespace_id, keyring_file, [text for key in keys for text in spellings(key)]


def run(config_path, namespace_id, leak, keyring_file):
    """Run the failing process, and return its output."""
    arguments = [sys.executable, "-X", "dev", "-c", FAILING, config_path, str(namespace_id), leak, keyring_file]
    done = subprocess.run(arguments, cwd=config_path.parent, capture_output=True, text=True, timeout=120, check=False)
    assert "RuntimeError: the end" in done.stderr, done.stderr[-2000:]
    assert done.stdout.count("Traceback") > 20
    return done.stdout + done.stderr


@pytest.mark.parametrize("leak", ["", "hex", "numbers"])
def test_a_failing_run_prints_no_key(config_path, namespace_and_keys, leak):
    """No failure prints a key, however much of it is printed. The same search finds a key that is printed on purpose."""
    namespace_id, keyring_file, hidden = namespace_and_keys
    printed = run(config_path, namespace_id, leak, keyring_file)
    found = [text for text in hidden if text in printed]
    assert bool(found) == bool(leak), found[:3]


async def test_errors_of_a_provider_that_leaks_are_not_made_worse(tmp_path):
    """A KMS error shows only its own fields, and no root key is in its context or cause."""
    provider = LocalProvider("local", tmp_path / "k.json")
    await provider.create_keyring()
    kek = await provider.create_kek("a")
    made = await provider.generate_data_key(kek, context={})
    with pytest.raises(StrongroomError) as caught:
        await provider.unwrap(made.wrapped, context={"other": ""})
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
