"""The SDK's client of an AWS service, on its own threads, with our TLS, without retries and without logs of keys."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import NoCredentialsError

from strongroom.kms.errors import StrongroomError

from .connections import MAX_ANSWER, AwsConnections
from .errors import SDK_ERRORS, error_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from botocore.awsrequest import AWSPreparedRequest, AWSResponse

AT_ONCE = 16  # concurrent calls, and threads
_CONNECT_SECONDS = 1.0
_READ_SECONDS = 2.0
_here = threading.local()


class AwsClient:
    """A client that calls operations of one service, for example AWS KMS.

    The SDK finds the credentials and signs the request. We then send it in the SDK's event `before-send`: with our TLS
    settings, through no proxy, and to no endpoint from the environment.

    Args:
        region: The region whose endpoint is called.
        endpoint: Another endpoint, or None.
        session: The session with the credentials. None means the SDK's usual chain.
        tls: The TLS context.
        service: The SDK's name of the service.
        to_error: Returns our error for an exception of `SDK_ERRORS`, the text of `call`, and AWS's name of the operation.
        at_once: The maximum number of concurrent calls.
        max_answer: The maximum size of an answer, in bytes.
    """

    def __init__(
        self,
        region: str,
        *,
        endpoint: str | None,
        session: boto3.Session | None,
        tls: ssl.SSLContext,
        service: str = "kms",
        to_error: Callable[[Exception, str, str], StrongroomError] = error_of,
        at_once: int = AT_ONCE,
        max_answer: int = MAX_ANSWER,
    ) -> None:
        self._region = region
        self._endpoint = endpoint
        self._session = session
        self._service, self._to_error = service, to_error
        self._made: Any = None
        self._making = threading.Lock()
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix=f"strongroom-aws-{service}")
        self._connections = AwsConnections(at_once, tls, max_answer=max_answer)

    async def call(self, operation: str, what: str, **arguments: Any) -> dict[str, Any]:
        """Call an operation.

        Args:
            operation: The name of the SDK's method, for example `generate_data_key`.
            what: The KEK or the object, for the error message.
            arguments: The arguments of the operation.

        Raises:
            StrongroomError: The service refuses or does not answer.
        """
        loop = asyncio.get_running_loop()
        outcome = await loop.run_in_executor(self._threads, self._call, operation, what, arguments)
        if isinstance(outcome, StrongroomError):
            raise outcome
        return outcome

    async def aclose(self) -> None:
        """Wait for running calls, at most five seconds, and close the connections."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        self._connections.close()
        if self._made is not None:
            self._made.close()

    def _call(self, operation: str, what: str, arguments: dict[str, Any]) -> dict[str, Any] | StrongroomError:
        _here.ours = True
        try:
            answer: dict[str, Any] = getattr(self._client(), operation)(**arguments)
        except SDK_ERRORS as error:  # returned, because a raised error would have the SDK's error as its context
            return self._to_error(error, what, operation.title().replace("_", ""))
        return answer

    def _client(self) -> Any:
        with self._making:  # a session is not thread-safe, and the search for credentials may call another server
            if self._made is None:
                config = Config(
                    retries={"mode": "standard", "total_max_attempts": 1},  # `resilience.py` retries
                    ignore_configured_endpoint_urls=True,
                    s3={"addressing_style": "auto" if self._endpoint is None else "path"},
                    request_checksum_calculation="when_required",
                )
                session = self._session or boto3.Session()
                if session.get_credentials() is None:  # a client without credentials would never look for them again
                    raise NoCredentialsError
                made = session.client(
                    self._service, region_name=self._region, endpoint_url=self._endpoint, config=config
                )
                made.meta.events.register(f"before-send.{self._service}", self._send)
                _silence()
                self._made = made
            return self._made

    def _send(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        return self._connections.send(request, connect_seconds=_CONNECT_SECONDS, read_seconds=_READ_SECONDS)


class _Silence(logging.Filter):
    """Drop the SDK's DEBUG records of our threads, because they contain bodies with roots and tokens."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.DEBUG or not getattr(_here, "ours", False)


_SILENCE = _Silence()


def _silence() -> None:
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "botocore":
            logging.getLogger(name).addFilter(_SILENCE)
