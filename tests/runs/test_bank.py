"""Banks of tickets: what is published is what is loaded, and what is not right is named and refused."""

import json
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

import labkit as lk
from labkit.ground.download import fetch
from labkit.runs.cards import Card
from labkit.runs.places import SHIPPED
from tests.conftest import lenet_states, random_masks, small_spec

SAID = {
    "what": "a ticket of LeNet", "found": "by a test", "accuracy": 0.9, "control": "random_reinit",
    "control_accuracy": 0.875, "measured": "on nothing", "licence": "MIT",
}  # fmt: skip
SPEC = {"model": "lenet_300_100", "model_options": {"classes": 10}}


def made(density=0.2, **about):
    states = {name: tensor[0] for name, tensor in lenet_states().items()}
    masks = random_masks(states, density)
    weights = {name: weight * masks[name] if name in masks else weight for name, weight in states.items()}
    known = {"model": "lenet_300_100", "data": "mnist", "seed": 0, "level": 7, "spec": SPEC}
    return lk.Ticket(weights, masks, known | about)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bank")
    bank = lk.Bank(folder)
    bank.publish(made(0.2), "sparse", **SAID)
    bank.publish(made(0.5, data="digits", level=3), "denser", **SAID | {"control_accuracy": None, "control": None})
    return folder


@pytest.fixture
def folder(published, tmp_path):
    return shutil.copytree(published, tmp_path / "bank")


class Handler(SimpleHTTPRequestHandler):
    """A folder, and addresses that behave badly."""

    asked: list = []  # noqa: RUF012

    def log_message(self, *said):
        pass

    def do_GET(self):
        self.asked.append((self.path, self.headers.get("Authorization")))
        ways = {
            "/to-a-file/": lambda: self.redirect("file:///etc/passwd"),
            "/to-ftp/": lambda: self.redirect("ftp://127.0.0.1/x"),
            "/round/": lambda: self.redirect(self.path),
            "/away/": lambda: self.redirect(f"http://localhost:{self.server.server_port}/{Path(self.path).name}"),
            "/large/": lambda: self.say(b"x", length=10**12),
            "/short/": lambda: self.say(b"x", length=1000),
            "/endless/": self.endless,
            "/broken/": lambda: self.send_error(503),
            "/api/models/": self.hub,
        }
        for begin, way in ways.items():
            if self.path.startswith(begin):
                return way()
        if "/resolve/0123abc/" in self.path:
            self.path = "/" + self.path.split("/")[-1]
        return super().do_GET()

    def redirect(self, where):
        self.send_response(302)
        self.send_header("Location", where)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def say(self, content, length=None):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def endless(self):
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"x" * 10_000)
        except OSError:
            return

    def hub(self):
        if "/kit/tickets" not in self.path:
            return self.send_error(404)
        files = [{"rfilename": path.name, "size": path.stat().st_size} for path in Path(self.directory).iterdir()]
        files.append({"rfilename": "README.md", "size": 3})
        self.say(json.dumps({"id": "kit/tickets", "sha": "0123abc", "siblings": files}).encode())


@pytest.fixture
def server(folder, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    Handler.asked = []
    serving = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{serving.server_port}"
    serving.shutdown()
    thread.join()
    serving.server_close()


def change(folder, card, /, **fields):
    path = folder / f"{card}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_what_is_published_is_loaded_bit_for_bit(folder):
    back = lk.Bank(folder).load("sparse")
    assert back.equals(made(0.2)) and back.about == made(0.2).about
    card = lk.Bank(str(folder)).card("sparse")
    assert card.size == (folder / "sparse.safetensors").stat().st_size and card.density == back.density
    assert (card.model, card.data, card.seed, card.level, card.spec) == ("lenet_300_100", "mnist", 0, 7, SPEC)


def test_the_table_has_a_row_a_ticket_and_filters(folder):
    bank = lk.Bank(folder)
    table = bank.table()
    assert table["name"].tolist() == ["denser", "sparse"] and table["gain_pp"].round(6).tolist()[1] == 2.5
    assert table["gain_pp"].isna().tolist() == [True, False]
    assert bank.table(data="mnist")["name"].tolist() == ["sparse"]
    assert bank.table(density=(0.4, 1))["name"].tolist() == ["denser"]
    assert bank.table(level=[3, 4])["name"].tolist() == ["denser"]
    assert bank.table(data="svhn").empty
    with pytest.raises(ValueError, match="unknown column 'densty': did you mean 'density'"):
        bank.table(densty=0.2)


WRONG = {
    "accuracy": ({"accuracy": 98}, "accuracy is 98: it must lie in"),
    "field": ({"licens": "MIT"}, "unknown field of Card 'licens'"),
    "name": ({"name": "other"}, "it is of other"),
    "path": ({"name": "../other"}, "name is '../other': it must be small letters"),
    "digest": ({"sha256": "0" * 63}, "it must be 64 hexadecimal digits"),
    "cursor": ({"what": "a\x1b[2J"}, "it must be one line of text"),
    "kind": ({"kind": "labkit ticket card 9"}, "it does not say 'labkit ticket card 1'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_card_is_named_and_hides_no_other(folder, case):
    fields, said = WRONG[case]
    change(folder, "sparse", **fields)
    with pytest.warns(UserWarning, match=f"the card of sparse is no card: .*{said[:12]}") as warned:
        assert lk.Bank(folder).table()["name"].tolist() == ["denser"]
    assert said in str(warned[0].message)
    with pytest.raises(ValueError, match="the card of sparse is no card"):
        lk.Bank(folder).load("sparse")


DEEP = b'{"kind": "labkit ticket card 1", "spec": ' + b'{"a":' * 900 + b"1" + b"}" * 901
HALF = b'{"kind": "labkit ticket card 1", "spec": {"a": ["\\ud800"]}}'


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 50_000, b"{}" + b" " * 70_000, DEEP, HALF])
def test_what_is_no_card_at_all_is_named_too(folder, content):
    (folder / "third.json").write_bytes(content)
    with pytest.warns(UserWarning, match="third"):
        assert len(lk.Bank(folder).cards()) == 2


def test_a_bank_without_tickets_has_an_empty_table(tmp_path):
    assert lk.Bank(tmp_path).table(density=(0, 1)).empty
    (tmp_path / "folder.json").mkdir()
    with pytest.warns(UserWarning, match="folder.json"):
        assert lk.Bank(tmp_path).table().empty


def test_a_card_that_lacks_a_field_says_which(folder):
    said = json.loads((folder / "sparse.json").read_text())
    del said["licence"], said["measured"]
    with pytest.raises(ValueError, match="it lacks measured, licence"):
        Card.of_text("sparse", json.dumps(said).encode())


def test_a_file_that_is_not_the_cards_is_refused(folder):
    path = folder / "sparse.safetensors"
    content = path.read_bytes()
    for other in (content[:-1], content[:-1] + bytes([content[-1] ^ 1])):
        path.write_bytes(other)
        with pytest.raises(ValueError, match="is not the file that its card is of"):
            lk.Bank(folder).load("sparse")
    path.write_bytes(content + b"x")
    with pytest.raises(ValueError, match="has more than the .* bytes that are taken"):
        lk.Bank(folder).load("sparse")
    path.unlink()
    with pytest.raises(FileNotFoundError):
        lk.Bank(folder).load("sparse")


@pytest.mark.parametrize(
    "fields",
    [{"density": 0.3}, {"model": "conv_2"}, {"seed": 4}, {"level": 8}, {"data": "svhn"}, {"spec": {"model": "conv_2"}}],
)
def test_a_card_that_says_otherwise_than_its_ticket_is_refused(folder, fields):
    change(folder, "sparse", **fields)
    with pytest.raises(ValueError, match=f"the card of sparse says (another )?{next(iter(fields))}"):
        lk.Bank(folder).load("sparse")


def test_names_are_no_paths(folder):
    for name in ("../sparse", "/etc/passwd", "a/b", "", "Sparse", "sparse.json", 3):
        with pytest.raises(ValueError, match="it must be small letters, digits, - and _"):
            lk.Bank(folder).load(name)
        with pytest.raises(ValueError, match="it must be small letters, digits, - and _"):
            lk.Bank(folder).publish(made(), name, **SAID)


def test_the_name_of_the_index_is_no_tickets(tmp_path):
    bank = lk.Bank(tmp_path / "own")
    with pytest.raises(ValueError, match="name of a bank's index"):
        bank.publish(made(), "bank", **SAID)
    assert not (tmp_path / "own").exists()


def test_a_card_that_could_not_be_read_again_is_not_published(tmp_path):
    bank = lk.Bank(tmp_path / "own")
    with pytest.raises(ValueError, match="has more than 65,536 bytes"):
        bank.publish(made(), "one", **SAID | {"what": "x" * 70_000})
    assert not (tmp_path / "own").exists()


@pytest.mark.parametrize("filters", [{"density": (0.1,)}, {"density": (0, 0.1, 1)}, {"model": ("a", 3)}])
def test_a_filter_that_is_no_two_bounds_is_refused(folder, filters):
    with pytest.raises(ValueError, match="a tuple is \\(lowest, highest\\)"):
        lk.Bank(folder).table(**filters)


def test_a_filter_leaves_out_what_a_card_lacks(tmp_path):
    bank = lk.Bank(tmp_path)
    bank.publish(made(), "with", **SAID)
    bank.publish(made(), "without", **SAID | {"control": None, "control_accuracy": None})
    assert list(bank.table(control=("a", "z"))["name"]) == ["with"]


def test_nothing_is_published_by_halves(folder, tmp_path):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match="licence is ''"):
        lk.Bank(folder).publish(made(), "third", **SAID | {"licence": ""})
    with pytest.raises(ValueError, match="unknown field of Card 'license': did you mean 'licence'"):
        lk.Bank(folder).publish(made(), "third", **SAID | {"license": "MIT"})
    with pytest.raises(ValueError, match="has a ticket 'sparse' already"):
        lk.Bank(folder).publish(made(), "sparse", **SAID)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert lk.Bank(folder).publish(made(0.3), "sparse", replace=True, **SAID).density == made(0.3).density
    with pytest.raises(ValueError, match="published to a folder, not to https://example.org"):
        lk.Bank("https://example.org").publish(made(), "third", **SAID)


def test_a_bank_is_read_through_the_web(folder, server):
    bank = lk.Bank(server)
    assert bank.table().equals(lk.Bank(folder).table()) and bank.load("sparse").equals(made(0.2))
    assert lk.Bank(folder.as_uri()).load("sparse").equals(made(0.2))
    with pytest.raises(FileNotFoundError):
        bank.load("none")
    (folder / "bank.json").write_text('{"kind": "labkit bank 1", "tickets": ["../../etc/passwd"]}')
    with pytest.raises(ValueError, match=r"bank.json is no index of a bank: a ticket is '../../etc/passwd'"):
        bank.table()


@pytest.mark.parametrize("name", ["50%25", "50%", "a b#c?d", "ä"])
def test_an_address_of_a_folder_is_unquoted_once(folder, tmp_path, name):
    where = folder.rename(tmp_path / name)
    assert where.as_uri().startswith("file:///")
    assert lk.Bank(where.as_uri()).load("sparse").equals(made(0.2))


def test_a_bank_is_read_from_a_hugging_face_repository(folder, server, monkeypatch):
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is of the extra hub, which is not installed")
    monkeypatch.setenv("HF_ENDPOINT", server)
    bank = lk.Bank("hf://kit/tickets")
    assert bank.table().equals(lk.Bank(folder).table()) and bank.load("sparse").equals(made(0.2))
    assert any("/kit/tickets/resolve/0123abc/sparse.safetensors" in path for path, _ in Handler.asked), "of one commit"
    with pytest.raises(ValueError, match="has .* bytes, and at most 1,000 are taken"):
        lk.Bank("hf://kit/tickets", most=1000).load("sparse")
    with pytest.raises(FileNotFoundError, match="hf://kit/others cannot be read"):
        lk.Bank("hf://kit/others@main").table()


def test_no_more_is_downloaded_than_the_card_says(folder, server):
    with pytest.raises(ValueError, match="at most 1,000 are taken"):
        lk.Bank(server, most=1000).load("sparse")
    assert not any("safetensors" in path for path, _ in Handler.asked), "nothing was asked for"
    with (folder / "sparse.safetensors").open("ab") as file:
        file.truncate(10**9)
    with pytest.raises(ValueError, match="has 1,000,000,000 bytes, and at most"):
        lk.Bank(server).load("sparse")


BAD = {
    "to-a-file": (ValueError, "leads where it is not followed: .*file:///etc/passwd"),
    "to-ftp": (ValueError, "leads to 'ftp://127.0.0.1/x': only https, or http from http, is followed"),
    "round": (ValueError, "leads where it is not followed: .*infinite loop"),
    "large": (ValueError, "has 1,000,000,000,000 bytes, and at most 1,000 are taken"),
    "short": (ValueError, "was cut short: 1 of 1,000 bytes came"),
    "endless": (ValueError, "has more than the 1,000 bytes that are taken"),
    "broken": (OSError, "is answered with 503"),
    "absent": (FileNotFoundError, "is answered with 404"),
}


@pytest.mark.parametrize("way", BAD)
def test_servers_that_misbehave_are_told_and_cannot_fill_the_memory(server, way):
    kind, said = BAD[way]
    with pytest.raises(kind, match=said):
        fetch(f"{server}/{way}/x", 1000)


def test_what_takes_too_long_is_broken_off(server):
    with pytest.raises(OSError, match="is too slow|timed out"):
        fetch(f"{server}/endless/x", 10**12, seconds=0.05)


@contextmanager
def dripping(part):
    """A server that sends a part of its answer, the header or the body, a byte at a time for some seconds."""
    header = b"HTTP/1.0 200 OK\r\nX-Long: " + b"x" * 400 + b"\r\n\r\n"
    at_once, body = (header, b"x" * 400) if part == "body" else (b"", b"")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        stop = threading.Event()

        def serve():
            with listening.accept()[0] as client, suppress(OSError):
                client.recv(10_000)
                client.sendall(at_once)
                for byte in (header + body)[len(at_once) :]:
                    client.sendall(bytes([byte]))
                    if stop.wait(0.02):
                        return

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        stop.set()
        thread.join()


@pytest.mark.parametrize("part", ["header", "body"])
def test_a_server_that_drips_its_answer_does_not_hold_who_asks_beyond_the_time(part, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with dripping(part) as url, pytest.raises(OSError, match="is too slow|timed out"):
        fetch(f"{url}/x", 10_000, seconds=0.5)


def test_connections_that_were_given_up_are_cut(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with dripping("header") as url:
        with pytest.raises(OSError, match="is too slow|timed out"):
            fetch(f"{url}/x", 10_000, seconds=0.5)
        workers = [thread for thread in threading.enumerate() if thread.name == "labkit download"]
        for worker in workers:
            worker.join(2)
        assert not any(worker.is_alive() for worker in workers), "though the server goes on"


def test_a_password_stays_with_its_host(folder, server):
    assert fetch(f"{server}/away/bank.json", 10_000, headers={"Authorization": "secret"})
    assert [password for _, password in Handler.asked] == ["secret", None]


@pytest.mark.parametrize("where", ["ftp://x/y", "data://x", "file:///none/such", "none/such", 3, ""])
def test_places_that_are_none_are_refused(where):
    with pytest.raises((ValueError, FileNotFoundError), match="where is|no bank at"):
        lk.Bank(where).table()
    with pytest.raises(ValueError, match="no address in the web"):
        fetch("file:///etc/passwd", 1000)


def test_the_kits_own_bank_is_small_whole_and_reproducible():
    bank = lk.Bank()
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 2_000_000
    table = bank.table()
    assert len(table) == len(list(SHIPPED.glob("*.safetensors"))) >= 4 and table["density"].nunique() >= 4
    for name, card in bank.cards().items():
        ticket = bank.load(name)
        assert ticket.module()(torch.zeros(1, 1, 28, 28)).shape == (1, 10)
        assert lk.TicketSpec(**{**ticket.about["spec"], "data": card.spec["data"]}).prune.levels >= card.level


def test_a_ticket_trains_in_a_fresh_process_as_it_does_here(tmp_path, one_thread):
    spec = small_spec(levels=2, duration="30it")
    ticket = lk.find_tickets(spec, [0], root=tmp_path / "search").ticket(seed=0, level=2)
    here = lk.train(ticket, spec, [5], root=tmp_path / "here")
    lk.Bank(tmp_path / "bank").publish(ticket, "mine", **SAID)
    code = f"""
import torch; torch.set_num_threads(1)
import labkit as lk
from tests.conftest import small_spec
ticket = lk.Bank({str(tmp_path / "bank")!r}).load("mine")
run = lk.train(ticket, small_spec(levels=2, duration="30it"), [5], root={str(tmp_path / "there")!r})
print(run.networks.hashes[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-1] == here.networks.hashes[0], "it is the same run"
    there = lk.train(ticket, spec, [5], root=tmp_path / "there")
    mine, theirs = (run.networks.folders[0].record().tensors() for run in (here, there))
    assert set(mine) == set(theirs) and all(mine[key].nan_to_num().equal(theirs[key].nan_to_num()) for key in mine)
    assert here.metrics().equals(there.metrics())
    for run in (here, there):
        state, masks = run.networks.final()
        assert all(not state[name][0][~ticket.mask[name]].any() for name in masks), "the mask is kept"
    mine, theirs = (run.networks.final()[0] for run in (here, there))
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
