"""The pages and their parts. What reads a ledger is no coroutine: it runs in a thread."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import InjectError, LedgerUnavailable
from rucio_inject.domain.injection import FileState
from rucio_inject.monitor.curves import Points
from rucio_inject.ports.board import Phase, Posted
from rucio_inject.readings.funnel import Funnel
from rucio_inject.readings.overview import Status, overview
from rucio_inject.readings.rules import rules_of
from rucio_inject.readings.search import Wanted, search
from rucio_inject.readings.stories import story_of
from rucio_inject.readings.transfers import PHASES
from rucio_inject.web.guard import Refused
from rucio_inject.web.site import OfSite, OwnForm, Site, signed_in

SHOWN_CYCLES = 48
BUCKETS = 300
Cycle = Annotated[int | None, Query(ge=1, le=2**31 - 1)]

router = APIRouter(dependencies=[Depends(signed_in)])
"""Nothing of it is for who is not signed in."""


@router.get("/", response_class=HTMLResponse)
def home(request: Request, site: OfSite) -> HTMLResponse:
    return site.page(request, "home.html", cards=cards(site))


@router.get("/c/{name}", response_class=HTMLResponse)
def campaign(request: Request, site: OfSite, name: str, cycle: Cycle = None) -> HTMLResponse:
    posted = site.posted(name)
    return site.page(request, "campaign.html", **campaign_values(site, posted, cycle))


@router.get("/c/{name}/passage", response_class=HTMLResponse)
def passage(request: Request, site: OfSite, name: str, cycle: Cycle = None) -> HTMLResponse:
    window = site.window(site.posted(name))
    funnel = chosen(window.funnels(), cycle)
    way = window.passage(funnel.cycle)
    return site.page(request, "passage.html", way=way, phases=PHASES)


@router.get("/c/{name}/series")
def series(
    site: OfSite,
    name: str,
    since: Annotated[float | None, Query(allow_inf_nan=False)] = None,
    until: Annotated[float | None, Query(allow_inf_nan=False)] = None,
) -> JSONResponse:
    return JSONResponse(series_object(site, site.posted(name), since, until))


@router.get("/c/{name}/files", response_class=HTMLResponse)
def files(
    request: Request,
    site: OfSite,
    name: str,
    q: str = "",
    state: str = "",
    cycle: str = "",
    after: Annotated[int | None, Query(ge=0, le=2**63 - 1)] = None,
) -> HTMLResponse:
    posted = site.posted(name)
    wanted = Wanted(q[:500], _state(state), _number(cycle))
    window = site.window(posted)
    found = search(window.look(), wanted, after=after)
    values: dict[str, Any] = {"posted": posted, "found": found, "wanted": wanted}
    cycles = [funnel.cycle for funnel in window.funnels()]
    part = request.headers.get("hx-target") == "found"
    template = "found.html" if part else "files.html"
    return site.page(request, template, cycles=cycles, **values)


@router.get("/c/{name}/file", response_class=HTMLResponse)
def file(request: Request, site: OfSite, name: str, did: str) -> HTMLResponse:
    posted = site.posted(name)
    story = story_of(site.window(posted).look(), _did(did))
    if story.record is None and not story.facts:
        raise Refused(404, f"{did} is not on record in campaign {name}")
    return site.page(request, "file.html", posted=posted, story=story)


@router.get("/c/{name}/quarantine", response_class=HTMLResponse)
def quarantine(
    request: Request,
    site: OfSite,
    name: str,
    after: Annotated[int | None, Query(ge=0, le=2**63 - 1)] = None,
    code: str = "",
) -> HTMLResponse:
    return quarantine_page(site, request, name, after=after, code=code or None)


@router.post("/c/{name}/quarantine", response_class=HTMLResponse)
def retry(request: Request, site: OfSite, name: str, fields: OwnForm) -> HTMLResponse:
    site.posted(name)
    try:
        count = site.board.retry(name, [_did(text) for text in fields.get("did", [])])
    except InjectError as error:
        return quarantine_page(site, request, name, error=error, answered=409)
    return quarantine_page(site, request, name, retried=count)


def cards(site: Site) -> list[dict[str, Any]]:
    """Every campaign with its status and last funnels; or with the reason why there are none."""
    campaigns = site.board.campaigns()
    answered = site.cards.of({posted.name: partial(_card, site, posted) for posted in campaigns})
    silent = LedgerUnavailable(
        "its ledger has not answered yet", hint="see whether its server, and the way there, are up"
    )
    return [
        answered[posted.name].result()
        if posted.name in answered
        else {"posted": posted, "error": silent}
        for posted in campaigns
    ]


def _card(site: Site, posted: Posted) -> dict[str, Any]:
    try:
        window = site.window(posted)
        status = overview(window.look(), site.clock)
        funnels = window.funnels()
    except InjectError as error:
        return {"posted": posted, "error": error}
    return {
        "posted": posted,
        "error": None,
        "status": status,
        "doing": doing(posted, status),
        "funnels": funnels,
    }


def campaign_values(site: Site, posted: Posted, cycle: int | None) -> dict[str, Any]:
    """What the page of a campaign shows."""
    window = site.window(posted)
    try:
        look, all_funnels = window.look(), window.funnels()
    except InjectError as error:
        return {"posted": posted, "error": error}
    funnel = chosen(all_funnels, cycle)
    status = overview(look, site.clock)
    return {
        "posted": posted,
        "error": None,
        "status": status,
        "funnel": funnel,
        "is_latest": not all_funnels or funnel.cycle == all_funnels[0].cycle,
        "funnels": all_funnels[:SHOWN_CYCLES],
        "cycles": len(all_funnels),
        "rules": rules_of(look, funnel.cycle),
        "doing": doing(posted, status),
        "span": _span_of(funnel, all_funnels),
    }


def chosen(all_funnels: list[Funnel], cycle: int | None) -> Funnel:
    """The funnel of a cycle, or of the last one. Refused with 404 if there is no such cycle."""
    if cycle is None:
        return all_funnels[0] if all_funnels else Funnel(0)
    for funnel in all_funnels:
        if funnel.cycle == cycle:
            return funnel
    raise Refused(404, f"there is no cycle {cycle} on record")


def doing(posted: Posted, status: Status) -> str:
    """What a campaign is doing, in a word or two."""
    if posted.phase is not Phase.ELSEWHERE:
        return str(posted.phase)
    return "running" if status.held is not None and status.held.valid else "idle"


def _span_of(funnel: Funnel, all_funnels: list[Funnel]) -> tuple[float, float] | None:
    """The time that figure 1 shows of a cycle that is over; None: it goes on."""
    later = [one.begun_at for one in all_funnels if one.cycle > funnel.cycle and one.begun_at]
    ended_at = funnel.ended_at or min(later, default=None)
    if funnel.begun_at is None or ended_at is None:
        return None
    begun, ended = funnel.begun_at.timestamp(), ended_at.timestamp()
    margin = 0.03 * (ended - begun) if funnel.ended_at else 0.0
    return begun - margin, ended + margin


def series_object(
    site: Site, posted: Posted, since: float | None, until: float | None
) -> dict[str, Any]:
    """Figure 1 as numbers: at most some hundred steps of each RSE, times in seconds since 1970."""
    try:
        with site.window(posted).curves() as curves:
            span = curves.span
            if span is None:
                return {"span": None, "curves": []}
            begin = span[0] if since is None else since
            end = span[1] if until is None else max(until, begin)
            points = curves.points(begin, end, BUCKETS)
    except OSError as error:
        raise Refused(503, f"the counts cannot be read: {error.strerror or error}") from None
    return {"span": span, "curves": [_curve_object(curve) for curve in points]}


def _curve_object(points: Points) -> dict[str, Any]:
    return {
        "rse": points.rse,
        "times": [round(at, 3) for at in points.times],
        "catalogue": {"files": points.catalogue_files, "bytes": points.catalogue_bytes},
        "storage": {"files": points.storage_files, "bytes": points.storage_bytes},
    }


def quarantine_page(
    site: Site,
    request: Request,
    name: str,
    *,
    after: int | None = None,
    code: str | None = None,
    retried: int | None = None,
    error: InjectError | None = None,
    answered: int = 200,
) -> HTMLResponse:
    """Files that were set aside in the cycle begun last: only these can go on."""
    posted = site.posted(name)
    look = site.window(posted).look()
    wanted = Wanted(state=FileState.QUARANTINED, cycle=look.ledger.cycle, code=code)
    return site.page(
        request,
        "quarantine.html",
        answered=answered,
        posted=posted,
        found=search(look, wanted, after=after),
        failures=overview(look, site.clock).failures,
        code=code,
        retried=retried,
        error=error,
    )


def _did(text: str) -> DID:
    try:
        return DID.parse(text)
    except ValueError as error:
        raise Refused(400, str(error)) from None


def _state(text: str) -> FileState | None:
    try:
        return FileState(text.upper()) if text else None
    except ValueError:
        raise Refused(400, f"{text[:40]} is no state of a file") from None


def _number(text: str) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or not text.isascii() or len(text) > 9:
        raise Refused(400, f"{text[:40]} is no cycle")
    return int(text)
