"""The main job: search, measure on the device, choose, test once, install."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from edgekit import __version__
from edgekit.bench.runners.table import tells
from edgekit.core.artifact import Artifact
from edgekit.core.device import EMULATED, Device, Facts
from edgekit.core.noun import digest
from edgekit.core.recipe import Recipe
from edgekit.core.target import Target
from edgekit.core.trial import Choice, Refusal, Study, Trial
from edgekit.devices.facts import gather
from edgekit.devices.prepare import check_measures
from edgekit.devices.push import collecting, install
from edgekit.errors import LeaseError, StorageError, StoreError, TargetError, UnreachableError
from edgekit.formats.compilers import compiler_of
from edgekit.pipeline.alone import tools
from edgekit.pipeline.answers import Answers
from edgekit.pipeline.build import build, quality_of
from edgekit.pipeline.choices import cannot_be_cut, space_of
from edgekit.pipeline.engine import engine_of
from edgekit.pipeline.events import Event, Listener, silent
from edgekit.pipeline.held import held
from edgekit.pipeline.job import Job
from edgekit.pipeline.tried import tried_of
from edgekit.pipeline.usable import check_usable
from edgekit.pipeline.workshop import Workshop
from edgekit.search.questions import Candidate, Done, Effort, Goal, answers_from_json, answers_to_json
from edgekit.search.search import Search
from edgekit.search.space import Space
from edgekit.store.artifacts import ArtifactStore
from edgekit.store.ledger import Ledger
from edgekit.store.scratch import scratch
from edgekit.store.weights import WeightStore


def tune(
    job: Job, device: Device, target: Target, store: ArtifactStore, weights: WeightStore, ledger: Ledger, *,
    listen: Listener = silent, install_choice: bool = True, wait_s: float = 0.0,
) -> Study:  # fmt: skip
    """The fastest form of the job's model on `device` that keeps its accuracy, measured there and installed there.

    The device is this study's alone meanwhile; `wait_s` is how long to wait until it is.

    Killed at any point, the same call goes on where it was: every answered question is in the ledger. Where nothing
    beats the float model by more than the noise, the choice is the float model.

    Raises: what the project, the device, the target or the data get wrong: see errors.py.
    """
    began = time.monotonic()
    check_usable(target)
    _check_searchable(job, target)
    job.score_float(listen)
    with (
        held(device, f"tune {job.project.name}", wait_s=wait_s, listen=listen) as transport,
        scratch() as folder,
        _kept_when_cut(), collecting(transport, device),
    ):  # fmt: skip
        listen(Event(stage="device", text=f"asking {device.name} what it is"))
        facts = gather(transport, device)
        check_measures(transport, device, facts, target.runtime)
        space = space_of(job, target)
        key = digest("study", job.digest, facts.lasting(), target, space, tools())[:32]
        study = _opened(ledger, key, job, device, target)
        features = facts.features
        workshop = Workshop(job, space, target, weights, folder, features=features, listen=listen)
        answers = Answers(job, space, target, workshop, transport, device, facts, ledger, key, folder, listen)
        done = _search(job, space, answers, ledger, study, began)
        recipe = workshop.recipe(done.choice)
        chosen = build(job, recipe, target, store, weights, features=features, listen=listen).artifact
        listen(Event(stage="test", text="reading the test split, once"))
        tested = quality_of(job, chosen, store, "test")
        choice = Choice(
            device=device.name, target=target.name, trial=space.name(done.choice), artifact=chosen.id,
            kept_float=done.kept_float, explanation=done.explanation, test=tested,
        )  # fmt: skip
        found = msgspec.structs.replace(
            _spent(study, began, done.pushes), choice=choice,
            trials=tuple(
                _trial(c, workshop.recipe(c.point), chosen if c.point == done.choice else None) for c in done.tried
            ),
            refusals=(*done.refusals, *cannot_be_cut(job), *_refused(choice), *_doubted(facts)),
            versions=(("edgekit", __version__), *answers.versions()),
        )  # fmt: skip
        ledger.save_study(found, "open")
        if install_choice and holds(choice):
            listen(Event(stage="install", text=f"installing {chosen.id[:12]} on {device.name}"))
            engine = engine_of(transport, device, facts, chosen, store, listen=listen)
            tried_of(transport, device, facts, chosen, store, listen=listen)
            deployment = install(
                transport, device, chosen, store.folder(chosen), name=job.project.name,
                engine=engine.path if engine else "", find_file=store.file_finder(),
            )  # fmt: skip
            ledger.add_deployment(deployment)
        ledger.save_study(found, "done")
    return found


def _check_searchable(job: Job, target: Target) -> None:
    """Return if there are forms for the target to choose from, and the runtime tells what they are chosen by.

    Raises: TargetError.
    """
    told = tells(target.runtime)
    if job.project.minimise == "memory" and told is not None and "memory" not in told.more:
        raise TargetError(f"target {target.name}: {target.runtime} tells no memory: minimise latency or size")
    if compiler_of(target) is not None:
        raise TargetError(
            f"target {target.name}: it runs whole models in int8 and none in float, so there are no forms to choose "
            f"from: `edgekit convert` builds one, `edgekit bench FLOAT.onnx ARTIFACT` has its ratio to the float model "
            f"on the board's processor"
        )


@contextmanager
def _kept_when_cut() -> Iterator[None]:
    """Adds to what stops a study midway, and is not the study's fault, that it can go on."""
    try:
        yield
    except (UnreachableError, StorageError, LeaseError, StoreError) as error:
        raise type(error)(f"{error}; what was measured is kept, and the same command goes on from there") from None


def holds(choice: Choice) -> bool:
    """Whether the choice keeps every bound on the test split; its drop, not the interval's end, is what is asked."""
    return all(q.bound is None or q.drop <= q.bound for q in choice.test)


def _search(job: Job, space: Space, answers: Answers, ledger: Ledger, study: Study, began: float) -> Done:
    budget = job.project.budget
    effort = Effort(pushes=budget.pushes, shapes=budget.shapes, tunings=budget.tunings)
    search = Search(space, Goal(minimise=job.project.minimise), effort, job.project.seed)
    ends = time.monotonic() + budget.minutes * 60 - study.seconds  # of all the runs that the study has taken
    while not isinstance(question := search.ask(), Done):
        kept = ledger.answer(study.id, question.digest)
        if kept is None:
            if time.monotonic() > ends:
                search.stop(f"the budget of {budget.minutes:g} minutes is spent")
                continue
            told = answers.of(question)
            search.tell(told)  # first: where it raises, the same command asks again
            ledger.remember(study.id, question.digest, type(question).__name__.lower(), answers_to_json(told))
        else:
            search.tell(answers_from_json(kept, "ledger"))
        ledger.save_study(_spent(study, began, search.record.pushes), "open")
    return question


def _opened(ledger: Ledger, key: str, job: Job, device: Device, target: Target) -> Study:
    """The study of that key as it was left, or a new one; equal devices share one, and it is this one's now."""
    begun = Study(
        id=key, project=job.project.name, model=job.model.spec.digest, device=device.name, target=target.name,
        minimise=job.project.minimise, max_drop=job.max_drop, versions=(("edgekit", __version__),),
    )  # fmt: skip
    return msgspec.structs.replace(ledger.open_study(begun), device=device.name)


def _spent(study: Study, began: float, pushes: int) -> Study:
    """The study with what it has taken by now: the time of all its runs, as far as they were kept."""
    return msgspec.structs.replace(study, seconds=study.seconds + time.monotonic() - began, pushes=pushes)


def _trial(candidate: Candidate, recipe: Recipe, artifact: Artifact | None) -> Trial:
    return Trial(
        name=candidate.name, uniform=candidate.uniform, recipe=recipe,
        artifact=None if artifact is None else artifact.id, size_bytes=candidate.size_bytes,
        predicted_s=candidate.predicted_s, quality=candidate.quality,
        comparison=candidate.comparison, measurement=candidate.measurement,
    )  # fmt: skip


def _doubted(facts: Facts) -> tuple[Refusal, ...]:
    return (Refusal(what="times", reason=EMULATED),) if facts.emulated else ()


def _refused(choice: Choice) -> tuple[Refusal, ...]:
    if holds(choice):
        return ()
    worst = max(choice.test, key=lambda q: q.drop - (q.bound or 0))
    return (
        Refusal(
            what=choice.trial,
            reason=f"on the test split {worst.metric} drops by {worst.drop:.4f}, bound {worst.bound}: not installed",
        ),
    )
