from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.fixtures.command_line import run_command

pytestmark = pytest.mark.integration

UNUSED = [
    (["query", "n", "--count", "--limit", "5"], "--limit would have no effect"),
    (["query", "n", "--count", "--page-token", "x"], "--page-token would have no effect"),
    (["query", "n", "--explain", "--count"], "--count would have no effect"),
    (["query", "n", "--explain", "--limit", "5", "--page-token", "x"], "--limit and --page-token would have no effect"),
    (["schema", "apply", "--print"], "--print needs --distributed"),
    (["schema", "apply", "--print", "--distributed", "--driver-role", "r"], "--driver-role would have no effect"),
    (["schema", "apply", "--print", "--distributed", "--dsn", "d"], "--dsn would have no effect"),
    (["demo", "--stop", "a", "--keep", "b"], "--keep would have no effect"),
    (["namespace", "create", "n", "--create-kek"], "--create-kek would have no effect"),
    (["namespace", "create", "n", "-a", "A=Int", "-a", "A=Bool"], "--search-attribute is given twice"),
    (["namespace", "attributes", "n", "--alias", "A=B", "--alias", "A=C"], "--alias is given twice"),
    (
        ["namespace", "shred", "n", "--final", "c", "--certificate", "f", "--grace", "1d"],
        "--grace would have no effect",
    ),
    (
        ["namespace", "shred", "n", "--final", "c", "--certificate", "f", "--keep-kek"],
        "--keep-kek would have no effect",
    ),
    (["namespace", "shred", "n", "--final", "c", "--certificate", "f", "--confirm", "n"], "--confirm would have no"),
    (["keys", "rewrap", "local:k", "--to", "local:k"], "--to would have no effect"),
    (["keys", "reseal", "n", "--no-payloads"], "--no-payloads would have no effect"),
    (["keys", "reseal", "--cell", "--destroy", "--no-payloads"], "--no-payloads would have no effect"),
    (["keys", "destroy", "--cell", "--version", "1", "--no-payloads"], "--no-payloads would have no effect"),
    (["keys", "reseal", "n", "--cell"], "give either NAMESPACE or --cell"),
    (["keys", "destroy", "--version", "1"], "give either NAMESPACE or --cell"),
    (["audit", "verify", "f", "--public-key", "00" * 32, "--other-hosts"], "--other-hosts would have no effect"),
    (["audit", "export", "--ca-certs", "f"], "--ca-certs would have no effect"),
    (
        ["audit", "export", "--to", "f", "--certificate", "c", "--key", "k"],
        "--certificate and --key would have no effect",
    ),
    (["audit", "export", "--to", "tls://h", "--key", "k"], "--key would have no effect"),
]


def test_an_option_that_would_have_no_effect_is_refused_by_name(tmp_path):
    """A command line whose option would be ignored is refused before anything is opened, and the message names the option."""
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda each: run_command(tmp_path, *each[0]), UNUSED))
    for result, (arguments, text) in zip(results, UNUSED, strict=True):
        assert result.returncode == 2, (arguments, result)
        assert f"error: {text}" in result.stderr, (arguments, result)
