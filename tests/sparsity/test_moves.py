"""What mask updates dropped and grew: written down, read again, replayed."""

import pytest
import torch

from labkit.sparsity.moves import Moves, lives, masks_after, pack_places, unpack_places

START = {"a": torch.tensor([[True, False], [True, True]]), "b": torch.tensor([False, True, False])}


def on(*places, size=4, shape=(2, 2)):
    mask = torch.zeros(size, dtype=torch.bool)
    mask[list(places)] = True
    return mask.reshape(shape)


def two_updates():
    """The first drops a0 and a2 and grows a1 and a2; the second drops a1 and grows a0, and moves b1 to b0."""
    moves = Moves()
    moves.add(START, {"a": (on(3), on(1, 2))})
    middle = {"a": on(1, 2, 3), "b": START["b"]}
    moves.add(middle, {"a": (on(2, 3), on(0)), "b": (on(size=3, shape=3), on(0, size=3, shape=3))})
    return moves


def test_places_are_read_as_they_were_written():
    rng = torch.Generator().manual_seed(0)
    for density in (0.0, 0.0005, 0.03, 0.5, 1.0):
        places = (torch.rand(5000, generator=rng) < density).nonzero()[:, 0]
        packed = pack_places(places)
        assert torch.equal(unpack_places(packed), places)
        assert len(packed) <= len(places) + 5000 // 255


@pytest.mark.parametrize("gap", [254, 255, 256, 509, 510, 511])
def test_gaps_around_a_full_byte_are_kept(gap):
    places = torch.tensor([gap, gap + 1, 2 * gap + 2])
    assert torch.equal(unpack_places(pack_places(places)), places)


def test_masks_are_rebuilt_at_every_update():
    moves = two_updates()
    found = [{name: mask.reshape(-1).long().tolist() for name, mask in masks_after(START, moves, n).items()}
             for n in range(3)]  # fmt: skip
    assert found == [
        {"a": [1, 0, 1, 1], "b": [0, 1, 0]},
        {"a": [0, 1, 1, 1], "b": [0, 1, 0]},
        {"a": [1, 0, 1, 1], "b": [1, 0, 0]},
    ]
    assert masks_after(START, moves, 0)["a"].shape == (2, 2)
    assert START["a"].tolist() == [[True, False], [True, True]], "what was given stays"


def test_masks_beyond_what_is_written_down_are_refused():
    with pytest.raises(ValueError, match="3 updates are asked for, and 2 are written down"):
        masks_after(START, two_updates(), 3)


def test_every_connection_lives_from_its_growth_to_its_drop():
    found = sorted(map(tuple, lives(START, two_updates()).tolist()))
    assert found == [
        (0, 0, 1),  # a0, dropped first,
        (0, 2, 0),  # and grown by the second
        (1, 1, 2),
        (2, 0, 1),  # a2, dropped and grown again at once: two lives
        (2, 1, 0),
        (3, 0, 0),
        (4, 2, 0),
        (5, 0, 2),
    ]


def test_what_is_written_down_is_the_same_after_a_file():
    moves = two_updates()
    again = Moves.of(moves.tensors())
    assert [[part.tolist() for part in update] for update in again] == [
        [part.tolist() for part in update] for update in moves
    ]
    assert len(Moves.of(Moves().tensors())) == 0


def test_what_does_not_fit_together_is_refused():
    tensors = two_updates().tensors()
    with pytest.raises(ValueError, match="does not fit together"):
        Moves.of(tensors | {"moves/bytes": tensors["moves/bytes"][:-1]})


def test_beyond_the_cap_nothing_is_written_and_it_is_said():
    moves = Moves(most=5)
    for _ in range(3):
        moves.add(START, {"a": (on(3), on(1, 2))})  # four bytes
    assert len(moves) == 1 and moves.full and moves.bytes == 4
    moves.add(START, {})
    assert len(moves) == 1, "no gap: an update that would fit again is not written either"
    assert Moves.of(moves.tensors()).full
