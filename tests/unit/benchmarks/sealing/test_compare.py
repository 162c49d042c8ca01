from __future__ import annotations

import shutil

from benchmarks.sealing.compare import AGAIN, BASE, CHANGED, PACKAGES, compare, judge, link, told
from tests.support.tree import ROOT

SHAPES = ((256, 100, False),)
QUICK = {"shapes": SHAPES, "ciphers": ["python"], "starts": 1, "rounds": 15}
PLACE = "        count = len(rows)\n"
PLANTED = "        for _ in range(count * 2000):\n            pass\n"


def slowed(folder):
    """Copy this version, with a loop planted in what seals each batch; return its library."""
    tree = folder / "tree"
    for name in PACKAGES:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    path = tree / "kms" / "keys" / "data_key.py"
    text = path.read_text()
    assert text.count(PLACE) == 1
    path.write_text(text.replace(PLACE, PLACE + PLANTED))
    return link(tree, folder / "library")


def test_a_planted_slowdown_is_told(tmp_path):
    """Sealing is ten times slower and is reported; opening did not change and is not reported."""
    base = link(ROOT, tmp_path / "base")
    found = {each.cell[1]: each for each in compare(base, slowed(tmp_path / "slow"), least=2.0, **QUICK)}
    assert found["seal"].verdict == "SLOWER"
    assert found["seal"].factor > 2
    assert found["open"].verdict == ""
    assert "1 of 2 cells slower" in told(list(found.values()))


def test_the_same_code_shows_no_change(tmp_path):
    """Base against base: nothing is reported."""
    base, same = link(ROOT, tmp_path / "base"), link(ROOT, tmp_path / "same")
    found = compare(base, same, least=2.0, **QUICK)
    assert [each.verdict for each in found] == ["", ""]
    assert "no change beyond the noise" in told(found)


def rounds(base, again, changed):
    return [{BASE: b, AGAIN: a, CHANGED: c} for b, a, c in zip(base, again, changed, strict=True)]


def test_a_change_must_exceed_what_the_base_differs_by_from_itself():
    """Where the base's own processes differ by a tenth in one cell, a change by a twentieth in another is not reported."""
    quiet, noisy = ("python", "seal", 64, 100, False), ("python", "open", 64, 100, False)
    slower = rounds([100.0] * 9, [100.0] * 9, [105.0] * 9)
    calm = judge({quiet: slower, noisy: rounds([100.0] * 9, [100.0] * 9, [100.0] * 9)})
    assert [each.verdict for each in calm] == ["SLOWER", ""]
    restless = judge({quiet: slower, noisy: rounds([100.0] * 9, [110.0] * 9, [104.9] * 9)})
    assert [each.verdict for each in restless] == ["", ""]


def test_a_change_must_exceed_the_scatter_of_its_rounds():
    """A median of a few rounds that are far apart says nothing; the same median of steady rounds does."""
    cell = ("python", "seal", 64, 100, False)
    level = [100.0] * 9
    scattered = judge({cell: rounds(level, level, [70.0, 80.0, 90.0, 100.0, 106.0, 110.0, 120.0, 130.0, 140.0])})
    assert scattered[0].verdict == ""
    steady = judge({cell: rounds(level, level, [105.0, 105.5, 106.0, 106.0, 106.0, 106.0, 106.5, 107.0, 106.0])})
    assert steady[0].verdict == "SLOWER"
    faster = judge({cell: rounds(level, level, [94.0] * 9)})
    assert faster[0].verdict == "faster"
