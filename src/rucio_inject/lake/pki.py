"""A certificate authority of the lake's own: certificates of hosts and users, and proxies.

Made as sites make them: a folder of hashed names with the authority's certificate, its revocation
list and its signing policy, as GSI and curl look for them; RSA keys; proxies of RFC 3820. They are
good for this machine only.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from rucio_inject.whole_files import write_durably

ORGANISATION = "lake"
_AUTHORITY = "rucio-inject lake CA"
_YEARS = timedelta(days=3650)
_YEAR = timedelta(days=365)
# What has less left than this is made anew at a start.
_MARGIN = timedelta(days=30)
# Clocks of two processes of one machine agree, those of two libraries round differently.
_BEFORE = timedelta(minutes=5)
_KEY_BITS = 2048
_PROXY_INFO = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.14")
# ProxyCertInfo: no limit on further delegation, all rights of the signer are inherited.
_INHERIT_ALL = bytes.fromhex("300c300a06082b06010505071501")


def distinguished_name(common_name: str) -> str:
    """The subject of a user's certificate as Rucio and grid-mapfiles write it."""
    return f"/O={ORGANISATION}/CN={common_name}"


@dataclass(frozen=True, slots=True)
class Credential:
    """Where a certificate and its key lie."""

    certificate: Path
    key: Path


class Authority:
    """The authority in a folder: `certificates/` is for everybody, its key for the owner only."""

    def __init__(self, folder: Path, now: datetime) -> None:
        """Open the authority, or make one if there is none."""
        self.certificates = folder / "certificates"
        self.bundle = folder / "ca.pem"
        self._key_file = folder / "ca.key"
        self._now = now
        self.certificates.mkdir(mode=0o755, parents=True, exist_ok=True)
        if not (self.bundle.exists() and self._key_file.exists()):
            self._make()
        self._key = _key_of(self._key_file.read_bytes())
        self._certificate = x509.load_pem_x509_certificate(self.bundle.read_bytes())
        self._publish()

    def _make(self) -> None:
        key = generate_private_key(65537, _KEY_BITS)
        name = _name(_AUTHORITY)
        builder = self._builder(name, name, key, _YEARS)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)  # noqa: FBT003
        builder = builder.add_extension(_usage(sign=True), True)  # noqa: FBT003
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        certificate = builder.add_extension(identifier, False).sign(key, hashes.SHA256())  # noqa: FBT003
        write_durably(self._key_file, _pem(key))
        write_durably(self.bundle, certificate.public_bytes(Encoding.PEM))

    def _publish(self) -> None:
        """The files that GSI and curl look for, by the hash of the authority's name."""
        name = self._certificate.subject
        base = self.certificates / subject_hash(name)
        certificate = self._certificate.public_bytes(Encoding.PEM)
        revoked = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(name)
            .last_update(self._now - _BEFORE)
            .next_update(self._now + _YEAR)
            .sign(self._key, hashes.SHA256())
        )
        policy = (
            f"access_id_CA X509 '{distinguished_name(_AUTHORITY)}'\n"
            "pos_rights globus CA:sign\n"
            f"cond_subjects globus '\"/O={ORGANISATION}/*\"'\n"
        )
        contents = {
            ".0": certificate,
            ".r0": revoked.public_bytes(Encoding.PEM),
            ".signing_policy": policy.encode(),
        }
        for suffix, content in contents.items():
            path = base.with_name(base.name + suffix)
            write_durably(path, content)
            path.chmod(0o644)
        self.bundle.chmod(0o644)

    def host(self, credential: Credential) -> None:
        """Have a certificate for servers of this machine, if there is none that lasts."""
        names = x509.SubjectAlternativeName(
            [
                x509.DNSName("localhost"),
                x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
                x509.IPAddress(ipaddress.ip_address("::1")),
            ]
        )
        self._issue("localhost", credential, names)

    def user(self, common_name: str, credential: Credential) -> None:
        """Have a certificate for a user, if there is none that lasts."""
        self._issue(common_name, credential, None)

    def _issue(
        self, common_name: str, credential: Credential, names: x509.SubjectAlternativeName | None
    ) -> None:
        if self._lasts(credential):
            return
        key = generate_private_key(65537, _KEY_BITS)
        builder = self._builder(_name(common_name), self._certificate.subject, key, _YEAR)
        if names is not None:
            builder = builder.add_extension(names, False)  # noqa: FBT003
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)  # noqa: FBT003
            .add_extension(_usage(), True)  # noqa: FBT003
            .sign(self._key, hashes.SHA256())
        )
        write_durably(credential.key, _pem(key))
        credential.key.chmod(0o400)
        write_durably(credential.certificate, certificate.public_bytes(Encoding.PEM))
        credential.certificate.chmod(0o644)

    def _lasts(self, credential: Credential) -> bool:
        if not (credential.certificate.exists() and credential.key.exists()):
            return False
        held = x509.load_pem_x509_certificate(credential.certificate.read_bytes())
        # A start that was killed may have left the key of the next certificate.
        key = _key_of(credential.key.read_bytes()).public_key()
        ours = held.issuer == self._certificate.subject and held.public_key() == key
        return ours and held.not_valid_after_utc > self._now + _MARGIN

    def _builder(
        self, subject: x509.Name, issuer: x509.Name, key: RSAPrivateKey, lives: timedelta
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - _BEFORE)
            .not_valid_after(self._now + lives)
        )


def make_proxy(credential: Credential, proxy: Path, now: datetime, lives: timedelta) -> None:
    """Write an RFC 3820 proxy of a user's certificate: what `voms-proxy-init` does without a VO.

    `lives` may be negative: a proxy that has expired.
    """
    signer = x509.load_pem_x509_certificate(credential.certificate.read_bytes())
    signing = _key_of(credential.key.read_bytes())
    key = generate_private_key(65537, _KEY_BITS)
    serial = x509.random_serial_number() >> 96
    own = x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COMMON_NAME, str(serial))])
    ends = min(now + lives, signer.not_valid_after_utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([*signer.subject.rdns, own]))
        .issuer_name(signer.subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(min(now, ends) - _BEFORE)
        .not_valid_after(ends)
        .add_extension(x509.UnrecognizedExtension(_PROXY_INFO, _INHERIT_ALL), True)  # noqa: FBT003
        .add_extension(_usage(), True)  # noqa: FBT003
        .sign(signing, hashes.SHA256())
    )
    chain = [certificate.public_bytes(Encoding.PEM), _pem(key), signer.public_bytes(Encoding.PEM)]
    write_durably(proxy, b"".join(chain))
    proxy.chmod(0o600)


def subject_hash(name: x509.Name) -> str:
    """What OpenSSL calls a file of an authority by: a hash of its name, in lower case and UTF-8."""
    canonical = b""
    for attribute in name:
        value = " ".join(str(attribute.value).lower().split()).encode()
        held = _der(0x06, _oid(attribute.oid)) + _der(0x0C, value)
        canonical += _der(0x31, _der(0x30, held))
    digest = hashlib.sha1(canonical, usedforsecurity=False).digest()
    return f"{int.from_bytes(digest[:4], 'little'):08x}"


def _oid(oid: x509.ObjectIdentifier) -> bytes:
    # Of a name only: each arc after the first two is below 128.
    first, second, *rest = (int(arc) for arc in oid.dotted_string.split("."))
    return bytes([40 * first + second, *rest])


def _der(tag: int, content: bytes) -> bytes:
    # Names of ours are short: one byte holds their length.
    return bytes([tag, len(content)]) + content


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _usage(*, sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not sign,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def _key_of(pem: bytes) -> RSAPrivateKey:
    key = load_pem_private_key(pem, password=None)
    assert isinstance(key, RSAPrivateKey)
    return key


def give(credential: Credential, uid: int, gid: int) -> None:
    """Make a certificate and its key belong to the user that the server runs as."""
    for path in (credential.certificate, credential.key):
        os.chown(path, uid, gid)
