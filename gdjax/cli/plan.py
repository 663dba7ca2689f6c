"""`gdjax plan`."""

import dataclasses
from typing import Any

import jax
import numpy as np

import gdjax
from gdjax import checks, tasks
from gdjax.cli.on_data import OnData
from gdjax.cli.words import OPTIMIZERS, one_regime
from gdjax.data.meshes import ROWS
from gdjax.report.compare import CUSTOMARY


@dataclasses.dataclass(frozen=True)
class Plan(OnData):
    """What would this training take, on devices that one may not have?

    Compiles the training of a network on the data for a TPU slice, or for this machine's devices, runs nothing, and
    prints for each device: memory, operations, traffic and exchanges of a step, the time that the compiler expects,
    and whether it fits; where it does not, what would make it fit.

    In the shell:
      gdjax plan --topology v5e:2x4
      gdjax plan --data fashion-mnist --hidden 8192,8192 --examples 60000000 --regime 4096 --topology v5e:2x4
    """

    topology: str | None = None
    """A TPU slice such as v5e:2x4, v6e:16x16, v5p:4x4x4 (pip install 'gdjax[tpu]'); else this machine's devices."""
    optimizer: str = "adam"
    """Any of gdjax's optimizers, by its name in Python."""
    regime: str = "64"
    """full, stochastic, or the size of a mini-batch."""
    shards: int = 1
    """Into how many parts the rows are dealt; with 1 every device has a copy of them."""
    shard_optimizer_state: bool = False
    """Spread the optimizer's state over the devices (ZeRO-1)."""
    examples: int | None = None
    """Plan for so many rows instead of those that there are."""

    def run(self) -> None:
        """Check, load, compile and show."""
        factory = OPTIMIZERS[checks.choice("optimizer", self.optimizer, tuple(OPTIMIZERS))]
        shards = checks.integer("shards", self.shards, least=1)
        regime = one_regime(self.regime)
        if regime.batch_size is not None and regime.batch_size % shards:
            raise ValueError(f"`shards` must divide the batch's {regime.batch_size} rows, got {shards}.")
        where: dict[str, Any] = {"topology": self.topology}
        if self.topology is None:
            where = {"mesh": jax.sharding.Mesh(np.asarray(jax.devices()), (ROWS,))}

        task = tasks.load(self.data, **self.options())
        rows = len(task.train[1])
        if self.examples is not None:
            rows = checks.integer("examples", self.examples, least=1)
        data = jax.tree.map(lambda x: jax.ShapeDtypeStruct((rows, *x.shape[1:]), x.dtype), task.train)
        planned = gdjax.plan(
            task.loss,
            task.init,
            data,
            optimizer=factory(CUSTOMARY[factory]),
            regime=dataclasses.replace(regime, shards=shards),
            shard_optimizer_state=self.shard_optimizer_state,
            **where,
        )
        print(f"{task.name}, {rows:,} rows; {self.optimizer} on a network with hidden layers of {self.hidden}.\n")
        print(planned)
