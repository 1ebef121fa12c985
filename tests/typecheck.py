"""The type checker that the tests run the package under: beartype, an int being a float."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
