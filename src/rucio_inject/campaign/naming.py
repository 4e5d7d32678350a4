"""How DIDs follow from names, as a campaign file says it."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Discriminator, Field, StringConstraints, Tag, field_validator, model_validator

from rucio_inject.campaign.model import (
    AS_KEYS,
    AS_TEXT,
    CHARACTERS,
    KEY,
    Misfit,
    Model,
    text_or_keys,
)
from rucio_inject.campaign.units import Seconds
from rucio_inject.domain import names
from rucio_inject.domain.names.pattern import Pattern

Key = Annotated[str, StringConstraints(pattern=KEY)]
# A pattern is run on every name: one of this length says all that a name may tell.
LONGEST_PATTERN = 1000


class OwnGrammar(Model):
    """A grammar of the campaign's own, for an experiment that this program does not know."""

    name: Key = Field(description="what the grammar is called")
    experiment: str = Field(min_length=1, max_length=60, description="whose names they are")
    pattern: str = Field(
        min_length=1,
        max_length=LONGEST_PATTERN,
        description="regular expression of a whole file name; its named groups are the fields of "
        "templates: (?P<run>…) must be among them or in folder",
    )
    folder: str | None = Field(
        default=None,
        max_length=LONGEST_PATTERN,
        description="regular expression searched in the folders, for what names do not tell",
    )
    fixed: dict[str, str] = Field(
        default_factory=dict, description="fields that are the same for all files"
    )
    example: str = Field(min_length=1, description="a name that fits, with its folders if need be")

    @field_validator("pattern", "folder")
    @classmethod
    def _compiles(cls, text: str | None) -> str | None:
        if text is not None:
            try:
                re.compile(text)
            except re.error as error:
                raise ValueError(f"is no regular expression: {error}") from None
        return text

    @model_validator(mode="after")
    def _fits_its_example(self) -> OwnGrammar:
        pattern = self.understood()
        pattern.check()
        folder, _, name = self.example.rpartition("/")
        if pattern.match(name, folder) is None:
            raise ValueError(f"{self.example!r} does not fit the pattern")
        return self

    def understood(self) -> Pattern:
        """The pattern, compiled."""
        folder = re.compile(self.folder) if self.folder else None
        return Pattern(self.experiment, re.compile(self.pattern), folder, self.fixed)

    def grammar(self) -> names.Grammar:
        """The grammar."""
        pattern = self.understood()
        return names.Grammar(
            self.name, self.experiment, self.example, pattern.match, pattern.explain
        )


GrammarKey = Annotated[
    Annotated[str, Tag(AS_TEXT)] | Annotated[OwnGrammar, Tag(AS_KEYS)], Discriminator(text_or_keys)
]


class Close(Model):
    """When a dataset takes no more: any one of these is enough, once all its files are proved."""

    quiet: Seconds | None = Field(
        default=None, ge=1, description="no new file was found for so long, as in 30m"
    )
    next_run: bool = Field(
        default=False, description="after its first file one of a later run was found"
    )
    trigger: str | None = Field(
        default=None,
        description="template of a file's name that lies in source.path then, as in {run}.complete",
    )
    late: str | None = Field(
        default=None,
        description="template of the dataset for files that come later, as in {run}.late; left "
        "out: they are set aside",
    )

    @model_validator(mode="after")
    def _something_closes(self) -> Close:
        if self.quiet is None and not self.next_run and self.trigger is None:
            raise ValueError("nothing would ever close a dataset: name quiet, next_run or trigger")
        return self


class Naming(Model):
    """How DIDs follow from names."""

    grammars: tuple[GrammarKey, ...] = Field(
        default=tuple(names.GRAMMARS),
        min_length=1,
        description="grammars that a name may be of: known ones, or the campaign's own",
    )
    characters: str = Field(
        default="",
        pattern=CHARACTERS,
        description="further characters that the site's schema takes in DID names, as in +%",
    )
    name: str = Field(default=names.DEFAULT_NAME, description="template of the file's DID name")
    dataset: str = Field(
        default=names.DEFAULT_DATASET, description="template of the dataset's name"
    )
    containers: tuple[str, ...] = Field(
        default=names.DEFAULT_CONTAINERS,
        description="templates of the containers' names, outermost first",
    )
    closing: Close | None = Field(
        default=None, description="when a dataset takes no more; left out: it stays open"
    )

    @field_validator("grammars")
    @classmethod
    def _known(cls, given: tuple[str | OwnGrammar, ...]) -> tuple[str | OwnGrammar, ...]:
        names.grammars([key for key in given if isinstance(key, str)])
        keys = [key if isinstance(key, str) else key.name for key in given]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise ValueError(f"there is more than one grammar {', '.join(twice)}")
        return given

    @model_validator(mode="after")
    def _well_formed(self) -> Naming:
        fields = self.own_fields()
        closing = [self.closing.late, self.closing.trigger] if self.closing else []
        others = [template for template in closing if template is not None]
        names.check_templates(self.dataset, self.containers, fields=fields)
        for template in (self.name, *others):
            names.template_fields(template, fields)
        if (lacking := names.lacking_above(self.containers, self._fixed())) is not None:
            place, missing = lacking
            raise Misfit(
                f"lacks {{{'}, {'.join(sorted(missing))}}} of the container around it, which would "
                "hold what is of others: each name carries every level above it",
                "containers",
                place,
            )
        return self

    def _fixed(self) -> frozenset[str]:
        """Fields that are the same for all files."""
        if len(self.grammars) > 1:
            return frozenset()
        (only,) = self.grammars
        if isinstance(only, OwnGrammar):
            return frozenset({"experiment", *only.fixed})
        return frozenset({"experiment", "telescope"} if only == "lst1" else {"experiment"})

    def own_fields(self) -> frozenset[str]:
        """The fields that the campaign's own grammars tell."""
        own = [g.understood().fields for g in self.grammars if isinstance(g, OwnGrammar)]
        return frozenset().union(*own)

    def chosen(self) -> tuple[names.Grammar, ...]:
        """The grammars, in their order."""
        return tuple(
            names.GRAMMARS[one] if isinstance(one, str) else one.grammar() for one in self.grammars
        )

    def allowed(self) -> re.Pattern[str]:
        """DID names that the site's schema takes."""
        return names.name_pattern(self.characters)
