"""A configuration file with a secret is private, and its text may have a byte order mark."""

from __future__ import annotations

import codecs
import errno
from pathlib import Path

import pytest

from strongroom.driver.config import ConfigError, load_config, write_config
from strongroom.driver.importing.errors import ImportFileError
from strongroom.driver.importing.import_file import read_import_file

SECRETS = {
    "a password before the host": 'dsn = "postgresql://me:S3cret@db.example.com/strongroom"',
    "a password as a parameter": 'dsn = "postgresql://me@db.example.com/strongroom?password=S3cret"',
    "an encoded parameter": 'dsn = "postgresql://me@db.example.com/strongroom?sslmode=x&%70assword=S3cret"',
    "an empty user": 'dsn = "postgresql://:S3cret@db.example.com/strongroom"',
}
OPEN = 'dsn = "postgresql://me@db.example.com/strongroom"'


@pytest.fixture
def config_file(tmp_path):
    """A configuration file of mode 0600."""
    file = tmp_path / "strongroom.toml"
    write_config(file, dsn="postgresql://me@db.example.com/strongroom")
    return file


def rewritten(config_file, line):
    text = config_file.read_text()
    config_file.write_text("\n".join(line if each.startswith("dsn = ") else each for each in text.splitlines()))


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o666, 0o604])
def test_a_file_with_a_password_that_others_can_read_is_refused(config_file, name, mode):
    """A file with a password that others can read is refused with the command, whatever the form, and without the password."""
    rewritten(config_file, SECRETS[name])
    config_file.chmod(mode)
    with pytest.raises(ConfigError) as error:
        load_config(config_file)
    assert f"mode {mode:04o}" in str(error.value)
    assert f"chmod 600 {config_file}" in str(error.value)
    assert "S3cret" not in str(error.value)


@pytest.mark.parametrize("section", ['[kms.v]\ntype = "vault"\naddress = "https://v.example.com"\ntoken = "S3cret"\n'])
def test_a_file_with_a_token_that_others_can_read_is_refused(config_file, section):
    """A token in the file counts like a password."""
    config_file.write_text(config_file.read_text() + section)
    config_file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_config(config_file)


def test_a_file_without_a_secret_may_be_read(config_file):
    """A file without a secret may be readable for others."""
    config_file.chmod(0o644)
    assert load_config(config_file).dsn.endswith("/strongroom")


@pytest.mark.parametrize("name", SECRETS)
def test_a_private_file_with_a_password_is_read(config_file, name):
    """The control: the same files with mode 0600 get past this check."""
    rewritten(config_file, SECRETS[name])
    config_file.chmod(0o600)
    try:
        load_config(config_file)
    except ConfigError as error:
        assert "chmod" not in str(error)  # noqa: PT017 - some of these connection strings are refused for their form


def test_a_byte_order_mark_is_skipped(config_file):
    """Editors on Windows write a byte order mark, which is no part of the text."""
    content = config_file.read_bytes()
    config_file.write_bytes(codecs.BOM_UTF8 + content)
    assert load_config(config_file) is not None


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_another_encoding_is_named(config_file, encoding):
    """UTF-16 and UTF-32, which PowerShell writes, are refused with what to do."""
    config_file.write_bytes(codecs.BOM_UTF16_LE * (encoding == "utf-16-le") + config_file.read_text().encode(encoding))
    with pytest.raises(ConfigError, match="save it as UTF-8"):
        load_config(config_file)


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_an_import_may_begin_with_a_byte_order_mark(tmp_path, mark):
    """A byte order mark at the start of an import is no part of its first line, so the fault is the same as without it."""
    config_file = tmp_path / "x.jsonl"
    config_file.write_bytes(mark + b'{"a": 1}\n')
    with pytest.raises(ImportFileError) as error:
        list(read_import_file(config_file))
    assert "not JSON" not in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_an_import_in_another_encoding_is_named(tmp_path, encoding):
    """An import in UTF-16, which PowerShell writes, is refused with what to do."""
    config_file = tmp_path / "x.jsonl"
    config_file.write_bytes("\ufeff".encode(encoding) * (encoding != "utf-16") + '{"a": 1}\n'.encode(encoding))
    with pytest.raises(ImportFileError, match="save it as UTF-8"):
        list(read_import_file(config_file))


def test_a_configuration_is_written_where_there_are_no_hard_links(tmp_path, monkeypatch):
    """FAT and shared folders of virtual machines have none. A file that exists is not replaced there either."""

    def without_links(path, _target):
        raise OSError(errno.EPERM, "Operation not permitted", str(path))

    monkeypatch.setattr(Path, "hardlink_to", without_links)
    path = tmp_path / "strongroom.toml"
    write_config(path, dsn="postgresql://me@db.example.com/strongroom")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="File exists"):
        write_config(path, dsn="postgresql://me@db.example.com/other")
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["strongroom.toml"]
