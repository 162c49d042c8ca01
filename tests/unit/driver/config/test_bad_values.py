"""Every setting with values that nobody means, in the file and in the environment: one clear error that names the key."""

from __future__ import annotations

import math

import pytest

from strongroom.driver.config import ConfigError, load_config
from tests.support.configuration import FREE, FULL, MINIMAL, SECRETS, changed, parsed, settings

MARK = "S3cretWord"
TEXTS = (
    *(f"{MARK}{end}" for end in ("\0", "\x1b[2J", "\x9b", "\n", "\u2028", "\u202e", "\ufeff", "\udcff")),
    f"\ud800{MARK}",
    MARK * 1000,
    "",
    " ",
    MARK.encode(),
)
NUMBERS = (-(2**63) - 1, -1, 2**63, 2**64, 10**400, -(10**400), math.nan, math.inf, -math.inf, 1e308)
OTHERS = (
    [],
    {},
    [MARK],
    {"key": MARK},
    {f"{MARK}\0": 1},
    {f"{MARK}\ud800": 1},
    {MARK * 1000: 1},
    None,
    True,
    1,
    1.5,
    MARK,
)
PATHS = list(settings(FULL))
MESSAGE = 6000


@pytest.fixture(autouse=True)
def _variables(monkeypatch):
    for name in SECRETS:
        monkeypatch.setenv(name, "the secret")


def at(path):
    node = FULL
    for step in path:
        node = node[step]
    return node


def refused(document):
    """Return the message of the error."""
    with pytest.raises(ConfigError) as error:
        parsed(document)
    message = str(error.value)
    assert MARK not in message.replace(f".{MARK} is no ", "")  # a misspelt key is shown, if it looks like a key
    assert message.replace("\n  ", "").isprintable()
    assert len(message) < MESSAGE
    return message


def name_of(path):
    """Return the last key of a path that is no place in a list."""
    return [step for step in path if isinstance(step, str)][-1]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))
def test_a_value_that_nobody_means_is_refused_by_the_name_of_its_key(path):
    """No value ends in another error, is in a message, or is accepted although it can't be used."""
    held = at(path)
    for value in TEXTS if isinstance(held, str) else NUMBERS if type(held) in {int, float} else ():
        message = refused(changed(path, value=value))
        assert name_of(path) in message
    for value in (*TEXTS, *NUMBERS, *OTHERS):
        try:
            parsed(changed(path, value=value))
        except ConfigError:
            refused(changed(path, value=value))


@pytest.mark.parametrize(
    "path", [path for path in PATHS if isinstance(path[-1], str)], ids=lambda path: ".".join(map(str, path))
)
def test_a_key_that_nobody_means_is_refused(path):
    """A key with a control character, a lone surrogate or thousands of characters is refused, and is not shown."""
    chosen = {step for step in path[:-1] if isinstance(step, str)} in FREE
    for name in (f"{MARK}\0", f"{MARK}\x1b[2J", f"\ud800{MARK}", MARK * 1000, "", " "):
        if not (chosen and name == MARK * 1000):  # a claim may be a long text
            refused(changed(path, name=name))


@pytest.mark.parametrize("provider", ["", "Bao", "1", "a b", "a" * 33, "a:b", "ä"])
def test_a_provider_has_an_id_that_keks_can_name(provider):
    """A KEK is named PROVIDER:KEY, so a section with another id could never be used."""
    message = refused({**MINIMAL, "kms": {**MINIMAL["kms"], provider: MINIMAL["kms"]["local"]}})
    assert "must be a provider's id" in message or "empty" in message


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("value", [f"{MARK}\n", f"{MARK}\x1b", f"{MARK}\udcff", MARK * 1000, " "])
def test_a_secret_of_the_environment(monkeypatch, secret, value):
    """The setting and the variable are named, not the value. Bytes that are not UTF-8 arrive as lone surrogates."""
    monkeypatch.setenv(secret, value)
    message = refused(FULL)
    assert f"_env names the environment variable {secret}, whose value" in message


@pytest.mark.parametrize(
    "value", [f"{MARK}\n", f"postgresql://me:{MARK}\udcff@h/d", MARK * 1000, " ", f"postgresql://me:{MARK}@h:x/d"]
)
def test_the_connection_string_of_the_environment(monkeypatch, value):
    """The message says that the fault is in the environment, so that nobody looks for it in the file."""
    monkeypatch.setenv("STRONGROOM_DSN", value)
    assert "with database.dsn from the environment variable STRONGROOM_DSN: database" in refused(MINIMAL)


TOML = """
[cell]
id = "6c1a1c1e-0c0b-4c5f-9f60-0a6f0d1e2f30"
shards = 4
[database]
dsn = "postgresql://me@db.example.com/x"
[kms.local]
type = "local"
keyring = "keyring.json"
"""


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (f"connections = 1{'0' * 5000}", "a number of the key connections at line 7 has too many digits"),
        (f"connections = 0x{'f' * 5000}", "database.connections must be a whole number from 1 to"),
        ("connections = 1e999", "database.connections must be a whole number from 1 to"),
        ("connections = nan", "database.connections must be a whole number from 1 to"),
        ("connections = 2026-02-30", "line 7"),
        (f"connections = {'[' * 5000}", "nested too deeply"),
        (f"{'a.' * 5000}a = 1", "[database.a] is no section"),
        (f"[{'a.' * 5000}a]", "[a] is no section"),
        (f'insecure = "{MARK}\\ud800"', "line 7"),
        (f'insecure = "{MARK}', "line 7"),
        (f"insecure = {MARK}", "line 7"),
        (f'insecure = "{MARK}\0"', "it is not UTF-8"),
        (f'insecure = "{MARK}\x1b"', "line 7"),
        ("connections = 1\nconnections = 2", "Cannot overwrite a value"),
        (f'[kms."{MARK}\\u0000"]\ntype = "local"\nkeyring = "k"', "kms.(a key) must not hold"),
    ],
    ids=range(15),
)
def test_a_file_with_such_a_value(tmp_path, line, text):
    """TOML itself refuses some, and its parser has limits of its own. The place is in the message."""
    path = tmp_path / "strongroom.toml"
    path.write_text(TOML.replace("[kms.local]", f"{line}\n[kms.local]"))
    with pytest.raises(ConfigError) as error:
        load_config(path)
    message = str(error.value)
    assert text in message
    assert MARK not in message
    assert message.replace("\n  ", "").isprintable()
    assert len(message) < MESSAGE
