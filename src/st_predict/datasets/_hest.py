"""``hest``: samples of HEST-1k from its hub, each file downloaded once. Reading is ``io.hest``'s work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from st_predict.core.arguments.checked import checked
from st_predict.core.errors import InputError
from st_predict.io._hest import hest as read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spatialdata import SpatialData

_REPOSITORY = "MahmoodLab/hest"
_PAGE = f"https://huggingface.co/datasets/{_REPOSITORY}"
_ALWAYS = ("st/{}.h5ad", "metadata/{}.json")
_SLIDE, _PATCHES = "wsis/{}.tif", "patches/{}.h5"


@checked
def hest(ids: str | Sequence[str], *, slides: bool = True, revision: str | None = None) -> dict[str, SpatialData]:
    """Load samples of HEST-1k (Jaume et al. 2024), downloaded once into the cache of ``huggingface_hub``.

    To download the data, accept their terms (CC BY-NC-SA 4.0) on the page of the data set, and log in: run ``hf auth
    login``, or put a token into the environment variable ``HF_TOKEN``. A slide has hundreds of megabytes to many
    gigabytes.

    Parameters
    ----------
    ids
        Names of samples, such as ``"TENX99"``. The page of the data set has a table of all samples.
    slides
        ``False`` downloads the patches of the spots in place of the slides. They are much smaller, and enough for tiles
        of 112 um; see :func:`st_predict.io.hest`.
    revision
        The version of the data set: a tag or commit of its repository. ``None``: the newest.

    Returns
    -------
    dict
        Sample name to SpatialData, as from :func:`st_predict.io.hest`.

    Raises
    ------
    InputError
        There is no such sample, or the terms were not accepted.
    ConnectionError
        The hub cannot be reached, and the cache does not have the files.

    Examples
    --------
    Without a network, what is in the cache is read:

    >>> samples = stp.datasets.hest(["S1", "S2"])
    >>> samples["S1"].tables["table"].shape
    (41, 60)
    """
    names = [ids] if isinstance(ids, str) else [str(name) for name in ids]
    if not names or any(not name.replace("_", "").replace("-", "").isalnum() for name in names):
        raise InputError(
            f"{ids!r} names no sample" if not names else f"{names} are no names of samples",
            where="hest(ids=)",
            expected="one or several names, such as 'TENX99'",
            remedy=f"see the table of samples at {_PAGE}",
        )
    wanted = [part.format(name) for name in names for part in (*_ALWAYS, _SLIDE if slides else _PATCHES)]
    folder = _download(wanted, revision)
    _check_there(folder, names, wanted)
    return {name: read(folder, name) for name in names}


def _download(wanted: list[str], revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is that of the client it has
        GatedRepoError,
        HTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(snapshot_download(_REPOSITORY, repo_type="dataset", revision=revision, allow_patterns=wanted))
    except RevisionNotFoundError as error:
        raise InputError(
            f"{_REPOSITORY} has no version {revision!r}",
            where="hest(revision=)",
            expected="a tag or commit of the repository",
            remedy=f"leave revision out, or see {_PAGE}/tree/main",
        ) from error
    except (GatedRepoError, RepositoryNotFoundError) as error:  # without a token the hub hides what is not open
        raise InputError(
            f"the hub gives no access to {_REPOSITORY}",
            where="hest(ids=)",
            expected="an account that has accepted the terms of the data set, and its token",
            remedy=f"open {_PAGE}, accept the terms, then run: hf auth login (or set HF_TOKEN to a token of yours)",
        ) from error
    except (LocalEntryNotFoundError, HTTPError, OSError) as error:
        raise ConnectionError(
            f"{_REPOSITORY} cannot be downloaded: {' '.join(str(error).split())[:200]}\n"
            f"  remedy:   connect to the network (and unset HF_HUB_OFFLINE, if it is set); or download the files elsewhere "
            f"from {_PAGE} and read them with st_predict.io.hest(folder, sample)"
        ) from error


def _check_there(folder: Path, names: list[str], wanted: list[str]) -> None:
    """Every file is there: a hub gives what it has of a list, and an interrupted download what it got."""
    missing = [path for path in wanted if not (folder / path).is_file()]
    if not missing:
        return
    unknown = [name for name in names if _ALWAYS[0].format(name) in missing]
    raise InputError(
        f"{_REPOSITORY} has no sample {', '.join(unknown)}, or the cache does not have it"
        if unknown
        else f"{len(missing)} files are not there: {', '.join(missing)}",
        where="hest(ids=)",
        expected="names of samples that the data set has whole",
        remedy=f"see the table of samples at {_PAGE}; if a name is right, run this again with the network"
        + ("" if unknown else ", or try slides=False (or True)"),
    )
