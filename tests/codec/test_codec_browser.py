from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.codec.conftest import JWT
from tests.support.codec.bench import plain
from tests.support.services import CHROMIUM, missing_service

pytestmark = pytest.mark.integration

PROGRAM = Path("/usr/bin/chromium")
PLANTED = "appointment of patient 0815"
PAGE = """<!doctype html><meta charset="utf-8"><title>a user interface</title><pre id="shown">nothing yet</pre><script>
const show = (text) => { document.getElementById("shown").textContent = text; };
fetch(%s, {method: "POST", headers: %s, body: %s})
  .then((answer) => answer.json())
  .then((content) => show("opened: " + content.payloads.map((each) => atob(each.data)).join()))
  .catch((error) => show("refused: " + error));
</script>"""


@pytest.fixture(scope="module")
def chromium():
    """A browser. If it is missing, the test is skipped, or fails if services are required."""
    if not PROGRAM.exists():
        missing_service(CHROMIUM, f"no {PROGRAM}")
    return PROGRAM


class Pages:
    """A web server for one page. Its port is known before its page is set."""

    def __init__(self):
        pages = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                body = pages.page.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                """Print nothing."""

        self.page = ""
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]


@contextmanager
def web_pages():
    pages = Pages()
    thread = Thread(target=pages.server.serve_forever)
    thread.start()
    try:
        yield pages
    finally:
        pages.server.shutdown()
        thread.join()
        pages.server.server_close()


def shown_in(chromium, url, certificate, profile):
    """Return the text of a page in a browser that trusts the server's key only."""
    key = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    pin = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    result = subprocess.run(
        [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
            f"--user-data-dir={profile}",
            f"--ignore-certificate-errors-spki-list={base64.b64encode(hashlib.sha256(pin).digest()).decode()}",
            "--virtual-time-budget=20000",
            "--dump-dom",
            url,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return re.search(r'<pre id="shown">(.*?)</pre>', result.stdout, re.DOTALL)[1]


@pytest.mark.parametrize(("host", "shown"), [("localhost", "opened"), ("127.0.0.1", "refused")])
def test_a_page_of_a_listed_origin_decodes_and_another_does_not(codec_bench, chromium, tmp_path, host, shown):
    """In a real browser a page of a listed origin shows a payload, and the same page of another origin does not."""
    with web_pages() as pages:
        section = f'\nlisten = "127.0.0.1:0"\ncertificate = "server.pem"\norigins = ["http://localhost:{pages.port}"]\n'
        with codec_bench.server(f"browser {host}", section + JWT) as server, codec_bench.client(server) as client:
            headers = {**codec_bench.headers(), "Content-Type": "application/json"}
            sealed = client.post("/encode", json={"payloads": [plain(PLANTED)]}, headers=headers).text
            pages.page = PAGE % (json.dumps(f"{server.address}/decode"), json.dumps(headers), json.dumps(sealed))
            text = shown_in(
                chromium, f"http://{host}:{pages.port}/", codec_bench.folder / "server.pem", tmp_path / "profile"
            )
            decoded = [event["outcome"] for event in server.events() if event["operation"] == "codec.decode"]
    assert text.startswith(f"{shown}: ")
    assert (PLANTED in text) == (shown == "opened")
    assert decoded == (["done"] if shown == "opened" else [])
