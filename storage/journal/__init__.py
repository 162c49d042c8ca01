"""The journal: what each write added to a shard, so that a verification finds rows that were put back, deleted or brought back.

A write inserts an entry into the table `journal` in its own transaction (`writer.py`). The entry is sealed. It has the sums of the
images (`images.py`) of the rows that the write adds, and names the rows that it may replace or delete. The statement adds the images
of the rows that it did replace. Folding (`folding.py`, `shard_folder.py`) takes entries out of the table and into the sealed sums of
the shard (`sums.py`). Verification (`keeping.py`) compares sums and entries with the rows.

`storage/DESIGN.md`, "Journal", has the protocol, and what the database can and can't do.
"""
