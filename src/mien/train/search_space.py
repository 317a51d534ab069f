"""A search over recipes: TOML into a recipe and a space of its keys, every mistake reported at once."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from mien.errors import RecipeError
from mien.names import nearest
from mien.train.losses import LANDMARK_LOSSES
from mien.train.recipe import Recipe, Settings
from mien.train.recipe_reading import read_recipe, read_toml, recipe_folder
from mien.train.zoo import takes_fractions

Label = bool | int | float | str


class Axis(Settings):
    """The values that one key may have: ``choices``, or numbers from ``low`` to ``high``, both included."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = Field(False, description="even in the logarithm; low must be above 0")
    step: int | float | None = Field(None, gt=0, description="distance of neighbours; without it any number")
    choices: list[Any] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _is_one_kind(self) -> "Axis":
        if mistakes := list(self._mistakes()):
            raise ValueError("; ".join(mistakes))
        return self

    def _mistakes(self) -> Iterator[str]:
        low, high = self.low, self.high
        if self.choices is not None:
            if low is not None or high is not None or self.log or self.step:
                yield "choices stand alone, without low, high, log or step"
            if len({json.dumps(choice) for choice in self.choices}) < len(self.choices):
                yield "a choice is there twice"
        elif low is None or high is None:
            yield "needs low and high, or choices"
        elif not (math.isfinite(low) and math.isfinite(high) and low < high):
            yield f"low must be below high, got {low} and {high}"
        elif self.log and low <= 0:
            yield f"low must be above 0 where log = true, got {low}"
        elif self.log and self.step:
            yield "log and step exclude each other"
        elif self.step and not math.isclose((high - low) / self.step, round((high - low) / self.step)):
            yield f"high must be low plus a whole number of steps, got {low}, {high} and step {self.step}"

    @property
    def ends(self) -> list[Any]:
        """Every choice, or the lowest and the highest value."""
        return self.choices if self.choices is not None else [self.low, self.high]

    @property
    def labels(self) -> list[Label]:
        """The choices as a database keeps them: a list becomes its JSON text."""
        return [c if isinstance(c, Label) else json.dumps(c) for c in self.choices or []]

    def value_of(self, label: Label) -> Any:
        """The value for the recipe of a number or of a choice's label."""
        return label if self.choices is None else self.choices[self.labels.index(label)]


class Search(Settings):
    """The file: which recipe, what is fixed, what is searched, how, and how often."""

    summary: str = ""
    recipe: str = Field(description="a shipped recipe's name, or a .toml path beside this file")
    trials: int = Field(gt=0)
    sampler: Literal["random", "tpe"] = "random"
    seed: int = Field(0, ge=0)
    fixed: dict[str, Any] = Field({}, alias="set", description="values for every trial, by recipe key")
    space: dict[str, Axis] = Field(min_length=1, description="axes by recipe key")


@dataclass(frozen=True)
class Plan:
    """A search that was checked.

    Attributes:
        search: What the file says; a recipe's path is absolute.
        recipe: The recipe with ``[set]`` and the data set's absolute path.
        whole: Keys that hold whole numbers.
    """

    search: Search
    recipe: Recipe
    whole: frozenset[str]

    def recipe_at(self, point: Mapping[str, Any]) -> Recipe:
        """The recipe of one trial.

        Raises:
            RecipeError: the values do not go together.
        """
        fixed = {**self.search.fixed, "data.store": self.recipe.data.store, **point}
        return read_recipe(self.search.recipe, overrides(fixed))


def search_folder() -> Path:
    """Where the shipped searches lie."""
    return recipe_folder() / "searches"


def read_search(name_or_path: str, data: Path | None = None) -> Plan:
    """Read a shipped search by name, or any by path; every end of every axis makes a sound recipe.

    Args:
        name_or_path: Such as ``cs231n`` or ``my-search.toml``.
        data: The data set file; by default the recipe's.

    Raises:
        RecipeError: the file is missing or not TOML, or it has mistakes; the text lists every one.
    """
    path, table = read_toml(name_or_path, search_folder(), "search")
    if str(table.get("recipe")).endswith(".toml"):
        table["recipe"] = str((path.parent / table["recipe"]).resolve())
    search = _check(table, str(path))
    return _plan(search, data, str(path))


def overrides(values: Mapping[str, Any]) -> list[str]:
    """``--set`` texts of values by key."""
    return [f"{key}={_toml(value)}" for key, value in values.items()]


def _check(table: dict[str, Any], where: str) -> Search:
    if isinstance(table.get("set"), dict):
        table["set"] = _dotted(table["set"])
    if isinstance(table.get("space"), dict):
        table["space"] = _dotted(table["space"], of_axes=True)
    try:
        return Search.model_validate(table)
    except ValidationError as e:
        raise _error(where, [_mistake(one["loc"], one["msg"], one["type"]) for one in e.errors()]) from e


def _dotted(table: dict[str, Any], of_axes: bool = False) -> dict[str, Any]:
    """``[space.optim]`` with ``lr = …`` means the same as ``"optim.lr" = …``."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        is_group = isinstance(value, dict) and "." not in key
        if is_group and (not of_axes or all(isinstance(inner, dict) for inner in value.values())):
            flat |= {f"{key}.{name}": inner for name, inner in value.items()}
        else:
            flat[key] = value
    return flat


def _mistake(loc: tuple[int | str, ...], message: str, kind: str) -> str:
    where = ".".join(map(str, loc))
    if kind == "extra_forbidden":
        fields = Axis.model_fields if loc[0] == "space" else Search.model_fields
        return f"{where}: unknown key{nearest(str(loc[-1]), [f.alias or name for name, f in fields.items()])}"
    message = message.removeprefix("Value error, ")
    return f"{where}: {message[0].lower()}{message[1:]}"


def _error(where: str, mistakes: list[str]) -> RecipeError:
    return RecipeError(f"{where} has {len(mistakes)} mistake(s): " + "; ".join(mistakes))


def _plan(search: Search, data: Path | None, where: str) -> Plan:
    """Build the recipe at every end of every axis, the other keys as they are fixed."""
    try:
        recipe = read_recipe(search.recipe, overrides(search.fixed))
    except RecipeError as e:
        raise RecipeError(f"{where}: [set] on recipe '{search.recipe}': {e}") from e
    store = str((data or Path(recipe.data.store)).resolve())
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"store": store})})
    plan = Plan(search, recipe, frozenset())
    mistakes = [
        f"loss.name: {loss} learns landmarks, which have no accuracy to choose by"
        for loss in (search.space["loss.name"].ends if "loss.name" in search.space else [recipe.loss.name])
        if loss in LANDMARK_LOSSES
    ]
    mistakes += [f"space.{key}: is also in [set]" for key in search.space if key in search.fixed]
    whole = set()
    for key, axis in search.space.items():
        values = []
        for end in axis.ends:
            try:
                values.append(_value(plan.recipe_at({key: end}), key))
            except RecipeError as e:
                mistakes += [f"space.{text}" for text in _blames(e, key)]
        if axis.choices is None and values and _is_whole(plan.recipe, key, values):
            whole.add(key)
            if axis.step and axis.step % 1:
                mistakes.append(f"space.{key}: step must be a whole number, got {axis.step}")
    if mistakes:
        raise _error(where, list(dict.fromkeys(mistakes)))
    return Plan(search, plan.recipe, frozenset(whole))


def _is_whole(recipe: Recipe, key: str, ends: Sequence[Any]) -> bool:
    """Whether a key holds whole numbers; an option of the network may be written so and hold fractions."""
    option = key.removeprefix("net.options.")
    if option != key and takes_fractions(recipe.net, option):
        return False
    return all(type(end) is int for end in ends)


def _value(recipe: Recipe, key: str) -> Any:
    value: Any = recipe.model_dump()
    for part in key.split("."):
        value = value[part]
    return value


def _blames(error: RecipeError, key: str) -> list[str]:
    """The mistakes of the key itself, and not of what it is combined with, which other trials may suit."""
    texts = re.split(r"; (?=[\w.]+: )", str(error).partition("mistake(s): ")[2])
    owner = "net.options" if key.startswith("net.options.") else key
    return [text for text in texts if re.match(rf"{re.escape(owner)}\b", text)]


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)
