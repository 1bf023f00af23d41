"""Features to codes: clusters, links, first embeddings, and the cache of them."""

import dataclasses

import numpy as np
import pytest
from sklearn.cluster import MiniBatchKMeans

from recbole_hm4sr.model.mmsr import codes
from recbole_hm4sr.model.mmsr.autoencoder import encode_with_autoencoder
from recbole_hm4sr.model.mmsr.codes import CodeRecipe, build_codes, load_or_build_codes

RECIPE = CodeRecipe(hidden_size=4, n_codes=3, n_links=2, reduction="pca", seed=0)


def three_groups(n_rows=60, width=8):
    """Features in three well separated groups, row i in group i mod 3; row 0 is padding."""
    generator = np.random.default_rng(0)
    centres = 10 * np.eye(3, width)
    values = centres[np.arange(n_rows) % 3] + 0.1 * generator.normal(size=(n_rows, width))
    present = np.arange(n_rows) > 0
    return (values * present[:, None]).astype(np.float32), present


def recipe(**changes):
    return dataclasses.replace(RECIPE, **changes)


@pytest.mark.parametrize("reduction", ["pca", "ae", "none"])
def test_separated_groups_become_the_codes(reduction):
    values, present = three_groups()
    built = build_codes(values, present, recipe(reduction=reduction))
    nearest = built.links[:, 0]
    group = np.arange(60) % 3
    for number in range(3):
        assert len(set(nearest[present & (group == number)])) == 1
    assert set(nearest[present]) == {0, 1, 2}


def test_codes_are_the_authors_clustering():
    """The settings of k-means as the authors have them, with the three starts of their version."""
    values = np.random.default_rng(0).normal(size=(200, 4))
    kmeans = MiniBatchKMeans(5, init_size=512, batch_size=1024, n_init=3, random_state=9)
    built = build_codes(values, np.ones(200, bool), recipe(n_codes=5, reduction="none", seed=9))
    np.testing.assert_array_equal(built.centroids, kmeans.fit(values).cluster_centers_)


def test_links_name_different_codes_and_none_for_missing_items():
    values, present = three_groups()
    present[[7, 8]] = False
    links = build_codes(values, present, RECIPE).links
    assert links.shape == (60, 2)
    assert links.dtype == np.int64
    assert (links[~present] == -1).all()
    assert (links[present] >= 0).all()
    assert (links[present, 0] != links[present, 1]).all()


def test_there_are_no_more_codes_than_distinct_rows():
    values = np.repeat(np.float32([[0, 0], [1, 0], [0, 1]]), [1, 4, 4], axis=0)
    built = build_codes(values, np.arange(9) > 0, recipe(n_codes=5, n_links=4, reduction="none"))
    assert built.centroids.shape == (2, 2)
    assert built.links.shape == (9, 2)
    assert (built.links[1:5] == built.links[1]).all()
    assert built.links[1, 0] != built.links[5, 0]


def test_pca_gives_no_more_columns_than_there_are():
    values, present = three_groups()
    assert build_codes(values, present, recipe(hidden_size=16)).centroids.shape == (3, 8)


def test_a_modality_that_every_item_lacks_has_no_codes():
    built = build_codes(np.zeros((5, 8), np.float32), np.zeros(5, bool), RECIPE)
    assert built.links.shape == (5, 0)
    assert built.centroids.shape == (0, 4)
    assert codes.initial_embeddings(built.centroids, 4) is None


def test_values_and_present_must_agree():
    with pytest.raises(
        ValueError, match=r"one entry for each row of values \(4, 2\), got .*\(3,\)"
    ):
        build_codes(np.zeros((4, 2), np.float32), np.ones(3, bool), RECIPE)


def test_nearest_centroids_are_sorted_by_distance():
    rows = np.array([[0.0], [9.0]])
    centroids = np.array([[10.0], [1.0], [4.0]])
    links = codes.nearest_centroids(rows, centroids, 3)
    assert links.tolist() == [[1, 2, 0], [0, 2, 1]]  # distances 10 1 4 and 1 8 5


def test_nearest_centroids_are_found_far_from_zero():
    generator = np.random.default_rng(0)
    rows = (1000 + generator.normal(size=(500, 24))).astype(np.float32)
    centroids = rows[:20]
    distances = np.linalg.norm(rows[:, None].astype(np.float64) - centroids, axis=2)
    nearest = codes.nearest_centroids(rows, centroids, 1)[:, 0]
    np.testing.assert_array_equal(nearest, distances.argmin(axis=1))


def test_nearest_centroids_do_not_depend_on_the_chunks(monkeypatch):
    generator = np.random.default_rng(0)
    rows, centroids = generator.normal(size=(10, 3)), generator.normal(size=(4, 3))
    whole = codes.nearest_centroids(rows, centroids, 2)
    monkeypatch.setattr(codes, "_DISTANCE_ROWS", 3)
    np.testing.assert_array_equal(codes.nearest_centroids(rows, centroids, 2), whole)


def test_initial_embeddings_span_the_uniform_range():
    rows = codes.initial_embeddings(np.array([[0.0, 1, 2, 3], [4, 4, 4, 4]]), 4)
    assert rows.dtype == np.float32
    # (c - 0) * 2s / (4 - 0) - s with s = 1 / sqrt(4)
    np.testing.assert_allclose(rows, [[-0.5, -0.25, 0, 0.25], [0.5, 0.5, 0.5, 0.5]])


@pytest.mark.parametrize("centroids", [np.ones((3, 5)), np.ones((3, 4))], ids=["width", "equal"])
def test_centroids_that_cannot_serve_leave_the_embeddings_alone(centroids):
    assert codes.initial_embeddings(centroids, 4) is None


def test_a_second_call_reads_what_the_first_wrote(tmp_path):
    values, present = three_groups()
    built = load_or_build_codes(values, present, RECIPE, folder=tmp_path)
    (path,) = tmp_path.iterdir()  # one file, no temporary one left behind
    assert path.suffix == ".npz"
    np.savez(path, links=built.links + 1, centroids=built.centroids)
    read = load_or_build_codes(values, present, RECIPE, folder=tmp_path)
    np.testing.assert_array_equal(read.links, built.links + 1)
    np.testing.assert_array_equal(read.centroids, built.centroids)


def test_a_broken_cache_is_built_anew(tmp_path, caplog):
    values, present = three_groups()
    built = load_or_build_codes(values, present, RECIPE, folder=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(b"half a file")
    again = load_or_build_codes(values, present, RECIPE, folder=tmp_path)
    np.testing.assert_array_equal(again.links, built.links)
    assert f"cannot read the codes in {path}" in caplog.text


def test_a_cache_packed_in_an_unknown_way_is_built_anew(tmp_path, caplog):
    """What one wrong bit can do; zipfile raises NotImplementedError for it."""
    values, present = three_groups()
    built = load_or_build_codes(values, present, RECIPE, folder=tmp_path)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 10] = 99  # the method in the archive's directory
    path.write_bytes(content)
    again = load_or_build_codes(values, present, RECIPE, folder=tmp_path)
    np.testing.assert_array_equal(again.links, built.links)
    assert f"cannot read the codes in {path}" in caplog.text


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path, caplog):
    values, present = three_groups()
    (tmp_path / "file").write_text("not a folder")
    built = load_or_build_codes(values, present, RECIPE, folder=tmp_path / "file")
    np.testing.assert_array_equal(built.links, build_codes(values, present, RECIPE).links)
    assert "the codes are not kept" in caplog.text


@pytest.mark.parametrize(
    "change",
    [{"hidden_size": 5}, {"n_codes": 4}, {"n_links": 1}, {"reduction": "none"}, {"seed": 1}],
)
def test_every_part_of_the_recipe_changes_the_fingerprint(change):
    values, present = three_groups()
    assert codes.fingerprint(values, present, RECIPE) != codes.fingerprint(
        values, present, recipe(**change)
    )


def test_features_and_presence_change_the_fingerprint():
    values, present = three_groups()
    name = codes.fingerprint(values, present, RECIPE)
    other_values, other_present = values.copy(), present.copy()
    other_values[3, 0] += 1
    other_present[3] = False
    assert codes.fingerprint(values.copy(), present.copy(), RECIPE) == name
    assert codes.fingerprint(other_values, present, RECIPE) != name
    assert codes.fingerprint(values, other_present, RECIPE) != name
    assert codes.fingerprint(values.reshape(30, 16), present, RECIPE) != name


def test_the_cache_honours_the_users_cache_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert codes.default_cache_folder() == tmp_path / "recbole_hm4sr" / "codes"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert codes.default_cache_folder() == tmp_path / ".cache" / "recbole_hm4sr" / "codes"


def test_the_autoencoder_depends_on_its_seed_only():
    values, _ = three_groups()
    short = encode_with_autoencoder(values, hidden_size=4, seed=0, max_epochs=5)
    assert short.shape == (60, 4)
    assert ((short > 0) & (short < 1)).all()
    again = encode_with_autoencoder(values, hidden_size=4, seed=0, max_epochs=5)
    np.testing.assert_array_equal(short, again)
    other = encode_with_autoencoder(values, hidden_size=4, seed=1, max_epochs=5)
    assert np.abs(short - other).max() > 1e-3


def test_the_autoencoder_stops_when_nothing_improves(monkeypatch, caplog):
    """At a rate of zero none of the comparisons after the first (epoch 0) is an improvement."""
    monkeypatch.setattr("recbole_hm4sr.model.mmsr.autoencoder._LEARNING_RATE", 0.0)
    values, _ = three_groups()
    with caplog.at_level("INFO"):
        encode_with_autoencoder(values, hidden_size=4, seed=0)
    assert f"stopped in epoch {4 * 10}" in caplog.text
