"""What a publication states about its method, setting by setting, and why a preset differs from it. Computes nothing.

Every method's file ends with its own ``PUBLISHED``. The settings of a preset are not written down there. They are
looked up where training looks them up, so a table of both is never out of date.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NOT_STATED = "not stated"
"""A published value where paper and code leave one open; nothing differs from it."""


@dataclass(frozen=True)
class Published:
    """One setting as a publication has it.

    Parameters
    ----------
    setting
        A setting of the method (``"width"``), a fact of the training (``"batch"``), or, with ``built``, a part of the network.
    value
        Its value in the publication.
    source
        Where the publication states it: ``"paper, section 3"``, or ``"code"`` that its authors released.
    why
        Why it is different here: for all presets, or by the name of each that differs.
    built
        How the network is built in every preset, where there is no setting for it.
    """

    setting: str
    value: Any
    source: str
    why: str | Mapping[str, str] = ""
    built: str | None = None

    def why_in(self, preset: str) -> str:
        """Why a preset differs; empty where no reason is given."""
        return self.why if isinstance(self.why, str) else self.why.get(preset, "")


# Reasons that several methods share.
FROZEN = "a handful of sections is too few to train an encoder on"
ANY_ENCODER = "any encoder can be trained; `encoder=` takes the published one by name"
WIDTHS = "several widths show cells and tissue at once"
UM = "a width in um is the same piece of tissue on every slide; `tile_px=` takes the published one"
PREPARED = "scores within a slide take its stain out of the features"
TOTALS = "one target for all methods; a total over all genes does not depend on the panel"
CENTERED = "one target for all methods; a section's own level cannot be seen in its image"
PANEL = "one panel for all methods, ranked on training sections alone"
SMALL_BATCH = "one batch for all methods on frozen features"
SAME_ADAM = "without decay AdamW is Adam"
DECAY = "frozen features of few spots are soon learned by heart"
FAST_RATE = "a small network on frozen features takes larger steps"
STOPPED = "a fixed number fits one data set; inner folds stop each fit on held-out training sections"
SEVERAL = "their mean averages out what few sections leave to chance, and all methods have as many"
ANCHORED = "on tiles unlike those of training a network guesses, and ridge extrapolates less"
BATCH_NORM = "statistics of tiles that lie beside each other are not those of a slide"
NARROW = "as much as a handful of sections can train, in minutes on two cores"
DROPPED = "few spots are soon learned by heart"
CUT = "what it takes to train an encoder on a whole section's tiles does not fit in memory"
WHOLE = "frozen features of a section fit in memory, so the spots of a batch are those of its section"
PIECES = "attention over more spots takes memory with their square; smaller sections are seen whole"
SLOW_DECAY = "one schedule for all methods, which hardly acts in the epochs a fit is given"
ENCODED_ONCE = "tiles of a frozen encoder are encoded once"
NO_JITTER = "`stain_jitter=` changes colors, along the stains"
