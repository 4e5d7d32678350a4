"""Keys of a campaign that matter between its runs: when, how long, whom to tell, what to count."""

from __future__ import annotations

import os
import re
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    SecretStr,
    StringConstraints,
    Tag,
    model_validator,
)

from rucio_inject.campaign.cron import parse_cron
from rucio_inject.campaign.model import (
    AS_KEYS,
    AS_TEXT,
    INDEX,
    VARIABLE,
    Misfit,
    Model,
    text_or_keys,
)
from rucio_inject.campaign.units import LocalPath, Seconds, Whole, parse_duration
from rucio_inject.domain.errors import UsageError

_URL = re.compile(r"https?://[^\s/]+\S*\Z")
_ADDRESS = re.compile(r"[^\s@<>,]+@[^\s@<>,]+\Z")
_LISTEN = re.compile(r"(\[[0-9a-fA-F:]+\]|[\w.-]+):(\d{1,5})\Z")
_GRAPHITE = re.compile(r"[A-Za-z0-9_.-]+\Z")


def _checked_cron(text: str) -> str:
    return parse_cron(text).text


def _checked_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("must be a time zone, as in UTC or Europe/Madrid") from None
    return name


def _checked_url(text: str) -> str:
    if not _URL.match(text):
        raise ValueError("must be a URL that begins with http:// or https://")
    return text


def _checked_address(text: str) -> str:
    if not _ADDRESS.match(text):
        raise ValueError("must be a mail address")
    return text


def _checked_place(text: str) -> str:
    found = _LISTEN.match(text)
    if found is None or not 0 < int(found[2]) < 65536:
        raise ValueError("must be HOST:PORT, as in 127.0.0.1:8126")
    return text


def _checked_prefix(text: str) -> str:
    if not _GRAPHITE.match(text):
        raise ValueError("may hold letters, digits, dot, dash and underscore only")
    return text


CronText = Annotated[str, AfterValidator(_checked_cron)]
Zone = Annotated[str, AfterValidator(_checked_zone)]
URL = Annotated[str, AfterValidator(_checked_url)]
MailAddress = Annotated[str, AfterValidator(_checked_address)]
Place = Annotated[str, AfterValidator(_checked_place)]
Prefix = Annotated[str, AfterValidator(_checked_prefix)]
Variable = Annotated[str, StringConstraints(pattern=VARIABLE)]


class Schedule(Model):
    """When `rucio-inject serve` begins a run."""

    cron: CronText | None = Field(default=None, description="a cron expression, as in 17 * * * *")
    every: Seconds | None = Field(default=None, ge=1, description="an interval, as in 1h")
    timezone: Zone = Field(default="UTC", description="that the cron expression is meant in")

    @model_validator(mode="after")
    def _one_of_both(self) -> Schedule:
        if (self.cron is None) == (self.every is None):
            raise Misfit("must have either cron or every")
        return self

    def in_words(self) -> str:
        """For people."""
        if self.cron is not None:
            return f"cron {self.cron} ({self.timezone})"
        seconds = self.every or 0
        for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
            if seconds % length == 0:
                return f"every {seconds // length}{unit}"
        return f"every {seconds}s"


def _schedule(value: object) -> object:
    """A schedule in one word: an interval, or else a cron expression."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return value
    try:
        return {"every": parse_duration(value)}
    except ValueError:
        return {"cron": value}


ScheduleKey = Annotated[Schedule, BeforeValidator(_schedule)]


class Secret(Model):
    """Where a secret is read from, each time that it is needed."""

    env: Variable | None = Field(default=None, description="an environment variable")
    file: LocalPath | None = Field(default=None, description="a file that holds nothing else")

    @model_validator(mode="after")
    def _one_of_both(self) -> Secret:
        if (self.env is None) == (self.file is None):
            raise Misfit("must have either env or file")
        return self

    def read(self) -> str:
        """The secret. UsageError, which does not show it, if it is not there."""
        if self.env is not None:
            found = os.environ.get(self.env, "").strip()
            if not found:
                raise UsageError(f"the environment variable {self.env} is not set")
            return found
        assert self.file is not None
        try:
            found = self.file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise UsageError(f"the secret in {self.file} cannot be read: {why}") from None
        if not found:
            raise UsageError(f"the secret in {self.file} is empty")
        return found


SecretText = Annotated[
    Annotated[SecretStr, Tag(AS_TEXT)] | Annotated[Secret, Tag(AS_KEYS)],
    Discriminator(text_or_keys),
]


class Webhook(Model):
    """An HTTP endpoint that takes messages as Slack does (Mattermost and Rocket.Chat, too)."""

    url: SecretText = Field(
        description="its URL, {env: VARIABLE} or {file: PATH}; it is a secret, and is never shown"
    )

    def address(self) -> str:
        """Its URL. UsageError if there is none."""
        text = self.url.read() if isinstance(self.url, Secret) else self.url.get_secret_value()
        if not _URL.match(text):
            raise UsageError("the webhook's URL does not begin with http:// or https://")
        return text

    @model_validator(mode="after")
    def _is_url(self) -> Webhook:
        if isinstance(self.url, SecretStr) and not _URL.match(self.url.get_secret_value()):
            raise Misfit("must be a URL that begins with http:// or https://", "url")
        return self


class Mail(Model):
    """A mail server (SMTP), and whom it tells."""

    server: Place = Field(description="HOST:PORT")
    sender: MailAddress = Field(description="the address that messages come from")
    to: tuple[MailAddress, ...] = Field(min_length=1, description="the addresses that are told")
    security: Literal["none", "starttls", "tls"] = Field(
        default="starttls", description="a certificate is always verified"
    )
    user: str | None = Field(default=None, description="whom to sign in as; left out: nobody")
    password: Secret | None = Field(default=None, description="the user's, {env: …} or {file: …}")

    @model_validator(mode="after")
    def _both_or_none(self) -> Mail:
        if (self.user is None) != (self.password is None):
            raise Misfit("user and password go together")
        if self.user is not None and self.security == "none":
            raise Misfit("a password needs security: starttls or tls", "security")
        return self


class Notify(Model):
    """Whom to tell when something is STUCK, set aside or not the same, or a run fails or is late.

    What happens within `group` is one message; no other one comes until it is over, or until
    something of another kind happens.
    """

    webhook: Webhook | None = Field(default=None, description="a chat, or whatever takes messages")
    mail: Mail | None = Field(default=None, description="people, by mail")
    group: Seconds = Field(default=30, ge=0, description="what happens within is one message")
    remind: Seconds = Field(default=86_400, ge=60, description="after this it is told again")

    @model_validator(mode="after")
    def _somebody(self) -> Notify:
        if self.webhook is None and self.mail is None:
            raise Misfit("must have webhook or mail")
        return self


class Retention(Model):
    """How long the evidence of cycles that have ended is kept; without either, 720 of them: a month
    of hours.

    A cycle goes when all that is given allows it; its summary stays, in cycles.jsonl. What is still
    anywhere in the lake, or was set aside, is always kept.
    """

    cycles: Whole | None = Field(default=None, ge=1, description="ended cycles that are kept")
    age: Seconds | None = Field(default=None, ge=1, description="since the cycle's end, as in 30d")

    @property
    def kept(self) -> int:
        """Ended cycles that are kept, whatever their age."""
        return self.cycles or (1 if self.age else 720)


class Graphite(Model):
    """A Graphite (carbon) server that takes the plain protocol."""

    server: Place = Field(description="HOST:PORT")
    prefix: Prefix = Field(default="rucio_inject", description="before every name, as a site's")
    interval: Seconds = Field(default=60, ge=1, description="between two sendings, as in 60s")


class OpenSearch(Model):
    """An OpenSearch or Elasticsearch server, to which every fact goes as a document."""

    url: URL = Field(description="its URL, without the index")
    index: str = Field(
        default="rucio-inject", pattern=INDEX, description="the index that documents go to"
    )
    user: str | None = Field(default=None, description="whom to sign in as; left out: nobody")
    password: Secret | None = Field(default=None, description="the user's, {env: …} or {file: …}")

    @model_validator(mode="after")
    def _both_or_none(self) -> OpenSearch:
        if (self.user is None) != (self.password is None):
            raise Misfit("user and password go together")
        return self


class Metrics(Model):
    """Where numbers go while a run goes on. `serve` has them at /metrics besides."""

    graphite: Graphite | None = Field(default=None, description="counts and rates go there")
    opensearch: OpenSearch | None = Field(default=None, description="every fact goes there")
    textfile: LocalPath | None = Field(
        default=None,
        description="a .prom file for Prometheus's node exporter, written at the end of a run",
    )


class Push(Model):
    """Where Rucio's events are heard (hermes, as newline-delimited JSON over HTTP).

    They only shorten a wait: what they say is always asked of Rucio.
    """

    listen: Place = Field(description="HOST:PORT that a run listens at; `serve` hears at /events")


def place_parts(place: str) -> tuple[str, int]:
    """Host and port of HOST:PORT."""
    host, _, port = place.rpartition(":")
    return host.strip("[]"), int(port)
