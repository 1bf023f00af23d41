"""MMSR from its equations, one sequence at a time in plain NumPy loops, float64, no dropout.

Nothing of ``recbole_hm4sr`` is imported, so that a mistake cannot be on both sides. A node is a
pair (type, id): type 0 is an item, type 1 + m a code of modality m. Covers one or more layers of
every fusion, every variant of it and every read-out.

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
        fusion: ``asy_mask``, ``gate`` or ``cat``.
        pooling: ``last``, ``mean``, ``attention`` or ``last_attention``.
        from_homo: Whether the order "homogeneous first" uses its first phase.
        slope: Of the leaky ReLU.
    """

    def __init__(
        self, params, *, n_layers=1, fusion="asy_mask", pooling="last", from_homo=False, slope=0.1
    ):
        self.p = params
        self.n_layers = n_layers
        self.fusion = fusion
        self.pooling = pooling
        self.from_homo = from_homo
        self.slope = slope

    def scores(self, items):
        """Scores of all items, the padding item included, ``[I]``."""
        belongs = [self._nodes_of(item) for item in items]
        nodes = sorted({node for group in belongs for node in group})
        states = {node: self._input(node, belongs) for node in nodes}
        for _ in range(self.n_layers):
            states = self._layer(states, items, belongs)
        sequence = np.stack([states[(0, item)] for item in items])
        return self.p["item_embedding.weight"] @ self._read_out(sequence)

    def _read_out(self, states):
        if self.pooling == "last":
            return states[-1]
        mean = states.mean(axis=0)
        if self.pooling == "mean":
            return mean
        where = self.p["position_embedding.weight"][: len(states)]
        projection = self.p["readout.position_aware.projection"]
        aware = np.tanh(np.concatenate([where, states], axis=1) @ projection)
        if self.pooling == "last_attention":
            last = [max(len(states) - 1 - back, 0) for back in range(3)]
            return sum(self._gate("readout.gate", aware[place], mean) for place in last)
        local, bias = (self.p[f"readout.local.{part}"] for part in ("weight", "bias"))
        compared = aware @ local.T + bias + self.p["readout.context.weight"] @ mean
        weights = 1 / (1 + np.exp(-compared)) @ self.p["readout.score.weight"][0]
        return weights @ states

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
        if self.fusion != "asy_mask":
            return self._side_by_side(q, k, v, hetero, self._homogeneous(v, v, items, belongs))
        first = self._homogeneous(hetero, v, items, belongs)
        second = hetero
        if self.from_homo:
            z = self._homogeneous(v, v, items, belongs)
            second = self._heterogeneous(z, z, v, belongs)
        return {node: self._gate("dual_attention.gate", second[node], first[node]) for node in x}

    def _side_by_side(self, q, k, v, hetero, homo):
        if self.fusion == "cat":
            matrix, bias = (
                self.p[f"dual_attention.cat_projection.{n}"] for n in ("weight", "bias")
            )
            return {i: matrix @ np.concatenate([homo[i], hetero[i]]) + bias for i in v}
        mixed = {}
        for i in v:
            local = self._gate("dual_attention.gate", homo[i], hetero[i])
            everywhere = sum(np.tanh(q[i] @ k[j]) * v[j] for j in v)
            mixed[i] = self._gate("dual_attention.global_gate", local, everywhere)
        return mixed

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

    def _gate(self, name, *candidates):
        hidden, bias = (self.p[f"{name}.hidden.{part}"] for part in ("weight", "bias"))
        final = self.p[f"{name}.score.weight"][0]
        scores = [np.exp(final @ np.maximum(hidden @ u + bias, 0)) for u in candidates]
        return sum(score * u for score, u in zip(scores, candidates, strict=True)) / sum(scores)
