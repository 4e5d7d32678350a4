"""What a lake holds at its start, as data: accounts, scopes, RSEs, distances and limits.

The content file is YAML; unknown keys are refused, and an error names the key and the reason.
"""

from __future__ import annotations

import hashlib
import re
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from rucio_inject.domain.errors import UsageError

ROOT = "root"

# As Rucio's generic schema has them.
AccountName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,25}$")]
ScopeName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_.-]{1,25}$")]
RseName = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]([A-Z0-9_-]{1,58}[A-Z0-9])$")]
AttributeValue = bool | int | float | str
Bytes = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Account(_Part):
    """An account that signs in with a random password."""

    type: Literal["USER", "GROUP", "SERVICE"] = "USER"
    email: str = "nobody@localhost"
    attributes: dict[str, AttributeValue] = Field(default_factory=dict)


class Rse(_Part):
    """An RSE: a folder of the lake. Sizes in bytes."""

    attributes: dict[str, AttributeValue] = Field(default_factory=dict)
    deterministic: bool = True
    availability_read: bool = True
    availability_write: bool = True
    availability_delete: bool = True
    min_free_space: Bytes | None = None
    capacity: Bytes | None = None

    @model_validator(mode="after")
    def _known_attributes_are_ours(self) -> Self:
        if "fts" in self.attributes:
            msg = "the attribute fts is set by the lake: it names the lake's own transfer service"
            raise ValueError(msg)
        return self


class Distance(_Part):
    """How far one RSE is from another; transfers prefer near sources."""

    source: RseName
    destination: RseName
    distance: Annotated[int, Field(ge=1)]


class Content(_Part):
    """The content file."""

    injecting_account: AccountName
    accounts: dict[AccountName, Account]
    scopes: dict[ScopeName, AccountName] = Field(default_factory=dict)
    rses: dict[RseName, Rse] = Field(min_length=1)
    name_characters: Annotated[str, StringConstraints(pattern=r"^[+%#=@~:,;!$&() ]*$")] = ""
    distance: Annotated[int, Field(ge=1)] = 1
    distances: tuple[Distance, ...] = ()
    limits: dict[AccountName, dict[RseName, Bytes | Literal["unlimited"]]] = Field(
        default_factory=dict
    )

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        accounts = {*self.accounts, ROOT}
        if ROOT in self.accounts:
            msg = "accounts: root is always there and cannot be changed here"
            raise ValueError(msg)
        asked = [("injecting_account", self.injecting_account, accounts, "an account")]
        asked += [
            (f"scopes.{s}", owner, accounts, "an account") for s, owner in self.scopes.items()
        ]
        asked += [(f"limits.{account}", account, accounts, "an account") for account in self.limits]
        for account, limits in self.limits.items():
            asked += [(f"limits.{account}.{rse}", rse, set(self.rses), "an RSE") for rse in limits]
        for number, link in enumerate(self.distances):
            for end in (link.source, link.destination):
                asked.append((f"distances.{number}", end, set(self.rses), "an RSE"))
        for where, name, known, kind in asked:
            if name not in known:
                msg = f"{where}: {name} is not {kind} of this file"
                raise ValueError(msg)
        return self

    def links(self) -> dict[tuple[str, str], int]:
        """The distance of every ordered pair of different RSEs."""
        links = {(a, b): self.distance for a in self.rses for b in self.rses if a != b}
        links.update({(link.source, link.destination): link.distance for link in self.distances})
        return links


def default_text() -> str:
    """The content file that comes with the package."""
    return resources.files("rucio_inject.lake").joinpath("content.yaml").read_text("utf-8")


def read_text(path: Path) -> str:
    """The text of a content file. UsageError when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read the content file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"the content file {path} is not UTF-8 text") from error


def parse(text: str, name: str) -> Content:
    """The content that a file's text means. UsageError names the key and the reason."""
    try:
        data = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(
            f"{name}, line {line}: not valid YAML: {error.problem}", hint=_HINT
        ) from error
    except YAMLError as error:
        raise UsageError(f"{name}: not valid YAML: {error}", hint=_HINT) from error
    try:
        return Content.model_validate(data)
    except ValidationError as error:
        reasons = "\n".join(f"  {_reason(dict(problem))}" for problem in error.errors())
        raise UsageError(f"{name} does not describe a lake:\n{reasons}", hint=_HINT) from error


_HINT = "the packaged example with all keys: rucio-inject lake start without --content uses it"


def _reason(problem: dict[str, object]) -> str:
    location = problem["loc"]
    assert isinstance(location, tuple)
    where = ".".join(str(part) for part in location if part != "[key]") or "the file"
    message = re.sub(r"^Value error, ", "", str(problem["msg"]))
    return f"{where}: {message}"


def digest(content: Content, *facts: str) -> str:
    """A fingerprint of a content and of the facts that it was applied with."""
    text = "\n".join([content.model_dump_json(), *facts])
    return hashlib.sha256(text.encode()).hexdigest()
