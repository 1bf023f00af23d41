"""A draw that a step shares: the first process's, but where losses are of the rows at hand."""

import torch

from recbole_hm4sr.parallel import rows


def test_all_processes_have_the_draw_of_the_first(monkeypatch):
    monkeypatch.setattr(rows, "world_size", lambda: 2)
    monkeypatch.setattr(rows.dist, "broadcast", lambda values, **_: values.fill_(7))
    assert rows.of_first_process(torch.zeros(2)).tolist() == [7, 7]
    with rows.without_gathering():
        assert rows.of_first_process(torch.zeros(2)).tolist() == [0, 0]


def test_one_process_keeps_its_own():
    assert rows.of_first_process(torch.ones(2)).tolist() == [1, 1]
