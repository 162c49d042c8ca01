"""Checks of the tree that `make check` runs: phrases, commit messages, lengths of files, names of fixtures.

Each module runs by itself, for example `PYTHONPATH=.ci python -m checks.phrases`. It prints a line for each fault, and exits with 1 if
there is one.
"""
