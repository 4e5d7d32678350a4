"""What goes wrong in signing in, told as what it is."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.rucio.fake_rucio import Answer, FakeServer

from rucio_inject.domain.errors import CatalogueUnavailable, SignInFailed
from rucio_inject.rucio.session import Session, SignIn

PAGE = b"<html><body>Welcome</body></html>"


def _change(cfg: Path, old: str, new: str) -> None:
    from rucio.common.config import clean_cached_config

    text = cfg.read_text()
    assert old in text
    cfg.write_text(text.replace(old, new))
    clean_cached_config()


def test_a_token_folder_that_cannot_be_made(rucio_cfg: Path, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("a file where a folder belongs")
    _change(rucio_cfg, "tokens/token", "tokens/deeper/token")
    with pytest.raises(SignInFailed, match=r"cannot sign in.*Not a directory.*tokens") as told:
        Session(SignIn()).client()
    assert "auth_token_file_path" in str(told.value.hint)


def test_certificates_that_are_not_there(rucio_cfg: Path, server: FakeServer) -> None:
    sign_in = SignIn(ca_certificate="/nowhere/ca.pem", auth_host="https://127.0.0.1:1")
    with pytest.raises(SignInFailed, match=r"/nowhere/ca\.pem") as told:
        Session(sign_in).client()
    assert "certificates" in str(told.value.hint)


def test_oidc_without_a_terminal(
    rucio_cfg: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers["/auth/oidc"] = Answer(headers={"X-Rucio-OIDC-Auth-URL": "https://idp/"})
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    for name in ("BEARER_TOKEN", "BEARER_TOKEN_FILE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SignInFailed, match="nobody to type") as told:
        Session(SignIn(auth_strategy="oidc")).client()
    assert "--oidc-polling" in str(told.value.hint)


@pytest.mark.parametrize(
    "content",
    [
        b"no section\n",
        b"[client]\n[client]\n",
        b"[client]\nauth_type = %(\n",
        b"[client]\n# \xff\n",
    ],
    ids=["no section", "twice", "interpolation", "not UTF-8"],
)
def test_a_broken_configuration(rucio_cfg: Path, content: bytes) -> None:
    from rucio.common.config import clean_cached_config

    rucio_cfg.write_bytes(content)
    clean_cached_config()
    with pytest.raises(SignInFailed, match="configuration makes no sense") as told:
        Session(SignIn()).client()
    assert "rucio.cfg" in str(told.value.hint)


def test_a_broken_configuration_when_rucio_is_imported(tmp_path: Path) -> None:
    """Rucio reads its configuration when it is imported, which here it has been."""
    cfg = tmp_path / "rucio.cfg"
    cfg.write_text("no section\n")
    code = (
        "import sys\n"
        "from rucio_inject.domain.errors import SignInFailed\n"
        "from rucio_inject.rucio.session import Session, SignIn\n"
        "try:\n    Session(SignIn(config=sys.argv[1])).client()\n"
        "except SignInFailed as error:\n    print(error.message)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(cfg)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert "configuration makes no sense" in done.stdout, done.stderr


def test_a_configuration_that_is_not_there(tmp_path: Path, rucio_cfg: Path) -> None:
    with pytest.raises(SignInFailed, match="cannot sign in"):
        Session(SignIn(config=str(tmp_path / "nothing.cfg"))).client()


def test_no_proxy_certificate(
    rucio_cfg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rucio.client import baseclient

    monkeypatch.setattr(baseclient, "geteuid", lambda: 999_999_999)
    monkeypatch.delenv("RUCIO_CLIENT_PROXY", raising=False)
    with pytest.raises(SignInFailed, match="client_proxy"):
        Session(SignIn(auth_strategy="x509_proxy")).client()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer(PAGE, "text/html"), "makes no sense .*x-rucio-auth-token"),
        (Answer(PAGE, "text/html", 500), "makes no sense .*Welcome"),
        (Answer(b"<h1>Sorry</h1>", "text/html", 500), "makes no sense .*Sorry"),
    ],
)
def test_another_service_where_one_signs_in(
    rucio_cfg: Path, server: FakeServer, answer: Answer, told: str
) -> None:
    server.answers["/auth/userpass"] = answer
    with pytest.raises(CatalogueUnavailable, match=f"cannot sign in.*{told}"):
        Session(SignIn()).client()


def test_wrong_credentials(rucio_cfg: Path, server: FakeServer) -> None:
    server.answers["/auth/userpass"] = Answer.error("CannotAuthenticate", 401, "who are you?")
    with pytest.raises(SignInFailed, match="who are you"):
        Session(SignIn()).client()


def assert_hidden(error: BaseException | None) -> None:
    """Neither the error nor what is shown of where it comes from tells the secret."""
    while error is not None:
        assert "hunter2" not in f"{error} {getattr(error, 'hint', '')}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


@pytest.mark.parametrize("password", [" hunter2", "hunter2\n", "hunter2\r\nX: y", "hunter2€"])
def test_a_password_that_cannot_be_sent_is_not_shown(
    rucio_cfg: Path, server: FakeServer, password: str
) -> None:
    with pytest.raises(SignInFailed, match="the password or token cannot be sent") as told:
        Session(SignIn(user="somebody", password=password)).client()
    assert_hidden(told.value)


def test_nor_is_a_token_of_rucios(rucio_cfg: Path) -> None:
    from rucio_inject.rucio.catalogue import RucioCatalogue

    session = Session(SignIn())
    client = session.client()
    client.auth_token = " hunter2"
    client.headers["X-Rucio-Auth-Token"] = " hunter2"
    with pytest.raises(SignInFailed, match="the password or token cannot be sent") as told:
        RucioCatalogue(session).whoami()
    assert_hidden(told.value)


def test_an_account_in_an_address_is_not_shown(rucio_cfg: Path) -> None:
    with pytest.raises(SignInFailed, match=r"http://…@") as told:
        Session(SignIn(auth_host="http://me:hunter2@:0x")).client()
    assert "hunter2" not in told.value.message


def test_many_clients_have_one_quiet_logger(rucio_cfg: Path) -> None:
    for _ in range(2):
        Session(SignIn()).client().session.close()
    handlers = logging.getLogger("rucio_inject.rucio_client").handlers
    assert sum(isinstance(handler, logging.NullHandler) for handler in handlers) == 1


@pytest.mark.parametrize("defect", [TypeError, AttributeError, AssertionError])
def test_our_own_defects_are_not_hidden(defect: type[Exception]) -> None:
    from rucio_inject.rucio.errors import catalogue_errors, sign_in_errors

    for guarded in (catalogue_errors, sign_in_errors):
        with pytest.raises(defect, match="ours"), guarded("cannot do it"):
            raise defect("ours")
