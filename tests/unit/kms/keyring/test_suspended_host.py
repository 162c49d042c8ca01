"""A machine that was suspended does not seal with the keys that it had before."""

from __future__ import annotations

import time

import pytest

from strongroom.kms import CachePolicy, PartType, RecordKind, rotate_data_key
from strongroom.kms.keyring.elapsed import elapsed

KIND = RecordKind("record", "data", (PartType.INT64,))
BOOT_TIME = getattr(time, "CLOCK_BOOTTIME", None)


@pytest.mark.skipif(BOOT_TIME is None, reason="this system has no clock that stops while the machine is suspended")
async def test_a_suspended_host_reads_the_registry_again(deployment, monkeypatch):
    """The keys are rotated elsewhere while a host sleeps for longer than the encrypt TTL. Its first row has the new version."""
    namespace = await deployment.namespace()
    host = deployment.another_process(clock=elapsed)
    assert (await host.open(namespace)).seal(KIND, (1,), b"before")[4:8] == (1).to_bytes(4, "big")
    await rotate_data_key(deployment.keyring, namespace)
    asleep, real = CachePolicy().encrypt_ttl + 1, time.clock_gettime
    monkeypatch.setattr(time, "clock_gettime", lambda clock: real(clock) + (asleep if clock == BOOT_TIME else 0))
    assert (await host.open(namespace)).seal(KIND, (1,), b"after")[4:8] == (2).to_bytes(4, "big")


def test_a_keyring_counts_suspended_time(deployment):
    """It is the clock of a keyring that names none, as that of a service."""
    options = {"cell_id": deployment.keyring.cell_id, "providers": {}, "store": deployment.store}
    assert type(deployment.keyring)(**options)._clock is elapsed
