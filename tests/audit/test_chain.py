"""The kernel and `hashlib` make the same lines of the same records."""

from __future__ import annotations

import threading

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.driver.audit import chain
from strongroom.driver.audit.encoding import members, timestamp
from strongroom.kms import ciphers
from tests.audit.logs import HOSTILE

pytestmark = pytest.mark.skipif(
    ciphers.NATIVE not in ciphers.available(), reason="the kernel is not built into this environment: make kernel"
)
HEAD = b'{"stream":"501c75fb-f2b2-404a-95c7-03dd32253359","sequence":'
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.fixture(scope="module")
def native():
    """The kernel's function."""
    import strongroom_kernel  # noqa: PLC0415

    return strongroom_kernel.chained


@given(
    first=st.integers(1, 2**63),
    before=st.binary(min_size=32, max_size=32),
    fields=st.lists(st.dictionaries(TEXT, TEXT | st.integers(-(2**63), 2**63) | st.none(), min_size=1), max_size=20),
)
def test_both_make_the_same_lines(native, first, before, fields):
    """Of any number of records, from any number on."""
    said = [members(each) for each in fields]
    assert native(HEAD, first, before, said) == chain.chained(HEAD, first, before, said)


def test_a_line_is_one_record(native):
    """With its number, its chain, and what was said."""
    said = [members({"event": "x", "at": timestamp().decode(), "text": text}) for text in HOSTILE]
    lines, last = native(HEAD, 7, chain.GENESIS, said)
    found = [orjson.loads(line) for line in lines.splitlines()]
    assert [each["sequence"] for each in found] == list(range(7, 7 + len(HOSTILE)))
    assert [each["text"] for each in found] == list(HOSTILE)
    assert found[-1]["chain"] == last.hex()
    assert not any(byte < 32 or byte == 127 for byte in lines.replace(b"\n", b""))


@pytest.mark.parametrize(
    ("before", "said"), [(bytes(31), [b"x"]), (bytes(32), ["x"]), (bytes(32), [None]), (bytes(32), (b"x",))]
)
def test_what_is_no_record_is_refused(native, before, said):
    """By an error, never by reading beside it."""
    with pytest.raises((TypeError, ValueError)):
        native(HEAD, 1, before, said)


def test_other_threads_run_meanwhile(native):
    """The interpreter's lock is let go while records are chained."""
    said = [b"x" * 500] * 200_000
    done = threading.Event()
    counted = 0

    def chaining():
        native(HEAD, 1, chain.GENESIS, said)
        done.set()

    thread = threading.Thread(target=chaining)
    thread.start()
    while not done.is_set():
        counted += 1
    thread.join()
    assert counted > 1000
