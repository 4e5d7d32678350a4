"""Where a campaign's files come from, as its file says it."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, SecretStr, model_validator

from rucio_inject.campaign.model import SUFFIX, TARGET, Misfit, Model
from rucio_inject.campaign.units import (
    Bytes,
    LocalPath,
    Night,
    Number,
    Parameter,
    Seconds,
    Seed,
    Share,
    Whole,
)

KIND = "which one it is"
PAYLOAD = "what is in the files"
FREE = "remove a file here once every promised replica was proved"


class RootPayload(Model):
    """Valid ROOT files with an `Events` tree: calibrated or melibea, as the type letter says."""

    kind: Literal["root"] = Field(description=KIND)
    events: Whole = Field(
        default=4000,
        ge=1,
        le=10_000_000,
        description="events in a melibea file (a twentieth of that in a calibrated one)",
    )


class RawPayload(Model):
    """Cheap binary files with random content."""

    kind: Literal["raw"] = Field(description=KIND)
    size: Bytes = Field(default=100_000, ge=0, description="size of each file, as in 100kB")


Payload = Annotated[RootPayload | RawPayload, Field(discriminator="kind")]


class MockSource(Model):
    """Files made for the purpose, named as the telescope names its own. Seeded: names and
    physics of a cycle repeat."""

    kind: Literal["mock"] = Field(description=KIND)
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
    telescopes: tuple[Literal["M1", "M2"], ...] = Field(
        default=("M1", "M2"), min_length=1, description="telescopes that have files"
    )
    types: tuple[Literal["D", "Y", "P", "C", "I", "S", "Q"], ...] = Field(
        default=("D", "Q"),
        min_length=1,
        description="type letters; S and Q are stereo: one file a run",
    )
    payload: Payload = Field(default=RootPayload(kind="root"), description=PAYLOAD)


class Watermark(Model):
    """When room is made at the origin: above `high` the oldest proved files go, until `low`."""

    high: Share = Field(description="share of the room that may be used, as in 80%")
    low: Share = Field(description="share that is used afterwards, as in 70%")
    capacity: Bytes | None = Field(
        default=None,
        ge=1,
        description="bytes that the origin may hold; left out: what a folder's file system holds, "
        "or what Rucio was told of an RSE",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Watermark:
        if self.low > self.high:
            raise Misfit("low must not be above high", "low")
        return self


def _refuse_idle_watermark(watermark: Watermark | None, *, free: bool) -> None:
    if watermark is not None and not free:
        raise Misfit("says when files are removed, and free: true is missing", "watermark")


class DirectorySource(Model):
    """Real files in a folder. MD5SUMS files and hidden ones are no data and are left out."""

    kind: Literal["directory"] = Field(description=KIND)
    path: LocalPath = Field(description="the folder; relative to the campaign file")
    pattern: str = Field(default="*", min_length=1, description="which file names to take")
    recursive: bool = Field(default=True, description="whether to look into its folders")
    free: bool = Field(default=False, description=FREE)
    watermark: Watermark | None = Field(
        default=None, description="with free: true, remove only what makes room; else all that may"
    )

    @model_validator(mode="after")
    def _frees_by_watermark(self) -> DirectorySource:
        _refuse_idle_watermark(self.watermark, free=self.free)
        return self


class ListingSource(Model):
    """Names from a text file, one a line; a file is made for each."""

    kind: Literal["listing"] = Field(description=KIND)
    path: LocalPath = Field(description="the text file; relative to the campaign file")
    seed: Seed = Field(default=1, description="what contents are drawn from")
    payload: Payload = Field(default=RawPayload(kind="raw"), description=PAYLOAD)


class Complete(Model):
    """When a file counts as complete: any one of these is enough."""

    stable: Seconds | None = Field(
        default=60,
        ge=0,
        description="not written to for so long, as in 60s; null: time is no proof",
    )
    checksums: bool = Field(
        default=True, description="its .md5 file, or the MD5SUMS of its folder, is there"
    )
    trigger: str | None = Field(
        default=None,
        pattern=SUFFIX,
        description="a file of its name with this at its end is there, as in .done",
    )

    @model_validator(mode="after")
    def _something_is_enough(self) -> Complete:
        if self.stable is None and not self.checksums and self.trigger is None:
            raise Misfit("nothing would ever be complete: name stable, checksums or a trigger")
        return self


class InboxSource(Model):
    """A folder that fills up while it is looked at: a file is taken when it is complete, and its
    checksum is compared with the one that came with it. Symbolic links are not followed."""

    kind: Literal["inbox"] = Field(description=KIND)
    path: LocalPath = Field(description="the folder; relative to the campaign file")
    pattern: str = Field(default="*", min_length=1, description="which file names to take")
    recursive: bool = Field(default=True, description="whether to look into its folders")
    complete: Complete = Field(default=Complete(), description="when a file is taken")
    every: Seconds = Field(
        default=30, ge=1, description="how long run --watch waits before it looks again"
    )
    free: bool = Field(default=False, description=FREE)
    watermark: Watermark | None = Field(
        default=None, description="with free: true, remove only what makes room; else all that may"
    )

    @model_validator(mode="after")
    def _frees_by_watermark(self) -> InboxSource:
        _refuse_idle_watermark(self.watermark, free=self.free)
        return self


class PathsSource(Model):
    """Real files that a list names, one path a line, or a line as md5sum writes it. All of them
    lie below one folder."""

    kind: Literal["paths"] = Field(description=KIND)
    list: LocalPath = Field(description="the text file; relative to the campaign file")
    path: LocalPath = Field(
        description="the folder below which they lie, and paths are relative to"
    )
    free: bool = Field(default=False, description=FREE)


class SqlSource(Model):
    """Real files that a database names. All of them lie below one folder."""

    kind: Literal["sql"] = Field(description=KIND)
    url: SecretStr = Field(description="as in postgresql://USER@HOST/DATABASE")
    password_file: LocalPath | None = Field(
        default=None,
        description="a file of mode 0600 with the password; relative to the campaign file",
    )
    query: str = Field(
        min_length=1,
        description="gives a row a file: column path, if known size, md5 and adler32; others "
        "become metadata",
    )
    parameters: dict[str, Parameter] = Field(
        default_factory=dict, description="values for :names in the query"
    )
    path: LocalPath = Field(
        description="the folder below which they lie, and paths are relative to"
    )
    free: bool = Field(default=False, description=FREE)


class RseSource(Model):
    """Files that are at an RSE already, upload.rse: they are registered where they are, and
    nothing is uploaded. The RSE is not deterministic, as a rule."""

    kind: Literal["rse"] = Field(description=KIND)
    folder: str = Field(
        default="",
        description="folder below the RSE's prefix, of a storage that can be listed",
    )
    pattern: str = Field(default="*", min_length=1, description="which file names to take")
    pfns: LocalPath | None = Field(
        default=None,
        description="a text file with a PFN a line instead of a listing; relative to the campaign "
        "file",
    )
    stable: Seconds = Field(
        default=60, ge=0, description="listed files count when not written to for so long"
    )
    read: bool = Field(
        default=False, description="read each file whole for its md5, too, not only ask the storage"
    )
    every: Seconds = Field(
        default=30, ge=1, description="how long run --watch waits before it looks again"
    )
    free: bool = Field(
        default=False,
        description="end the rules that keep files here once every promised replica was proved, so "
        "that Rucio removes them",
    )
    lifetime: Seconds | None = Field(
        default=None,
        ge=1,
        description="how long these rules live on then, as in 1d; left out: a minute",
    )
    watermark: Watermark | None = Field(
        default=None, description="with free: true, free only what makes room; else all that may"
    )

    @model_validator(mode="after")
    def _listed_once(self) -> RseSource:
        if self.pfns is not None and self.folder:
            raise Misfit("folder is of a listing, and pfns comes instead of one", "folder")
        return self

    @model_validator(mode="after")
    def _frees_by_watermark(self) -> RseSource:
        _refuse_idle_watermark(self.watermark, free=self.free)
        if self.lifetime is not None and not self.free:
            raise Misfit("says when the rules here end, and free: true is missing", "lifetime")
        return self


AnySource = MockSource | DirectorySource | ListingSource | InboxSource | PathsSource | SqlSource
Source = Annotated[AnySource | RseSource, Field(discriminator="kind")]
FolderSource = DirectorySource | InboxSource | PathsSource | SqlSource
"""Sources of real files on this machine; `path` is the folder below which all of them lie."""
MarkedSource = DirectorySource | InboxSource | RseSource
"""Sources in which room may be made by a watermark."""
GrowingSource = InboxSource | RseSource
"""Sources that are looked at again and again."""
