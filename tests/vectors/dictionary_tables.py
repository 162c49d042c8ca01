"""The program that made `kms/sealing/visibility_dictionary_tables.bin`.

It was run as `python -m tests.vectors.dictionary_tables > tables.bin`. The file never changes, because sealed records need it.
The file is the part before the content in a dictionary of zstd's own format (RFC 8878, section 5). It holds an id, and entropy
tables that were trained on made-up records. A frame that uses the tables needs none of its own, which would take a tenth of a
short record and most of its decompression time. The content of the dictionary is `kms/sealing/visibility_dictionary.txt`, so that
the product contains no byte of a sample.
"""

from __future__ import annotations

import base64
import random
import sys
from types import MappingProxyType
from uuid import UUID

import zstandard

from strongroom.visibility import VisibilityRecord
from strongroom.visibility.index.record_packing import pack_record

ID = 1
SAMPLES = 3000
_LEAST_CONTENT = 512
_REPEATED_OFFSETS = b"".join(offset.to_bytes(4, "little") for offset in (1, 4, 8))
"""The end of the tables: the offsets that a frame may repeat before it has used any."""
SECOND = 10**9
WORDS = (
    "invoice customer shipment approve retry monthly daily report sync user account stock price contract claim patient lab result "
    "transfer ledger audit import export render video image upload train model deploy cluster backup restore notify email sms signal "
    "timer refund cart checkout quote policy ticket device sensor batch payroll onboarding review scan index archive tenant region"
).split()
STATUSES = ("Completed", "Running", "Failed", "Terminated", "TimedOut", "Canceled", "ContinuedAsNew")
SHARES = (78, 10, 4, 2, 2, 2, 2)


def uuid(rng: random.Random) -> str:
    """Return a random id."""
    return str(UUID(int=rng.getrandbits(128), version=4))


def words(rng: random.Random, count: int, between: str) -> str:
    """Return random words."""
    return between.join(rng.choices(WORDS, k=count))


def workflow_id(rng: random.Random) -> str:
    """Return a random workflow id, in one of the common forms."""
    forms = (
        lambda: f"{words(rng, 1, '')}-{rng.randrange(10**6)}",
        lambda: f"{words(rng, 2, '/')}/{rng.randrange(10**5):05}",
        lambda: uuid(rng),
        lambda: f"{words(rng, 2, '_')}_2026-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}",
        lambda: f"{words(rng, 1, '')}:{uuid(rng)}",
    )
    return rng.choice(forms)()


def memo(rng: random.Random) -> bytes:
    """Return a random memo: none, a JSON payload, or bytes as text."""
    forms = (
        lambda: b"",
        lambda: b"\n\x16\n\x08encoding\x12\njson/plain\x12" + f'{{"note":"{words(rng, 5, " ")}"}}'.encode(),
        lambda: rng.randbytes(rng.randint(10, 60)).hex().encode(),
        lambda: base64.b64encode(rng.randbytes(rng.randint(10, 60))),
    )
    return rng.choice(forms)()


def search_attributes(rng: random.Random) -> dict[str, object]:
    """Return random custom attributes of all types."""
    possible = {
        "BuildIds": ("unversioned",),
        words(rng, 1, "").title() + "Id": f"{words(rng, 1, '')}-{rng.randrange(10**5)}",
        words(rng, 1, "").title(): words(rng, 1, ""),
        "Amount": round(rng.lognormvariate(4, 2), 2),
        words(rng, 1, "").title() + "Count": rng.randrange(1000),
        "Is" + words(rng, 1, "").title(): rng.random() < 0.5,
        "DueBy": 1_700_000_000 * SECOND + rng.randrange(10**17),
        "Tags": tuple(rng.sample(WORDS, rng.randint(1, 3))),
        "Note": words(rng, 6, " "),
    }
    return dict(rng.sample(sorted(possible.items()), rng.randint(0, 6)))


def sample(rng: random.Random) -> bytes:
    """Return the packed form of a random record."""
    start = 1_700_000_000 * SECOND + rng.randrange(10**17)
    own, run = workflow_id(rng), uuid(rng)
    has_parent = rng.random() < 0.25
    record = VisibilityRecord(
        workflow_id=own,
        run_id=run,
        workflow_type="".join(word.title() for word in rng.sample(WORDS, rng.randint(1, 3))),
        execution_status=rng.choices(STATUSES, SHARES)[0],
        task_queue=rng.choice((f"{words(rng, 1, '')}-queue", "default", words(rng, 1, ""), words(rng, 2, "-"))),
        start_time=start,
        execution_time=start,
        parent_workflow_id=workflow_id(rng) if has_parent else None,
        parent_run_id=uuid(rng) if has_parent else None,
        root_workflow_id=own,
        root_run_id=run,
        search_attributes=MappingProxyType(search_attributes(rng)),  # type: ignore[arg-type]
        memo=memo(rng),
    )
    if record.execution_status != "Running":
        duration = int(rng.lognormvariate(3, 2) * SECOND)
        record = record._replace(
            close_time=start + duration,
            execution_duration=duration,
            history_length=int(rng.lognormvariate(3.5, 1)) + 3,
            history_size_bytes=int(rng.lognormvariate(8.5, 1)),
            state_transition_count=rng.randrange(3, 80),
        )
    return b"".join(pack_record(record))


def tables() -> bytes:
    """Return the entropy tables."""
    rng = random.Random(20261126)  # noqa: S311 - repeatable
    trained = zstandard.train_dictionary(_LEAST_CONTENT, [sample(rng) for _ in range(SAMPLES)], level=1, dict_id=ID)
    whole = trained.as_bytes()
    return whole[: whole.index(_REPEATED_OFFSETS) + len(_REPEATED_OFFSETS)]


if __name__ == "__main__":
    sys.stdout.buffer.write(tables())
