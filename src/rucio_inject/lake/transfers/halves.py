"""Halves of files whose server was away when they were to be removed."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from urllib.parse import urlsplit

from rucio_inject.whole_files import write_durably


class Halves:
    """Their URLs, in a file: who brings a server up again may start the service anew, too."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._urls: set[str] = set(json.loads(path.read_bytes())) if path.exists() else set()

    def add(self, url: str) -> None:
        """One more."""
        with self._lock:
            self._urls.add(url)
            self._write()

    def discard(self, url: str) -> None:
        """One less, if it was one."""
        with self._lock:
            if url in self._urls:
                self._urls.discard(url)
                self._write()

    def on(self, server: str) -> list[str]:
        """Those on a server (host:port)."""
        with self._lock:
            return sorted(url for url in self._urls if urlsplit(url).netloc == server)

    def _write(self) -> None:
        write_durably(self._path, json.dumps(sorted(self._urls)).encode())
