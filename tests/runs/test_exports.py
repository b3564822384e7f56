"""Tickets in the files of other programs say the same as the ticket."""

import warnings

import pytest
import safetensors.torch
import torch
from torch.nn.utils import prune

import labkit as lk
from labkit.runs import exports
from tests.conftest import lenet, lenet_states, random_masks


@pytest.fixture(scope="module")
def ticket():
    states = {name: tensor[0] for name, tensor in lenet_states().items()}
    masks = random_masks(states, 0.1)
    weights = {name: weight * masks[name] if name in masks else weight for name, weight in states.items()}
    weights["fc2.weight"][tuple(masks["fc2.weight"].nonzero()[0])] = 0  # a survivor that is zero
    return lk.Ticket(weights, masks, {"spec": {"model": "lenet_300_100", "model_options": {"classes": 10}}})


@pytest.fixture
def images():
    return torch.randn(7, 1, 28, 28, generator=torch.Generator().manual_seed(1))


def read(path):
    return safetensors.torch.load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
def test_a_state_dict_is_loaded_by_the_plain_network(ticket, images, tmp_path, ending):
    path = tmp_path / f"state{ending}"
    assert ticket.export("state_dict", path) == path.stat().st_size
    network = lenet()
    network.load_state_dict(read(path))
    assert torch.equal(network(images), ticket.module()(images))


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
def test_pytorchs_pruning_takes_it_and_keeps_the_mask(ticket, images, tmp_path, ending):
    path = tmp_path / f"pruned{ending}"
    assert ticket.export("prune", path) == path.stat().st_size
    network = lenet()
    for layer in (network.fc1, network.fc2, network.fc3):
        prune.identity(layer, "weight")
    network.load_state_dict(read(path), strict=True)
    assert torch.equal(network(images), ticket.module()(images))
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    network(images).square().sum().backward()
    optimiser.step()
    network(images)
    prune.remove(network.fc1, "weight")
    assert not network.fc1.weight[~ticket.mask["fc1.weight"]].any() and prune.is_pruned(network)


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
def test_compressed_rows_are_pytorchs_and_give_the_weights_again(ticket, tmp_path, ending):
    path = tmp_path / f"rows{ending}"
    assert ticket.export("csr", path) == path.stat().st_size
    found = read(path)
    back = exports.from_csr(found)
    assert set(back) == set(ticket.weights)
    assert all(torch.equal(back[name], weight) for name, weight in ticket.weights.items())
    for name, mask in ticket.mask.items():
        parts = [found[f"{name}.{part}"] for part in ("crow_indices", "col_indices", "values")]
        with warnings.catch_warnings(action="ignore"):  # PyTorch calls its compressed rows a prototype
            rows = torch.sparse_csr_tensor(*parts, size=found[f"{name}.shape"].tolist(), check_invariants=True)
        assert torch.equal(rows.to_dense(), ticket.weights[name]) and len(parts[2]) == mask.sum(), "zeros too"


def test_weights_of_convolutions_are_rows_by_output():
    weight, mask = torch.arange(1.0, 25).reshape(2, 3, 2, 2), torch.zeros(2, 3, 2, 2, dtype=torch.bool)
    mask[0, 2, 1, 0] = mask[1, 0, 0, 0] = mask[1, 1, 1, 1] = True
    found = exports.as_csr({"w": weight}, {"w": mask})
    assert found["w.crow_indices"].tolist() == [0, 1, 3] and found["w.col_indices"].tolist() == [10, 0, 7]
    assert found["w.values"].tolist() == [11, 13, 20] and found["w.shape"].tolist() == [2, 3, 2, 2]
    assert torch.equal(exports.from_csr(found)["w"], weight * mask)


def test_the_onnx_graph_computes_the_same_logits(ticket, images, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is of the extra onnx, which is not installed")
    import onnx
    import onnxruntime

    path = tmp_path / "ticket.onnx"
    assert ticket.export("onnx", path) == path.stat().st_size
    onnx.checker.check_model(onnx.load(path))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count in (1, 7):
        (logits,) = session.run(["logits"], {"images": images[:count].numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), ticket.module()(images[:count]).detach())


def test_bytes_of_each_form_stand_side_by_side(ticket):
    table = exports.sizes(ticket.weights, ticket.mask).set_index("form")["bytes"]
    values, biases = 4 * 266_200, 4 * 410
    kept = sum(int(mask.sum()) for mask in ticket.mask.values())
    assert 0 <= table["state_dict"] - values - biases < 2000
    assert 0 <= table["prune"] - 2 * values - biases < 2000
    assert 0 <= table["ticket"] - (4 * kept + 266_200 / 8 + biases) < 3000
    assert 0 <= table["csr"] - (8 * kept + 4 * 413 + biases) < 3000
    assert table["ticket"] < table["csr"] < table["state_dict"] < table["prune"]


def test_forms_and_endings_that_are_not_known_are_refused(ticket, tmp_path):
    with pytest.raises(ValueError, match="unknown form 'cs': did you mean 'csr'"):
        ticket.export("cs", tmp_path / "t.pt")
    with pytest.raises(ValueError, match=r"a file of form 'csr' ends in .pt or .safetensors"):
        ticket.export("csr", tmp_path / "t.onnx")
    assert not list(tmp_path.iterdir())
