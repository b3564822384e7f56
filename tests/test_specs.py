import pytest

from labkit.specs import DataSpec, TrainSpec, digest, from_dict, to_dict, to_yaml
from labkit.ticket_specs import PruneSpec, TicketSpec


def test_defaults_do_not_count_so_that_new_fields_leave_old_hashes():
    assert to_dict(TicketSpec()) == {} and digest(to_dict(TicketSpec())) == digest({})
    spec = TicketSpec(data="mnist", prune=PruneSpec(levels=3), train=TrainSpec(lr_drops=("10it",)))
    assert to_dict(spec) == {"data": {"name": "mnist"}, "train": {"lr_drops": ["10it"]}, "prune": {"levels": 3}}
    assert "levels: 3" in to_yaml(spec)


def test_round_trip_and_hash_is_of_the_meaning():
    spec = TicketSpec(data=DataSpec("mnist"), train=TrainSpec(lr=1), prune=PruneSpec(output_rate=0.1))
    assert from_dict(TicketSpec, to_dict(spec)) == spec
    assert digest(to_dict(spec)) == digest(
        to_dict(TicketSpec(data="mnist", train={"lr": 1.0}, prune={"output_rate": 0.1}))
    )
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1})


def test_specs_can_be_keys():
    assert len({TicketSpec(), TicketSpec(), TicketSpec(data="mnist"), PruneSpec(), TrainSpec()}) == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PruneSpec(rate=20), r"rate is 20.*if 20 percent is meant, write 0.2"),
        (lambda: PruneSpec(rate=0.0), "rate is 0"),
        (lambda: PruneSpec(output_rate=1.0), "output_rate is 1"),
        (lambda: PruneSpec(levels=2.5), "levels is 2.5"),
        (lambda: PruneSpec(score="magnitud"), "did you mean 'magnitude'"),
        (lambda: PruneSpec(scope="layers"), "did you mean 'layer'"),
        (lambda: TrainSpec(lr="1e-3"), "lr is '1e-3'.*YAML needs 1.0e-3"),
        (lambda: TrainSpec(lr=-1), "lr is -1"),
        (lambda: TrainSpec(duration="500"), "write a number with its unit"),
        (lambda: TrainSpec(duration="0it"), "duration"),
        (lambda: TrainSpec(batch_size=0), "batch_size is 0"),
        (lambda: TrainSpec(momentum=90), "momentum is 90"),
        (lambda: TicketSpec(train={"learning_rate": 1}), "unknown field of TrainSpec 'learning_rate'"),
        (lambda: TicketSpec(rewind="1"), "step '1'"),
        (lambda: TicketSpec(data=3), "data is 3"),
        (lambda: DataSpec(name=3), "data is 3"),
        (lambda: DataSpec(train=300.0), "train is 300.0"),
        (lambda: DataSpec(validation=-1), "validation is -1"),
        (lambda: TicketSpec(data={"validation": 0}), "tickets stop early by the validation loss"),
        (lambda: TrainSpec(lr=float("nan")), "lr is nan"),
        (lambda: TrainSpec(nesterov="no"), "nesterov is 'no'"),
        (lambda: TrainSpec(lr_drops="0.5run"), "write a list of steps"),
        (lambda: PruneSpec(scope="global", output_rate=0.1), 'with scope "global"'),
        (lambda: PruneSpec(layer_rates={"a": 30}), "rate of a is 30"),
    ],
)
def test_bad_values(make, message):
    with pytest.raises(ValueError, match=message):
        make()
