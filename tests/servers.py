"""Servers of files on this machine, for tests: HTTP that fails in mid-transfer, S3 by moto, and XRootD."""

import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import ClassVar

SECONDS = 90


class FailingHandler(http.server.SimpleHTTPRequestHandler):
    """Serve files, and take them; the first `num_faults` GET or PUT of each end in the middle of the file."""

    num_faults = 0
    asked: ClassVar[Counter[str]] = Counter()

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        type(self).asked[path.name] += 1
        content = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        is_whole = self.asked[path.name] > self.num_faults
        self.wfile.write(content if is_whole else content[: len(content) // 2])
        self.close_connection = True

    def do_PUT(self) -> None:
        path = Path(self.translate_path(self.path))
        type(self).asked[path.name] += 1
        size = int(self.headers["Content-Length"])
        if self.asked[path.name] <= self.num_faults:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.rfile.read(size // 2))
            self.connection.close()  # the half stays, as on servers that know no better
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.rfile.read(size))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_DELETE(self) -> None:
        path = Path(self.translate_path(self.path))
        path.unlink(missing_ok=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def http_server(folder: Path, num_faults: int = 0) -> Iterator[tuple[str, Counter[str]]]:
    """Serve a folder; yield its URL and how often each file was asked for."""
    asked: Counter[str] = Counter()
    handler = type("Handler", (FailingHandler,), {"num_faults": num_faults, "asked": asked})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """Start moto's server of S3; yield the environment that names it to Snakemake and to us."""
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _running(command, port):
        yield {
            "SNAKEMAKE_STORAGE_S3_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "SNAKEMAKE_STORAGE_S3_ACCESS_KEY": "test",
            "SNAKEMAKE_STORAGE_S3_SECRET_KEY": "test",
        }


@contextmanager
def xrootd_server(folder: Path, protocol: str = "root") -> Iterator[str]:
    """Start Debian's XRootD on a folder that all users can read; yield its URL, of `root` or of `http` with WebDAV."""
    port = free_port()
    settings = folder / "xrootd.cfg"
    settings.write_text(
        f"xrd.port {port}\nall.adminpath {folder}/admin\nall.pidpath {folder}/admin\noss.localroot {folder}/data\n"
        "all.export /\nxrootd.chksum max 2 adler32\nxrootd.async off\n"
        + ("xrd.protocol http libXrdHttp.so\n" if protocol == "http" else "")
    )
    (folder / "admin").mkdir(exist_ok=True)
    user = []
    if os.geteuid() == 0:  # it refuses to run as root
        user = ["-R", "nobody"]
        shutil.chown(folder / "admin", "nobody")
        shutil.chown(folder / "data", "nobody")
    with _running(["xrootd", *user, "-c", str(settings), "-l", str(folder / "admin" / "log")], port):
        yield f"{protocol}://127.0.0.1:{port}{'/' if protocol == 'root' else ''}"


@contextmanager
def cutting_proxy(port: int, num_cuts: int, after: int = 4000) -> Iterator[tuple[int, list[int]]]:
    """Stand between clients and a server of this machine; yield the port, and what was sent before each cut [bytes].

    The first `num_cuts` connections on which the server sends more than `after` bytes end there, in the middle of a
    file.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    cuts: list[int] = []
    sockets = [listener]
    lock = threading.Lock()

    def copy(source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        sent = 0
        try:
            while block := source.recv(1024):
                target.sendall(block)
                sent += len(block)
                with lock:
                    if is_answer and sent > after and len(cuts) < num_cuts:
                        cuts.append(sent)
                        break
        except OSError:
            pass
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", port))
            sockets.extend((client, server))
            for ends in ((client, server, False), (server, client, True)):
                threading.Thread(target=copy, args=ends, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1], cuts
    finally:
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + SECONDS
        while True:
            assert process.poll() is None, f"{command} ended with {process.returncode}"
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < end, f"{command} does not answer"
                time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)
