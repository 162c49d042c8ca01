from __future__ import annotations

import subprocess
import sys
import textwrap

SCRIPT = """
import sys

ALLOWED = {"cryptography", "_cffi_backend", "orjson", "strongroom", "strongroom_kernel", "zstandard", *sys.stdlib_module_names}


class OnlyTheDependencies:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in ALLOWED and not top.startswith("__editable__"):
            raise ImportError(f"{name} is not a dependency of strongroom.kms")
        return None


sys.meta_path.insert(0, OnlyTheDependencies())
import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import strongroom.kms as kms
from strongroom.kms.sealing.record_kinds import HISTORY_TREE

try:
    import strongroom.kms.providers.aws
except ImportError as error:
    print(error)


async def wrap_and_unwrap(file):
    provider = kms.LocalProvider("local", file)
    await provider.create_keyring()
    kek = await provider.create_kek("tests")
    generated = await provider.generate_data_key(kek, context={})
    root = await provider.unwrap(generated.wrapped, context={})
    print(root.reveal() == generated.root.reveal())


with TemporaryDirectory() as folder:
    asyncio.run(wrap_and_unwrap(Path(folder) / "keyring.json"))
print(HISTORY_TREE.name)
"""


def test_kms_needs_no_other_distribution():
    """`strongroom.kms` works with its declared dependencies alone. A KMS's client is imported by that KMS's package only."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(SCRIPT)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, *others = done.stdout.split("\n")
    assert first.endswith("is not a dependency of strongroom.kms")
    assert others == ["True", "history_tree", ""]
