from __future__ import annotations

import ast
import ssl

import pytest

from strongroom.kms import client_context
from tests.support.tree import ROOT

PACKAGES = ("kms", "storage", "visibility", "driver")
MAKERS = {"kms/transport/tls.py": 1, "driver/codec/listener.py": 1}
"""The modules that create contexts, with the number of contexts."""
FORBIDDEN = {
    *("create_default_context", "_create_unverified_context", "_create_default_https_context", "wrap_socket"),
    *("CERT_NONE", "CERT_OPTIONAL", "PROTOCOL_TLS", "PROTOCOL_TLSv1_2", "TLSv1_2", "TLSv1_1", "TLSv1"),
}
"""Names of the module `ssl` that create a context in another way, or that weaken it."""
SWITCHES = {"verify", "verify_certs", "ssl_assert_hostname", "check_hostname", "ssl"}
"""Arguments and attributes that must not be False."""
CONTROL = """
import ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.load_default_certs()
httpx.get("https://x", verify=False)
context.check_hostname = False
context.minimum_version = ssl.TLSVersion.TLSv1_2
"""


def contexts(tree):
    """Return the SSLContext calls of a module, and those that set the minimum version in the next line."""
    made, sealed = [], []
    for node in ast.walk(tree):
        for body in (getattr(node, name, None) for name in ("body", "orelse", "finalbody")):
            statements = body if isinstance(body, list) else []
            for number, statement in enumerate(statements):
                if isinstance(statement, ast.Assign) and ast.unparse(statement.value).startswith("ssl.SSLContext("):
                    made.append(statement)
                    follows = [ast.unparse(each) for each in statements[number + 1 : number + 2]]
                    name = ast.unparse(statement.targets[0])
                    if follows == [f"{name}.minimum_version = ssl.TLSVersion.TLSv1_3"]:
                        sealed.append(statement)
    return made, sealed


def calls(tree):
    """Return the number of SSLContext calls, in every form."""
    named = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return sum(name in {"ssl.SSLContext", "SSLContext"} for name in named)


def weak(tree):
    """Return the statements that weaken TLS."""
    found = []
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and ast.unparse(node.value).split(".")[0] == "ssl"
            and node.attr in FORBIDDEN
        ):
            found.append(ast.unparse(node))
        if isinstance(node, ast.keyword) and node.arg in SWITCHES and ast.unparse(node.value) == "False":
            found.append(ast.unparse(node))
        if isinstance(node, ast.Assign) and ast.unparse(node.value) == "False":
            found += [ast.unparse(each) for each in node.targets if getattr(each, "attr", "") in SWITCHES]
        if isinstance(node, ast.ImportFrom) and node.module == "ssl":
            found.append(ast.unparse(node))
    return found


def sources():
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_contexts_are_made_in_two_places(path):
    """Only two modules create a context, and each sets TLS 1.3 as the minimum version in the next line."""
    tree = ast.parse(path.read_text())
    made, sealed = contexts(tree)
    expected = MAKERS.get(str(path.relative_to(ROOT)), 0)
    assert (calls(tree), len(made), len(sealed)) == (expected, expected, expected)
    assert weak(tree) == []


def test_a_weak_context_is_found():
    """The control: each fault is found in a module that contains it."""
    tree = ast.parse(CONTROL)
    made, sealed = contexts(tree)
    assert (calls(tree), len(made), len(sealed)) == (1, 1, 0)
    assert sorted(weak(tree)) == ["context.check_hostname", "ssl.TLSVersion.TLSv1_2", "verify=False"]


def test_what_a_library_sets_reaches_no_connection():
    """The Elasticsearch client lowers the minimum version of a context to TLS 1.2, but no connection uses that."""
    context = client_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    used = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="x").context
    assert used.minimum_version == ssl.TLSVersion.TLSv1_3
    assert used.check_hostname
    assert used.verify_mode == ssl.CERT_REQUIRED
