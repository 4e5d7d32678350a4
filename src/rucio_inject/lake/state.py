"""What a lake remembers between two commands: its state file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rucio_inject.domain.errors import LakeError
from rucio_inject.whole_files import write_durably


class Member(BaseModel):
    """A process; `created` (seconds since 1970) tells it from a later one with its pid."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pid: int = Field(gt=1)
    created: float


class LakeState(BaseModel):
    """The state file."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    version: Literal[1] = 1
    port: int | None = None
    transfer_port: int | None = None
    postgres_bin: Path | None = None
    postgres_major: int | None = None
    socket_folder: Path | None = None
    durable: bool = False
    hermes: str | None = None
    storage: Literal["posix", "xrootd"] = "posix"
    sign_in: Literal["userpass", "x509", "x509_proxy"] = "userpass"
    storage_ports: dict[str, tuple[int, int]] = Field(default_factory=dict)
    database_ready: bool = False
    content_digest: str | None = None
    members: dict[str, Member] = Field(default_factory=dict)

    @property
    def tls(self) -> bool:
        """Whether the server speaks TLS: signing in by certificates needs it."""
        return self.sign_in != "userpass"

    @property
    def has_authority(self) -> bool:
        """Whether the lake gives out certificates."""
        return self.tls or self.storage == "xrootd"


def load_state(path: Path) -> LakeState:
    """The state on disk; a fresh one when there is none. LakeError when it cannot be read."""
    if not path.exists():
        return LakeState()
    try:
        return LakeState.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise LakeError(
            f"{path} is not a state file of this version: {where}: {first['msg']}",
            hint="`rucio-inject lake reset` deletes this lake, so that it can be started afresh",
        ) from error


def save_state(path: Path, state: LakeState) -> None:
    """Write the state, all of it or nothing."""
    write_durably(path, (state.model_dump_json(indent=2) + "\n").encode())
