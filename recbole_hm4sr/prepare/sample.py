r"""A generated shop: the sample data set that works on a fresh machine without a download.

Everything in it is made up, and its structure is known. Item :math:`i` has an activity
:math:`a_i` (skiing, cycling, ...), a role :math:`r_i` in it (gear, wear, protection, bag, care), a
taste vector :math:`x_i \in R^{16}`, a hidden season :math:`\psi_i` and a popularity :math:`b_i`.
A user at time :math:`t`, at the season angle :math:`\varphi(t)` of the calendar, buys

.. math:: P(i) \propto \exp(b_i + z \cdot x_i + \gamma \cos(\varphi(t) - \psi_i)
          + \delta [a_i = a^*] + \delta [r_i = r^*])

once each, where :math:`z` is the user's lasting taste plus a mood, and :math:`(a^*, r^*)` is what
the user looks for now. Only the gaps between purchases and the calendar tell which it is:

- less than a day before the last purchase: the user is completing a kit, and looks for the next
  role of the same activity;
- days before it: the user is comparing, and looks for the same activity and role;
- months before it: the user is back, and looks for an activity that is in season, in the same role;
- months *after* it: the mood is drawn anew, the activity from the season, the role at random.

The text of an item shows its activity and the first half of :math:`x_i`, its image its role and
the other half, both under irrelevant noise. Nothing shows :math:`\psi_i`.
"""

import argparse
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recbole_hm4sr.data.features import ItemFeatures, save_features

__all__ = ["SampleData", "generate", "main", "write_sample"]

logger = logging.getLogger(__name__)
VERSION = 1
ENCODER = "generated: recbole_hm4sr.prepare.sample"

# Department, activity, and its kinds by role: gear, wear, protection, bag, care. The activities
# stand in the order of the month in which they peak, January first.
ACTIVITIES = (
    ("Snow_and_Ice", "Skiing", "Skis Ski_Boots Ski_Goggles Ski_Bags Ski_Wax"),
    ("Fitness", "Yoga", "Yoga_Mats Yoga_Pants Knee_Cushions Mat_Bags Mat_Cleaners"),
    ("Fitness", "Running", "Pace_Watches Running_Shoes Shin_Sleeves Waist_Packs Shoe_Insoles"),
    ("Water", "Fishing", "Fishing_Rods Waders Angler_Gloves Tackle_Bags Reel_Oils"),
    ("Outdoor", "Cycling", "Bike_Lights Bike_Shorts Bike_Helmets Saddle_Bags Chain_Oils"),
    ("Outdoor", "Climbing", "Climbing_Ropes Climbing_Shoes Chest_Harnesses Rope_Bags Chalk"),
    ("Water", "Kayaking", "Paddles Spray_Tops Life_Vests Dry_Bags Hull_Care"),
    ("Water", "Swimming", "Swim_Fins Swimsuits Swim_Goggles Pool_Bags Goggle_Sprays"),
    ("Outdoor", "Hiking", "Hiking_Poles Hiking_Boots Gaiters Backpacks Boot_Care"),
    ("Racket_and_Mat", "Badminton", "Rackets Court_Shoes Wrist_Bands Racket_Bags Grip_Tapes"),
    ("Racket_and_Mat", "Judo", "Judo_Mats Judo_Suits Mouth_Guards Judo_Bags Suit_Soaps"),
    ("Snow_and_Ice", "Skating", "Ice_Skates Skate_Socks Blade_Guards Skate_Bags Blade_Stones"),
)
N_ROLES = 5
BRAND_HEADS = ("Quor", "Zyl", "Ombr", "Tavv", "Brusk", "Welk", "Ixan", "Porv")
BRAND_TAILS = ("ella", "undo", "imar", "ock", "eska")
# A word for either sign of the first taste dimensions of the text half.
TITLE_WORDS = (("Light", "Sturdy"), ("Classic", "Modern"), ("Compact", "Roomy"), ("Soft", "Firm"))

DAY = 86_400
YEAR = 365.25 * DAY
START = int(datetime(2021, 1, 1, tzinfo=timezone.utc).timestamp())
SPAN = 1_095 * DAY
BURST, DAYS, BREAK = 0, 1, 2  # the tempo of a purchase: the kind of gap before it
TEMPO_SHARE = (0.45, 0.37, 0.18)
TEMPO_MEDIAN = (25 * 60, 5 * DAY, 90 * DAY)
TEMPO_SPREAD = (0.5, 0.4, 0.25)  # of the logarithm

N_LATENTS = 16  # the first half is in the text, the second in the image
N_FEATURES = 32
N_SIGNATURE = 6  # columns that name the activity (text) or the role (image)
TASTE_SCALE, MOOD_SCALE = 0.5, 0.25
SEASON_WEIGHT = 2.5  # gamma
WANT_WEIGHT = 4.0  # delta
FAVOURITES, FAVOURITE_WEIGHT, CALENDAR_WEIGHT = 3, 3.0, 2.5
POPULARITY_SCALE = 0.5
MIN_COUNT = 5

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Strings = npt.NDArray[np.str_]


@dataclass(frozen=True)
class GeneratedItems:
    """What is true of the items, in the same order in every array of length ``n_items``.

    Attributes:
        activity: Index into ``ACTIVITIES``.
        role: Gear, wear, protection, bag, care: 0 to 4.
        latents: Taste vectors. Shape ``[n_items, 16]``.
        season: Angle of the calendar at which the item sells best, in radians.
        popularity: Logarithm of how often the item is taken, all else equal.
    """

    activity: Ints
    role: Ints
    latents: Floats
    season: Floats
    popularity: Floats

    def take(self, index: Ints) -> "GeneratedItems":
        """The items at ``index``, in that order."""
        return GeneratedItems(**{name: values[index] for name, values in vars(self).items()})


@dataclass(frozen=True)
class SampleData:
    """The log, the items, their features and the truth behind them.

    Attributes:
        seed: What it was made from.
        users: Index of the user of each interaction, in the order of time. Shape ``[N]``.
        items: Index of its item. Shape ``[N]``.
        timestamps: Seconds since the Unix epoch (UTC). Shape ``[N]``, int64.
        item_tokens: Names of the items in the files, as are ``titles``, ``brands``, ``prices``.
        text: Text features, row k of item k. Shape ``[n_items, 32]``, float16.
        image: Image features, likewise.
        truth: The hidden side of the items; no file holds it.
    """

    seed: int
    users: Ints
    items: Ints
    timestamps: Ints
    item_tokens: Strings
    titles: list[str]
    brands: list[str]
    prices: Floats
    text: npt.NDArray[np.float16]
    image: npt.NDArray[np.float16]
    truth: GeneratedItems

    def categories(self, item: int) -> str:
        """The category path of an item, one token a level."""
        department, activity, kinds = ACTIVITIES[self.truth.activity[item]]
        return f"{department} {activity} {kinds.split()[self.truth.role[item]]}"


def season_angle(timestamps: npt.ArrayLike) -> Floats:
    """The place in the calendar year as an angle; 0 is the first of January."""
    return 2 * np.pi * (np.asarray(timestamps) - START) / YEAR


def generate(
    seed: int, n_users: int = 2_000, n_items: int = 1_300, n_interactions: int = 20_900
) -> SampleData:
    """Make a sample; the same arguments give the same sample.

    Args:
        seed: Of the one random generator that everything is drawn from.
        n_users: Users before the 5-core filter, which leaves nearly all.
        n_items: Items before the filter, which leaves nine of ten.
        n_interactions: About how many before the filter, which leaves 24 of 25.

    Raises:
        ValueError: If there are fewer than five interactions a user or one item a kind.
    """
    n_kinds = len(ACTIVITIES) * N_ROLES
    if n_interactions <= MIN_COUNT * n_users or n_items < n_kinds:
        raise ValueError(
            f"n_interactions must exceed {MIN_COUNT} a user and n_items must be at least "
            f"{n_kinds}, got {n_interactions} for {n_users} users and {n_items} items"
        )
    rng = np.random.default_rng(seed)
    catalogue = _make_catalogue(rng, n_items)
    tail = rng.lognormal(sigma=1.0, size=n_users) / np.exp(0.5)
    counts = MIN_COUNT + (tail * (n_interactions / n_users - MIN_COUNT) + 0.5).astype(np.int64)
    walks = [_walk(rng, catalogue, count) for count in np.minimum(counts, 60)]
    users = np.repeat(np.arange(n_users), [len(items) for items, _ in walks])
    items = np.concatenate([items for items, _ in walks])
    timestamps = np.concatenate([times for _, times in walks])
    kept = _five_core(users, items)
    order = kept[np.argsort(timestamps[kept], kind="stable")]
    users = np.unique(users[order], return_inverse=True)[1]
    sold, items = np.unique(items[order], return_inverse=True)
    return _describe(rng, seed, (users, items, timestamps[order]), catalogue.take(sold))


def _make_catalogue(rng: np.random.Generator, n_items: int) -> GeneratedItems:
    kind = rng.permutation(np.arange(n_items) % (len(ACTIVITIES) * N_ROLES))
    return GeneratedItems(
        activity=kind // N_ROLES,
        role=kind % N_ROLES,
        latents=rng.standard_normal((n_items, N_LATENTS)),
        season=rng.uniform(0, 2 * np.pi, n_items),
        popularity=POPULARITY_SCALE * rng.standard_normal(n_items),
    )


def _walk(rng: np.random.Generator, catalogue: GeneratedItems, count: int) -> tuple[Ints, Ints]:
    """The purchases of one user: item indices and times, oldest first."""
    tempos, times = _pace(rng, count)
    n_activities = len(ACTIVITIES)
    peaks = 2 * np.pi * (np.arange(n_activities) + 0.5) / n_activities
    likes = np.zeros(n_activities)
    likes[rng.choice(n_activities, FAVOURITES, replace=False)] = FAVOURITE_WEIGHT
    taste = TASTE_SCALE * rng.standard_normal(N_LATENTS)
    bought = np.zeros(count, dtype=np.int64)
    activity = role = 0
    for step, angle in enumerate(season_angle(times)):
        back = tempos[step] == BREAK  # the first purchase counts as coming back
        previous = BREAK if back else tempos[step - 1]
        if previous == BREAK:
            activity = _draw(rng, likes + CALENDAR_WEIGHT * np.cos(angle - peaks))
        if back:
            role = int(rng.integers(N_ROLES))
            mood = taste + MOOD_SCALE * rng.standard_normal(N_LATENTS)
            liking = catalogue.popularity + catalogue.latents @ mood
        elif previous == BURST:
            role = (role + 1) % N_ROLES
        wanted = (catalogue.activity == activity) + 1.0 * (catalogue.role == role)
        in_season = np.cos(angle - catalogue.season)
        logits = liking + SEASON_WEIGHT * in_season + WANT_WEIGHT * wanted
        logits[bought[:step]] = -np.inf
        bought[step] = _draw(rng, logits)
        activity, role = int(catalogue.activity[bought[step]]), int(catalogue.role[bought[step]])
    return bought, times


def _pace(rng: np.random.Generator, count: int) -> tuple[Ints, Ints]:
    """The tempo and the time of each purchase, the times within the span."""
    tempos = rng.choice(len(TEMPO_SHARE), count, p=TEMPO_SHARE)
    tempos[0] = BREAK
    spread = np.asarray(TEMPO_SPREAD)[tempos] * rng.standard_normal(count)
    gaps = np.asarray(TEMPO_MEDIAN)[tempos] * np.exp(spread)
    gaps[0] = 0
    elapsed = np.cumsum(gaps)
    elapsed = elapsed * min(1.0, 0.98 * SPAN / max(elapsed[-1], 1.0))
    start = rng.uniform(0, SPAN - elapsed[-1])
    return tempos, (START + start + elapsed).astype(np.int64)


def _draw(rng: np.random.Generator, logits: Floats) -> int:
    """One index, with the probabilities of a softmax."""
    cumulative = np.cumsum(np.exp(logits - logits.max()))
    return int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))


def _five_core(users: Ints, items: Ints) -> Ints:
    """Indices of the interactions whose user and item both keep at least five of them."""
    kept = np.arange(len(users))
    while True:
        often = (np.bincount(users[kept])[users[kept]] >= MIN_COUNT) & (
            np.bincount(items[kept])[items[kept]] >= MIN_COUNT
        )
        if often.all():
            return kept
        kept = kept[often]


def _describe(
    rng: np.random.Generator, seed: int, log: tuple[Ints, Ints, Ints], truth: GeneratedItems
) -> SampleData:
    """Give the items what a shop shows of them: names, prices, features."""
    n_items, half = len(truth.role), N_LATENTS // 2
    numbers = rng.permutation(np.arange(1, 10 * n_items))[:n_items]
    brand_names = [head + tail for head in BRAND_HEADS for tail in BRAND_TAILS]
    brands = [brand_names[k] for k in rng.integers(len(brand_names), size=n_items)]
    titles = []
    for item, brand in enumerate(brands):
        signs = truth.latents[item, : len(TITLE_WORDS)] > 0
        words = [pair[int(sign)] for pair, sign in zip(TITLE_WORDS, signs, strict=True)]
        kind = ACTIVITIES[truth.activity[item]][2].split()[truth.role[item]]
        titles.append(f"{brand} {' '.join(words)} {kind.replace('_', ' ')} {numbers[item]}")
    users, items, timestamps = log
    return SampleData(
        seed=seed,
        users=users,
        items=items,
        timestamps=timestamps,
        item_tokens=np.array([f"I{number:05d}" for number in numbers]),
        titles=titles,
        brands=brands,
        prices=np.exp(3.2 + 0.5 * truth.latents[:, 0] + 0.4 * rng.standard_normal(n_items)),
        text=_features(rng, truth.latents[:, :half], truth.activity),
        image=_features(rng, truth.latents[:, half:], truth.role),
        truth=truth,
    )


def _features(rng: np.random.Generator, latents: Floats, label: Ints) -> npt.NDArray[np.float16]:
    """Taste, a signature of the label and noise, mixed by one rotation."""
    signatures = rng.standard_normal((label.max() + 1, N_SIGNATURE))
    n_noise = N_FEATURES - N_SIGNATURE - latents.shape[1]
    noise = rng.standard_normal((len(label), n_noise))
    columns = np.concatenate([latents, signatures[label], noise], axis=1)
    rotation = np.linalg.qr(rng.standard_normal((N_FEATURES, N_FEATURES)))[0]
    return (columns @ rotation).astype(np.float16)


def write_sample(data: SampleData, folder: Path) -> None:
    """Write the atomic files and the feature files, each whole or not at all.

    The files are named after the folder. Interactions stand in the order of time; the rows of
    the feature files do not stand in the order of the items.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name, tokens = folder.name, data.item_tokens
    log = zip(data.users, tokens[data.items], data.timestamps, strict=True)
    _write_rows(
        folder / f"{name}.inter",
        "user_id:token\titem_id:token\ttimestamp:float",
        (f"U{user:04d}\t{item}\t{time}" for user, item, time in log),
    )
    shop = zip(tokens, data.titles, data.brands, data.prices, strict=True)
    _write_rows(
        folder / f"{name}.item",
        "item_id:token\ttitle:token_seq\tbrand:token\tcategories:token_seq\tprice:float",
        (
            f"{token}\t{title}\t{brand}\t{data.categories(k)}\t{price:.2f}"
            for k, (token, title, brand, price) in enumerate(shop)
        ),
    )
    for shift, (modality, values) in enumerate({"text": data.text, "image": data.image}.items()):
        order = np.random.default_rng([data.seed, shift]).permutation(len(tokens))
        path = folder / f"{name}.{modality}.npz"
        revision = f"version {VERSION}, seed {data.seed}"
        save_features(
            path, ItemFeatures(tokens[order], values[order], ENCODER, revision, str(path))
        )


def _write_rows(path: Path, header: str, rows: Iterable[str]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes("\n".join([header, *rows, ""]).encode())
    partial.replace(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the sample: ``python -m recbole_hm4sr.prepare.sample --seed=2024 --out=FOLDER``."""
    parser = argparse.ArgumentParser(description="Write the generated sample data set.")
    parser.add_argument("--seed", type=int, required=True, help="of the random generator")
    parser.add_argument("--out", type=Path, required=True, help="folder; it names the files")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    data = generate(options.seed)
    write_sample(data, options.out)
    logger.info(
        "%s: %d users, %d items, %d interactions, GENERATED",
        options.out,
        data.users.max() + 1,
        len(data.item_tokens),
        len(data.users),
    )


if __name__ == "__main__":
    main()
