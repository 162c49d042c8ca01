"""The search index in Elasticsearch: a copy of the sealed records, which can be dropped and built again.

refusals.py        why an index refuses requests, and what to do
layout.py          the index behind an alias: checked, and described
mapping.py         fields and settings of the index, and its version
documents.py       a record's row as a document, and a search hit as a row
query.py           a token query in Elasticsearch's query language
cluster.py         one request with retries, a deadline and errors of this project
answers.py         checks of answers
bulk.py            the actions of a bulk request, and their results
delivery.py        documents that the cluster refuses, found by halves
client.py          the connection to a cluster: searches, snapshots, bulk requests
administration.py  create, check and drop an index
reader.py          `ElasticsearchReader`: lists and counts of one namespace
deletion.py        delete a namespace's documents
inventory.py       `ElasticsearchInventory`: all documents, compared with the records
index.py           `ElasticsearchIndex`: the `SearchIndex`
"""

from .administration import IndexSettings
from .index import ElasticsearchIndex
from .layout import ClusterHealth, IndexLayout

__all__ = ["ClusterHealth", "ElasticsearchIndex", "IndexLayout", "IndexSettings"]
