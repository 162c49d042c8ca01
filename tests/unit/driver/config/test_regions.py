from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from strongroom.driver.config import ConfigError, StrongroomConfig, load_config, write_config
from strongroom.driver.providers import make_providers
from strongroom.kms import NO_KEY_EVENTS, KekRef
from strongroom.storage import Cell
from tests.support.configuration import parse_kms

HERE, ELSEWHERE = "eu-central-1", "us-east-1"
CELL = Cell(UUID(int=1), 4, region=HERE)
RING = "projects/acme/locations/{}/keyRings/r"
AWS_ARN = "arn:aws:kms:{}:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
MRK = "mrk-1234abcd12ab34cd56ef1234567890ab"
SECTIONS = {
    "local": {"type": "local", "keyring": "k.json"},
    "vault": {"type": "vault", "address": "https://vault.example.org:8200", "token_file": "t"},
    "azure-keyvault": {"type": "azure-keyvault", "vault_url": "https://a.vault.azure.net"},
    "aws-kms": {"type": "aws-kms"},
}


def section(kind, region, folder):
    """The section of a provider in a region."""
    if kind == "gcp-kms":
        return parse_kms("x", {"type": kind, "key_ring": RING.format(region)}, folder)
    return parse_kms("x", SECTIONS[kind] | {"region": region}, folder)


def configured(cell=CELL, kms_regions=(), **sections):
    return StrongroomConfig(cell=cell, dsn="postgresql://x", kms=sections, kms_regions=frozenset(kms_regions))


@pytest.mark.parametrize("kind", [*SECTIONS, "gcp-kms"])
def test_a_kms_of_another_region_is_refused(kind, tmp_path):
    """A provider in another region is refused before any KMS is asked. A cell without a region accepts it."""
    assert configured(x=section(kind, HERE, tmp_path))
    with pytest.raises(ConfigError, match=rf"\[kms\.x\] is in {ELSEWHERE}.*{HERE}"):
        configured(x=section(kind, ELSEWHERE, tmp_path))
    assert configured(cell=replace(CELL, region=None), x=section(kind, ELSEWHERE, tmp_path))


@pytest.mark.parametrize("kind", ["local", "vault", "azure-keyvault"])
def test_a_kms_that_does_not_say_where_it_is_is_refused(kind, tmp_path):
    """In a bound cell every provider needs a region, and the error says how to add it."""
    silent = parse_kms("x", SECTIONS[kind], tmp_path)
    with pytest.raises(ConfigError, match=r"\[kms\.x\].*add region"):
        configured(x=silent)
    assert configured(cell=replace(CELL, region=None), x=silent)


def test_one_region_has_several_names(tmp_path):
    """Clouds have different names for one region. Only the names that the configuration lists are accepted."""
    google = section("gcp-kms", "europe-west3", tmp_path)
    assert configured(kms_regions=("europe-west3",), x=google, y=section("aws-kms", HERE, tmp_path))
    for names in ((), ("europe-west4",)):
        with pytest.raises(ConfigError, match="europe-west3"):
            configured(kms_regions=names, x=google)


def test_keys_for_several_regions_are_not_made(tmp_path):
    """A cell of one region makes no keys that may have replicas in other regions."""
    with pytest.raises(ConfigError, match="multi_region"):
        configured(x=replace(section("aws-kms", HERE, tmp_path), multi_region=True))


@pytest.mark.parametrize(
    ("kind", "key_id", "found"),
    [
        ("aws-kms", "alias/a", {HERE}),
        ("aws-kms", "customer-a", {HERE}),
        ("aws-kms", AWS_ARN.format(HERE), {HERE}),
        ("aws-kms", AWS_ARN.format(ELSEWHERE), {ELSEWHERE}),
        ("aws-kms", MRK, {HERE, None}),
        ("aws-kms", f"arn:aws:kms:{ELSEWHERE}:111122223333:key/{MRK}", {ELSEWHERE, None}),
        ("gcp-kms", "customer-a", {HERE}),
        ("gcp-kms", RING.format(ELSEWHERE) + "/cryptoKeys/a", {ELSEWHERE}),
        ("vault", "customer-a", {HERE}),
        ("local", "customer-a", {HERE}),
        ("azure-keyvault", "customer-a", {HERE}),
        ("multi", f"aws-kms:{AWS_ARN.format(HERE)},local:a", {HERE}),
        ("multi", f"aws-kms:{AWS_ARN.format(ELSEWHERE)},local:a", {HERE, ELSEWHERE}),
        ("multi", f"aws-kms:{MRK},local:a", {HERE, None}),
    ],
)
async def test_where_a_kek_is(kind, key_id, found, tmp_path):
    """A KEK is in the region that its name holds, or else in its provider's. A multi-Region key may be in any other region too."""
    sections = {each: section(each, HERE, tmp_path) for each in (*SECTIONS, "gcp-kms")}
    sections["multi"] = parse_kms("multi", {"type": "multi", "providers": ["aws-kms", "local"]}, tmp_path)
    providers = make_providers(sections, key_events=NO_KEY_EVENTS)
    try:
        assert providers[kind].regions(KekRef(kind, key_id)) == found
    finally:
        for provider in providers.values():
            await provider.aclose()


def test_a_configuration_file_of_a_bound_cell(tmp_path):
    """What `init --region` writes is read back, and faults in it are named."""
    path = tmp_path / "strongroom.toml"
    write_config(path, dsn="postgresql://x", region=HERE)
    config = load_config(path)
    assert (config.cell.region, config.kms["local"].region, config.kek_regions) == (HERE, HERE, {HERE})
    whole = path.read_text()
    for old, new, said in (
        (f'region = "{HERE}"  # bound', 'region = "EU"  # bound', "lower-case"),
        (f'region = "{HERE}"  # bound', "region = 7  # bound", r"cell\.region"),
        (f'region = "{HERE}"  # bound', 'kms_regions = ["a"]  # bound', "cell: kms_regions is for"),
        (f'region = "{HERE}"  # bound', f'region = "{HERE}"\nkms_regions = "a"  # bound', r"cell\.kms_regions"),
        (f'region = "{HERE}"  # the region', f'region = "{ELSEWHERE}"  # the region', r"\[kms\.local\]"),
    ):
        assert old in whole
        path.write_text(whole.replace(old, new))
        with pytest.raises(ConfigError, match=said):
            load_config(path)
    path.unlink()
    write_config(path, dsn="postgresql://x")
    assert load_config(path).cell.region is None
