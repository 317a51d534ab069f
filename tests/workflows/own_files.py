"""Every kind of file that mien writes and reads back: a sound one, and what reads it."""

import io
import json
import random
import shutil
from collections.abc import Callable
from contextlib import closing, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer

from mien.cli.main import app
from mien.core.cards import read_card
from mien.core.session import open_session
from mien.data import leaks
from mien.data.image_loading import ImageSettings
from mien.data.ingest import Ingestion, Target, ingest_images
from mien.data.leaks import read_learned, write_learned
from mien.data.listing import Entry, Listing
from mien.data.records import FaceSet
from mien.data.store import read_near_duplicates, read_store, write_store
from mien.train.checkpoints import load_tensors, save_tensors
from mien.train.recipe_reading import read_recipe
from mien.train.search_space import read_search
from mien.train.soft_targets import SoftTargets, read_soft_targets, write_soft_targets
from mien.train.trained_net import load_trained
from mien.train.zoo import build
from mien.workflows.papers.claims import read_result
from mien.workflows.papers.page import page
from mien.workflows.quiz.quiz_file import Draw, Quiz, open_quiz
from mien.workflows.quiz.report import quiz_report
from mien.workflows.release import read_card_text
from mien.workflows.report import make_report
from mien.workflows.report_run import read_run
from mien.workflows.run_folder import write_predictions
from mien.workflows.search import open_ledger, read_search_folder
from mien.workflows.search_report import command, importances

LABELS = ("angry", "happy", "sad")
SEARCH = """recipe = "{recipe}"
trials = 3
[space]
"optim.lr" = {{ low = 0.01, high = 0.1, log = true }}
"""
RECIPE = """summary = "tiny"
[data]
store = "s.h5"
[net]
name = "s2d-resnet"
options = { widths = [8, 8, 8], blocks = [1, 1, 1] }
[optim]
lr = 0.05
[run]
epochs = 1
"""


@dataclass(frozen=True)
class Sample:
    """A file, what reads it, and how it is damaged: ``bytes`` always, and by what it is."""

    path: Path
    read: Callable[[], object]
    kind: str = "bytes"


def faces(n: int = 24) -> FaceSet:
    rng = np.random.default_rng(0)
    return FaceSet(
        images=rng.integers(0, 255, (n, 12, 12), np.uint8),
        labels=np.arange(n, dtype=np.int64) % len(LABELS),
        split=np.arange(n).astype(np.uint8) // 8 % 3,
        rows=np.arange(n, dtype=np.int64),
        label_names=LABELS,
        name="made",
        file_sha256=rng.integers(0, 255, (n, 32), np.uint8),
    )


def mien(*arguments: object) -> str:
    """What a command prints; its exit is no error here."""
    told = io.StringIO()
    with redirect_stdout(told), redirect_stderr(told), suppress(SystemExit):
        typer.main.get_command(app)([str(one) for one in arguments], "mien")
    return told.getvalue()


def samples(folder: Path, tiny: Path) -> dict[str, Sample]:
    """One of each kind in ``folder``; ``tiny`` is a small released model."""
    card = folder / "card.json"
    shutil.copy(tiny.with_suffix(".json"), card)
    shutil.copy(tiny, folder / "card.onnx")
    network = folder / "network.onnx"
    shutil.copy(tiny, network)
    store = folder / "s.h5"
    write_store(faces(), store)
    found = {
        "card": Sample(
            card, lambda: (read_card(card), mien("models", card), mien("models", "--json")), "json"
        ),
        "network": Sample(network, lambda: open_session(network)),
        "store": Sample(store, lambda: (mien("data", "show", store), read_store(store)), "hdf5"),
        "near duplicates": Sample(store, lambda: read_near_duplicates(store), "hdf5"),
    }
    texts = {
        "recipe": (RECIPE, read_recipe),
        "search": (SEARCH.format(recipe=folder / "recipe.toml"), read_search),
        "words of a card": (
            'licence = "CC0-1.0"\nlimits = "many"\n',
            lambda p: read_card_text(Path(p), "one"),
        ),
    }
    for name, (text, read) in texts.items():
        path = folder / f"{name.split()[0]}.toml"
        path.write_text(text, encoding="utf-8")
        found[name] = Sample(path, lambda read=read, path=path: read(str(path)), "toml")
    return found | run_samples(folder / "run") | database_samples(folder, store) | part_samples(folder)


def run_samples(run: Path) -> dict[str, Sample]:
    """The files of a run folder and beside it."""
    run.mkdir()
    recipe = read_recipe(str(run.parent / "recipe.toml"))
    net = build(recipe.net, len(LABELS))
    note = {
        "net": recipe.net.model_dump(mode="json"),
        "n_votes": 0,
        "labels": list(LABELS),
        "mean_std": [0.5, 0.25],
        "input_size": 16,
        "channels": 1,
        "data": {"name": "made", "content_hash": faces().content_hash()},
    }
    line = {"epoch": 1.0, "lr": 0.1, "train_loss": 1.0, "val_accuracy": 0.5}
    state = {"step": 3, "seconds": 1.5, "totals": {"loss": 1.0, "correct": 1.0, "seen": 4}, "history": [line]}
    save_tensors(run / "weights.safetensors", net.state_dict(), note)
    save_tensors(run / "checkpoint.safetensors", {"net.x": torch.zeros(3)}, state)
    told = {
        "recipe.json": {"recipe": recipe.model_dump(mode="json"), "data": faces().content_hash()},
        "environment.json": {"gpu": None, "machine": "a", "threads": 1, "commit": None, "mien": "0"},
        "history.json": {"seconds": 1.5, "history": [line]},
        "result.json": result(),
        "scores-val.json": {"clean": {"accuracy": 0.5}},
    }
    for name, content in told.items():
        (run / name).write_text(json.dumps(content), encoding="utf-8")
    probs = np.random.default_rng(1).dirichlet(np.ones(len(LABELS)), len(faces()))
    write_predictions(run / "predictions-val.csv", faces(), probs)
    write_learned(leaks.learned(faces()), run / "learned-faces.npz")
    targets = run.parent / "targets.safetensors"
    write_soft_targets(
        SoftTargets(faces().rows, probs.astype(np.float32), LABELS, "0", {"folds": 4}), targets
    )

    def report() -> object:
        read_run(run)
        return make_report([run], None, run) if random.random() < 0.1 else None

    def result_page() -> object:
        found = read_result(run)
        return page({"maastricht-cnn1": found}, run) if found and found["test"] else None

    found = {name: Sample(run / name, report, "json") for name in told if name != "result.json"}
    tensors = {
        "weights.safetensors": lambda path: load_trained(path.parent, torch.device("cpu")),
        "checkpoint.safetensors": load_tensors,
        "../targets.safetensors": read_soft_targets,
    }
    for name, read in tensors.items():
        path = run / name
        found[name] = Sample(path, lambda read=read, path=path: read(path), "tensors")
    marks = run / "learned-faces.npz"
    return found | {
        "result.json": Sample(run / "result.json", result_page, "json"),
        "predictions": Sample(run / "predictions-val.csv", report, "csv"),
        "learned faces": Sample(marks, lambda: read_learned(marks)),
    }


def result() -> dict[str, Any]:
    scores = {"accuracy": 0.6, "accuracy_interval": [0.5, 0.7], "balanced_accuracy": 0.5, "macro_f1": 0.5}
    return {
        "changes": [],
        "epochs": 3,
        "epochs_wanted": 4,
        "finished": True,
        "seconds": 9.5,
        "environment": {"gpu": None, "machine": "a", "threads": 1, "commit": None},
        "test_evaluations": 1,
        "val": scores,
        "test": {**scores, "never_predicted": []},
        "clean": {"accuracy": 0.5},
        "leak": None,
    }


def database_samples(folder: Path, store: Path) -> dict[str, Sample]:
    """A quiz that two people answered, and a search of two trials."""
    quiz = folder / "quiz.db"
    with closing(open_quiz(quiz, store, Draw(8, 3, 0, "test"))) as opened:
        for name in ("ann", "bob"):
            step = opened.begin(name, training=2)
            for i in range(6):
                step = opened.answer(name, step.part, step.place, i % len(LABELS), 500)

    def read_quiz() -> None:
        with closing(Quiz(quiz)) as opened:
            opened.people()
            opened.begin("cid")
        quiz_report(quiz)

    search = folder / "search"
    plan = read_search(str(folder / "search.toml"), store)
    with open_ledger(search) as ledger:
        ledger.claim(plan, read_store(store))
        for accuracy in (0.5, 0.75):
            number, lock = ledger.next_trial(plan)
            ledger.complete(number, accuracy)
            lock.release()

    def read_found() -> None:
        state = read_search_folder(search)
        importances(state)
        if state.best:
            command(state, state.best, search)

    return {
        "quiz": Sample(quiz, read_quiz, "sqlite"),
        "search folder": Sample(search / "search.db", read_found, "sqlite"),
    }


def part_samples(folder: Path) -> dict[str, Sample]:
    """What an import that was killed left: it goes on, or begins again."""
    from PIL import Image

    images = []
    for i in range(3):
        images.append(folder / f"{i}.png")
        Image.fromarray(faces().images[i]).save(images[-1])
    entries = [Entry(image, i % 2, "train") for i, image in enumerate(images)]
    listing = Listing("made", LABELS, lambda: iter(entries), len(entries))
    to = folder / "imported.h5"
    kept, part = folder / "kept.part", folder / ".imported.h5.part"
    target = Target(LABELS, tuple(range(len(LABELS))))
    Ingestion(listing, ImageSettings(12), target, kept).run(lambda done, total: None)

    def read(name: str) -> None:
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(kept, part)
        ingest_images(listing, to, ImageSettings(12))
        if len(read_store(to)) != 3:
            raise AssertionError("the import lost an image")

    notes, images_part = sorted(kept.glob("0*.json"))[0], sorted(kept.glob("0*.h5"))[0]
    return {
        "notes of an import": Sample(notes, lambda: read(notes.name), "json"),
        "part of an import": Sample(images_part, lambda: read(images_part.name), "hdf5"),
        "marker of an import": Sample(kept / "import.json", lambda: read("import.json"), "json"),
    }
