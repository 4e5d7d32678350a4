"""The lake's own certificates."""

from __future__ import annotations

import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from rucio_inject.lake import pki
from rucio_inject.lake.pki import Authority, Credential

NOW = datetime.now(UTC)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki", NOW)


@pytest.fixture
def user(authority: Authority, tmp_path: Path) -> Credential:
    held = Credential(tmp_path / "usercert.pem", tmp_path / "userkey.pem")
    authority.user("magic", held)
    return held


def verified(authority: Authority, path: Path, *options: str) -> str:
    """What OpenSSL, which GSI and curl use, says of a certificate."""
    command = ["openssl", "verify", "-CApath", str(authority.certificates), "-crl_check"]
    done = subprocess.run(
        [*command, *options, str(path)], capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def test_openssl_finds_the_authority_by_its_hash(authority: Authority, user: Credential) -> None:
    assert verified(authority, user.certificate).endswith(": OK\n")


def test_a_user_is_called_as_rucio_writes_it(user: Credential) -> None:
    held = x509.load_pem_x509_certificate(user.certificate.read_bytes())
    parts = [f"{part.rfc4514_attribute_name}={part.value!s}" for part in held.subject]
    assert "/" + "/".join(parts) == pki.distinguished_name("magic")


def test_a_proxy_is_good_where_proxies_are_allowed(
    authority: Authority, user: Credential, tmp_path: Path
) -> None:
    proxy = tmp_path / "proxy.pem"
    pki.make_proxy(user, proxy, NOW, timedelta(hours=1))
    assert proxy.stat().st_mode & 0o777 == 0o600
    chain = ("-untrusted", str(user.certificate))
    assert "OK" in verified(authority, proxy, *chain, "-allow_proxy_certs")
    assert "proxy certificates not allowed" in verified(authority, proxy, *chain)
    ssl.create_default_context().load_cert_chain(proxy)


def test_a_proxy_ends_with_its_certificate(user: Credential, tmp_path: Path) -> None:
    proxy = tmp_path / "proxy.pem"
    pki.make_proxy(user, proxy, NOW, timedelta(days=1000))
    ends = [
        x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
        for path in (proxy, user.certificate)
    ]
    assert ends[0] == ends[1]


def test_an_expired_proxy_is_refused(
    authority: Authority, user: Credential, tmp_path: Path
) -> None:
    proxy = tmp_path / "proxy.pem"
    pki.make_proxy(user, proxy, NOW, timedelta(minutes=-1))
    told = verified(authority, proxy, "-untrusted", str(user.certificate), "-allow_proxy_certs")
    assert "certificate has expired" in told


def test_what_lasts_is_kept_and_what_does_not_is_made_anew(
    authority: Authority, user: Credential, tmp_path: Path
) -> None:
    before = user.certificate.read_bytes()
    Authority(tmp_path / "pki", NOW).user("magic", user)
    assert user.certificate.read_bytes() == before
    Authority(tmp_path / "pki", NOW + timedelta(days=350)).user("magic", user)
    assert user.certificate.read_bytes() != before


def test_a_start_that_was_killed_between_key_and_certificate(
    authority: Authority, user: Credential, tmp_path: Path
) -> None:
    other = Credential(tmp_path / "other.pem", tmp_path / "other.key")
    authority.user("magic", other)
    user.key.chmod(0o600)
    user.key.write_bytes(other.key.read_bytes())
    authority.user("magic", user)
    context = ssl.create_default_context()
    context.load_cert_chain(user.certificate, user.key)


def test_keys_are_for_their_owner_alone(user: Credential, tmp_path: Path) -> None:
    assert user.key.stat().st_mode & 0o777 == 0o400
    assert (tmp_path / "pki" / "ca.key").stat().st_mode & 0o777 == 0o600
