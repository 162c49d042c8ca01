"""A proxy in front of Elasticsearch that gives its own answers, as gateways, firewalls and load balancers do."""

from __future__ import annotations

import asyncio
import gzip
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

JSON = "application/vnd.elasticsearch+json;compatible-with=9"


@dataclass(frozen=True)
class Asked:
    """A request, as the proxy received it."""

    method: str
    path: str
    body: bytes


@dataclass(frozen=True)
class Answer:
    """An answer that the proxy gives instead of the cluster's. With `cut`, it sends half of the body and resets the connection."""

    status: int = 200
    body: bytes = b"{}"
    kind: str = JSON
    product: bool = True
    cut: bool = False

    def headers(self):
        """Return the headers of the answer."""
        product = {"X-Elastic-Product": "Elasticsearch"} if self.product else {}
        return {"Content-Type": self.kind, **product}


@dataclass
class HttpProxy:
    """Forwards requests, except those for which `rule` returns an answer. `seen` has all requests."""

    target: str
    url: str = ""
    rule: object = None
    seen: list[Asked] = field(default_factory=list)
    disconnected: int = 0
    """Number of requests whose client closed the connection before it had the answer."""
    prefix: str = ""
    """The path in front of the cluster's own, as a gateway has one. It is not passed on."""
    change: object = None
    """Called with a request and the body of the cluster's answer; returns the body to pass on."""

    async def handle(self, request):
        """Answer or forward one request."""
        try:
            return await self._handle(request)
        except asyncio.CancelledError:
            self.disconnected += 1
            raise

    async def _handle(self, request):
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        asked = Asked(request.method, request.path_qs, body)
        self.seen.append(asked)
        answer = self.rule(asked) if self.rule is not None else None
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer is not None:
            return await self._give(request, answer)
        headers = {name: request.headers[name] for name in ("Content-Type", "Accept") if name in request.headers}
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                asked.method, self.target + asked.path.removeprefix(self.prefix), data=body, headers=headers
            ) as answered,
        ):
            content = await answered.read()
            if self.change is not None:
                content = self.change(asked, content)
            kept = {
                name: answered.headers[name]
                for name in ("Content-Type", "X-Elastic-Product")
                if name in answered.headers
            }
            return web.Response(status=answered.status, body=content, headers=kept)

    @staticmethod
    async def _give(request, answer):
        if not answer.cut:
            return web.Response(status=answer.status, body=answer.body, headers=answer.headers())
        response = web.StreamResponse(status=answer.status, headers=answer.headers())
        response.content_length = len(answer.body)
        await response.prepare(request)
        await response.write(answer.body[: len(answer.body) // 2])
        request.transport.abort()
        return response


@asynccontextmanager
async def http_proxy(target):
    """Serve a proxy on a free port of this machine."""
    proxy = HttpProxy(target)
    application = web.Application(client_max_size=2**30)
    application.router.add_route("*", "/{path:.*}", proxy.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield proxy
    finally:
        await runner.cleanup()
