"""The deadlines of a KMS: what counts as its slowness, and what doesn't."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest

from strongroom.kms import KekRef, KmsTimeout, LocalProvider, ResilientProvider, RetryPolicy, Secret, Wrapped
from strongroom.kms.loop_deadline import loop_deadline
from strongroom.kms.provider import Capabilities

KEK = KekRef("kms", "a")
ROOT = Secret(bytes(range(32)))
GENEROUS = 60.0  # only reached by a failing test


class WaitingKms:
    """A KMS whose answers a test releases."""

    def __init__(self, *, remote):
        self.capabilities = Capabilities("native", "client", 200, "immediate", remote=remote)
        self.release = asyncio.Event()
        self.running = self.most = self.asked = 0

    async def unwrap(self, _wrapped, *, context):
        """Wait for the release, and count concurrent calls."""
        assert context == {}
        self.asked += 1
        self.running += 1
        self.most = max(self.most, self.running)
        await self.release.wait()
        self.running -= 1
        return ROOT


def unwrap(provider):
    return provider.unwrap(Wrapped(KEK, "1", b"x"), context={})


async def test_an_answer_that_arrived_while_the_loop_was_blocked_counts():
    """The machine is busy for longer than the deadline, the server is not: its answer is in the socket and must be used."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    answered = threading.Event()

    def answer():
        theirs.recv(1)
        theirs.send(b"answer")
        answered.set()

    server = threading.Thread(target=answer)
    server.start()

    def block():
        answered.wait(GENEROUS)
        time.sleep(0.3)

    loop = asyncio.get_running_loop()
    async with loop_deadline(0.2):
        await loop.sock_sendall(ours, b"?")
        loop.call_soon(block)
        assert await loop.sock_recv(ours, 100) == b"answer"
    server.join()
    ours.close()
    theirs.close()


async def test_many_short_stalls_are_not_counted_in_full():
    """A loop that gets a fraction of the processor is late for each tick. Only ticks count, so the call ends after its work."""
    async with loop_deadline(0.1):
        for _ in range(15):
            asyncio.get_running_loop().call_soon(time.sleep, 0.02)  # 0.3 s in all
            await asyncio.sleep(0)
            await asyncio.sleep(0)


async def test_a_server_that_never_answers_meets_the_deadline():
    """The deadline ends a call on an idle loop, and a cancellation from outside stays a cancellation."""
    with pytest.raises(TimeoutError):
        async with loop_deadline(0.05):
            await asyncio.Event().wait()
    task = asyncio.ensure_future(_waiting())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def _waiting():
    async with loop_deadline(GENEROUS):
        await asyncio.Event().wait()


async def test_a_kms_in_this_process_has_no_networks_deadline():
    """A file on a slow machine takes longer than the deadline of a network: no error, and the breaker stays closed."""
    kms = WaitingKms(remote=False)
    provider = ResilientProvider("kms", kms, policy=RetryPolicy(deadline=0.01))
    calls = [asyncio.ensure_future(unwrap(provider)) for _ in range(20)]
    await asyncio.sleep(0.1)
    kms.release.set()
    assert await asyncio.gather(*calls) == [ROOT] * 20
    assert provider._breakers[KEK].failures == 0
    silent = ResilientProvider("kms", WaitingKms(remote=True), policy=RetryPolicy(deadline=0.01, attempts=1))
    with pytest.raises(KmsTimeout, match=r"within 0\.01 s"):
        await unwrap(silent)


def test_files_and_modules_are_not_remote(tmp_path):
    """The keyring file is in this process."""
    assert not LocalProvider("local", tmp_path / "keyring.json").capabilities.remote


async def test_a_call_in_the_queue_has_its_whole_deadline():
    """A thousand cold namespaces at once: few calls run at a time, and the wait for them is not the KMS's slowness."""
    now = [0.0]
    kms = WaitingKms(remote=True)
    policy = RetryPolicy(deadline=1.0, at_once=4)
    provider = ResilientProvider("kms", kms, policy=policy, clock=lambda: now[0])
    calls = [asyncio.ensure_future(unwrap(provider)) for _ in range(1000)]
    for _ in range(10):
        await asyncio.sleep(0)
    assert kms.asked == 4
    now[0] += 3600.0  # the calls in the queue have waited for an hour
    kms.release.set()
    assert await asyncio.gather(*calls) == [ROOT] * 1000
    assert (kms.asked, kms.most) == (1000, 4)
