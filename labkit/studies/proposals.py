"""What a tuning tries next: its space, and proposals by TPE that depend on the finished trials and the seed alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from labkit.ground.lists import listed
from labkit.ground.names import fraction, shown, whole
from labkit.ground.randomness import derive

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

RATES = (0.1, 0.6, 0.001)
PERIODS = (50, 1000, 50)


@dataclass(frozen=True)
class Space:
    """What is tuned: lowest, highest and step of the drop fraction and of the iterations between updates.

    The defaults are those of Sundar & Dwaraknath 2021, section 5.3, with the fraction in steps of a thousandth.

    Raises:
        ValueError: for a range that is empty, or periods that are not whole.

    >>> Space(every=(10, 50, 10)).distributions()["every"]
    IntDistribution(high=50, log=False, low=10, step=10)
    """

    rate: tuple[float, float, float] = RATES
    every: tuple[int, int, int] = PERIODS

    def __post_init__(self) -> None:
        for name, check in (("rate", fraction), ("every", partial(whole, least=1, most=10**8))):
            given = getattr(self, name)
            found = listed(name, given, of=check, like="(0.1, 0.6, 0.001)" if name == "rate" else "(50, 1000, 50)")
            if len(found) != 3 or found[0] > found[1]:
                raise ValueError(f"{name} is {shown(given)}: write lowest, highest, step, all positive")
            object.__setattr__(self, name, tuple(found))

    def distributions(self) -> "dict[str, BaseDistribution]":
        """As Optuna has them."""
        from optuna.distributions import FloatDistribution, IntDistribution

        (low, high, step), (short, long, stride) = self.rate, self.every
        return {
            "rate": FloatDistribution(low, high, step=step),
            "every": IntDistribution(short, long, step=stride),
        }


def propose(done: "Iterable[FrozenTrial]", space: Space, seed: int = 0) -> dict[str, Any]:
    """What TPE tries next (Bergstra et al. 2011, as Optuna has it): a function of the finished trials and the seed.

    Args:
        done: finished trials, in order; the first ten proposals are drawn at random.
        space: where to look.
        seed: of the sampler, from which each trial derives its own.

    Returns:
        rate and every.

    >>> propose([], Space()) == propose([], Space()) != propose([], Space(), seed=1)
    True
    """
    import optuna

    done = list(done)
    sampler = optuna.samplers.TPESampler(seed=derive(seed, "tuning", len(done)) % 2**32)
    study = quietly(optuna.create_study, direction="maximize", sampler=sampler)
    study.add_trials(done)
    found = dict(study.ask(space.distributions()).params)
    return {"rate": round(found["rate"], 6), "every": int(found["every"])}


def quietly(function: Any, **arguments: Any) -> Any:
    """Without Optuna's line about each study it makes."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return function(**arguments)
    finally:
        optuna.logging.set_verbosity(level)
