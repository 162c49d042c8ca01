from __future__ import annotations

import pytest

from strongroom.driver.config import ConfigError, load_config, write_config
from strongroom.kms import InvalidRequest, TlsFiles

REMOTE, LOCAL = "postgresql://user@db.example.com/x", "postgresql://user@/x?host=/run/postgresql"


@pytest.fixture
def write(tmp_path):
    """Write a configuration for a dsn with changes, and return what is read."""

    def written(dsn, *changes, more=""):
        path = tmp_path / "strongroom.toml"
        path.unlink(missing_ok=True)
        write_config(path, dsn=dsn)
        text = path.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path.write_text(text + more)
        return load_config(path)

    return written


@pytest.mark.parametrize(
    ("dsn", "insecure"),
    [(LOCAL, True), ("postgresql://127.0.0.1/x", True), ("postgresql://localhost/x", True), (REMOTE, False)],
)
def test_what_init_writes(write, tmp_path, dsn, insecure):
    """A database on this machine is reached without TLS, and any other one over TLS."""
    config = write(dsn)
    assert config.insecure is insecure
    assert ("\ninsecure = true  # no TLS" in (tmp_path / "strongroom.toml").read_text()) is insecure
    assert config.database_tls == TlsFiles()


def test_the_files_of_the_database(write, tmp_path):
    """Relative paths start at the configuration's folder."""
    section = '\n[database.tls]\nca_certs = "ca.pem"\ncertificate = "c.pem"\nkey = "/etc/k.pem"\n'
    config = write(REMOTE, more=section)
    assert config.database_tls == TlsFiles(tmp_path / "ca.pem", tmp_path / "c.pem", tmp_path.joinpath("/etc/k.pem"))
    with pytest.raises(InvalidRequest, match=r"ca\.pem can't be used: No such file"):
        config.database_transport()


@pytest.mark.parametrize(
    ("dsn", "changes", "more", "says"),
    [
        (REMOTE, [('/x"', '/x"\ninsecure = true')], "", "every other host"),
        (LOCAL, [("insecure = true", "insecure = false")], "", r"database\.insecure = true"),
        (LOCAL, [("insecure = true", 'insecure = "yes"')], "", "true or false"),
        (LOCAL, [], '\n[database.tls]\nca_certs = "ca.pem"\n', r"\[database\.tls\]"),
        (
            REMOTE,
            [],
            "\n[database.tls]\nca_cert = 'ca.pem'\n",
            r"database\.tls\.ca_cert is no setting",
        ),
        (REMOTE, [], "\n[database.tls]\nca_certs = 7\n", r"database\.tls\.ca_certs"),
        (f"{REMOTE}?sslmode=require", [], "", "remove sslmode"),
        (REMOTE, [], '\n[elasticsearch]\nurl = "http://es.example.com:9200"\n', "give an https:// address"),
        (REMOTE, [], '\n[elasticsearch]\nurl = "http://es.example.com:9200"\ninsecure = true\n', "on this machine"),
        (REMOTE, [], '\n[elasticsearch]\nurl = "http://127.0.0.1:9200"\n', "insecure = true"),
        (REMOTE, [], '\n[elasticsearch]\nurl = "https://127.0.0.1:9200"\ninsecure = true\n', "remove it"),
    ],
)
def test_what_would_go_in_clear_is_refused(write, dsn, changes, more, says):
    """A setting that would send data in clear is refused, and the error says what to do."""
    with pytest.raises(ConfigError, match=says):
        write(dsn, *changes, more=more)


def test_a_dsn_from_the_environment_is_no_way_round(write, monkeypatch):
    """The file's TLS settings hold for the dsn in the environment variable too."""
    monkeypatch.setenv("STRONGROOM_DSN", REMOTE)
    with pytest.raises(ConfigError, match="every other host"):
        write(LOCAL)


def test_files_of_elasticsearch(write, tmp_path):
    """The search index is reached with the authority, certificate and key that its section names."""
    config = write(
        REMOTE,
        more='\n[elasticsearch]\nurl = "https://es.example.com:9200"\nca_certs = "a"\ncertificate = "b"\nkey = "c"\n',
    )
    assert config.elasticsearch.tls == TlsFiles(tmp_path / "a", tmp_path / "b", tmp_path / "c")
