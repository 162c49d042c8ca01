"""The plaintext copy: Temporal's Elasticsearch store as an oracle for sealed visibility.

There are two oracles, which share only the parser of the filter language. `PlaintextCopy` asks a real Elasticsearch with Temporal's
own mapping and queries. `model` decides in plain Python. Only `records.py` imports the code under test; it converts its records.

A document is a dict of values by attribute. A value is a text, int, float or bool; a list of texts for a KeywordList; nanoseconds
since 1970 for a Datetime. An attribute without a value has no entry.

    attributes = Attributes({"Customer": "Keyword", "Price": "Double"})
    plaintext_copy = PlaintextCopy.create(client, index, attributes)
    plaintext_copy.write(documents)
    plaintext_copy.run_ids("Customer = 'ada'") == model.run_ids("Customer = 'ada'", documents, attributes)

Temporal's language has some pitfalls. The oracles avoid them unless asked for `faithful` answers:

- A time without a fraction means its whole second in `=`, `IN`, `<=`, `>` and BETWEEN, because Elasticsearch fills in the rest.
- Lucene orders runs with equal close and start times; the oracles order them by run id.
- Times outside 1970..2262, and numbers outside 64 bits, are refused in a range of a Datetime or an Int.
- GROUP BY returns the ten largest groups.

The parser always corrects these: `-1.5` is a number, apostrophes at the ends of a text are kept, long names of statuses mean the
short ones, a list follows IN only, and HAVING, FOR UPDATE and UNION are refused.
"""

from __future__ import annotations

from . import model
from .attributes import Attribute, Attributes, InvalidFilter
from .elastic import temporal_query
from .generate import CUSTOM, NAMESPACE, random_condition, random_documents, random_filter
from .index import PlaintextCopy
from .mapping import index_body, source_of
from .model import matches

__all__ = [
    "CUSTOM",
    "NAMESPACE",
    "Attribute",
    "Attributes",
    "InvalidFilter",
    "PlaintextCopy",
    "index_body",
    "matches",
    "model",
    "random_condition",
    "random_documents",
    "random_filter",
    "source_of",
    "temporal_query",
]
