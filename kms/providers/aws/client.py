"""The SDK's client of AWS KMS: on threads of its own, over our TLS, without its retries, and silent about keys."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import NoCredentialsError
from urllib3 import PoolManager, Timeout

from strongroom.kms.errors import StrongroomError

from .errors import SDK_ERRORS, error_of

if TYPE_CHECKING:
    import ssl

AT_ONCE = 16  # calls under way, and threads
_CONNECT_SECONDS = 1.0
_READ_SECONDS = 2.0
_here = threading.local()


class AwsClient:
    """Calls operations of AWS KMS.

    The SDK itself finds the endpoint, the credentials and the signature. Its request is then sent by us, from the event
    `before-send` that the SDK has for it: with our TLS settings, to no proxy, and to no endpoint from the environment.

    Args:
        region: whose endpoint is asked.
        endpoint: to ask instead.
        session: whose credentials are used; None for what the SDK's usual chain finds.
        tls: to connect with.
    """

    def __init__(
        self, region: str, *, endpoint: str | None, session: boto3.Session | None, tls: ssl.SSLContext
    ) -> None:
        self._region = region
        self._endpoint = endpoint
        self._session = session
        self._made: Any = None
        self._making = threading.Lock()
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="strongroom-aws-kms")
        self._connections = PoolManager(maxsize=AT_ONCE, ssl_context=tls)

    async def call(self, operation: str, what: str, **arguments: Any) -> dict[str, Any]:
        """Call an operation, named as the SDK's method.

        Args:
            operation: for example `generate_data_key`.
            what: the KEK, for an error's message.
            arguments: of the operation.

        Raises:
            StrongroomError: refused, or not answered.
        """
        loop = asyncio.get_running_loop()
        outcome = await loop.run_in_executor(self._threads, self._call, operation, what, arguments)
        if isinstance(outcome, StrongroomError):
            raise outcome
        return outcome

    async def aclose(self) -> None:
        """Wait for calls that are under way, which takes three seconds at most, and close the connections."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        self._connections.clear()
        if self._made is not None:
            self._made.close()

    def _call(self, operation: str, what: str, arguments: dict[str, Any]) -> dict[str, Any] | StrongroomError:
        _here.ours = True
        try:
            answer: dict[str, Any] = getattr(self._client(), operation)(**arguments)
        except SDK_ERRORS as error:  # returned, as one raised here would have this one in its context
            return error_of(error, what, operation.title().replace("_", ""))
        return answer

    def _client(self) -> Any:
        with self._making:  # a session is not made for threads, and looking for credentials may ask another server
            if self._made is None:
                config = Config(
                    retries={"mode": "standard", "total_max_attempts": 1},  # retries are made above the providers
                    ignore_configured_endpoint_urls=True,
                )
                session = self._session or boto3.Session()
                if session.get_credentials() is None:  # a client made without any would not look for them again
                    raise NoCredentialsError
                made = session.client("kms", region_name=self._region, endpoint_url=self._endpoint, config=config)
                made.meta.events.register("before-send.kms", self._send)
                _silence()
                self._made = made
            return self._made

    def _send(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        answer = self._connections.urlopen(
            request.method,
            request.url,
            body=request.body,
            headers=request.headers,
            timeout=Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
            retries=False,
            redirect=False,
            preload_content=False,
            decode_content=False,
        )
        response = AWSResponse(request.url, answer.status, answer.headers, answer)
        _ = response.content  # reads it here, so that a connection that breaks in between is this call's error
        return response


class _Silence(logging.Filter):
    """Drops what the SDK says at DEBUG on our threads: bodies of requests and answers, with roots and tokens."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.DEBUG or not getattr(_here, "ours", False)


_SILENCE = _Silence()


def _silence() -> None:
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "botocore":
            logging.getLogger(name).addFilter(_SILENCE)
