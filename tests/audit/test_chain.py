"""The kernel and `hashlib` write the same lines of the same records."""

from __future__ import annotations

import errno
import os
import sys
import threading
from queue import SimpleQueue

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.driver.audit import chain
from strongroom.driver.audit.encoding import members, timestamp
from tests.support.audit.logs import HOSTILE

pytestmark = pytest.mark.usefixtures("native")
HEAD = b'{"stream":"501c75fb-f2b2-404a-95c7-03dd32253359","sequence":'
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.fixture(scope="module")
def chain_writers(tmp_path_factory):
    """Both functions: the kernel's and Python's. Each also returns the content of its file."""
    import strongroom_kernel  # noqa: PLC0415

    path = tmp_path_factory.mktemp("chain") / "lines"

    def writing(append):
        def write(*given):
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            try:
                length, after = append(file, 3, *given)
            finally:
                os.close(file)
            return path.read_bytes()[3:], length, after

        return write

    return writing(strongroom_kernel.append), writing(chain.append)


@given(
    first=st.integers(1, 2**63),
    before=st.binary(min_size=32, max_size=32),
    fields=st.lists(st.dictionaries(TEXT, TEXT | st.integers(-(2**63), 2**63) | st.none(), min_size=1), max_size=20),
)
def test_both_write_the_same_lines(chain_writers, first, before, fields):
    """Both write the same lines for any number of records and any first number."""
    said = [members(each) for each in fields]
    ours, python = (write(HEAD, first, before, said) for write in chain_writers)
    assert ours == python


def test_a_line_is_one_record(chain_writers):
    """Each line has its number, its chain and the record's members."""
    said = [members({"event": "x", "at": timestamp().decode(), "text": text}) for text in HOSTILE]
    lines, length, last = chain_writers[0](HEAD, 7, chain.GENESIS, said)
    found = [orjson.loads(line) for line in lines.splitlines()]
    assert [each["sequence"] for each in found] == list(range(7, 7 + len(HOSTILE)))
    assert [each["text"] for each in found] == list(HOSTILE)
    assert (found[-1]["chain"], length) == (last.hex(), len(lines))
    assert not any(byte < 32 or byte == 127 for byte in lines.replace(b"\n", b""))


@pytest.mark.parametrize(
    ("before", "said"), [(bytes(31), [b"x"]), (bytes(32), ["x"]), (bytes(32), [None]), (bytes(32), (b"x",))]
)
def test_what_is_no_record_is_refused(chain_writers, before, said):
    """A wrong argument is an error, and never a read outside of a buffer."""
    with pytest.raises((TypeError, ValueError)):
        chain_writers[0](HEAD, 1, before, said)


def test_an_error_of_the_file_is_an_oserror(tmp_path):
    """Both raise an error of the disk with its number, and leave the descriptor open."""
    import strongroom_kernel  # noqa: PLC0415

    (tmp_path / "file").touch()
    file = os.open(tmp_path / "file", os.O_RDONLY)
    for append in (strongroom_kernel.append, chain.append):
        with pytest.raises(OSError, match="Bad file descriptor") as raised:
            append(file, 0, HEAD, 1, chain.GENESIS, [b"x"])
        assert raised.value.errno == errno.EBADF
        with pytest.raises((OSError, ValueError)):
            append(-1, 0, HEAD, 1, chain.GENESIS, [b"x"])
    os.close(file)


def others_run_during(call, attempts):
    """Return whether another thread ran during one of some calls of a function in C.

    While this works, the interpreter takes its lock from no thread, so the other thread runs only if the function releases the lock.
    """
    begun, counted, seen = SimpleQueue(), [], []

    def calling():
        try:
            while attempts > len(seen) and not any(seen):
                begun.put(True)
                before = len(counted)
                call()
                seen.append(len(counted) > before)
        finally:
            begun.put(False)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        thread = threading.Thread(target=calling)
        thread.start()
        while begun.get():
            counted.append(1)
        thread.join()
    finally:
        sys.setswitchinterval(interval)
    return any(seen)


def test_other_threads_run_meanwhile(tmp_path):
    """The kernel releases the interpreter's lock while it chains and writes records. Control: a function of C that keeps the lock.

    On a busy machine the other thread may be late for a call, so it has many calls to run in.
    """
    import strongroom_kernel  # noqa: PLC0415

    said = [b"x" * 500] * 100_000
    file = os.open(tmp_path / "lines", os.O_RDWR | os.O_CREAT)
    try:
        assert others_run_during(lambda: strongroom_kernel.append(file, 0, HEAD, 1, chain.GENESIS, said), attempts=500)
    finally:
        os.close(file)
    assert not others_run_during(lambda: said.count(b"y"), attempts=20)
