"""How a run learns after its training, and how later interactions are played; without torch."""

from dataclasses import dataclass, field

from recbole_hm4sr.base.errors import ConfigError

POLICIES = ("frozen", "refreshed", "updated", "retrained")
# Which interactions are targets: the first of every visit, or all.
CHOICES = ("visits", "all")
# Up to when a memory that is kept up may look.
MEMORIES = ("week", "request")
_DAYS = {"day": 1.0, "week": 7.0, "month": 30.0}


@dataclass(frozen=True)
class Recipe:
    """How an update learns.

    Attributes:
        passes: Over the new interactions.
        replay: Old interactions mixed into each pass, for each new one; drawn anew each time.
    """

    passes: int = 2
    replay: float = 1.0

    def check(self) -> None:
        """Refuse a recipe that is none.

        Raises:
            ConfigError: If a number is out of range.
        """
        if not 1 <= self.passes <= 1000:
            raise ConfigError(f"--passes must be from 1 to 1000, got {self.passes}")
        if not 0 <= self.replay <= 1000:
            raise ConfigError(f"--replay must be from 0 to 1000, got {self.replay}")


@dataclass(frozen=True)
class ReplayOptions:
    """How later interactions are played.

    Attributes:
        every: ``day``, ``week``, ``month`` or a number of days.
        policies: Names; empty for all that differ for the model.
        targets: One of :data:`CHOICES`.
        memory: One of :data:`MEMORIES`: up to the beginning of the week that is judged, or up to
            every request.
        recipe: How an update learns.
        n_epochs: Of a training from the start; 0 for as many as the run's best epoch.
    """

    every: str = "week"
    policies: tuple[str, ...] = ()
    targets: str = "visits"
    memory: str = "week"
    recipe: Recipe = field(default_factory=Recipe)
    n_epochs: int = 0

    def check(self) -> None:
        """Refuse options that are none.

        Raises:
            ConfigError: If one is unknown or out of range.
        """
        self.recipe.check()
        self.days()
        require_choice("--targets", self.targets, CHOICES)
        require_choice("--memory", self.memory, MEMORIES)
        for name in self.policies:
            require_choice("--policies", name, POLICIES)
        if self.n_epochs < 0:
            raise ConfigError(f"--epochs must be 0 or more, got {self.n_epochs}")

    def days(self) -> float:
        """Length of a piece, in days.

        Raises:
            ConfigError: If there is no such piece.
        """
        try:
            days = _DAYS[self.every] if self.every in _DAYS else float(self.every)
        except ValueError:
            days = 0.0
        if not 0 < days < 1e6:
            raise ConfigError(
                f"--every must be one of {', '.join(_DAYS)} or a number of days, got {self.every!r}"
            )
        return days


def require_choice(flag: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a value that is none of some.

    Raises:
        ConfigError: If it is not.
    """
    if value not in choices:
        raise ConfigError(f"{flag} must be one of {', '.join(choices)}, got {value!r}")
