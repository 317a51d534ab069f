"""``mien models``: the list and the card of one model."""

import json
from pathlib import Path

import pytest

import mien.core.model_store as store
from mien.errors import ModelError


def test_the_list_shows_scores_size_and_licence(mien) -> None:
    lines = mien("models").stdout.splitlines()
    assert lines[0].split("  ")[0] == "model"
    (row,) = [line for line in lines if line.startswith("tiny ")]
    assert row.split() == ["tiny", "74.1", "(72.7-75.5)", "73.0", "71.8", "7", "2.3", "0.1", "MB"]
    assert "tiny: Answers every face alike. Licence: CC0-1.0" in lines
    assert max(map(len, lines)) <= 80


def test_the_default_model_is_marked(mien, monkeypatch) -> None:
    monkeypatch.setattr(store, "DEFAULT_MODEL", "tiny")
    lines = mien("models").stdout.splitlines()
    assert [line.split()[0] for line in lines if line.split()[1:2] == ["*"]] == ["tiny"]
    assert "*: what mien reads with unless --model names another" in lines
    cards = json.loads(mien("models", "--json").stdout)
    assert [card["name"] for card in cards if card["default"]] == ["tiny"]


def test_a_copied_or_renamed_model_has_the_name_that_finds_it(mien, copied_models, monkeypatch) -> None:
    folder = copied_models("one", "two")
    monkeypatch.setattr(store, "DEFAULT_MODEL", "two")
    shown = [line.split()[:2] for line in mien("models").stdout.splitlines() if "74.1" in line]
    assert shown == [["one", "74.1"], ["two", "*"]]
    cards = json.loads(mien("models", "--json").stdout)
    assert [(card["name"], card["default"]) for card in cards][-2:] == [("one", False), ("two", True)]
    assert mien("models", "two").stdout.startswith("two\n")
    assert store.find_model("one")[1].name == "one"
    assert store.find_model(folder / "one.onnx")[1].name == "tiny", "a path may lead to any file name"


def test_a_part_of_a_name_is_enough_where_no_other_model_has_it(mien, copied_models) -> None:
    folder = copied_models("web-micro", "web-large", "micro-old-large")
    assert store.find_model("old")[0].name == "micro-old-large.onnx"
    assert store.find_model("web-micro")[0].name == "web-micro.onnx"
    for short, several in (("micro", "micro-old-large, web-micro"), ("web", "web-large, web-micro")):
        result = mien("models", short)
        assert result.exit_code == 2
        assert f"'{short}' matches several models: {several}; give one of them" in result.stderr
    (folder / "micro.json").write_bytes((folder / "web-micro.json").read_bytes())
    (folder / "micro.onnx").write_bytes((folder / "web-micro.onnx").read_bytes())
    assert store.find_model("micro")[0].name == "micro.onnx", "a whole name goes before a part"
    assert "did you mean 'micro'" in mien("models", "microo").stderr


def test_a_package_without_its_models_is_told_from_a_wrong_name(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(store, "SHIPPED", tmp_path / "mien.zip" / "weights")
    with pytest.raises(ModelError, match=r"^mien's models are not in .*mien.zip.*; install mien with all"):
        store.find_model(store.DEFAULT_MODEL)


def test_the_path_of_a_model_may_begin_at_home(copied_models, monkeypatch) -> None:
    folder = copied_models("one")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    assert store.find_model("~/one.onnx")[0] == folder / "one.onnx"
    assert store.lasting_name(Path("~/one.onnx")) == str(folder / "one.json")


def test_the_card_shows_every_word_and_score(mien) -> None:
    text = mien("models", "tiny").stdout
    for part in (
        "Intended use: Tests.",
        "Not for: Anything else.",
        "Limits: Sees nothing.",
        "Licence: CC0-1.0",
    ):
        assert part in text
    assert "angry, disgust, fear, happy, sad, surprise, neutral" in text
    assert "Scores, val_accuracy_by_views: 1: 0.7212, 2: 0.7301" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["test", "3,589", "74.1", "(72.7-75.5)", "71.8", "0.722", "0.688", "0.741", "1.3"] in rows
    assert ["happy", "879", "0.901", "0.912", "0.907"] in [row[:5] for row in rows]
    assert max(len(line) for line in text.splitlines() if "tiny.onnx" not in line) <= 80


def test_out_writes_the_card_as_markdown_for_the_hub(mien, tmp_path) -> None:
    result = mien("models", "tiny", "--out", "README.md")
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "wrote README.md")
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text.startswith("---\nlicense: cc0-1.0\n")
    assert "| test | 3,589 | 74.12% (72.7%-75.5%) |" in text
    assert "see `mien release --card`" in result.stdout, "nobody is named as contact"
    (tmp_path / "README.md").write_text("# mine\n")
    refused = mien("models", "tiny", "--out", "README.md")
    assert (refused.exit_code, (tmp_path / "README.md").read_text()) == (2, "# mine\n")
    assert "is not replaced; give another --out" in refused.stderr


@pytest.mark.parametrize("arguments", [(), ("tiny", "--json")], ids=["no name", "json"])
def test_out_is_for_one_model_and_markdown(arguments, mien, tmp_path) -> None:
    result = mien("models", *arguments, "--out", "README.md")
    assert result.exit_code == 2
    assert "--out writes the card of one model as Markdown; give its name, and no --json" in result.stderr
    assert not list(tmp_path.glob("*.md"))


def test_json_is_the_card_with_its_path_and_size(mien, tiny_home) -> None:
    path = tiny_home / "models" / "tiny.onnx"
    card = {
        **json.loads(path.with_suffix(".json").read_text()),
        "path": str(path),
        "bytes": path.stat().st_size,
        "default": False,
    }
    assert json.loads(mien("models", "tiny", "--json").stdout) == card
    assert card in json.loads(mien("models", "--json").stdout)


def test_a_model_is_found_by_its_path(mien, tiny_home) -> None:
    assert "Intended use" in mien("models", str(tiny_home / "models" / "tiny.onnx")).stdout


def test_without_models_it_says_where_they_would_be(mien, monkeypatch) -> None:
    monkeypatch.setattr(store, "list_models", dict)
    result = mien("models")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("no models; mien looks in its own package and in ")
    assert mien("models", "--json").stdout == "[]\n"


def test_a_model_without_scores_has_dashes(mien, tmp_path, tiny_home, monkeypatch) -> None:
    folder = tmp_path / "home" / "models"
    folder.mkdir(parents=True)
    for suffix in (".json", ".onnx"):
        (folder / f"bare{suffix}").write_bytes((tiny_home / "models" / f"tiny{suffix}").read_bytes())
    card = json.loads((folder / "bare.json").read_text())
    (folder / "bare.json").write_text(json.dumps({**card, "name": "bare", "scores": {}}))
    monkeypatch.setenv("MIEN_HOME", str(tmp_path / "home"))
    (row,) = [line for line in mien("models").stdout.splitlines() if line.startswith("bare ")]
    assert row.split() == ["bare", "-", "-", "-", "7", "-", "0.1", "MB"]
    assert mien("models", "bare").exit_code == 0


@pytest.mark.parametrize(
    "scores",
    [{"test": 0.71}, {"cpu": 12}, {"cpu": {"ms_a_face": "fast"}}, {"test": {"n": 3, "accuracy": 0.5}}],
)
def test_a_model_with_few_or_odd_scores_is_listed_and_shown(scores, mien, tiny_with) -> None:
    path = tiny_with(scores=scores)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "list_models", lambda: {"tiny": Path(path).with_suffix(".json")})
        assert "tiny " in mien("models").stdout
    assert "Sees nothing." in mien("models", path).stdout


@pytest.mark.weights
def test_the_shipped_model_states_its_scores_and_licence(mien) -> None:
    if not store.SHIPPED.joinpath(f"{store.DEFAULT_MODEL}.onnx").is_file():
        pytest.skip(f"no model '{store.DEFAULT_MODEL}' is shipped")
    (card,) = [
        card for card in json.loads(mien("models", "--json").stdout) if card["name"] == store.DEFAULT_MODEL
    ]
    assert 0.5 < card["scores"]["test"]["accuracy"] < 0.9
    assert card["licence"]
    assert card["data"]


@pytest.mark.parametrize(
    "card", ["[" * 100_000, "{}", '{"scores": {"test": "x"}}'], ids=["nested", "bare", "odd"]
)
def test_a_broken_card_does_not_hide_the_others(card: str, mien, tiny_home, tmp_path, monkeypatch) -> None:
    folder = tmp_path / "home" / "models"
    folder.mkdir(parents=True)
    for path in (tiny_home / "models").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "broken.onnx").write_bytes(b"")
    (folder / "broken.json").write_text(card)
    monkeypatch.setenv("MIEN_HOME", str(folder.parent))
    for extra in ((), ("--json",)):
        result = mien("models", *extra)
        assert result.exit_code == 0
        assert "tiny" in result.stdout
        assert result.stderr.startswith(f"mien: left out: {folder}/broken.json is not a ")
        assert result.stderr.count("\n") == 1
    result = mien("models", "broken")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("name", ["x.onnx", "x.json"])
def test_a_model_cannot_be_named_like_a_file(name) -> None:
    with pytest.raises(ModelError, match=rf"'{name}' cannot name a model; leave out '\.{name[2:]}'"):
        store.check_model_name(name)
    store.check_model_name("fer-2.1")


def test_a_new_model_hides_no_shipped_one_unless_it_lies_elsewhere(mien, tmp_path, tiny_home) -> None:
    text = "'fer2013-nano' is the shipped model fer2013-nano, .* 'my_fer2013_nano', or another folder with"
    for to in (None, tiny_home / "models" / ".." / "models"):
        with pytest.raises(ModelError, match=text):
            store.folder_for("fer2013-nano", to)
    with pytest.raises(ModelError, match="'nano' is the shipped model fer2013-nano"):
        store.folder_for("nano")
    assert store.folder_for("fer2013-nano", tmp_path) == tmp_path
    assert store.folder_for("tiny") == tiny_home / "models"


def test_a_tilde_in_mien_home_is_the_home_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("MIEN_HOME", "~/x")
    assert store.user_models() == tmp_path / "x" / "models"


def test_a_run_folder_is_no_model_and_the_command_that_makes_one_is_told(mien, photos, tmp_path) -> None:
    (tmp_path / "my run").mkdir()
    (tmp_path / "my run" / "recipe.json").write_text("{}")
    result = mien("read", "photos/one.png", "--model", "my run")
    assert "my run is a run folder and no model; mien release 'my run' --name NAME makes one" in result.stderr


def test_who_has_no_home_folder_has_the_shipped_models(mien, monkeypatch) -> None:
    def gone(*_: object) -> None:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("MIEN_HOME")
    monkeypatch.setattr(store.Path, "home", gone)
    assert store.DEFAULT_MODEL in mien("models").stdout
    with pytest.raises(
        ModelError, match="this user has no home folder; set MIEN_HOME to the folder for models"
    ):
        store.user_models()
