"""The campaign file's schema. Unknown keys are refused; every default is written here."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from rucio_inject.campaign.limits import Limits
from rucio_inject.campaign.model import (
    CAMPAIGN,
    IN_WORDS,
    RSE,
    Account,
    Misfit,
    Model,
    RSEExpression,
    Scope,
)
from rucio_inject.campaign.naming import Naming
from rucio_inject.campaign.origins import (
    DirectorySource,
    FolderSource,
    InboxSource,
    ListingSource,
    MockSource,
    PathsSource,
    RawPayload,
    RootPayload,
    RseSource,
    Source,
    SqlSource,
)
from rucio_inject.campaign.service_keys import (
    Metrics,
    Notify,
    Push,
    Retention,
    ScheduleKey,
)
from rucio_inject.campaign.units import (
    Attribute,
    LedgerPlace,
    LocalPath,
    Number,
    SampleSize,
    Seconds,
    Whole,
    straight,
)

__all__ = [
    "IN_WORDS",
    "Campaign",
    "DirectorySource",
    "FolderSource",
    "InboxSource",
    "ListingSource",
    "Misfit",
    "MockSource",
    "Model",
    "PathsSource",
    "RawPayload",
    "RootPayload",
    "RseSource",
    "SqlSource",
]


class Upload(Model):
    """Where files enter the lake."""

    rse: RSE = Field(description="the RSE that files are uploaded to")
    workers: Whole = Field(default=4, ge=1, le=64, description="files measured or copied at once")


class Rule(Model):
    """A replication rule on every dataset."""

    rse_expression: RSEExpression = Field(description="an RSE, or an RSE expression")
    copies: Whole = Field(default=1, ge=1, description="RSEs of the expression that get a copy")
    lifetime: Seconds | None = Field(
        default=None,
        ge=1,
        description="how long the rule lives once its files were read back; else the end's",
    )
    activity: str | None = Field(default=None, description="one of the site's activities")


class Replication(Model):
    """How long Rucio may take."""

    deadline: Seconds = Field(default=600, ge=1, description="for all rules to be OK, as in 10m")


class Retry(Model):
    """Asking again when Rucio or a storage cannot answer."""

    attempts: Whole = Field(default=8, ge=1, le=100, description="how often a call is made in all")
    longest: Seconds = Field(
        default=30, ge=1, description="the longest pause; the first is half a second, then doubled"
    )


class Renewing(Model):
    """Keeping alive what a long run signs in with: a proxy, a certificate or a token."""

    renew: str | None = Field(
        default=None,
        min_length=1,
        description="a command for the shell that makes a new one where the old one lies",
    )
    before: Seconds = Field(
        default=600, ge=1, description="how long before the end the command is run"
    )
    warn: Seconds = Field(
        default=3600, ge=0, description="without a command: how long before the end that is told"
    )


class Access(Model):
    """Reading back what the lake holds."""

    analyse: bool = Field(
        default=False, description="open ROOT files and make a θ² plot and an energy histogram"
    )
    keep: bool = Field(default=False, description="keep the files that were read back")
    sample: SampleSize | None = Field(
        default=None,
        description="read only so many files of each dataset, as in 10% or 5, at least one; of the "
        "others each storage is asked for its checksum; left out: all are read",
    )
    workers: Whole = Field(default=4, ge=1, le=64, description="files read at once")


class End(Model):
    """How it ends, once every file of a dataset was read back."""

    lifetime: Seconds = Field(default=60, ge=1, description="of rules that name none, as in 60s")
    deadline: Seconds = Field(
        default=600, ge=1, description="for replicas to be gone after their rules' lifetime"
    )


class Monitor(Model):
    """Counting files and bytes on the RSEs while the campaign runs."""

    interval: Number = Field(default=2.0, ge=0.1, le=3600, description="seconds between counts")
    storage: Literal["rse", "scope", "off"] = Field(
        default="rse",
        description="what is listed at each storage: all of it; what lies below the campaign's "
        "scope; or nothing, where it holds millions of files of others",
    )
    highlight: RSE | None = Field(default=None, description="the RSE that figure 1 is about")


class Campaign(Model):
    """A whole campaign."""

    campaign: str = Field(pattern=CAMPAIGN, max_length=100, description="its name")
    account: Account | None = Field(
        default=None, description="Rucio account; else that of the options, environment, rucio.cfg"
    )
    scope: Scope = Field(description="Rucio scope of all that is registered")
    source: Source = Field(description="where files come from")
    naming: Naming = Field(default=Naming(), description="how DIDs follow from names")
    upload: Upload = Field(description="where files enter the lake")
    rules: tuple[Rule, ...] = Field(min_length=1, description="where every dataset must go")
    rse_attributes: dict[RSE, dict[str, Attribute]] = Field(
        default_factory=dict, description="attributes that are set on RSEs before a run"
    )
    limits: Limits = Field(default=Limits(), description="how much the lake is to bear at a time")
    replication: Replication = Field(default=Replication(), description="how long Rucio may take")
    retry: Retry = Field(default=Retry(), description="asking again when nobody can answer")
    sign_in: Renewing = Field(
        default=Renewing(), description="keeping alive what a long run signs in with"
    )
    access: Access = Field(default=Access(), description="reading back what the lake holds")
    end: End | None = Field(default=None, description="left out: rules and replicas stay")
    monitor: Monitor = Field(default=Monitor(), description="counting files and bytes on the RSEs")
    schedule: ScheduleKey | None = Field(
        default=None,
        description="when `serve` begins a run: a cron expression, or an interval as in 1h",
    )
    retention: Retention = Field(
        default=Retention(), description="how long evidence of ended cycles is kept"
    )
    notify: Notify | None = Field(default=None, description="left out: nobody is told")
    metrics: Metrics = Field(default=Metrics(), description="where numbers go besides")
    push: Push | None = Field(
        default=None, description="hear Rucio's events; left out: Rucio is only asked"
    )
    output: LocalPath | None = Field(
        default=None,
        description="folder for figures and work files; relative to where the command runs",
    )
    ledger: LedgerPlace | None = Field(
        default=None,
        description="SQLite file, relative to where the command runs, or URL of a PostgreSQL "
        "database (postgresql://…); left out: in the output folder",
    )
    seed_ledger: LocalPath | None = Field(
        default=None,
        description="JSON ledger in the shape of 2020, written at the end of each run; relative "
        "to the output folder",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Campaign:
        expressions = [rule.rse_expression for rule in self.rules]
        twice = sorted({text for text in expressions if expressions.count(text) > 1})
        if twice:
            last = len(expressions) - 1 - expressions[::-1].index(twice[0])
            message = f"more than one rule for {', '.join(twice)}: use copies instead"
            raise Misfit(message, "rules", last)
        payload = getattr(self.source, "payload", None)
        if self.access.analyse and isinstance(payload, RawPayload):
            message = "needs ROOT files, and source.payload.kind is raw"
            raise Misfit(message, "access", "analyse")
        frees = getattr(self.source, "free", False)
        if isinstance(self.source, RseSource) and frees:
            self._is_freed_by_its_rules()
        elif self.end is not None and frees:
            message = "source.free and end together would leave no copy of a file anywhere"
            raise Misfit(message, "source", "free")
        if self.end is not None and self.source.kind == "rse":
            message = "would remove the files at upload.rse, too, where they were before us"
            raise Misfit(message, "end")
        for number, rule in enumerate(self.rules):
            if rule.lifetime is not None and self.end is None:
                message = "counts from the end, and end is left out: rules and replicas stay"
                raise Misfit(message, "rules", number, "lifetime")
        return self

    @model_validator(mode="after")
    def _closes_by_what_there_is(self) -> Campaign:
        closing = self.naming.closing
        if closing and closing.trigger and not isinstance(self.source, FolderSource):
            message = f"lies in source.path, and a source of kind {self.source.kind} has none"
            raise Misfit(message, "naming", "closing", "trigger")
        return self

    def _is_freed_by_its_rules(self) -> None:
        if self.naming.closing is None:
            message = (
                "at an RSE needs naming.closing: its rule there is one for all files of a dataset, "
                "and can end only when no more come"
            )
            raise Misfit(message, "source", "free")
        for number, rule in enumerate(self.rules):
            if rule.rse_expression == self.upload.rse:
                message = "promises a copy at upload.rse, and source.free would end it"
                raise Misfit(message, "rules", number)

    @model_validator(mode="after")
    def _sizes_are_known(self) -> Campaign:
        if not isinstance(self.source, RseSource) or self.source.pfns is None:
            return self
        reason = "a list of PFNs tells no sizes (source.pfns): limit files_in_flight instead"
        if self.limits.bytes_in_flight is not None:
            raise Misfit(reason, "limits", "bytes_in_flight")
        for rse, each in self.limits.per_rse.items():
            if each.bytes_in_flight is not None:
                raise Misfit(reason, "limits", "per_rse", rse, "bytes_in_flight")
        return self

    @property
    def output_folder(self) -> Path:
        """Where figures and work files go."""
        return straight(self.output or Path("rucio-inject-output") / self.campaign)

    @property
    def seed_ledger_path(self) -> Path | None:
        """Where the JSON ledger in the shape of 2020 goes, if it is wanted."""
        return straight(self.output_folder / self.seed_ledger) if self.seed_ledger else None

    @property
    def ledger_place(self) -> str | Path:
        """Where the ledger is: a path, or a URL."""
        place = self.ledger or self.output_folder / f"{self.campaign}.db"
        return straight(place) if isinstance(place, Path) else place
