"""What made a loss or a weight non-finite: the layer, the row, the weight."""

import re

import pytest
import torch
from helpers import ArrayDataset, fill_parameters, model_config
from recbole.data.interaction import Interaction
from torch import nn

from recbole_hm4sr.base.errors import DataError, TrainingError
from recbole_hm4sr.model.hm4sr.model import HM4SR
from recbole_hm4sr.train.diagnose import (
    explain_losses,
    nonfinite_state,
    nonfinite_tensors,
    refuse_losses,
    refuse_state,
    refuse_weights,
)


class Layers(nn.Module):
    """Three layers; the second one divides by its input."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(1, 1, bias=False)
        self.second = Reciprocal()
        self.third = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.first.weight)
        nn.init.ones_(self.third.weight)

    def forward(self, x):
        return self.third(self.second(self.first(x)))


class Reciprocal(nn.Module):
    def forward(self, x):
        return 1 / x


def batch_of(values):
    return Interaction({"x": torch.tensor(values)[:, None]})


def losses_of(model):
    return lambda batch: {"loss": model(batch["x"]).sum(), "other": torch.ones(())}


def explain(model, values):
    return explain_losses(model, batch_of(values), losses_of(model))


def test_the_first_layer_and_the_row_are_named():
    words = explain(Layers(), [1.0, 2.0, 3.0, 0.0, 5.0])
    assert "the first value that is not finite is in the output of second;" in words
    assert "row 4 of 5 gives it by itself" in words


def test_what_goes_into_a_layer_is_told_from_its_output():
    class Between(Layers):
        def forward(self, x):
            return self.third(self.first(x).log())

    words = explain(Between(), [1.0, -1.0])
    assert "is in what goes into third; row 2 of 2" in words


def test_a_loss_that_is_none_of_a_layer_is_said_to_be():
    model = Layers()

    def losses(batch):
        return {"loss": (model(batch["x"]) * torch.inf).sum()}

    words = explain_losses(model, batch_of([1.0, 2.0]), losses)
    assert "every layer's output is finite; it arises in loss itself; row 1 of 2" in words


def test_weights_that_were_not_finite_before_are_named_first():
    model = Layers()
    with torch.no_grad():
        model.third.weight[:] = torch.nan
    words = explain(model, [1.0])
    assert "the weights third.weight hold NaN or infinity before the step" in words
    assert "batch of 1 rows" in words


def test_values_of_the_batch_are_named():
    words = explain(Layers(), [1.0, torch.inf])
    assert "the batch's x hold NaN or infinity; row 2" not in words  # 1 / inf is 0
    assert "the batch's x hold NaN or infinity" in words


def test_a_batch_that_is_finite_the_second_time_says_so():
    words = explain(Layers(), [1.0, 2.0])
    assert "computed again with other dropout, the batch is finite; batch of 2 rows" in words


def test_a_part_that_a_layer_cannot_take_is_not_blamed():
    class NeedsTwo(Layers):
        def forward(self, x):
            if len(x) < 2:
                raise ValueError("expected more than 1 value")
            return super().forward(x)

    assert "batch of 2 rows" in explain(NeedsTwo(), [0.0, 1.0])


def test_no_hook_and_no_gradient_stays():
    model = Layers()
    explain(model, [0.0])
    assert not any(module._forward_hooks for module in model.modules())
    assert all(weight.grad is None for weight in model.parameters())


def test_losses_are_refused_with_moment_cause_and_remedy():
    model = Layers()
    batch = batch_of([0.0])
    message = (
        "every loss must be finite, but loss is inf in epoch 2, step 3: the first value that is "
        "not finite is in the output of second; row 1 of 1 gives it by itself: row 1; lower "
        "learning_rate or set clip_grad_norm: {max_norm: 1}"
    )
    with pytest.raises(TrainingError, match=f"^{re.escape(message)}$"):
        refuse_losses(losses_of(model)(batch), "epoch 2, step 3", model, batch, losses_of(model))
    sound = batch_of([1.0])
    refuse_losses(losses_of(model)(sound), "epoch 2, step 3", model, sound, losses_of(model))


def hm4sr_batch(n_items):
    lengths = torch.tensor([3, 2, 4])
    items = torch.zeros(3, 10, dtype=torch.int64)
    for row, length in enumerate(lengths.tolist()):
        items[row, :length] = torch.arange(row + 1, row + 1 + length)
    times = torch.where(items > 0, 1_700_000_000 + items * 3600, 0)
    columns = {"item_id_list": items, "timestamp_list": times, "item_length": lengths}
    return Interaction({**columns, "item_id": torch.tensor([5, 6, 7]) % n_items})


def test_the_stream_of_hm4sr_that_breaks_is_named():
    features = {name: torch.rand(9, 3).numpy() for name in ("text", "image")}
    config = model_config(hidden_size=8, inner_size=8, train_mode="prefix")
    model = HM4SR(config, ArrayDataset(9, features))
    fill_parameters(model)
    layer = model.encoders["image"]
    layer.register_forward_pre_hook(lambda module, args: (args[0] * torch.inf, *args[1:]))
    batch = hm4sr_batch(9)
    words = explain_losses(model, batch, model.named_losses)
    assert re.search(r"is in (what goes into|the output of) encoders\.image", words)


# --- once an epoch --------------------------------------------------------------------------------


def stepped(gradient):
    """A model after one step of Adam with a given gradient of its first layer."""
    model = Layers()
    optimizer = torch.optim.Adam(model.parameters())
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    model.first.weight.grad[:] = gradient
    optimizer.step()
    return model, optimizer


def test_a_sound_step_passes():
    refuse_state(*stepped(1.0), "epoch 1")


@pytest.mark.parametrize("gradient", [torch.nan, torch.inf])
def test_a_gradient_that_is_not_finite_shows_in_the_weight(gradient):
    with pytest.raises(
        TrainingError, match=r"after epoch 4 these are not: weight first\.weight, gradient of first"
    ):
        refuse_state(*stepped(gradient), "epoch 4")


def test_a_gradient_whose_square_is_too_large_shows_though_the_weight_is_finite():
    # Adam keeps a thousandth of its square: 1e41, beyond float32's 3.4e38.
    model, optimizer = stepped(1e22)
    assert nonfinite_tensors(model.named_parameters()) == []
    assert nonfinite_state(model, optimizer) == ["gradient of first.weight (exp_avg_sq)"]


def test_weights_of_a_checkpoint_must_be_finite(tmp_path):
    model = Layers()
    refuse_weights(model, tmp_path / "best.pt")
    with torch.no_grad():
        model.first.weight[:] = torch.inf
    with pytest.raises(DataError, match=r"best\.pt must hold finite weights, got .* first\.weight"):
        refuse_weights(model, tmp_path / "best.pt")
