"""Features to input rows, against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from st_predict.core.inputs.rows import SectionRows
from st_predict.core.inputs.transform import InputTransform, principal_axes
from st_predict.core.methods.recipe import InputConfig


def plain(**changes: object) -> InputConfig:
    return InputConfig(**{"context": (), "standardize": "none", "components": None, **changes})


def fitted(config: InputConfig, features: list, centers: list, used: list) -> InputTransform:
    parts = zip(features, centers, used, strict=True)
    return InputTransform.fit(config, [SectionRows(config, f, c, used=u) for f, c, u in parts])


@pytest.fixture(scope="module")
def slides() -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Features ``(n, 2, 3)``, centers and usable spots of two slides, the second stained darker."""
    rng = np.random.default_rng(0)
    features = [rng.normal(size=(40, 2, 3)).astype(np.float32) * np.arange(1, 4, dtype=np.float32) for _ in range(2)]
    features[1] = features[1] * 2 + 7
    centers = [rng.uniform(0, 300, (40, 2)) for _ in range(2)]
    used = [np.arange(40) % 5 > 0, np.ones(40, bool)]
    return features, centers, used


def nearest(centers: np.ndarray, k: int) -> np.ndarray:
    distance = np.linalg.norm(centers[:, None] - centers[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    return np.argsort(distance, axis=1)[:, :k]


def test_nothing_asked_nothing_done(slides: tuple) -> None:
    features, centers, used = slides
    transform = fitted(plain(), features, centers, used)
    assert transform.arrays == {}
    assert np.array_equal(transform(features[0], centers[0]).numpy(), features[0].reshape(40, 6))


def test_slide_scores_use_all_spots_of_the_slide_alone(slides: tuple) -> None:
    features, centers, used = slides
    transform = fitted(plain(standardize="slide", components=None), features, centers, used)
    scored = [rows.reshape(40, 6) for rows in features]
    scored = [(rows - rows.mean(axis=0)) / (rows.std(axis=0) + 1e-6) for rows in scored]
    kept = np.concatenate([rows[mask] for rows, mask in zip(scored, used, strict=True)])
    for one, where, rows in zip(features, centers, scored, strict=True):
        expected = (rows - kept.mean(axis=0)) / kept.std(axis=0)
        assert np.allclose(transform(one, where).numpy(), expected, atol=1e-5)


def test_slides_of_another_stain_give_the_same_rows(slides: tuple) -> None:
    features, centers, used = slides
    transform = fitted(InputConfig(context=(4,), components=5), features, centers, used)
    shifted = transform(features[0] * 3 - 11, centers[0])
    assert torch.allclose(shifted, transform(features[0], centers[0]), atol=1e-4)


def test_context_is_the_mean_over_the_nearest_spots(slides: tuple) -> None:
    features, centers, used = slides
    transform = fitted(plain(context=(3, 10)), features, centers, used)
    rows = features[0].reshape(40, 6)
    expected = [rows, *(rows[nearest(centers[0], k)].mean(axis=1) for k in (3, 10))]
    assert np.allclose(transform(features[0], centers[0]).numpy(), np.concatenate(expected, axis=1), atol=1e-5)


def test_context_of_a_laid_array_does_not_depend_on_how_it_lies(slides: tuple) -> None:
    """Whatever the order of rows, and mirrored, also through components that were fitted on it."""
    y, x = (v.ravel() for v in np.mgrid[:5, :8])
    centers = np.column_stack([x + 0.5 * (y % 2), y * np.sqrt(0.75)]) * 31.0
    features = slides[0][0]
    order = np.random.default_rng(1).permutation(40)
    for config in (plain(context=(3, 8)), InputConfig(context=(3, 8), components=4)):
        transform = fitted(config, [features], [centers], [np.ones(40, bool)])
        turned = transform(features[order], (centers * (-1, 1))[order])
        assert torch.allclose(turned, transform(features, centers)[torch.from_numpy(order)], atol=1e-4)


def test_context_wider_than_the_slide_is_all_other_spots(slides: tuple) -> None:
    rows = slides[0][0][:3]
    found = InputTransform(plain(context=(24,)), {})(rows, slides[1][0][:3]).numpy()[:, 6:]
    flat = rows.reshape(3, 6)
    expected = np.stack([np.delete(flat, i, axis=0).mean(axis=0) for i in range(3)])
    assert np.allclose(found, expected, atol=1e-5)


def test_training_scores_use_the_used_spots_of_all_slides(slides: tuple) -> None:
    features, centers, used = slides
    transform = fitted(plain(standardize="training"), features, centers, used)
    rows = np.concatenate([f.reshape(40, 6)[u] for f, u in zip(features, used, strict=True)])
    expected = (features[1].reshape(40, 6) - rows.mean(axis=0)) / rows.std(axis=0)
    assert np.allclose(transform(features[1], centers[1]).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("components", [1, 3, 5])
def test_components_are_numpys_up_to_sign_and_one_factor(slides: tuple, components: int) -> None:
    features, centers, used = slides
    transform = fitted(plain(components=components), features, centers, used)
    rows = np.concatenate([f.reshape(40, 6)[u] for f, u in zip(features, used, strict=True)]).astype(np.float64)
    _, values, axes = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    expected = (features[0].reshape(40, 6) - rows.mean(axis=0)) @ axes[:components].T
    expected /= np.sqrt((values[:components] ** 2).mean() / len(rows))
    found = transform(features[0], centers[0]).numpy()
    assert found.shape == (40, components)
    sign = np.sign((found * expected).sum(axis=0))
    assert np.allclose(found * sign, expected, atol=1e-3)


def with_signs(axes: torch.Tensor) -> torch.Tensor:
    """Each axis turned so that its largest entry is positive."""
    return torch.stack([axis * axis[axis.abs().argmax()].sign() for axis in axes.T], dim=1)


@pytest.mark.parametrize("spots", [7, 4096])
@pytest.mark.parametrize("width", [3, 40], ids=["more spots than columns", "more columns than spots"])
def test_equals_the_form_that_holds_every_row(monkeypatch: pytest.MonkeyPatch, spots: int, width: int) -> None:
    """Plain torch on all expanded rows: the same reduced rows, also where sections come in pieces."""
    monkeypatch.setattr("st_predict.core.inputs.rows._PIECE_SPOTS", spots)
    rng, config = np.random.default_rng(0), InputConfig(context=(2, 9), components=6)
    spread = np.arange(1, width + 1)
    features = [(rng.normal(size=(n, 1, width)) * spread + 5).astype(np.float32) for n in (45, 60)]
    centers = [rng.uniform(0, 300, (len(rows), 2)) for rows in features]
    used = [rng.random(len(rows)) > 0.2 for rows in features]
    expanded = []
    for one, where in zip(features, centers, strict=True):
        rows = one[:, 0].astype(np.float64)
        rows = (rows - rows.mean(axis=0)) / (rows.std(axis=0) + 1e-6)
        expanded.append(np.concatenate([rows, *(rows[nearest(where, k)].mean(axis=1) for k in (2, 9))], axis=1))
    rows = torch.from_numpy(np.concatenate([e[u] for e, u in zip(expanded, used, strict=True)])).float()
    rows = (rows - rows.mean(dim=0)) / rows.std(dim=0, correction=0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        _, values, axes = torch.svd_lowrank(rows, q=22 if width == 40 else 9, niter=4)
    plain = rows @ with_signs(axes[:, :6]) / (values[:6].square().mean() / len(rows)).sqrt()

    sections = [SectionRows(config, *part[:2], used=part[2]) for part in zip(features, centers, used, strict=True)]
    transform = InputTransform.fit(config, sections)
    torch.testing.assert_close(transform.of_sections(sections), plain, rtol=1e-3, atol=2e-4)
    whole = transform(features[1], centers[1])
    torch.testing.assert_close(whole[torch.from_numpy(used[1])], plain[int(used[0].sum()) :], rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("shape", [(30, 12), (12, 30)])
def test_principal_axes_are_those_of_torch(shape: tuple[int, int]) -> None:
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(5))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        _, values, axes = torch.svd_lowrank(rows, q=12, niter=4)
    found = principal_axes(rows.__matmul__, rows.T.__matmul__, shape, 4)
    torch.testing.assert_close(found, (values[:4], with_signs(axes[:, :4])), rtol=1e-4, atol=1e-5)


def test_inputs_have_unit_mean_square_over_the_training_spots(slides: tuple) -> None:
    features, centers, _ = slides
    used = [np.ones(40, bool)] * 2
    transform = fitted(InputConfig(components=8), features, centers, used)
    rows = torch.cat([transform(f, c) for f, c in zip(features, centers, strict=True)])
    assert float(rows.square().mean()) == pytest.approx(1, rel=0.01)


def test_fit_does_not_touch_the_global_generator(slides: tuple) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    fitted(InputConfig(components=3), *slides)
    assert torch.equal(torch.rand(2), expected)


def test_same_rows_give_the_same_axes(slides: tuple) -> None:
    arrays = [fitted(InputConfig(components=5), *slides).arrays["components"] for _ in range(2)]
    assert torch.equal(*arrays)


def test_constant_features_stay_finite() -> None:
    features, centers = [np.ones((10, 1, 4), np.float32)], [np.random.default_rng(0).uniform(0, 9, (10, 2))]
    rows = fitted(InputConfig(), features, centers, [np.ones(10, bool)])(features[0], centers[0])
    assert torch.isfinite(rows).all()


def test_a_slide_of_two_spots(slides: tuple) -> None:
    transform = fitted(InputConfig(components=5), *slides)
    rows = transform(slides[0][0][:2], slides[1][0][:2])
    assert rows.shape == (2, 5) and torch.isfinite(rows).all()


def test_a_slide_of_one_spot(slides: tuple) -> None:
    """Nothing to compare with: the average spot."""
    transform = fitted(InputConfig(components=5), *slides)
    rows = transform(slides[0][0][:1], slides[1][0][:1])
    assert rows.shape == (1, 5) and torch.isfinite(rows).all()
