"""Model cards for people and for the Hugging Face Hub: all that the card knows, and nothing else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mien.cli.models import card_lines
from mien.core.cards import NOT_STATED, ModelCard, read_card
from mien.core.model_store import DEFAULT_MODEL, SHIPPED
from mien.errors import MienError
from mien.workflows.model_card import header, model_card, write_model_card

OWN: dict[str, Any] = {
    "name": "calls",
    "summary": "tired, awake or absent",
    "labels": ("tired", "awake", "absent"),
    "input_size": 32,
    "channels": 3,
    "mean": 0.5,
    "std": 0.25,
    "sha256": "ab" * 32,
    "licence": NOT_STATED,
    "data": "calls",
    "intended_use": "Not stated by its maker.",
    "unfit_use": "Not for judging people.",
    "limits": "Not stated by its maker.",
    "training": {"data": {"name": "our calls", "content_hash": "00"}},
}
TEST = {
    "n": 40,
    "accuracy": 0.75,
    "accuracy_interval": [0.598, 0.858],
    "per_class": [
        {"label": "tired", "precision": 0.9, "recall": 0.8, "f1": 0.85, "support": 20},
        {"label": "awake", "precision": 0.6, "recall": 0.7, "f1": 0.65, "support": 20},
        {"label": "absent", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0},
    ],
}


def own(**more: Any) -> ModelCard:
    return ModelCard(**{**OWN, **more})


def front_matter(text: str) -> Any:
    yaml = pytest.importorskip("yaml", reason="needs PyYAML to compare with")
    assert text.startswith("---\n")
    return yaml.safe_load(text.split("---\n")[1])


@pytest.mark.parametrize(
    ("leak", "text"),
    [
        (None, "Leaks: what this model learned from is not known here: not searched for leaks"),
        ({"leaks": False, "start": "web"}, "Leaks: it started from web, whose training faces are not known"),
        ({"leaks": False, "start": ""}, ""),
    ],
)
def test_training_faces_that_nobody_here_knows_are_told(leak: Any, text: str) -> None:
    card = own(scores={"test": TEST | {"leak": leak}})
    shown = model_card(card, 1), " ".join(" ".join(card_lines(card, Path(__file__))).split())
    for page in shown:
        assert text in page if text else "Leaks" not in page


def test_a_card_of_ones_own_model_says_nothing_of_other_data() -> None:
    text = model_card(own(scores={"test": TEST}), 123_456)
    for word in ("FER2013", "fer2013", "FER+", "web", "gray", "vote", "PublicTest", "parameters"):
        assert word not in text
    assert "Classes: tired, awake, absent. 0.1 MB, RGB 32 x 32 input." in text
    assert "Lowest recall: awake, 70.0% of 20 test faces." in text
    assert "| test | 40 | 75.00% (59.8%-85.8%) |" in text
    for title in ("Intended use", "Contact", "Citation"):
        assert f"## {title}\n\nNot stated by its maker.\n" in text
    assert not {"datasets", "language", "license_name"} & header(own()).keys()
    assert header(own())["license"] == "unknown"


def test_the_header_holds_what_the_hub_asks_for() -> None:
    card = own(
        labels=("happy", "sad"),
        licence="CC-BY-4.0",
        training={"data": {"name": "fer2013"}},
        scores={"test": TEST},
    )
    found = front_matter(model_card(card, 1))
    assert found == header(card)
    assert (found["license"], found["language"], found["datasets"]) == ("cc-by-4.0", "en", ["fer2013"])
    assert (found["library_name"], found["pipeline_tag"]) == ("mien", "image-classification")
    (result,) = found["model-index"][0]["results"]
    assert result["metrics"] == [
        {"type": "accuracy", "value": 0.75, "name": "Accuracy (95 % interval 59.8% to 85.8%)"}
    ]
    assert found["metrics"] == ["accuracy"]


def test_scores_of_other_data_than_the_training_data_are_under_its_name() -> None:
    card = own(training={"data": {"name": "fer2013"}}, scores={"test": {**TEST, "data": "webcam"}})
    assert header(card)["datasets"] == ["fer2013"]
    (result,) = header(card)["model-index"][0]["results"]
    assert result["dataset"] == {"type": "webcam", "name": "webcam, test", "split": "test"}
    text = model_card(card, 1)
    assert "| webcam, test | 40 | 75.00% (59.8%-85.8%) |" in text
    assert "| webcam, test | faces | precision |" in text


def test_other_terms_are_named_other_and_told_in_words() -> None:
    card = own(licence="MIT for the weights, as far as it goes.")
    assert (header(card)["license"], header(card)["license_name"]) == ("other", "see-licence-of-the-weights")
    assert "## Licence of the weights\n\nMIT for the weights, as far as it goes.\n" in model_card(card, 1)


def test_the_hub_reads_every_score_of_the_shipped_card() -> None:
    hub = pytest.importorskip("huggingface_hub", reason="needs huggingface_hub to compare with")
    if not (SHIPPED / f"{DEFAULT_MODEL}.json").is_file():
        pytest.skip("no emotion model is shipped")
    card = read_card(SHIPPED / f"{DEFAULT_MODEL}.json")
    data = hub.ModelCard(model_card(card, 1)).data
    found = {(r.dataset_config, r.metric_type): r.metric_value for r in data.eval_results}
    assert found[None, "accuracy"] == round(card.scores["test"]["accuracy"], 4)
    assert found["clean", "f1"] == round(card.scores["test_clean"]["macro_f1"], 4)
    assert len({r.unique_identifier for r in data.eval_results}) == 2
    assert data.model_name == DEFAULT_MODEL


def test_words_of_the_maker_cannot_begin_another_part() -> None:
    hostile = 'x"\n---\n# y: [\u2028\udc80'
    card = own(name="no: yes", labels=("a|b", hostile), training={"data": {"name": hostile}}, summary=hostile)
    text = model_card(card, 1)
    assert front_matter(text) == header(card)
    assert text.count("\n# ") == 1
    assert text.encode()


@pytest.mark.parametrize(
    "scores",
    [
        {},
        {"test": 0.5},
        {"test": {**TEST, "accuracy_interval": None, "per_class": None}},
        {"test": {**TEST, "macro_f1_interval": "wide", "macro_f1": 0.5}, "val_accuracy_by_views": {"1": "?"}},
    ],
    ids=["none", "number", "bare", "odd"],
)
def test_a_card_with_few_or_odd_scores_is_written_too(scores: dict[str, Any]) -> None:
    card = own(scores=scores, training={"data": "calls", "environment": None, "parameters": None})
    text = model_card(card, 1)
    assert ("Not measured." in text) == (not isinstance(scores.get("test"), dict))
    assert front_matter(text) == header(card)


def test_what_the_maker_stated_is_there() -> None:
    environment = {"mien": "0.1.0", "started": "2026-11-28 07:04:04 +0000"}
    card = own(
        version="2", contact="me@example.org", citation="@misc{calls}", training={"environment": environment}
    )
    text = model_card(card, 1)
    assert (
        f"Version 2. Trained 2026-11-28. Made with mien 0.1.0. SHA-256 of the weights: `{'ab' * 32}`." in text
    )
    assert "## Contact\n\nme@example.org\n" in text
    assert "## Citation\n\n@misc{calls}\n" in text


def test_a_card_replaces_a_card_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    write_model_card(own(), 1, path)
    write_model_card(own(summary="second"), 1, path)
    assert "second. Classes" in path.read_text(encoding="utf-8")
    path.write_bytes(b"# My work\n\xff")
    with pytest.raises(
        MienError, match=r"README.md is not a model card of mien and is not replaced; give another --out"
    ):
        write_model_card(own(), 1, path)
    assert path.read_bytes() == b"# My work\n\xff"


def test_a_kill_while_a_model_is_replaced_leaves_the_old_or_the_new_one(
    tmp_path: Path, tiny_with: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step between is the last one once."""
    from mien.core import model_store

    old_weights = Path(tiny_with())
    old, summaries, steps = old_weights.read_bytes(), [], ("sync", "copyfile", "replace", "unlink")

    class Killed(BaseException):
        pass

    def attempt(last: int) -> bool:
        """Whether the process was killed at its step number ``last``."""
        home, new = tmp_path / f"home{last}", tmp_path / f"new{last}"
        for folder, summary, data in ((home, "old", old), (new, "new", new_network(old))):
            folder.mkdir()
            (folder / "tiny.onnx").write_bytes(data)
            card = json.loads(old_weights.with_suffix(".json").read_text("utf-8"))
            card |= {"summary": summary, "sha256": model_store.sha256(folder / "tiny.onnx")}
            (folder / "tiny.json").write_text(json.dumps(card), "utf-8")
        n = 0

        def counted(real: Callable[..., Any]) -> Callable[..., Any]:
            def step(*arguments: Any, **named: Any) -> Any:
                nonlocal n
                n += 1
                if n == last:
                    raise Killed
                return real(*arguments, **named)

            return step

        with monkeypatch.context() as patched:
            homes = {
                "sync": model_store,
                "copyfile": model_store.shutil,
                "replace": model_store.os,
                "unlink": Path,
            }
            for name in steps:
                patched.setattr(homes[name], name, counted(getattr(homes[name], name)))
            try:
                model_store.put_model(new / "tiny.onnx", home)
                is_killed = False
            except Killed:
                is_killed = True
        weights, card = model_store.find_model(home / "tiny.onnx")
        assert weights.read_bytes() == (old if card.summary == "old" else new_network(old))
        summaries.append(card.summary)
        return is_killed

    n = 1
    while attempt(n):
        n += 1
    assert n > 6
    assert summaries == sorted(summaries, reverse=True), "first the old one, then the new one"
    assert {*summaries} == {"old", "new"}
    assert sorted(path.name for path in (tmp_path / f"home{n}").iterdir()) == ["tiny.json", "tiny.onnx"]


def new_network(old: bytes) -> bytes:
    """Other bytes; never run."""
    return old + b"\0"
