"""The download code against a real HTTP server on loopback."""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from acclimate.data import download
from acclimate.data.archive import read_archive
from acclimate.data.download import RemoteFile, content_md5
from acclimate.errors import DataError
from helpers import tar_bytes

CONTENT = bytes(range(256)) * 4000
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT, behaving as the path says; remembers the requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, str | None]] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append((self.path, asked))
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.path == "/broken" and len(self.server.requests) < 3:
            self.send_error(503)
            return
        content = {"/wrong": b"something else", "/zipped": gzip.compress(CONTENT, 1)}.get(self.path, CONTENT)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.path != "/no-range" else 0
        if start >= len(content) and start:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        if self.path in ("/cut", "/no-range") and len([r for r in self.server.requests if r[0] == self.path]) == 1:
            body = body[: len(body) // 3]
        if self.path == "/always-cut":
            body = body[:1000]
        for begin in range(0, len(body), 100_000):
            self.wfile.write(body[begin : begin + 100_000])
            if self.path == "/slow":
                time.sleep(0.05)


@pytest.fixture
def server() -> Iterator[Server]:
    instance = Server()
    thread = threading.Thread(target=instance.serve_forever, daemon=True)
    thread.start()
    yield instance
    instance.shutdown()
    instance.server_close()


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download.time, "sleep", lambda _: None)


def remote(server: Server, *paths: str, md5: str = MD5) -> RemoteFile:
    return RemoteFile(
        "set/file.bin", tuple(server.url(path) for path in paths), md5, source="https://publisher.example"
    )


@pytest.mark.parametrize("path", ["plain", "slow"])
def test_fetch_and_verify(server: Server, tmp_path: Path, path: str) -> None:
    file = remote(server, path).ensure(tmp_path)
    assert file.read_bytes() == CONTENT
    assert [entry.name for entry in file.parent.iterdir()] == ["file.bin"]


def test_processes_that_need_the_same_file_fetch_it_once(server: Server, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from acclimate.data.download import RemoteFile;"
        "RemoteFile('set/file.bin', (sys.argv[1],), sys.argv[2]).ensure(Path(sys.argv[3]))"
    )
    command = [sys.executable, "-c", code, server.url("slow"), MD5, str(tmp_path)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert (tmp_path / "set" / "file.bin").read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_gzip_is_verified_by_content(server: Server, tmp_path: Path) -> None:
    assert content_md5(remote(server, "zipped").ensure(tmp_path)) == MD5


def test_a_cut_transfer_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    assert remote(server, "cut").ensure(tmp_path).read_bytes() == CONTENT
    assert server.requests == [("/cut", None), ("/cut", f"bytes={len(CONTENT) // 3}-")]


def test_a_server_without_ranges_is_read_from_the_start(server: Server, tmp_path: Path) -> None:
    assert remote(server, "no-range").ensure(tmp_path).read_bytes() == CONTENT


def test_an_interrupted_download_resumes_in_the_next_process(server: Server, tmp_path: Path) -> None:
    file = remote(server, "plain")
    part = tmp_path / "set" / f"file.bin.{hashlib.sha256(file.urls[0].encode()).hexdigest()[:8]}.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT[:5000])
    assert file.ensure(tmp_path).read_bytes() == CONTENT
    assert server.requests == [("/plain", "bytes=5000-")]


def test_a_part_that_is_whole_already_is_taken(server: Server, tmp_path: Path) -> None:
    file = remote(server, "plain")
    part = tmp_path / "set" / f"file.bin.{hashlib.sha256(file.urls[0].encode()).hexdigest()[:8]}.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT)
    assert file.ensure(tmp_path).read_bytes() == CONTENT


def test_not_found_then_mirror(server: Server, tmp_path: Path) -> None:
    assert remote(server, "missing", "plain").ensure(tmp_path).read_bytes() == CONTENT
    assert [path for path, _ in server.requests] == ["/missing", "/plain"]


def test_wrong_content_then_mirror(server: Server, tmp_path: Path) -> None:
    assert remote(server, "wrong", "plain").ensure(tmp_path).read_bytes() == CONTENT
    assert not list(tmp_path.glob("set/*.part"))


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    assert remote(server, "broken").ensure(tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == 3


def test_when_nothing_helps_the_error_says_what_to_do(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        remote(server, "missing", "wrong", "always-cut").ensure(tmp_path)
    text = str(error.value)
    assert "HTTP 404" in text
    assert "the content's md5 is" in text
    assert "cut off after" in text
    assert "https://publisher.example" in text
    assert str(tmp_path / "set/file.bin") in text
    assert not (tmp_path / "set/file.bin").exists()


def test_no_server_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="could not be fetched"):
        RemoteFile("a.bin", ("http://127.0.0.1:9/a.bin",), MD5).ensure(tmp_path)


def test_a_file_in_place_is_used_after_validation(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/file.bin").write_bytes(CONTENT)
    assert remote(server, "plain").ensure(tmp_path).read_bytes() == CONTENT
    assert server.requests == []
    (tmp_path / "set/file.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(DataError, match="expected " + MD5):
        remote(server, "plain").ensure(tmp_path)


def test_downloading_can_be_switched_off(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="switched off"):
        remote(server, "plain").ensure(tmp_path, download=False)
    assert server.requests == []


def test_damaged_gzip_is_named(tmp_path: Path) -> None:
    (tmp_path / "cut.gz").write_bytes(gzip.compress(CONTENT)[:-2000])
    with pytest.raises(DataError, match=r"cut\.gz: damaged or cut off"):
        content_md5(tmp_path / "cut.gz")


def test_archive_members_are_read_without_touching_the_disk(tmp_path: Path) -> None:
    (tmp_path / "a.tgz").write_bytes(tar_bytes({"x/1.jpg": b"one", "x/2.txt": b"two", "x/3.jpg": b"three"}))
    assert list(read_archive(tmp_path / "a.tgz", "x/*.jpg")) == [("x/1.jpg", b"one"), ("x/3.jpg", b"three")]


@pytest.mark.parametrize("name", ["../escape.jpg", "/absolute.jpg", "x/../../escape.jpg"])
def test_archives_cannot_escape(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.tgz").write_bytes(tar_bytes({name: b"bad"}))
    with pytest.raises(DataError, match="no plain file inside"):
        list(read_archive(tmp_path / "a.tgz", "*.jpg"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_archives_cannot_hold_links_or_devices(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("x/link.jpg")
    info.type, info.linkname = kind, "/etc/passwd"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(info)
    (tmp_path / "a.tar").write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match="no plain file inside"):
        list(read_archive(tmp_path / "a.tar", "*.jpg"))


def test_archives_have_limits(tmp_path: Path) -> None:
    (tmp_path / "a.tgz").write_bytes(tar_bytes({f"{i}.jpg": bytes(1000) for i in range(10)}))
    with pytest.raises(DataError, match="more than 5 members"):
        list(read_archive(tmp_path / "a.tgz", "*.jpg", max_members=5))
    with pytest.raises(DataError, match="unpacks to more than 3,000 bytes"):
        list(read_archive(tmp_path / "a.tgz", "*.jpg", max_bytes=3000))
    (tmp_path / "cut.tgz").write_bytes((tmp_path / "a.tgz").read_bytes()[:100])
    with pytest.raises(DataError, match="damaged or cut off"):
        list(read_archive(tmp_path / "cut.tgz", "*.jpg"))
