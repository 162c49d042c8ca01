"""A cell that is bound to a region, on real servers: AWS KMS (moto) in two regions, and OpenBao."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from strongroom.driver.config import AwsKms, ConfigError, LocalKms, MultiKms, load_config
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import (
    IntegrityError,
    KekRef,
    PartType,
    RecordKind,
    ResilientProvider,
    Wrapped,
    WrongRegion,
    rewrap_data_keys,
)
from tests.support.fixtures.command_line import run_command
from tests.support.fixtures.raw_rows import execute
from tests.support.kms.bao_server import bao_server
from tests.support.kms.fix_aws import running_server
from tests.support.registry import authenticate
from tests.support.services import or_skip

pytestmark = pytest.mark.integration

HERE, ELSEWHERE = "eu-central-1", "us-east-1"
KIND = RecordKind("record", "data", (PartType.INT64,))


async def serves(strongroom, namespace_id):
    """Seal and open a row."""
    strongroom.keyring.evict(namespace_id)
    keys = await strongroom.keyring.open(namespace_id)
    return keys.open(KIND, (1,), keys.seal(KIND, (1,), b"text")) == b"text"


# --- AWS


@pytest.fixture
def regions():
    """Return a server that records its requests for each of two regions."""
    with running_server() as here, running_server() as elsewhere:
        yield {HERE: here, ELSEWHERE: elsewhere}


@pytest.fixture
def credentials(monkeypatch):
    """Set the credentials that the SDK's default chain finds."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the test")


@pytest.fixture
def foreign_arn(regions, credentials):  # noqa: ARG001 - the SDK finds them
    """Return the ARN of a usable key in the other region."""
    import boto3  # noqa: PLC0415 - it may be missing

    client = boto3.client("kms", region_name=ELSEWHERE, endpoint_url=regions[ELSEWHERE].address)
    arn = client.create_key()["KeyMetadata"]["Arn"]
    client.close()
    assert ELSEWHERE in arn
    return arn


@pytest.fixture
def on_aws(config_path, regions, credentials):  # noqa: ARG001 - the SDK finds them
    """Return the configuration of a bound cell with AWS KMS, a keyring file in the region, and a multi-KEK of both."""
    config = load_config(config_path)
    local = LocalKms(config.kms["local"].keyring, region=HERE)
    kms = {
        "aws": AwsKms(HERE, endpoint=regions[HERE].address, insecure=True),
        "local": local,
        "multi": MultiKms(("aws", "local"), policy="any"),
    }
    return replace(config, cell=replace(config.cell, region=HERE), kms=kms)


def asked(server):
    """Return the number of requests that a server received."""
    return len(server.requests)


async def test_a_bound_cell_on_aws_asks_no_other_region(on_aws, regions, foreign_arn):
    """A bound cell works with AWS KMS and with a multi-KEK, and never calls a key of another region.

    The control uses the same key from a cell without a region, and that server counts the request.
    """
    before = asked(regions[ELSEWHERE])
    await Strongroom.init(on_aws)
    foreign = KekRef("aws", foreign_arn)
    async with Strongroom.open(on_aws) as cell:
        kek = await cell.create_kek(KekRef("aws", "tenant"))
        own = (await cell.namespaces.create("own", kek=kek)).namespace_id
        several = await cell.create_kek(KekRef("multi", "several"))
        both = (await cell.namespaces.create("both", kek=several)).namespace_id
        assert await serves(cell, own)
        assert await serves(cell, both)
        await rewrap_data_keys(cell.keyring, kek, to=several, namespace_id=own)
        await rewrap_data_keys(cell.keyring, several, to=kek, namespace_id=own)
        assert await serves(cell, own)
        calls = [request for request in regions[HERE].requests if request.operation == "GenerateDataKey"]
        assert calls
        assert all(request.body["EncryptionContext"]["strongroom:region"] == HERE for request in calls)

        # A provider of the other region that was not created from the configuration, as a service's own provider may be.
        slipped = AwsKms(ELSEWHERE, endpoint=regions[ELSEWHERE].address, insecure=True)
        with pytest.raises(ConfigError, match=ELSEWHERE):
            replace(on_aws, kms={**on_aws.kms, "slipped": slipped})
        cell.keyring.providers["slipped"] = provider = aws_provider("slipped", ELSEWHERE, regions[ELSEWHERE].address)
        mixed = KekRef("multi", f"aws:{foreign_arn},local:tenant")
        for target in (foreign, mixed, KekRef("slipped", foreign_arn), KekRef("slipped", foreign_arn.split("/")[1])):
            with pytest.raises(WrongRegion):
                await cell.namespaces.create("foreign", kek=target)
            with pytest.raises(WrongRegion):
                await rewrap_data_keys(cell.keyring, kek, to=target, namespace_id=own)
            with pytest.raises(WrongRegion):
                await cell.create_kek(target)
            await execute(
                cell,
                "UPDATE data_keys SET provider = $2, kek_id = $3 WHERE namespace_id = $1",
                both,
                target.provider,
                target.key_id,
            )
            await authenticate(cell)
            with pytest.raises(WrongRegion):
                await serves(cell, both)
            with pytest.raises(WrongRegion):
                await cell.namespaces.get("both")
        assert await serves(cell, own)
        assert not any(foreign_arn in str(request.body) for request in regions[HERE].requests)
        assert asked(regions[ELSEWHERE]) == before

        # The control: without a bound region the request is sent, and the server counts it.
        made = await provider.generate_data_key(KekRef("slipped", foreign_arn), context={})
        assert (await provider.unwrap(made.wrapped, context={})).reveal() == made.root.reveal()
        assert asked(regions[ELSEWHERE]) > before
        await provider.aclose()
        del cell.keyring.providers["slipped"]


async def test_a_cell_of_no_region_uses_keys_anywhere(on_aws, regions, foreign_arn):
    """A cell without a region uses keys of the other region, so that only the region explains the refusals above."""
    kms = {"local": on_aws.kms["local"], "aws": AwsKms(ELSEWHERE, endpoint=regions[ELSEWHERE].address, insecure=True)}
    config = replace(on_aws, cell=replace(on_aws.cell, region=None), kms=kms)
    await Strongroom.init(config)
    before = asked(regions[ELSEWHERE])
    async with Strongroom.open(config) as cell:
        created = await cell.namespaces.create("foreign", kek=KekRef("aws", foreign_arn))
        assert await serves(cell, created.namespace_id)
    assert asked(regions[ELSEWHERE]) > before
    assert not any("strongroom:region" in str(request.body) for request in regions[ELSEWHERE].requests)


async def test_an_alias_for_a_key_of_several_regions_is_refused(on_aws, regions):
    """An alias of a multi-Region key is refused, and nothing is stored."""
    import boto3  # noqa: PLC0415 - it may be missing

    client = boto3.client("kms", region_name=HERE, endpoint_url=regions[HERE].address)
    for name, multi_region in (("alias/everywhere", True), ("alias/here", False)):
        arn = client.create_key(MultiRegion=multi_region)["KeyMetadata"]["Arn"]
        client.create_alias(AliasName=name, TargetKeyId=arn)
    client.close()
    await Strongroom.init(on_aws)
    async with Strongroom.open(on_aws) as cell:
        with pytest.raises(WrongRegion, match="an unknown region"):
            await cell.namespaces.create("everywhere", kek=KekRef("aws", "alias/everywhere"))
        assert await cell.namespaces.list_namespaces() == []
        created = await cell.namespaces.create("here", kek=KekRef("aws", "alias/here"))
        assert await serves(cell, created.namespace_id)


def aws_provider(provider_id, region, address):
    from strongroom.kms.providers.aws import AwsKmsProvider  # noqa: PLC0415 - it may be missing

    return ResilientProvider(provider_id, AwsKmsProvider(provider_id, region=region, endpoint=address, insecure=True))


# --- OpenBao


@pytest.fixture(scope="module")
def region_bao():
    """Return a real OpenBao."""
    with or_skip(bao_server()) as server:
        yield server


@pytest.fixture
def bound_on_bao(config_path, region_bao):
    """Return the configuration of a bound cell whose first provider is that server."""
    (config_path.parent / "token").write_text(region_bao.token("strongroom-use", "strongroom-manage") + "\n")
    (config_path.parent / "token").chmod(0o600)
    section = (
        f'[kms.vault]\ntype = "vault"\naddress = "{region_bao.address}"\ntoken_file = "token"\nca_certs = "{region_bao.authority}"\n'
        f'region = "{HERE}"\n\n[kms.local]\nregion = "{HERE}"'
    )
    text = config_path.read_text().replace("[cell]", f'[cell]\nregion = "{HERE}"')
    config_path.write_text(text.replace("[kms.local]", section))
    return config_path


async def test_a_bound_cell_on_openbao(bound_on_bao):
    """OpenBao binds the region: it refuses the wrapped key in a cell of another region with the same id."""
    config = load_config(bound_on_bao)
    await Strongroom.init(config)
    async with Strongroom.open(config) as cell:
        created = await cell.namespaces.create("a", kek=await cell.create_kek(KekRef("vault", "region-tenant")))
        assert await serves(cell, created.namespace_id)
        for record in await cell.keyring.store.list_data_keys(created.namespace_id):
            provider = cell.keyring.provider("vault")
            (own,) = await cell.keyring.unwrap([record])
            assert own.reveal()
            moved = replace(cell.keyring.context(record), region=ELSEWHERE).encryption_context()
            wrapped = Wrapped(KekRef(record.provider, record.kek_id), record.kek_version, record.wrapped)
            with pytest.raises(IntegrityError):
                await provider.unwrap(wrapped, context=moved)


async def test_an_openbao_elsewhere_is_not_asked(bound_on_bao, region_bao):
    """A server without a region, or with another one, is refused before a connection. With the right region it works."""
    whole = bound_on_bao.read_text()
    assert (await asyncio.to_thread(run_command, bound_on_bao.parent, "init")).returncode == 0
    vault = f'ca_certs = "{region_bao.authority}"\nregion = "{HERE}"'
    assert vault in whole
    for spoilt in (vault.replace(HERE, ELSEWHERE), vault.replace("region", "# region")):
        text = whole.replace(vault, spoilt).replace(region_bao.address, "https://127.0.0.1:1")
        bound_on_bao.write_text(text)
        done = await asyncio.to_thread(run_command, bound_on_bao.parent, "namespace", "list")
        assert done.returncode == 2
        assert "kms.vault" in done.stderr
        assert "127.0.0.1:1" not in done.stderr
    bound_on_bao.write_text(whole)
    done = await asyncio.to_thread(run_command, bound_on_bao.parent, "namespace", "create", "b")
    assert done.returncode == 0, done
