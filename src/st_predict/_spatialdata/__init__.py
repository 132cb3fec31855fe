"""The only door to SpatialData and AnnData: in comes an ``sdata``, out goes a Section; in comes an array, out a layer."""
