"""The forms that settings of models choose among, named once for settings and layers.

Settings are checked before torch is imported, and layers are made of torch.
"""

from typing import Literal, TypeAlias

FusionType: TypeAlias = Literal["asy_mask", "gate", "cat"]
QkvMode: TypeAlias = Literal["tied", "separate"]
SecondPhase: TypeAlias = Literal["official", "from_homo"]
SeqPooling: TypeAlias = Literal["last", "mean", "attention", "last_attention"]
CodeReduction: TypeAlias = Literal["pca", "ae", "none"]
