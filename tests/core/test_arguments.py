"""Kinds of arguments: what each takes and what it says of the rest; every public argument is declared, none in vain."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import st_predict as stp
from st_predict.core.arguments.checked import check_arguments, checked, declared
from st_predict.core.arguments.declared import DECLARED
from st_predict.core.errors import InputError

ROOMS = ("io", "pp", "tl", "pl", "datasets")
METHODS = (
    "anchored", "distance", "genes_on", "is_of_another", "predict_features", "provenance", "save", "shift",
)  # fmt: skip
"""What a user calls on a model, with arguments."""


def doors() -> dict[str, Any]:
    """Every public function that takes arguments, by its own name."""
    functions = {
        f"{room}.{name}": getattr(getattr(stp, room), name) for room in ROOMS for name in getattr(stp, room).__all__
    }
    return {"to_anndata": stp.to_anndata, **functions, **{name: getattr(stp.Model, name) for name in METHODS}}


def test_every_argument_is_declared_and_no_declaration_is_in_vain() -> None:
    asked = {
        declared(function.__name__, name)
        for function in doors().values()
        for name in inspect.signature(function).parameters
        if name != "self"
    }
    assert asked == DECLARED.keys()


@pytest.mark.parametrize("verb", doors())
def test_every_door_is_checked(verb: str) -> None:
    function = doors()[verb]
    assert function.__wrapped__.__name__ == verb.split(".")[-1]
    assert function.__doc__
    assert inspect.signature(function) == inspect.signature(inspect.unwrap(function))


def test_an_argument_that_is_not_declared_is_found_when_the_function_is_defined() -> None:
    with pytest.raises(KeyError, match="nobody_declared_this"):

        @checked
        def verb(nobody_declared_this: int) -> None:
            """Never made."""


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("seed", np.int64(3), 3),
        ("seed", np.array(3), 3),
        ("seed", 2**32 - 1, 2**32 - 1),
        ("min_counts", np.float32(0.5), 0.5),
        ("min_counts", 500, 500),
        ("min_counts", np.uint8(5), 5),
        ("resume", np.True_, True),
        ("genes", np.int32(5), 5),
        ("genes", "A", "A"),
        ("genes", [" A", "B\u2009"], ["A", "B"]),
        ("subject", " P1 ", "P1"),
        ("groups", [" a", "a"], ["a", "a"]),
        ("gene_sets", {" T ": ["A"]}, {"T": ["A"]}),
        ("shift", 0, 0.0),
        ("genes", ("A", "B"), ("A", "B")),
        ("genes", np.array(["A", "B"]), ["A", "B"]),
        ("genes", pd.Index(["A", "B"]), ["A", "B"]),
        ("genes", pd.Series(["A", "B"]), ["A", "B"]),
        ("genes", {"A": 1, "B": 2}.keys(), ["A", "B"]),
        ("tile_um", np.array([112.0, 224.0]), [112.0, 224.0]),
        ("tile_um", 112, 112),
        ("context", (), ()),
        ("out_dir", "a", "a"),
        ("out_dir", Path("a"), Path("a")),
        ("key_added", "肺癌_1.b-c", "肺癌_1.b-c"),
        ("interval", np.float64(0.9), 0.9),
        ("stain_jitter", 0, 0),
        ("gene_sets", {"T": {"A"}, "B": ["C", "D"]}, {"T": {"A"}, "B": ["C", "D"]}),
        ("devices", "auto", "auto"),
        ("um_per_px", None, None),
    ],
)
def test_what_is_right_is_taken_in_plain_types(name: str, value: Any, taken: Any) -> None:
    found = DECLARED[name].check(value, name)
    assert found == taken
    assert type(found) is type(taken)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("seed", "5", "seed is '5' (text)\n  where:    seed\n  expected: a whole number, 0 to 4,294,967,295\n"),
        ("seed", True, "seed is True\n"),
        ("seed", -1, "seed is -1\n"),
        ("seed", 2**70, "seed is 1180591620717411303424\n"),
        pytest.param("seed", 10**5000, "seed is a number of thousands of digits\n", id="digits"),
        ("seed", 5.0, "seed is 5.0\n"),
        ("seed", None, "seed is None\n"),
        ("min_counts", float("nan"), "min_counts is nan\n  where:    min_counts\n  expected: a finite number, 0 to 1e+09\n"),
        ("min_counts", [5], "min_counts is [5] (list)\n"),
        ("learning_rate", 0, "learning_rate is 0\n  where:    learning_rate\n  expected: a finite number, over 0 and under 100\n"),
        ("resume", "no", "resume is 'no' (text)\n  where:    resume\n  expected: True or False\n"),
        ("key_added", "", "key_added is '', which is empty\n"),
        ("key_added", "a/b", "key_added is 'a/b' (text)\n  where:    key_added\n  expected: letters and digits of any script"),
        ("key_added", ".", "key_added is '.' (text)\n"),
        ("key_added", "x" * 300, "key_added is 'xxx"),
        ("genes", {"A"}, "genes is {'A'} (set)\n"),
        ("genes", (gene for gene in "AB"), "genes is of type generator\n"),
        ("genes", pd.DataFrame({"a": [1]}), "genes is of type DataFrame\n"),
        ("genes", [], "genes is [] (list), which is empty\n"),
        ("genes", ["A", 5], "genes[1] is 5\n  where:    genes\n  expected: the name of a gene or of a gene set, as text\n"),
        ("genes", ["A", "B", "A"], "genes is a list in which 'A' (text) stands twice\n"),
        ("genes", b"A", "genes is b'A' (bytes)\n"),
        ("out_dir", 5, "out_dir is 5\n  where:    out_dir\n  expected: a folder to write, as text or as a Path\n"),
        ("out_dir", "a\0b", "out_dir is 'a\\x00b' (text)\n"),
        ("out_dir", "a/" + "x" * 300, "out_dir is a path with a name of 300 bytes\n"),
        ("layout", "Hex", "layout is 'Hex' (text)\n  where:    layout\n  expected: 'hex' or 'square'\n"),
        ("interval", 90, "interval is 90\n  where:    interval\n  expected: 0.5, 0.8, 0.9 or 0.95; or None\n"),
        ("sdata", {}, "sdata is {} (dict)\n  where:    sdata\n  expected: a SpatialData, one section\n  remedy:   read the section"),
        ("model", stp.Model, "model is the class Model\n"),
        ("gene_sets", {"T": ["A", None]}, "gene_sets['T'][1] is None\n"),
        (
            "gene_sets",
            {"a\udcff": ["A"]},
            "gene_sets, of which a key is 'a\\udcff' (text)\n  where:    gene_sets\n"
            "  expected: the name of a gene set, as text that files can hold\n  remedy:   gene_sets={",
        ),
        ("gene_sets", {"T": ["\udcff"]}, "gene_sets['T'][0] is '\\udcff' (text)\n"),
        ("genes", "\ufeff", "genes is '\\ufeff' (text)\n"),
        ("train.sdata", {"\udcff": "a.zarr"}, "train.sdata, of which a key is '\\udcff' (text)\n"),
        ("subject", "P\udcff", "subject is 'P\\udcff' (text)\n"),
        ("gene_sets", {5: ["A"]}, "gene_sets, of which a key is 5\n"),
        ("methods", {"mine": {"members": "3"}}, "methods['mine']['members'] is '3' (text)\n"),
        ("axes", [1, 2], "axes[0] is 1\n"),
        ("features", np.ones((3, 3)), "features is an array (3, 3) of float64\n"),
        ("features", np.ma.masked_less(np.zeros((3, 3, 3)), 1), "features is an array (3, 3, 3) with masked values\n"),
        ("features", np.full((3, 3, 3), 1e30), "features is an array (3, 3, 3) with NaN, infinity or numbers too large\n"),
        ("genes", ["A", " A"], "genes is a list in which 'A' (text) stands twice\n"),
        ("gene_sets", {"T": ["A"], "T ": ["B"]}, "gene_sets is a dict in which 'T' (text) stands twice\n"),
        ("shift", -5, "shift is -5\n  where:    shift\n  expected: a distance, 0 to 1e+300\n"),
        ("um_per_px", 500, "um_per_px is 500\n  where:    um_per_px\n  expected: micrometers a pixel"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(name: str, value: Any, said: str) -> None:
    with pytest.raises(InputError) as error:
        DECLARED[name].check(value, name)
    assert str(error.value).startswith(said)
    assert error.value.expected and error.value.remedy


@pytest.mark.parametrize("name", ["a", "A1.b-c_d", "ä", "肺癌", "a b", "a/b", "", "__x", ".x", "..", "$x$"])
def test_names_that_are_taken_are_those_of_spatialdata(name: str) -> None:
    from spatialdata._core.validation import check_valid_name

    def taken(check: Any) -> bool:
        try:
            check(name)
        except ValueError:
            return False
        return True

    ours = taken(lambda name: DECLARED["key_added"].check(name, "key_added"))
    assert ours == (taken(check_valid_name) and not name.startswith("."))  # a hidden file would not be found again


@pytest.mark.parametrize("name", ["-x", "NUL", "con.h5ad", "COM1", "a."])
def test_names_that_no_file_has_everywhere_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="^key_added is "):
        DECLARED["key_added"].check(name, "key_added")
    for other in (f"x{name}x", "console", "COM", "a.b"):
        DECLARED["key_added"].check(other, "key_added")


def test_names_of_arguments_are_left_to_python() -> None:
    with pytest.raises(TypeError, match=r"spot_grid\(\) got an unexpected keyword argument 'pitch'"):
        stp.pp.spot_grid(None, pitch=5)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"load_model\(\) missing 1 required positional argument: 'path'"):
        stp.tl.load_model()  # type: ignore[call-arg]


def test_arguments_are_checked_before_their_verb_is_called() -> None:
    assert check_arguments("cross_validate", {"seed": np.int64(1), "methods": ["ridge"]}) == {
        "seed": 1,
        "methods": ["ridge"],
    }
    with pytest.raises(InputError, match="sections is 5"):
        check_arguments("cross_validate", {"sections": 5})
