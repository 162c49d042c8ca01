"""The search index in Elasticsearch: a copy of the sealed records, which can be dropped and built again.

mapping.py    fields and settings of the index, and its version
documents.py  a record's row as a document, and a hit as a row again
query.py      a token query as Elasticsearch takes it
cluster.py    one request: retried, bounded, its errors ours
audit.py      `ElasticsearchAudit`: what is in the index, held against the records
reader.py     `ElasticsearchReader`: lists and counts of one namespace
index.py      `ElasticsearchIndex`: made, written, read
"""

from .audit import ElasticsearchAudit
from .index import ElasticsearchIndex

__all__ = ["ElasticsearchAudit", "ElasticsearchIndex"]
