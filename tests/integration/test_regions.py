from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID

import asyncpg
import orjson
import pytest

from strongroom.driver.config import load_config, write_config
from strongroom.driver.importing.importer import import_executions, imported_branch
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import IntegrityError, InvalidRequest, KekRef, RegistryAltered, WrongRegion
from strongroom.kms.keys import derivation
from strongroom.kms.sealing.record_kinds import NAMESPACE_DETAILS
from strongroom.storage import CellMismatch, DataBlob, StorageError
from strongroom.storage.keys.store import heads_of
from strongroom.visibility import attribute_types
from tests.support.earlier_rows import put_back, saved
from tests.support.fixtures.command_line import run_command
from tests.support.fixtures.raw_rows import execute
from tests.support.registry import authenticate

pytestmark = pytest.mark.integration

HERE, ELSEWHERE = "eu-central-1", "us-east-1"
COPIED = (
    "data_keys",
    "registry_heads",
    "registry_summary",
    "namespaces",
    "history_node",
    "history_tree",
    "visibility_records",
)


@pytest.fixture
def bound_path(dsn, tmp_path):
    """The configuration of a cell that is bound to a region."""
    path = tmp_path / "strongroom.toml"
    write_config(path, dsn=dsn, region=HERE)
    return path


@pytest.fixture
async def bound_cell(bound_path):
    """An open cell that is bound to a region."""
    config = load_config(bound_path)
    await Strongroom.init(config)
    async with Strongroom.open(config) as strongroom:
        yield strongroom


def in_region(config, region):
    """The same configuration, keyring and cell id, in another region or none."""
    local = replace(config.kms["local"], region=region)
    return replace(config, cell=replace(config.cell, region=region), kms={"local": local})


async def create(strongroom, name, **options):
    kek = await strongroom.create_kek(KekRef.parse("local:tenant"))
    return await strongroom.namespaces.create(name, kek=kek, **options)


@asynccontextmanager
async def copied_to(source, region, databases, *, rewrapped=False):
    """Open a cell of the same id and keyring in a region, in a database of its own, with the source's rows copied there by SQL.

    Args:
        source: an open cell.
        region: of the other one.
        databases: creates its database.
        rewrapped: someone who may use the KEK has also wrapped each root again for its new place, with a commitment to match.
    """
    dsn = await databases.create()
    config = replace(
        in_region(source.config, region), dsn=dsn, cell_commitment=None
    )  # rows must not open by themselves
    try:
        await Strongroom.init(config)
        async with Strongroom.open(config) as target:
            settings = {"search_path": "strongroom"}
            old = await asyncpg.connect(source.config.dsn, server_settings=settings)
            new = await asyncpg.connect(dsn, server_settings=settings)
            rows_by_table = await saved(old, COPIED)
            assert all(rows_by_table.values())
            await put_back(new, rows_by_table)
            heads = heads_of(target.keyring)  # as of a process that starts now
            target.keyring.registry.begin(None)
            heads.newest = None
            heads._seen.clear()
            if rewrapped:
                for row in await new.fetch("SELECT DISTINCT namespace_id FROM data_keys"):
                    for record in await source.keyring.store.list_data_keys(UUID(bytes=row["namespace_id"].bytes)):
                        await rewrap_for(source, target, record, new)
                await authenticate(target)
            target.keyring.evict(target.keyring.cell_id)
            await old.close()
            await new.close()
            yield target
    finally:
        await databases.drop(dsn)


async def rewrap_for(source, target, record, connection):
    """Wrap a root key for another cell's context, and make its commitment."""
    (root,) = await source.keyring.unwrap([record])
    context = target.keyring.context(record)
    wrapped = await target.keyring.provider(record.provider).wrap(
        KekRef(record.provider, record.kek_id), root, context=context.encryption_context()
    )
    await connection.execute(
        "UPDATE data_keys SET wrapped = $4, commitment = $5 WHERE namespace_id = $1 AND class = $2 AND version = $3",
        record.namespace_id,
        record.key_class.value,
        record.version,
        wrapped.ciphertext,
        derivation.commitment(root, context, record.suite),
    )


def reads(strongroom, namespace, execution, shard_id):
    """Return the ways in which a row of each table is opened, each to be awaited once."""
    branch = imported_branch(execution.record.run_id, shard_id)
    ids, types = namespace.namespace_id, attribute_types(namespace)
    return {
        "history_node": lambda: strongroom.history.read_history_branch(ids, branch, page_size=10),
        "history_tree": lambda: strongroom.history.get_history_tree(
            ids, shard_id=shard_id, tree_id=UUID(execution.record.run_id)
        ),
        "visibility_records": lambda: strongroom.visibility.list_workflow_executions(
            ids, f'WorkflowId = "{execution.record.workflow_id}"', types, page_size=10
        ),
        "namespaces": lambda: strongroom.namespaces.get("tenant"),
    }


@pytest.fixture
async def filled_namespace(bound_cell, sample):
    """A namespace with a few real executions, one of them, and its shard."""
    namespace = await create(bound_cell, "tenant")
    await import_executions(bound_cell, namespace, sample[:5])
    namespace = await bound_cell.namespaces.get("tenant")
    return namespace, sample[0], await bound_cell.shards.shard_of(namespace.namespace_id, sample[0].record.workflow_id)


# --- rows that are carried elsewhere


async def test_copied_rows_open_in_the_same_region(bound_cell, filled_namespace, databases):
    """Rows that are copied into another database of the region open. It is the control."""
    for rewrapped in (False, True):
        async with copied_to(bound_cell, HERE, databases, rewrapped=rewrapped) as twin:
            for read in reads(twin, *filled_namespace).values():
                assert await read()
            assert [each.region for each in await twin.namespaces.list_namespaces()] == [HERE]


@pytest.mark.parametrize("region", [ELSEWHERE, None])
async def test_copied_rows_open_in_no_other_region(bound_cell, filled_namespace, databases, region):
    """Rows that are copied into a cell of another region, with the same id and KEK, do not open. Its keys do not unwrap."""
    async with copied_to(bound_cell, region, databases) as stranger:
        for read in reads(stranger, *filled_namespace).values():
            with pytest.raises(RegistryAltered):
                await read()
        (listed,) = await stranger.namespaces.list_namespaces()
        assert listed.name is None
        assert listed.unreadable


@pytest.mark.parametrize("region", [ELSEWHERE, None])
async def test_copied_rows_do_not_open_with_the_very_roots(bound_cell, filled_namespace, databases, region):
    """Rows do not open even if the root keys are wrapped again for the other cell, because associated data holds the region."""
    async with copied_to(bound_cell, region, databases, rewrapped=True) as stranger:
        keys = await stranger.keyring.open(filled_namespace[0].namespace_id)
        assert keys.open(NAMESPACE_DETAILS, (1,), keys.seal(NAMESPACE_DETAILS, (1,), b"own")) == b"own"  # roots serve
        for read in reads(stranger, *filled_namespace).values():
            with pytest.raises(IntegrityError):
                await read()


# --- a driver for another region


@pytest.mark.parametrize("region", [ELSEWHERE, None])
async def test_a_driver_of_another_region_refuses(bound_cell, region):
    """A configuration of another region, or of none, does not open the database, and the error says what to set."""
    with pytest.raises(CellMismatch, match=rf'of region {HERE}.*cell\.region = "{HERE}"'):
        async with Strongroom.open(in_region(bound_cell.config, region)):
            pass
    with pytest.raises(CellMismatch):
        await Strongroom.init(in_region(bound_cell.config, region))
    async with Strongroom.open(bound_cell.config):
        pass


async def test_a_cell_is_not_given_a_region_later(strongroom):
    """The database of a cell without a region is not opened by a configuration that names one."""
    with pytest.raises(CellMismatch, match=r"remove cell\.region"):
        async with Strongroom.open(in_region(strongroom.config, HERE)):
            pass


async def test_the_database_takes_no_malformed_region(bound_cell):
    """The column accepts only names of regions."""
    with pytest.raises(StorageError, match="23514"):
        await execute(bound_cell, "UPDATE cell SET region = 'EU central'")


# --- namespaces


async def test_a_namespace_is_bound_to_the_region_of_its_cell(bound_cell):
    """A namespace is created in the cell's region, whether the region is given or not."""
    for name, said in (("unsaid", None), ("said", HERE)):
        created = await create(bound_cell, name, region=said)
        assert (created.region, (await bound_cell.namespaces.get(name)).region) == (HERE, HERE)
    await bound_cell.namespaces.add_search_attributes(created.namespace_id, {"A": "Keyword"})
    assert (await bound_cell.namespaces.get("said")).region == HERE


async def test_a_namespace_of_another_region_is_refused(bound_cell, strongroom_unbound):
    """A namespace of another region is refused. The error says which cell to use, and nothing is created."""
    with pytest.raises(WrongRegion, match=f"the cell of {ELSEWHERE}"):
        await create(bound_cell, "tenant", region=ELSEWHERE)
    assert await bound_cell.namespaces.list_namespaces() == []
    with pytest.raises(WrongRegion, match=f"--region {HERE}"):
        await create(strongroom_unbound, "tenant", region=HERE)
    with pytest.raises(InvalidRequest):
        await create(bound_cell, "tenant", region="no region")
    assert (await create(strongroom_unbound, "tenant")).region is None


@pytest.fixture
async def strongroom_unbound(databases, tmp_path):
    """An open cell without a region."""
    dsn, path = await databases.create(), tmp_path / "unbound" / "strongroom.toml"
    path.parent.mkdir()
    write_config(path, dsn=dsn)
    await Strongroom.init(load_config(path))
    async with Strongroom.open(load_config(path)) as strongroom:
        yield strongroom
    await databases.drop(dsn)


@pytest.mark.parametrize("region", [ELSEWHERE, None])
async def test_a_namespaces_own_word_is_checked(bound_cell, region):
    """Details with another region are refused by both stores, even with the right keys, and are listed with the reason."""
    created = await create(bound_cell, "tenant")
    keys = await bound_cell.keyring.open(created.namespace_id)
    version = await bound_cell.metadata.get_metadata()
    said = {"name": "tenant", "search_attributes": {}, "aliases": {}} | ({"region": region} if region else {})

    async def put(details):
        sealed = keys.seal(NAMESPACE_DETAILS, (1,), orjson.dumps(details))
        await execute(bound_cell, "UPDATE namespaces SET details = $1", sealed)

    await put(said)
    for read in (
        lambda: bound_cell.namespaces.get("tenant"),
        lambda: bound_cell.metadata.get_namespace(name="tenant"),
        lambda: bound_cell.metadata.rename_namespace(
            created.namespace_id, "b", data=DataBlob(b""), is_global=False, notification_version=version
        ),
    ):
        with pytest.raises(WrongRegion, match=f"this cell to {HERE}"):
            await read()
    (listed,) = await bound_cell.namespaces.list_namespaces()
    assert "bound to" in listed.unreadable
    await put(said | {"region": HERE})  # the control
    assert (await bound_cell.namespaces.get("tenant")).region == HERE
    assert (await bound_cell.metadata.get_namespace(name="tenant")).name == "tenant"


async def test_namespaces_of_both_stores_hold_the_region(bound_cell):
    """A namespace that the service's metadata store creates or renames is bound to the region too."""
    kek = await bound_cell.create_kek(KekRef.parse("local:tenant"))
    await bound_cell.metadata.create_namespace(UUID(int=5), "service", data=DataBlob(b"x"), kek=kek)
    version = await bound_cell.metadata.get_metadata()
    await bound_cell.metadata.rename_namespace(
        UUID(int=5), "renamed", data=DataBlob(b"y"), is_global=False, notification_version=version
    )
    assert (await bound_cell.namespaces.get("renamed")).region == HERE


# --- the command line


def test_walk_on_the_command_line(dsn, tmp_path):
    """A bound cell is made, used and checked by commands, which show the region and refuse another one."""
    for arguments, code, said in (
        (("init", "--dsn", dsn, "--region", "EU"), 2, "lower-case"),
        (("init", "--dsn", dsn, "--region", HERE), 0, f"of region {HERE} is ready"),
        (("init", "--region", ELSEWHERE), 2, "never changes"),
        (("init",), 0, f"of region {HERE} is ready"),
        (("namespace", "create", "a", "--region", ELSEWHERE), 2, f"the cell of {ELSEWHERE}"),
        (("namespace", "create", "a", "--region", HERE), 0, "created"),
        (("namespace", "list"), 0, HERE),
        (("doctor",), 0, f"in {HERE}"),
        (("keys", "rotate-kek", "local:cell"), 0, "version 2"),
        (("keys", "rewrap"), 0, "of 3 keys"),
    ):
        done = run_command(tmp_path, *arguments)
        assert done.returncode == code, done
        assert said in re.sub(r"\s+", " ", done.stdout + done.stderr), done
    path = tmp_path / "strongroom.toml"
    bound = path.read_text()
    for spoilt, said in (
        (bound.replace(f'region = "{HERE}"  # the region', "# the region"), "kms.local"),
        (bound.replace(f'region = "{HERE}"  # the region', f'region = "{ELSEWHERE}"  # the region'), "kms_regions"),
        (bound.replace(HERE, ELSEWHERE), f"of region {HERE}"),
    ):
        assert spoilt != bound
        path.write_text(spoilt)
        done = run_command(tmp_path, "namespace", "list")
        assert done.returncode == 2
        assert said in re.sub(r"\s+", " ", done.stderr)
        assert run_command(tmp_path, "doctor").returncode == 1
    path.write_text(bound)
    assert run_command(tmp_path, "namespace", "list").returncode == 0
