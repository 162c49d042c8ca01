from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from importlib.resources import files as resources
from typing import get_args

import pytest

from strongroom.driver.config import ConfigError, KmsConfig, MultiKms, load_config, write_config
from strongroom.driver.providers import make_providers
from strongroom.kms import NO_KEY_EVENTS, CachePolicy
from tests.support.configuration import MINIMAL as WHOLE
from tests.support.configuration import parse_kms
from tests.support.configuration import parsed as parse_document

PAGES = [
    page
    for provider in (resources("strongroom.kms") / "providers").iterdir()
    if provider.is_dir()
    for page in provider.iterdir()
    if page.name.endswith(".md")
]
MINIMAL = {
    "local": {"keyring": "k.json"},
    "vault": {"address": "https://vault.example.org:8200", "token_file": "t"},
    "aws-kms": {"region": "eu-west-1"},
    "gcp-kms": {"key_ring": "projects/acme/locations/eu/keyRings/r"},
    "azure-keyvault": {"vault_url": "https://a.vault.azure.net"},
    "pkcs11": {"module": "m.so", "token": "t", "pin_file": "pin"},
    "multi": {"providers": ["a", "b"]},
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_section_on_each_page_is_true(page, tmp_path, monkeypatch):
    """The section on each provider's page is accepted as it is written, and with its commented settings too."""
    monkeypatch.setenv("STRONGROOM_PASSPHRASE", "of the test")
    (block,) = re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL)
    for text in (block, re.sub(r"^# ", "", block, flags=re.MULTILINE)):
        for provider_id, section in tomllib.loads(text)["kms"].items():
            assert parse_kms(provider_id, section, tmp_path)


def test_each_type_has_a_page():
    """Each type of provider has a page, and these tests cover each type."""
    assert {field.default for each in get_args(KmsConfig) for field in fields(each) if field.name == "type"} == set(
        MINIMAL
    )
    told = "".join(page.read_text() for page in PAGES)
    assert all(f'type = "{kind}"' in told for kind in MINIMAL)


@pytest.mark.parametrize("kind", MINIMAL)
def test_wrong_settings_are_refused_by_name(kind, tmp_path):
    """A setting that is missing, of another type, or misspelt is refused by name."""
    whole = {"type": kind} | MINIMAL[kind]
    assert parse_kms("x", whole, tmp_path)
    with pytest.raises(ConfigError, match=r"kms\.x\.misspelt is no setting"):
        parse_kms("x", whole | {"misspelt": "a"}, tmp_path)
    for name in MINIMAL[kind]:
        with pytest.raises(ConfigError, match=name.removesuffix("_file")):
            parse_kms("x", {key: value for key, value in whole.items() if key != name}, tmp_path)
        with pytest.raises(ConfigError, match=name):
            parse_kms("x", whole | {name: 7}, tmp_path)


def test_an_unknown_type_names_the_known_ones(tmp_path):
    """An unknown type is refused with the list of known types."""
    with pytest.raises(ConfigError, match="aws-kms, azure-keyvault, gcp-kms, local, multi, pkcs11, vault"):
        parse_kms("x", {"type": "kmip"}, tmp_path)


def test_a_secret_stands_in_no_file_and_no_repr(tmp_path, monkeypatch):
    """A token comes from the environment variable that the file names. A variable that is not set is refused."""
    section = {"type": "vault", "address": "https://v.example.org", "token_env": "BAO_TOKEN_OF_TEST"}
    with pytest.raises(ConfigError, match=r"kms\.x\.token_env names an environment variable that is not set"):
        parse_kms("x", section, tmp_path)
    monkeypatch.setenv("BAO_TOKEN_OF_TEST", "s.secret")
    found = parse_kms("x", section, tmp_path)
    assert found.token == "s.secret"  # noqa: S105 - of a test
    assert "s.secret" not in repr(found)


def test_providers_of_several_are_made_of_the_others(tmp_path):
    """A provider of several is made of sections of the same file, in any order. A missing one is named."""
    sections = {
        "both": {"type": "multi", "providers": ["a", "b"]},
        "a": {"type": "local", "keyring": "a.json"},
        "b": {"type": "local", "keyring": "b.json"},
    }
    parsed = {name: parse_kms(name, section, tmp_path) for name, section in sections.items()}
    made = make_providers(parsed, key_events=NO_KEY_EVENTS)
    assert list(made) == ["both", "a", "b"]
    assert "MultiProvider" in repr(made["both"])
    for wrong in (["a", "absent"], ["a", "both"]):
        with pytest.raises(ConfigError, match=wrong[1]):
            make_providers({**parsed, "both": MultiKms(tuple(wrong))}, key_events=NO_KEY_EVENTS)
        document = {"both": sections["both"] | {"providers": wrong}, "a": sections["a"]}
        with pytest.raises(ConfigError, match=rf"kms\.both\.providers names {wrong[1]}; known here: a"):
            parse_document({**WHOLE, "kms": document}, tmp_path)


@pytest.mark.parametrize("kind", ["vault", "aws-kms", "gcp-kms", "azure-keyvault"])
def test_each_client_is_made_of_its_section(kind, tmp_path):
    """Each section makes a provider, and connects to no server."""
    made = make_providers({"x": parse_kms("x", {"type": kind} | MINIMAL[kind], tmp_path)}, key_events=NO_KEY_EVENTS)
    assert made["x"].capabilities.batch > 0


@pytest.mark.parametrize(("kind", "setting"), [("vault", "address"), ("aws-kms", "endpoint"), ("gcp-kms", "endpoint")])
def test_http_is_said_and_for_this_machine(kind, setting, tmp_path):
    """A provider is reached over http only with `insecure = true`, and only on a loopback address."""

    def made(**given):
        section = {"type": kind} | MINIMAL[kind] | given
        return make_providers({"x": parse_kms("x", section, tmp_path)}, key_events=NO_KEY_EVENTS)

    assert made(**{setting: "http://127.0.0.1:1", "insecure": True})
    for address, insecure in (
        ("http://127.0.0.1:1", False),
        ("http://kms.example.org", True),
        ("http://127.0.0.1.example.org", True),
        ("https://kms.example.org", True),
    ):
        with pytest.raises(ConfigError, match="https"):
            made(**{setting: address, "insecure": insecure})


def test_azure_has_no_http(tmp_path):
    """The section of Azure has no setting `insecure`, because its SDK sends tokens over https only."""
    with pytest.raises(ConfigError, match=r"kms\.x\.insecure is no setting"):
        parse_kms("x", {"type": "azure-keyvault", "insecure": True} | MINIMAL["azure-keyvault"], tmp_path)


def test_a_written_configuration_is_read(tmp_path):
    """What `init` writes is read with the default times."""
    path = tmp_path / "strongroom.toml"
    write_config(path, dsn="postgresql://x")
    assert load_config(path).cache == CachePolicy()
