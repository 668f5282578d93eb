"""The routes of the service: what may be asked, in which words, and with which answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import reid
from reid.runtime.errors import DataError, ReidError
from reid.runtime.galleries.filters import Filters
from reid.runtime.imaging import pixel_limit
from reid.serve.answers import (
    About,
    Answer,
    Camera,
    EntryAnswer,
    Fault,
    LeftOut,
    LimitsAnswer,
    Listing,
    Matches,
    Point,
    matches_of,
)
from reid.serve.fields import entry_of_fields
from reid.serve.guard import Guard, error_body, headers_of
from reid.serve.holding import KnownError
from reid.serve.metrics import CONTENT_TYPE
from reid.serve.refusals import Refused
from reid.serve.service import Ranked, Service
from reid.serve.uploads import read_form

__all__ = ["application"]

_PAGE = Path(__file__).with_name("page")

Identity = Annotated[str, Query(alias="entry", min_length=1, max_length=1024, description="The id of an entry.")]
K = Annotated[int, Query(ge=1, le=100, description="The number of matches.")]
Cameras = Annotated[list[str] | None, Query(description="Only matches of these cameras.")]
NotCameras = Annotated[list[str] | None, Query(description="No matches of these cameras.")]
Seconds = Annotated[float | None, Query(ge=-1e12, le=1e12, allow_inf_nan=False)]

_STATUSES = (400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503)
_FAULTS: dict[int | str, dict[str, Any]] = {status: {"model": Fault} for status in _STATUSES}

_FILES = {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}
_ENTRY_FIELDS = {"id": {"type": "string"}, "camera": {"type": "string"}, "time": {"type": "number"}}


def application(service: Service, token: str | None) -> Guard:
    """Return the service as an ASGI application.

    Args:
        service: what does the work; it stays the caller's to close.
        token: what clients have to send; None for nothing.
    """
    app = FastAPI(
        title="reid-serve",
        version=reid.__version__,
        description="Vehicle re-identification: one model, one gallery.",
        docs_url=None,  # these pages load their scripts from elsewhere
        redoc_url=None,
        responses=_FAULTS,
        default_response_class=Answer,
    )
    routes = ["/", "/openapi.json", "/metrics", "/health/live", "/health/ready"]
    routes += [f"/v1/{name}" for name in ("about", "entries", "queries", "matches", "picture")]
    guard = Guard(app, service.limits, service.metrics, token, routes)
    _add_faults(app, service)
    _add_questions(app, service)
    _add_changes(app, service)
    _add_health(app, service, guard)
    app.get("/", include_in_schema=False)(lambda: FileResponse(_PAGE / "index.html"))
    app.mount("/page", StaticFiles(directory=_PAGE), name="page")
    return guard


def _add_questions(app: FastAPI, service: Service) -> None:
    @app.get("/v1/about", response_model=About)
    async def about() -> Answer:
        facts, info = await service.facts(), service.session.info
        summary, limits = facts.summary, service.limits
        first, last = summary.seen_s or (None, None)
        return Answer(
            About(
                reid=reid.__version__,
                model=info.card.fingerprint,
                precision=info.precision,
                session=str(info),
                dimensions=info.card.dimensions,
                entries=summary.entries,
                cameras=[Camera(name=name, entries=entries) for name, entries in summary.cameras.items()],
                first_time=first,
                last_time=last,
                operating_point=Point.of(service.decider.point("images", facts.kind)),
                writable=service.holding.store is not None,
                limits=LimitsAnswer(pictures=limits.pictures, bytes=limits.bytes, pixels=pixel_limit()),
            )
        )

    @app.get("/v1/entries", response_model=Listing)
    async def entries(
        camera: Annotated[str | None, Query(max_length=1024)] = None,
        text: Annotated[str, Query(max_length=1024)] = "",
        offset: Annotated[int, Query(ge=0, le=2**40)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    ) -> Answer:
        listed = await service.listing(camera, text, offset, limit)
        return Answer(Listing(total=listed.total, entries=[EntryAnswer.of(one) for one in listed.entries]))

    @app.post("/v1/queries", response_model=Matches, openapi_extra=_form({"pictures": _FILES}, ["pictures"]))
    async def queries(
        request: Request,
        k: K = 10,
        camera: Cameras = None,
        not_camera: NotCameras = None,
        after: Seconds = None,
        before: Seconds = None,
    ) -> Answer:
        filters = _filters(camera, not_camera, after, before)
        form = await read_form(request, service.limits)
        return _ranked(await service.query(form.pictures, k, filters))

    @app.get("/v1/matches", response_model=Matches)
    async def matches(
        entry: Identity,
        k: K = 10,
        camera: Cameras = None,
        not_camera: NotCameras = None,
        after: Seconds = None,
        before: Seconds = None,
    ) -> Answer:
        found = await service.similar(entry, k, _filters(camera, not_camera, after, before))
        if found is None:
            raise _absent(entry)
        return _ranked(found)

    @app.get("/v1/picture", response_class=Response, responses={200: {"content": {"image/jpeg": {}}}})
    async def picture(entry: Identity, height: Annotated[int, Query(ge=16, le=1024)] = 128) -> Response:
        content = await service.picture(entry, height)
        if content is None:
            raise HTTPException(404, f"there is no picture of {entry!r}: it is no entry, or its crop is gone")
        return Response(content, media_type="image/jpeg")


def _add_changes(app: FastAPI, service: Service) -> None:
    @app.post(
        "/v1/entries",
        response_model=EntryAnswer,
        status_code=201,
        openapi_extra=_form({"pictures": _FILES, **_ENTRY_FIELDS}, ["pictures", "id"]),
    )
    async def add(request: Request) -> Answer:
        _check_writable(service)
        form = await read_form(request, service.limits, fields=True)
        entry = entry_of_fields(form.fields, len(form.pictures))
        return Answer(EntryAnswer.of(await service.add(entry, form.pictures)), 201)

    @app.delete("/v1/entries", status_code=204, response_class=Response)
    async def remove(entry: Identity) -> Response:
        _check_writable(service)
        if not await service.remove(entry):
            raise _absent(entry)
        return Response(status_code=204)


def _add_health(app: FastAPI, service: Service, guard: Guard) -> None:
    @app.get("/health/live", include_in_schema=False)
    async def live() -> Answer:
        return Answer({"error": service.failure}, 503) if service.failure else Answer({"live": True})

    @app.get("/health/ready", include_in_schema=False)
    async def ready() -> Answer:
        reason = "the service is stopping" if guard.is_stopping else service.failure
        return Answer({"error": reason}, 503) if reason else Answer({"ready": True})

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)


def _add_faults(app: FastAPI, service: Service) -> None:
    def fault(status: int, error: object) -> Response:
        return Response(error_body(error), status, media_type="application/json")

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        service.metrics.refusals.labels(error.reason).inc()
        answer = fault(error.status, error)
        answer.raw_headers.extend(headers_of(error))
        return answer

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return fault(422, f"{first['loc'][-1]}: {first['msg']}; /openapi.json says what is expected")

    @app.exception_handler(HTTPException)
    async def known(request: Request, error: HTTPException) -> Response:
        answer = fault(error.status_code, error.detail)
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(KnownError)
    async def there(request: Request, error: KnownError) -> Response:
        return fault(409, f"there is an entry {str(error)!r} already: remove it first, or rename it")

    @app.exception_handler(ReidError)
    async def unusable(request: Request, error: ReidError) -> Response:
        return fault(422 if isinstance(error, DataError) else 503, error)

    @app.exception_handler(ClientDisconnect)
    async def left(request: Request, error: ClientDisconnect) -> Response:
        return fault(400, "the client has left")


def _ranked(ranked: Ranked) -> Answer:
    return Answer(
        Matches(
            left_out=[LeftOut(picture=one.picture, reason=one.reason) for one in ranked.left_out],
            milliseconds=round(1000 * ranked.seconds, 3),
            matches=matches_of(ranked.found, ranked.point),
        )
    )


def _filters(
    camera: list[str] | None, not_camera: list[str] | None, after: float | None, before: float | None
) -> Filters:
    if after is not None and before is not None and after > before:
        raise DataError(f"after {after:g} is later than before {before:g}: exchange them")
    if both := sorted(set(camera or []) & set(not_camera or [])):
        raise DataError(f"camera and not_camera are both {both[0]!r}: leave out one")
    return Filters(
        cameras=frozenset(camera) if camera else None,
        not_cameras=frozenset(not_camera or []),
        since_s=after,
        until_s=before,
    )


def _check_writable(service: Service) -> None:
    if service.holding.store is None:
        raise HTTPException(403, "the gallery is open for reading only: start the service on a store of reid-gallery")


def _absent(identity: str) -> HTTPException:
    return HTTPException(404, f"there is no entry {identity!r}: GET /v1/entries lists them")


def _form(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
