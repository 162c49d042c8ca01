"""An export sends each record at least once and in order, also if either side is killed. The cursor loses nothing."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import ssl
import threading

import click
import pytest

from strongroom.driver.audit import verify_records
from strongroom.driver.audit.export import Cursor, cursor_file, export
from strongroom.driver.audit.formats import FORMATS
from strongroom.driver.audit.reader import read_lines
from strongroom.driver.audit.sinks import File, SinkUnavailable, SyslogOverTls
from strongroom.driver.cli.audit import sink_of
from strongroom.driver.config import ConfigError
from strongroom.kms import client_context
from tests.support.audit.logs import HOSTILE, KEY, write_log
from tests.support.tls.relay import relay


def tls(port, authority, host="localhost"):
    """Return a sink that trusts the authority."""
    return SyslogOverTls(host, port, lambda: client_context(ca_certs=authority.certificate))


async def sent(root, sink, *, form="syslog", cursor=None, follow=False):
    """Export the records that were not sent yet."""
    return await export(
        root, cursor=cursor or Cursor(), save=lambda: None, write=FORMATS[form], sink=sink, follow=follow
    )


async def test_a_real_collector_understands_hostile_strings(rsyslog, authority, tmp_path):
    """The collector rsyslog parses principal, operation and record, and the chain verifies from its output."""
    await write_log(tmp_path / "log", 2 * len(HOSTILE))
    count = await sent(tmp_path / "log", tls(rsyslog.port, authority))
    found = await asyncio.to_thread(rsyslog.messages, at_least=count)
    assert len(found) == count
    records = [each["message"].encode() for each in found]
    assert records == [line.rstrip(b"\n") for line in read_lines(tmp_path / "log")]
    assert verify_records(records, public_key=KEY.public_key).ok
    for each in found:
        fields = json.loads(each["message"])
        assert (each["app"], each["msgid"], each["pri"]) == ("strongroom", fields["event"], "110")
        assert f'sequence="{fields["sequence"]}"' in each["data"]
        assert each["data"].count('" operation="') == 1, "a principal can't put in a field of its own"


async def test_nothing_is_lost_while_the_collector_is_killed(rsyslog, authority, tmp_path):
    """No record is lost if the collector is killed several times while records are written."""
    root, cursor = tmp_path / "log", Cursor()
    async with relay("127.0.0.1", rsyslog.port) as address:
        following = asyncio.create_task(sent(root, tls(address.port, authority), cursor=cursor, follow=True))
        for _ in range(6):
            await write_log(root, 400)
            await asyncio.to_thread(rsyslog.stop, signal.SIGKILL)
            await write_log(root, 100)
            await asyncio.to_thread(rsyslog.start)
            address.forward_to("127.0.0.1", rsyslog.port)
        lines = [line.rstrip(b"\n").decode() for line in read_lines(root)]
        async with asyncio.timeout(120):
            while sum(cursor.sent.values()) < len(lines):  # noqa: ASYNC110 - the export has no event for it
                await asyncio.sleep(0.1)
        following.cancel()
    kept = [each["message"] for each in await asyncio.to_thread(rsyslog.messages, at_least=len(lines))]
    assert set(lines) <= set(kept)


class Failing:
    """A collector over TLS that closes connections at random, and keeps the whole messages that it had read."""

    def __init__(self, authority, seed):
        self.kept, self.connections, self._random = [], 0, random.Random(seed)  # noqa: S311 - a test's
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(authority.server("localhost"))
        self.failures = 100

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0, ssl=self._context, limit=2**22)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()

    async def _take(self, reader, writer):
        self.connections += 1
        fails = self.connections <= self.failures
        left = self._random.randrange(1, 100_000) if fails else 2**40
        taken = []
        try:
            while left > 0:
                length = int(await reader.readuntil(b" "))
                taken.append(await reader.readexactly(length))
                left -= length
            writer.transport.abort()
        except asyncio.IncompleteReadError:
            writer.close()
        # What it had read whole it keeps, even where it says nothing: at least once, not exactly once.
        self.kept += taken if not fails or self._random.random() < 0.5 else []


async def test_a_hundred_failures_of_the_collector(authority, tmp_path):
    """Nothing is lost, and a record that was sent twice is the same twice."""
    root = tmp_path / "log"
    for _ in range(3):
        await write_log(root, 3000)
    lines = [line.rstrip(b"\n") for line in read_lines(root)]
    cursor = Cursor()
    async with Failing(authority, seed=7) as collector:
        for attempt in range(400):
            try:
                await sent(root, tls(collector.port, authority), form="jsonl", cursor=cursor)
                break
            except SinkUnavailable:
                assert attempt < 399
    assert collector.connections > collector.failures
    assert set(lines) == set(collector.kept)
    assert verify_records(collector.kept, public_key=KEY.public_key).ok


async def test_a_collector_that_is_not_to_be_trusted_gets_nothing(rsyslog, tmp_path, authority):
    """A collector with another authority, another name, or without TLS gets nothing."""
    from tests.support.codec.authority import Authority  # noqa: PLC0415

    await write_log(tmp_path / "log", 1)
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other", "other")
    plain = await asyncio.start_server(lambda _reader, writer: writer.write(b"220 hello\r\n"), "127.0.0.1", 0)
    for sink in (
        tls(rsyslog.port, other),
        tls(rsyslog.port, authority, host="127.0.0.2"),
        tls(plain.sockets[0].getsockname()[1], authority),
    ):
        with pytest.raises(SinkUnavailable):
            await sent(tmp_path / "log", sink)
    plain.close()
    assert rsyslog.messages() == []
    assert await sent(tmp_path / "log", tls(rsyslog.port, authority)) > 0, "control"


async def test_a_cursor_goes_on_where_it_was(tmp_path):
    """A cursor works across processes and streams, with records that are written in between."""
    root, target, path = tmp_path / "log", tmp_path / "out", tmp_path / "cursor"
    total = 0
    for _ in range(4):
        await asyncio.gather(write_log(root, 30), write_log(root, 20))
        with cursor_file(path) as (cursor, save):
            total += await export(root, cursor=cursor, save=save, write=FORMATS["jsonl"], sink=File(target))
    lines = target.read_bytes().splitlines()
    assert len(lines) == total == len(set(lines))
    assert verify_records(lines, public_key=KEY.public_key).ok
    assert set(lines) == {line.rstrip(b"\n") for line in read_lines(root)}


async def test_a_record_that_is_sent_and_not_remembered_is_sent_again(tmp_path):
    """The cursor is saved after the sink has stored the records, and never before."""
    root, target, path = tmp_path / "log", tmp_path / "out", tmp_path / "cursor"
    await write_log(root, 10)

    def fails():
        raise OSError

    with cursor_file(path) as (cursor, _), pytest.raises(OSError):  # noqa: PT011 - the one above
        await export(root, cursor=cursor, save=fails, write=FORMATS["jsonl"], sink=File(target))
    with cursor_file(path) as (cursor, save):
        await export(root, cursor=cursor, save=save, write=FORMATS["jsonl"], sink=File(target))
    lines = target.read_bytes().splitlines()
    assert len(lines) == 2 * len(set(lines))
    assert verify_records(lines, public_key=KEY.public_key).ok


def test_two_exports_do_not_share_a_cursor(tmp_path):
    """A second export with the same cursor is refused."""
    with cursor_file(tmp_path / "cursor"), pytest.raises(ConfigError, match="another export"):
        cursor_file(tmp_path / "cursor").__enter__()


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"sent":{"x":1},"hosts":{}}', '{"sent":{},"hosts":7}'])
def test_a_damaged_cursor_is_refused(tmp_path, content):
    """A damaged cursor is an error, because sending everything again needs a decision."""
    (tmp_path / "cursor").write_text(content)
    with pytest.raises(ConfigError, match="not a cursor"):
        cursor_file(tmp_path / "cursor").__enter__()


async def test_a_target_that_can_not_be_written(tmp_path):
    """The error names the target."""
    await write_log(tmp_path / "log", 1)
    with pytest.raises(SinkUnavailable, match="can't be written"):
        await sent(tmp_path / "log", File(tmp_path / "nowhere" / "out"))


async def test_a_pipe_without_a_reader_is_refused(tmp_path):
    """Records are on disk when they count as sent. Opening the pipe would wait for a reader, and so would the end of the command."""
    await write_log(tmp_path / "log", 1)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(SinkUnavailable, match="can't be written"):
        await asyncio.wait_for(sent(tmp_path / "log", File(tmp_path / "pipe")), 60)


@pytest.mark.parametrize(
    "target",
    [
        *("tls://", "tls://:6514", "tls://host:", "tls://host:0", "tls://host:65536", "tls://host:" + "9" * 5000),
        *("tls://host:\u0661", "tls://host:6514/x", "tls://a@host", "tls://::1", "tls://[::1", "tls://host name"),
    ],
)
def test_a_collector_that_no_host_and_port_name(target):
    """A mistake in the target ends with one line, and not with a traceback when the connection is made."""
    with pytest.raises(click.UsageError, match="--to takes a file"):
        sink_of(target, None)


@pytest.mark.parametrize(
    "target", ["tls://host", "tls://host:6514", "tls://127.0.0.1:1", "tls://[::1]:65535", "tls://[fe80::1]"]
)
def test_a_collector_by_name_and_by_address(target):
    """Names and addresses of both versions, with and without a port."""
    assert isinstance(sink_of(target, None), SyslogOverTls)


async def test_records_are_exported_while_they_are_written(tmp_path):
    """An export during writes never sends half a record."""
    root, stop = tmp_path / "log", threading.Event()
    lines = []

    class Keep:
        async def send(self, batch):
            lines.extend(batch)

    writer = asyncio.create_task(write_log(root, 20_000))
    cursor = Cursor()
    while not writer.done():
        await sent(root, Keep(), form="jsonl", cursor=cursor)
        await asyncio.sleep(0.01)
    await writer
    await sent(root, Keep(), form="jsonl", cursor=cursor)
    stop.set()
    assert verify_records(lines, public_key=KEY.public_key).ok
    assert len(lines) == len(set(lines)) == len(list(read_lines(root)))
