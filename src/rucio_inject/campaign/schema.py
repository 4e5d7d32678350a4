"""The campaign file's schema. Unknown keys are refused; every default is written here."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from rucio_inject.campaign.units import (
    Attribute,
    Bytes,
    LedgerPlace,
    LocalPath,
    Night,
    Number,
    Seconds,
    Seed,
    Whole,
    parse_expression,
    straight,
)
from rucio_inject.domain import names

# What Rucio's generic schema takes; a site may take more, never less.
SCOPE = r"^[a-zA-Z_\-.0-9]+$"
ACCOUNT = r"^[a-z0-9-_]+$"
RSE_NAME = r"^[A-Z0-9]+([_-][A-Z0-9]+)*$"
CAMPAIGN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
TARGET = r"^[A-Za-z0-9][A-Za-z0-9+_-]{0,11}$"
# What the patterns ask for, in words.
IN_WORDS = {
    SCOPE: "may hold letters, digits, dot, dash and underscore only",
    ACCOUNT: "may hold small letters, digits, dash and underscore only",
    RSE_NAME: "must be an RSE's name: capitals and digits, joined by dash or underscore",
    CAMPAIGN: "must begin with a letter or digit, and go on with these, dot, dash and underscore",
    TARGET: "must be 1 to 12 letters, digits, +, dash and underscore, the first no sign",
}
Scope = Annotated[str, StringConstraints(pattern=SCOPE, max_length=25)]
Account = Annotated[str, StringConstraints(pattern=ACCOUNT, max_length=25)]
RSE = Annotated[str, StringConstraints(pattern=RSE_NAME)]
RSEExpression = Annotated[str, StringConstraints(min_length=1), AfterValidator(parse_expression)]


class Misfit(ValueError):
    """Keys that do not go together: `where` is the one to be looked at first."""

    def __init__(self, message: str, *where: str | int) -> None:
        super().__init__(message)
        self.where = where


class Model(BaseModel):
    """What all parts of a campaign share: no unknown keys, and no change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RootPayload(Model):
    """Valid ROOT files with an `Events` tree: calibrated or melibea, as the type letter says."""

    kind: Literal["root"]
    events: Whole = Field(
        default=4000,
        ge=1,
        le=10_000_000,
        description="events in a melibea file (a twentieth of that in a calibrated one)",
    )


class RawPayload(Model):
    """Cheap binary files with random content."""

    kind: Literal["raw"]
    size: Bytes = Field(default=100_000, ge=0, description="size of each file, as in 100kB")


Payload = Annotated[RootPayload | RawPayload, Field(discriminator="kind")]


class MockSource(Model):
    """Files made for the purpose, named as the telescope names its own. Seeded: names and
    physics of a cycle repeat."""

    kind: Literal["mock"]
    seed: Seed = Field(default=1, description="what names and contents are drawn from")
    night: Night = Field(default=date(2020, 10, 26), description="the night in the names")
    target: str = Field(
        default="1ES1959+650",
        pattern=TARGET,
        description="the observed source, at most 12 characters",
    )
    wobble: Number = Field(default=0.40, ge=0, lt=10, description="wobble offset in degrees")
    runs: Whole = Field(default=2, ge=1, le=10_000, description="runs a cycle, a dataset each")
    subruns: Whole = Field(default=3, ge=1, le=999, description="subruns a run")
    telescopes: tuple[Literal["M1", "M2"], ...] = Field(default=("M1", "M2"), min_length=1)
    types: tuple[Literal["D", "Y", "P", "C", "I", "S", "Q"], ...] = Field(
        default=("D", "Q"),
        min_length=1,
        description="type letters; S and Q are stereo: one file a run",
    )
    payload: Payload = RootPayload(kind="root")


class DirectorySource(Model):
    """Real files in a folder. MD5SUMS files and hidden ones are no data and are left out."""

    kind: Literal["directory"]
    path: LocalPath = Field(description="the folder; relative to the campaign file")
    pattern: str = Field(default="*", min_length=1, description="which file names to take")
    recursive: bool = Field(default=True, description="whether to look into its folders")
    free: bool = Field(
        default=False, description="remove a file here once every promised replica was read back"
    )


class ListingSource(Model):
    """Names from a text file, one a line; a file is made for each."""

    kind: Literal["listing"]
    path: LocalPath = Field(description="the text file; relative to the campaign file")
    seed: Seed = Field(default=1, description="what contents are drawn from")
    payload: Payload = RawPayload(kind="raw")


Source = Annotated[MockSource | DirectorySource | ListingSource, Field(discriminator="kind")]


class Naming(Model):
    """How DIDs follow from names."""

    grammars: tuple[str, ...] = Field(
        default=tuple(names.GRAMMARS), min_length=1, description="grammars that a name may be of"
    )
    dataset: str = Field(
        default=names.DEFAULT_DATASET, description="template of the dataset's name"
    )
    containers: tuple[str, ...] = Field(
        default=names.DEFAULT_CONTAINERS,
        description="templates of the containers' names, outermost first",
    )

    @field_validator("grammars")
    @classmethod
    def _known(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        names.grammars(keys)
        return keys

    @model_validator(mode="after")
    def _well_formed(self) -> Naming:
        names.check_templates(self.dataset, self.containers)
        return self


class Upload(Model):
    """Where files enter the lake."""

    rse: RSE = Field(description="the RSE that files are uploaded to")
    workers: Whole = Field(default=4, ge=1, le=64, description="files measured or copied at once")


class Rule(Model):
    """A replication rule on every dataset."""

    rse_expression: RSEExpression = Field(description="an RSE, or an RSE expression")
    copies: Whole = Field(default=1, ge=1)
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


class Access(Model):
    """Reading back what the lake holds."""

    analyse: bool = Field(
        default=False, description="open ROOT files and make a θ² plot and an energy histogram"
    )
    keep: bool = Field(default=False, description="keep the files that were read back")
    workers: Whole = Field(default=4, ge=1, le=64, description="files read at once")


class End(Model):
    """How it ends, once every file of a dataset was read back."""

    lifetime: Seconds = Field(default=60, ge=1, description="of rules that name none, as in 60s")
    deadline: Seconds = Field(
        default=600, ge=1, description="for replicas to be gone after their rules' lifetime"
    )


class Monitor(Model):
    """Counting files and bytes on the RSEs while the campaign runs."""

    interval: Number = Field(default=1.0, ge=0.1, le=3600, description="seconds between counts")
    highlight: RSE | None = Field(default=None, description="the RSE that figure 1 is about")


class Campaign(Model):
    """A whole campaign."""

    campaign: str = Field(pattern=CAMPAIGN, max_length=100, description="its name")
    account: Account | None = Field(
        default=None, description="Rucio account; else that of the options, environment, rucio.cfg"
    )
    scope: Scope
    source: Source
    naming: Naming = Naming()
    upload: Upload
    rules: tuple[Rule, ...] = Field(min_length=1)
    rse_attributes: dict[RSE, dict[str, Attribute]] = Field(default_factory=dict)
    replication: Replication = Replication()
    retry: Retry = Retry()
    access: Access = Access()
    end: End | None = Field(default=None, description="left out: rules and replicas stay")
    monitor: Monitor = Monitor()
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
            message = "access.analyse needs ROOT files, and source.payload.kind is raw"
            raise Misfit(message, "access", "analyse")
        if self.end is not None and getattr(self.source, "free", False):
            message = "source.free and end together would leave no copy of a file anywhere"
            raise Misfit(message, "source", "free")
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
