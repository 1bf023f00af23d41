"""Rows of commands that come later: histories for ``recommend``, ``.hyper`` files for ``tune``.

A row is a line: ``Fault(name, words of the command, pattern of the message, what breaks it)``.
"""

from faultkit import Fault

RECOMMEND: list[Fault] = []
HYPER: list[Fault] = []
FAULTS = [*RECOMMEND, *HYPER]
