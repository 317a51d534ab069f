"""A training recipe: TOML into checked settings, every mistake reported at once."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from mien.core.model_store import find_model, is_run
from mien.core.own_code import allow_own
from mien.core.own_files import parse_toml, reading
from mien.core.run_names import is_run_folder
from mien.errors import ModelError, RecipeError
from mien.names import nearest
from mien.train.initialise import is_released
from mien.train.losses import LANDMARK_LOSSES
from mien.train.recipe import DataSettings, NetSettings, Recipe, Settings
from mien.train.recipe_keys import balanced_by, without_places
from mien.train.zoo import fixed_size, net_mistakes


def recipe_folder() -> Path:
    """Where the shipped recipes lie."""
    return Path(__file__).parents[1] / "recipes"


def targets_path(name_or_path: str) -> Path:
    """The file of soft targets of a shipped name, or of a path.

    Raises:
        RecipeError: there is none.
    """
    folder = recipe_folder() / "soft-targets"
    return _file(
        name_or_path, folder, ".safetensors", "soft targets", "a .safetensors file of `mien targets`"
    )


def _file(name_or_path: str, folder: Path, suffix: str, what: str, own: str) -> Path:
    """A path with that suffix as it is; any other text is the name of a file in ``folder``."""
    path = Path(name_or_path)
    if path.suffix != suffix:
        path = folder / f"{name_or_path}{suffix}"
    if not path.is_file():
        known = sorted(p.stem for p in folder.glob(f"*{suffix}"))
        raise RecipeError(
            f"no {what} '{name_or_path}'{nearest(name_or_path, known)} "
            f"(shipped: {', '.join(known) or 'none'}; or give {own})"
        )
    return path


def read_toml(name_or_path: str, folder: Path, what: str) -> tuple[Path, dict[str, Any]]:
    """The path and the table of a ``.toml`` file, or of a shipped one in ``folder`` by name.

    Raises:
        RecipeError: the file is missing or not TOML.
    """
    path = _file(name_or_path, folder, ".toml", what, "a .toml path")
    with reading(f"{path}:", "not valid TOML", error=RecipeError):
        return path, parse_toml(path.read_text(encoding="utf-8"))


def read_recipe(name_or_path: str, overrides: Sequence[str] = (), *, files: bool = False) -> Recipe:
    """Read a shipped recipe by name, or any by path, and apply ``a.b=value`` overrides.

    Args:
        name_or_path: Such as ``fer2013-s2d-cpu`` or ``my.toml``.
        overrides: Such as ``run.epochs=5``.
        files: Count as mistakes also the files that the recipe names and that are not there.

    Raises:
        RecipeError: the file is missing or not TOML, or it has mistakes; the text lists every one.
    """
    if is_run_folder(name_or_path):
        raise RecipeError(
            f"{name_or_path} is a run, not a recipe; the command that began it continues it: "
            f"mien train RECIPE --out {name_or_path}"
        )
    path, table = read_toml(name_or_path, recipe_folder(), "recipe")
    for override in overrides:
        _apply(table, override)
    net = table.get("net")
    allow_own(str(net.get("name", "")) if isinstance(net, dict) else "")  # it is the user's own recipe
    return check_recipe(table, str(path), files=files)


def check_recipe(table: dict[str, Any], where: str = "recipe", *, files: bool = False) -> Recipe:
    """Turn a table into a `Recipe`; see `read_recipe`.

    Raises:
        RecipeError: with every mistake in one text.
    """
    recipe, mistakes = None, []
    try:
        recipe = Recipe.model_validate(table)
    except ValidationError as e:
        mistakes = [_mistake(error["loc"], error["msg"], error["type"]) for error in e.errors()]
    data, net = _sound(DataSettings, table, "data"), _sound(NetSettings, table, "net")
    if net:
        unknown = net_mistakes(net)
        mistakes += unknown
        mistakes += _contradictions(recipe, fixed_size(net)) if recipe and not unknown else []
    if files and data and not Path(data.store).is_file():
        mistakes.append(f"data.store: no data set at {data.store}; make it with `mien data import`")
    if files and recipe:
        missing = [_missing_teacher(name) for name in recipe.distil.teachers]
        mistakes += [f"distil.teachers: {mistake}" for mistake in missing if mistake]
    if files and recipe and recipe.distil.targets:
        try:
            targets_path(recipe.distil.targets)
        except RecipeError as e:
            mistakes.append(f"distil.targets: {e}")
    if mistakes or recipe is None:
        raise RecipeError(f"{where} has {len(mistakes)} mistake(s): " + "; ".join(mistakes))
    return recipe


def _missing_teacher(name: str) -> str:
    """What is wrong with a teacher that cannot be found; nothing where it is there."""
    if not name.strip():
        return "a name is empty"
    if is_run(name):
        return ""
    if not is_released(name):
        return f"no run at {name}"
    try:
        find_model(name)
    except ModelError as e:
        return str(e)
    return ""


S = TypeVar("S", bound=Settings)


def _sound(model: type[S], table: dict[str, Any], key: str) -> S | None:
    """One table of a recipe by itself, or None where it has mistakes."""
    try:
        return model.model_validate(table.get(key, {}))
    except ValidationError:
        return None


def _contradictions(recipe: Recipe, side: int | None) -> list[str]:
    """What each table allows by itself, but not together with another; ``side`` is the network's only one."""
    balanced = balanced_by(recipe.model_dump())
    sizes = {size for _, size in recipe.run.sizes}
    starts = [start for start, _ in recipe.run.sizes]
    found = {
        'augment.mixup: a teacher has not seen mixed faces; set distil.view="same", or leave out mixup': bool(
            recipe.augment.mixup and recipe.distil.teachers and recipe.distil.view == "original"
        ),
        "distil.targets: give distil.teachers or distil.targets, not both": bool(
            recipe.distil.targets and recipe.distil.teachers
        ),
        'distil.view: "same" needs distil.teachers, for a file has seen the original faces alone': (
            recipe.distil.view == "same" and not recipe.distil.teachers
        ),
        f"{' and '.join(balanced)}: together, rare emotions would count twice; keep one": len(balanced) > 1,
        f"run.sizes: '{recipe.net.name}' is built for {side} px alone; set net.options.size": (
            side is not None and sizes != {side}
        ),
        "run.sizes: the first must start at 0.0": min(starts) > 0,
        "run.sizes: what starts at 1.0 is never learned from, and the last is scored; start it earlier": (
            min(starts) == 0 and max(starts) == 1
        ),
    }
    return [text for text, holds in found.items() if holds] + _of_emotions_alone(recipe)


def choices_by_validation(recipe: Recipe) -> str:
    """What to set so that nothing in a run goes by its validation rows; empty where nothing does."""
    chooses = {
        "run.keep=last": recipe.run.keep == "best",
        "run.stop_after=0": recipe.run.stop_after > 0,
        "optim.schedule=cosine": recipe.optim.schedule == "plateau",
    }
    return ", ".join(change for change, does in chooses.items() if does)


def _of_emotions_alone(recipe: Recipe) -> list[str]:
    """What is set for emotions, where points or valence and arousal are learned."""
    loss = recipe.loss
    if loss.name != "valence-arousal" and loss.name not in LANDMARK_LOSSES:
        return []
    found = {
        "augment.mixup": recipe.augment.mixup,
        "data.sampling": recipe.data.sampling == "balanced",
        "distil": recipe.distil.teachers or recipe.distil.targets,
        "loss.class_weights": loss.class_weights != "none",
        "loss.label_smoothing": loss.label_smoothing,
        "loss.logit_adjustment": loss.logit_adjustment,
    }
    return [
        f"{key}: is for emotions, and loss '{loss.name}' learns none" for key, given in found.items() if given
    ]


def _apply(table: dict[str, Any], override: str) -> None:
    key, sign, text = override.partition("=")
    *parents, leaf = key.strip().split(".")
    if not sign or not leaf:
        raise RecipeError(f"--set needs key=value such as run.epochs=5, got '{override}'")
    try:
        value = parse_toml(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise RecipeError(f"--set {override}: '{parent}' is a value, not a table")
    table[leaf] = value


def _mistake(loc: tuple[int | str, ...], message: str, kind: str) -> str:
    where = ".".join(map(str, loc))
    if kind != "extra_forbidden":
        return f"{where}: {message[0].lower()}{message[1:]}"
    model: type[BaseModel] = Recipe
    for part in loc[:-1]:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field else None
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
        elif inner is not None and get_args(inner):
            break
    key = str(loc[-1])
    elsewhere = [
        f"'{table}.{key}'"
        for table, field in Recipe.model_fields.items()
        if isinstance(field.annotation, type) and key in getattr(field.annotation, "model_fields", {})
    ]
    meant = f"; did you mean {' or '.join(elsewhere)}?" if elsewhere else nearest(key, model.model_fields)
    return f"{where}: unknown key{meant}"


def changes(asked: Recipe, ran: Recipe, besides: Collection[str] = ()) -> list[str]:
    """What ``ran`` does otherwise than ``asked``, as ``key=value (asked)``.

    Args:
        asked: One recipe.
        ran: Another one.
        besides: Keys that may differ, beside those of `mien.train.recipe_keys.PLACES`.
    """
    one, other = (without_places(recipe.model_dump(mode="json")) for recipe in (asked, ran))
    keys = sorted((one.keys() | other.keys()) - set(besides))
    return [
        f"{key}={json.dumps(other.get(key))} ({json.dumps(one.get(key))})"
        for key in keys
        if one.get(key) != other.get(key)
    ]
