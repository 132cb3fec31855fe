"""Readers: files in, ``SpatialData`` out, pixels left on disk; nothing here knows tiles, models or scores."""

from __future__ import annotations

from st_predict.io._anndata import anndata
from st_predict.io._hest import hest
from st_predict.io._legacy_st import legacy_st
from st_predict.io._slide import slide, slide_series
from st_predict.io._visium import visium

__all__ = ["anndata", "hest", "legacy_st", "slide", "slide_series", "visium"]
