"""A run as other people get it: a folder as the Hugging Face Hub has them, written and read back.

    recommender = Recommender.load("runs/shop-Momento-20261123-120000")
    recommender.save_pretrained("shop-momento", license="mit")
    Recommender.from_pretrained("shop-momento")  # or "user/name", from the Hub

``huggingface_hub``'s ``PyTorchModelHubMixin`` is not used. It saves a ``state_dict`` and the
arguments of ``__init__`` as JSON, and builds the model from these. A model here is built from
RecBole's ``Config`` and from what is known of the items: their tokens, rows of features and the
memory, which are arrays. The mixin would save none of them, and what it loads could not answer.
"""

import contextlib
import dataclasses
import importlib
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.base.files import write_text
from recbole_hm4sr.base.raw_lines import hash_file
from recbole_hm4sr.data.columns import PADDING
from recbole_hm4sr.data.feature_rows import copy_feature_rows
from recbole_hm4sr.data.npz import first_sentence
from recbole_hm4sr.data.times import PER_SECOND
from recbole_hm4sr.data.vocabulary import FILE_NAME as VOCABULARY
from recbole_hm4sr.data.vocabulary import Vocabulary
from recbole_hm4sr.model.registry import settings_with
from recbole_hm4sr.run.beginning import served_vocabulary
from recbole_hm4sr.run.hub_folder import (
    CARD,
    MANIFEST,
    WEIGHTS,
    Manifest,
    check_hub_folder,
    is_hub_folder,
    read_manifest,
)
from recbole_hm4sr.run.plan import RunPlan, read_plan
from recbole_hm4sr.run.serving_file import ServingFile, read_serving_file, save_serving_file
from recbole_hm4sr.serve.exported import replace_folder, written
from recbole_hm4sr.serve.model_card import NO_LICENSE, model_card
from recbole_hm4sr.serve.opening import OpenRun, open_for_serving
from recbole_hm4sr.train.checkpoint import read_checkpoint
from recbole_hm4sr.train.safetensors_file import require_safetensors, write_safetensors

_OF_PLACE = ("data_path", "init_from")
_FACTS = (
    *("valid", "test", "test_include", "test_exclude", "best_epoch", "epochs", "seed"),
    *("n_parameters", "n_items", "baselines", "variant", "one_moment", "versions"),
)
_REPO_ID = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?")
_Own = TypeVar("_Own", bound="HubMixin")


class HubMixin:
    """What a ``Recommender`` can do besides: be published, and come from what was published."""

    run: OpenRun

    def __init__(self, run: OpenRun) -> None:
        raise NotImplementedError

    @classmethod
    def from_pretrained(
        cls: type[_Own],
        name: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> _Own:
        """Open what :meth:`save_pretrained` or ``hm4sr export --format=hub`` wrote.

        Nothing in it is run as code. It answers with the bits of the run that it was made from, on
        the same machine and versions.

        Args:
            name: A folder, or an id of the Hub, ``user/name``; a folder of that path goes first.
            revision: Branch, tag or commit of the Hub.
            token: For a private one; None takes what the machine is logged in with.
            cache_dir: Where downloads are kept; None for the Hub's own place.
            local_files_only: Take what was downloaded before, and ask nobody.

        Raises:
            ConfigError: If a package of the extra ``hub`` is missing.
            DataError: If it is not there, incomplete, damaged, or of a newer release.
        """
        folder = Path(name)
        if not folder.is_dir():
            folder = _download(
                str(name),
                revision=revision,
                token=token,
                cache_dir=cache_dir,
                local_files_only=local_files_only,
            )
        read_manifest(folder)
        return cls(open_for_serving(folder))

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        license: str | None = None,  # the Hub's word
        push_to_hub: bool = False,
        repo_id: str | None = None,
        private: bool | None = None,
        token: str | bool | None = None,
    ) -> Path:
        """Write the run as a folder of the Hub: see :func:`save_hub_folder`.

        Args:
            folder: To write, whole or not at all; one that this wrote before is replaced.
            license: The Hub's name of the licence, as ``mit``; None where there is none to name.
            push_to_hub: Whether to upload it too.
            repo_id: Where to, ``user/name``; None takes the folder's name.
            private: Whether a repository that is made is private; None as the account has it.
            token: None takes what the machine is logged in with.

        Returns:
            The folder.

        Raises:
            ConfigError: If a package is missing, the folder holds something else, or the model
                cannot be served without its data set.
            DataError: If a file cannot be read or written, or the upload fails.
        """
        target = save_hub_folder(self.run.run_dir, folder, license_id=license)
        if push_to_hub:
            upload(target, repo_id or target.resolve().name, private=private, token=token)
        return target

    def push_to_hub(
        self,
        repo_id: str,
        *,
        license: str | None = None,  # the Hub's word
        private: bool | None = None,
        token: str | bool | None = None,
    ) -> str:
        """Write the run as a folder of the Hub and upload it; nothing stays here.

        Args:
            repo_id: Where to, ``user/name``.
            license: The Hub's name of the licence, as ``mit``; None where there is none to name.
            private: Whether a repository that is made is private; None as the account has it.
            token: None takes what the machine is logged in with.

        Returns:
            The address of the upload.

        Raises:
            ConfigError: As :meth:`save_pretrained`.
            DataError: As :meth:`save_pretrained`.
        """
        with tempfile.TemporaryDirectory() as scratch:
            folder = save_hub_folder(self.run.run_dir, Path(scratch) / "run", license_id=license)
            return upload(folder, repo_id, private=private, token=token)


def require_packages() -> None:
    """Refuse early without the package that writes the weights.

    Raises:
        ConfigError: If it is missing.
    """
    require_safetensors("a folder for the Hub")


def require_place(folder: Path) -> None:
    """Refuse a folder to write that holds anything but an earlier one of its kind.

    Raises:
        ConfigError: If it does.
    """
    if not folder.exists():
        return
    if folder.is_dir():
        files = {
            path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
        }
        known = {*read_manifest(folder).files, MANIFEST, CARD} if is_hub_folder(folder) else set()
        if files <= known:
            return
    raise ConfigError(
        f"a folder for the Hub must be new, empty or an earlier one, got {folder}, which holds "
        f"something else"
    )


def save_hub_folder(run_dir: str | Path, out: str | Path, *, license_id: str | None = None) -> Path:
    """Write a run as a folder of the Hub, whole or not at all, and open it to see that it serves.

    It holds weights, settings, the items and what serving reads, and a model card. It holds no
    user's token and no user's history; the columns of the items, as their titles, are in it.

    Args:
        run_dir: Folder of a run that has ended, or one of the Hub.
        out: Folder to write.
        license_id: The Hub's name of the licence that goes with it; None for that of the folder it
            comes from, or ``unknown``.

    Returns:
        The folder.

    Raises:
        ConfigError: If a package is missing, the folder holds something else, or the model cannot
            be served without its data set.
        DataError: If a file cannot be read or written.
    """
    require_packages()
    source, folder = Path(run_dir), Path(out)
    require_place(folder)
    plan, content = read_plan(source, needs_data=False), read_serving_file(source)
    if content is None:
        raise DataError(f"{source} must have a serving.npz, as every run that ended has")
    with written(folder) as unfinished:
        _write(source, unfinished, plan, content, license_id)
        open_for_serving(unfinished)
        if folder.exists():
            replace_folder(unfinished, folder)
        else:
            unfinished.replace(folder)
    return folder


def _write(
    source: Path, folder: Path, plan: RunPlan, content: ServingFile, license_id: str | None
) -> None:
    state = read_checkpoint(source / content.checkpoint_file)
    write_safetensors(folder / WEIGHTS, state)
    left_out = settings_with("machine") | settings_with("flag only") | {*_OF_PLACE}
    settings = {name: value for name, value in plan.to_plain().items() if name not in left_out}
    write_text(folder / "config.yaml", yaml.safe_dump(settings, sort_keys=False))
    known = Vocabulary.load(served_vocabulary(source))
    nobody = np.array([PADDING])
    dataclasses.replace(known, users=nobody).save(folder / VOCABULARY)
    copy_feature_rows(source, content.features, folder)
    memory = None if content.memory is None else content.memory.copy_served(source, folder)
    served = dataclasses.replace(
        content,
        checkpoint=hash_file(folder / WEIGHTS),
        checkpoint_file=WEIGHTS,
        memory=memory,
        learned=(),
        encoders={},
        added="",
    )
    save_serving_file(folder, served)
    merged = () if content.memory is None else content.memory.merged
    facts: dict[str, Any] = {
        "n_later_files": len({*content.learned_files, *merged}),
        "license": NO_LICENSE,
        "timestamp_unit": plan.data.timestamp_unit,
        **_facts(source),
        **({} if license_id is None else {"license": license_id}),
    }
    manifest = Manifest(
        model=plan.entry.name,
        dataset=plan.dataset,
        generated=plan.data.generated,
        facts=facts,
    )
    data = content.data
    card = model_card(
        manifest,
        items=[str(token) for token in np.resize(data.item_tokens[1:], 2)],
        n_items=len(data.item_tokens) - 1,
        first_time=data.first_time * PER_SECOND[plan.data.timestamp_unit],
        has_memory=memory is not None,
    )
    write_text(folder / CARD, card)
    manifest.write(folder)


def _facts(source: Path) -> dict[str, Any]:
    """What a run says of itself that is of no machine; nothing where it has not been tested."""
    if is_hub_folder(source):
        return dict(read_manifest(source).facts)
    try:
        metrics = json.loads((source / "metrics.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{source / 'metrics.json'} cannot be read: {error}") from error
    return {name: metrics[name] for name in _FACTS if name in metrics}


def upload(
    folder: Path, repo_id: str, *, private: bool | None = None, token: str | bool | None = None
) -> str:
    """Upload a folder to the Hub, whose repository is made if need be.

    Args:
        folder: Of :func:`save_hub_folder`.
        repo_id: Where to, ``user/name``.
        private: Whether a repository that is made is private; None as the account has it.
        token: None takes what the machine is logged in with.

    Returns:
        The address of the upload.

    Raises:
        ConfigError: If the package ``huggingface_hub`` is missing.
        DataError: If the folder is damaged, or the Hub does not take it.
    """
    manifest = check_hub_folder(folder)
    with _asking_the_hub(f"{folder} could not be published as {repo_id!r}"):
        api = _hub().HfApi(token=token)
        # Release 0.23 sends a None on, where the Hub expects true or false.
        options = {} if private is None else {"private": private}
        made = api.create_repo(repo_id, exist_ok=True, **options)
        done = api.upload_folder(
            repo_id=made.repo_id,  # with the user's name, where only that of the model was given
            folder_path=str(folder),
            commit_message=f"{manifest.model} trained on {manifest.dataset}",
        )
        return str(done.commit_url)


def _download(name: str, **options: Any) -> Path:
    if not _REPO_ID.fullmatch(name):
        raise DataError(f"{name} must be a folder that is there, or an id of the Hub, user/name")
    with _asking_the_hub(f"{name!r} is no folder here and could not be had from the Hub"):
        return Path(_hub().snapshot_download(name, **options))


def _hub() -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise ConfigError(
            f"the Hub needs the package {error.name}; pip install 'recbole-hm4sr[hub]'"
        ) from error


@contextlib.contextmanager
def _asking_the_hub(trouble: str) -> Iterator[None]:
    """Turn what the Hub's client raises into one sentence."""
    try:
        yield
    except ConfigError:
        raise
    # Errors of its HTTP client go through, which is another package in each of its releases.
    except Exception as error:
        raise DataError(f"{trouble}: {first_sentence(error)}") from error
