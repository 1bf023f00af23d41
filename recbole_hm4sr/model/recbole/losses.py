"""What is known of the losses of RecBole's models; nothing here imports torch."""

from recbole_hm4sr.config.loss_rules import LossFacts

_BOTH = ("BPR", "CE")
_FACTS = {
    "BERT4Rec": LossFacts(_BOTH, draws_its_own=True),
    "CORE": LossFacts(("CE",)),
    "DIEN": LossFacts(_BOTH, reads_negative_histories=True),
    "DIN": LossFacts(_BOTH, is_pairwise=True),
    "FPMC": LossFacts(("BPR",), is_pairwise=True),
    "GRU4RecCPR": LossFacts(("CE",)),  # leaves the process without a word on any other
    "RepeatNet": LossFacts(("CE",)),
    "SASRecCPR": LossFacts(("CE",)),  # likewise
    "SINE": LossFacts(("BPR", "CE", "NLL")),
    "TransRec": LossFacts(_BOTH, is_pairwise=True),
}


def loss_facts(name: str) -> LossFacts:
    """What is known of the loss of a model of RecBole."""
    return _FACTS.get(name, LossFacts(_BOTH))
