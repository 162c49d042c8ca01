"""The bill of materials (CycloneDX): the product, each library that one of its extras needs, with its version and licence."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from checks.tree import ROOT
from release import baseline
from release.tree import run

STATED = {"protobuf": "BSD-3-Clause"}
"""The licence of each library whose metadata has none, read in its own LICENSE file."""
UV = ROOT / ".tools" / "bin" / "uv"


def build(tree: Path, out: Path, time: str) -> Path:
    """Install all libraries of the product from their pins, and list them.

    Raises:
        SystemExit: A program failed, or a library states no licence.
    """
    environment = tree / ".venv-product"
    run(UV, "venv", "-q", "--python", sys.executable, environment, folder=tree)
    pins = tree / "requirements" / "product.txt"
    run(UV, "pip", "sync", "-q", "--require-hashes", "--python", environment / "bin" / "python", pins, folder=tree)
    path = out / "strongroom.cdx.json"
    run(
        *(Path(sys.executable).with_name("cyclonedx-py"), "environment", "--output-reproducible"),
        *("--pyproject", "pyproject.toml", "--mc-type", "library", "-o", path, environment),
        folder=tree,
        SOURCE_DATE_EPOCH=time,
    )
    bill = json.loads(path.read_text(encoding="utf-8"))
    for each in bill["components"]:
        if each["name"] in STATED and not each.get("licenses"):
            each["licenses"] = [{"license": {"id": STATED[each["name"]]}}]
    state_glibc(bill)
    path.write_text(f"{json.dumps(bill, indent=2, sort_keys=True)}\n", encoding="utf-8")
    missing = without_licence(bill)
    if missing:
        raise SystemExit(
            f"no licence is stated by {', '.join(missing)}. Read it in their source, and add it to STATED in .ci/release/sbom.py."
        )
    return path


def state_glibc(bill: dict) -> None:
    """State in a bill the oldest glibc on which the kernel's wheel works. The wheel has a bill of its crates, without glibc."""
    bill["metadata"].setdefault("properties", []).append({"name": "strongroom:kernel:glibc", "value": baseline.VERSION})


def without_licence(bill: dict) -> list[str]:
    """Return the names of the components that have no licence."""
    return sorted(each["name"] for each in bill["components"] if not each.get("licenses"))
