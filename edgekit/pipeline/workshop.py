"""Where forms of one model are built for one target: each width vector once in each precision, its mixes from that."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import numpy as np

from edgekit.core.noun import digest
from edgekit.core.recipe import Recipe
from edgekit.core.target import Target
from edgekit.errors import ArtifactError, ConvertError, ModelError
from edgekit.formats.base import get_format
from edgekit.formats.child import run_models
from edgekit.models.batches import batch_of
from edgekit.models.program import Program
from edgekit.pipeline.events import Event, Listener, silent
from edgekit.pipeline.job import Job
from edgekit.pipeline.programs import program_of
from edgekit.search.space import Fidelity, Point, Space, to_recipe
from edgekit.store.weights import WeightStore

PROGRAMS = 4
"""Programs of width vectors that are held in memory; what was lowered from others is on disk."""
TOGETHER = 8
"""Files that are run in one process: starting one takes longer than running a small net."""


class Workshop:
    """Gives the file of each point of a space, at a fidelity. `folder` is this process's own."""

    def __init__(
        self, job: Job, space: Space, target: Target, weights: WeightStore, folder: Path, *,
        features: tuple[str, ...] | None = None, listen: Listener = silent,
    ) -> None:  # fmt: skip
        self._job, self._space, self._target, self._weights, self._folder = job, space, target, weights, folder
        self._features, self._listen = features, listen
        self._files: dict[tuple[Point, Fidelity], Path] = {}
        self._failed: dict[tuple[Point, Fidelity], ModelError] = {}
        self._program = lru_cache(maxsize=PROGRAMS)(self._make_program)

    def recipe(self, point: Point, fidelity: Fidelity = "full") -> Recipe:
        """What makes `point`, in the project's own words."""
        project, how = self._job.project, self._job.project.compress
        return to_recipe(
            self._space, point, fidelity,
            epochs=project.budget.epochs, ranges=how.ranges, rounding=how.rounding, granularity=how.granularity,
            seed=project.seed,
        )  # fmt: skip

    def file(self, point: Point, fidelity: Fidelity) -> Path:
        """The lowered form of `point`.

        Raises: ModelError, ConvertError.
        """
        key = self.key(point, fidelity)
        if key not in self._files:
            self._lower([point], key[1])
        return self._files[key]

    def prepare(self, points: Iterable[Point], fidelity: Fidelity) -> None:
        """Lowers those of equal widths and precision together; where that fails, `file` says of each why."""
        shapes: dict[tuple[Point, Fidelity], list[Point]] = {}
        for point in points:
            key = self.key(point, fidelity)
            if key not in self._files:
                shapes.setdefault((self._whole(point), key[1]), []).append(point)
        for done, ((_, at), some) in enumerate(shapes.items()):
            self._listen(Event(stage="compile", text=f"building {len(some)} forms", done=done, total=len(shapes)))
            with suppress(ConvertError, ModelError):
                self._lower(some, at)

    def outputs(self, points: Sequence[Point], fidelity: Fidelity) -> dict[Point, np.ndarray]:
        """What the first of `points` gives for every validation sample, by the target's own runtime on the host.

        Others that were lowered are run in the same process, and what they give is told as well.

        Raises: as `file`; ArtifactError if the runtime refuses the first.
        """
        some = [points[0], *(p for p in points[1:TOGETHER] if self.key(p, fidelity) in self._files)]
        paths = [self.file(point, fidelity) for point in some]
        try:
            inputs, rows = self._job.data["validation"].inputs, batch_of(self._job.model.spec)
            outputs = run_models(self._target.format, paths, inputs, rows=rows)
        except ArtifactError:
            if len(some) == 1:
                raise
            return self.outputs(some[:1], fidelity)
        return {point: given[0] for point, given in zip(some, outputs, strict=True)}

    def key(self, point: Point, fidelity: Fidelity) -> tuple[Point, Fidelity]:
        """What one file is kept under: where nothing is pruned, both fidelities are one form."""
        return point, fidelity if self._space.pruned(point) else "quick"

    def _lower(self, points: Sequence[Point], fidelity: Fidelity) -> None:
        whole = self._whole(points[0])
        if (whole, fidelity) in self._failed:  # training took minutes to diverge, and would again
            raise self._failed[whole, fidelity]
        try:
            program = self._program(whole, fidelity)
        except ModelError as error:
            self._failed[whole, fidelity] = error
            raise
        folder = self._folder / digest("whole", whole, fidelity)[:16]
        back_end = get_format(self._target.format)
        made = back_end.mixes(program, [frozenset(p.int8) for p in points], self._target, folder)
        self._files.update({(point, fidelity): path for point, path in zip(points, made, strict=True)})

    def _whole(self, point: Point) -> Point:
        """The form that `point` is a mix of: of its widths, with every layer in its precision that may be."""
        precision = point.precision if point.int8 else self._space.first
        return self._space.point(self._space.layers_in(precision), dict(point.widths), precision)

    def _make_program(self, whole: Point, fidelity: Fidelity) -> Program:
        return program_of(
            self._job, self.recipe(whole, fidelity), self._target, self._weights,
            features=self._features, listen=self._listen,
        )  # fmt: skip
