from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import groupby
from urllib.parse import urlsplit

import pytest

from strongroom.driver.backup import check_set
from strongroom.driver.config import load_config
from strongroom.driver.doctor import Finding, examine, summary
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef
from tests.support.fixtures.cell import initialised
from tests.support.fixtures.command_line import faults, run_command
from tests.support.fixtures.raw_rows import execute, fetch

pytestmark = pytest.mark.integration
GROUPS = ["Cell", "TLS", "Database", "Audit", "Keys", "Anchors", "Namespaces", "Search", "Access"]


@pytest.fixture
async def doctor_cell(config_path):
    """An open cell with a namespace."""
    config = await initialised(config_path)
    async with Strongroom.open(config) as strongroom:
        await strongroom.create_kek(KekRef.parse("local:tenant"))
        await strongroom.namespaces.create("tenant", kek=KekRef.parse("local:tenant"))
        yield strongroom


def not_well(found):
    """Return the findings that are not ok, by check, without the notes that every cell of these tests has."""
    known = {(check, "note") for check in ("sealing and opening", "row-level security", "access control")}
    return {each.check: each for each in found if each.state != "ok" and (each.check, each.state) not in known}


async def test_a_healthy_cell(doctor_cell, config_path):
    """In a healthy cell every part is checked and shown once, no advice is given, and the command ends with 0."""
    assert doctor_cell.config.cell.region is None
    found = await examine(config_path)
    assert not_well(found) == {}
    assert [group for group, _ in groupby(found, key=lambda finding: finding.group)] == GROUPS
    done = await asyncio.to_thread(run_command, config_path.parent, "doctor")
    assert (done.returncode, faults(done.stderr)) == (0, "")
    assert [line for line in done.stdout.splitlines() if line in GROUPS] == GROUPS
    assert f"All {len(found)} checks passed" in done.stdout


async def test_each_fault_of_a_configuration_is_in_one_line(config_path):
    """A configuration with several faults is one finding of one line, without the escape of a line break."""
    config_path.write_text(config_path.read_text().replace("[database]", "[databse]"))
    (configuration, _) = await examine(config_path)
    assert configuration.text.endswith(
        "strongroom.toml has 2 faults: [database] is missing; add the section; [databse] is no section; did you mean database?"
    )
    done = await asyncio.to_thread(run_command, config_path.parent, "doctor")
    assert done.returncode == 1
    assert "\\n" not in done.stdout


@pytest.mark.parametrize(("limit", "state"), [(1, "note"), (2, None)])
async def test_a_key_cache_that_is_too_small_is_a_note(doctor_cell, config_path, limit, state):
    """With a namespace and the cell's own keys in a cache of one, each list would call the KMS. A cache of two is enough."""
    assert doctor_cell.namespaces is not None
    text = config_path.read_text()
    config_path.write_text(f"{text}\n[keys]\nmax_namespaces = {limit}\n")
    found = not_well(await examine(config_path)).get("key cache")
    assert (found and found.state) == state
    if found:
        assert "max_namespaces" in found.advice


async def test_an_older_version_of_a_kek_is_a_note(doctor_cell, config_path):
    """An older KEK version is a note with the command for it. The command ends with 0, and the note goes away when it was run."""
    await doctor_cell.keyring.provider("local").rotate_kek(KekRef.parse("local:tenant"))
    noted = not_well(await examine(config_path))
    assert {check: (finding.state, finding.advice) for check, finding in noted.items()} == {
        "KEK local:tenant": ("note", "Run: strongroom keys rewrap local:tenant")
    }
    done = await asyncio.to_thread(run_command, config_path.parent, "doctor")
    assert done.returncode == 0
    assert "with a note" in done.stdout
    assert (await asyncio.to_thread(run_command, config_path.parent, "keys", "rewrap", "local:tenant")).returncode == 0
    assert not_well(await examine(config_path)) == {}


async def test_keys_that_are_due_are_a_note(doctor_cell, config_path):
    """Data keys that are due are a note with the command that rotates them, and the note goes away when it was run."""
    old = datetime.now(UTC) - timedelta(days=91)
    await execute(doctor_cell, "UPDATE data_keys SET created_at = $1", old)
    noted = not_well(await examine(config_path))
    assert noted.keys() == {"data keys"}
    assert "keys rotate --due" in noted["data keys"].advice
    assert (await asyncio.to_thread(run_command, config_path.parent, "keys", "rotate", "--due")).returncode == 0
    assert not_well(await examine(config_path)) == {}


async def test_a_missing_kek_is_wrong_and_hides_nothing(doctor_cell, config_path):
    """A missing KEK and the namespace that needs it are wrong, with advice. All other checks still run."""
    other = await doctor_cell.create_kek(KekRef.parse("local:other"))
    await doctor_cell.namespaces.create("other", kek=other)
    await doctor_cell.keyring.provider("local").delete_kek(KekRef.parse("local:tenant"))
    found = await examine(config_path)
    ill = not_well(found)
    assert {finding.group for finding in ill.values()} == {"Keys", "Namespaces"}
    assert {finding.state for finding in ill.values()} == {"wrong"}
    assert "Restore the key" in ill["KEK local:tenant"].advice
    assert all(finding.advice for finding in ill.values())
    assert [finding.text for finding in found if finding.check == "open"] == ["1 of 2"]
    assert (await asyncio.to_thread(run_command, config_path.parent, "doctor")).returncode == 1


async def test_a_customers_kms_that_fails_hides_nothing(doctor_cell, config_path):
    """A KMS that is not the cell's own may fail. It is reported, and all other checks still run."""
    assert doctor_cell.config.kms.keys() == {"local"}
    config_path.write_text(config_path.read_text() + '\n[kms.customer]\ntype = "local"\nkeyring = "nowhere.json"\n')
    found = await examine(config_path)
    assert not_well(found).keys() == {"KMS customer"}
    assert [*dict.fromkeys(finding.group for finding in found)] == GROUPS


async def test_what_comes_first_skips_what_needs_it(doctor_cell, config_path):
    """Without a database, the cell's own KMS or a configuration the other checks are reported as skipped."""
    keyring = doctor_cell.config.kms["local"].keyring
    whole = config_path.read_text()
    keyring.chmod(0o644)
    ill = not_well(await examine(config_path))
    assert {check: finding.state for check, finding in ill.items()} == {
        "KMS local": "wrong",
        "the rest": "skipped",
    }
    keyring.chmod(0o600)
    config_path.write_text(whole.replace("dsn = ", 'dsn = "postgresql://127.0.0.1:1/none"  # '))
    ill = not_well(await examine(config_path))
    assert [finding.state for finding in ill.values()] == ["wrong", "skipped"]
    assert "database.dsn" in ill["server"].advice
    config_path.write_text("[cell")
    ill = not_well(await examine(config_path))
    assert [finding.state for finding in ill.values()] == ["wrong", "skipped"]
    assert ill["configuration"].advice
    done = await asyncio.to_thread(run_command, config_path.parent, "doctor")
    assert done.returncode == 1
    assert "the skipped checks run once" in done.stdout


async def test_advice_about_the_database_fits_the_reason(doctor_cell, config_path):
    """A server that refuses the user is up, so the advice is about the user. Control: the advice without a server is another one."""
    whole, dsn = config_path.read_text(), urlsplit(doctor_cell.config.dsn)
    stranger = dsn._replace(netloc=f"nobody:wrong@{dsn.netloc.rpartition('@')[2]}").geturl()
    advice = []
    for other in (stranger, "postgresql://127.0.0.1:1/none"):
        config_path.write_text(whole.replace("dsn = ", f'dsn = "{other}"  # '))
        found = {each.check: each for each in await examine(config_path)}
        assert found["server"].state == "wrong"
        advice.append(found["server"].advice)
        (copy,) = [each for each in await check_set(load_config(config_path)) if each.group == "Database"]
        assert (copy.check, copy.state, copy.advice) == ("server", "wrong", advice[-1])
    assert ["the password" in each for each in advice] == [True, False]
    assert ["start it" in each for each in advice] == [False, True]


async def test_a_server_that_may_lose_data_is_wrong(doctor_cell, config_path):
    """A database that acknowledges writes before they are on disk is wrong, and the setting is named."""
    (row,) = await fetch(doctor_cell, "SELECT current_database() AS name")
    await execute(doctor_cell, f"ALTER DATABASE {row['name']} SET synchronous_commit = off")
    ill = not_well(await examine(config_path))
    assert "synchronous_commit" in ill["durability"].text
    assert ill["durability"].state == "wrong"


async def test_access_and_audit_say_what_to_do(doctor_cell, config_path):
    """Access control that is off or was deleted, and an audit log that is missing or can't be written, are findings with advice."""
    found = {each.check: each for each in await examine(config_path)}
    assert (found["access control"].state, found["audit log"].state) == ("note", "ok")
    assert "strongroom access init" in found["access control"].advice
    whole = config_path.read_text()
    config_path.write_text(f"{whole}\n[access]\nenforce = true\n")
    found = not_well(await examine(config_path))
    assert found.keys() == {"access control"}
    assert "restore it from a backup" in found["access control"].advice
    config_path.write_text(whole.replace("[audit]\nfolder", "# folder"))
    found = not_well(await examine(config_path))
    assert {check: each.state for check, each in found.items()} == {"audit log": "note"}
    assert "[audit]" in found["audit log"].advice
    blocked = doctor_cell.config.audit_folder.with_name("a file")
    blocked.write_text("where a folder should be")
    config_path.write_text(whole.replace('folder = "audit"', 'folder = "a file"'))
    found = not_well(await examine(config_path))
    assert [each.state for each in found.values()] == ["wrong", "skipped"]
    assert "not full" in found["audit log"].advice


def test_the_summary_counts():
    """The last line counts the failed checks and the notes, and notes are no failure."""
    well, noted = Finding("a", "b", "c"), Finding("a", "b", "c", "note", "do")
    ill, skipped = Finding("a", "b", "c", "wrong"), Finding("a", "b", "c", "skipped")
    assert summary([well, noted]) == "All 2 checks passed; 1 with a note."
    assert summary([well, ill, skipped]).startswith("1 of 2 checks")
    assert [each.ok for each in (well, noted, ill, skipped)] == [True, True, False, True]
