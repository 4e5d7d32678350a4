"""What the page answers to requests, well meant or not."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from tests.web.made import TOKEN, Shown, make, posted_in, shown

from rucio_inject.domain.errors import UsageError
from rucio_inject.testing.fake_clock import FakeClock
from rucio_inject.testing.scenes import Scene
from rucio_inject.web.serving import Listening

pytestmark = pytest.mark.xdist_group("web")

SECONDS = 300


class Caller:
    """Asks a page, and remembers cookies."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()

    def get(self, path: str, **headers: str) -> requests.Response:
        return self.session.get(
            self.url + path, headers=_named(headers), timeout=SECONDS, allow_redirects=False
        )

    def post(self, path: str, fields: object, **headers: str) -> requests.Response:
        return self.session.post(
            self.url + path,
            data=fields,
            headers=_named(headers),
            timeout=SECONDS,
            allow_redirects=False,
        )

    def sign_in(self) -> None:
        assert self.post("/sign-in", {"token": TOKEN}).status_code == 303

    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self.get("/c/magic/quarantine").text)
        assert found
        return found[1]


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.fixture
def caller(own_shown: Shown) -> Iterator[Caller]:
    caller = Caller(own_shown.url)
    yield caller
    caller.session.close()


DIDS = {"did": "MAGIC_PIC_BRUZZESE:20261026_M1_36001000.005_D_1ES1959_650-W0.40_000.root"}


class TestNothingIsForStrangers:
    @pytest.mark.parametrize(
        "path",
        ["/", "/c/magic", "/c/magic/series", "/c/magic/passage", "/c/magic/files", "/events"],
    )
    def test_pages(self, caller: Caller, path: str) -> None:
        answer = caller.get(path)
        assert answer.status_code == 401
        assert "magic" not in answer.text
        # A person is led to the door.
        led = caller.get(path, accept="text/html")
        assert (led.status_code, led.headers["location"]) == (303, "/sign-in")

    def test_writes(self, caller: Caller) -> None:
        assert caller.post("/c/magic/quarantine", DIDS).status_code == 401

    def test_a_part_of_a_page_asks_for_the_whole(self, caller: Caller) -> None:
        assert caller.get("/c/magic", hx_request="true").headers["hx-refresh"] == "true"

    def test_a_cookie_that_is_made_up(self, caller: Caller) -> None:
        caller.sign_in()
        name = caller.session.cookies.keys()[0]
        caller.session.cookies.clear()
        caller.session.cookies.set(name, "made-up")
        assert caller.get("/c/magic").status_code == 401


class TestWritesComeFromOurOwnPages:
    def test_without_the_sessions_token(self, caller: Caller, own_shown: Shown) -> None:
        caller.sign_in()
        for fields in (DIDS, {**DIDS, "csrf": "guessed"}):
            answer = caller.post("/c/magic/quarantine", fields)
            assert (answer.status_code, "load the page again" in answer.text) == (403, True)
        assert "4\u00a0files" in caller.get("/c/magic/quarantine").text

    def test_from_another_site(self, caller: Caller) -> None:
        caller.sign_in()
        fields = {**DIDS, "csrf": caller.csrf()}
        for told in ({"origin": "https://evil.example"}, {"sec_fetch_site": "cross-site"}):
            answer = caller.post("/c/magic/quarantine", fields, **told)
            assert (answer.status_code, "another site" in answer.text) == (403, True)
        assert caller.post("/sign-out", {}, origin="null").status_code == 403
        assert caller.post("/sign-in", {"token": TOKEN}, origin="null").status_code == 403

    def test_with_it(self, caller: Caller) -> None:
        caller.sign_in()
        fields = {**DIDS, "csrf": caller.csrf()}
        answer = caller.post("/c/magic/quarantine", fields, sec_fetch_site="same-origin")
        assert (answer.status_code, "1\u00a0file goes on" in answer.text) == (200, True)

    def test_another_sessions_token_is_none(self, caller: Caller, own_shown: Shown) -> None:
        other = Caller(own_shown.url)
        other.sign_in()
        caller.sign_in()
        answer = caller.post("/c/magic/quarantine", {**DIDS, "csrf": other.csrf()})
        other.session.close()
        assert answer.status_code == 403

    def test_a_file_that_is_not_set_aside(self, caller: Caller) -> None:
        caller.sign_in()
        did = {"did": DIDS["did"].replace(".005_", ".001_")}
        answer = caller.post("/c/magic/quarantine", {**did, "csrf": caller.csrf()})
        assert (answer.status_code, "is VERIFIED" in answer.text) == (409, True)

    def test_a_form_without_end(self, caller: Caller) -> None:
        answer = caller.post("/sign-in", b"token=" + b"x" * 2_000_000)
        assert answer.status_code == 413


def test_who_guesses_is_slowed_down(tmp_path: Path) -> None:
    clock = FakeClock()
    with shown(tmp_path, [posted_in(tmp_path)], clock=clock) as page:
        caller = Caller(page.url)
        codes = [caller.post("/sign-in", {"token": f"guess {n}"}).status_code for n in range(6)]
        assert codes == [403] * 5 + [429]
        early = caller.post("/sign-in", {"token": TOKEN})
        assert early.status_code == 429
        seconds = int(early.headers["retry-after"])
        assert 0 < seconds <= 2
        clock.advance(seconds)
        caller.sign_in()
        caller.session.close()


def test_a_page_that_goes_by_another_name_is_none_of_ours(caller: Caller) -> None:
    assert caller.get("/health", host="evil.example").status_code == 421
    assert caller.get("/health", host="localhost:1").status_code == 200


def test_every_answer_keeps_itself_to_itself(caller: Caller) -> None:
    caller.sign_in()
    for path in ("/", "/c/magic/series", "/nowhere", "/health", "/static/page.css"):
        headers = caller.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"], path
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"].startswith("public" if "static" in path else "no-store")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/c/none", 404),
        ("/c/magic?cycle=77", 404),
        ("/c/magic?cycle=x", 400),
        ("/c/magic/files?state=x", 400),
        ("/c/magic/files?cycle=x", 400),
        ("/c/magic/file?did=x", 400),
        ("/c/magic/file?did=a:b", 404),
        ("/c/magic/series?since=nan", 400),
        ("/static/../app.py", 404),
        ("/static/%2e%2e/app.py", 404),
        ("/nowhere", 404),
    ],
)
def test_questions_that_make_no_sense(caller: Caller, path: str, code: int) -> None:
    caller.sign_in()
    answer = caller.get(path)
    assert answer.status_code == code
    assert "<h1>" in answer.text


def test_machines_need_no_token(caller: Caller) -> None:
    assert caller.get("/health").json() == {"ok": True, "checks": {"watching": "at work"}}
    assert caller.get("/ready").status_code == 200
    assert "rucio-inject serve" in caller.get("/metrics").text


def test_figure_1_as_numbers(caller: Caller) -> None:
    caller.sign_in()
    told = caller.get("/c/magic/series").json()
    curve = {curve["rse"]: curve for curve in told["curves"]}["PIC-DCACHE"]
    assert curve["catalogue"]["files"][-1] == curve["storage"]["files"][-1] == 4
    part = caller.get(f"/c/magic/series?until={told['span'][0] + 3}").json()
    assert max(part["curves"][0]["times"]) <= told["span"][0] + 3


def test_events_tell_what_is_told_to_the_board(caller: Caller, own_shown: Shown) -> None:
    caller.sign_in()
    with caller.session.get(own_shown.url + "/events", stream=True, timeout=SECONDS) as stream:
        lines = stream.iter_lines(chunk_size=1, decode_unicode=True)
        assert next(lines) == "retry: 2000"
        fields = {**DIDS, "csrf": caller.csrf()}
        caller.post("/c/magic/quarantine", fields)
        telling = (line for line in lines if line and not line.startswith(":"))
        assert next(telling) == "event: moved"
        assert "goes on from where it failed" in next(telling)


class TestBehindAProxy:
    @pytest.mark.parametrize("taken_off", [True, False])
    def test_the_root_path(self, tmp_path: Path, taken_off: bool) -> None:
        posted = posted_in(tmp_path)
        make(posted, [Scene(files=2)])
        with shown(tmp_path, [posted], Listening(root_path="/inject")) as page:
            origin = page.url.removesuffix("/inject")
            caller = Caller(origin + ("" if taken_off else "/inject"))
            caller.sign_in()
            # A browser sends the cookie to the path that it was given for.
            cookie = next(iter(caller.session.cookies))
            assert cookie.path == "/inject"
            told = {"cookie": f"{cookie.name}={cookie.value}"}
            text = caller.get("/c/magic", **told).text
            links = re.findall(r'(?:href|src|action|hx-get|data-\w+)="(/[^"]*)"', text)
            assert len(links) > 10
            assert all(link.startswith("/inject/") for link in links)
            assert caller.get("/static/page.css", **told).status_code == 200
            caller.session.close()

    def test_it_signs_people_in(self, tmp_path: Path) -> None:
        posted = posted_in(tmp_path)
        make(posted, [Scene(files=2)])
        listening = Listening(proxy_header="X-Remote-User", trust=("127.0.0.1",))
        with shown(tmp_path, [posted], listening) as page:
            caller = Caller(page.url)
            carol = caller.get("/", x_remote_user="carol", x_forwarded_proto="https")
            assert "Secure" in carol.headers["set-cookie"]
            answer = caller.get("/", x_remote_user="alice")
            assert "Secure" not in answer.headers["set-cookie"]
            assert (answer.status_code, "alice" in answer.text) == (200, True)
            # Neither another person nor nobody goes on with her session.
            assert "bob" in caller.get("/", x_remote_user="bob").text
            assert caller.get("/").status_code == 401
            caller.session.close()

    def test_nobody_else_is_believed(self, tmp_path: Path) -> None:
        posted = posted_in(tmp_path)
        listening = Listening(proxy_header="X-Remote-User", trust=("192.0.2.1",))
        with shown(tmp_path, [posted], listening) as page:
            caller = Caller(page.url)
            forged = {"x_remote_user": "root", "x_forwarded_for": "192.0.2.1"}
            assert caller.get("/", **forged).status_code == 401
            caller.session.close()


def test_a_port_in_use_is_told(tmp_path: Path, own_shown: Shown) -> None:
    from rucio_inject.clock import SystemClock
    from rucio_inject.web.serving import PageServer

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        page = PageServer(own_shown.board, Listening(port=port), SystemClock())
        with pytest.raises(UsageError, match="in use"), page:
            pass
