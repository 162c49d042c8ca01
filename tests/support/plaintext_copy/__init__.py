"""The plaintext copy: what Temporal's Elasticsearch store answers, as an oracle for the sealed one. Test code.

Two oracles that share the parser of the filter language and nothing else: `Twin` asks a real Elasticsearch, with Temporal's
own mapping and queries; `model` decides in plain Python. Nothing here imports the code under test, but `records.py`, which
makes its records.

A document is a dict of values by attribute: custom ones by the name that the namespace gave them; text, int, float or bool;
a list of texts for a KeywordList; nanoseconds since 1970 for a Datetime; and no entry where there is no value.

    attributes = Attributes({"Customer": "Keyword", "Price": "Double"})
    twin = Twin.create(client, index, attributes)
    twin.write(documents)
    twin.run_ids("Customer = 'ada' ORDER BY Price") == model.run_ids("Customer = ...", documents, attributes)

Temporal's language has traps that nobody wants. The oracles leave them out unless asked for `faithful` answers:

- a time without fraction stands for its whole second in `=`, `IN`, `<=`, `>` and BETWEEN: Elasticsearch fills what is missing
- equal close and start times leave the order to Lucene; here the run id decides, as the index sort means it to
- times outside 1970..2262, and numbers outside 64 bits, are refused in a range of a Datetime or an Int
- GROUP BY counts the ten largest groups

These are corrected in the parser in any case: `-1.5` is a number, apostrophes at the ends of a text are kept, the long names of
statuses mean the short ones, a list is allowed only after IN, and HAVING, FOR UPDATE and UNION are refused.
"""

from __future__ import annotations

from . import model
from .attributes import Attribute, Attributes, InvalidFilter
from .elastic import temporal_query
from .generate import CUSTOM, NAMESPACE, random_condition, random_documents, random_filter
from .mapping import index_body, source_of
from .model import matches
from .twin import Twin

__all__ = [
    "CUSTOM",
    "NAMESPACE",
    "Attribute",
    "Attributes",
    "InvalidFilter",
    "Twin",
    "index_body",
    "matches",
    "model",
    "random_condition",
    "random_documents",
    "random_filter",
    "source_of",
    "temporal_query",
]
