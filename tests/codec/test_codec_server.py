from __future__ import annotations

import json
import signal
from time import sleep

import httpx
import pytest
from temporalio.api.common.v1 import Payload

from strongroom.driver.audit.reader import read_lines
from strongroom.driver.codec.payload_codec import SealedPayloadCodec
from strongroom.driver.demo.leak_scan import scan
from tests.codec.conftest import JWT
from tests.support.codec.bench import SECONDS, as_json, data_of, plain

pytestmark = pytest.mark.integration

PLANTED = "patient 0815 has an appointment"


def post(client, path, headers, *payloads):
    return client.post(path, json={"payloads": list(payloads)}, headers=headers)


def test_what_is_encoded_is_decoded(codec_bench, client):
    """Payloads come back equal, with their metadata. Sealed payloads show only that they are sealed."""
    given = [plain(PLANTED, kind=b"k"), as_json({}, b""), as_json({"encoding": b"binary/plain"}, bytes(range(256)))]
    sealed = post(client, "/encode", codec_bench.headers(), *given)
    assert sealed.status_code == 200
    assert [list(each["metadata"]) for each in sealed.json()["payloads"]] == [["encoding"]] * 3
    opened = post(client, "/decode", codec_bench.headers(), *sealed.json()["payloads"])
    assert opened.status_code == 200
    assert opened.headers["cache-control"] == "no-store"
    assert [each.get("data", "") for each in opened.json()["payloads"]] == [each["data"] for each in given]
    assert [each.get("metadata", {}) for each in opened.json()["payloads"]] == [each["metadata"] for each in given]


async def test_what_a_worker_sealed_is_decoded(codec_bench, client):
    """The server and the SDK's codec open each other's payloads."""
    codec = SealedPayloadCodec(codec_bench.strongroom.keyring, codec_bench.ids["first"])
    [sealed] = await codec.encode([Payload(metadata={"encoding": b"json/plain"}, data=b'"of a worker"')])
    opened = post(client, "/decode", codec_bench.headers(), as_json(dict(sealed.metadata), sealed.data))
    assert data_of(opened.json()["payloads"][0]) == b'"of a worker"'
    [back] = post(client, "/encode", codec_bench.headers(), plain("of a person")).json()["payloads"]
    opened = await codec.decode([Payload(metadata={"encoding": b"binary/encrypted"}, data=data_of(back))])
    assert opened[0].data == b'"of a person"'


def test_nothing_is_an_answer_too(codec_bench, client):
    """An empty list is answered with an empty list."""
    for path in ("/encode", "/decode"):
        assert post(client, path, codec_bench.headers()).json() == {"payloads": []}


def test_the_last_part_of_the_path_counts(codec_bench, client):
    """The path may have any prefix, as in Temporal's protocol."""
    assert post(client, "/codec/of/first/encode", codec_bench.headers(), plain(1)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/decode", 405),
        ("PUT", "/encode", 405),
        ("OPTIONS", "/decode", 405),
        ("POST", "/", 404),
        ("POST", "/decode/", 404),
        ("GET", "/metrics", 404),
        ("POST", "/health", 404),
        ("GET", "/x/health", 404),
    ],
)
def test_there_is_nothing_else(client, method, path, status):
    """Unknown paths and methods are refused before authentication."""
    assert client.request(method, path).status_code == status


def test_health_tells_nothing(client):
    """The health path needs no token, and its answer has no body."""
    answer = client.get("/health")
    assert (answer.status_code, answer.content) == (204, b"")


def test_missing_and_forbidden_namespaces_answer_alike(codec_bench, client):
    """A forbidden, a missing and an unnamed namespace get the same status, body and headers, except for id and time."""
    names = ["second", "never-made", "no such thing", "first.", "FIRST", "", "x" * 5000]
    answers = [post(client, "/decode", codec_bench.headers(namespace=name), plain(1)) for name in names]
    without = codec_bench.headers()
    del without["X-Namespace"]
    answers.append(post(client, "/decode", without, plain(1)))
    shown = {
        (
            each.status_code,
            each.content,
            tuple(item for item in each.headers.items() if item[0] not in ("date", "x-request-id")),
        )
        for each in answers
    }
    assert len(shown) == 1
    assert answers[0].status_code == 403


def test_a_payload_of_another_namespace_does_not_open(codec_bench, client):
    """A caller who may use both namespaces can't open payloads of one as those of the other."""
    headers = codec_bench.headers(groups="all")
    sealed = post(client, "/encode", headers, plain(PLANTED)).json()["payloads"]
    assert post(client, "/decode", headers, *sealed).status_code == 200
    elsewhere = {**headers, "X-Namespace": "second"}
    assert post(client, "/decode", elsewhere, *sealed).status_code == 400
    assert post(client, "/encode", elsewhere, plain(1)).status_code == 200


def test_one_answer_for_all_that_does_not_open(codec_bench, client):
    """Altered, truncated, foreign and unsealed payloads, and those of an unknown key or suite, are refused with the same bytes."""
    headers = codec_bench.headers(groups="all")
    good = data_of(post(client, "/encode", headers, plain(PLANTED)).json()["payloads"][0])
    other = data_of(post(client, "/encode", {**headers, "X-Namespace": "second"}, plain(1)).json()["payloads"][0])
    bad = [
        good[:-1] + bytes([good[-1] ^ 1]),
        good[:20],
        b"",
        good[:4] + b"\0\0\0\x09" + good[8:],
        b"\x07\x01\x03" + good[3:],
        other,
    ]
    answers = [post(client, "/decode", headers, as_json({"encoding": b"binary/encrypted"}, data)) for data in bad]
    answers.append(post(client, "/decode", headers, plain(PLANTED)))
    assert {(each.status_code, each.content) for each in answers} == {
        (400, b'{"error":"these payloads can\'t be opened or sealed here"}')
    }


def test_every_use_is_written_down(codec_bench, codec_server, client):
    """Each decode and encode is recorded with caller, namespace, number of payloads, outcome and request id."""
    before = len(codec_server.events())
    headers = codec_bench.headers(groups="all", sub="auditor's friend")
    encoded = post(client, "/encode", headers, plain(PLANTED), plain(2))
    decoded = post(client, "/decode", headers, *encoded.json()["payloads"])
    failed = post(client, "/decode", {**headers, "X-Namespace": "second"}, *encoded.json()["payloads"])
    refused = post(client, "/decode", {**headers, "X-Namespace": "never-made"}, plain(1))
    told = [
        ("codec.encode", "done", str(codec_bench.ids["first"]), 2, None),
        ("codec.decode", "done", str(codec_bench.ids["first"]), 2, None),
        ("codec.decode", "failed", str(codec_bench.ids["second"]), 2, "IntegrityError"),
        ("codec.decode", "refused", None, None, None),
    ]
    events = codec_server.events()[before:]
    fields = ("operation", "outcome", "namespace_id", "payloads", "error")
    assert [tuple(event.get(field) for field in fields) for event in events] == told
    assert [event["request_id"] for event in events] == [
        each.headers["x-request-id"] for each in (encoded, decoded, failed, refused)
    ]
    assert {event["principal"] for event in events} == {"jwt:auditor's friend"}
    chained = {"stream", "sequence", "event", "chain"}
    assert set().union(*events) == {*fields, *chained, "at", "principal", "request_id"}


def test_no_record_no_payload(codec_bench):
    """While the audit log can't be written, no payload is returned. Afterwards requests work again."""
    section = '\nlisten = "127.0.0.1:0"\ncertificate = "server.pem"\n'
    with codec_bench.server("unwritten", section + JWT) as server, codec_bench.client(server) as client:
        sealed = post(client, "/encode", codec_bench.headers(), plain(PLANTED)).json()["payloads"]
        kept = server.audit.rename(server.audit.with_suffix(".kept"))
        sleep(1)  # it looks once a second whether its file is still there
        for path in ("/decode", "/encode"):
            answer = post(client, path, codec_bench.headers(), *sealed)
            assert (answer.status_code, PLANTED in answer.text) == (503, False)
            assert "payloads" not in answer.json()
        kept.rename(server.audit)
        assert post(client, "/decode", codec_bench.headers(), *sealed).status_code == 200


def test_the_server_says_nothing_of_what_it_opened(codec_bench, codec_server, client, tmp_path):
    """No log holds a payload, a token, a namespace name or a path. The control finds the request ids."""
    headers = codec_bench.headers(namespace="first")
    sealed = post(client, "/encode", headers, plain(PLANTED)).json()["payloads"]
    last = post(client, f"/{PLANTED}/decode?{PLANTED}=1", headers, *sealed)
    assert PLANTED.encode() in data_of(last.json()["payloads"][0])
    post(client, "/decode", {**headers, "X-Namespace": PLANTED}, *sealed)
    post(client, "/decode", {**headers, "Authorization": f"Bearer {PLANTED}"}, plain(PLANTED))
    client.post("/decode", content=f'{{"{PLANTED}'.encode(), headers={**headers, "Content-Type": "application/json"})
    secrets = [PLANTED, headers["Authorization"].removeprefix("Bearer "), sealed[0]["data"]]
    (tmp_path / codec_server.output.name).write_bytes(codec_server.output.read_bytes())
    (tmp_path / codec_server.audit.name).write_bytes(b"".join(read_lines(codec_server.audit)))
    assert scan(tmp_path, secrets).hits == {}
    assert set(scan(tmp_path, [last.headers["x-request-id"]]).hits[last.headers["x-request-id"]]) == {
        f"{file.name} (UTF-8)" for file in (codec_server.output, codec_server.audit)
    }
    (tmp_path / "control").write_text(json.dumps(secrets))
    assert set(scan(tmp_path, secrets).hits) == set(secrets)


def takes_connections(bench, server):
    try:
        with bench.client(server) as client:
            return client.get("/health").status_code == 204
    except httpx.TransportError:
        return False


def test_a_signal_ends_it_once_what_was_begun_is_answered(codec_bench):
    """After SIGTERM a request whose body is not complete is still answered, and the server ends with 0."""
    section = '\nlisten = "127.0.0.1:0"\ncertificate = "server.pem"\n'
    with codec_bench.server("stopped", section + JWT) as server, codec_bench.client(server) as client:
        body = json.dumps({"payloads": [plain(PLANTED)]}).encode()

        def slowly():
            yield body[:10]
            server.process.send_signal(signal.SIGTERM)
            while takes_connections(codec_bench, server):
                sleep(0.02)
            yield body[10:]

        headers = {**codec_bench.headers(), "Content-Type": "application/json"}
        assert client.post("/encode", content=slowly(), headers=headers).status_code == 200
        client.close()
        assert server.process.wait(SECONDS) == 0


def test_a_unix_socket_is_its_owners(codec_bench):
    """Without TLS the server listens on a Unix socket of mode 0600. It replaces a stale socket, and removes its own at the end."""
    section = '\nlisten = "unix:codec.sock"\ninsecure = true\n'
    path = codec_bench.folder / "codec.sock"
    for _ in range(2):
        with codec_bench.server("unix", section + JWT) as server:
            assert (server.address, path.stat().st_mode & 0o777) == (f"unix:{path}", 0o600)
            with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://codec") as client:
                assert post(client, "/encode", codec_bench.headers(), plain(1)).status_code == 200
                assert client.post("/encode", json={"payloads": []}).status_code == 401
        assert not path.exists()
