"""How training went: lines against the records they were drawn from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

import st_predict as stp
from st_predict.core.errors import InputError
from st_predict.core.methods.recipe import Recipe
from st_predict.core.model.model import Model


def make_model(history_rows: list[dict], held_out_rows: list[dict], epochs: int = 2, method: str = "nh2st") -> Model:
    """A model of which only the records matter."""
    empty = dict.fromkeys(Model.__dataclass_fields__)
    return Model(**{
        **empty, "recipe": Recipe(method, None), "epochs": epochs, "history_rows": history_rows, "held_out_rows": held_out_rows
    })  # fmt: skip


FOLDS = {"fold 1": ("B", [0.1, 0.3, 0.2]), "fold 2": ("A", [0.4, 0.2])}
ROWS = [
    {"fit": fit, "epoch": i + 1, "loss": 1 / (i + 1), "held_out": section, "held_out_pcc": value}
    for fit, (section, values) in FOLDS.items()
    for i, value in enumerate(values)
]
FINAL = [{"fit": "final", "epoch": i + 1, "loss": 0.5 / (i + 1)} for i in range(2)]
SCORES = [
    {"section": section, "method": method, "pcc": value, "mse": 1.0}
    for section, values in {"A": [0.0, 0.2, 0.4], "B": [0.0, 0.3, 0.2]}.items()
    for method, value in zip(["mean", "ridge", "nh2st"], values, strict=True)
]


def lines(ax: plt.Axes) -> dict[str, tuple[list, list]]:
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in ax.get_lines()}


def test_one_line_a_fit() -> None:
    loss, pcc, _ = stp.pl.history(make_model(ROWS + FINAL, SCORES))
    drawn = lines(loss)
    assert drawn["fold 1 (without B)"] == ([1, 2, 3], [1, 1 / 2, 1 / 3])
    assert drawn["fold 2 (without A)"] == ([1, 2], [1, 1 / 2])
    assert drawn["final"] == ([1, 2], [0.5, 0.25])
    width = {line.get_label(): line.get_linewidth() for line in loss.get_lines()}
    assert width["final"] > width["fold 1 (without B)"]
    drawn = lines(pcc)
    assert drawn["fold 1 (without B)"] == ([1, 2, 3], [0.1, 0.3, 0.2])
    assert "final" not in drawn, "nothing was held out of it"
    best = [(x, y) for label, ((x, *_), (y, *_)) in drawn.items() if label.startswith("_")]
    assert best == [(2, 0.3), (1, 0.4)]
    for ax in (loss, pcc):
        assert lines(ax)["chosen: 2 epochs"][0] == [2, 2]
        assert all(tick == int(tick) for tick in ax.get_xticks())


def test_held_out_sections_are_rows_and_their_average_the_last() -> None:
    ax = stp.pl.history(make_model(ROWS + FINAL, SCORES))[2]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["A", "B", "average"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    drawn = lines(ax)
    for label, values in {"training mean": [0, 0, 0], "ridge": [0.2, 0.3, 0.25], "nh2st": [0.4, 0.2, 0.3]}.items():
        np.testing.assert_allclose(drawn[label], ([*values], [0, 1, 2]))
    colors = {line.get_label(): line.get_color() for line in ax.get_lines()}
    assert len({colors[label] for label in ("training mean", "ridge", "nh2st")}) == 3


def test_method_without_epochs_has_held_out_scores_only() -> None:
    ridge = [row for row in SCORES if row["method"] != "nh2st"]
    axes = stp.pl.history(make_model([], ridge, method="ridge"))
    assert axes.shape == (1,)
    assert axes[0].get_xlabel() == "held-out PCC"


def test_fit_without_inner_folds_has_its_loss_only() -> None:
    axes = stp.pl.history(make_model(FINAL, []))
    assert axes.shape == (1,)
    assert list(lines(axes[0])) == ["final"], "nobody chose a number of epochs"


def test_many_held_out_sections_are_counted() -> None:
    names = ", ".join(f"patient_{i}_section" for i in range(5))
    axes = stp.pl.history(make_model([{**row, "held_out": names} for row in ROWS], []))
    assert "fold 1 (without 5 sections)" in lines(axes[0])


def test_model_without_records() -> None:
    with pytest.raises(stp.InputError, match="this model has no history: 'mean' is not trained by epochs"):
        stp.pl.history(make_model([], [], method="mean"))
    with pytest.raises(stp.InputError, match="1 axes were given for 3 panels"):
        stp.pl.history(make_model(ROWS + FINAL, SCORES), axes=plt.figure().add_subplot())


def test_records_of_a_real_fit(made: SimpleNamespace) -> None:
    sections = {name: made.section(seed=seed).sdata for seed, name in enumerate("AB")}
    model = stp.tl.train(
        sections, encoder="tiny", tile_um=112, genes=3, params={"neighbors": 3}, max_epochs=2, batch_size=8
    )
    loss, pcc, scores = stp.pl.history(model)
    one: pd.DataFrame = model.history.query("fit == 'fold 1'")
    assert lines(loss)["fold 1 (without A)"][1] == list(one["loss"])
    assert lines(pcc)["fold 1 (without A)"][1] == list(one["held_out_pcc"])
    np.testing.assert_allclose(lines(scores)["nh2st"][0][:2], model.held_out["pcc", "nh2st"])


@pytest.mark.one_python
@pytest.mark.parametrize("ending", ["png", "pdf", "svg", "jpg", "tiff"])
def test_a_picture_replaces_one_of_ours_alone(tmp_path: Path, ending: str) -> None:
    """Ours is known in every format; a picture drawn by others, were it by matplotlib, is not ours."""
    ours, mine = tmp_path / f"ours.{ending}", tmp_path / f"mine.{ending}"
    model = make_model(ROWS, SCORES)
    for _ in range(2):
        plt.close(stp.pl.history(model, save=ours).flat[0].figure)
    figure = plt.figure()
    figure.savefig(mine)
    plt.close(figure)
    before = mine.read_bytes()
    with pytest.raises(InputError, match=f"mine.{ending} exists and is not a picture that st_predict drew") as error:
        stp.pl.history(model, save=mine)
    assert error.value.where == "save" and mine.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [mine, ours]
