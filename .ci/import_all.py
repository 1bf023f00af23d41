"""Import every module of the installed package; one that the wheel lacks is an error."""

import importlib
import pkgutil

import recbole_hm4sr

names = [
    module.name
    for module in pkgutil.walk_packages(recbole_hm4sr.__path__, "recbole_hm4sr.")
    if not module.name.endswith("__main__")
]
for name in names:
    importlib.import_module(name)
print(f"{len(names)} modules of {recbole_hm4sr.__path__[0]} can be imported")
