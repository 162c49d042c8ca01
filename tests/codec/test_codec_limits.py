from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strongroom.driver.codec.limits import CALLERS_KEPT, RateLimit
from tests.codec.conftest import JWT
from tests.support.codec.bench import data_of, plain

SECTION = """
listen = "127.0.0.1:0"
insecure = true
max_body_bytes = 4000
max_payloads = 5
payloads_per_second = 1
payloads_at_once = 12
"""
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def narrow(codec_bench):
    """A server with small limits, and a client of it."""
    with codec_bench.server("narrow", SECTION + JWT) as server, codec_bench.client(server) as client:
        yield client


def test_a_bucket_fills_again():
    """A caller has a burst, and then its rate. Another caller has a limit of its own."""
    now = [0.0]
    limit = RateLimit(per_second=2, at_once=10, clock=lambda: now[0])
    assert [limit.take("a", 10), limit.take("a", 1), limit.take("b", 10)] == [0, 0.5, 0]
    now[0] = 0.5
    assert [limit.take("a", 1), limit.take("a", 3)] == [0, 1.5]
    now[0] = 1000
    assert [limit.take("a", 10), limit.take("a", 1)] == [0, 0.5]


def test_what_is_asked_too_early_takes_nothing():
    """Refused requests take nothing from a caller's limit."""
    now = [0.0]
    limit = RateLimit(per_second=1, at_once=5, clock=lambda: now[0])
    limit.take("a", 5)
    for now[0] in (1.0, 2.0, 3.0):
        assert limit.take("a", 5) == 5 - now[0]
    assert limit.take("a", 3) == 0


def test_the_number_of_callers_that_are_remembered_is_bounded():
    """The least recent caller is forgotten first."""
    limit = RateLimit(per_second=1, at_once=1, clock=lambda: 0.0)
    for number in range(CALLERS_KEPT + 1):
        limit.take(str(number), 1)
    assert (limit.take("0", 1), limit.take(str(CALLERS_KEPT), 1) > 0) == (0, True)


@pytest.mark.integration
def test_a_caller_has_its_share(codec_bench):
    """A caller over its limit is refused with Retry-After, and another caller is not."""
    burst = 600  # a bucket that is not full again within this test
    section = f"""
listen = "127.0.0.1:0"
insecure = true
max_payloads = {burst}
payloads_per_second = 1
payloads_at_once = {burst}
"""
    body = {"payloads": [plain(1)] * burst}
    with codec_bench.server("shares", section + JWT) as server, codec_bench.client(server) as client:
        answers = [client.post("/encode", json=body, headers=codec_bench.headers(sub="greedy")) for _ in range(3)]
        modest = client.post("/encode", json=body, headers=codec_bench.headers(sub="modest"))
    assert [each.status_code for each in answers] == [200, 429, 429]
    assert 1 <= int(answers[1].headers["retry-after"]) <= burst
    assert modest.status_code == 200


@pytest.mark.integration
@pytest.mark.parametrize(("size", "status"), [(4000, 200), (4001, 413), (100_000, 413)])
@pytest.mark.parametrize("told", [True, False])
def test_a_body_has_a_limit(codec_bench, narrow, size, status, told):
    """A body at the limit is accepted, and one above it is refused, with and without Content-Length."""
    body = json.dumps({"payloads": [plain("")]}).encode().ljust(size)
    headers = {**codec_bench.headers(sub=f"{size} {told}"), **JSON}
    assert narrow.post("/encode", content=body if told else iter([body]), headers=headers).status_code == status


@pytest.mark.integration
def test_a_request_has_so_many_payloads(codec_bench, narrow):
    """A request with one payload more than the limit is refused."""
    answers = [
        narrow.post("/encode", json={"payloads": [plain(1)] * count}, headers=codec_bench.headers(sub=f"many {count}"))
        for count in (5, 6)
    ]
    assert [each.status_code for each in answers] == [200, 413]


@pytest.mark.integration
@pytest.mark.parametrize(
    "changed",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": ""},
        {"Content-Encoding": "gzip"},
        {"Content-Type": "application/jsonp"},
    ],
)
def test_a_body_is_json(codec_bench, narrow, changed):
    """A content type that needs no preflight is refused, and so is a compressed body."""
    body = json.dumps({"payloads": []})
    headers = {**codec_bench.headers(sub=str(changed)), **JSON}
    assert narrow.post("/encode", content=body, headers=headers).status_code == 200
    assert narrow.post("/encode", content=body, headers={**headers, **changed}).status_code == 415


@pytest.mark.integration
async def test_what_is_opened_is_no_longer_than_what_was_sent(codec_bench, client):
    """An opened payload is not longer than the sealed one, because payloads are not compressed."""
    long = plain("x" * 100_000)
    [sealed] = client.post("/encode", json={"payloads": [long]}, headers=codec_bench.headers()).json()["payloads"]
    assert len(data_of(sealed)) > len(data_of(long))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
PAYLOADISH = st.fixed_dictionaries(
    {},
    optional={
        "metadata": ANYTHING
        | st.dictionaries(
            st.sampled_from(["encoding", "x"]), st.sampled_from(["YmluYXJ5L2VuY3J5cHRlZA==", "a", ""]) | ANYTHING
        ),
        "data": st.text(max_size=40) | st.just("BwECAAAAAAE=") | ANYTHING,
        "externalPayloads": ANYTHING,
    },
)
BODIES = (
    st.binary(max_size=60)
    | ANYTHING.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries({"payloads": ANYTHING | st.lists(PAYLOADISH, max_size=3)}).map(
        lambda value: json.dumps(value).encode()
    )
    | st.integers(1, 3000).map(lambda depth: b'{"payloads":' + b"[" * depth + b"]" * depth + b"}")
)


@pytest.mark.integration
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES, path=st.sampled_from(["/decode", "/encode"]))
def test_garbage_is_refused_and_no_error_of_the_server(codec_bench, client, body, path):
    """Any body is answered or refused, and none is an internal error."""
    answer = client.post(path, content=body, headers={**codec_bench.headers(), **JSON})
    assert answer.status_code in (200, 400)
    assert answer.json().keys() <= {"payloads", "error"}


@pytest.mark.integration
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(token=st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=60), dots=st.booleans())
def test_garbage_for_a_token_is_refused(client, token, dots):
    """Any invalid token is refused."""
    text = f"{token}.{token}.{token}" if dots else token
    headers = {"Authorization": f"Bearer x{text}x".encode("latin-1"), "X-Namespace": "first"}
    assert client.post("/decode", json={"payloads": []}, headers=headers).status_code == 401
