"""Readers: files in, ``SpatialData`` out, pixels left on disk; nothing here knows tiles, models or scores."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
