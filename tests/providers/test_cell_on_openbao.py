from __future__ import annotations

import asyncio
import re
import time
from dataclasses import replace

import pytest

from strongroom.driver.config import load_config
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import CachePolicy, KekRef, KeyDisabled, KmsUnavailable, PartType, RecordKind, StrongroomError
from tests.support.dumps import dumped, restored
from tests.support.fixtures.command_line import command, run_command, run_in_thread
from tests.support.kms.bao_server import bao_server
from tests.support.services import or_skip

pytestmark = pytest.mark.integration

KIND = RecordKind("record", "data", (PartType.INT64,))
SOON = CachePolicy(soft_ttl=0.5, encrypt_ttl=2, decrypt_ttl=4, failure_ttl=0.2, retry_pause=0.1)
LATE = replace(SOON, encrypt_ttl=200, decrypt_ttl=400)


@pytest.fixture(scope="module")
def bao():
    """Return the module's own OpenBao, which tests may seal and unseal."""
    with or_skip(bao_server()) as server:
        yield server


@pytest.fixture
def on_bao(config_path, bao):
    """Return a configuration whose first provider is that server."""
    token = config_path.parent / "token"
    token.write_text(bao.token("strongroom-use", "strongroom-manage") + "\n")
    token.chmod(0o600)
    text = config_path.read_text()
    section = f'[kms.vault]\ntype = "vault"\naddress = "{bao.address}"\ntoken_file = "token"\nca_certs = "{bao.authority}"\n\n'
    config_path.write_text(text.replace("[kms.local]", section + "[kms.local]"))
    return config_path


async def serves(strongroom, namespace_id):
    """Seal and open a row. Return the error if one of them fails."""
    try:
        keys = await strongroom.keyring.open(namespace_id)
        assert keys.open(KIND, (1,), keys.seal(KIND, (1,), b"text")) == b"text"
    except StrongroomError as error:
        return type(error)
    return None


async def until(strongroom, namespace_id, outcome, seconds=120.0):
    """Use a namespace until the result is as expected. The time is only reached by a failing test."""
    began = time.monotonic()
    while await serves(strongroom, namespace_id) is not outcome:
        assert time.monotonic() < began + seconds
        await asyncio.sleep(0.05)


def test_walk_on_the_command_line(on_bao, bao):
    """A cell with all keys wrapped by OpenBao is created, listed, rotated, rewrapped and retired by commands alone."""
    folder = on_bao.parent
    kek = f"vault:cell-{load_config(on_bao).cell.cell_id.hex[:8]}"
    for arguments, said in (
        (("init",), "is ready"),
        (("namespace", "create", "a"), "wrapped by vault:ns-"),
        (("doctor", "--use-keys"), "wrapped and unwrapped"),
        (("keys", "rotate-kek", kek), "version 2"),
        (("keys", "rewrap"), "3 of 3 keys"),
        (("keys", "retire", kek, "--version", "1", "--confirm", kek), "unwraps nothing"),
        (("keys", "rotate", "a"), "version 2"),
        (("namespace", "list"), "ready"),
    ):
        done = run_command(folder, *arguments)
        assert done.returncode == 0, done
        assert said in done.stdout, done
    bao.seal()
    done = run_command(folder, "namespace", "list")
    bao.unseal()
    assert done.returncode == 2
    assert "sealed" in done.stderr
    (folder / "token").write_text("s.madeUp")
    done = run_command(folder, "doctor")
    assert done.returncode == 1
    assert "KMS vault" in done.stdout
    assert "s.madeUp" not in done.stdout + done.stderr


def test_a_backup_from_before_a_shredding_fits(on_bao, databases, tmp_path):
    """OpenBao forgets a deleted KEK. With the erasure certificate the backup fits, and the namespace is named as lost."""
    folder, target = on_bao.parent, run_in_thread(databases.create())
    for arguments in (("init",), ("namespace", "create", "gone"), ("namespace", "create", "kept")):
        command(folder, *arguments)
    dumped(load_config(on_bao).dsn, tmp_path / "dump")
    restored(tmp_path / "dump", target)
    asked = command(folder, "namespace", "shred", "gone", "--confirm", "gone", "--grace", "0s")
    code = re.search(r"--final (\w+)", asked)[1]
    command(folder, "namespace", "shred", "gone", "--final", code, "--certificate", tmp_path / "gone.json")
    refused = command(folder, "backup", "check", "--dsn", target, code=1)
    assert "--certificate FILE" in " ".join(refused.split())
    certified = command(folder, "backup", "check", "--dsn", target, "--certificate", tmp_path / "gone.json")
    assert "those of 1 of 2 namespaces open" in certified
    assert "can't be restored" in certified
    run_in_thread(databases.drop(target))


async def test_outage_and_recovery(on_bao, bao):
    """While OpenBao is sealed, a warm namespace works until its hard TTLs and a cold one fails at once. Both recover."""
    config = replace(load_config(on_bao), cache=LATE)
    await Strongroom.init(config)
    async with Strongroom.open(config) as before:
        warm, cold = [
            (await before.namespaces.create(name, kek=await before.create_kek(KekRef("vault", name)))).namespace_id
            for name in ("warm", "cold")
        ]
    async with Strongroom.open(config) as strongroom:  # the notifications of the creations evict no key of this process
        assert await serves(strongroom, warm) is None
        bao.seal()
        try:
            assert await serves(strongroom, warm) is None
            assert await serves(strongroom, cold) is KmsUnavailable
            for cached in strongroom.keyring._cache.values():
                age = cached.age
                age.unwrapped_at -= LATE.encrypt_ttl
                age.fresh_until = age.due_at = age.retry_at = 0.0  # as if the hard TTL had passed
            assert await serves(strongroom, warm) is KmsUnavailable
        finally:
            bao.unseal()
        for namespace_id in (warm, cold):
            await until(strongroom, namespace_id, None)  # the circuit breaker lets one caller probe after ten seconds


async def test_customer_revokes_and_gives_back(on_bao, bao):
    """If a customer disables the KEK, the namespace is refused within the bound. It works again when the KEK is enabled."""
    config = replace(load_config(on_bao), cache=SOON)
    await Strongroom.init(config)
    async with Strongroom.open(config) as strongroom:
        kek = await strongroom.create_kek(KekRef("vault", "customer"))
        own = (await strongroom.namespaces.create("own", kek=kek)).namespace_id
        assert await serves(strongroom, own) is None
        bao.request("DELETE", "transit/keys/customer/soft-delete")
        await until(strongroom, own, KeyDisabled)
        bao.request("POST", "transit/keys/customer/soft-delete-restore")
        await until(strongroom, own, None)


async def test_a_thousand_cold_readers_make_one_request(on_bao):
    """A thousand concurrent callers of a cold namespace cause one decrypt request to OpenBao."""
    config = load_config(on_bao)
    await Strongroom.init(config)
    async with Strongroom.open(config) as strongroom:
        kek = await strongroom.create_kek(KekRef("vault", "busy"))
        namespace_id = (await strongroom.namespaces.create("busy", kek=kek)).namespace_id
        strongroom.keyring.evict(namespace_id)
        inner, asked = strongroom.keyring.provider("vault").inner, []
        request = inner._client.request

        async def counted(method, path, *arguments, **options):
            asked.append(path)
            return await request(method, path, *arguments, **options)

        inner._client.request = counted
        await asyncio.gather(*(strongroom.keyring.open(namespace_id) for _ in range(1000)))
        assert asked == ["transit/decrypt/busy"]
