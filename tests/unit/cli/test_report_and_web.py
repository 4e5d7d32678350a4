"""`report` and `web`, as they are typed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rucio_inject.cli.main import cli
from rucio_inject.clock import SystemClock
from rucio_inject.domain import facts as f
from rucio_inject.domain.errors import InjectError
from rucio_inject.domain.usage import Room
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.monitor.series import Series
from rucio_inject.testing.scenes import START, Scene, month

CAMPAIGN = """\
campaign: magic
scope: MAGIC_PIC_BRUZZESE
source: {kind: mock}
upload: {rse: PIC-INJECT}
rules: [{rse_expression: PIC-DCACHE}, {rse_expression: QOS=FAST, copies: 2}]
end: {lifetime: 60s}
monitor: {highlight: PIC-DCACHE}
output: out
"""
# One pixel.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
)


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUCIO_CONFIG", str(tmp_path / "rucio.cfg"))
    path = tmp_path / "magic.yaml"
    path.write_text(CAMPAIGN)
    return path


def on_record(folder: Path, *scenes: Scene, plots: tuple[Path, ...] = ()) -> None:
    output = folder / "out"
    output.mkdir(exist_ok=True)
    with SqlLedger(output / "magic.db", "magic", clock=SystemClock()) as ledger:
        for scene in scenes:
            for facts in scene.facts():
                ledger.record(facts)
            Series(output / "counts.jsonl").append(list(scene.counts()))
        if plots:
            paths = tuple(map(str, plots))
            headline = "10 events in 2 files; significance <5 sigma"
            made = f.AnalysisMade(at=START, files=2, events=10, headline=headline, paths=paths)
            ledger.record([made])


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def error_of(*arguments: object) -> InjectError:
    answer = invoke(*arguments)
    assert isinstance(answer.exception, InjectError), answer.output
    return answer.exception


class Outside(HTMLParser):
    """What a page would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "iframe", "object", "link"}:
            self.found.append(tag)
        for name, value in attrs:
            if name in {"src", "href", "srcset"} and not (value or "").startswith("data:"):
                self.found.append(f"{tag} {name}={value}")
            if name.startswith("on"):
                self.found.append(f"{tag} {name}")


class TestReport:
    def test_one_file_that_needs_nothing_else(self, campaign: Path, tmp_path: Path) -> None:
        plot, elsewhere = tmp_path / "out" / "physics.png", tmp_path / "private.png"
        plot.parent.mkdir()
        plot.write_bytes(PNG)
        elsewhere.write_bytes(PNG + b"private")
        on_record(tmp_path, *month(3, files=6, trouble=(2,)), plots=(plot, elsewhere))
        answer = invoke("report", campaign, "--html", tmp_path / "report.html")
        assert answer.output == f"3 cycles reported in {tmp_path / 'report.html'}\n"
        html = (tmp_path / "report.html").read_text()
        outside = Outside()
        outside.feed(html)
        assert outside.found == []
        assert not re.search(r"url\((?!\"data:)", html)
        # Both figures and the campaign's own plot; what lies elsewhere is nobody's to see.
        assert html.count("<img ") == 3
        assert "significance &lt;5 sigma" in html
        for told in ("storage-refused", "507 Insufficient Storage", "PIC-DCACHE, 2 of QOS=FAST"):
            assert told in html

    def test_a_month_of_hourly_cycles_is_told_by_days(self, campaign: Path, tmp_path: Path) -> None:
        begun = START.replace(day=31, hour=12)
        on_record(tmp_path, *month(60, files=2, begun=begun))
        out = tmp_path / "report.html"
        invoke("report", campaign, "--html", out, "--month", "2026-11")
        html = out.read_text()
        assert "48\u00a0cycles" in html
        assert "Day by day" in html
        assert "2026-11-02" in html
        assert "2026-10-31" not in html.partition("Day by day")[2]

    @pytest.mark.parametrize(
        ("sample", "words"), [("25%", "25 % of each dataset"), ("1", "1 file of each dataset")]
    )
    def test_what_a_sample_leaves_out_is_not_told_as_read_back(
        self, campaign: Path, tmp_path: Path, sample: str, words: str
    ) -> None:
        campaign.write_text(f"{CAMPAIGN}access: {{sample: {sample}}}\n")
        on_record(tmp_path, Scene(files=4, sampled=3))
        out = tmp_path / "report.html"
        invoke("report", campaign, "--html", out)
        html = out.read_text()
        assert "<dt>Read back</dt><dd>25.0\u00a0%</dd>" in html
        assert "1 the same everywhere; 3 told by the storage" in html
        assert "read back, or told" in html
        assert words in html
        assert "of the others storages told size and adler32" in html

    def test_the_room_at_the_origin(self, campaign: Path, tmp_path: Path) -> None:
        on_record(tmp_path, Scene(files=4))
        out = tmp_path / "report.html"
        invoke("report", campaign, "--html", out)
        assert "Free at the origin" not in out.read_text()
        with SqlLedger(tmp_path / "out" / "magic.db", "magic", clock=SystemClock()) as ledger:
            room = Room(2_000_000, 500_000)
            at = START.replace(hour=23)
            ledger.record([f.RunEnded(at=at, code=0, words="", seconds=1, origin=room)])
        invoke("report", campaign, "--html", out)
        tile = "<dt>Free at the origin</dt><dd>1.5 MB</dd>"
        html = out.read_text().replace("\u00a0", " ")
        assert f'{tile}<dd class="more">of 2.0 MB, 25.0 % used</dd>' in html

    def test_without_the_extra_to_draw(
        self, campaign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        on_record(tmp_path, Scene(files=2))
        monkeypatch.setattr("rucio_inject.web.report.find_spec", lambda _: None)
        invoke("report", campaign, "--html", tmp_path / "report.html")
        assert "rucio-inject[science]" in (tmp_path / "report.html").read_text()

    def test_standard_output_instead_of_a_file(self, campaign: Path, tmp_path: Path) -> None:
        on_record(tmp_path, Scene(files=2))
        html = invoke("report", campaign, "--html", "-").output
        assert html.startswith("<!")
        assert html.rstrip().endswith("</html>")
        assert not (tmp_path / "-").exists()
        both = error_of("report", campaign, "--html", "-", "--json")
        assert "both are for standard output" in both.message

    def test_as_json(self, campaign: Path, tmp_path: Path) -> None:
        (tmp_path / "rucio.cfg").write_text(
            "[client]\nrucio_host = https://user:secret@rucio.example:443\npassword = secret\n"
        )
        on_record(tmp_path, *month(3, files=4))
        told: dict[str, Any] = json.loads(
            invoke("report", campaign, "--json", "--cycle", "2").output
        )
        assert (told["schema"], told["total"]["files"]) == (1, 4)
        assert [cycle["cycle"] for cycle in told["cycles"]] == [2]
        assert {count["rse"] for count in told["counts"]} >= {"PIC-INJECT", "PIC-DCACHE"}
        assert told["environment"]["Lake"]["Rucio"] == "https://rucio.example:443"
        assert "secret" not in json.dumps(told)

    def test_what_is_asked_for_wrongly(self, campaign: Path, tmp_path: Path) -> None:
        assert "what is to be made" in error_of("report", campaign).message
        assert "no ledger" in error_of("report", campaign, "--json").message
        on_record(tmp_path, Scene(files=2))
        report = ("report", campaign, "--json")
        assert "is no month" in error_of(*report, "--month", "november").message
        assert "2020-01" in error_of(*report, "--month", "2020-01").message
        assert "cycle 9" in error_of(*report, "--cycle", "9").message
        both = error_of(*report, "--cycle", "1", "--month", "2026-10")
        assert both.hint == "give one"
        ledger = tmp_path / "out" / "magic.db"
        before = ledger.read_bytes()
        assert "--html" in error_of("report", campaign, "--html", ledger).message
        assert (
            "cannot write"
            in error_of("report", campaign, "--html", campaign / "where.html").message
        )
        assert ledger.read_bytes() == before


class TestWeb:
    def test_it_serves_until_it_is_stopped(self, campaign: Path, tmp_path: Path) -> None:
        on_record(tmp_path, Scene(files=2))
        command = [sys.executable, "-m", "rucio_inject", "web", str(campaign), "--port", "0"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
        ) as served:
            assert served.stdout is not None
            url = served.stdout.readline().split()[-1]
            sign_in = served.stdout.readline().split()[-1]
            assert sign_in.startswith(f"{url}sign-in#token=")
            with urllib.request.urlopen(f"{url}health", timeout=300) as answer:
                assert json.load(answer)["ok"]
            served.send_signal(signal.SIGTERM)
            out, err = served.communicate(timeout=300)
        assert served.returncode == 0, err
        assert out.endswith("the page is closed\n")
        assert "Traceback" not in err

    def test_what_is_asked_for_wrongly(self, campaign: Path, tmp_path: Path) -> None:
        assert "plain text" in error_of("web", campaign, "--host", "0.0.0.0").message
        assert "called magic" in error_of("web", campaign, campaign).message
        header = error_of("web", campaign, "--proxy-header", "X-User")
        assert "from anybody" in header.message
        assert "cannot be read" in error_of("web", campaign, "--token-file", "none").message


@pytest.mark.parametrize("command", ["web", "report"])
def test_help_needs_nothing(command: str) -> None:
    code = (
        "import sys; from rucio_inject.cli.main import main\n"
        "try: main([sys.argv[1], '--help'])\n"
        "except SystemExit: print({'fastapi', 'jinja2', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, command], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("set()\n")
