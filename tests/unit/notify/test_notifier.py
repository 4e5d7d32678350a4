"""One outage is one message, however many facts and runs it takes; its end is another one."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from email.message import Message as Mail
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MessageHandler
from aiosmtpd.smtp import AuthResult

from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import UsageError
from rucio_inject.domain.rule import RuleState, RuleView
from rucio_inject.notify.channels import Channel, MailChannel, WebhookChannel
from rucio_inject.notify.notifier import MOST_SEEN, Manners, Notifier
from rucio_inject.notify.troubles import Message
from rucio_inject.posting import NotDelivered
from rucio_inject.testing.fake_clock import FakeClock

RUN = DID("magic", "05089063")
MANNERS = Manners(group=30, remind=86_400)


class Postbox:
    """A channel that keeps what it is given, unless it is broken."""

    def __init__(self, name: str = "postbox") -> None:
        self.name = name
        self.got: list[Message] = []
        self.broken = False

    def send(self, message: Message) -> None:
        """See `Channel`."""
        if self.broken:
            raise NotDelivered(f"{self.name} is broken")
        self.got.append(message)

    @property
    def titles(self) -> list[str]:
        """What came."""
        return [message.title for message in self.got]


class Odd(Postbox):
    """A channel that does what no channel should."""

    is_odd = True

    def send(self, message: Message) -> None:
        """See `Channel`."""
        if self.is_odd:
            raise ZeroDivisionError
        super().send(message)


class Scene:
    """A campaign that is watched, run after run."""

    def __init__(self, folder: Path, *channels: Channel) -> None:
        self.file = folder / "notified.json"
        self.clock = FakeClock()
        self.channels = channels
        self.complaints: list[str] = []
        self.notifier = self.another()

    def another(self) -> Notifier:
        """As another process would have."""
        return Notifier(
            "magic",
            self.file,
            self.channels,
            MANNERS,
            now=self.clock.now,
            complain=self.complaints.append,
        )

    def rule(self, state: RuleState, rule_id: str = "r1") -> None:
        """A rule is seen."""
        view = RuleView(rule_id, RUN, "QOS=FAST", 1, state, 0, 0, 1, error="NO_SOURCES")
        self.notifier.record([f.RuleChanged(at=self.clock.now(), view=view)])

    def failed(self, name: str, code: str = "content-conflict") -> None:
        """A file is set aside."""
        did = DID("magic", name)
        fact = f.FileFailed(at=self.clock.now(), did=did, code=code, reason="other", hint=None)
        self.notifier.record([fact])

    def run_ends(self, code: int, words: str = "Rucio is away") -> None:
        """A run ends, and its process with it."""
        ended = f.RunEnded(at=self.clock.now(), code=code, words=words, seconds=1)
        self.notifier.record([ended])
        self.notifier.pump(last=True)
        self.notifier = self.another()

    def look_ends(self, code: int, words: str = "Rucio is away") -> None:
        """A look of a watch ends, and its process goes on."""
        self.notifier.record([f.LookEnded(at=self.clock.now(), code=code, words=words)])

    def pass_time(self, seconds: float) -> None:
        """Time passes, and what is due is sent."""
        self.clock.advance(seconds)
        self.notifier.pump()


def test_what_happens_together_is_one_message(tmp_path: Path) -> None:
    box = Postbox()
    scene = Scene(tmp_path, box)
    for number in range(200):
        scene.rule(RuleState.STUCK, f"r{number}")
    scene.pass_time(10)
    scene.failed("a.root")
    scene.failed("b.root", "checksum-mismatch")
    scene.pass_time(10)
    assert box.got == []
    scene.pass_time(10)
    scene.pass_time(3600)
    assert box.titles == ["magic is in trouble: stuck, quarantine, mismatch"]
    text = "\n".join(box.got[0].lines)
    assert "rules STUCK or SUSPENDED: 200, since 2026-03-01T12:00:00Z" in text
    assert "rule r0 to QOS=FAST is STUCK: NO_SOURCES" in text
    assert "… and 197 more" in text
    assert "magic:b.root: other" in text


def test_people_are_told_while_a_watch_goes_on(tmp_path: Path) -> None:
    box = Postbox()
    scene = Scene(tmp_path, box)
    for _ in range(9):
        scene.look_ends(5)
        scene.pass_time(MANNERS.group)
    assert box.titles == ["magic is in trouble: failed"]
    assert "runs, or looks of a watch, that failed: 1, since" in box.got[0].lines[0]
    scene.look_ends(0, "done")
    scene.pass_time(1)
    assert box.titles[1:] == ["magic is well again (was: failed)"]
    scene.failed("a.root")
    scene.pass_time(MANNERS.group)
    scene.look_ends(0, "done")
    scene.pass_time(1)
    assert box.titles[2:] == [
        "magic is in trouble: quarantine",
        "magic is well again (was: quarantine)",
    ]


def test_a_day_of_failing_runs_is_one_message_and_its_end_another(tmp_path: Path) -> None:
    box = Postbox()
    scene = Scene(tmp_path, box)
    for _ in range(23):
        scene.run_ends(5)
        scene.pass_time(3600)
    assert box.titles == ["magic is in trouble: failed"]
    scene.run_ends(0, "done")
    assert box.titles[1:] == ["magic is well again (was: failed)"]
    assert box.got[1].recovery
    assert "the trouble began at 2026-03-01T12:00:00Z" in box.got[1].lines[0]
    scene.run_ends(0, "done")
    assert len(box.got) == 2
    assert not scene.file.exists()


def test_another_kind_is_told_and_a_long_outage_is_told_again(tmp_path: Path) -> None:
    box = Postbox()
    scene = Scene(tmp_path, box)
    scene.run_ends(5)
    scene.failed("a.root")
    scene.pass_time(31)
    assert box.titles == [
        "magic is in trouble: failed",
        "magic has more trouble: failed, quarantine",
    ]
    scene.pass_time(86_400)
    scene.pass_time(3600)
    assert box.titles[2:] == ["magic is still in trouble: failed, quarantine"]


def test_what_comes_right_at_once_is_not_told(tmp_path: Path) -> None:
    box = Postbox()
    scene = Scene(tmp_path, box)
    scene.rule(RuleState.STUCK)
    scene.pass_time(10)
    scene.rule(RuleState.STUCK)
    scene.rule(RuleState.OK)
    scene.pass_time(100)
    scene.run_ends(0)
    assert box.got == []


def test_who_stopped_it_need_not_be_told(tmp_path: Path) -> None:
    box = Postbox()
    scene = Scene(tmp_path, box)
    scene.run_ends(130, "stopped as you asked")
    scene.pass_time(100)
    assert box.got == []
    scene.notifier.late("a run could not begin")
    scene.pass_time(31)
    assert box.titles == ["magic is in trouble: late"]


def test_a_channel_that_is_broken_is_tried_again_and_told_of_once(tmp_path: Path) -> None:
    box, other = Postbox("webhook"), Postbox("mail")
    scene = Scene(tmp_path, box, other)
    box.broken = True
    scene.failed("a.root")
    for _ in range(40):
        scene.pass_time(10)
    assert scene.complaints == ["not notified: webhook is broken; it is tried again"]
    assert len(other.got) == 1, "the other one is not told again"
    # Another process knows what nobody was told of.
    scene.notifier = scene.another()
    box.broken = False
    scene.pass_time(1)
    assert box.titles == ["magic is in trouble: quarantine"]


def test_a_folder_that_is_lost_or_a_file_that_is_damaged_stops_nothing(tmp_path: Path) -> None:
    box = Postbox()
    scene = Scene(tmp_path, box)
    scene.file.write_text("{ no")
    scene.failed("a.root")
    scene.pass_time(31)
    assert len(box.got) == 1
    scene.file = Path("/dev/null/notified.json")
    scene.notifier = scene.another()
    scene.failed("a.root")
    scene.pass_time(31)
    assert "cannot be kept: " in scene.complaints[-1]


def test_a_folder_that_cannot_be_looked_at_stops_nothing(tmp_path: Path) -> None:
    box = Postbox()
    # Of such a name Python's Path.exists raises, as it does of a file server that is away.
    scene = Scene(tmp_path / ("n" * 300), box)
    scene.pass_time(1)
    assert scene.complaints == []
    scene.failed("a.root")
    scene.pass_time(31)
    scene.pass_time(31)
    assert box.titles == ["magic is in trouble: quarantine"]
    assert len(scene.complaints) == 1
    assert scene.complaints[0].endswith("cannot be kept: File name too long")


def test_what_nobody_foresaw_makes_nothing_told_twice_or_never(tmp_path: Path) -> None:
    box, odd = Postbox("webhook"), Odd("mail")
    scene = Scene(tmp_path, box, odd)
    scene.failed("a.root")
    scene.notifier.late("the run of 12:00 goes on")
    scene.clock.advance(31)
    with pytest.raises(ZeroDivisionError):
        scene.notifier.pump()
    odd.is_odd = False
    scene.pass_time(1)
    scene.pass_time(1)
    told = ["magic is in trouble: quarantine, late"]
    assert (box.titles, odd.titles) == (told, told)
    scene.notifier = scene.another()
    scene.pass_time(1)
    assert (box.titles, odd.titles) == (told, told), "it is on disk"


def test_what_waits_while_a_channel_is_slow_is_what_may_be_told(tmp_path: Path) -> None:
    box = Postbox()
    scene = Scene(tmp_path, box)
    begun = f.RunBegun(at=scene.clock.now(), process="process 7")
    failed = f.RunEnded(at=scene.clock.now(), code=4, words="no", seconds=1)
    scene.notifier.record([failed, *[begun] * (2 * MOST_SEEN)])
    scene.pass_time(31)
    scene.notifier.record([failed] * (2 * MOST_SEEN))
    scene.pass_time(86_401)
    lines = [message.lines[0] for message in box.got]
    assert lines[0].startswith("runs, or looks of a watch, that failed: 1, ")
    assert lines[1].startswith(f"runs, or looks of a watch, that failed: {MOST_SEEN + 1}, ")


@pytest.mark.parametrize("lost", ["notified.json", ".notified.json.part", "notified.json.lock"])
def test_a_disk_that_is_full_makes_nothing_told_twice_or_never(tmp_path: Path, lost: str) -> None:
    box = Postbox()
    scene = Scene(tmp_path, box)
    # A folder of that name keeps anybody from writing, as a full disk does.
    (tmp_path / lost).mkdir()
    scene.failed("a.root")
    for _ in range(3):
        scene.pass_time(20)
    scene.rule(RuleState.STUCK)
    for _ in range(600):
        scene.pass_time(1)
    told = ["magic is in trouble: quarantine", "magic has more trouble: quarantine, stuck"]
    assert box.titles == told
    assert [words.split(":")[0] for words in scene.complaints] == [f"{scene.file} cannot be kept"]
    # There is room again: who comes next knows what was told.
    (tmp_path / lost).rmdir()
    for _ in range(600):
        scene.pass_time(1)
    assert scene.file.is_file()
    scene.notifier = scene.another()
    scene.pass_time(3600)
    assert box.titles == told


MESSAGE = Message("magic is in trouble: stuck", ("rules: 1 <&> 2", "  to A"))


class Receiver(HTTPServer):
    """A webhook that keeps what it is sent, and answers `code`."""

    code = 200

    def __init__(self) -> None:
        self.got: list[tuple[str, Any]] = []
        super().__init__(("127.0.0.1", 0), _Hook)
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,))
        self.thread.start()

    @property
    def url(self) -> str:
        """Where it is, with a secret."""
        return f"http://127.0.0.1:{self.server_port}/services/s3cret"


class _Hook(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        """Take a message."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.headers["Content-Type"], json.loads(body)))
        self.send_response(self.server.code)
        if self.server.code == 302:
            self.send_header("Location", "http://127.0.0.1:1/")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A webhook."""
    server = Receiver()
    yield server
    server.shutdown()
    server.server_close()
    server.thread.join()


def test_a_real_webhook_gets_what_slack_takes(receiver: Receiver) -> None:
    WebhookChannel(lambda: receiver.url).send(MESSAGE)
    kind, body = receiver.got[0]
    assert kind == "application/json"
    assert set(body) == {"text"}
    assert body["text"].startswith(":warning: *magic is in trouble: stuck*\n")
    assert "1 &lt;&amp;&gt; 2" in body["text"]


@pytest.mark.parametrize("code", [302, 403, 500])
def test_a_webhook_that_refuses_and_no_secret_is_shown(receiver: Receiver, code: int) -> None:
    receiver.code = code
    with pytest.raises(NotDelivered, match=f"the webhook at 127.0.0.1 answers {code}") as caught:
        WebhookChannel(lambda: receiver.url).send(MESSAGE)
    assert "s3cret" not in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/s3cret",
        "http://no.such.host.invalid/s3cret",
        "https://[s3cret",
        "s3cret",
    ],
)
def test_a_webhook_that_cannot_be_reached(url: str) -> None:
    with pytest.raises(NotDelivered, match="cannot be reached") as caught:
        WebhookChannel(lambda: url).send(MESSAGE)
    assert "s3cret" not in caught.value.message


def no_secret() -> str:
    """A secret that is not there."""
    raise UsageError("the environment variable HOOK is not set")


def test_a_secret_that_is_not_there() -> None:
    with pytest.raises(NotDelivered, match="HOOK is not set"):
        WebhookChannel(no_secret).send(MESSAGE)


class _Kept(MessageHandler):
    def __init__(self) -> None:
        super().__init__()
        self.got: list[Mail] = []

    def handle_message(self, message: Mail) -> None:
        """Keep it."""
        self.got.append(message)


@pytest.fixture
def mail_server() -> Iterator[tuple[int, _Kept]]:
    """A real SMTP server."""
    kept = _Kept()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(kept, hostname="127.0.0.1", port=port)
    controller.start()
    yield port, kept
    controller.stop()


def test_a_real_mail_server_gets_a_mail(mail_server: tuple[int, _Kept]) -> None:
    port, kept = mail_server
    to = ("shift@example.org", "expert@example.org")
    channel = MailChannel("127.0.0.1", port, "inject@example.org", to, "none")
    channel.send(Message("magic is in trouble:\nBcc: all@example.org", ("θ² is lost",)))
    mail = kept.got[0]
    assert mail["Subject"] == "[rucio-inject] magic is in trouble: Bcc: all@example.org"
    assert mail["To"] == "shift@example.org, expert@example.org"
    assert mail["Bcc"] is None
    payload = mail.get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert "θ² is lost" in payload.decode()


def test_a_name_that_is_no_text_is_told_by_mail_and_kept(
    tmp_path: Path, mail_server: tuple[int, _Kept]
) -> None:
    port, kept = mail_server
    channel = MailChannel("127.0.0.1", port, "inject@example.org", ("shift@example.org",), "none")
    scene = Scene(tmp_path, channel)
    name = b"/data/caf\xe9.root".decode("utf-8", "surrogateescape")
    scene.run_ends(4, f"cannot read {name}")
    scene.pass_time(31)
    assert scene.complaints == []
    assert len(kept.got) == 1
    payload = kept.got[0].get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert r"cannot read /data/caf\udce9.root" in payload.decode()


def test_mail_is_not_sent_without_the_security_that_is_asked_for(
    mail_server: tuple[int, _Kept],
) -> None:
    port, kept = mail_server
    channel = MailChannel("127.0.0.1", port, "a@b", ("c@d",), "starttls", "me", lambda: "s3cret")
    with pytest.raises(NotDelivered, match="refuses the message: SMTPNotSupportedError"):
        channel.send(MESSAGE)
    assert kept.got == []
    with pytest.raises(NotDelivered, match=r"the mail server at 127.0.0.1:1 cannot be reached"):
        MailChannel("127.0.0.1", 1, "a@b", ("c@d",), "none").send(MESSAGE)


@pytest.mark.parametrize(("user", "password"), [("me", "s3cret-ü"), ("mü", "s3cret")])
def test_a_mail_server_that_cannot_be_signed_in_at_with_what_is_not_ascii(
    user: str, password: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(
        _Kept(),
        hostname="127.0.0.1",
        port=port,
        authenticator=lambda *_: AuthResult(success=True),
        auth_require_tls=False,
    )
    controller.start()
    channel = MailChannel("127.0.0.1", port, "a@b", ("c@d",), "none", user, lambda: password)
    try:
        with pytest.raises(NotDelivered, match="UnicodeEncodeError; user and password") as caught:
            channel.send(MESSAGE)
    finally:
        controller.stop()
    assert "s3cret" not in caught.value.message


def test_time_that_goes_back_delays_no_message(tmp_path: Path) -> None:
    box = Postbox()
    scene = Scene(tmp_path, box)
    scene.failed("a.root")
    earlier = FakeClock(scene.clock.now() - timedelta(days=300))
    scene.clock = earlier
    scene.notifier.pump()
    scene.notifier = scene.another()
    scene.notifier.pump()
    assert len(box.got) == 1
