"""DIF-SR and NOVA keep the contract: each fusion, on prefixes, with modalities as attributes."""

from recbole_hm4sr.testing.contract import ModelContract

SMALL = {"hidden_size": 16, "inner_size": 16, "n_layers": 2, "n_heads": 2}


class TestDIFSR(ModelContract):
    model = "DIFSR"
    overrides = {**SMALL, "attribute_sizes": [4]}


class TestDIFSRWithAModalityOnPrefixes(ModelContract):
    model = "DIFSR"
    overrides = {
        **SMALL,
        "attributes": ["categories", "text"],
        "attribute_sizes": [4, 6],
        "fusion": "concat",
        "train_mode": "prefix",
        "train_history": "exclude",
    }


class TestDIFSRWithSummedStreamsAndVisits(ModelContract):
    model = "DIFSR"
    overrides = {
        **SMALL,
        "fusion": "sum",
        "attribute_sizes": [4],
        "n_negatives": 7,
        "train_targets": "visit",
        "train_attributes": False,
    }


class TestNOVA(ModelContract):
    model = "NOVA"
    overrides = SMALL


class TestNOVAWithAModalityOnPrefixes(ModelContract):
    model = "NOVA"
    overrides = {
        **SMALL,
        "attributes": ["image", "categories"],
        "fusion": "concat",
        "train_mode": "prefix",
    }
