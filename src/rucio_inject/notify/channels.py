"""Ways to people: a webhook that takes what Slack takes, and mail."""

from __future__ import annotations

import json
import smtplib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Protocol

from rucio_inject.domain.errors import UsageError
from rucio_inject.notify.troubles import Message
from rucio_inject.posting import TIMEOUT, NotDelivered, post

# Slack cuts longer texts by itself, at a place of its own choice.
_LONGEST = 3000


class Channel(Protocol):
    """A way to people."""

    @property
    def name(self) -> str:
        """What it is called in messages; no secret is in it."""
        ...

    def send(self, message: Message) -> None:
        """Deliver it, or raise NotDelivered. May be called again: at worst it comes twice."""
        ...


@dataclass(frozen=True, slots=True)
class WebhookChannel:
    """Posts `{"text": …}`, which Slack, Mattermost and Rocket.Chat take; `address` gives the URL
    each time, and raises UsageError if it cannot be had."""

    address: Callable[[], str]
    name: str = "the webhook"

    def send(self, message: Message) -> None:
        """See `Channel`."""
        sign = ":white_check_mark:" if message.recovery else ":warning:"
        # Slack reads these three as its own signs, wherever they stand.
        text = "\n".join((f"*{message.title}*", *message.lines))[:_LONGEST]
        text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        body = json.dumps({"text": f"{sign} {text}"}).encode()
        try:
            url = self.address()
        except UsageError as error:
            raise NotDelivered(error.message) from None
        post(url, body, {"Content-Type": "application/json"}, who=self.name)


@dataclass(frozen=True, slots=True)
class MailChannel:
    """Sends a mail by SMTP. `security` is none, starttls or tls; `password` is asked for each
    time, and raises UsageError if it cannot be had."""

    host: str
    port: int
    sender: str
    to: tuple[str, ...]
    security: str
    user: str | None = None
    password: Callable[[], str] | None = None
    name: str = "the mail server"

    def send(self, message: Message) -> None:
        """See `Channel`."""
        try:
            mail = self._mail(message)
            with self._connected() as server:
                if self.user is not None and self.password is not None:
                    self._sign_in(server, self.user, self.password())
                server.send_message(mail)
        except UsageError as error:
            raise NotDelivered(error.message) from None
        except smtplib.SMTPResponseException as error:
            said = error.smtp_error
            told = said.decode(errors="replace") if isinstance(said, bytes) else said
            raise self._refused(f"answers {error.smtp_code} {told}") from None
        except smtplib.SMTPException as error:
            raise self._refused(f"refuses the message: {type(error).__name__}") from None
        except OSError as error:
            why = error.strerror or str(error)
            raise self._refused(f"cannot be reached: {why}") from None
        except ValueError as error:
            raise self._refused(f"cannot be sent the message: {type(error).__name__}") from None

    def _sign_in(self, server: smtplib.SMTP, user: str, password: str) -> None:
        try:
            server.login(user, password)
        except ValueError as error:
            # smtplib signs in with ASCII alone; the text of the error quotes the password.
            why = f"cannot be used as it is set up: {type(error).__name__}"
            raise self._refused(f"{why}; user and password must be ASCII") from None

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["From"], mail["To"] = self.sender, ", ".join(self.to)
        # What a server gave as a reason may hold line ends, which no header may.
        mail["Subject"] = " ".join(f"[rucio-inject] {message.title}".split())
        mail["Date"], mail["Message-ID"] = formatdate(), make_msgid(domain="rucio-inject")
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content("\n".join((message.title, "", *message.lines, "")))
        return mail

    def _connected(self) -> smtplib.SMTP:
        if self.security == "tls":
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(self.host, self.port, timeout=TIMEOUT, context=context)
        server = smtplib.SMTP(self.host, self.port, timeout=TIMEOUT)
        if self.security == "starttls":
            try:
                server.starttls(context=ssl.create_default_context())
            except (smtplib.SMTPException, OSError):
                server.close()
                raise
        return server

    def _refused(self, why: str) -> NotDelivered:
        return NotDelivered(f"{self.name} at {self.host}:{self.port} {why}")
