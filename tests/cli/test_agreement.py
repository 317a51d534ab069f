"""The command ``mien agreement`` as a person meets it."""

import json

OURS = "participant,track,start_s,end_s,emotion\nx,1,0.0,2.5,happy\nx,1,2.5,4.0,sad\n"


def test_the_command_reads_blind_names_by_the_key_and_prints_json(mien, tmp_path) -> None:
    (tmp_path / "x.events.csv").write_text(OURS)
    (tmp_path / "key.csv").write_text("blind,video,participant\n001.mp4,in/x.mp4,x\n002.mp4,in/y.mp4,y\n")
    (tmp_path / "coded.csv").write_text("start_s,end_s,emotion,participant\n0,4,joy,001\n0,9,joy,002\n")
    arguments = ["agreement", "x.events.csv", "coded.csv", "--key", "key.csv", "--rename", "joy=happy"]
    found = json.loads(mien(*arguments, "--step", "0.5", "--json").stdout)
    assert found["confusion"] == [[5, 3], [0, 0]]
    told = mien(*arguments).stdout
    assert "40 moments, one each 0.1 s, of 1 participant in 1 window\n" in told
    assert all(len(line) <= 80 for line in told.splitlines())


def test_kappa_is_undefined_where_both_name_one_emotion_alone(mien, tmp_path) -> None:
    (tmp_path / "x.events.csv").write_text("participant,track,start_s,end_s,emotion\nx,1,0.0,2.5,happy\n")
    shown = mien("agreement", "x.events.csv", "x.events.csv").stdout
    assert "Cohen's kappa    undefined: both name one emotion alone\n" in shown
    assert "agreement        1.000" in shown
    found = json.loads(mien("agreement", "x.events.csv", "x.events.csv", "--json").stdout)
    assert (found["kappa"], found["agreed"]["value"]) == (None, 1)
    (tmp_path / "y.events.csv").write_text("participant,track,start_s,end_s,emotion\nx,1,0.0,2.5,sad\n")
    assert "Cohen's kappa    0.000" in mien("agreement", "x.events.csv", "y.events.csv").stdout


def test_one_window_has_no_interval_and_no_icc(mien, tmp_path) -> None:
    (tmp_path / "x.events.csv").write_text(OURS)
    arguments = ["agreement", "x.events.csv", "x.events.csv"]
    shown = mien(*arguments).stdout
    assert "no intervals, and no ICC: there is one window; lower --window\n" in shown
    assert "Cohen's kappa    1.000\nagreement        1.000\n" in shown
    found = json.loads(mien(*arguments, "--json").stdout)
    assert found["kappa"] == {"value": 1, "interval": None}
    assert (found["agreed"]["interval"], found["icc"]) == (None, {"happy": None, "sad": None})
    assert "agreement        1.000   (1.000 to 1.000)" in mien(*arguments, "--window", "2").stdout


def test_a_mistake_is_one_line_and_exit_2(mien, tmp_path) -> None:
    (tmp_path / "x.events.csv").write_text(OURS)
    for arguments, says in (
        (["x.events.csv", "gone.csv"], "gone.csv cannot be read: no such file or directory"),
        (["x.events.csv", "x.events.csv", "--person", "anna"], "--person takes THEIRS=OURS, got 'anna'"),
        (["x.events.csv", "x.events.csv", "--step", "0"], "expected 0 < step <= window"),
    ):
        done = mien("agreement", *arguments)
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
        assert says in done.stderr
