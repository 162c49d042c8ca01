from __future__ import annotations

import importlib

import pytest

from benchmarks.sealing import contenders
from benchmarks.sealing.batches import cells, rows_of
from benchmarks.sealing.contenders import gather, hand_written, native_limit, ours
from benchmarks.sealing.contenders.protocol import samplers_of

ROWS = rows_of(300, 5)
TIMED_INSIDE = "native_limit"


@pytest.fixture(params=[name for name in contenders.MODULES if name != TIMED_INSIDE])
def found(request):
    """The contenders of one module; one whose library is not installed is skipped, by name."""
    several, absent = gather([request.param])
    if not several:
        pytest.skip(f"{request.param}: {absent[request.param]}")
    return several


def test_each_contender_opens_what_it_sealed(found):
    """A batch, and a row alone, come back as they were; what is stored is not the plaintext."""
    for contender in found:
        sealed = contender.seal(ROWS)
        for (_, plaintext), value in zip(ROWS, sealed, strict=True):
            assert plaintext not in (value if isinstance(value, bytes) else repr(value).encode())
        opened = contender.open([(key, value) for (key, _), value in zip(ROWS, sealed, strict=True)])
        assert [bytes(plaintext) for plaintext in opened] == [plaintext for _, plaintext in ROWS]
        key, plaintext = ROWS[0]
        assert bytes(contender.open_one(key, contender.seal_one(key, plaintext))) == plaintext


def test_altered_rows_are_refused(found):
    """Each contender does cryptography: a value with one bit flipped opens nowhere."""
    for contender in found:
        key, plaintext = ROWS[0]
        value = contender.seal_one(key, plaintext)
        if not isinstance(value, bytes):
            continue  # text or an object: nothing to flip a bit of
        broken = value[:-1] + bytes([value[-1] ^ 1])
        with pytest.raises(Exception):  # noqa: B017, PT011 - each library has its own
            contender.open_one(key, broken)


def test_a_missing_library_is_left_out_by_name(monkeypatch):
    """A contender that is not installed is named with the reason, and the others take part."""

    def missing(name):
        if name.endswith("tink_aead"):
            raise ModuleNotFoundError(name="tink")
        return importlib.__import__(name, fromlist=["contenders"])

    monkeypatch.setattr(contenders, "import_module", missing)
    several, absent = gather(["hand_written", "tink_aead"])
    assert [each.name for each in several] == [hand_written.NAME, hand_written.AGAIN]
    assert absent == {"tink_aead": "tink is not installed"}


def test_a_native_limit_that_is_not_built_is_left_out_by_name(monkeypatch, tmp_path):
    """A test never compiles it, which takes a minute; the report is made without it, and gives the reason."""
    native_limit.library.cache_clear()
    monkeypatch.setattr(native_limit, "LIBRARY", tmp_path / "none.so")
    assert gather([TIMED_INSIDE]) == ([], {TIMED_INSIDE: "it is not built: run `make bench-env`, which needs cargo"})


def test_associated_data_is_as_long_as_it_is_said_to_be():
    """The native limit is given as many bytes as a row of ours has: header, context and key of FORMAT.md."""
    context = 1 + 16 + 16 + (2 + len("history_node")) + (2 + len("data")) + 2 + 1 + 6
    assert ours.associated_bytes() == 8 + context + 8 + 16 + 16 + 3 * 8


def test_the_native_limit_seals_what_another_library_seals():
    """AWS-LC's rows are compared with another library's before they are timed."""
    if not native_limit.LIBRARY.exists():
        pytest.skip("benchmarks/sealing/native_limit is not built: `make bench` builds it in minutes")
    sampled = samplers_of(native_limit.contenders()[0], len(ROWS), ROWS)
    assert sampled["seal"]() > 0
    assert sampled["open"]() > 0


def test_cells_have_every_contender_in_every_round():
    """The matrix has a cell for each operation, with as many rounds as were asked for."""
    several, _ = gather(["hand_written", "ours"])
    found = cells(several, sizes=(64,), batches=(1, 10), rounds=2)
    assert [(each["operation"], each["batch"]) for each in found] == [
        ("seal", 1),
        ("open", 1),
        ("seal", 10),
        ("open", 10),
    ]
    for each in found:
        assert set(each["rounds"]) == {contender.name for contender in several}
        assert all(len(taken) == 2 and min(taken) > 0 for taken in each["rounds"].values())
