"""What is known of a setting beside its value: lists of names are computed from the fields."""

import json

from recbole_hm4sr.config.compose import UNSUPPORTED
from recbole_hm4sr.config.fingerprint import settings_hash
from recbole_hm4sr.config.protocol import PROTOCOL
from recbole_hm4sr.model.registry import settings_with
from recbole_hm4sr.train.checkpoint_folder import settings_to_meet

MACHINE = {
    "catalogue_rows", "checkpoint_dir", "code_cache_dir", "data_path", "gpu_id", "log_mlflow",
    "log_wandb", "n_threads", "process_timeout", "serve_columns", "show_progress", "state",
    "use_gpu", "wandb_project", "worker",
}  # fmt: skip
FREE = {
    "baselines", "epochs", "eval_batch_size", "init_from", "list_metrics", "max_cpu_minutes",
    "metric_decimal_place", "metrics", "pre_model_path", "stopping_step", "topk",
}  # fmt: skip


def test_no_result_depends_on_settings_of_the_machine():
    assert settings_with("machine") == MACHINE
    hashes = {
        settings_hash("M", "d", "x", dict.fromkeys(MACHINE, value), left_out=MACHINE)
        for value in ("a", "b")
    }
    assert len(hashes) == 1


def test_places_to_write_are_flags_only_and_of_the_machine():
    """So that a run, which leaves them out of what it reads back, can still be resumed."""
    assert settings_with("flag only") == {"code_cache_dir"}
    assert settings_with("flag only") <= settings_with("machine")


def test_a_run_is_resumed_with_other_settings_of_the_machine_and_another_end():
    assert settings_with("free on resume") == FREE
    values = dict.fromkeys(MACHINE | FREE, "here")
    assert json.loads(settings_to_meet({**values, "seed": 7})) == {"seed": 7}


def test_a_search_never_varies_what_makes_trials_comparable():
    assert settings_with("fixed in a search") == {"seed", "data_path", "reproducibility"}


def test_the_protocol_is_what_all_models_of_a_comparison_share():
    assert set(PROTOCOL) == {
        "ITEM_ID_FIELD", "TIME_FIELD", "USER_ID_FIELD", "candidate_items", "catalogue", "eval_args",
        "filter_inter_by_user_or_item", "item_inter_num_interval", "metrics",
        "metric_decimal_place", "rank_history", "repeatable", "rm_dup_inter", "same_visit_gap",
        "tie_order", "timestamp_unit", "topk", "user_inter_num_interval", "val_interval",
        "valid_metric", "valid_metric_bigger",
    }  # fmt: skip
    assert set(PROTOCOL) == settings_with("protocol")


def test_settings_that_would_be_ignored_are_refused():
    assert set(UNSUPPORTED) == {
        "save_dataset", "dataset_save_path", "save_dataloaders", "dataloaders_save_path",
        "checkpoint_dir", "benchmark_filename", "enable_scaler", "unload_col", "unused_col",
        "neg_sampling", "training_neg_sample_num",
    }  # fmt: skip
