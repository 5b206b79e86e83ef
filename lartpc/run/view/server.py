"""A web server for one reader on this machine: the page, the list of events, an event."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, urlsplit

from lartpc.faults import in_one_line
from lartpc.run.current import REMEDY
from lartpc.run.display.page import WORDS, render
from lartpc.run.view.catalogue import Catalogue

HOST = "127.0.0.1"
LAST_READ_S = 30.0
"""Time that what is read last has to end [s]."""
_LOCAL = {HOST, "localhost"}


class Server(ThreadingHTTPServer):
    """Serves a catalogue of events on a port of this machine; 0 takes a free one.

    Raises
    ------
    ValueError
        The port is taken.
    """

    daemon_threads = True

    def __init__(self, catalogue: Catalogue, about: str, port: int = 0) -> None:
        # A browser holds connections that it does not use yet; files are read one after another. A port that is taken
        # closes the server before it is one.
        self.reading = Lock()
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise ValueError(
                f"port {port} cannot be had ({error.strerror}); --port 0 takes a free one"
            ) from error
        self.num_shown = 0
        self.edition = 0
        self._about = about
        self._take(catalogue)

    def _take(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self._catalogues: dict[str, Catalogue] = {}
        data = {
            "edition": self.edition,
            "words": WORDS,
            "tables": catalogue.tables,
            "columns": {name: catalogue.columns(name) for name in catalogue.tables},
            "num_events": len(catalogue.events),
            "scenario": catalogue.scenario,
        }
        folder = Path(__file__).parent
        self.page = render(
            folder,
            "view.html",
            "view.js",
            about=self._about,
            tables=catalogue.tables,
            scenarios=catalogue.scenarios,
            data=data,
        )

    def of_scenario(self, name: str) -> Catalogue:
        """Return the events of a scenario, read once; of that which was asked for first for ""."""
        if name not in self._catalogues:
            self._catalogues[name] = self.catalogue.of_scenario(name)
        return self._catalogues[name]

    def renew(self) -> None:
        """Read the events anew where their files were replaced: for a page that is loaded."""
        try:
            self.catalogue.current.check()
        except ValueError:
            anew = Catalogue(self.catalogue.paths, self.catalogue.max_voxels)
            self.edition += 1
            self._take(anew)

    @contextmanager
    def one_edition(self, edition: str) -> Iterator[None]:
        """Read what a page asks for, alone; ValueError unless the files are those that this page is of, to the end."""
        with self.reading:
            if edition not in ("", str(self.edition)):
                raise ValueError(f"{self._about} was made again since this page was opened; {REMEDY}")
            try:
                yield
            except (ValueError, OSError) as error:  # what is wrong may be that another file is there now
                self.catalogue.current.check()
                raise ValueError(in_one_line(error)) from error
            self.catalogue.current.check()

    def server_close(self) -> None:
        """Close it when no file is read any more: a thread that ends in HDF5 would keep the process from ending."""
        super().server_close()
        self.reading.acquire(timeout=LAST_READ_S)

    @property
    def address(self) -> str:
        """The address of the page."""
        return f"http://{HOST}:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        """Answer the page's requests."""
        # A page from elsewhere that reaches this port by a name of its own is told nothing.
        if self.headers.get("Host", "").rpartition(":")[0] not in _LOCAL:
            return self._send(HTTPStatus.FORBIDDEN, {"error": "this page is for this machine alone"})
        asked = urlsplit(self.path)
        words = {name: values[-1] for name, values in parse_qs(asked.query).items()}
        try:
            if asked.path == "/":
                with self.server.reading:
                    self.server.renew()
                return self._send(HTTPStatus.OK, self.server.page)
            edition = words.get("edition", "")
            if asked.path == "/list":
                with self.server.one_edition(edition):
                    catalogue = self.server.of_scenario(words.get("scenario", ""))
                    numbers = catalogue.select(words.get("table", "events"), words.get("where", ""))
                    numbers = catalogue.found(numbers, words.get("search", ""))
                    down = words.get("down", "") == "1"
                    numbers = catalogue.ordered(numbers, words.get("sort", ""), descending=down)
                    answer = {"names": catalogue.names(numbers), "rows": catalogue.rows(numbers)}
                return self._send(HTTPStatus.OK, {"numbers": numbers, **answer})
            if asked.path == "/event":
                with self.server.one_edition(edition):
                    catalogue = self.server.of_scenario(words.get("scenario", ""))
                    event = catalogue.display(int(words.get("number", "-1")))
                    self.server.num_shown += 1
                return self._send(HTTPStatus.OK, event)
        except ValueError as error:
            return self._send(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        return self._send(HTTPStatus.NOT_FOUND, {"error": f"nothing at {asked.path}"})

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of requests that are answered."""

    def _send(self, status: HTTPStatus, content: str | dict[str, Any]) -> None:
        is_page = isinstance(content, str)
        body = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{'text/html' if is_page else 'application/json'}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
