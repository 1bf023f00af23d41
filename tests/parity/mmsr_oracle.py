"""MMSR from its equations, one sequence at a time in plain NumPy loops, float64, no dropout.

Nothing of ``recbole_hm4sr`` is imported, so that a mistake cannot be on both sides. A node is a
pair (type, id): type 0 is an item, type 1 + m a code of modality m. Covers one or more layers of
the fusion ``asy_mask`` in all its variants, with the last item read out.

Reference:
    Hu et al., "Adaptive Multi-Modalities Fusion in Sequential Recommendation Systems", CIKM 2023,
    arXiv:2308.15980.
"""

import numpy as np


class PlainMMSR:
    """Scores of one sequence.

    Args:
        params: Arrays under the model's state-dict names.
        n_layers: Passes through the layer.
        from_homo: Whether the order "homogeneous first" uses its first phase.
        slope: Of the leaky ReLU.
    """

    def __init__(self, params, *, n_layers=1, from_homo=False, slope=0.1):
        self.p = params
        self.n_layers = n_layers
        self.from_homo = from_homo
        self.slope = slope

    def scores(self, items):
        """Scores of all items, the padding item included, ``[I]``."""
        belongs = [self._nodes_of(item) for item in items]
        nodes = sorted({node for group in belongs for node in group})
        states = {node: self._input(node, belongs) for node in nodes}
        for _ in range(self.n_layers):
            states = self._layer(states, items, belongs)
        return self.p["item_embedding.weight"] @ states[(0, items[-1])]

    def _nodes_of(self, item):
        links = self.p["code_links"][item]
        codes = [(1 + m, int(c)) for m, row in enumerate(links) for c in row if c > 0]
        return [(0, item), *codes]

    def _input(self, node, belongs):
        kind, index = node
        table = "item_embedding.weight" if kind == 0 else f"code_embeddings.{kind - 1}"
        where = [position for position, group in enumerate(belongs) if node in group]
        parts = [
            self.p[table][index],
            self.p["node_encoder.type_embedding"][kind],
            self.p["position_embedding.weight"][where].mean(axis=0),
        ]
        return np.concatenate(parts) @ self.p["node_encoder.input_projection"]

    def _layer(self, x, items, belongs):
        def projected(name):
            matrices = self.p.get(
                f"dual_attention.{name}", self.p["dual_attention.query_projection"]
            )
            return {node: state @ matrices[node[0]] for node, state in x.items()}

        q, k, v = map(projected, ("query_projection", "key_projection", "value_projection"))
        hetero = self._heterogeneous(q, k, v, belongs)
        first = self._homogeneous(hetero, v, items, belongs)
        second = hetero
        if self.from_homo:
            z = self._homogeneous(v, v, items, belongs)
            second = self._heterogeneous(z, z, v, belongs)
        return {node: self._gate(second[node], first[node]) for node in x}

    def _heterogeneous(self, q, k, v, belongs):
        mixed = {}
        for i in q:
            near = {j for group in belongs if i in group for j in group if j == i or j[0] != i[0]}
            mixed[i] = self._attend({j: q[i] @ k[j] for j in near}, v)
        return mixed

    def _homogeneous(self, z, v, items, belongs):
        follows = set()
        for step in range(len(items) - 1):
            if items[step] != items[step + 1]:
                for i in belongs[step]:
                    follows |= {(i, j) for j in belongs[step + 1] if i[0] == j[0] and i != j}
        a = self.p["dual_attention.relation_vectors"]
        mixed = {}
        for i in z:
            scores = {i: a[0] @ (z[i] * z[i])}
            for j in z:
                out, back = (i, j) in follows, (j, i) in follows
                if out or back:
                    vector = a[3] if out and back else a[1] if out else a[2]
                    scores[j] = vector @ (z[i] * z[j])
            mixed[i] = self._attend(scores, v)
        return mixed

    def _attend(self, scores, v):
        leaky = {j: score if score > 0 else self.slope * score for j, score in scores.items()}
        top = max(leaky.values())
        weights = {j: np.exp(score - top) for j, score in leaky.items()}
        return sum(weight * v[j] for j, weight in weights.items()) / sum(weights.values())

    def _gate(self, *candidates):
        hidden, bias = (self.p[f"dual_attention.gate.hidden.{part}"] for part in ("weight", "bias"))
        final = self.p["dual_attention.gate.score.weight"][0]
        scores = [np.exp(final @ np.maximum(hidden @ u + bias, 0)) for u in candidates]
        return sum(score * u for score, u in zip(scores, candidates, strict=True)) / sum(scores)
