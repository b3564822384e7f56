"""Where a bank of tickets lies: a folder, an address in the web, or a Hugging Face repository."""

import json
import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from labkit.ground import names
from labkit.ground.download import fetch
from labkit.ground.names import shown
from labkit.ground.tensor_files import write_bytes
from labkit.ground.tensor_headers import parsed
from labkit.runs.cards import INDEX_NAME, ticket_name

INDEX, KIND = f"{INDEX_NAME}.json", "labkit bank 1"
MOST_INDEX = 2**20  # bytes
SHIPPED = Path(__file__).resolve().parents[1] / "bank"


class Place(Protocol):
    """Gives the files of a bank."""

    def names(self) -> list[str]:
        """Of its tickets."""

    def read(self, file: str, most: int) -> bytes:
        """A file of it, of at most so many bytes."""


class Folder:
    """A bank in a folder.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path):
        self.path = path

    def names(self) -> list[str]:
        """Of what has a card; also without an index."""
        if not self.path.is_dir():
            raise FileNotFoundError(f"no bank at {self.path.absolute()}: there is no such folder")
        return sorted(path.stem for path in self.path.glob("*.json") if path.name != INDEX)

    def read(self, file: str, most: int) -> bytes:
        """See `Place`."""
        path = self.path / file
        if not path.is_file():
            raise FileNotFoundError(f"no file {path}")
        with path.open("rb") as opened:
            content = opened.read(most + 1)
        if len(content) > most:
            raise ValueError(f"{path} has more than the {most:,} bytes that are taken")
        return content

    def write(self, files: dict[str, bytes]) -> None:
        """Put files there, one after the other, and renew the index that a bank in the web needs."""
        self.path.mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            write_bytes(self.path / file, content)
        write_bytes(self.path / INDEX, (json.dumps({"kind": KIND, "tickets": self.names()}, indent=1) + "\n").encode())

    def __str__(self) -> str:
        return str(self.path)


class Web:
    """A bank below an address: a folder as `Folder.write` leaves it, behind any web server.

    Args:
        url: of the folder.
        seconds: for each file.
    """

    def __init__(self, url: str, seconds: float):
        self.url, self._seconds = url.rstrip("/"), seconds

    def names(self) -> list[str]:
        """As its index says."""
        content = self.read(INDEX, MOST_INDEX)
        try:
            said = parsed(content.decode(), MOST_INDEX)
            if said.get("kind") != KIND or not isinstance(said.get("tickets"), list):
                raise ValueError(f"it does not say '{KIND}' and which tickets there are")
            return [ticket_name("a ticket", name) for name in said["tickets"]]
        except ValueError as error:
            raise ValueError(f"{self.url}/{INDEX} is no index of a bank: {error}") from error

    def read(self, file: str, most: int) -> bytes:
        """See `Place`."""
        return fetch(f"{self.url}/{file}", most, self._seconds)

    def __str__(self) -> str:
        return self.url


class Hub:
    """A bank in a Hugging Face repository, at one commit of it; `HF_ENDPOINT` says where the hub is.

    Args:
        where: "owner/name", or "owner/name@revision".
        seconds: for each file.

    Raises:
        ImportError: without the package of the extra `hub`.
    """

    def __init__(self, where: str, seconds: float):
        try:
            import huggingface_hub
        except ImportError as error:
            raise ImportError(f"hf://{where} needs the package of an extra: pip install 'labkit[hub]'") from error
        self._hub: Any = huggingface_hub
        self.repository, _, revision = where.partition("@")
        self._revision, self._seconds = revision or None, seconds
        self._api = huggingface_hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT"))

    @cached_property
    def _info(self) -> Any:
        try:
            return self._api.repo_info(
                self.repository, revision=self._revision, files_metadata=True, timeout=self._seconds
            )
        except Exception as error:  # of the client or of what it is made of, which changes by version
            named = type(error).__name__ in ("RepositoryNotFoundError", "RevisionNotFoundError")
            absent = named or getattr(getattr(error, "response", None), "status_code", None) == 404
            said = " ".join(str(error).split())[:300]
            raise (FileNotFoundError if absent else OSError)(f"{self} cannot be read: {said}") from error

    @cached_property
    def _sizes(self) -> dict[str, int | None]:
        return {file.rfilename: file.size for file in self._info.siblings}

    def names(self) -> list[str]:
        """Of what has a card."""
        return _cards(file for file in self._sizes if file != INDEX and "/" not in file)

    def read(self, file: str, most: int) -> bytes:
        """See `Place`."""
        if file not in self._sizes:
            raise FileNotFoundError(f"{self} has no {file}")
        if (size := self._sizes[file]) is not None and size > most:
            raise ValueError(f"{file} of {self} has {size:,} bytes, and at most {most:,} are taken")
        url = self._hub.hf_hub_url(self.repository, file, revision=self._info.sha, endpoint=self._api.endpoint)
        return fetch(url, most, self._seconds, self._hub.utils.build_hf_headers())

    def __str__(self) -> str:
        return f"hf://{self.repository}"


def place(where: object, seconds: float) -> Place:
    """The place that is meant: None (the kit's own bank), a path, https://..., http://..., file:///..., hf://owner/name.

    Raises:
        ValueError: for anything else.
    """
    if where is None:
        return Folder(SHIPPED)
    scheme = urlsplit(where).scheme if isinstance(where, str) and "://" in where else ""
    if scheme in ("http", "https"):
        return Web(str(where), seconds)
    if scheme == "hf":
        return Hub(str(where).removeprefix("hf://").strip("/"), seconds)
    if scheme == "file":
        return Folder(Path(url2pathname(urlsplit(str(where)).path)))  # which unquotes by itself
    if scheme:
        raise ValueError(f"where is {shown(where)}: it must be a folder, https://, http://, file:// or hf://owner/name")
    return Folder(names.path("where", where))


def _cards(files: Iterable[str]) -> list[str]:
    return sorted(file.removesuffix(".json") for file in files if file.endswith(".json"))
