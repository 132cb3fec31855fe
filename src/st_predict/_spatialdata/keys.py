"""Which image, which table and which shapes of a SpatialData are meant: found where there is one, asked where not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from st_predict._spatialdata.wsi import slide_image, tile_keys
from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

PROVENANCE_KIND = "st_predict_kind"
"""Entry of our own ``uns`` records that says what they are a record of."""


OWN_TABLES = ("prediction table", "feature table")
"""Kinds of records by which a table of ours is known."""
FEATURES = "features"
"""Kind of the record of features in a table."""


class Elements(NamedTuple):
    """The elements of a section that a user names; ``None`` where there is only one to choose from."""

    image_key: str | None = None
    shapes_key: str | None = None
    table_key: str | None = None
    layer: str | None = None
    """Layer with the raw counts; ``None``: ``X``."""


class Placed(NamedTuple):
    """The elements of one section, as they were found: nobody asks for them again."""

    image: str
    shapes: str
    table: str | None
    """``None`` on an H&E-only section."""
    layer: str | None = None


class TableLink(NamedTuple):
    """How a table refers to its shapes."""

    regions: list[str]
    """Names of the shapes, one or several."""
    region_key: str
    instance_key: str


def check_spatialdata(sdata: Any) -> None:
    """Refuse what is not a SpatialData.

    Raises
    ------
    InputError
        With what was given.
    """
    from spatialdata import SpatialData

    if not isinstance(sdata, SpatialData):
        raise InputError(
            f"a {type(sdata).__name__} was given",
            where="sdata",
            expected="a SpatialData (a list or dict of them where several sections are taken)",
            remedy="read the section with st_predict.io, or spatialdata.read_zarr(path); training takes paths of stores too",
        )


def place(sdata: SpatialData, elements: Elements = Elements(), *, need_table: bool) -> Placed:
    """Find the elements of a section.

    Parameters
    ----------
    sdata
        One section.
    elements
        The user's choice.
    need_table
        Whether a section without a table is refused.

    Raises
    ------
    InputError
        If an element is missing, there are several, or the table is not linked to shapes.
    """
    image = find_image(sdata, elements.image_key)
    tables = measured_tables(sdata)
    if not tables and elements.table_key is None:
        if need_table:
            raise _nothing("table", "measured expression is needed here; attach the counts as a table")
        candidates = spot_shapes(sdata) or list(sdata.shapes)
        return Placed(image, _one("shapes", list(sdata.shapes), elements.shapes_key, candidates), None, elements.layer)
    linked = [name for name in tables if "spatialdata_attrs" in sdata.tables[name].uns]
    table = _one("table", list(sdata.tables), elements.table_key, linked or tables)
    return Placed(image, _linked_shapes(sdata, table, elements.shapes_key), table, elements.layer)


def find_image(sdata: SpatialData, image_key: str | None) -> str:
    """Settle the H&E image; that of a WSIData is the slide it reads.

    Raises
    ------
    InputError
        If there is none, or there are several.
    """
    check_spatialdata(sdata)
    slide = slide_image(sdata)
    if image_key is None and slide is not None:
        return slide
    return _one("image", list(sdata.images), image_key, _primary_images(list(sdata.images)))


def table_link(table: AnnData, name: str, shapes: str = "<shapes>") -> TableLink:
    """Region and keys of a table; ``shapes`` are those it might be linked to, for the error.

    Raises
    ------
    InputError
        If the table is not linked to shapes.
    """
    attrs = _link(table)
    regions, region_key, instance_key = _regions(table), attrs.get("region_key", ""), attrs.get("instance_key", "")
    own = f"sdata.tables[{name!r}]"
    if not regions or not all(isinstance(key, str) and key in table.obs for key in (region_key, instance_key)):
        raise InputError(
            f"table {name!r} is not linked to shapes",
            where=f"sdata.tables[{name!r}]",
            expected="a table parsed with region=, region_key= and instance_key=, whose columns are in obs",
            remedy=f"where its rows are those of the shapes, in order: {own}.obs['region'] = pandas.Categorical([{shapes!r}] * "
            f"len({own})); {own}.obs['instance_id'] = sdata.shapes[{shapes!r}].index; {own} = "
            f"spatialdata.models.TableModel.parse({own}, region={shapes!r}, region_key='region', instance_key='instance_id', "
            "overwrite_metadata=True)",
        )
    return TableLink(regions, region_key, instance_key)


def _link(table: AnnData) -> Mapping[str, Any]:
    """What ``uns`` says of the shapes that a table annotates; nothing where it says nothing that could be read."""
    found = table.uns.get("spatialdata_attrs")
    return found if isinstance(found, Mapping) else {}


def _regions(table: AnnData) -> list[str]:
    """Names of the shapes that a table annotates, each once, in whatever container they are."""
    region = _link(table).get("region")
    names = list(region) if isinstance(region, Iterable) and not isinstance(region, str) else [region]
    return list(dict.fromkeys(str(name) for name in names if name))


def is_our_table(table: AnnData) -> bool:
    """Whether a table is of ours, on an H&E-only section: a prediction or features, not measured expression."""
    kinds = {value.get(PROVENANCE_KIND) for value in table.uns.values() if isinstance(value, dict)}
    return not kinds.isdisjoint(OWN_TABLES)


def check_region(sdata: SpatialData, placed: Placed) -> None:
    """Refuse a table of which a row annotates other shapes than those of the section, or says of none what it annotates.

    Raises
    ------
    InputError
        With how many rows do, and what the first of them says.
    """
    name = str(placed.table)
    table, own = sdata.tables[name], f"sdata.tables[{name!r}]"
    link = table_link(table, name)
    regions = table.obs[link.region_key]
    inside = (regions.astype(str) == placed.shapes).to_numpy()
    if inside.all():
        return
    said = regions[~inside].tolist()[0]
    raise InputError(
        f"{(~inside).sum()} of {len(inside)} rows of table {name!r} annotate other shapes than {placed.shapes!r}, "
        f"for example {said!r}",
        where=f"{own}.obs[{link.region_key!r}]",
        expected="a table of one section",
        remedy=f"keep the rows of one region: {own} = spatialdata.models.TableModel.parse({own}[{own}.obs["
        f"{link.region_key!r}] == {placed.shapes!r}].copy(), region={placed.shapes!r}, region_key={link.region_key!r}, "
        f"instance_key={link.instance_key!r}, overwrite_metadata=True)"
        if inside.any()
        else _links(sdata, name)[0],
    )


def _linked_shapes(sdata: SpatialData, table: str, shapes_key: str | None) -> str:
    near = spot_shapes(sdata) or list(sdata.shapes)
    regions = table_link(sdata.tables[table], table, *near[:1]).regions
    shapes = _one(f"region of table {table!r}", regions, shapes_key, regions)
    if shapes not in sdata.shapes:
        raise InputError(
            f"table {table!r} annotates {shapes!r}, which is not among the shapes ({', '.join(sdata.shapes) or 'none'})",
            where=f"sdata.tables[{table!r}]",
            expected="a table that annotates spots or bins in sdata.shapes",
            remedy=" or ".join(["add those shapes", *_links(sdata, table)]),
        )
    return shapes


def _links(sdata: SpatialData, table: str) -> list[str]:
    """How to link a table to shapes that are there; nothing where there are none."""
    own, key = f"sdata.tables[{table!r}]", table_link(sdata.tables[table], table).region_key
    return [
        f"link the table to shapes that are there: {own}.obs[{key!r}] = pandas.Categorical([{shapes!r}] * len({own})); "
        f"sdata.set_table_annotates_spatialelement({table!r}, region={shapes!r})"
        for shapes in (spot_shapes(sdata) or list(sdata.shapes))[:1]
    ]


def _primary_images(names: list[str]) -> list[str]:
    """Leave out Visium's reduced copies where the full image is there."""
    full = {name.removesuffix("_full_image") for name in names if name.endswith("_full_image")}
    copies = {f"{section}_{size}_image" for section in full for size in ("hires", "lowres")}
    return [name for name in names if name not in copies]


def spot_shapes(sdata: SpatialData) -> list[str]:
    """Shapes that can only be spots: circles, and LazySlide's tiles. Other outlines may be bins, or tissue."""
    return [*(name for name, shapes in sdata.shapes.items() if "radius" in shapes), *tile_keys(sdata)]


def measured_tables(sdata: SpatialData) -> list[str]:
    """Tables that may be measured expression: neither predictions of ours nor features of LazySlide's tiles."""
    tiles = set(tile_keys(sdata))
    return [
        name for name, table in sdata.tables.items() if not is_our_table(table) and tiles.isdisjoint(_regions(table))
    ]


def _one(kind: str, names: list[str], wanted: str | None, candidates: list[str]) -> str:
    """The wanted name, or the only candidate."""
    argument = {"image": "image_key", "table": "table_key"}.get(kind, "shapes_key")
    if wanted is not None:
        if wanted not in names:
            raise InputError(
                f"there is no {kind} {wanted!r}",
                where=argument,
                expected=f"one of {', '.join(names) or '(there are none)'}",
                remedy=f"correct {argument}",
            )
        return wanted
    if not candidates:
        raise _nothing(kind, "add it to the SpatialData" if kind == "image" else "see st_predict.io for readers")
    if len(candidates) > 1:
        raise InputError(
            f"there are {len(candidates)} candidates for the {kind}: {', '.join(candidates)}",
            where=argument,
            expected=f"the name of one {kind}",
            remedy=f"pass {argument}={candidates[0]!r} (or another)",
        )
    return candidates[0]


def _nothing(kind: str, remedy: str) -> InputError:
    return InputError(
        f"the SpatialData has no {kind}", where="sdata", expected="one section with its elements", remedy=remedy
    )
