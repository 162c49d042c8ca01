"""Changed TLS files apply to the next connection of a running client."""

from __future__ import annotations

import logging
import shutil
from contextlib import asynccontextmanager

import pytest

from strongroom.kms import TlsFiles
from tests.support.tls.cases import ASKS, HOST, RIGHT
from tests.support.tls.relay import relay

pytestmark = pytest.mark.integration

LOG = "strongroom.reloaded"


@asynccontextmanager
async def through_relay(peer, trusted):
    """Yield a relay to a right server, and a function that queries it and trusts the authority in a file."""
    async with (
        peer.serving(RIGHT) as port,
        relay(HOST, port) as before,
        peer.client(before.port, TlsFiles(trusted)) as ask,
    ):
        yield before, ask


async def test_a_changed_authority_counts_for_the_next_connection(peer, tls_files, tmp_path, caplog):
    """A changed file of authorities applies to the next connection. Open connections continue."""
    trusted = tmp_path / "ca.pem"
    shutil.copy(tls_files.ours.certificate, trusted)
    with caplog.at_level(logging.INFO, LOG):
        async with through_relay(peer, trusted) as (before, ask):
            await ask()
            shutil.copy(tls_files.others.certificate, trusted)
            await ask()
            assert before.taken == 1
            await before.cut()
            with pytest.raises(peer.refusal):
                await ask()
            shutil.copy(tls_files.ours.certificate, trusted)
            await ask()
    assert sum("reloaded" in record.message for record in caplog.records) == 2


@pytest.mark.parametrize("broken", ["garbage", "missing", "empty"])
async def test_a_broken_file_keeps_what_was_there(peer, broken, tls_files, tmp_path, caplog):
    """A broken file changes nothing, and is logged once with its name."""
    trusted = tmp_path / "ca.pem"
    shutil.copy(tls_files.ours.certificate, trusted)
    with caplog.at_level(logging.WARNING, LOG):
        async with through_relay(peer, trusted) as (before, ask):
            await ask()
            if broken == "missing":
                trusted.unlink()
            else:
                trusted.write_text("x" if broken == "garbage" else "")
            for _ in range(3):
                await before.cut()
                await ask()
            assert before.taken == 4
    (warning,) = [record.message for record in caplog.records if record.name == LOG]
    assert str(trusted) in warning
    assert warning.endswith("the previous files stay in use")


async def test_a_renewed_client_certificate_counts_for_the_next_connection(peer, tls_files, tmp_path):
    """A refused client is accepted as soon as its files hold a valid certificate and its key."""
    certificate, key = tmp_path / "client.pem", tmp_path / "client-key.pem"
    for file in (certificate, key):
        shutil.copy(tls_files.stranger, file)
    files = TlsFiles(tls_files.ours.certificate, certificate, key)
    async with peer.serving(ASKS) as port, relay(HOST, port) as before, peer.client(before.port, files) as ask:
        with pytest.raises(peer.refusal):
            await ask()
        shutil.copy(tls_files.client, certificate)  # its key is not there yet, so the pair does not match
        await before.cut()
        with pytest.raises(peer.refusal):
            await ask()
        shutil.copy(tls_files.client, key)
        await ask()
