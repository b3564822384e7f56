"""What a network would cost, held to what runs cost and to the bytes of their tensors."""

from dataclasses import replace

import pytest
import torch

import labkit as lk
from labkit import models
from labkit.models import MODELS, inspection
from labkit.runs.exports import as_csr
from labkit.sparsity.allocation import draw
from labkit.sparsity.packing import pack_network
from labkit.studies.network_costs import mean_density, network_costs, of_dense
from labkit.studies.sparse_metrics import ratio

LENET = inspection.planned("lenet_300_100")


def costs(**changes):
    return network_costs(LENET, lk.TopologySpec(**{"method": "rigl", "allocation": "erk", "density": 0.1, **changes}))


@pytest.mark.parametrize("name", MODELS)
def test_a_network_of_shapes_alone_has_the_layers_of_one_with_weights(name):
    options = {} if name in ("lenet_300_100", "resnet20") else {"width": 0.125}
    assert inspection.planned(name, options) == inspection.layers(models.build(name, options))


def test_a_linear_layer_by_hand():
    table = costs(method="static", density=0.5, allocation="uniform").set_index("layer")
    first, last = table.loc["fc1.weight"], table.loc["fc3.weight"]
    assert (first["kept"], first["masked"], first["test"], first["train"]) == (235200, False, 470400, 3 * 470400)
    assert (last["kept"], last["test_dense"], last["test"], last["train"]) == (500, 2000, 1000, 3000)
    assert (first["bytes_bits"], first["bytes_csr"]) == (4 * 235200, 4 * 235200)
    assert (last["bytes_dense"], last["bytes_bits"], last["bytes_csr"]) == (4000, 2000 + 125, 4 * (500 + 500 + 11))


def test_dense_costs_all_there_is():
    assert of_dense(costs(method="dense")).tolist() == [1.0] * 5


@pytest.mark.parametrize("method", ["static", "set", "rigl", "snfs", "gradual"])
def test_what_a_run_costs_is_what_was_told_before(method):
    topology = lk.TopologySpec(method=method, density=0.3, allocation="er", every="10it")
    train = lk.TrainSpec(duration="40it", evaluate_every="40it")
    run = lk.train_sparse(lk.SparseSpec(train=train, topology=topology), [0])
    table = network_costs(run.experiment.layers, topology, iterations=40)
    if method == "gradual":  # which layers lose weights, magnitudes decide: the total alone is known
        assert table["kept"].sum() == pytest.approx(run.networks.results[0]["kept"], abs=1)
        density = run.densities().groupby("step")["kept"].sum() / table["weights"].sum()
        held = [step - before for before, step in zip([0, *density.index[1:]], [*density.index[1:], 40], strict=True)]
        assert mean_density(topology, 40) == pytest.approx((density.to_numpy() * held).sum() / 40, rel=1e-4)
        return
    start = run.densities().query("step == 0").set_index("layer")["kept"]
    assert table[table["masked"]].set_index("layer")["kept"].to_dict() == start.to_dict()
    if method != "snfs":  # its connections move between layers
        assert of_dense(table)["test"] == pytest.approx(run.test_flops(), rel=1e-12)
        assert of_dense(table)["train"] == pytest.approx(run.train_flops(), rel=1e-12)


def test_total_flops_are_those_of_the_closed_form():
    assert of_dense(costs(density=0.2))["test"] == pytest.approx(ratio(LENET, "erk", 0.2), rel=1e-4)


def test_bytes_are_those_of_the_tensors_that_files_hold():
    rng = torch.Generator().manual_seed(0)
    table = costs(method="static").set_index("layer")
    masks = draw({name: layer.shape for name, layer in LENET.items()}, table["kept"].to_dict(), rng)
    weights = {name: torch.rand(mask.shape, generator=rng) for name, mask in masks.items()}
    packed, rows = pack_network(weights, masks), as_csr(weights, masks)
    bits = sum(tensor.nbytes for name, tensor in packed.items() if name.startswith(("mask/", "kept/")))
    csr = sum(tensor.nbytes for name, tensor in rows.items() if not name.endswith(".shape"))
    assert table[["bytes_bits", "bytes_csr"]].sum().tolist() == [bits, csr]


def test_updates_that_do_not_fit_a_run_are_refused():
    gradual = lk.TopologySpec(method="gradual", density=0.1)
    with pytest.raises(ValueError, match="no such moment"):
        network_costs(LENET, gradual, iterations=50)
    assert network_costs(LENET, replace(gradual, every="10it"), iterations=50)["train"].gt(0).all()
