"""What a campaign's settings mean to the steps, in values that these take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rucio_inject.campaign.naming import Naming
from rucio_inject.campaign.origins import MarkedSource
from rucio_inject.campaign.schema import (
    Campaign,
    FolderSource,
    InboxSource,
    RawPayload,
    RseSource,
)
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import NameRefused, SourceUnreadable, UsageError
from rucio_inject.domain.injection import FileRecord
from rucio_inject.domain.names import (
    metadata,
    parse_name,
    place,
    render_template,
    sanitised,
    template_fields,
)
from rucio_inject.domain.place import Place
from rucio_inject.domain.rule import RuleRequest
from rucio_inject.domain.usage import Room
from rucio_inject.measuring import readable_stat, there
from rucio_inject.ports import Catalogue, Storage
from rucio_inject.sources import inbox
from rucio_inject.sources.room import room_at, room_of
from rucio_inject.steps.close import Closing, Run
from rucio_inject.steps.free import Watermark
from rucio_inject.steps.free_origin import OriginTerms
from rucio_inject.steps.prepare import Lake
from rucio_inject.steps.sampling import Sample
from rucio_inject.steps.turns import Ceiling, SizeOf, strictest

# Fields that may differ from one run of a telescope to the next.
OF_A_RUN = frozenset(
    {"name", "stem", "run", "subrun", "source", "wobble", "angle"}
    | {"night", "date", "year", "month", "day"}
)

ORIGIN_LIFETIME = 60
"""Seconds that rules at an origin RSE live on once their files are proved."""


def rule_requests(campaign: Campaign) -> tuple[RuleRequest, ...]:
    """The campaign's rules."""
    default = campaign.end.lifetime if campaign.end else 0
    return tuple(
        RuleRequest(rule.rse_expression, rule.copies, rule.lifetime or default, rule.activity)
        for rule in campaign.rules
    )


def landing_rule(campaign: Campaign) -> RuleRequest:
    """The rule that keeps the uploaded replicas where they are for as long as others may need
    them as their source: Rucio's reaper might take them between two tries (rucio issue 6513)."""
    return RuleRequest(campaign.upload.rse, 1, campaign.end.lifetime if campaign.end else 0)


def all_rules(campaign: Campaign) -> tuple[RuleRequest, ...]:
    """The landing rule first, then the campaign's; no RSE is asked for twice."""
    landing, rules = landing_rule(campaign), rule_requests(campaign)
    if any(rule.rse_expression == landing.rse_expression for rule in rules):
        return rules
    return (landing, *rules)


def sample(campaign: Campaign) -> Sample | None:
    """How many files of a dataset are read back; None: all."""
    match campaign.access.sample:
        case None:
            return None
        case int(files):
            return Sample(files=files)
        case share:
            return Sample(share=share)


def origin(
    campaign: Campaign, catalogue: Catalogue, storage: Storage
) -> Callable[[], Room | None] | None:
    """What tells how full the place of real files is, None where it cannot be known; None where
    there are no real files."""
    source = campaign.source
    marks = source.watermark if isinstance(source, MarkedSource) else None
    capacity = marks.capacity if marks else None
    if isinstance(source, RseSource):
        return partial(room_at, catalogue, storage, campaign.upload.rse, capacity)
    return partial(room_of, source.path, capacity) if isinstance(source, FolderSource) else None


def watermark(campaign: Campaign, catalogue: Catalogue, storage: Storage) -> Watermark | None:
    """When sources are freed; None: as soon as they may be. Who looks gets UsageError where nobody
    knows how full the origin is."""
    source, look = campaign.source, origin(campaign, catalogue, storage)
    marks = source.watermark if isinstance(source, MarkedSource) else None
    if marks is None or look is None:
        return None

    def room() -> Room:
        if (found := look()) is None:
            raise UsageError(
                f"source.watermark: Rucio was not told how large {campaign.upload.rse} is",
                hint="say it: source.watermark.capacity; or let its site tell Rucio (rucio rse "
                "show shows it)",
            )
        return found

    return Watermark(marks.high, marks.low, room)


def origin_terms(campaign: Campaign, catalogue: Catalogue, storage: Storage) -> OriginTerms | None:
    """How an origin RSE is freed; None if it is not."""
    source = campaign.source
    if not isinstance(source, RseSource) or not source.free:
        return None
    lifetime = source.lifetime or ORIGIN_LIFETIME
    return OriginTerms(lifetime, watermark(campaign, catalogue, storage))


def ceiling(campaign: Campaign, lake: Lake) -> Ceiling:
    """What may be in flight: a file counts at every RSE that it may be brought to.

    UsageError for a limit of an RSE that no file goes to.
    """
    limits, rses = campaign.limits, lake.all_rses()
    for rse in limits.per_rse:
        if rse not in rses:
            raise UsageError(
                f"limits.per_rse: {rse} is none of the RSEs that files are brought to "
                f"({', '.join(rses)})",
                hint="name one of these, or leave it out",
            )
    return strictest(
        Ceiling(each.bytes_in_flight, each.files_in_flight)
        for each in (limits, *limits.per_rse.values())
    )


def sizes(campaign: Campaign, storage: Storage | None = None) -> SizeOf:
    """What tells the bytes of a file that nobody has read yet. `storage` is asked about files at an
    RSE of which nothing else tells, as those of a list of PFNs."""
    payload = getattr(campaign.source, "payload", None)
    expected = payload.size if isinstance(payload, RawPayload) else None

    def size_of(record: FileRecord) -> int | None:
        path = Path(record.path)
        if record.announced and record.announced.size is not None:
            return record.announced.size
        if record.in_place:
            return _size_at(storage, campaign.upload.rse, record) if storage else None
        if record.generated and not there(path):
            return expected
        return readable_stat(path).st_size

    return size_of


def _size_at(storage: Storage, rse: str, record: FileRecord) -> int | None:
    found = storage.stat(rse, record.path)
    if found is None:
        raise SourceUnreadable(
            f"{record.path} is not at {rse}",
            hint="was it moved? the list is that of source.pfns in the campaign",
        )
    return found.size


def frees_sources(campaign: Campaign) -> bool:
    """Whether real files of this machine are removed once the lake has proved that it has them:
    then nothing that was written there may be in memory alone."""
    return isinstance(campaign.source, FolderSource) and campaign.source.free


def came_with(campaign: Campaign) -> Callable[[Path], tuple[Path, ...]]:
    """What goes from an origin folder with a file that is freed: what told that it is complete."""
    source = campaign.source
    if not isinstance(source, InboxSource):
        return lambda _: ()
    return partial(inbox.came_with, trigger=source.complete.trigger)


def makes_files(campaign: Campaign) -> bool:
    """Whether the campaign's files are made for it, and are not real ones."""
    return campaign.source.kind in {"mock", "listing"}


def lifetimes(campaign: Campaign) -> dict[str, int]:
    """Seconds that each rule lives once everything was read back, by RSE expression."""
    return {rule.rse_expression: rule.lifetime for rule in all_rules(campaign)}


def fixed(rules: Sequence[RuleRequest], lake: Lake) -> frozenset[str]:
    """Expressions that leave Rucio no choice: a rule to one of them can move no copy."""
    return frozenset(
        rule.rse_expression
        for rule in rules
        if len(lake.rses.get(rule.rse_expression, ())) == rule.copies
    )


def closing(campaign: Campaign) -> Closing | None:
    """When datasets are closed; None: they stay open."""
    settings = campaign.naming.closing
    if settings is None:
        return None
    triggered = None
    if settings.trigger is not None and isinstance(campaign.source, FolderSource):
        chosen = campaign.naming.chosen()
        folder, template = campaign.source.path, settings.trigger

        def is_triggered(record: FileRecord) -> bool:
            name = render_template(template, parse_name(record.path, chosen))
            return "/" not in name and (folder / name).is_file()

        triggered = is_triggered
    return Closing(
        settings.quiet, run_of(campaign.naming) if settings.next_run else None, triggered
    )


def run_of(naming: Naming) -> Callable[[FileRecord], Run]:
    """What tells a file's run. Its row is all else that its dataset is called after, but for what
    changes from run to run."""
    chosen = naming.chosen()
    apart = sorted(template_fields(naming.dataset, naming.own_fields()) - OF_A_RUN)

    def told(record: FileRecord) -> Run:
        path = unquote(urlsplit(record.path).path) if record.in_place else record.path
        try:
            fields = parse_name(path, chosen).fields()
        except NameRefused:
            # Of an earlier campaign file's grammar: no run comes after it.
            return Run((record.dataset.name,), "")
        row = tuple(fields.get(field, "") for field in apart)
        return Run(row, fields.get("run", record.dataset.name))

    return told


def placing(campaign: Campaign) -> Callable[[str], Place]:
    """From a name, with or without folders, to its place in the catalogue."""
    scope, naming = campaign.scope, campaign.naming
    chosen, allowed = naming.chosen(), naming.allowed()
    late = naming.closing.late if naming.closing else None

    def placed(text: str) -> Place:
        name = parse_name(text, chosen)
        names = place(name, naming.dataset, naming.containers, allowed, template=naming.name)
        return Place(
            did=DID(scope, names.did_name),
            dataset=DID(scope, names.dataset),
            containers=tuple(DID(scope, container) for container in names.containers),
            metadata=metadata(name),
            late=DID(scope, sanitised(render_template(late, name), allowed)) if late else None,
        )

    return placed
