import asyncio
import io

import pytest

pytest.importorskip("fastapi", reason="needs mien[web]")

from PIL import Image
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from mien.core.analyzer import Analyzer
from mien.web.live import Newest

LIVE = "ws://127.0.0.1:8000/v1/live"


def test_an_image_is_answered_at_once_and_a_face_keeps_its_number(serve, face_png, crowd_png, monkeypatch):
    put = Newest.put  # 25 images a second, however slow this machine is
    monkeypatch.setattr(Newest, "put", lambda self, _, image: put(self, 0.04 * self.n_images, image))
    (reading,) = Analyzer("tiny").read(face_png)
    with serve().websocket_connect(LIVE) as socket:
        answers = []
        for image in (face_png, face_png, *[crowd_png] * 60):
            socket.send_bytes(image)
            answers.append(socket.receive_json())
            if len(answers[-1]["faces"]) == 2:
                break  # the whole image is searched for new faces only now and then
    assert [answer["frame"] for answer in answers] == list(range(len(answers)))
    assert [[face["track"] for face in answer["faces"]] for answer in answers[:2]] == [[1], [1]]
    last = answers[-1]
    assert [face["track"] for face in last["faces"]] == [2, 3], "another image is a cut: its people are new"
    assert (last["width"], last["height"], last["dropped"]) == (512, 256, 0)
    assert answers[0]["time_s"] <= answers[1]["time_s"] <= answers[2]["time_s"]
    face = answers[0]["faces"][0]
    assert face["p_happy"] == pytest.approx(reading.probabilities["happy"], abs=1e-5)
    assert face["label"] == "happy"
    assert (face["x1"], face["y2"]) == pytest.approx((reading.box.x1, reading.box.y2), abs=1)


def test_what_is_no_image_is_told_and_the_next_is_read(serve, face_png, monkeypatch):
    monkeypatch.setattr("mien.web.engine.LIVE_BYTES", len(face_png))
    with serve().websocket_connect(LIVE) as socket:
        errors = []
        for message in (b"no image", face_png + b"x", b""):
            socket.send_bytes(message)
            errors.append(socket.receive_json()["error"])
        socket.send_text("hello")
        errors.append(socket.receive_json()["error"])
        assert [error["code"] for error in errors] == ["not_an_image", "too_large", *["not_an_image"] * 2]
        assert errors[0]["message"].startswith("the image ")
        assert errors[2] == errors[3]
        assert errors[2]["message"] == "the message holds no image; send each as a binary message"
        socket.send_bytes(face_png)
        assert len(socket.receive_json()["faces"]) == 1


def test_a_frame_that_is_too_large_is_told_what_to_send(serve):
    file = io.BytesIO()
    Image.new("L", (2001, 2000)).save(file, "JPEG")
    with serve().websocket_connect(LIVE) as socket:
        socket.send_bytes(file.getvalue())
        says = "the image has 2001 x 2000 pixels, more than the limit of 4,000,000; send smaller frames"
        assert socket.receive_json()["error"] == {"code": "too_large", "message": says}


def test_too_many_faces_are_told(serve, crowd_png):
    with serve(max_faces=1).websocket_connect(LIVE) as socket:
        socket.send_bytes(crowd_png)
        assert socket.receive_json()["error"]["code"] == "too_many_faces"


def test_one_camera_too_many_is_refused(serve):
    client = serve(max_live=1)
    with (
        client.websocket_connect(LIVE),
        pytest.raises(WebSocketDenialResponse) as refused,
        client.websocket_connect(LIVE),
    ):
        pass
    assert refused.value.status_code == 429
    assert refused.value.json()["error"]["code"] == "busy"
    with client.websocket_connect(LIVE):
        assert client.app_state["service"].lives.n_inside == 1


def test_a_camera_that_sends_nothing_is_given_up(serve):
    with serve(client_timeout_s=0.05).websocket_connect(LIVE) as socket:
        with pytest.raises(WebSocketDisconnect) as ended:
            socket.receive_json()
        assert (ended.value.code, ended.value.reason) == (
            1008,
            "no image came, or no answer was taken, for 0.05 s",
        )


def test_only_the_newest_image_is_taken():
    async def run():
        newest = Newest()
        for i in range(3):
            newest.put(i / 10, b"%d" % i)
        first = await newest.get()
        waiting = asyncio.create_task(newest.get())
        await asyncio.sleep(0)
        assert not waiting.done()
        newest.put(0.3, b"3")
        return first, await waiting

    assert asyncio.run(run()) == ((2, 0.2, b"2"), (3, 0.3, b"3"))


def test_patience_with_a_camera_begins_when_its_image_is_wanted():
    async def run():
        now = 0.0
        newest = Newest(lambda: now)
        now = 90.0  # the service is at work on the image before
        told = [newest.waited_s()]
        waiting = asyncio.create_task(newest.get())
        await asyncio.sleep(0)
        now = 92.0
        told.append(newest.waited_s())
        newest.put(0.0, b"image")
        await waiting
        return [*told, newest.waited_s()]

    assert asyncio.run(run()) == [0, 2, 0]
