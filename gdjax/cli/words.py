"""Words of the command line made into what they stand for."""

from typing import Any

from gdjax import checks
from gdjax.data.regimes import Regime, full_batch, mini_batch, stochastic
from gdjax.report.compare import CUSTOMARY

OPTIMIZERS = {factory.__name__: factory for factory in CUSTOMARY}


def words(text: str) -> list[str]:
    """What stands between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def names(argument: str, text: str, known: tuple[str, ...]) -> list[str]:
    """Known names, each once."""
    return [checks.choice(argument, word, known) for word in dict.fromkeys(words(text))]


def integer(argument: str, word: str) -> int:
    """A whole number of at least 0."""
    try:
        value = int(word)
    except ValueError:
        raise ValueError(f"`{argument}` must hold whole numbers, got '{word}'.") from None
    return checks.integer(argument, value, least=0)


def number(argument: str, word: str) -> float:
    """Any number."""
    try:
        return float(word)
    except ValueError:
        raise ValueError(f"`{argument}` must hold numbers, got '{word}'.") from None


def regimes(text: str) -> list[Regime]:
    """Regimes, each once."""
    return [_regime(word) for word in dict.fromkeys(words(text))]


def one_regime(text: str) -> Regime:
    """A single regime."""
    found = regimes(text)
    if len(found) != 1:
        raise ValueError(f"`regime` must be one regime, got '{text}'.")
    return found[0]


def _regime(word: str) -> Regime:
    if word in ("full", "full_batch"):
        return full_batch()
    if word == "stochastic":
        return stochastic()
    try:
        size = int(word)
    except ValueError:
        raise ValueError(f"`regimes` must hold full, stochastic or sizes of mini-batches, got '{word}'.") from None
    return mini_batch(checks.integer("regimes", size, least=1))


def varied(text: str) -> tuple[str, list[Any] | tuple[float, float, int | None]]:
    """NAME=VALUE,VALUE,... as (name, values), NAME=LOW:HIGH[:COUNT] as (name, (low, high, count or None))."""
    name, equals, given = text.partition("=")
    if not equals or not name.strip() or not given.strip():
        raise ValueError(f"`vary` must be NAME=LOW:HIGH:COUNT or NAME=VALUE,VALUE,..., got '{text}'.")
    if ":" not in given:
        return name.strip(), [_value(word) for word in words(given)]
    parts = given.split(":")
    if len(parts) not in (2, 3):
        raise ValueError(f"`vary` must be NAME=LOW:HIGH:COUNT or NAME=VALUE,VALUE,..., got '{text}'.")
    low, high = (number("vary", word) for word in parts[:2])
    return name.strip(), (low, high, integer("vary", parts[2]) if len(parts) == 3 else None)


def _value(word: str) -> Any:
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    return int(word) if word.lstrip("-").isdigit() else number("vary", word)
