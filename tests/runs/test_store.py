"""One file a finished run, believed only if it is right."""

import errno
import random
import shutil
import warnings
from pathlib import Path

import pytest
import torch

import labkit as lk
from labkit.ground import tensor_files
from labkit.runs.files import CHECKPOINT, FINISHED
from labkit.runs.folder import RunFolder
from labkit.runs.store import Store, runs_folder, scan
from labkit.sparsity.packing import pack_network, unpack_network
from tests.conftest import finished, small_spec


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """A folder with the runs of a search of one level, two seeds."""
    root = tmp_path_factory.mktemp("runs")
    lk.find_tickets(spec(), [0, 1], root=root)
    return root


@pytest.fixture
def root(computed, tmp_path):
    """A copy of it."""
    return shutil.copytree(computed, tmp_path / "copy")


def spec():
    return small_spec(levels=1, duration="20it")


def ticket(root, level=1):
    """The run of seed 0 at a level."""
    return lk.find_tickets(spec(), [0, 1], root=root).runs[level].members[0].run


def flip(path, rng):
    """One bit of a file, anywhere."""
    content = bytearray(path.read_bytes())
    place = rng.randrange(8 * len(content))
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)


def test_runs_folder_is_the_checkouts_or_here(tmp_path, monkeypatch):
    monkeypatch.delenv("LABKIT_RUNS")
    monkeypatch.chdir(tmp_path)
    assert runs_folder() == tmp_path / "runs"


def test_a_finished_run_is_one_file_and_says_what_it_is(root):
    run = ticket(root)
    folder = RunFolder(run, root)
    assert {path.name for path in folder.path.iterdir()} <= {FINISHED, ".lock"}
    about = folder.about()
    assert about["identity"] == run.identity and about["run"] == run.hash == folder.path.name
    assert about["result"]["kept"] == round(about["result"]["density"] * 266_200)
    assert about["result"]["engine"] == "captured" and about["result"]["threads"] >= 1
    assert set(about["sources"]) == {f"{source.hash}@{moment}" for source, moment in run.needs}


@pytest.mark.parametrize("name", [FINISHED, "at-0.safetensors", CHECKPOINT])
def test_of_a_hundred_flipped_bits_none_is_believed(root, name):
    run = ticket(root, level=0)
    folder = RunFolder(run, root)
    path = folder.path / name
    if name == CHECKPOINT:
        folder.write_checkpoint(folder.read(), {"sources": {}})
    whole, rng = path.read_bytes(), random.Random(0)

    def read():
        if name == FINISHED:
            return None if folder.about() is None else folder.read()
        if name == CHECKPOINT:
            return None if (found := folder.checkpoint()) is None else found[0]
        return folder.snapshot(0)

    expected, seen = read(), 0
    for _ in range(100):
        flip(path, rng)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = read()
            except ValueError as error:
                assert str(path) in str(error)
                found = None
        seen += found is None
        assert found is None or all(
            torch.equal(found[key].nan_to_num(), expected[key].nan_to_num()) for key in expected
        )
        assert found is not None or (folder.path / Path(name).with_suffix(".damaged")).exists(), "it is set aside"
        path.write_bytes(whole)
    assert seen >= 95, "what is left is padding"


def test_a_damaged_file_is_set_aside_and_computed_again(root):
    run, before = ticket(root, level=0), finished(root)
    folder = RunFolder(run, root)
    end = folder.end()[0]
    (folder.path / FINISHED).write_bytes(b"nothing")
    with pytest.warns(UserWarning, match="set aside as run.damaged, and computed again"):
        again = lk.find_tickets(spec(), [0, 1], root=root)
    after = finished(root)
    assert [name for name in before if after[name] != before[name]] == [run.hash], "the others are untouched"
    assert torch.equal(again.runs[0].final()[0]["fc1.weight"][0], end["fc1.weight"])


def test_a_source_that_comes_out_differently_is_an_error_for_what_started_from_it(root, monkeypatch):
    run = ticket(root, level=0)
    (RunFolder(run, root).path / FINISHED).unlink()
    from labkit.training.engines.network import Network

    step = Network.step
    monkeypatch.setattr(Network, "step", lambda self, inputs, labels, lr: step(self, inputs, labels, 1.01 * lr))
    lk.find_tickets(small_spec(levels=0, duration="20it"), [0], root=root)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=rf"started from .*{run.hash} \(end\), which was computed again since"):
        lk.find_tickets(spec(), [0, 1], root=root)


@pytest.mark.parametrize("name", [FINISHED, "at-0.safetensors"])
def test_a_file_of_another_run_is_not_believed(root, name):
    one, other = (RunFolder(member.run, root) for member in lk.find_tickets(spec(), [0, 1], root=root).runs[0].members)
    shutil.copy(other.path / name, one.path / name)
    with pytest.warns(UserWarning, match=f"is not of this run: it says labkit run 2 {other.hash}"):
        assert (one.about() if name == FINISHED else one.snapshot(0)) is None


def test_a_checkpoint_of_another_run_is_not_believed(root):
    one, other = (RunFolder(member.run, root) for member in lk.find_tickets(spec(), [0, 1], root=root).runs[0].members)
    other.write_checkpoint({"x": torch.ones(1)}, {})
    assert other.checkpoint()[0]["x"] == 1
    shutil.copy(other.path / "checkpoint.safetensors", one.path)
    with pytest.warns(UserWarning, match="is not of this run"):
        assert one.checkpoint() is None


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE])
@pytest.mark.parametrize("name", [FINISHED, "checkpoint.safetensors"])
def test_what_the_system_refuses_to_open_is_not_taken_for_absent(root, monkeypatch, number, name):
    folder = RunFolder(ticket(root), root)
    folder.write_checkpoint({"x": torch.ones(1)}, {})
    opened = Path.open

    def refuse(self, *arguments, **named):
        if self == folder.path / name:
            raise OSError(number, "refused", str(self))
        return opened(self, *arguments, **named)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(OSError, match="refused"):
        folder.about() if name == FINISHED else folder.checkpoint()
    monkeypatch.undo()
    assert folder.about() and folder.checkpoint(), "nothing was touched"


def test_scan_reads_headers_and_one_damaged_file_stops_nothing(root):
    assert len(scan(root)) == 4
    broken = sorted(root.glob(f"*/{FINISHED}"))[0]
    broken.write_bytes(b"{")
    with pytest.warns(UserWarning, match=str(broken)):
        table = scan(root)
    assert len(table) == 3 and table["recipe.train.iterations"].unique().tolist() == [20]
    assert set(table["seed"]) <= {0, 1} and table["density"].notna().all()


def test_folders_of_an_older_version_are_left_alone_with_a_word(root):
    old = root / "0123456789abcdef"
    old.mkdir()
    (old / "result.json").write_text("{}")
    with pytest.warns(UserWarning, match="1 run folders in .* are of an older version of labkit: they are left alone"):
        lk.find_tickets(spec(), [0, 1], root=root)
    assert (old / "result.json").read_text() == "{}"


def test_unwritable_runs_folder(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("LABKIT_RUNS", str(tmp_path / "file"))
    with pytest.raises(OSError, match=r"cannot write to the run folder .*LABKIT_RUNS"):
        lk.find_tickets(spec(), [0])


def full(fd):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    tensor_files.write(path, {"x": torch.ones(1)})
    monkeypatch.setattr(tensor_files.os, "fsync", full)
    with pytest.raises(OSError, match=r"cannot write .*No space left on device; what it held before is kept"):
        tensor_files.write(path, {"x": torch.zeros(1)})
    assert tensor_files.read(path)[0]["x"].item() == 1 and len(list(tmp_path.iterdir())) == 1


def test_a_disk_that_fills_up_loses_nothing_that_was_computed(root, monkeypatch):
    before = finished(root)
    more = small_spec(levels=2, duration="20it")
    monkeypatch.setattr(tensor_files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        lk.find_tickets(more, [0, 1], root=root)
    monkeypatch.undo()
    assert finished(root) == before
    assert lk.find_tickets(more, [0, 1], root=root).levels == [0, 1, 2]
    assert finished(root).items() > before.items()


def test_a_flipped_bit_is_seen(tmp_path):
    path = tmp_path / "x.safetensors"
    tensor_files.write(path, {"x": torch.arange(100.0)}, {"seed": 1})
    content = bytearray(path.read_bytes())
    content[-50] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="its x does not have the SHA-256"):
        tensor_files.read(path)
    assert tensor_files.read_about(path) == {"seed": 1}, "which is of the header alone"


def test_weights_that_were_let_go_are_trained_again_when_they_are_wanted(root):
    run = ticket(root)
    folder = RunFolder(run, root)
    end, mask = folder.end()
    size = (folder.path / FINISHED).stat().st_size
    folder.drop_weights()
    assert (folder.path / FINISHED).stat().st_size < size / 5
    with pytest.raises(ValueError, match="were not kept"):
        folder.end()
    assert all(torch.equal(folder.end_mask()[name], mask[name]) for name in mask)
    lk.find_tickets(small_spec(levels=2, duration="20it"), [0, 1], root=root)
    again, _ = Store(root).folder(run).end()
    assert all(torch.equal(again[name], end[name]) for name in end), "level 2 starts from them"


def test_with_masks_alone_a_search_takes_a_fraction_of_the_disk_and_says_the_same(root, tmp_path):
    search = small_spec(levels=2, duration="20it")
    whole = lk.find_tickets(search, [0, 1], root=root)
    small = lk.find_tickets(search, [0, 1], keep="masks", root=tmp_path / "small")
    sizes = [sum(path.stat().st_size for path in folder.glob(f"*/{FINISHED}")) for folder in (root, tmp_path / "small")]
    assert sizes[1] < sizes[0] / 10 and small.metrics().equals(whole.metrics())
    assert small.ticket(0, 2).equals(whole.ticket(0, 2)), "weights are those of the start"
    before = finished(tmp_path / "small")
    lk.find_tickets(search, [0, 1], keep="masks", root=tmp_path / "small")
    assert finished(tmp_path / "small") == before, "nothing is trained again for being asked for again"
    with pytest.raises(ValueError, match="unknown keep 'mask'"):
        lk.find_tickets(search, [0], keep="mask", root=root)


def test_weights_that_were_let_go_come_back_as_they_were(root, one_thread):
    whole = lk.find_tickets(spec(), [0, 1], root=root)
    expected = [networks.final()[0] for networks in whole.runs.values()]
    lk.find_tickets(spec(), [0, 1], keep="masks", root=root)
    with pytest.raises(ValueError, match="were not kept"):
        whole.runs[1].final()
    torch.set_num_threads(2)  # what is trained again is trained as it was
    again = lk.find_tickets(spec(), [0, 1], root=root)
    for networks, before in zip(again.runs.values(), expected, strict=True):
        assert all(torch.equal(networks.final()[0][name], before[name]) for name in before)


def test_weights_that_come_back_otherwise_are_refused_and_the_run_stays_as_it_was(root, monkeypatch):
    from labkit.training.engines.network import Network

    lk.find_tickets(spec(), [0, 1], keep="masks", root=root)
    before, step = finished(root), Network.step
    monkeypatch.setattr(Network, "step", lambda self, inputs, labels, lr: step(self, inputs, labels, 1.0001 * lr))
    with pytest.raises(ValueError, match="it ended with others when it was trained again"):
        lk.find_tickets(spec(), [0, 1], root=root)
    monkeypatch.undo()
    assert finished(root) == before
    assert lk.find_tickets(spec(), [0, 1], root=root).runs[1].final()


def test_a_replay_that_goes_otherwise_by_a_bit_is_told(root, monkeypatch):
    from labkit.training.engines.network import Network

    step = Network.step
    monkeypatch.setattr(Network, "step", lambda self, inputs, labels, lr: step(self, inputs, labels, 1.0001 * lr))
    with pytest.warns(UserWarning, match="its loss differs from the one recorded from step 1 on, by up to"):
        lk.find_tickets(small_spec(levels=0, duration="20it", rewind="9it"), [0], root=root)
        lk.find_tickets(small_spec(levels=1, duration="20it", rewind="9it"), [0], root=root)


def test_a_file_of_a_later_version_is_left_alone(root):
    run, before = ticket(root), finished(root)
    path = RunFolder(run, root).path / FINISHED
    tensors, about = tensor_files.read(path)
    tensor_files.write(path, tensors, about | {"kind": "labkit run 99"})
    content = path.read_bytes()
    with pytest.raises(RuntimeError, match="by a later version of labkit .*update labkit"):
        lk.find_tickets(spec(), [0, 1], root=root)
    assert path.read_bytes() == content and set(finished(root)) == set(before)


def test_a_root_may_be_a_text(tmp_path):
    found = lk.find_tickets(small_spec(levels=0, duration="4it"), [0], root=str(tmp_path / "here"))
    assert len(scan(str(tmp_path / "here"))) == 1 and found.metrics()["iteration"].max() == 4


def test_a_packed_network_takes_the_room_of_the_survivors():
    state, mask = {"w": torch.randn(100, 50), "b": torch.randn(100)}, {"w": torch.rand(100, 50) < 0.1}
    state["w"][~mask["w"]] = 0
    packed = pack_network(state, mask)
    back, masks = unpack_network(packed)
    assert all(torch.equal(back[name], state[name]) for name in state) and torch.equal(masks["w"], mask["w"])
    assert sum(t.numel() * t.element_size() for t in packed.values()) < 0.2 * state["w"].numel() * 4
    packed["kept/w"] = packed["kept/w"][1:]
    with pytest.raises(ValueError, match="do not fit a mask"):
        unpack_network(packed)
