"""MoRec keeps the contract: text alone, with ids, each loss, both training modes."""

from recbole_hm4sr.testing.contract import ModelContract

SMALL = {"hidden_size": 16, "n_projections": 2}


class TestMoRec(ModelContract):
    model = "MoRec"
    overrides = SMALL

    def test_no_negative_is_an_item_of_its_user(self, session):
        dataset = session.train_data._dataset
        shown = dataset.shown_interactions().numpy()
        taken = {
            user: set(dataset.log.items[shown & (dataset.log.users == user)])
            for user in range(dataset.user_num)
        }
        reader = session.model.arrange
        for interaction in session.train_data:
            batch = reader(interaction, train=True)
            firsts = interaction["first_position"][batch.packing.sequence[batch.read_at]]
            users = dataset.log.users[firsts.numpy()]
            for user, item in zip(users, batch.negatives.tolist(), strict=True):
                assert item not in taken[user]
                assert 0 < item < dataset.item_num
            assert set(batch.negatives.tolist()) <= set(batch.wanted)


class TestMoRecWithIdsInBatch(ModelContract):
    model = "MoRec"
    overrides = {**SMALL, "id_fusion": "add", "n_fusion_maps": 1, "loss": "in_batch"}


class TestMoRecWithIdsBesideOnPrefixes(ModelContract):
    model = "MoRec"
    overrides = {
        **SMALL,
        "id_fusion": "cat",
        "train_mode": "prefix",
        "train_targets": "visit",
        "memory": "events",
        "MAX_ITEM_LIST_LENGTH": 11,
    }


class TestMoRecOverAllItems(ModelContract):
    model = "MoRec"
    overrides = {**SMALL, "loss": "ce", "n_negatives": 7, "last_activation": False}
