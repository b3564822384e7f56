"""Cells that go wrong on purpose show what is said, spoil nothing that lasts, and notice when nothing is said."""

import warnings

import pytest

from labkit.notebook.mistakes import NotRefused, refused, warned


def test_an_error_is_printed_without_where_the_copy_lies(tmp_path, capsys):
    (tmp_path / "images" / "cat").mkdir(parents=True)
    with refused(tmp_path / "images") as wrong:
        (wrong / "cat").rename(wrong / "dog")
        raise ValueError(f"{wrong / 'dog'} is no cat")
    assert capsys.readouterr().out == "ValueError: images/dog is no cat\n"
    assert (tmp_path / "images" / "cat").exists() and not wrong.exists(), "what was spoilt is a copy"


def test_the_runs_folder_is_left_out_too(runs, capsys):
    with refused():
        raise FileNotFoundError(f"no data at {runs}/results/images")
    assert capsys.readouterr().out == "FileNotFoundError: no data at results/images\n"


def test_a_mistake_that_goes_through_is_an_error():
    with pytest.raises(NotRefused), refused() as wrong:
        assert wrong.is_dir() and not list(wrong.iterdir())


def test_an_error_by_which_the_kit_refuses_nothing_is_not_hidden():
    with pytest.raises(ZeroDivisionError), refused():
        _ = 1 / 0


def test_warnings_are_printed_or_that_there_are_none(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    with warned(tmp_path / "images") as wrong:
        warnings.warn(f"{wrong}: empty", stacklevel=2)
    with warned():
        pass
    told, none = capsys.readouterr().out.splitlines()
    assert told == "UserWarning: images: empty" and none.startswith("(no warning")
