"""Loss and metrics on whole data, outside training."""

from typing import Any

import jax

from gdjax.data.rows import ShardedRows
from gdjax.engine.loss import Callee, callee
from gdjax.engine.parameters import merge
from gdjax.types import Batch


def judges_of(metrics: Any) -> tuple[Callee, ...]:
    """The metrics that a user gave, {name: function of (params, batch)} or None, their signatures read.

    Raises:
      TypeError, ValueError: if it is no such dict, or a metric bears the name of the loss.
    """
    if not isinstance(metrics, dict | None):
        raise TypeError(f"`metrics` must be a dict of functions, got {metrics!r}.")
    if "loss" in (metrics or {}):
        raise ValueError("`metrics` must not hold the name 'loss', which is the loss's own, got it.")
    return tuple(callee(name, metric) for name, metric in (metrics or {}).items())


def evaluate(
    params: tuple, model_state: Any, data: Batch, *, loss: Callee | None, metrics: tuple[Callee, ...]
) -> dict[str, jax.Array]:
    """{"loss": where one is given, name: metric} of the parameters that `split` took apart.

    Of rows dealt out to shards, the mean of what is found of the shards' and of the tail, weighed by rows.
    """
    offered = {"key": jax.random.key(0), "training": False, "model_state": model_state}
    whole = merge(*params)

    def of(rows: Batch) -> dict[str, jax.Array]:
        values = {} if loss is None else {"loss": loss.loss(whole, rows, **offered)[0]}
        return values | {metric.name: metric.metric(whole, rows, **offered) for metric in metrics}

    if not isinstance(data, ShardedRows) or len(data.parts) == 1:
        return of(data.parts[0][0] if isinstance(data, ShardedRows) else data)
    (body, many), (tail, few) = data.parts
    share = few / (many + few)
    return jax.tree.map(lambda a, b: a * (1 - share) + b * share, of(body), of(tail))
