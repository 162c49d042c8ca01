"""Namespaces and runs over HTTP, for the people whom the access policy knows."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI, Header, Request
from fastapi.responses import JSONResponse

from strongroom.driver import AuditUnavailable, PermissionDenied, Session, Strongroom, load_config
from strongroom.kms import NotAuthenticated, StrongroomError, Unavailable
from strongroom.storage import NotFound
from strongroom.visibility import InvalidQuery, attribute_types

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STATUS: tuple[tuple[type[StrongroomError], int], ...] = (
    (NotAuthenticated, 401),
    (PermissionDenied, 403),
    (NotFound, 404),
    (InvalidQuery, 400),
    (AuditUnavailable, 503),
    (Unavailable, 503),
)
"""The status of an answer for each kind of error, the first that fits; 500 for all others."""


@asynccontextmanager
async def opened(application: FastAPI) -> AsyncIterator[None]:
    """Open the cell for as long as the server runs."""
    async with Strongroom.open(load_config(Path(os.environ["STRONGROOM_CONFIG"]))) as strongroom:
        application.state.strongroom = strongroom
        yield


app = FastAPI(title="Strongroom admin", lifespan=opened)


async def session_of(request: Request, authorization: Annotated[str, Header()] = "") -> Session:
    """Return the session of the caller. The refusal of an unknown key is in the audit log."""
    strongroom: Strongroom = request.app.state.strongroom
    source = request.client.host if request.client else None
    return await strongroom.authenticated(api_key=authorization.removeprefix("Bearer "), source=source)


Caller = Annotated[Session, Depends(session_of)]


@app.exception_handler(StrongroomError)
async def refused(_request: Request, error: StrongroomError) -> JSONResponse:
    """Answer an error by its name. Its message has no value of a tenant."""
    status = next((status for kind, status in STATUS if isinstance(error, kind)), 500)
    body = {"error": type(error).__name__, "message": str(error), "retry": error.retryable}
    return JSONResponse(body, status)


@app.get("/namespaces")
async def namespaces(session: Caller) -> list[dict[str, Any]]:
    """List the namespaces that the caller may see."""
    return [{"id": str(each.namespace_id), "name": each.name} for each in await session.namespaces.list_namespaces()]


@app.get("/namespaces/{name}/runs")
async def runs(session: Caller, name: str, query: str = "") -> list[dict[str, Any]]:
    """List the runs of a namespace that a filter matches."""
    namespace = await session.namespaces.get(name)
    page = await session.visibility.list_workflow_executions(namespace.namespace_id, query, attribute_types(namespace))
    return [
        {"workflow": each.workflow_id, "status": each.execution_status, "attributes": dict(each.search_attributes)}
        for each in page.executions
    ]
