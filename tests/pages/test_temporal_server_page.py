"""docs/how-to/temporal-server.md and its examples, as far as they can be checked without containers and without systemd."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from configparser import ConfigParser

import pytest
import yaml

from strongroom.driver.config import ServeConfig
from strongroom.driver.serve.preflight import needed_connections
from strongroom.driver.serve.process import Patience
from tests.support.configuration import MINIMAL, parsed
from tests.support.pages import code_blocks
from tests.support.tree import ROOT

PAGE = ROOT / "docs" / "how-to" / "temporal-server.md"
DOCKER = ROOT / "docker"
UNITS = [*sorted((DOCKER / "systemd").glob("strongroom-*.*")), DOCKER / "systemd" / "temporal-server.service"]
COMPOSE = yaml.safe_load((DOCKER / "compose.temporal.yml").read_text())


def block(language):
    """Return the only block of a language on the page."""
    (found,) = [each.text for each in code_blocks(PAGE) if each.language == language]
    return found


def unit(name):
    """Return the settings of a unit. A setting that is given twice keeps its last value."""
    parser = ConfigParser(strict=False, interpolation=None, comment_prefixes="#")
    parser.optionxform = str
    parser.read_string((DOCKER / "systemd" / name).read_text())
    return parser


def test_the_configurations_of_the_page_are_right():
    """The TOML is accepted by the driver, and the YAML is the section of the example."""
    config = parsed({**MINIMAL, **tomllib.loads(block("toml"))})
    assert (config.serve.workers, config.serve.users) == (4, {"temporal"})
    assert needed_connections(config, config.serve.workers) == 44
    assert "With 4 workers and the default of 4 connections that is 44" in PAGE.read_text()
    searching = parsed({**MINIMAL, "elasticsearch": {"url": "https://es.example.com:9200"}})
    sizing = (ROOT / "docs" / "how-to" / "sizing.md").read_text()
    each = f"that is {needed_connections(config, 1)}, or {needed_connections(searching, 1)} with Elasticsearch"
    assert each in " ".join(sizing.split())
    example = yaml.safe_load((DOCKER / "temporal" / "temporal.yaml").read_text())
    assert yaml.safe_load(block("yaml"))["persistence"] == example["persistence"]
    store = example["persistence"]["datastores"]["strongroom"]["customDatastore"]
    assert store["options"]["socket"] == str(ServeConfig().socket)
    appended = tomllib.loads((DOCKER / "temporal" / "serve.toml").read_text())
    assert parsed({**MINIMAL, **appended}).serve.socket == ServeConfig().socket


def test_the_page_has_every_setting():
    """The table of `[serve]` has a row for each setting."""
    for name in ServeConfig.__dataclass_fields__:
        assert re.search(rf"^\| `{name}` \|", PAGE.read_text(), re.MULTILINE), name


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_accepts_the_units(path, tmp_path):
    """The analysis of systemd finds no fault in a unit, except that its program is not installed here."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here; it is in the package systemd")
    copy = tmp_path / path.name
    copy.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", path.read_text(), flags=re.MULTILINE))
    ended = subprocess.run(
        ["systemd-analyze", "verify", copy], check=False, capture_output=True, text=True, timeout=120
    )
    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")


def test_the_units_fit_the_server():
    """The units wait longer than the server drains, signal the supervisor only, and start the Temporal server later."""
    stores, temporal = unit("strongroom-serve.service"), unit("temporal-server.service")
    service = stores["Service"]
    assert (service["Type"], service["KillMode"], service["Restart"]) == ("notify", "mixed", "always")
    assert int(service["TimeoutStopSec"]) > ServeConfig().drain_seconds + Patience().last
    assert f"/run/{service['RuntimeDirectory']}" == str(ServeConfig().socket.parent)
    assert "strongroom-serve.service" in temporal["Unit"]["After"].split()
    assert "Requires" not in temporal["Unit"]
    assert service["Group"] in temporal["Service"]["SupplementaryGroups"].split()


def test_the_timers_start_units_with_the_least_rights():
    """Each timer starts a service that ends, as the server's user. The page names both. Pruning writes only into the log's folder."""
    page = (ROOT / "docs" / "how-to" / "systemd.md").read_text()
    hardening = {"CapabilityBoundingSet": "", "ProtectSystem": "strict", "NoNewPrivileges": "yes", "LimitCORE": "0"}
    timers = sorted((DOCKER / "systemd").glob("*.timer"))
    assert {path.stem for path in timers} == {"strongroom-prune", "strongroom-rotate"}
    for path in timers:
        service = unit(f"{path.stem}.service")["Service"]
        assert (service["Type"], service["User"]) == ("oneshot", unit("strongroom-serve.service")["Service"]["User"])
        assert hardening.items() <= dict(service).items()
        assert unit(path.name)["Timer"]["Persistent"] == "true"
        assert f"{path.stem}.service" in page
        assert re.search(rf"systemctl enable --now .*{path.name}", page)
        assert f"`{service['EnvironmentFile'].removeprefix('-')}`" in page
        assert " ".join(service["ExecStart"].split()[3:]) in page
    pruning = unit("strongroom-prune.service")["Service"]
    assert pruning["ReadWritePaths"] == "/var/lib/strongroom/audit"
    assert "StateDirectory" not in pruning
    assert "StateDirectory" in unit("strongroom-rotate.service")["Service"], "control"


def test_the_services_of_the_compose_file_wait_for_each_other():
    """A service waits for the health of another one only if that has a check; files that are built or mounted exist."""
    services = COMPOSE["services"]
    for service in services.values():
        for other, how in service.get("depends_on", {}).items():
            assert (how["condition"] == "service_healthy") == ("healthcheck" in services[other])
        if "build" in service:
            dockerfile = ROOT / service["build"]["dockerfile"]
            for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile.read_text(), re.MULTILINE):
                assert all((ROOT / source).exists() for source in sources.split()), sources
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert (DOCKER / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert {name for name, service in services.items() if "healthcheck" in service} == {"postgres", "serve", "temporal"}
    grace = int(services["serve"]["stop_grace_period"].removesuffix("s"))
    assert grace > ServeConfig().drain_seconds + Patience().last
    subprocess.run(["sh", "-n", DOCKER / "temporal" / "init.sh"], check=True)


def test_both_images_have_the_same_user():
    """The server of the stores accepts its own user, so both containers run as the same number."""
    users = {
        re.search(r"(?:--uid|-u) (\d+)", (DOCKER / "temporal" / f"{name}.Dockerfile").read_text())[1]
        for name in ("strongroom", "temporal-server")
    }
    assert len(users) == 1
