import errno
import json
import os
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs mien[web]")
pytest.importorskip("av", reason="needs mien[video]")

from mien.errors import OutputError
from mien.web import jobs as jobs_module
from mien.web import routes
from mien.workflows.video.frames import Video
from mien.workflows.video.watcher import Watcher, WatchSettings

NDJSON = {"Accept": "application/x-ndjson"}


def until_over(client, path):
    while (state := client.get(path).json())["state"] in ("waiting", "running"):
        time.sleep(0.02)
    return state


def all_rows(client, path):
    rows, after, end = [], 0, False
    while not end:
        page = client.get(f"{path}/rows?after={after}").json()
        rows, after, end = rows + page["rows"], page["next"], page["end"]
    return rows


def watched(client, clip, query=""):
    response = client.post(f"/v1/watch{query}", content=clip, headers={"Content-Type": "video/mp4"})
    assert response.status_code == 202, response.text
    assert response.headers["Location"] == f"/v1/watch/{response.json()['id']}"
    return response.headers["Location"]


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def held(monkeypatch):
    """Videos begin, and wait at their first frame until ``held.set()``."""
    from threading import Event

    go = Event()
    bounded = jobs_module.Jobs.bounded

    def waits(self, video, job):
        for frame in bounded(self, video, job):
            go.wait()
            yield frame

    monkeypatch.setattr(jobs_module.Jobs, "bounded", waits)
    yield go
    go.set()


def test_a_video_gives_the_rows_that_the_library_gives(serve, clip_mp4, tmp_path, folder):
    client = serve()
    path = watched(client, clip_mp4)
    state = until_over(client, path)
    assert (state["state"], state["error"], state["frames"], state["rows"]) == ("done", None, 10, 10)
    assert (state["duration_s"], state["time_s"]) == (pytest.approx(1), pytest.approx(0.9))
    assert [person["track"] for person in state["persons"]] == [1]

    (tmp_path / "clip.mp4").write_bytes(clip_mp4)
    watcher = Watcher(WatchSettings("tiny", views=1))
    with Video(tmp_path / "clip.mp4") as video:
        ready = [one for part in watcher.watch(video.frames()) for one in part] + watcher.finish()
    wanted = [row.to_dict(watcher.labels) for one in ready for row in one.rows]
    rows = all_rows(client, path)
    assert rows == wanted
    assert [row["track"] for row in rows] == [1] * 7 + [None] * 3

    stream = client.get(f"{path}/rows", headers=NDJSON)
    assert stream.headers["Content-Type"] == "application/x-ndjson"
    assert [json.loads(line) for line in stream.text.splitlines()] == rows
    assert files(folder) == ["rows.jsonl"]  # the video itself is gone


def test_rows_come_in_pages_of_whole_rows(serve, clip_mp4, monkeypatch):
    monkeypatch.setattr(routes, "PAGE_BYTES", 700)
    client = serve()
    path = watched(client, clip_mp4)
    until_over(client, path)
    first = client.get(f"{path}/rows").json()
    assert 0 < len(first["rows"]) < 10
    assert not first["end"]
    assert len(all_rows(client, path)) == 10
    for after in (1, first["next"] + 1, 10**9):
        response = client.get(f"{path}/rows?after={after}")
        assert (response.status_code, response.json()["error"]["code"]) == (400, "bad_request")
    assert client.get(f"{path}/rows?after=-1").status_code == 400
    assert client.get(f"{path}/rows", headers={"Accept": "text/csv"}).status_code == 406


def test_a_form_and_a_choice_of_frames_are_taken(serve, clip_mp4):
    client = serve()
    response = client.post("/v1/watch?every=0.5s", files={"video": ("clip.mp4", clip_mp4)})
    path = response.headers["Location"]
    until_over(client, path)
    assert [row["time_s"] for row in all_rows(client, path)] == [0, 0.5]


def test_rows_have_what_landmarks_tell_where_asked_for(serve, clip_mp4):
    client = serve()
    queries = ("?every=0.5s", "?every=0.5s&landmarks=true")
    plain, more = (watched(client, clip_mp4, query) for query in queries)
    for path in (plain, more):
        assert until_over(client, path)["state"] == "done"
    for without, row in zip(all_rows(client, plain), all_rows(client, more), strict=True):
        assert 0 <= row.pop("quality_occluded") <= 1
        assert row == without


def test_rows_are_streamed_while_the_video_is_watched(serve, clip_mp4, held):
    client = serve()
    path = watched(client, clip_mp4)
    held.set()
    lines = client.get(f"{path}/rows", headers=NDJSON).text.splitlines()
    assert [json.loads(line)["frame"] for line in lines] == list(range(10))


def test_deleting_a_video_stops_it_and_leaves_no_file(serve, clip_mp4, folder, held):
    client = serve()
    path, waiting = watched(client, clip_mp4), watched(client, clip_mp4)
    assert files(folder).count("video") == 2
    assert client.delete(waiting).status_code == 204
    assert client.delete(path).status_code == 204
    for gone in (path, waiting, f"{path}/rows"):
        assert (client.get(gone).status_code, client.delete(gone.removesuffix("/rows")).status_code) == (
            404,
            404,
        )
    held.set()
    client.app_state["service"].jobs.pool.submit(int).result()  # after the one that was stopped
    assert files(folder) == []


def test_one_video_too_many_is_refused(serve, clip_mp4, held):
    client = serve(max_jobs=2)
    paths = [watched(client, clip_mp4) for _ in range(2)]
    response = client.post("/v1/watch", content=clip_mp4)
    assert (response.status_code, response.json()["error"]["code"]) == (429, "busy")
    assert "Retry-After" in response.headers
    client.delete(paths[1])
    watched(client, clip_mp4)


@pytest.mark.parametrize(
    ("settings", "query", "damage", "status", "code"),
    [
        ({}, "", b"no video", 422, "not_a_video"),
        ({}, "", b"", 422, "not_a_video"),
        ({"max_video_bytes": 1000}, "", None, 413, "too_large"),
        ({"max_video_s": 0.5}, "", None, 413, "video_too_long"),
        ({"max_pixels": 320 * 256 - 1}, "", None, 413, "too_large"),
        ({}, "?every=often", None, 400, "bad_request"),
    ],
    ids=["no video", "empty", "bytes", "seconds", "pixels", "every"],
)
def test_a_video_over_a_limit_is_refused_and_leaves_no_file(
    serve, clip_mp4, folder, settings, query, damage, status, code
):
    client = serve(**settings)
    response = client.post(f"/v1/watch{query}", content=clip_mp4 if damage is None else damage)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert str(folder) not in response.text
    assert files(folder) == []
    assert client.app_state["service"].jobs.count("waiting") == 0


def test_an_error_of_a_video_names_it_as_its_client_does(serve):
    response = serve().post("/v1/watch", files={"video": ("us.mp4", b"no video")})
    assert response.json()["error"]["message"].startswith("'us.mp4' is not a video")


def test_errors_of_a_video_name_addresses_and_no_command(serve, face_png):
    client = serve()
    said = [
        client.post("/v1/watch", content=face_png).json()["error"]["message"],
        client.post("/v1/watch?every=often").json()["error"]["message"],
    ]
    assert said == [
        "the video is an image (PNG), not a video; send it to /v1/read",
        "every takes a time or a number of frames, such as 0.2s or 5frames; got 'often'",
    ]


def test_a_video_that_grows_beyond_its_head_ends_where_the_limit_is(serve, clip_mp4, monkeypatch):
    monkeypatch.setattr(jobs_module.Jobs, "check", lambda *_: None)
    client = serve(max_video_s=0.45)
    path = watched(client, clip_mp4)
    state = until_over(client, path)
    assert (state["state"], state["error"]["code"]) == ("failed", "video_too_long")
    assert [row["frame"] for row in all_rows(client, path)] == [0, 1, 2, 3, 4]


def test_frames_that_are_left_out_count_towards_the_limit(serve, clip_mp4, monkeypatch):
    monkeypatch.setattr(jobs_module.Jobs, "check", lambda *_: None)
    client = serve(max_video_s=0.45)
    state = until_over(client, watched(client, clip_mp4, "?every=1000frames"))
    assert (state["state"], state["error"]["code"], state["frames"]) == ("failed", "video_too_long", 1)


def test_a_video_that_takes_too_long_to_watch_ends_and_keeps_its_rows(serve, clip_mp4):
    client = serve(max_watch_s=3)
    seconds = iter(range(1000))
    client.app_state["service"].jobs.clock = lambda: next(seconds)  # one at each look
    path = watched(client, clip_mp4)
    state = until_over(client, path)
    assert (state["state"], state["error"]["code"]) == ("failed", "too_costly")
    assert "more than 3 s to watch" in state["error"]["message"]
    assert len(all_rows(client, path)) == state["rows"] < 10


def test_a_frame_that_is_larger_than_the_head_tells_is_refused(serve, clip_mp4, monkeypatch):
    monkeypatch.setattr(jobs_module.Jobs, "check", lambda *_: None)
    client = serve(max_pixels=320 * 256 - 1)
    state = until_over(client, watched(client, clip_mp4))
    assert (state["state"], state["error"]["code"], state["rows"]) == ("failed", "too_large", 0)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
@pytest.mark.parametrize(
    ("what", "code", "text"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "not_a_video", "the video crashed its decoder after 0."),
        ("sum(1 for _ in iter(int, 1))", "too_costly", "the video takes more than 0.5 s of CPU time"),
    ],
    ids=["crash", "endless"],
)
def test_a_decoder_that_fails_costs_its_video_alone_which_keeps_its_rows(
    serve, clip_mp4, failing_decoder, monkeypatch, what, code, text
):
    client = serve(max_decode_s=0.5)
    failing_decoder(what, part="/video")
    path = watched(client, clip_mp4)
    state = until_over(client, path)
    assert (state["state"], state["error"]["code"]) == ("failed", code)
    assert state["error"]["message"].startswith(text)
    assert len(all_rows(client, path)) == 4
    monkeypatch.delenv("PYTHONPATH")
    assert until_over(client, watched(client, clip_mp4))["state"] == "done"


def test_a_video_that_is_cut_off_keeps_what_could_be_read(serve, astronaut, write_clip, tmp_path):
    write_clip(tmp_path / "clip.avi", astronaut[:256, 96:352])
    whole = (tmp_path / "clip.avi").read_bytes()
    client = serve()
    path = watched(client, whole[: len(whole) * 2 // 3])
    state = until_over(client, path)
    assert (state["state"], state["error"]["code"]) == ("failed", "not_a_video")
    assert state["error"]["message"].startswith("the video is ")
    assert 0 < len(all_rows(client, path)) < 10


def test_rows_that_nobody_asks_for_are_forgotten_in_time(serve, clip_mp4, folder):
    client = serve(keep_rows_s=60)
    jobs = client.app_state["service"].jobs
    path = watched(client, clip_mp4)
    until_over(client, path)
    now = jobs.clock()
    jobs.clock = lambda: now + 59
    jobs.purge()
    assert client.get(path).status_code == 200  # and asked for again, at 59 s
    jobs.clock = lambda: now + 118
    jobs.purge()
    assert files(folder) == ["rows.jsonl"]
    jobs.clock = lambda: now + 180
    jobs.purge()
    assert client.get(path).status_code == 404
    assert files(folder) == []


def test_the_end_of_the_service_leaves_nothing(serve, clip_mp4, folder):
    client = serve()
    watched(client, clip_mp4)
    client.__exit__(None, None, None)
    client.__exit__ = lambda *_: None
    assert list(folder.iterdir()) == []


def test_a_bug_fails_one_video_and_not_the_next(serve, clip_mp4, monkeypatch, caplog):
    client = serve()
    engine = client.app_state["service"].engine
    with monkeypatch.context() as broken:
        broken.setattr(engine, "watcher", lambda **_: 1 / 0)
        state = until_over(client, watched(client, clip_mp4))
    assert (state["state"], state["error"]["code"]) == ("failed", "internal")
    assert "ZeroDivisionError" in caplog.text
    assert until_over(client, watched(client, clip_mp4))["state"] == "done"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("form", [False, True], ids=["body", "form"])
def test_a_video_that_finds_the_disk_full_is_answered_so_without_a_path(
    serve, clip_mp4, folder, monkeypatch, form
):
    new = jobs_module.Jobs.new

    def full(self):
        job = new(self)
        job.video.symlink_to("/dev/full")
        return job

    monkeypatch.setattr(jobs_module.Jobs, "new", full)
    client = serve()
    response = client.post("/v1/watch", **({"files": {"video": clip_mp4}} if form else {"content": clip_mp4}))
    assert (response.status_code, response.json()["error"]["code"]) == (507, "no_space")
    assert "/" not in response.json()["error"]["message"]
    assert files(folder) == []


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "no_space"), (errno.EIO, "internal")])
def test_rows_that_the_disk_refuses_fail_their_video_without_a_path(
    serve, clip_mp4, folder, monkeypatch, number, code
):
    write = jobs_module.RowFile.write

    def refused(self, rows):
        if any(row[self.columns.index("frame")] >= 4 for row in rows):
            raise OutputError(self.path, os.strerror(number), number)
        write(self, rows)

    monkeypatch.setattr(jobs_module.RowFile, "write", refused)
    client = serve()
    path = watched(client, clip_mp4)
    state = until_over(client, path)
    assert (state["state"], state["error"]["code"]) == ("failed", code)
    assert str(folder) not in client.get(path).text
    rows = all_rows(client, path)
    assert 0 < len(rows) <= 4
    assert [row["frame"] for row in rows] == list(range(state["rows"]))
