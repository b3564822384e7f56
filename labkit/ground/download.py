"""Files from the web, of bounded size and in bounded time; a redirect leads to the web again, or nowhere.

A server that sends a byte every few seconds breaks no time-out of a socket, and the header of an answer is read by the
standard library. So the exchange runs in a thread of its own, and who asked waits for it no longer than it may take.
"""

import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from labkit.ground.names import shown

CHUNK = 2**16
SILENCE = 20.0  # seconds without a byte after which a server is given up


class _Redirects(HTTPRedirectHandler):
    """To the web only, never from https to http; a password stays with the host that it is for."""

    max_redirections = 5

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        """The request that follows, or an error."""
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme not in ("http", "https") or (old.scheme == "https" and new.scheme == "http"):
            raise ValueError(f"{req.full_url} leads to {shown(newurl)}: only https, or http from http, is followed")
        found = super().redirect_request(req, fp, code, msg, headers, newurl)
        if found is not None and (old.scheme, old.netloc) != (new.scheme, new.netloc):
            found.headers.pop("Authorization", None)
        return found


class _Exchange:
    """One exchange with the web: the connections that it opens, which can be cut from outside.

    Attributes:
        over: whether they were cut. What is read then says nothing: a header that ends early passes for a whole one.
    """

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self.over = False

    def connecting(self, kind: Callable[..., Any]) -> Callable[..., Any]:
        """What makes connections of a kind (an `HTTPConnection`), and keeps their sockets."""

        def made(*given: Any, **named: Any) -> Any:
            found = kind(*given, **named)
            connect = found.connect

            def kept() -> None:
                connect()
                self._sockets.append(found.sock)
                if self.over:
                    self.cut()

            found.connect = kept
            return found

        return made

    def cut(self) -> None:
        """End all connections; who reads from one finds its end."""
        self.over = True
        for one in self._sockets:
            with suppress(OSError):  # it is closed already
                one.shutdown(socket.SHUT_RDWR)


class _Http(HTTPHandler):
    def __init__(self, exchange: _Exchange):
        super().__init__()
        self._exchange = exchange

    def do_open(self, http_class: Any, req: Request, **named: Any) -> Any:
        """As usual, by a connection that can be cut."""
        return super().do_open(self._exchange.connecting(http_class), req, **named)


class _Https(HTTPSHandler):
    def __init__(self, exchange: _Exchange):
        super().__init__()
        self._exchange = exchange

    def do_open(self, http_class: Any, req: Request, **named: Any) -> Any:
        """As usual, by a connection that can be cut."""
        return super().do_open(self._exchange.connecting(http_class), req, **named)


def fetch(url: str, most: int, seconds: float = 300.0, headers: Mapping[str, str] | None = None) -> bytes:
    """What is at a URL.

    Args:
        url: http or https.
        most: bytes; what says that it has more is not begun, what has more is broken off.
        seconds: for all of it, from the name of the host to the last byte.
        headers: of the request.

    Raises:
        FileNotFoundError: if there is nothing.
        OSError: if it cannot be had: no network, no such host, refused, too slow.
        ValueError: if it has too many bytes or fewer than it said, or leads elsewhere than into the web.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"{shown(url)} is no address in the web: it must begin with https:// or http://")
    exchange = _Exchange()
    found: list[bytes] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            found.append(_fetched(exchange, url, most, seconds, headers))
        except BaseException as error:  # goes on in who asked
            if not exchange.over:
                failed.append(error)

    worker = threading.Thread(target=work, name="labkit download", daemon=True)
    worker.start()
    try:
        worker.join(min(seconds, threading.TIMEOUT_MAX))
        late = worker.is_alive()
    finally:  # also if who asked was interrupted
        exchange.cut()
    if late:
        raise OSError(f"{url} is too slow: it did not come within {seconds:g} seconds")
    if failed:
        raise failed.pop()  # a frame that kept it would keep it alive, and what it holds open
    return found[0]


def _fetched(exchange: _Exchange, url: str, most: int, seconds: float, headers: Mapping[str, str] | None) -> bytes:
    until = time.monotonic() + seconds
    request = Request(url, headers=dict(headers or {}))
    try:
        with _opener(exchange).open(request, timeout=min(SILENCE, seconds)) as answer:
            return _read(answer, url, most, until)
    except HTTPError as error:
        if 300 <= error.code < 400:
            raise ValueError(f"{url} leads where it is not followed: {' '.join(error.reason.split())}") from error
        kind = FileNotFoundError if error.code in (404, 410) else OSError
        raise kind(f"{url} is answered with {error.code} {error.reason}") from error
    except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
        raise OSError(f"{url} cannot be read: {getattr(error, 'reason', error)}") from error


def _opener(exchange: _Exchange) -> OpenerDirector:
    found = OpenerDirector()  # not the usual one, which opens files and FTP as well
    for handler in (ProxyHandler(), _Http(exchange), _Https(exchange), HTTPDefaultErrorHandler(), HTTPErrorProcessor(),
                    _Redirects()):  # fmt: skip
        found.add_handler(handler)
    return found


def _read(answer: Any, url: str, most: int, until: float) -> bytes:
    said = answer.headers.get("Content-Length", "")
    if said.isdigit() and int(said) > most:
        raise ValueError(f"{url} has {int(said):,} bytes, and at most {most:,} are taken")
    found = bytearray()
    while chunk := answer.read1(CHUNK):
        found += chunk
        if len(found) > most:
            raise ValueError(f"{url} has more than the {most:,} bytes that are taken")
        if time.monotonic() > until:
            raise OSError(f"{url} is too slow: {len(found):,} bytes came in time")
    if said.isdigit() and len(found) != int(said):
        raise ValueError(f"{url} was cut short: {len(found):,} of {int(said):,} bytes came")
    return bytes(found)
