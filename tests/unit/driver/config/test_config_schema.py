from __future__ import annotations

import json
import string
from datetime import date
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from strongroom.driver import ConfigError, StrongroomConfig, load_config
from strongroom.driver.config import ElasticsearchConfig, LocalKms, TransitKms, write_config
from strongroom.driver.config.faults import Schema
from strongroom.driver.config.reference import reference
from strongroom.driver.config.sections import ConfigFile
from strongroom.kms import KekRef
from strongroom.storage import Cell
from tests.support.configuration import FULL, MINIMAL, SECRETS, changed, known_keys, parsed, settings
from tests.support.tree import ROOT

REFERENCE = ROOT / "docs" / "reference"
KEYS = known_keys()
SETTINGS = [path for path in settings(FULL) if not isinstance(path[-1], int)]


def at(path):
    node = FULL
    for step in path:
        node = node[step]
    return node


@pytest.fixture(autouse=True)
def _secrets(monkeypatch):
    for name in SECRETS:
        monkeypatch.setenv(name, "the secret")


def refused(document):
    with pytest.raises(ConfigError) as raised:
        parsed(document)
    return str(raised.value)


def test_every_setting_is_read():
    """The full configuration is accepted, and it has every section and setting that the schema has."""
    config = parsed(FULL)
    assert (config.connections, config.cache.encrypt_ttl, config.rotation.max_age.days) == (8, 120.5, 30)
    assert (config.elasticsearch.api_key, config.elasticsearch.timeout) == ("the secret", 5)
    given = {str(path[-1]) for path in KEYS}
    assert given == {name for _, node in Schema(ConfigFile).sections() for name in node["properties"]}


@pytest.mark.parametrize(
    ("section", "content", "path", "nearest"),
    [
        ("audti", {"folder": "audit"}, "audti", "audit"),
        ("acess", {"enforce": True}, "acess", "access"),
        ("access", {"enfroce": True}, "access.enfroce", "access.enforce"),
        ("cell", {**MINIMAL["cell"], "regoin": "eu"}, "cell.regoin", "cell.region"),
        ("database", {**MINIMAL["database"], "conections": 0}, "database.conections", "database.connections"),
        ("elasticsearch", {"url": "https://es", "ca_cert": "a"}, "elasticsearch.ca_cert", "elasticsearch.ca_certs"),
        ("kms", {"local": {"tpye": "local", "keyring": "k"}}, "kms.local.tpye", "kms.local.type"),
        ("kms", {"local": {"type": "lokal", "keyring": "k"}}, "kms.local.type", "local"),
    ],
)
def test_a_misspelt_name_is_refused(section, content, path, nearest):
    """A misspelt section, setting or choice would turn a protection off. It is refused with the nearest known one."""
    message = refused({**MINIMAL, section: content})
    assert message.startswith("strongroom.toml: ")
    assert path in message
    assert f"did you mean {nearest}?" in message


def test_a_setting_of_another_section_is_shown_where_it_belongs():
    """A known setting in a wrong section is refused with the section that has it."""
    assert "cell.dsn is no setting; [database] has one of this name" in refused(
        {**MINIMAL, "cell": {**MINIMAL["cell"], "dsn": "x"}}
    )
    assert "known here: cell, database, kms" in refused({**MINIMAL, "zzzzzz": 1})


@profile(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_change_of_one_character_of_a_key_is_refused(data):
    """Any single-character change of any known key in a full configuration is refused, and its path is named."""
    path = data.draw(st.sampled_from(KEYS))
    name, place = path[-1], data.draw(st.integers(0, len(path[-1])))
    character = data.draw(st.sampled_from(string.ascii_letters + string.digits + "_-"))
    kind = data.draw(st.sampled_from(["insert", "replace", "delete"]))
    end = place if kind == "insert" else place + 1
    other = name[:place] + ("" if kind == "delete" else character) + name[end:]
    if other != name:
        message = refused(changed(path, name=other))
        assert other in message
        assert message.startswith("strongroom.toml")


@pytest.mark.parametrize("path", SETTINGS, ids=lambda path: ".".join(map(str, path)))
def test_a_value_of_another_type_is_refused(path):
    """A setting or a section takes values of its own type: a boolean is no number, text is no number, a date is neither."""
    value = at(path)
    for wrong in (True, 1, 1.5, "text", date(2026, 1, 1), [], {}, [1], {"a": 1}):
        if type(wrong) is type(value) or (isinstance(value, int | float) and type(wrong) in {int, float}):
            continue
        if isinstance(value, bool) != isinstance(wrong, bool) or type(wrong) is not type(value):
            message = refused(changed(path, value=wrong))
            assert str(path[0]) in message


MAY_BE_ZERO = {("namespaces", "shred_after_days"), ("serve", "database_wait_seconds"), ("elasticsearch", "replicas")}


@pytest.mark.parametrize(
    "path", [path for path in SETTINGS if type(at(path)) in {int, float}], ids=lambda path: ".".join(map(str, path))
)
def test_a_number_out_of_range_is_refused(path):
    """A number that is negative, zero, huge or not finite is refused with its range, except for the settings that may be zero."""
    zero = () if path in MAY_BE_ZERO else (0,)
    for wrong in (-1, *zero, -(2**70), 2**70, float("nan"), float("inf"), -0.5, 1e300):
        message = refused(changed(path, value=wrong))
        assert f"{'.'.join(path)} must be a " in message
        assert " to " in message


@pytest.mark.parametrize(
    "path", [path for path in SETTINGS if type(at(path)) is str], ids=lambda path: ".".join(map(str, path))
)
def test_an_empty_or_endless_text_is_refused(path):
    """A text setting is neither empty nor longer than 4096 characters."""
    for wrong in ("", "x" * 5000):
        assert str(path[0]) in refused(changed(path, value=wrong))


def test_all_faults_are_reported_at_once():
    """One error names every fault of a file, one on each line."""
    document = {**MINIMAL, "audti": {}, "access": {"enforce": "yes"}, "keys": {"soft_ttl_seconds": 0}}
    document["database"] = {**MINIMAL["database"], "connections": True}
    message = refused(document).splitlines()
    assert message[0] == "strongroom.toml has 4 faults:"
    for path, line in zip(
        ("database.connections", "keys.soft_ttl", "access.enforce", "[audti]"), message[1:], strict=True
    ):
        assert path in line


@pytest.mark.parametrize(
    "document",
    [
        {**MINIMAL, "database": {"dsn": "postgresql://me:S3cretWord@db.example.com:x/y"}},
        {**MINIMAL, "database": {"dsn": "postgresql://me:S3cretWord@db.example.com/y", "insecure": True}},
        {**MINIMAL, "database": {"dsn": "postgresql://me:S3cretWord@db.example.com/y?sslmode=require"}},
        {**MINIMAL, "database": {"dsn": "me:S3cretWord@db.example.com"}},
        {**MINIMAL, "database": {"dsn": ["postgresql://me:S3cretWord@db.example.com/y"]}},
        {**MINIMAL, "elasticsearch": {"url": "http://me:S3cretWord@es.example.com"}},
        {**MINIMAL, "elasticsearch": {"url": "https://es.example.com", "api_key_env": "S3cretWord"}},
        {**MINIMAL, "elasticsearch": {"url": "https://es.example.com", "api_key_env": "S3cretWord=="}},
        {**MINIMAL, "elasticsearch": {"url": "https://es.example.com", "api_key": "S3cretWord"}},
        {**MINIMAL, "kms": {"v": {"type": "vault", "address": "http://me:S3cretWord@v", "token_file": "t"}}},
        {**MINIMAL, "kms": {"v": {"type": "vault", "address": "https://v", "token": "S3cretWord"}}},
        {**MINIMAL, "kms": {"l": {"type": "S3cretWord", "keyring": "k"}}},
    ],
)
def test_no_message_holds_a_secret(document):
    """No message shows a value, because a value may be a secret or may hold one."""
    assert "S3cretWord" not in refused(document)


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (lambda: TransitKms("http://me:S3cretWord@v", token="S3cretWord"), "TransitKms.*https"),  # noqa: S106
        (lambda: LocalKms("k", passphrse="S3cretWord"), "did you mean passphrase"),
        (lambda: LocalKms(3), "keyring must be a path"),
        (
            lambda: ElasticsearchConfig("https://es", api_key="S3cretWord", timeout=0),
            "timeout must be a number above 0",
        ),
        (lambda: StrongroomConfig(cell=Cell(1, 4), dsn="S3cretWord", connections=0), "connections"),
    ],
)
def test_a_configuration_built_in_python_is_checked_too(build, told):
    """A service that builds a configuration gets the same error as a file does, without values."""
    with pytest.raises(ConfigError, match=told) as raised:
        build()
    assert "S3cretWord" not in str(raised.value)


def test_a_secret_is_not_in_a_repr():
    """The repr of a section leaves its secret out."""
    assert "S3cretWord" not in repr(TransitKms("https://v", token="S3cretWord"))  # noqa: S106
    assert "S3cretWord" not in repr(ElasticsearchConfig("https://es", api_key="S3cretWord"))


def test_a_file_that_is_no_configuration(tmp_path):
    """A missing file, a folder, bytes and a text that is not TOML are refused by the file's name, and what to do."""
    path = tmp_path / "strongroom.toml"
    with pytest.raises(
        ConfigError, match=r"strongroom\.toml is missing; .*strongroom --config FILE COMMAND; .*strongroom init"
    ):
        load_config(path)
    with pytest.raises(ConfigError, match="can't be read"):
        load_config(tmp_path)
    for content in (b"\xff\xfe", b"dsn = "):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"strongroom\.toml can't be read: it is not"):
            load_config(path)
    path.write_text("")
    with pytest.raises(ConfigError, match=r"3 faults:\n  \[cell\] is missing"):
        load_config(path)


def test_the_comments_of_a_new_file_are_true(tmp_path):
    """What `init` writes is read with every commented setting too, and each default that it shows is the default."""
    path = tmp_path / "strongroom.toml"
    write_config(path, dsn="postgresql://strongroom@db.example.com/strongroom", region="eu-central-1")
    usual = load_config(path)
    lines = path.read_text().splitlines()
    shown = [
        line.removeprefix("# ")
        for line in lines
        if line.startswith(("# [keys]", "# soft", "# encrypt", "# decrypt", "# rotate"))
    ]
    path.write_text("\n".join([*lines, *shown, "[access]", "enforce = true", ""]))
    config = load_config(path)
    assert (config.cache, config.rotation, config.access_enforced) == (usual.cache, usual.rotation, True)


def test_the_reference_is_current():
    """docs/reference holds what `make reference` writes."""
    for name, text in reference().items():
        assert (REFERENCE / name).read_text() == text, f"run: make reference, because {name} is out of date"


def test_the_reference_has_every_setting():
    """The page describes each setting, and the JSON Schema refuses unknown ones as the driver does."""
    page, schema = (reference()[name] for name in ("configuration.md", "configuration.schema.json"))
    described = Schema(ConfigFile)
    for path, node in described.sections():
        assert node["additionalProperties"] is False
        for name, each in node["properties"].items():
            resolved = described.resolve(each)
            assert resolved.get("description"), f"{path}.{name}"
    for name in {str(path[-1]) for path in KEYS}:
        assert f"{name}" in page
        assert f'"{name}"' in schema
    assert json.loads(schema)["$schema"].startswith("https://json-schema.org/")


def test_the_kek_of_namespaces_is_a_reference_or_a_template():
    """`{id}` stands for the namespace's id. Other braces, no provider, and a provider that is not configured are refused."""
    rule = parsed({**MINIMAL, "namespaces": {"kek": "local:ns-{id}"}}).namespaces
    one, other = UUID(int=1), UUID(int=2)
    assert (rule.has_own_keks, str(rule.kek_of(one)), str(rule.kek_of(other))) == (
        True,
        f"local:ns-{one}",
        f"local:ns-{other}",
    )
    shared = parsed({**MINIMAL, "namespaces": {"kek": "local:shared"}}).namespaces
    assert (shared.has_own_keks, shared.kek_of(one), shared.kek_of(other)) == (False, *[KekRef("local", "shared")] * 2)
    assert parsed(MINIMAL).namespaces.kek_of(one) is None
    for wrong, part in (
        ("local:{name}", "{id}"),
        ("local", "PROVIDER:KEY"),
        ("bao:ns-{id}", "known here: local"),
        ("", "kek"),
    ):
        assert part in refused({**MINIMAL, "namespaces": {"kek": wrong}})
