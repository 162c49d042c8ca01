"""A Temporal server that can't use a cell ends at once with the reason."""

from __future__ import annotations

import json
import subprocess

from examples.temporal.server import Datastores, TemporalServer

LONGEST = 180


def run_server(binary, folder, datastores):
    """Run a server that is expected to end by itself, and return its exit code and its output."""
    server = TemporalServer(binary, folder, datastores)
    config = folder / "server.yaml"
    dynamic = folder / "dynamic.yaml"
    dynamic.write_text("{}")
    config.write_text(json.dumps(server.configuration(dynamic)))
    done = subprocess.run(
        [binary, "--config-file", config, "--allow-no-auth", "start"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    return done.returncode, done.stdout


def stores_on(socket, shards=4):
    """Return the datastores of a socket."""
    store = {"customDatastore": {"name": "strongroom", "indexName": "strongroom", "options": {"socket": str(socket)}}}
    return Datastores({"strongroom": store}, "strongroom", "strongroom", shards)


def test_another_number_of_shards_is_refused(temporal_stack, temporal_binary, tmp_path):
    """`numHistoryShards` must be the cell's number of shards; the server names both numbers and what to set."""
    code, output = run_server(temporal_binary, tmp_path, stores_on(temporal_stack.cell.socket, shards=8))
    assert code != 0
    assert "numHistoryShards is 8" in output or "numHistoryShards 8" in output
    assert "has 4 shards" in output


def test_a_file_in_place_of_the_socket_is_refused(temporal_binary, tmp_path):
    """A path that is not a socket is named with the option to correct."""
    file = tmp_path / "file"
    file.touch()
    code, output = run_server(temporal_binary, tmp_path, stores_on(file))
    assert code != 0
    assert f"{file} is not a socket; correct customDatastore.options.socket" in output
