"""The end of a search in words and figures: the choice, each layer's reasons, the front, and what was refused."""

from collections import defaultdict
from collections.abc import Sequence

from edgekit.core.measurement import Comparison, Quality
from edgekit.core.price import OpPrice
from edgekit.core.recipe import Precision
from edgekit.core.trial import Explanation, LayerChoice, Refusal
from edgekit.search import judge
from edgekit.search.accuracy import excess
from edgekit.search.hope import NOISE, whole
from edgekit.search.pareto import front
from edgekit.search.price import Table, cells_of
from edgekit.search.questions import Candidate, Done
from edgekit.search.record import Beliefs, Record
from edgekit.search.space import LayerSpace, Point, Space


def finish(record: Record, notes: Sequence[str]) -> Done:
    """What the search ends with, from all that was told. `notes` are added to the explanation's words."""
    kept = record.space.float_form
    if kept not in record.profiled:
        nothing = Explanation(words=("Nothing was measured: the model stays float.", *notes))
        return Done(choice=kept, kept_float=True, explanation=nothing)
    beliefs = Beliefs(record)
    choice = _settled(record, judge.best(beliefs))
    words = [*_headline(beliefs, choice), *_against_precisions(record, choice), *_against_uniforms(record, choice)]
    words += [*_accuracy_of_prices(record), *notes]
    return Done(
        choice=choice,
        kept_float=choice == kept,
        explanation=Explanation(layers=explain_layers(beliefs, choice), words=tuple(words)),
        front=_front(beliefs),
        tried=tuple(_candidate(beliefs, point) for point in _tried(record)),
        refusals=_refusals(record, choice),
        pushes=record.pushes,
    )


def explain_layers(beliefs: Beliefs, choice: Point) -> tuple[LayerChoice, ...]:
    """Each layer's choice, priced beside what it would be in float at full width and beside its other precision.

    The other precision of a float layer is the form's: a form has one below float. The float form is seen beside the
    first that was searched.
    """
    low = choice.precision if choice.int8 else beliefs.record.spaces[0].first
    space, table = beliefs.space.only(low), beliefs.fit.table
    widths, int8 = dict(choice.widths), set(choice.int8)
    full = {group.name: group.full for group in space.groups}
    pruned = dict(space.pruned(choice))
    found = []
    for layer in space.layers:
        precision = low if layer.name in int8 else "fp32"
        loss = beliefs.sensitivities.of_layer(layer.name, low) if layer.name in int8 else 0.0
        if layer.name in pruned:
            loss += beliefs.sensitivities.of_width(layer.name, pruned[layer.name])
        switched = _switched(space, choice, layer.name)
        saved = (
            _part(space, table, space.float_form, layer.name) - _part(space, table, choice, layer.name)
        ) * beliefs.record.float_s
        cost = (table.price(space, switched) - table.price(space, choice)) * beliefs.record.float_s
        found.append(
            LayerChoice(
                layer=layer.name,
                precision=precision,
                width=widths.get(layer.writes or ""),
                full_width=full.get(layer.writes or ""),
                saved_s=saved,
                loss=loss,
                runner_up=_other(layer, precision),
                reason=_reason(beliefs, layer, precision, cost),
            )
        )
    return tuple(found)


def _reason(beliefs: Beliefs, layer: LayerSpace, precision: Precision, switch_s: float) -> str:
    """Why not the other precision: its price here, boundaries included, and its loss."""
    other = _other(layer, precision)
    if other is None:
        return "stays float: the target or the project allows nothing else"
    loss = beliefs.sensitivities.of_layer(layer.name, layer.precisions[1])
    worth = f"{abs(switch_s) * 1e6:.0f} µs {'slower' if switch_s > 0 else 'faster'}"
    change = f"would take away loss {loss:.2g}" if other == "fp32" else f"would add loss {loss:.2g}"
    return f"{other} here, its conversions included, is priced {worth} and {change}"


def _other(layer: LayerSpace, precision: Precision) -> Precision | None:
    """The one of a layer's two precisions that it does not have; None where there is one only."""
    return next((other for other in layer.precisions if other != precision), None)


def _switched(space: Space, point: Point, layer: str) -> Point:
    """`point` with one layer in its other precision, where it has one."""
    allowed = layer in space.int8_layers
    return space.point(set(point.int8) ^ ({layer} if allowed else set()), dict(point.widths))


def _part(space: Space, table: Table, point: Point, layer: str) -> float:
    """A layer's own share of the price: its cell, and half of each edge that it has an end of."""
    cells, joints = cells_of(space, point)
    own = sum(table.unary.get(cell, 0.0) for cell in cells if cell[0] == layer)
    return own + sum(table.pair.get(joint, 0.0) / 2 for joint in joints if layer in joint[:2])


def _settled(record: Record, leader: Point) -> Point:
    """The leader, unless in rounds of their own a uniform form was faster, or as fast and loses no more."""
    mine, rivals = record.scored(leader), []
    for point, answers in record.duels.items():
        comparison, its = answers[-1].comparison, record.scored(point)
        as_good = its is not None and mine is not None and its.loss <= mine.loss
        if comparison.verdict == "faster" or (comparison.verdict == "no difference" and as_good):
            rivals.append((comparison.ratio.value, point.digest, point))
    return min(rivals)[2] if rivals else leader


def _headline(beliefs: Beliefs, choice: Point) -> list[str]:
    record, space = beliefs.record, beliefs.space
    count = f"{len(record.measured)} forms measured, {len(record.compiled)} compiled and priced"
    if record.goal.minimise in ("size", "memory") and record.figure(space.float_form) is None:
        return [f"Keep float: its {record.goal.minimise} is not known on this device, so nothing can be compared."]
    if choice == space.float_form:
        return [
            f"Keep float: no form is better by more than the noise and keeps the accuracy ({count}).",
            *_fault(record),
        ]
    words = [f"{space.name(choice)}: {len(choice.int8)} of {len(space.layers)} layers {choice.precision}"]
    if pruned := space.pruned(choice):
        words.append(f"{len(pruned)} of {len(space.groups)} channel groups narrower")
    comparison = record.comparison(choice)
    if comparison is not None:
        words.append(f"{_ratio(comparison)} of float's time")
    notes = [f"While it was measured {remark}." for remark in comparison.remarks] if comparison is not None else []
    return [", ".join(words) + f" ({count}).", *notes]


def _ratio(comparison: Comparison) -> str:
    ratio = comparison.ratio
    return f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"


def _against_precisions(record: Record, choice: Point) -> list[str]:
    """Why this precision and no other: what all layers in each take and lose, where the target holds several."""
    told = []
    for precision, point in whole(record.space).items():
        time, scored = _time(record, point), record.scored(point)
        if time and scored is not None:
            told.append(f"{precision} {time} of float's time and loses {scored.loss:.2g}")
    return [f"All layers in one precision: {'; '.join(told)}."] if len(told) > 1 and choice.int8 else []


def _time(record: Record, point: Point) -> str:
    """The time as a share of float's, as it was compared, or else profiled; empty where it was neither."""
    comparison, lone = record.comparison(point), record.lone(point)
    if comparison is not None:
        return f"takes {_ratio(comparison)}"
    return "" if lone is None else f"takes {lone:.2f}"


def _against_uniforms(record: Record, choice: Point) -> list[str]:
    """Whether the choice beats each uniform form that keeps the accuracy, and how that is known."""
    space, words = record.space, []
    for point, answers in record.duels.items():
        comparison, name = answers[-1].comparison, space.name(point)
        if comparison.verdict == "slower":
            words.append(f"It beats {name}, which takes {_ratio(comparison)} of its time in the same rounds.")
        elif point != choice:
            words.append(
                f"{name} takes {_ratio(comparison)} of its time: no difference beyond the noise, and none better was"
                f" found among {len(record.measured)} measured."
            )
    if space.is_uniform(choice) and choice != space.float_form:
        words.append(f"No mix beats this uniform form by more than the noise among {len(record.measured)} measured.")
    return words


def _accuracy_of_prices(record: Record) -> list[str]:
    """How far predictions were off, over what was measured."""
    errors = [
        abs(record.predicted[point] / comparison.ratio.value - 1)
        for point in record.measured
        if point in record.predicted and (comparison := record.comparison(point)) is not None
    ]
    if not errors:
        return []
    mean = 100 * sum(errors) / len(errors)
    return [f"Before they were measured, {len(errors)} forms were predicted within {mean:.1f} % on average."]


def _fault(record: Record) -> list[str]:
    """Why nothing is faster: what the int8 forms pay for that float does not, or the bound that they break."""
    forms = whole(record.space).items()
    return [words for precision, point in forms for words in _fault_of(record, precision, point)]


def _fault_of(record: Record, precision: Precision, form: Point) -> list[str]:
    """What all layers in one precision pay for that float does not; nothing where they are faster."""
    comparison, lone = record.comparison(form), record.lone(form) or 0.0
    if comparison.verdict == "faster" if comparison is not None else lone < NOISE:
        return []
    words = [f"All {precision} {_time(record, form)} of float's time."]
    floats, mixed = record.compiled.get(record.space.float_form), record.compiled.get(form)
    if floats is not None and mixed is not None and floats.ops and mixed.ops:
        before, after = _by_kind(floats.ops), _by_kind(mixed.ops)
        worst = max(mixed.ops, key=lambda op: (after[op.signature.kind] - before[op.signature.kind], op.seconds))
        kind = worst.signature.kind
        calls = sum(op.signature.kind == kind for op in mixed.ops)
        words.append(
            f"The op at fault is {kind}: {calls} calls, {after[kind] * 1e3:.3f} ms there and"
            f" {before[kind] * 1e3:.3f} ms in float; the dearest has inputs {worst.signature.inputs}."
        )
    return words


def _by_kind(ops: Sequence[OpPrice]) -> dict[str, float]:
    total: dict[str, float] = defaultdict(float)
    for op in ops:
        total[op.signature.kind] += op.seconds
    return total


def _front(beliefs: Beliefs) -> tuple[Point, ...]:
    """The measured, accepted forms that none beats in both the goal (where that is loss: latency) and loss."""
    record = beliefs.record
    points = [p for p in (beliefs.space.float_form, *record.measured) if record.accepted(p)]
    values, _ = beliefs.times(points) if beliefs.goal.minimise == "loss" else beliefs.values(points)
    losses = [scored.loss if (scored := record.scored(point)) is not None else 0.0 for point in points]
    chosen = front([(float(v), loss) for v, loss in zip(values, losses, strict=True)])
    return tuple(points[i] for i in sorted(chosen, key=lambda i: float(values[i])))


def _tried(record: Record) -> list[Point]:
    space = record.space
    seen = [space.float_form, *record.profiled, *record.measured, *record.full]
    seen += [point for point in record.quick if not space.pruned(point) and len(point.int8) != 1]
    return list(dict.fromkeys(seen))


def _candidate(beliefs: Beliefs, point: Point) -> Candidate:
    record = beliefs.record
    scored, compiled, measurement = record.scored(point), record.compiled.get(point), record.measurement(point)
    size = compiled.size_bytes if compiled is not None else None
    predicted = record.predicted.get(point)
    return Candidate(
        point=point,
        name=beliefs.space.name(point),
        uniform=beliefs.space.is_uniform(point),
        predicted_s=record.float_s * (float(beliefs.times([point])[0][0]) if predicted is None else predicted),
        loss=scored.loss if scored is not None else None,
        quality=scored.quality if scored is not None else (),
        comparison=record.comparison(point),
        measurement=measurement,
        size_bytes=size if size is not None or measurement is None else measurement.size_bytes,
    )


def _refusals(record: Record, choice: Point) -> tuple[Refusal, ...]:
    """What failed, what lost too much, what is not faster, and uniform forms that were not fine-tuned."""
    space = record.space
    found = [Refusal(what=space.name(point), reason=reason) for point, reason in record.failed.items()]
    for point in _tried(record):
        scored, comparison = record.scored(point), record.comparison(point)
        if point in (choice, space.float_form) or point in record.failed:
            continue
        if scored is not None and (over := excess(scored.quality)) is not None and over > 0:
            found.append(Refusal(what=space.name(point), reason=_too_much(scored.quality)))
        elif scored is None and space.is_uniform(point):
            found.append(
                Refusal(
                    what=space.name(point), reason="not fine-tuned: the budget of fine-tunings was spent on wider forms"
                )
            )
        elif comparison is not None and comparison.verdict != "faster":
            found.append(
                Refusal(what=space.name(point), reason=f"{comparison.verdict}: {_ratio(comparison)} of float's time")
            )
        elif comparison is None and (lone := record.lone(point)) is not None and lone > NOISE:
            found.append(Refusal(what=space.name(point), reason=f"slower: {lone:.2f} of float's time when profiled"))
    return tuple(found)


def _too_much(quality: Sequence[Quality]) -> str:
    worst = max((q for q in quality if q.bound is not None), key=lambda q: q.drop_high - (q.bound or 0.0))
    return (
        f"{worst.metric} falls from {worst.reference:.4g} to {worst.value:.4g}, by up to {worst.drop_high:.4g} (95 %)"
        f" where {worst.bound:.4g} is allowed"
    )
