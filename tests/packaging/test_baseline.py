"""The glibc that the kernel's wheel promises."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from release import baseline
from release.sbom import state_glibc
from tests.support.services import missing
from tests.support.tree import ROOT

pytestmark = pytest.mark.integration

GOOD_TAG = f"{baseline.TAG}_x86_64"
PAGES = ("CONTRIBUTING.md", "CHANGELOG.md", "kernel/README.md", "docs/policy/stability.md", "kms/DESIGN.md")


@pytest.fixture(scope="module")
def library_needing(tmp_path_factory):
    """A function that makes a library which needs one symbol, `used`, of a version of a C library made for it."""
    if not (shutil.which("cc") and shutil.which("readelf")):
        missing("no C compiler (cc) or no readelf (binutils), which the tests of the kernel's baseline need")

    def make(version):
        folder = tmp_path_factory.mktemp("library")
        (folder / "libc.c").write_text("void used(void) {}\n")
        (folder / "versions").write_text(f"{version} {{ used; }};\n")
        (folder / "kernel.c").write_text("void used(void);\nvoid caller(void) { used(); }\n")
        cc = ("cc", "-shared", "-nostdlib", "-fPIC", "-o")
        options = ("-Wl,-soname,libc.so.6", "-Wl,--version-script=versions")
        subprocess.run([*cc, "libc.so.6", "libc.c", *options], cwd=folder, check=True)
        subprocess.run([*cc, "kernel.so", "kernel.c", "./libc.so.6"], cwd=folder, check=True)
        return folder / "kernel.so"

    return make


def wheel_with(folder, tag, *libraries):
    """Return a wheel of a name with a tag, which contains the libraries."""
    wheel = folder / f"strongroom_kernel-0.1.0-cp311-abi3-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for number, library in enumerate(libraries):
            archive.write(library, f"strongroom_kernel/kernel{number}.abi3.so")
    return wheel


@pytest.mark.parametrize("version", ["GLIBC_2.2.5", "GLIBC_2.9", f"GLIBC_{baseline.VERSION}"])
def test_a_wheel_with_older_symbols_is_fine(library_needing, tmp_path, version):
    """Versions are compared as numbers: 2.9 is older than 2.34."""
    baseline.check_wheel(wheel_with(tmp_path, GOOD_TAG, library_needing(version)))


@pytest.mark.parametrize("version", ["GLIBC_2.35", "GLIBC_2.100", "GLIBC_3.0", "GLIBC_ABI_DT_RELR"])
def test_a_library_that_needs_a_newer_glibc_is_refused(library_needing, tmp_path, version):
    """Also if another library of the wheel needs none. The message names version, symbol and what to do."""
    wheel = wheel_with(tmp_path, GOOD_TAG, library_needing("GLIBC_2.2.5"), library_needing(version))
    with pytest.raises(SystemExit) as refused:
        baseline.check_wheel(wheel)
    message = str(refused.value)
    assert message.startswith(f"kernel1.abi3.so needs {version}, and its wheel promises glibc {baseline.VERSION}. ")
    assert f"Symbols: used ({version})." in message
    assert "Build on a system with an older glibc." in message


@pytest.mark.parametrize("tag", ["linux_x86_64", f"{baseline.TAG}0_x86_64", "manylinux_2_17_x86_64"])
def test_a_wheel_with_another_tag_is_refused(library_needing, tmp_path, tag):
    """A wheel for this machine only, or for another glibc, even though its symbols would do."""
    with pytest.raises(SystemExit, match=f"does not have the platform tag {baseline.TAG}"):
        baseline.check_wheel(wheel_with(tmp_path, tag, library_needing("GLIBC_2.9")))


def test_a_wheel_without_a_library_is_refused(tmp_path):
    """A check that finds nothing to read is not passed."""
    with pytest.raises(SystemExit, match="has no library"):
        baseline.check_wheel(wheel_with(tmp_path, GOOD_TAG))


def test_the_kernel_here_needs_no_newer_glibc():
    """This environment's kernel was built by the same compiler as a wheel, which takes minutes, and it needs the same symbols."""
    found = importlib.util.find_spec("strongroom_kernel")
    if found is None or found.origin is None:
        pytest.skip("the kernel is not in this environment")
    [library] = Path(found.origin).parent.glob("*.so")
    try:
        baseline.check_library(library)
    except SystemExit as newer:
        missing(f"no wheel of the kernel can be built on this machine: {newer}")


def test_the_bill_of_materials_states_the_glibc():
    """As a property of the bill, next to those that it has."""
    other = {"name": "other", "value": "kept"}
    bill = {"metadata": {"properties": [other]}}
    state_glibc(bill)
    assert bill["metadata"]["properties"] == [other, {"name": "strongroom:kernel:glibc", "value": baseline.VERSION}]


@pytest.mark.parametrize("page", PAGES)
def test_pages_name_the_glibc_that_is_checked(page):
    """Each page that states what the kernel's wheel needs."""
    assert f"glibc {baseline.VERSION}" in (ROOT / page).read_text(encoding="utf-8")
