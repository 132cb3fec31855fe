"""Data sets: synthetic tissue with known truth, and public data, checked by checksum or read from a local folder."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
