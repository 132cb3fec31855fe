"""Look: expression over the image, spots on the tissue, how training went, and how well methods and genes did."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
