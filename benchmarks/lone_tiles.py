"""What a model loses where LazySlide hands it tiles one by one, without the slide they are from.

python benchmarks/lone_tiles.py

Trained on her2st C2 to C4, scored on C5 (of the same patient) at the spots that were measured: by ``st_predict.tl.predict``
and by ``lazyslide.tl.tile_prediction`` on square tiles around them, as wide as the model's widest. Both see the same
pixels of the same image. The sections are read from the folder in ST_PREDICT_DATA, or downloaded.
"""

from __future__ import annotations

import lazyslide as zs
import numpy as np
import pandas as pd
import wsidata
from spatialdata import SpatialData

import st_predict as stp
from st_predict.core.log import quiet
from st_predict.core.model.model import Model

TRAINED_ON, UNSEEN = ["C2", "C3", "C4"], "C5"
MODELS = {
    "nh2st": {},
    "ridge": {},
    'ridge, context=(), standardize="training"': {"context": (), "standardize": "training"},
}


def whole_slide(section: SpatialData, model: Model) -> float:
    """Mean PCC of the section predicted at once."""
    stp.tl.predict(section, model)
    return float(stp.tl.evaluate(section)["pcc"].mean())


def one_by_one(section: SpatialData, model: Model) -> float:
    """Mean PCC of its spots predicted by LazySlide from a tile each."""
    table, mpp = section["table"], section.attrs["st_predict"]["um_per_px"][f"{UNSEEN}_image"]
    tile_px = round(max(model.tiles.widths_um) / mpp)
    image = section.images[f"{UNSEEN}_image"]
    wsi = wsidata.open_wsi(SpatialData(images={"image": image}), image_key="image", store=None)
    wsi.set_mpp(mpp)
    corners = np.round(table.obsm["spatial"] - tile_px / 2).astype(int)
    spec = wsidata.TileSpec.from_wsidata(wsi, tile_px=tile_px)
    wsidata.io.add_tiles(wsi, "tiles", corners, spec, np.zeros(len(corners), int))
    zs.tl.tile_prediction(wsi, model, pbar=False)
    table.obsm["predicted"] = wsi.shapes["tiles"][list(model.columns)].set_axis(table.obs_names)
    return float(stp.tl.evaluate(section)["pcc"].mean())


def main() -> None:
    """Print the mean PCC of every model: on the training sections while each was held out, and on the unseen one both ways."""
    sections = stp.datasets.her2st(sections=[*TRAINED_ON, UNSEEN])
    unseen = sections.pop(UNSEEN)
    rows = {}
    with quiet():
        for name, settings in MODELS.items():
            model = stp.tl.train(sections, **{"method": name.split(",")[0], **settings})
            rows[name] = {
                "held out": model.held_out["pcc"][model.method].mean(),
                "tl.predict": whole_slide(unseen, model),
                "tile_prediction": one_by_one(unseen, model),
            }
    spots = stp.tl.evaluate(unseen).attrs["n_spots"]
    print(f"mean PCC of {len(model.panel)} genes over {spots} spots of {UNSEEN}, trained on {', '.join(TRAINED_ON)}")
    print("(held out: the mean over these three, each predicted whole by a model of the other two)")
    print(pd.DataFrame(rows).T.round(3).to_string())


if __name__ == "__main__":
    main()
