from __future__ import annotations

import sys
import sysconfig
import zipfile
from pathlib import PurePosixPath

import pytest

from checks.tree import tracked_files
from tests.support.release import run
from tests.support.tree import ROOT

pytestmark = pytest.mark.integration

FOLDERS = ("kms", "storage", "visibility", "driver")
NEEDED = {
    "strongroom/driver/cli/main.py",
    "strongroom/driver/py.typed",
    "strongroom/driver/demo/sample/workflows.jsonl.gz",
    "strongroom/kms/py.typed",
    "strongroom/storage/py.typed",
    "strongroom/storage/sql/histories/histories.sql",
    "strongroom/storage/sql/schema/migrations/0001_pre_initial.sql",
    "strongroom/kms/sealing/visibility_dictionary.txt",
    "strongroom/kms/sealing/visibility_dictionary_tables.bin",
    "strongroom/visibility/filter/list_filter.lark",
    "strongroom/visibility/py.typed",
}
SUFFIXES = {".py", ".sql", ".md", ".lark", ".txt", ".bin", ".gz", ".typed"}


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The Python of a clean environment into which the wheel was installed; our dependencies can be imported there."""
    folder = tmp_path_factory.mktemp("installed")
    uv = ROOT / ".tools" / "bin" / "uv"
    python = folder / "venv" / "bin" / "python"
    if uv.exists():
        run(uv, "venv", "-q", "--offline", "--python", sys.executable, "venv", folder=folder)
        run(uv, "pip", "install", "-q", "--offline", "--no-deps", "--python", python, wheel, folder=folder)
    else:
        run(sys.executable, "-m", "venv", "venv", folder=folder)
        run(python, "-m", "pip", "install", "-q", "--no-index", "--no-deps", wheel, folder=folder)
    return python


def in_it(installed, tmp_path, code):
    """Run code in the clean environment, in an empty folder, and return what it printed."""
    # Behind the environment's own packages, and without the .pth files through which the working tree is importable here.
    return run(installed, "-c", code, folder=tmp_path, PYTHONPATH=sysconfig.get_paths()["purelib"]).strip()


def test_the_only_top_level_name_is_strongroom(wheel):
    """The wheel installs only the package `strongroom`, and its record lists nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        [record] = [name for name in names if name.endswith(".dist-info/RECORD")]
        recorded = [line.rsplit(",", 2)[0] for line in archive.read(record).decode().splitlines()]
    assert set(recorded) == set(names)
    tops = {PurePosixPath(name).parts[0] for name in names}
    assert tops == {"strongroom", PurePosixPath(record).parts[0]}
    assert tops.isdisjoint(FOLDERS)


def test_every_file_of_the_packages_is_inside(wheel):
    """Code, SQL, grammar, sample, word list, type marks and documents of the four folders are all in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if name.startswith("strongroom/")}
    wanted = {
        f"strongroom/{name}"
        for name in tracked_files()
        if name.parts[0] in FOLDERS and name.suffix in SUFFIXES | {name.name}
    }
    assert wanted >= NEEDED
    assert wanted - inside == set()
    assert inside - wanted == set()


def test_the_metadata_names_one_import(installed, tmp_path):
    """What Python knows of the installed distribution: one import name, and the command."""
    code = (
        "import importlib.metadata as m; d = m.distribution('strongroom'); "
        "print(sorted({str(f).split('/')[0] for f in d.files if '.dist-info' not in str(f) and '..' not in str(f)}), "
        "[e.name for e in d.entry_points if e.group == 'console_scripts'])"
    )
    assert run(installed, "-c", code, folder=tmp_path).strip() == "['strongroom'] ['strongroom']"


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_folders_are_not_importable_by_their_own_names(installed, tmp_path, folder):
    """`import kms` and its like find nothing: a second copy of each class can't come into being."""
    code = f"import importlib.util; print(importlib.util.find_spec('{folder}'))"
    assert in_it(installed, tmp_path, code) == "None"


def test_the_command_line_works_from_the_wheel(installed, tmp_path):
    """Installed, it imports from its own place and finds its own SQL, grammar, sample and word list."""
    code = (
        "import strongroom.driver.cli.main as cli, strongroom.storage.schema.migrations as migrations\n"
        "from importlib.resources import files\n"
        "from pathlib import Path\n"
        "from strongroom.driver.importing.import_file import read_import_file\n"
        "from strongroom.visibility import parse_filter\n"
        "parse_filter(\"WorkflowType = 'x'\")\n"
        "sample = Path(str(files('strongroom.driver.demo') / 'sample' / 'workflows.jsonl.gz'))\n"
        "print(migrations.current_version() >= 1, len(read_import_file(sample)), Path(cli.__file__).parents[3])"
    )
    site = run(installed, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])", folder=tmp_path).strip()
    assert in_it(installed, tmp_path, code) == f"True 346 {site}"
    shown = run(
        installed.with_name("strongroom"), "--help", folder=tmp_path, PYTHONPATH=sysconfig.get_paths()["purelib"]
    )
    assert "Usage: strongroom" in shown
