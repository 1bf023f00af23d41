"""Import every module of the installed package; one that the wheel lacks is an error.

A module may need a package of an extra. Then the module is there, which is what this asks.
"""

import importlib
import pkgutil
from importlib.metadata import requires

from packaging.requirements import Requirement

import recbole_hm4sr

of_extras = {
    requirement.name
    for requirement in map(Requirement, requires("recbole-hm4sr") or [])
    if requirement.marker is not None and "extra" in str(requirement.marker)
}
names = [
    module.name
    for module in pkgutil.walk_packages(recbole_hm4sr.__path__, "recbole_hm4sr.")
    if not module.name.endswith("__main__")
]
of_an_extra = []
for name in names:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in of_extras:
            raise
        of_an_extra.append(f"{name} needs {error.name}")
imported = len(names) - len(of_an_extra)
print(f"{imported} modules of {recbole_hm4sr.__path__[0]} can be imported", *of_an_extra, sep="\n")
