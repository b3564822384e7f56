import warnings

import pytest
import torch

import labkit as lk
from labkit.ground import tensor_files
from labkit.runs.networks import start_of
from labkit.runs.store import Store, scan
from labkit.runs.ticket_files import Ticket
from labkit.sparsity import masks
from labkit.studies import metrics
from tests.conftest import finished, lenet, small_spec
from tests.trainings import Together, unstacked


@pytest.fixture(scope="module")
def trunk(tmp_path_factory):
    return lk.find_tickets(small_spec(), [0, 1], root=tmp_path_factory.mktemp("runs"))


@pytest.fixture
def controls(trunk):
    return {kind: lk.branch(trunk, kind, per_seed=2, levels=[2]) for kind in ("random_reinit", "random_sparse")}


def test_a_ticket_is_the_initial_weights_under_the_mask(trunk):
    initial, _ = trunk.runs[0].start()
    for level in (1, 2):
        states, mask = trunk.runs[level].start()
        for name, state in states.items():
            expected = initial[name] * mask[name] if name in mask else initial[name]
            assert torch.equal(state, expected), name
        trained, same = trunk.runs[level].final()
        for name in mask:
            assert torch.equal(same[name], mask[name]) and not trained[name][~mask[name]].any()
    outer, inner = trunk.runs[1].start()[1], trunk.runs[2].start()[1]
    assert masks.overlap(inner, outer) == 1


def test_the_largest_trained_weights_survive(trunk):
    trained, _ = trunk.runs[0].final()
    mask = trunk.runs[1].start()[1]["fc2.weight"]
    for n in range(2):
        size = trained["fc2.weight"][n].abs()
        assert size[mask[n]].min() >= size[~mask[n]].max() and mask[n].sum() == 24_000


# pitfalls: optimiser-carried-over, half-a-rewind
def test_optimiser_schedule_and_order_start_afresh_each_round(trunk, runs):
    """Training the ticket's file by itself gives the level's run, bit for bit."""
    from labkit.data import load

    states, mask = (unstacked(tree) for tree in trunk.runs[2].start())
    run = Together(lenet, states, mask, load("digits", shape=(1, 28, 28)), small_spec().train, [0, 1])
    run.run()
    for name, state in trunk.runs[2].final()[0].items():
        for n in range(2):
            assert torch.equal(state[n], run.network(n).state[name]), name


def test_controls_keep_what_they_should(trunk, controls):  # pitfall: three-random-controls
    ticket, mask = trunk.runs[2].start()
    for kind, control in controls.items():
        states, other = control.runs[2].start()
        assert [len(state) for state in states.values()] == [4] * 6
        for n in range(4):
            mine = {name: m[n // 2] for name, m in mask.items()}
            theirs = {name: m[n] for name, m in other.items()}
            assert masks.counts(theirs) == masks.counts(mine)
            overlap, density = masks.overlap(mine, theirs), masks.density(mine)
            assert overlap == 1 if kind == "random_reinit" else abs(overlap - density) < 0.02
            old = ticket["fc1.weight"][n // 2].flatten()
            assert abs(torch.corrcoef(torch.stack([old, states["fc1.weight"][n].flatten()]))[0, 1]) < 0.02
        assert not torch.equal(states["fc1.weight"][0], states["fc1.weight"][1]), "copies differ"
    table = metrics.outcomes(metrics.curves(trunk, *controls.values()))
    assert len(table) == 2 * 3 + 2 * 4 and len(metrics.paired(table, "random_reinit", 2)) == 2
    assert metrics.paired(table, "random_reinit", 1).empty


def test_controls_are_drawn_anew_at_each_level_and_again_the_same(trunk):
    _, mask = trunk.runs[1].start()
    full = {name: torch.ones_like(one[0]) for name, one in mask.items()}
    for control in (lk.random_reinit, lk.random_sparse):

        def drawn(*position, control=control):
            return control(trunk.experiment, full, *position)[0]["fc1.weight"].flatten()

        for seed in range(2):
            assert torch.equal(drawn(seed, 0, 1), drawn(seed, 0, 1))
            assert not torch.equal(drawn(seed, 0, 1), drawn(seed, 1, 1)), "copies differ"
            correlation = torch.corrcoef(torch.stack([drawn(seed, 0, 1), drawn(seed, 0, 2)]))[0, 1]
            assert abs(correlation) < 0.02, "levels that are counted as separate share nothing"


@pytest.mark.usefixtures("kernel_threads")
def test_finished_runs_are_read_and_more_levels_extend_them(runs):
    lk.find_tickets(small_spec(levels=1), [0])
    before = finished(runs)
    lk.find_tickets(small_spec(levels=1), [0])
    assert finished(runs) == before and len(before) == 2
    lk.find_tickets(small_spec(levels=2), [0])
    assert len(finished(runs)) == 3 and finished(runs).items() > before.items(), "only the new level is trained"
    assert sorted(scan()["density"].round(4)) == [0.6406, 0.8004, 1.0]


def test_tickets_need_nothing_held_out(runs):
    data = lk.DataSpec("digits", half="b", validation=0)
    tickets = lk.find_tickets(small_spec(levels=1, data=data), [0])
    control = lk.branch(tickets, "random_reinit")
    assert [tickets.experiment.data.size(split) for split in ("train", "validation", "test")] == [718, 0, 360]
    table = metrics.curves(tickets, control)
    assert table["validation_loss"].isna().all() and not table["diverged"].any()
    ends = metrics.ends(table)
    assert set(ends["iterations"]) == {60} and len(ends) == 3 and ends["accuracy_at_end"].between(0, 1).all()
    last = table[table["iteration"] == 60].set_index(["branch", "level"])["test_accuracy"].to_dict()
    assert ends.set_index(["branch", "level"])["accuracy_at_end"].to_dict() == last
    assert metrics.ticket_minus(ends, "random_reinit").index.tolist() == [(1, 0)]
    before = finished(runs)
    again = lk.find_tickets(small_spec(levels=1, data=data), [0])
    assert finished(runs) == before and again.metrics().equals(tickets.metrics())
    other = lk.find_tickets(small_spec(levels=0, data=lk.DataSpec("digits", half="a", validation=0)), [0])
    assert not set(other.runs[0].hashes) & set(tickets.runs[0].hashes), "the other half is another run"


def test_a_loss_that_is_not_a_number_is_divergence_without_validation_too(runs):
    spec = small_spec(levels=0, data=lk.DataSpec(validation=0), train={"optimizer": "sgd", "lr": 1000.0})
    with pytest.warns(UserWarning, match="its loss was not finite"):
        tickets = lk.find_tickets(spec, [0])
    assert tickets.runs[0].results[0]["diverged_at"] is not None
    assert metrics.ends(metrics.curves(tickets)).empty


def test_rewinding_to_a_later_step(runs):  # pitfall: rewound-off-by-one
    spec = small_spec(levels=1, rewind="1ep", duration="2ep")
    trunk = lk.find_tickets(spec, [0])
    k = round(1198 / 60)
    assert trunk.experiment.rewind == k and trunk.runs[1].members[0].run.first == k
    until_k = lk.find_tickets(small_spec(levels=0, duration=f"{k}it"), [0])
    at_k, _ = until_k.runs[0].final()
    states, mask = trunk.runs[1].start()
    for name, state in states.items():
        assert torch.equal(state, at_k[name] * mask[name] if name in mask else at_k[name]), name
    assert trunk.runs[1].metrics()["iteration"].tolist()[0] == k


def test_how_far_a_ticket_starts_from_the_initialisation(trunk, runs):
    spec = small_spec(levels=1, rewind="1it")
    rewound = lk.find_tickets(spec, [0])
    assert metrics.moved(trunk, 2).tolist() == [0.0, 0.0], "step 0 is the initialisation"
    states, mask = rewound.runs[1].start()
    initial = rewound.runs[0].start()[0]
    step = torch.cat([(states[n] - initial[n])[mask[n]] for n in mask]).norm()
    size = torch.cat([initial[n][mask[n]] for n in mask]).norm()
    assert metrics.moved(rewound, 1)[0] == pytest.approx(float(step / size), rel=1e-5) and step > 0


def test_counts_that_are_expected_are_those_that_are_trained(trunk):
    kept = metrics.outcomes(metrics.curves(trunk)).groupby("level")["percent_remaining"].first()
    for level in (0, 1, 2):
        assert kept[level] == pytest.approx(metrics.expected_percent(trunk.experiment.spec, level), abs=1e-9)


@pytest.mark.usefixtures("kernel_threads")
def test_rewinding_brings_back_batch_norm_too(runs, tmp_path, monkeypatch):  # pitfall: half-a-rewind
    (tmp_path / "normed.py").write_text(
        "from torch import nn\n"
        "def net(classes=10):\n"
        "    norm = nn.BatchNorm1d(16)\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), norm, nn.ReLU(), nn.Linear(16, classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    spec = lk.TicketSpec(model="normed:net", train=small_spec().train, prune=lk.PruneSpec(levels=1), rewind="7it")
    trunk = lk.find_tickets(spec, [0])
    seven = small_spec(levels=0, duration="7it", model="normed:net")
    at_seven, _ = lk.find_tickets(seven, [0]).runs[0].final()
    states, mask = trunk.runs[1].start()
    assert set(mask) == {"1.weight", "4.weight"} and states["2.num_batches_tracked"].item() == 7
    assert states["2.running_mean"].any()
    for name, state in states.items():
        assert torch.equal(state, at_seven[name] * mask[name] if name in mask else at_seven[name]), name


def test_one_shot_prunes_the_dense_network_to_each_level(runs):
    iterative, one_shot = (
        lk.find_tickets(lk.TicketSpec(train=small_spec().train, prune=lk.PruneSpec(levels=2, iterative=value)), [0])
        for value in (True, False)
    )
    for level in (0, 1):
        assert iterative.runs[level].hashes == one_shot.runs[level].hashes, "what is the same is trained once"
    trained, _ = one_shot.runs[0].final()
    mask = one_shot.runs[2].start()[1]["fc2.weight"][0]
    size = trained["fc2.weight"][0].abs()
    assert size[mask].min() >= size[~mask].max() and mask.sum() == round(30_000 * 0.64)
    assert masks.counts(iterative.runs[2].start()[1]) == masks.counts(one_shot.runs[2].start()[1])


def test_global_pruning_and_random_scores(runs):
    spec = lk.TicketSpec(train=small_spec().train, prune=lk.PruneSpec(scope="global", levels=1))
    mask = lk.find_tickets(spec, [0]).runs[1].start()[1]
    assert sum(masks.counts(mask).values()) == round(266_200 * 0.8)
    assert masks.counts(mask)["fc3.weight"] != 800, "layers compete"
    spec = lk.TicketSpec(train=small_spec().train, prune=lk.PruneSpec(score="random", levels=1))
    one = lk.find_tickets(spec, [0, 1]).runs[1].start()[1]["fc1.weight"]
    assert not torch.equal(one[0], one[1])


def test_ticket_file_round_trip(trunk, tmp_path):
    ticket = trunk.ticket(seed=1, level=2)
    path = ticket.save(tmp_path / "ticket.safetensors")
    back = Ticket.load(path)
    assert back.equals(ticket) and back.about["seed"] == 1 and back.about["spec"]["prune"]["levels"] == 2
    assert path.stat().st_size < 0.75 * 4 * 266_200
    network = back.load_into(lenet())
    assert torch.equal(network.fc1.weight, ticket.weights["fc1.weight"])
    text = back.describe()
    assert "170,538 of   266,200" in text and "data digits" in text and "level 2" in text and "rewind_step 0" in text
    assert repr(back) == "Ticket(density 0.6406, 3 masked layers)"


def test_ticket_refuses_another_model_and_damage(trunk, tmp_path):
    ticket = trunk.ticket(seed=0, level=1)
    with pytest.raises(ValueError, match=r"for another model: .*is in only one"):
        ticket.load_into(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"for another model: fc3.bias is \(10,\) in the ticket, \(100,\)"):
        from labkit.models import build

        ticket.load_into(build("lenet_300_100", {"classes": 100}))
    path = ticket.save(tmp_path / "ticket.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="damaged or cut short"):
        Ticket.load(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="damaged or cut short"):
        Ticket.load(path)
    tensor_files.write(tmp_path / "other.safetensors", {"x": torch.ones(1)})
    with pytest.raises(ValueError, match="is no ticket"):
        Ticket.load(tmp_path / "other.safetensors")
    with pytest.raises(FileNotFoundError):
        Ticket.load(tmp_path / "none.safetensors")
    for wrong in ({"seed": 7, "level": 1}, {"seed": 0, "level": 9}):
        with pytest.raises(ValueError, match="unknown"):
            trunk.ticket(**wrong)


def test_a_diverging_seed_is_named_and_the_others_go_on(runs, monkeypatch):
    from labkit.runs.experiment import Experiment

    def poisoned(self, seed, purpose):
        state = original(self, seed, purpose)
        if seed == 8:
            state["fc1.weight"][0, 0] = float("nan")
        return state

    original = Experiment.initial
    monkeypatch.setattr(Experiment, "initial", poisoned)
    with pytest.warns(
        UserWarning, match="seed 8, copy 0 of ticket at level 0 stopped at step 0: its loss was not finite"
    ):
        trunk = lk.find_tickets(small_spec(levels=1), [7, 8, 9])
    assert trunk.runs[0].seeds == [7, 8, 9] and trunk.runs[1].seeds == [7, 9]
    assert sorted(metrics.outcomes(metrics.curves(trunk))["seed"].unique()) == [7, 9]
    with pytest.warns(UserWarning, match="seed 8, copy 0 of ticket at level 0 stopped"):
        again = lk.find_tickets(small_spec(levels=1), [7, 8, 9])
    assert again.runs[1].hashes == trunk.runs[1].hashes, "and it is said again when the runs are read"
    monkeypatch.setattr(Experiment, "initial", original)
    alone = lk.find_tickets(small_spec(levels=1), [7, 9], root=runs / "alone")
    mine, theirs = (tickets.runs[1].final()[0]["fc1.weight"][1] for tickets in (trunk, alone))
    assert torch.equal(mine, theirs)


def test_all_seeds_diverging_is_an_error(runs):
    spec = lk.TicketSpec(train=lk.TrainSpec(optimizer="sgd", lr=1000, duration="20it"), prune=lk.PruneSpec(levels=1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(2):  # computed, and read
            with pytest.raises(RuntimeError, match="every network of ticket that level 1 would start from diverged"):
                lk.find_tickets(spec, [0])


@pytest.mark.parametrize(
    ("change", "seeds", "message"),
    [
        ({"model": "lenet300"}, [0], "unknown model 'lenet300'"),
        ({"model": "my_net.py"}, [0], 'one of your own is written "package.module:function"'),
        ({"model": "./my_net:Net"}, [0], "a module, not a path"),
        ({"data": "digit"}, [0], "did you mean 'digits'"),
        ({"init": "glorot"}, [0], "unknown init 'glorot'"),
        ({"rewind": "60it"}, [0], "training has only 60 steps"),
        ({"train": {"batch_size": 1199}}, [0], "batch_size is 1199: at most 1198, the training examples"),
        ({}, [0, 0], "each once"),
        ({}, [], "at least one"),
        ({}, [-1], r"seeds\[0\] is -1"),
        ({"model": "torch.nn:Identity"}, [0], "outputs; digits has 10 classes|no linear"),
    ],
)
def test_bad_input_before_any_training(runs, change, seeds, message):
    with pytest.raises(ValueError, match=message):
        lk.find_tickets(small_spec(**change), seeds)
    assert not runs.exists() or not list(runs.iterdir())


def test_bad_branch(trunk):
    with pytest.raises(ValueError, match="did you mean 'random_reinit'"):
        lk.branch(trunk, "random_reinti")
    with pytest.raises(ValueError, match="unknown level '9'"):
        lk.branch(trunk, "random_reinit", levels=[9])


def test_own_model_and_own_data(runs, tmp_path, monkeypatch):
    import numpy as np

    (tmp_path / "mymodel.py").write_text(
        "from torch import nn\n"
        "def net(classes=2, hidden=8):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(48, hidden), nn.ReLU(), nn.Linear(hidden, classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 90)
    images = (rng.integers(0, 50, (90, 3, 4, 4)) + 60 * labels[:, None, None, None]).astype(np.uint8)
    np.savez(
        tmp_path / "own.npz",
        train_images=images[:60],
        train_labels=labels[:60],
        test_images=images[60:],
        test_labels=labels[60:],
    )
    spec = lk.TicketSpec(
        model="mymodel:net", data=str(tmp_path / "own.npz"), prune=lk.PruneSpec(levels=1),
        train=lk.TrainSpec(duration="100it", evaluate_every="20it", batch_size=10),
    )  # fmt: skip
    trunk = lk.find_tickets(spec, [0, 1])
    assert metrics.outcomes(metrics.curves(trunk))["accuracy_at_end"].mean() > 0.6
    (tmp_path / "own.npz").unlink()
    np.savez(
        tmp_path / "own.npz",
        train_images=images[30:],
        train_labels=labels[30:],
        test_images=images[:30],
        test_labels=labels[:30],
    )
    assert not set(lk.find_tickets(spec, [0, 1]).runs[0].hashes) & set(trunk.runs[0].hashes), "other content, other run"


def test_one_table_is_of_one_experiment(trunk, tmp_path):
    other = lk.find_tickets(small_spec(model_options={"activation": "sigmoid"}, levels=0), [0], root=tmp_path)
    with pytest.raises(ValueError, match="two experiments"):
        metrics.curves(trunk, other)


def test_own_models_keep_their_own_initialisation_unless_told_otherwise(tmp_path, monkeypatch):
    from labkit.runs.experiment import Experiment

    (tmp_path / "constant.py").write_text(
        "from torch import nn\n"
        "def net(classes=10):\n"
        "    layer = nn.Linear(64, classes)\n"
        "    nn.init.constant_(layer.weight, 0.125)\n"
        "    return nn.Sequential(nn.Flatten(), layer)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for init, constant in (("default", True), ("own", True), ("glorot_normal", False)):
        experiment = Experiment(lk.TicketSpec(model="constant:net", init=init), tmp_path)
        assert bool((experiment.initial(0, "init")["1.weight"] == 0.125).all()) == constant
    for spec, init in ((lk.TicketSpec(), "glorot_normal"), (lk.SparseSpec(), "own")):
        assert Experiment(spec, tmp_path).spec.init == init


def test_networks_that_start_side_by_side_draw_what_they_draw_alone(tmp_path):
    """PyTorch's own generator is the whole process's, and the weights of many networks are drawn from it."""
    from concurrent.futures import ThreadPoolExecutor

    experiment = lk.Experiment(lk.SparseSpec("resnet20", {"width": 0.5}), tmp_path)
    alone = [experiment.initial(seed, "init/0")["classifier.weight"] for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            together = list(pool.map(lambda seed: experiment.initial(seed, "init/0")["classifier.weight"], range(8)))
            assert all(map(torch.equal, alone, together))


def own_control(experiment, mask, seed, copy, level):
    return lk.random_reinit(experiment, mask, seed, copy, level)


def drawing_control(experiment, mask, seed, copy, level):
    weights = experiment.initial(seed, "init/0")
    return {name: torch.randn_like(one) if name in mask else one for name, one in weights.items()}, mask


def careless_control(experiment, mask, seed, copy, level):
    return experiment.initial(seed, "init/0"), {name: one.float() for name, one in mask.items()}


def test_own_control(trunk):
    control = lk.branch(trunk, own_control, levels=[1])
    assert control.branch.startswith("own_control ") and control.levels == [1]
    drawn = [start_of(lk.branch(trunk, drawing_control, levels=[1]).runs[1].members[0].run, Store(trunk.root))[0]
             for _ in range(2)]  # fmt: skip
    assert torch.equal(drawn[0]["fc1.weight"], drawn[1]["fc1.weight"]), "what it draws is of the seed"
    with pytest.raises(ValueError, match="a function or a class that a module file holds"):
        lk.branch(trunk, lambda *a: None, levels=[1])
    with pytest.raises(ValueError, match=r"control 'careless_control .*: the mask of fc1.weight must be bool"):
        lk.branch(trunk, careless_control, levels=[1])


def test_layer_rates(runs):
    prune = lk.PruneSpec(levels=1, output_rate=0.0, layer_rates={"fc2.weight": 0.5})
    mask = lk.find_tickets(lk.TicketSpec(train=small_spec().train, prune=prune), [0]).runs[1].start()[1]
    assert masks.counts(mask) == {"fc1.weight": 188_160, "fc2.weight": 15_000, "fc3.weight": 1_000}
    with pytest.raises(ValueError, match="unknown prunable layer 'fc2': did you mean 'fc2.weight'"):
        lk.find_tickets(lk.TicketSpec(prune=lk.PruneSpec(levels=1, layer_rates={"fc2": 0.5})), [0])


def test_reprs_are_compact_and_name_no_address(trunk):
    assert repr(trunk) == "Runs(ticket: levels [0, 1, 2], seeds [0, 1])"
    assert "64.06" in trunk._repr_html_() and "0x" not in trunk._repr_html_()
