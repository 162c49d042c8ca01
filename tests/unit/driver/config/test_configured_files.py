"""Every file that the configuration names is checked before it is used: its kind, its owner, its modes, its size, its encoding."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import pytest

from strongroom.driver.codec.auth import Authenticator
from strongroom.driver.codec.listener import server_context
from strongroom.driver.config import load_config, named_files
from strongroom.driver.config.faults import Schema
from strongroom.driver.config.sections import ConfigFile
from strongroom.driver.providers import make_providers, secret_from
from strongroom.kms import StrongroomError, client_context
from strongroom.kms.private_files import MOST_BYTES, check_folder, check_shared_folder
from strongroom.kms.providers.local.keyring_file import read_keyring
from strongroom.kms.transport.pem_expiry import pem_expiry
from tests.support.codec.authority import Authority
from tests.support.codec.issuer import AUDIENCE, ISSUER, Issuer
from tests.support.configuration import FULL, SECRETS, parse_codec_server, parse_kms, parsed
from tests.support.tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOBODY = 65534


@dataclass(frozen=True)
class Use:
    """How a file of the configuration is read.

    Attributes:
        read: Reads it as the product does, by its path.
        holds: What a valid file holds; "" where a test has no valid one.
        is_secret: Whether others may not read it.
        is_text: Whether its encoding matters.
    """

    read: Callable[[Path], object]
    holds: str = ""
    is_secret: bool = False
    is_text: bool = field(default=True)


def provider(section, setting, path):
    """Make the provider of a section that names the file."""
    values = {
        "vault": {"address": "https://bao.example.com", "token_file": "token"},
        "aws-kms": {"region": "eu-central-1"},
        "gcp-kms": {"key_ring": "projects/acme/locations/europe-west3/keyRings/ring"},
        "azure-keyvault": {"vault_url": "https://acme.vault.azure.net"},
    }
    config = parse_kms("x", {"type": section, **values[section], setting: str(path)}, path.parent)
    return make_providers({"x": config}, key_events=lambda _: None)["x"]


def read_secret(path):
    """Return the token or the PIN, as the provider reads it for each call."""
    return secret_from(None, path)()


def load_module(path):
    """Load a PKCS#11 module."""
    from strongroom.kms.providers.pkcs11.module import Module  # noqa: PLC0415 - of an extra

    return Module(path).find("label", "a test")


def codec_server(path, **files):
    """Make the TLS context of a codec server."""
    authority = {"authority": str(path.parent / "authority"), **files.pop("callers", {})}
    callers = [{"subject": {"commonName": "x"}, "namespaces": ["n"]}]
    section = {
        "listen": "127.0.0.1:0",
        "certificate": "own",
        "client_certificates": {**authority, "callers": callers},
        **files,
    }
    return server_context(parse_codec_server(section, path.parent))


def tokens(path):
    """Make the part of a codec server that verifies tokens."""
    jwt = {"keys": str(path), "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["ES256"], "claim": "groups"}
    section = {"listen": "127.0.0.1:0", "certificate": "own", "jwt": {**jwt, "namespaces": {"support": ["n"]}}}
    return Authenticator(parse_codec_server(section, path.parent))


def trust(path):
    """Make the TLS context of a client that trusts the file."""
    return client_context(ca_certs=path)


def present(path):
    """Make the TLS context of a client that presents the file."""
    pem_expiry(path)
    return client_context(certificate=path)


def present_key(path):
    """Make the TLS context of a client that presents a certificate whose key is in a file of its own."""
    return client_context(certificate=path.parent / "certificate", key=path)


TRUST, PRESENT = Use(trust, "authority"), Use(present, "own", is_secret=True)
KEY = Use(present_key, "key", is_secret=True)
USES = {
    "database.tls.ca_certs": TRUST,
    "database.tls.certificate": PRESENT,
    "database.tls.key": KEY,
    "elasticsearch.ca_certs": TRUST,
    "anchor.ca_certs": TRUST,
    "elasticsearch.certificate": PRESENT,
    "elasticsearch.key": KEY,
    "kms.ID.keyring (local)": Use(read_keyring, is_secret=True),
    "kms.ID.token_file (vault)": Use(read_secret, "secret", is_secret=True),
    "kms.ID.ca_certs (vault)": Use(partial(provider, "vault", "ca_certs"), "authority"),
    "kms.ID.certificate (vault)": Use(partial(provider, "vault", "certificate"), "own", is_secret=True),
    "kms.ID.ca_certs (aws-kms)": Use(partial(provider, "aws-kms", "ca_certs"), "authority"),
    "kms.ID.ca_certs (gcp-kms)": Use(partial(provider, "gcp-kms", "ca_certs"), "authority"),
    "kms.ID.ca_certs (azure-keyvault)": Use(partial(provider, "azure-keyvault", "ca_certs"), "authority"),
    "kms.ID.module (pkcs11)": Use(load_module, is_text=False),
    "kms.ID.pin_file (pkcs11)": Use(read_secret, "secret", is_secret=True),
    "codec_server.certificate": Use(lambda path: codec_server(path, certificate=str(path)), "own", is_secret=True),
    "codec_server.key": Use(
        lambda path: codec_server(path, certificate="certificate", key=str(path)), "key", is_secret=True
    ),
    "codec_server.jwt.keys": Use(tokens, "issuer"),
    "codec_server.client_certificates.authority": Use(
        lambda path: codec_server(path, callers={"authority": str(path)}), "authority"
    ),
    "codec_server.client_certificates.revoked": Use(
        lambda path: codec_server(path, callers={"revoked": str(path)}), "revoked"
    ),
    "the configuration itself": Use(load_config, "config"),
}
FOLDERS = {"audit.folder": check_folder, "serve.socket": lambda path: check_shared_folder(path.parent)}
"""Settings that name a folder, or a file that the product makes."""


def file_settings():
    """Return the name of each setting of the schema that is a path."""
    schema, found = Schema(ConfigFile), set()
    for path, node in schema.sections():
        kind = schema.resolve(node["properties"].get("type", {})).get("const")
        for name, each in node["properties"].items():
            if schema.resolve(each).get("format") == "path":
                found.add(f"{path}.{name}".replace("[", "").replace("]", "") + (f" ({kind})" if kind else ""))
    return found


def test_every_file_of_the_configuration_is_listed():
    """A new setting that names a file is added here and to the page, or this fails."""
    assert file_settings() == (set(USES) - {"the configuration itself"}) | set(FOLDERS)
    page = (ROOT / "docs" / "how-to" / "files.md").read_text()
    missing = [name for name in file_settings() if f"`{name.split(' ')[0]}`" not in page]
    assert not missing


def test_every_file_of_a_configuration_is_named_and_no_socket_is(monkeypatch):
    """A file is secret exactly if others may not read it. Sockets are not files that a backup could have."""
    for name in SECRETS:
        monkeypatch.setenv(name, "x")
    sockets = {**FULL["serve"], "socket": "a.sock", "health": "unix:b.sock"}
    server = {**FULL["codec_server"], "listen": "unix:c.sock"}
    config = parsed({**FULL, "serve": sockets, "codec_server": server})
    found = {}
    for each in named_files(config):
        first, _, rest = each.setting.partition(".")
        name, _, setting = rest.partition(".")
        path = f"kms.ID.{setting} ({config.kms[name].type})" if first == "kms" else each.setting
        found[path] = each.is_secret
    uses = {setting: use.is_secret for setting, use in USES.items() if setting != "the configuration itself"}
    assert found == {**uses, "audit.folder": False}


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    """The content of a valid file of each kind."""
    folder = tmp_path_factory.mktemp("made")
    authority = Authority(folder, "authority")
    own, client = authority.client("own", ("commonName", "x"))
    both = own.read_bytes()
    end = b"-----END CERTIFICATE-----\n"
    config = 'dsn = "postgresql://me@db.example.com/x"\n'
    return {
        "authority": authority.certificate.read_bytes(),
        "own": both,
        "certificate": both[: both.index(end) + len(end)]
        if both.startswith(b"-----BEGIN CERT")
        else both[both.index(b"-----BEGIN CERT") :],
        "key": both.replace(both[both.index(b"-----BEGIN CERT") : both.index(end) + len(end)], b""),
        "revoked": authority.revoke(client).read_bytes(),
        "issuer": Issuer().pem,
        "secret": b"a-secret",
        "config": (
            '[cell]\nid = "6c1a1c1e-0c0b-4c5f-9f60-0a6f0d1e2f30"\nshards = 4\n[database]\n'
            + config
            + '[kms.local]\ntype = "local"\nkeyring = "keyring.json"\n'
        ).encode(),
        "": b"x",
    }


@pytest.fixture
def private_file(tmp_path, contents):
    """A private folder with the files that other settings name. The file of a test is written into it."""
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    for name in ("authority", "own", "certificate"):
        written(folder / name, contents[name])
    return folder / "file"


def written(path, content, mode=0o600):
    path.write_bytes(content)
    path.chmod(mode)
    return path


def in_open_folder(path, content):
    written(path, content)
    path.parent.chmod(0o777)


def of_another_user(path, content):
    if os.geteuid() != 0:
        pytest.skip("only root can give files to other users")
    os.chown(written(path, content), NOBODY, NOBODY)


def huge(path, content):
    written(path, content)
    os.truncate(path, MOST_BYTES + 1)


BAD = {
    "missing": lambda path, content: None,  # noqa: ARG005 - as the others
    "a folder": lambda path, content: path.mkdir(),  # noqa: ARG005 - as the others
    "a FIFO without a writer": lambda path, content: os.mkfifo(path, 0o600),  # noqa: ARG005 - as the others
    "a device": lambda path, content: path.symlink_to("/dev/zero"),  # noqa: ARG005 - as the others
    "a link to nothing": lambda path, content: path.symlink_to("nothing"),  # noqa: ARG005 - as the others
    "a link to itself": lambda path, content: path.symlink_to(path.name),  # noqa: ARG005 - as the others
    "others can change it": lambda path, content: written(path, content, 0o666),
    "a group can change it": lambda path, content: written(path, content, 0o620),
    "others can exchange it": in_open_folder,
    "of another user": of_another_user,
}
BAD_TEXT = {
    "empty": lambda path, content: written(path, b""),  # noqa: ARG005 - as the others
    "blank": lambda path, content: written(path, b" \r\n\n"),  # noqa: ARG005 - as the others
    "a mark alone": lambda path, content: written(path, b"\xef\xbb\xbf"),  # noqa: ARG005 - as the others
    "UTF-16": lambda path, content: written(path, content.decode().encode("utf-16")),
    "Latin-1": lambda path, content: written(path, b"\xe9" + content),
    "NUL": lambda path, content: written(path, content + b"\0"),
    "64 MiB": huge,
}
MESSAGE = 1500


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name, use in USES.items() for kind in (*BAD, *(BAD_TEXT if use.is_text else ()))],
)
def test_a_file_that_cannot_be_meant_is_refused(private_file, contents, name, kind):
    """Each is an error of this package that names the file, quickly and without its content."""
    use = USES[name]
    {**BAD, **BAD_TEXT}[kind](private_file, contents[use.holds])
    with pytest.raises(StrongroomError) as refused:
        use.read(private_file)
    message = str(refused.value)
    assert str(private_file) in message or str(private_file.parent) in message
    assert len(message) < MESSAGE
    assert "None" not in message
    assert "PRIVATE" not in message
    assert "a-secret" not in message


@pytest.mark.parametrize("name", [name for name, use in USES.items() if use.is_secret])
def test_a_secret_that_others_can_read_is_refused(private_file, contents, name):
    """The message has the command that repairs it."""
    written(private_file, contents[USES[name].holds], 0o644)
    with pytest.raises(StrongroomError, match="chmod 600"):
        USES[name].read(private_file)


GOOD = {
    "as it is": lambda content: content,
    "a byte order mark": lambda content: b"\xef\xbb\xbf" + content,
    "line ends of Windows": lambda content: content.replace(b"\n", b"\r\n"),
    "blank lines around it": lambda content: b"\n" + content + b"\n\n",
}


@pytest.mark.parametrize("form", GOOD)
@pytest.mark.parametrize("name", [name for name, use in USES.items() if use.holds])
def test_the_usual_forms_are_read(private_file, contents, name, form):
    """Files of Windows programs are read, and files without a secret may be readable by others and have several names."""
    use = USES[name]
    written(private_file, GOOD[form](contents[use.holds]), 0o600 if use.is_secret else 0o644)
    if not use.is_secret:
        os.link(private_file, private_file.with_name("second"))
    found = use.read(private_file)
    assert use.holds != "secret" or found == "a-secret"


@pytest.mark.parametrize("before", [b" ", b"\t", b"-----END CERTIFICATE-----"])
def test_a_certificate_that_openssl_would_pass_over_is_refused(private_file, contents, before):
    """OpenSSL passes over an indented block without an error, so that a host would not be trusted or a caller not be revoked."""
    for use in USES.values():
        if use.holds in {"authority", "revoked"}:
            written(private_file, before + contents[use.holds] + contents[use.holds])
            with pytest.raises(StrongroomError, match="has something before it"):
                use.read(private_file)


@pytest.mark.parametrize("end", [b"", b" -----END"])
def test_a_block_without_an_end_is_refused(private_file, contents, end):
    """OpenSSL reads such a block up to the end of the next one, and passes over that one without an error."""
    for use in USES.values():
        if use.holds in {"authority", "revoked"}:
            content = contents[use.holds]
            written(private_file, content.replace(b"-----END", end or b"-----", 1) + content)
            with pytest.raises(StrongroomError, match="has no line -----END"):
                use.read(private_file)


def test_a_bundle_with_comments_is_read(private_file, contents):
    """Comments name authorities, in UTF-8 or in Latin-1, and OpenSSL ignores them."""
    for use in USES.values():
        if use.holds in {"authority", "revoked"}:
            for encoding in ("utf-8", "latin-1"):
                comment = "# AC Raíz\n=======\n".encode(encoding)
                written(private_file, comment + contents[use.holds] + b"\n" + comment)
                use.read(private_file)


def test_a_list_of_revoked_certificates_trusts_nobody(private_file, contents):
    """OpenSSL trusts each certificate in a file that it reads revocation lists from."""
    written(private_file, contents["revoked"] + contents["authority"])
    with pytest.raises(StrongroomError, match="would be trusted"):
        USES["codec_server.client_certificates.revoked"].read(private_file)
    written(private_file, contents["authority"])
    with pytest.raises(StrongroomError, match="no revocation list"):
        USES["codec_server.client_certificates.revoked"].read(private_file)
