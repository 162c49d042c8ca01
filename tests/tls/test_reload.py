"""Files that change on disk count for the next connection of a client that goes on running."""

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
    """Yield a relay before a right server, and what asks that by way of it, trusting the authority in a file."""
    async with (
        peer.serving(RIGHT) as port,
        relay(HOST, port) as before,
        peer.client(before.port, TlsFiles(trusted)) as ask,
    ):
        yield before, ask


async def test_a_changed_authority_counts_for_the_next_connection(peer, tls_files, tmp_path, caplog):
    """A live connection goes on; the next one trusts what the file says then: another authority, ours again, and no longer that."""
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
    """A file that can't be used changes nothing except for one warning, which names it, however many connections follow."""
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
    """A client that the server refuses is let in once its files hold the right certificate and its key."""
    certificate, key = tmp_path / "client.pem", tmp_path / "client-key.pem"
    for file in (certificate, key):
        shutil.copy(tls_files.stranger, file)
    files = TlsFiles(tls_files.ours.certificate, certificate, key)
    async with peer.serving(ASKS) as port, relay(HOST, port) as before, peer.client(before.port, files) as ask:
        with pytest.raises(peer.refusal):
            await ask()
        shutil.copy(tls_files.client, certificate)  # its key is not there yet: the pair does not fit
        await before.cut()
        with pytest.raises(peer.refusal):
            await ask()
        shutil.copy(tls_files.client, key)
        await ask()
