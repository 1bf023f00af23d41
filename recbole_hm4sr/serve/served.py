"""A run that is being served, and what names its state."""

from dataclasses import dataclass

from recbole_hm4sr.serve.recommend import Recommender

_DIGITS = 12


@dataclass(frozen=True)
class Served:
    """An opened run with its names: all of an answer comes from one of these.

    Attributes:
        recommender: It.
        run: Name of its folder, as it was when the run was opened.
        version: First digits of the SHA-256 of its ``serving.npz``, which every refresh and update
            writes anew; of its checkpoint where it has none.
    """

    recommender: Recommender
    run: str
    version: str

    @classmethod
    def of(cls, recommender: Recommender) -> "Served":
        """A run as it was opened."""
        run = recommender.run
        return cls(
            recommender, run.run_dir.resolve().name, (run.serving or run.checkpoint)[:_DIGITS]
        )
