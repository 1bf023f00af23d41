"""What RecBole's YAML of S3Rec does not say of the settings of its two stages."""

from typing import Literal

from recbole_hm4sr.config.fields import Count, setting
from recbole_hm4sr.config.settings import Settings


class S3RecSettings(Settings):
    """The two stages of S3Rec: pre-training, then fine-tuning from its last checkpoint."""

    train_stage: Literal["pretrain", "finetune"] = setting(
        ..., "Stage of this run; hm4sr compare runs both."
    )
    pretrain_epochs: Count = setting(..., "Epochs of the first stage in hm4sr compare.")
    pre_model_path: str | None = setting(
        ..., "The checkpoint/last.pt of the pre-training, for finetune.", "free on resume"
    )
