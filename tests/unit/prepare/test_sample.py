"""The generated sample: its files, and the structure that a model can find in it."""

import re
from pathlib import Path

import numpy as np
import pytest

from recbole_hm4sr.data.atomic import read_atomic
from recbole_hm4sr.data.features import load_features
from recbole_hm4sr.prepare import sample

FOLDER = Path(__file__).parents[3] / "dataset_atomic" / "sports"
HALF = sample.N_LATENTS // 2
MODALITIES = ("text", "image")


@pytest.fixture(scope="module")
def readme():
    return (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def data(readme):
    """The sample with the seed that its README names."""
    command = re.search(r"python -m recbole_hm4sr\.prepare\.sample --seed=(\d+)", readme)
    return sample.generate(int(command[1]))


@pytest.fixture(scope="module")
def steps(data):
    """Pairs of purchases in a row by one user: items, gap between, gap before, time of the first.

    The gap before the first purchase of a user counts as a long one.
    """
    order = np.lexsort((data.timestamps, data.users))
    users, items, times = data.users[order], data.items[order], data.timestamps[order]
    gaps = np.diff(times, prepend=times[0])
    gaps[np.diff(users, prepend=-1) != 0] = sample.SPAN
    same = users[1:] == users[:-1]
    return items[:-1][same], items[1:][same], gaps[1:][same], gaps[:-1][same], times[:-1][same]


def small(seed):
    return sample.generate(seed, n_users=150, n_items=120, n_interactions=1_500)


def explained(latents, features):
    """Share of the variance of each latent that a linear map of the features explains."""
    inputs = np.column_stack([features.astype(np.float64), np.ones(len(features))])
    fitted = inputs @ np.linalg.lstsq(inputs, latents, rcond=None)[0]
    return 1 - (latents - fitted).var(axis=0) / latents.var(axis=0)


def test_same_seed_same_bytes_and_another_seed_another_log(tmp_path):
    for run, seed in (("first", 3), ("second", 3), ("third", 4)):
        sample.write_sample(small(seed), tmp_path / run / "shop")
    names = sorted(path.name for path in (tmp_path / "first" / "shop").iterdir())
    assert names == ["shop.image.npz", "shop.inter", "shop.item", "shop.text.npz"]
    for name in names:
        first, second, third = (
            (tmp_path / run / "shop" / name).read_bytes() for run in ("first", "second", "third")
        )
        assert first == second
        assert first != third


def test_committed_files_are_what_the_command_of_the_readme_writes(data, tmp_path):
    sample.write_sample(data, tmp_path / "sports")
    for name in ("sports.inter", "sports.item"):
        assert (tmp_path / "sports" / name).read_bytes() == (FOLDER / name).read_bytes()
    for modality in MODALITIES:
        name = f"sports.{modality}.npz"
        written, committed = load_features(tmp_path / "sports" / name), load_features(FOLDER / name)
        assert written.tokens.tolist() == committed.tokens.tolist()
        assert (written.encoder, written.revision) == (committed.encoder, committed.revision)
        # The rotation is a matrix product, whose last bit is the machine's: one float16 step.
        np.testing.assert_allclose(written.values, committed.values, rtol=2**-10, atol=2**-20)


def test_readme_says_generated_and_gives_the_counts(data, readme):
    counts = len(np.unique(data.users)), len(data.item_tokens), len(data.users)
    assert "GENERATED" in readme
    assert "{:,} users, {:,} items, {:,} interactions".format(*counts) in readme


def test_folder_stays_under_two_megabytes():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 2_000_000


def test_counts_are_those_of_a_small_shop(data):
    assert 1_900 < len(np.unique(data.users)) <= 2_000
    assert 1_100 < len(data.item_tokens) <= 1_300
    assert 19_000 < len(data.users) < 21_000
    assert np.bincount(data.users).max() <= 60


def test_every_user_and_every_item_has_five_interactions(data):
    assert np.bincount(data.users).min() == sample.MIN_COUNT
    assert np.bincount(data.items).min() == sample.MIN_COUNT
    assert np.bincount(data.items).shape == data.item_tokens.shape


def test_nobody_takes_an_item_twice(data):
    pairs = np.unique(np.stack([data.users, data.items]), axis=1)
    assert pairs.shape[1] == len(data.users)


def test_times_are_seconds_of_three_years_in_order(data):
    assert (np.diff(data.timestamps) >= 0).all()
    assert data.timestamps[0] >= sample.START
    assert data.timestamps[-1] < sample.START + sample.SPAN
    assert len(np.unique(data.timestamps % sample.DAY)) > 10_000


def test_files_hold_the_generated_log_and_the_category_paths(data):
    log, shop = read_atomic(FOLDER / "sports.inter"), read_atomic(FOLDER / "sports.item")
    assert log.tokens("item_id").tolist() == data.item_tokens[data.items].tolist()
    assert shop.tokens("item_id").tolist() == data.item_tokens.tolist()
    paths = shop.sequences("categories")
    assert {len(path) for path in paths} == {3}
    assert 30 <= len({token for path in paths for token in path}) <= 80


@pytest.mark.parametrize("modality", MODALITIES)
def test_features_are_keyed_by_token_in_another_order(data, modality):
    features = load_features(FOLDER / f"sports.{modality}.npz")
    assert features.encoder == sample.ENCODER
    assert features.tokens.tolist() != data.item_tokens.tolist()
    row = {token: k for k, token in enumerate(features.tokens.tolist())}
    order = [row[token] for token in data.item_tokens.tolist()]
    np.testing.assert_allclose(
        features.values[order], getattr(data, modality), rtol=2**-10, atol=2**-20
    )


def test_text_and_image_each_show_their_own_half_of_the_taste(data):
    latents = data.truth.latents
    chance = 3 * sample.N_FEATURES / len(latents)
    for values, shown, hidden in (
        (data.text, latents[:, :HALF], latents[:, HALF:]),
        (data.image, latents[:, HALF:], latents[:, :HALF]),
    ):
        assert explained(shown, values).min() > 0.99
        assert explained(hidden, values).max() < chance


def test_text_shows_the_activity_image_the_role_and_neither_the_season(data):
    truth = data.truth
    chance = 3 * sample.N_FEATURES / len(truth.role)
    activity, role = (
        (labels[:, None] == np.unique(labels)).astype(float)
        for labels in (truth.activity, truth.role)
    )
    assert explained(activity, data.text).mean() > 0.3
    assert explained(role, data.image).min() > 0.9
    assert explained(activity, data.image).max() < chance
    season = np.column_stack([np.cos(truth.season), np.sin(truth.season)])
    both = np.concatenate([data.text, data.image], axis=1)
    assert explained(season, both).max() < 2 * chance


def test_interest_lasts_over_a_short_gap_and_not_over_a_long_one(data, steps):
    first, second, gap, before, _ = steps
    stays = data.truth.activity[first] == data.truth.activity[second]
    settled = before < 30 * sample.DAY
    short, long = stays[settled & (gap < sample.DAY)], stays[gap > 30 * sample.DAY]
    assert short.mean() > 5 * long.mean()


def test_the_gap_before_a_purchase_tells_the_role_of_the_next(data, steps):
    first, second, gap, before, _ = steps
    onward = (data.truth.role[second] - data.truth.role[first]) % sample.N_ROLES
    soon = gap < 30 * sample.DAY
    assert (onward[soon & (before < sample.DAY)] == 1).mean() > 0.8
    assert (onward[soon & (before > sample.DAY)] == 0).mean() > 0.8


def test_activities_sell_in_their_months(data):
    peaks = 2 * np.pi * (data.truth.activity[data.items] + 0.5) / len(sample.ACTIVITIES)
    distance = np.cos(sample.season_angle(data.timestamps) - peaks)
    # Without seasons, half of the purchases would fall into the half-year around the peak.
    assert (distance > 0).mean() > 0.65


def test_items_sell_in_their_hidden_season(data):
    angle = sample.season_angle(data.timestamps) - data.truth.season[data.items]
    assert (np.cos(angle) > 0).mean() > 0.8


def test_too_few_interactions_are_refused():
    with pytest.raises(ValueError, match="n_interactions must exceed 5 a user"):
        sample.generate(1, n_users=100, n_interactions=500)


def test_main_writes_the_files(tmp_path, monkeypatch):
    quick = small(3)
    monkeypatch.setattr(sample, "generate", lambda seed: quick if seed == 3 else None)
    sample.main(["--seed=3", f"--out={tmp_path / 'shop'}"])
    assert (tmp_path / "shop" / "shop.inter").read_text().startswith("user_id:token\titem_id:token")
