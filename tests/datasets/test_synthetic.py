"""Synthetic tissue: its layout, its truth, and that the image shows what the table says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import pearsonr
from spatialdata import SpatialData
from spatialdata.models import get_table_keys
from spatialdata.transformations import Identity, get_transformation

from st_predict import datasets
from st_predict.core.errors import InputError
from st_predict.datasets._program import Assay, express, gene_program, patient_program
from st_predict.datasets._stain import EOSIN_OD, HEMATOXYLIN_OD, Stain, draw_section
from st_predict.datasets._tissue import CELL_TYPES, REGIONS, grow_tissue, place_cells
from st_predict.datasets._traits import Traits

pytestmark = pytest.mark.one_python  # numbers; the examples draw sections too

SMALL = {"n_genes": 120, "size_um": 1000.0}


@pytest.fixture(scope="module")
def sections() -> dict[str, SpatialData]:
    return datasets.synthetic_tissue(n_sections=3, **SMALL)


@pytest.fixture(scope="module")
def default() -> SpatialData:
    return datasets.synthetic_tissue(n_sections=1)["S1"]


@pytest.fixture(scope="module")
def patients() -> dict[str, SpatialData]:
    return datasets.synthetic_tissue(n_sections=6, n_subjects=3, subjects="patients", seed=2, **SMALL)


def pixels(sdata: SpatialData, section: str) -> NDArray[np.uint8]:
    return np.moveaxis(sdata.images[f"{section}_image"].to_numpy(), 0, -1)


def log_cp10k(counts: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))


def spot_pixels(image: NDArray[np.uint8], centers: NDArray[np.float64], radius: float) -> list[NDArray[np.uint8]]:
    y, x = np.indices(image.shape[:2])
    found = []
    for cx, cy in centers:
        rows, cols = slice(int(cy - radius), int(cy + radius) + 1), slice(int(cx - radius), int(cx + radius) + 1)
        inside = np.hypot(x[rows, cols] + 0.5 - cx, y[rows, cols] + 0.5 - cy) <= radius
        found.append(image[rows, cols][inside])
    return found


def test_layout(sections: dict[str, SpatialData]) -> None:
    assert list(sections) == ["S1", "S2", "S3"]
    sdata = sections["S2"]
    image, table, circles = sdata.images["S2_image"], sdata.tables["table"], sdata.shapes["S2"]
    assert image.dims == ("c", "y", "x") and image.dtype == np.uint8
    assert image.shape == (3, 1333, 1333) and list(image.coords["c"].to_numpy()) == ["r", "g", "b"]
    assert sdata.attrs["st_predict"] == {"um_per_px": {"S2_image": 0.75}}
    for element in (image, circles):
        assert get_transformation(element, get_all=True) == {"global": Identity()}
    assert get_table_keys(table) == ("S2", "region", "instance_id")
    assert list(circles.index) == list(table.obs["instance_id"]) == list(range(table.n_obs))
    np.testing.assert_allclose(table.obsm["spatial"], np.column_stack([circles.geometry.x, circles.geometry.y]))
    np.testing.assert_allclose(circles["radius"], 55 / 2 / 0.75)
    assert set(table.obs["section"]) == set(table.obs["region"]) == {"S2"}
    assert [next(iter(set(s["table"].obs["subject"]))) for s in sections.values()] == ["P1", "P2", "P1"]
    assert table.X.format == "csr" and table.X.dtype == np.float32
    assert (table.X.data == np.round(table.X.data)).all() and table.X.data.min() > 0
    assert table.obs_names.is_unique and table.var_names.is_unique
    assert list(table.obsm["cell_types"].columns) == list(CELL_TYPES)
    assert set(table.obs["tissue_region"]) <= set(REGIONS) - {"background"}


def test_array_position_leads_to_pixels(sections: dict[str, SpatialData]) -> None:
    table = sections["S1"]["table"]
    x, y = table.obs["array_x"].to_numpy(), table.obs["array_y"].to_numpy()
    assert list(table.obs_names) == [f"{a:.0f}x{b:.0f}" for a, b in zip(x, y, strict=True)]
    assert x.max() > y.max(), "columns are counted in half pitches, rows are not"
    np.testing.assert_allclose(table.obsm["spatial"] * 0.75, np.column_stack([50 + 50 * x, 50 + 50 * np.sqrt(3) * y]))


def test_default_size(default: SpatialData) -> None:
    table = default["table"]
    assert table.n_vars == 300 and 120 <= table.n_obs <= 300
    assert 4_000 <= np.median(table.X.toarray().sum(axis=1)) <= 10_000


def test_same_seed_same_section_whatever_the_number(sections: dict[str, SpatialData]) -> None:
    again = datasets.synthetic_tissue(n_sections=2, **SMALL)
    for name, sdata in again.items():
        np.testing.assert_array_equal(pixels(sdata, name), pixels(sections[name], name))
        ours, theirs = sdata["table"], sections[name]["table"]
        assert (ours.X != theirs.X).nnz == 0
        np.testing.assert_array_equal(ours.layers["truth"], theirs.layers["truth"])


def test_other_seed_other_tissue_same_program(sections: dict[str, SpatialData]) -> None:
    other = datasets.synthetic_tissue(n_sections=1, seed=1, **SMALL)["S1"]
    assert (pixels(other, "S1") != pixels(sections["S1"], "S1")).mean() > 0.2
    ours, theirs = other["table"].varm["loadings"], sections["S1"]["table"].varm["loadings"]
    assert ours.equals(theirs)


def test_default_draws_what_it_always_drew() -> None:
    """Other ways to draw must not move a single random number of this one."""
    sdata = datasets.synthetic_tissue(n_sections=2, n_genes=40, size_um=600.0, um_per_px=2.0)["S2"]
    table = sdata["table"]
    assert table.shape == (23, 40)
    assert table.X[:6].toarray().sum(axis=1).tolist() == [5676, 6257, 5653, 7856, 3900, 6145]
    assert table.obsm["cell_types"].sum().tolist() == [95, 70, 21, 10, 22, 11]
    assert sdata.images["S2_image"].to_numpy()[:, 150, 100:106].tolist() == [
        [190, 197, 112, 99, 163, 117],
        [133, 138, 64, 54, 106, 72],
        [196, 199, 147, 137, 178, 152],
    ]


def test_patients_differ_in_every_layer_and_their_sections_do_not(patients: dict[str, SpatialData]) -> None:
    of_subject = [[patients["S1"], patients["S4"]], [patients["S2"], patients["S5"]], [patients["S3"], patients["S6"]]]

    def spread(value: Callable[[SpatialData], float]) -> tuple[float, float]:
        """Between subjects, and within one."""
        values = np.array([[value(sdata) for sdata in both] for both in of_subject])
        return float(values.mean(axis=1).std()), float(np.ptp(values, axis=1).mean() / 2)

    def color(sdata: SpatialData) -> float:
        image = pixels(sdata, str(sdata["table"].obs["section"].iloc[0]))
        red, green, _ = image[image.min(axis=-1) < 200].reshape(-1, 3).mean(axis=0)
        return float(red - green)

    for value in (
        color,
        lambda sdata: np.log(np.median(sdata["table"].X.toarray().sum(axis=1))),
        lambda sdata: (sdata["table"].obs["tissue_region"] == "tumor").mean(),
        lambda sdata: sdata["table"].layers["truth"][:, sdata["table"].var["program"] == "macrophage"].mean(),
    ):
        between, within = spread(value)
        assert between > 2 * within


def test_own_loadings_belong_to_the_subject(sections: dict[str, SpatialData], patients: dict[str, SpatialData]) -> None:
    own = {name: sdata["table"].varm["subject_loadings"] for name, sdata in patients.items()}
    assert own["S1"].equals(own["S4"]) and not own["S1"].equals(own["S2"])
    common = patients["S1"]["table"].varm["loadings"]
    assert common.equals(sections["S1"]["table"].varm["loadings"]), "one program, however subjects differ"
    alike = sections["S1"]["table"].varm["subject_loadings"] / common
    assert np.ptp(alike.to_numpy(), axis=1).max() < 1e-9 < np.ptp(alike.to_numpy(), axis=0).min(), (
        "a factor on each gene"
    )


def test_patients_rewire_some_genes_and_keep_most() -> None:
    program = gene_program(600)
    fates = np.zeros(3)
    for index, name in enumerate(CELL_TYPES):
        marker = (program.group == name) & (program.loadings.argmax(axis=1) == index)
        for seed in range(20):
            own = patient_program(np.random.default_rng(seed), program).loadings[marker]
            kept = own.argmax(axis=1) == index
            contrast = own.max(axis=1) / np.median(own, axis=1)
            fates += [kept.sum(), (~kept & (contrast > 3.5)).sum(), (~kept & (contrast <= 3.5)).sum()]
    kept, rewired, off = fates / fates.sum()
    assert 0.5 < kept < 0.6 and 0.25 < rewired < 0.35 and 0.1 < off < 0.2
    unmoved = np.isin(program.group, ["house", "noise"])
    own = patient_program(np.random.default_rng(0), program).loadings[unmoved] / program.loadings[unmoved]
    assert len(np.unique(own.round(9))) == 2, "a strength of the program, nothing else"


def test_truth_follows_the_loadings_of_its_own_patient(patients: dict[str, SpatialData]) -> None:
    """What a section's cells express is told by its subject's loadings, better than by the common ones."""

    def told(sdata: SpatialData, key: str) -> float:
        table = sdata["table"]
        markers = np.isin(table.var["program"], CELL_TYPES)
        cells = table.obsm["cell_types"].to_numpy()
        share = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)
        mean = share @ table.varm[key].to_numpy()[markers].T
        truth = np.expm1(table.layers["truth"][:, markers])
        return float(np.mean([pearsonr(mean[:, g], truth[:, g]).statistic for g in range(markers.sum())]))

    for sdata in patients.values():
        assert told(sdata, "subject_loadings") > told(sdata, "loadings") + 0.1


def test_what_cells_express_carries_over_to_a_section_and_hardly_to_a_patient(
    sections: dict[str, SpatialData], patients: dict[str, SpatialData]
) -> None:
    """A linear map from the true cells to expression, fitted on one section: patients differ beyond their images."""

    def carries(source: SpatialData, target: SpatialData) -> float:
        (x, y), (new, truth) = (
            (s["table"].obsm["cell_types"].to_numpy(), s["table"].layers["truth"]) for s in (source, target)
        )
        x, new = (c / np.maximum(c.sum(axis=1, keepdims=True), 1) for c in (x, new))
        weight = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ (y - y.mean(axis=0)))
        predicted = (new - new.mean(axis=0)) @ weight
        return float(np.mean([pearsonr(predicted[:, g], truth[:, g]).statistic for g in range(truth.shape[1])]))

    same = np.mean([carries(patients[a], patients[b]) for a, b in (("S1", "S4"), ("S2", "S5"), ("S3", "S6"))])
    other = np.mean([carries(patients[a], patients[b]) for a, b in (("S1", "S5"), ("S2", "S6"), ("S3", "S4"))])
    assert other < 0.6 * same
    assert carries(sections["S1"], sections["S2"]) > 0.9 * carries(sections["S1"], sections["S3"]), "alike: P2 as P1"


def test_depth_and_glass_are_the_assays() -> None:
    program = gene_program(60)
    cells = np.tile([8.0, 1, 0, 0, 0, 0], (200, 1))

    def drawn(assay: Assay) -> tuple[float, float]:
        one = express(
            np.random.default_rng(0), program, cells=cells, neighborhood=cells / 9, shift=np.ones(60), assay=assay
        )
        glass = np.expm1(one.truth)[:, program.group == "adipocyte"].mean()  # of which the spots hold no cell
        return float(np.median(one.counts.sum(axis=1))), float(glass)

    usual, deep = drawn(Assay()), drawn(Assay(median_umi=26_000.0, ambient_cells=30.0))
    assert deep[0] / usual[0] == pytest.approx(4.0, rel=0.02)
    assert deep[1] > 1.4 * usual[1]


def test_slides_of_one_subject_are_stained_more_alike() -> None:
    rng = np.random.default_rng(0)
    blocks = [Stain.draw(rng) for _ in range(30)]
    slides = [[block.vary(rng) for _ in range(4)] for block in blocks]
    for name in ("hematoxylin", "eosin"):
        density = np.array([[getattr(slide, name).sum() for slide in block] for block in slides])
        assert density.mean(axis=1).std() > 2 * density.std(axis=1).mean() > 0


@pytest.mark.parametrize("seed", range(12))
def test_any_patient_can_be_drawn(seed: int) -> None:
    """Extreme traits, too, leave a whole tissue of two stains, with nuclei."""
    sections = datasets.synthetic_tissue(n_genes=20, size_um=600.0, um_per_px=2.0, subjects="patients", seed=seed)
    for name, sdata in sections.items():
        table, image = sdata["table"], pixels(sdata, name)
        assert table.n_obs >= 5 and table.X.sum(axis=1).min() > 0
        assert np.isfinite(table.layers["truth"]).all()
        assert table.obsm["cell_types"]["tumor"].sum() > 0
        assert image[:10].mean() > 205, "glass"
        red, green, blue = image[image.min(axis=-1) < 190].reshape(-1, 3).mean(axis=0)
        assert min(red, blue) > green + 10, "pink to purple"


def test_traits_and_scan_reach_the_drawing() -> None:
    plain = {"tumor": 0.4, "immune": 0.1, "fat": 0.1}

    def drawn(traits: Traits, stain: Stain) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
        tissue = grow_tissue(np.random.default_rng(0), 900.0, traits)
        cells = place_cells(np.random.default_rng(0), tissue, 900.0)
        image = draw_section(np.random.default_rng(0), tissue, cells, stain, size_px=900, um_per_px=1.0)
        return np.bincount(cells.kind, minlength=len(CELL_TYPES)), image

    usual_stain = Stain(HEMATOXYLIN_OD, EOSIN_OD)
    counts, image = drawn(Traits(**plain), usual_stain)
    tumor, lymphocyte = CELL_TYPES.index("tumor"), CELL_TYPES.index("lymphocyte")
    assert drawn(Traits(**plain, cellularity=0.5), usual_stain)[0][tumor] < 0.65 * counts[tumor]
    assert drawn(Traits(**plain, lymphocytes=0.1), usual_stain)[0][lymphocyte] < 0.9 * counts[lymphocyte]
    assert drawn(Traits(**plain, nuclear_size=1.4), usual_stain)[0][tumor] < counts[tumor], "they need more room"
    assert drawn(Traits(**plain, ducts=0), usual_stain)[0][CELL_TYPES.index("epithelial")] == 0

    def sharpness(one: NDArray[np.uint8]) -> float:
        return float(np.abs(np.diff(one[..., 1].astype(float), axis=0)).mean())

    assert sharpness(drawn(Traits(**plain), replace(usual_stain, focus_um=1.3))[1]) < 0.8 * sharpness(image)
    dimmed = drawn(Traits(**plain), replace(usual_stain, light=(1.0, 1.0, 0.9)))[1]
    assert dimmed[:10, :, 2].mean() / image[:10, :, 2].mean() == pytest.approx(0.9, abs=0.01)
    steeper = drawn(Traits(**plain), replace(usual_stain, tone=1.25))[1]
    assert np.percentile(steeper, 1) < np.percentile(image, 1) < image.mean() < steeper.mean()


def test_stain_reaches_the_pixels() -> None:
    tissue = grow_tissue(np.random.default_rng(0), 600.0, Traits(tumor=0.4, immune=0.1, fat=0.1))
    cells = place_cells(np.random.default_rng(0), tissue, 600.0)

    def mean_color(hematoxylin: float, eosin: float) -> NDArray[np.float64]:
        stain = Stain(hematoxylin * HEMATOXYLIN_OD, eosin * EOSIN_OD)
        image = draw_section(np.random.default_rng(0), tissue, cells, stain, size_px=600, um_per_px=1.0)
        return image.mean(axis=(0, 1))

    usual = mean_color(1.0, 1.0)
    darker, pinker = usual - mean_color(1.5, 1.0), usual - mean_color(1.0, 1.5)
    assert darker.min() > 1 and darker[0] > 3 * pinker[0], "hematoxylin takes red away, eosin hardly"
    assert pinker[1] > 2 * pinker[2] > 0, "eosin takes green most"


def test_looks_like_hematoxylin_and_eosin(default: SpatialData) -> None:
    image = pixels(default, "S1")
    assert image[:20].mean() > 230, "the margin is glass"
    red, green, blue = image[image.min(axis=-1) < 200].reshape(-1, 3).mean(axis=0)
    assert min(red, blue) > green + 30, "pink to purple"
    table = default["table"]
    spots = spot_pixels(image, table.obsm["spatial"], 55 / 2 / 0.75)
    mean = np.array([one.mean(axis=0) for one in spots])
    region = table.obs["tissue_region"].to_numpy()
    assert mean[region == "fat"].mean() > mean[region == "stroma"].mean() > mean[region == "tumor"].mean()


def test_drawn_nuclei_are_the_counted_ones(default: SpatialData) -> None:
    """Dark pixels must follow the counts at the spot and at no mirrored or swapped place."""
    image, table = pixels(default, "S1"), default["table"]
    centers, side = table.obsm["spatial"], image.shape[0]
    counts = table.obsm["cell_types"]
    area_um2 = counts.to_numpy() @ [79, 28, 40, 48, 42, 25]  # of one nucleus of each type

    def dark(where: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([(one[:, 0] < 150).mean() for one in spot_pixels(image, where, 55 / 2 / 0.75)])

    assert pearsonr(dark(centers), area_um2).statistic > 0.9
    for wrong in (centers[:, ::-1], side - centers, centers * [1, -1] + [0, side], centers * [-1, 1] + [side, 0]):
        assert pearsonr(dark(wrong), area_um2).statistic < 0.6


def test_truth_is_the_mean_of_the_counts() -> None:
    """With the biology fixed, normalized counts of many draws average to the truth."""
    program = gene_program(60)
    cells = np.array([[8.0, 1, 0, 0, 0, 0], [0, 1, 3, 1, 0, 0]])
    around = cells / cells.sum(axis=1, keepdims=True)
    draws = [
        express(np.random.default_rng(i), program, cells=cells, neighborhood=around, shift=np.ones(60))
        for i in range(400)
    ]
    mean_truth = np.mean([np.expm1(one.truth) for one in draws], axis=0)
    mean_counts = np.mean([1e4 * one.counts / one.counts.sum(axis=1, keepdims=True) for one in draws], axis=0)
    np.testing.assert_allclose(mean_truth.sum(axis=1), 1e4, rtol=1e-4)
    expressed = mean_truth > 20
    assert expressed.sum() > 60
    np.testing.assert_allclose(mean_counts[expressed], mean_truth[expressed], rtol=0.12)


def test_truth_explains_the_counts(default: SpatialData) -> None:
    table = default["table"]
    truth, measured = table.layers["truth"], log_cp10k(table.X.toarray())
    assert truth.dtype == np.float32 and truth.shape == table.shape
    np.testing.assert_allclose(np.expm1(truth).sum(axis=1), 1e4, rtol=1e-3)
    correlation = [pearsonr(truth[:, g], measured[:, g]).statistic for g in range(table.n_vars)]
    assert 0.5 < np.median(correlation) < 0.95, "related, and noisy"
    assert pearsonr(truth.mean(axis=0), measured.mean(axis=0)).statistic > 0.95


def test_genes_follow_their_program_and_noise_follows_nothing(default: SpatialData) -> None:
    table = default["table"]
    truth, program = table.layers["truth"], table.var["program"].to_numpy()
    counts = table.obsm["cell_types"].to_numpy()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for index, name in enumerate(CELL_TYPES):
        markers = truth[:, program == name]
        assert np.mean([pearsonr(markers[:, g], share[:, index]).statistic for g in range(markers.shape[1])]) > 0.45
    noise = truth[:, program == "noise"]
    assert noise.shape[1] == 24 and noise.std(axis=0).min() > 0.2, "noise varies"
    to_cells = [[pearsonr(gene, kind).statistic for gene in noise.T] for kind in share.T]
    assert np.abs(np.mean(to_cells, axis=1)).max() < 0.05, "no cell type moves all noise genes together"
    assert np.abs(to_cells).max() < 0.3


def test_niche_genes_answer_to_the_neighborhood() -> None:
    program = gene_program(100)
    cells = np.tile([4.0, 0, 1, 0, 0, 0], (300, 1))
    around = np.tile([0.8, 0.0, 0.2, 0, 0, 0], (300, 1))
    around[150:] = [0.3, 0.5, 0.2, 0, 0, 0]  # the same spots, now among lymphocytes
    truth = express(np.random.default_rng(0), program, cells=cells, neighborhood=around, shift=np.ones(100)).truth
    rise = truth[150:].mean(axis=0) - truth[:150].mean(axis=0)
    assert rise[program.group == "niche_lymphocyte"].min() > 0.5
    assert rise[program.group == "niche_tumor"].max() < -0.3
    assert np.abs(rise[program.group == "noise"]).max() < 0.25


@pytest.mark.parametrize("n_genes", [20, 37, 120])
def test_program_has_as_many_genes_as_asked(n_genes: int) -> None:
    program = gene_program(n_genes)
    assert len(program.genes) == len(set(program.genes)) == n_genes
    assert {*CELL_TYPES, "house", "noise", "niche_tumor", "niche_lymphocyte"} == set(program.group)
    assert (program.loadings > 0).all()


@pytest.mark.parametrize("seed", range(12))
def test_smallest_tissue_is_whole(seed: int) -> None:
    sections = datasets.synthetic_tissue(n_genes=20, size_um=600.0, um_per_px=2.0, seed=seed)
    for sdata in sections.values():
        table = sdata["table"]
        assert table.n_obs >= 5 and table.X.sum(axis=1).min() > 0
        assert np.isfinite(table.layers["truth"]).all()


@pytest.mark.parametrize(
    ("argument", "value", "expected"),
    [
        ("n_sections", 0, "a whole number, 1 to 1,000"),
        ("n_subjects", 0, "a whole number, 1 to 1,000"),
        ("n_genes", 5, "a whole number, 20 to 100,000"),
        ("size_um", 100.0, "a length in um, 600 to 10000"),
        ("um_per_px", 0.0, "um a pixel, 0.2 to 2"),
    ],
)
def test_refuses_what_cannot_be_drawn(argument: str, value: float, expected: str) -> None:
    with pytest.raises(InputError, match=f"{argument} is {value}") as caught:
        datasets.synthetic_tissue(**{argument: value})
    assert caught.value.expected == expected


def test_refuses_subjects_of_an_unknown_kind() -> None:
    with pytest.raises(InputError, match="subjects is 'strangers'") as caught:
        datasets.synthetic_tissue(subjects="strangers")
    assert caught.value.expected == "'alike' or 'patients'"
