"""Muon for the matrices of encoders: which weights they are, and whose step each weight makes."""

import copy

import pytest
import torch
from arithmetic import Arithmetic

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.layers.blocks import build_encoder
from recbole_hm4sr.train.muon import MuonForEncoders, encoder_matrices

OPTIONS = {"lr": 0.01, "weight_decay": 0.1}


class Toy(torch.nn.Module):
    """Ids, an encoder of one block, a head."""

    def __init__(self):
        super().__init__()
        self.ids = torch.nn.Embedding(5, 8)
        self.encoder = build_encoder(
            block="bert",
            n_layers=1,
            hidden_size=8,
            inner_size=16,
            n_heads=2,
            hidden_act="gelu",
            hidden_dropout_prob=0.0,
            attn_dropout_prob=0.0,
            layer_norm_eps=1e-12,
        )
        self.head = torch.nn.Linear(8, 3)


def names_of(model, weights):
    known = {id(weight): name for name, weight in model.named_parameters()}
    return {known[id(weight)] for weight in weights}


def set_gradients(model, number):
    for place, weight in enumerate(model.parameters(), start=1):
        weight.grad = torch.sin(torch.arange(weight.numel()) * 0.7 * place + number).view_as(weight)


def test_the_matrices_are_the_linear_maps_of_the_blocks():
    model = Toy()
    maps = ("attention.query", "attention.key", "attention.value", "attention.output")
    expected = {f"encoder.layers.0.{name}.weight" for name in maps}
    expected |= {f"encoder.layers.0.feed_forward.{name}.weight" for name in ("inner", "output")}
    assert names_of(model, encoder_matrices(model)) == expected


def test_recbole_s_encoder_has_matrices_too():
    from recbole.model.layers import TransformerEncoder

    encoder = TransformerEncoder(n_layers=2, n_heads=2, hidden_size=8, inner_size=16)
    assert len(encoder_matrices(encoder)) == 2 * 6


def test_steps_are_those_of_muon_and_of_adam():
    """Each on its own weights, with the gradients of five steps."""
    model = Toy()
    alone = copy.deepcopy(model)
    joined = MuonForEncoders(model, [{"params": list(model.parameters())}], **OPTIONS)
    matrices = encoder_matrices(alone)
    known = set(map(id, matrices))
    muon = torch.optim.Muon(matrices, adjust_lr_fn="match_rms_adamw", **OPTIONS)
    rest = [weight for weight in alone.parameters() if id(weight) not in known]
    adam = torch.optim.Adam(rest, fused=True, **OPTIONS)
    for number in range(5):
        set_gradients(model, number)
        set_gradients(alone, number)
        joined.step()
        muon.step()
        adam.step()
    for (name, weight), expected in zip(model.named_parameters(), alone.parameters(), strict=True):
        assert torch.equal(weight, expected), name


def test_its_state_resumes_exactly():
    model = Toy()
    whole = MuonForEncoders(model, [{"params": list(model.parameters())}], **OPTIONS)
    set_gradients(model, 0)
    whole.step()
    other = copy.deepcopy(model)
    resumed = MuonForEncoders(other, [{"params": list(other.parameters())}], lr=9.0, weight_decay=9)
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    assert [group["lr"] for group in resumed.param_groups] == [0.01, 0.01]
    assert len(resumed.state) == len(whole.state) == len(list(model.parameters()))
    for each, optimizer in ((model, whole), (other, resumed)):
        set_gradients(each, 1)
        optimizer.step()
    for weight, expected in zip(other.parameters(), model.parameters(), strict=True):
        assert torch.equal(weight, expected)


def test_groups_keep_their_own_rates():
    model = Toy()
    groups = [
        {"params": [*model.encoder.parameters(), *model.ids.parameters()], "lr": 0.5},
        {"params": list(model.head.parameters())},
    ]
    optimizer = MuonForEncoders(model, groups, **OPTIONS)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5, 0.01]
    optimizer.zero_grad()
    optimizer.param_groups[0]["lr"] = 0.0  # of the matrices: the trainer's schedule does this
    before = [weight.clone() for weight in encoder_matrices(model)]
    set_gradients(model, 0)
    optimizer.step()
    assert all(map(torch.equal, encoder_matrices(model), before))


def test_a_model_without_blocks_is_refused(session):
    rule = "learner must be another one than muon for the model Arithmetic, which has no encoder"
    with pytest.raises(ConfigError, match=rule):
        session(Arithmetic, learner="muon")


def test_a_torch_without_muon_is_told_of(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon")
    model = Toy()
    with pytest.raises(ConfigError, match=r"than muon with torch .*; torch has it since 2\.9"):
        MuonForEncoders(model, [{"params": list(model.parameters())}], **OPTIONS)
