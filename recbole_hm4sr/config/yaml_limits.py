"""What a settings file may not do to the process that reads it.

A few lines of YAML can name the same list ten times in ten lists, and so on: small when read, more
entries than memory can hold as soon as they are copied, compared or printed ("billion laughs").
"""

import re
from collections import Counter
from typing import Any

import yaml

MOST_ENTRIES = 100_000


class Loader(yaml.SafeLoader):
    """YAML's safe loader that also reads ``1e-3`` as a number, as RecBole's users write it.

    A name that a mapping sets twice is an error, where YAML takes the last.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001
        """The dictionary of a mapping."""
        names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and names[key.value] > 1:
                raise yaml.constructor.ConstructorError(
                    problem=f"{key.value!r} is set twice", problem_mark=key.start_mark
                )
        return super().construct_mapping(node, deep)


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"""^[-+]?(?:(?:\d[\d_]*)?\.\d[\d_]*(?:[eE][-+]?\d+)?|\d[\d_]*\.(?:[eE][-+]?\d+)?
        |\d[\d_]*[eE][-+]?\d+|\.(?:inf|Inf|INF))$|^\.(?:nan|NaN|NAN)$""",
        re.VERBOSE,
    ),
    list("-+0123456789."),
)

_NUMBER = r"\s*[-+]?(inf|\d+(\.\d*)?([eE][-+]?\d+)?)\s*"
_INTERVAL = re.compile(rf"\s*[\[(]{_NUMBER},{_NUMBER}[\])]\s*")


def are_intervals(text: str) -> bool:
    """Whether a text is RecBole's intervals, ``[5,inf)`` or ``[0,2];(5,9]``: no YAML as it is."""
    return all(map(_INTERVAL.fullmatch, text.split(";")))


def load_yaml(text: str, loader_class: Any) -> Any:
    """The value of one YAML document.

    Args:
        text: The document.
        loader_class: A safe loader of PyYAML.

    Raises:
        ValueError: If a number or a date is none.
        yaml.YAMLError: If it is no YAML, holds itself, is nested too deeply, or has more than
            ``MOST_ENTRIES`` entries once its aliases are written out.
    """
    loader = loader_class(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        # Before anything is made of the nodes: merging aliases alone can take forever.
        _count_entries(node, {}, set())
        return loader.construct_document(node)
    except RecursionError as error:
        raise yaml.MarkedYAMLError(problem="it is nested too deeply") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
        # PyYAML's constructors raise these for a tag whose text is none: !!bool maybe.
        raise yaml.MarkedYAMLError(problem=f"a value is not what its tag says: {error}") from error
    finally:
        loader.dispose()


def _count_entries(node: yaml.Node, known: dict[int, int], open_nodes: set[int]) -> int:
    """Entries of a node with every alias written out; each node is visited once."""
    place = id(node)
    if place in open_nodes:
        raise yaml.MarkedYAMLError(problem="it holds itself", problem_mark=node.start_mark)
    if place not in known:
        open_nodes.add(place)
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            parts = node.value
        elif isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        known[place] = 1 + sum(_count_entries(part, known, open_nodes) for part in parts)
        open_nodes.remove(place)
        if known[place] > MOST_ENTRIES:
            raise yaml.MarkedYAMLError(
                problem=f"it must have at most {MOST_ENTRIES:,} entries with aliases written out",
                problem_mark=node.start_mark,
            )
    return known[place]
