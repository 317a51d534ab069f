import base64
import io
import re
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs mien[web]")

from PIL import Image

from mien.core.analyzer import Analyzer
from mien.core.draw import annotate
from mien.core.images import open_image
from mien.errors import MienError
from mien.web.errors import CODES, STATUSES
from mien.web.security import HEADERS


def bomb_png() -> bytes:
    file = io.BytesIO()
    Image.new("1", (9000, 9000)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def refusal(response) -> tuple[int, str]:
    assert set(response.json()) == {"error"}
    assert set(response.json()["error"]) == {"code", "message"}
    return response.status_code, response.json()["error"]["code"]


def test_an_image_is_read_as_the_library_reads_it(serve, face_png):
    client = serve()
    (reading,) = Analyzer("tiny").read(face_png)
    answer = client.post("/v1/read", content=face_png, headers={"Content-Type": "image/png"}).json()
    assert answer["model"] == "tiny"
    (image,) = answer["images"]
    assert (image["name"], image["width"], image["height"]) == ("image", 256, 256)
    (face,) = image["faces"]
    wanted = reading.to_dict()
    assert face["probabilities"] == pytest.approx(wanted.pop("probabilities"), abs=1e-6)
    face.pop("probabilities")
    assert face == wanted


def test_landmarks_and_what_follows_from_them_are_given_where_asked_for(serve, face_png, crowd_png):
    client = serve()
    (reading,) = Analyzer("tiny", landmarks=True).read(face_png)
    (image,) = client.post("/v1/read?landmarks=true", content=face_png).json()["images"]
    (face,) = image["faces"]
    wanted = reading.to_dict()
    assert face["quality"]["occluded"] == wanted["quality"]["occluded"]
    assert face["pose"] == wanted["pose"]
    assert face["landmarks68"] == wanted["landmarks68"]
    files = [("image", ("a.png", face_png)), ("image", ("b.png", crowd_png))]
    one, many = client.post("/v1/read?landmarks=true", files=files).json()["images"]
    assert one["faces"] == [face]
    assert all(len(face["landmarks68"]) == 68 for face in many["faces"])
    response = client.post("/v1/read?landmarks=perhaps", content=face_png)
    assert refusal(response) == (400, "bad_request")


@pytest.mark.parametrize(("threshold", "is_uncertain"), [(0.6, True), (0.3, False)])
def test_a_face_below_the_threshold_of_the_card_is_uncertain(
    serve, face_png, tiny_with, threshold: float, is_uncertain: bool
):
    client = serve(model=tiny_with(uncertain_below=threshold, calibrated_on="no one"))
    (image,) = client.post("/v1/read", content=face_png).json()["images"]
    assert image["faces"][0]["uncertain"] is is_uncertain
    assert image["faces"][0]["confidence"] == max(image["faces"][0]["probabilities"].values())


def test_the_service_reads_photos_with_the_views_of_the_card(serve, face_png, tiny_with):
    auto = {"few": 1, "many": 10, "below": 0.9}
    path = tiny_with(views="auto", auto=auto, temperatures={"1": 1.0, "2": 1.0, "auto": 0.5})
    (reading,) = Analyzer(path).read(face_png)
    assert reading.confidence > 0.7, "twice as sharp as by one view"
    (image,) = serve(model=path).post("/v1/read", content=face_png).json()["images"]
    assert image["faces"][0]["probabilities"] == pytest.approx(reading.probabilities, abs=1e-6)


def test_many_images_answer_in_order_and_a_bad_one_stops_no_other(serve, face_png, crowd_png):
    files = [
        ("image", ("two.png", crowd_png)),
        ("image", ("bad.png", b"no")),
        ("image", ("one.png", face_png)),
    ]
    images = serve().post("/v1/read", files=files).json()["images"]
    assert [(i["name"], len(i["faces"])) for i in images] == [("two.png", 2), ("bad.png", 0), ("one.png", 1)]
    assert [i["error"] and i["error"]["code"] for i in images] == [None, "not_an_image", None]


@pytest.mark.parametrize(
    ("query", "accept"),
    [("?as=png", "*/*"), ("", "image/png"), ("", "application/json;q=0.5, image/png")],
    ids=["query", "accept", "weights"],
)
def test_the_image_comes_back_annotated_if_asked(serve, face_png, query, accept):
    response = serve().post(f"/v1/read{query}", content=face_png, headers={"Accept": accept})
    assert response.headers["Content-Type"] == "image/png"
    pixels = open_image(face_png)
    wanted = annotate(pixels, Analyzer("tiny").read(pixels))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(response.content))), wanted)


def test_a_jpeg_comes_back_as_jpeg(serve, face_png):
    response = serve().post("/v1/read", content=face_png, headers={"Accept": "image/jpeg"})
    assert Image.open(io.BytesIO(response.content)).format == "JPEG"


def test_what_is_no_image_or_not_wanted_is_refused(serve, face_png):
    client = serve()
    two = [("image", ("a.png", face_png)), ("image", ("b.png", face_png))]
    assert refusal(client.post("/v1/read", content=b"no image")) == (422, "not_an_image")
    assert refusal(client.post("/v1/read")) == (422, "not_an_image")
    assert refusal(client.post("/v1/read", files={"x": ("", b"")}, data={"a": "b"}))[0] in (400, 422)
    assert refusal(client.post("/v1/read", content=face_png, headers={"Accept": "text/css"})) == (
        406,
        "not_acceptable",
    )
    assert refusal(client.post("/v1/read?as=png", files=two)) == (406, "not_acceptable")
    assert refusal(client.post("/v1/read?as=gif", content=face_png)) == (400, "bad_request")
    assert refusal(client.get("/v1/read")) == (405, "method_not_allowed")
    assert refusal(client.get("/nothing")) == (404, "not_found")


def test_a_misspelt_parameter_is_refused_with_the_nearest(serve, face_png) -> None:
    client = serve()
    response = client.post("/v1/watch?evry=0.5s", content=face_png)
    assert refusal(response) == (400, "bad_request")
    assert "'evry'; did you mean 'every'? (it has every, landmarks)" in response.json()["error"]["message"]
    assert client.get("/v1/models?x=1").json()["error"]["message"].endswith("'x' (it has none)")
    assert client.get("/?from=a-letter").status_code == 200


def as_text(data, start="", alter=lambda text: text):
    return start + alter(base64.b64encode(data).decode())


@pytest.mark.parametrize("key", ["image", "img"])
@pytest.mark.parametrize(
    "pack",
    [
        as_text,
        lambda data: as_text(data, "data:image/png;base64,"),
        lambda data: as_text(data, alter=lambda text: text.rstrip("=")),
        lambda data: as_text(data, alter=lambda text: text.replace("+", "-").replace("/", "_")),
        lambda data: as_text(data, alter=lambda text: "\r\n".join(re.findall(".{1,76}", text))),
    ],
    ids=["base64", "data address", "no padding", "for addresses", "lines"],
)
def test_an_image_may_come_in_json(serve, face_png, key, pack):
    client = serve()
    wanted = client.post("/v1/read", content=face_png).json()
    assert client.post("/v1/read", json={key: pack(face_png)}).json() == wanted


def test_a_client_of_deepface_may_say_what_it_says_there(serve, face_png):
    client = serve()
    wanted = client.post("/v1/read", content=face_png).json()
    of_deepface = {"img": as_text(face_png), "actions": ["emotion"], "detector_backend": "opencv"}
    assert client.post("/v1/read", json=of_deepface).json() == wanted
    told = client.post("/v1/read", json={"image": as_text(face_png), "actions": ["emotion"]})
    assert (told.status_code, told.json()["error"]["code"]) == (400, "bad_request")


OPTIONS: dict[str, tuple[str, Any]] = {
    "JSON": ("/v1/read", lambda file: {"json": {"image": as_text(file), "landmarks": True}}),
    "two names": ("/v1/read", lambda file: {"json": {"image": as_text(file), "img": as_text(file)}}),
    "half a character": ("/v1/read", lambda file: {"content": b'{"image": "aaaa", "\\ud800": 1}'}),
    "form": ("/v1/read", lambda file: {"files": {"image": file}, "data": {"landmarks": "true"}}),
    "video": ("/v1/watch", lambda file: {"files": {"video": file}, "data": {"every": "0.2s"}}),
}


@pytest.mark.parametrize("how", OPTIONS)
def test_an_option_in_the_body_is_refused_and_told_where_it_goes(serve, face_png, how):
    path, pack = OPTIONS[how]
    sent = pack(face_png)
    headers = {"Content-Type": "application/json"} if "content" in sent else {}
    response = serve().post(path, **sent, headers=headers)
    assert refusal(response) == (400, "bad_request")
    assert "put options into the URL, such as ?landmarks=true" in response.json()["error"]["message"]


def test_blanks_before_an_image_are_skipped_in_one_pass(serve, monkeypatch):
    """A pattern that is searched for tries each of 45,000 blanks, for 15 s in which nobody is answered."""
    from mien.web import bodies

    class OnlyMatches:
        match = staticmethod(bodies.DATA_ADDRESS.match)

    monkeypatch.setattr(bodies, "DATA_ADDRESS", OnlyMatches)
    client = serve()
    assert refusal(client.post("/v1/read", json={"image": " " * 45_000 + "x"})) == (400, "bad_request")


def test_many_images_may_come_in_json_and_a_bad_one_stops_no_other(serve, face_png, crowd_png):
    texts = [as_text(crowd_png), as_text(b"no"), as_text(face_png), "not base64!", "https://x.y/a.jpg", 7]
    images = serve().post("/v1/read", json={"image": texts}).json()["images"]
    assert [i["name"] for i in images] == [f"image {i}" for i in range(1, 7)]
    assert [len(i["faces"]) for i in images] == [2, 0, 1, 0, 0, 0]
    assert images[1]["error"]["message"].startswith("image 2 is not an image of a known format")
    assert [i["error"] and i["error"]["code"] for i in images[2:]] == [None, *["bad_request"] * 3]
    says = [i["error"]["message"].partition(";")[0] for i in images[3:]]
    assert says[0].startswith("image 4 is not base64 (")
    assert says[1:] == ["image 5 is a web address", "image 6 is not text"]


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        (b"{", "bad_request", "is not JSON"),
        (b"\xff\xd8\xff", "bad_request", "is not JSON"),
        (b"[" * 100_000, "bad_request", "is not JSON"),
        (b'{"image": %s}' % (b"9" * 5000), "bad_request", "is not JSON"),
        (b"[]", "bad_request", "holds no image"),
        (b'{"image": []}', "bad_request", "holds no image"),
        (b'{"image": [1]}', "bad_request", "image 1 is not text"),
        (b'{"image": {}}', "bad_request", "the image is not text"),
        (b'{"photo": "aaaa"}', "bad_request", "holds no image"),
        (b'{"image": "aa!a"}', "bad_request", "the image is not base64"),
        (b'{"image": ["\xc3\xa4"]}', "bad_request", "image 1 is not base64"),
        (b'{"image": "https://example.org/a.jpg"}', "bad_request", "mien never downloads"),
        (b'{"image": ["a", "a", "a"]}', "too_many_images", "more than 2 images"),
    ],
)
def test_json_without_an_image_is_told_what_to_send(serve, body, code, says):
    response = serve(max_images=2).post(
        "/v1/read", content=body, headers={"Content-Type": "application/json"}
    )
    assert refusal(response) == (STATUSES[code], code)
    assert says in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "sent",
    [
        {"data": {"image": "aGk="}},
        {"content": b'{"image": "aGk="}', "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
        {"content": b"aGk=", "headers": {"Content-Type": "text/plain; charset=utf-8"}},
    ],
    ids=["form", "JSON", "text"],
)
def test_text_in_the_place_of_a_file_is_told_how_to_be_sent(serve, sent):
    response = serve().post("/v1/read", **sent)
    assert refusal(response) == (400, "bad_request")
    kind = response.request.headers["Content-Type"]
    assert response.json()["error"]["message"] == (
        f"the body is not an image file, and its type is {kind}; send the file itself as the body or by "
        "-F image=@photo.jpg, or JSON as application/json"
    )


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain"])
def test_a_file_is_read_whatever_its_type_is_called(serve, face_png, kind):
    """``curl --data-binary @photo.jpg`` calls it a form."""
    response = serve().post("/v1/read", content=face_png, headers={"Content-Type": kind})
    assert len(response.json()["images"][0]["faces"]) == 1


@pytest.mark.parametrize("how", ["application/octet-stream", "application/x-www-form-urlencoded", "form"])
def test_a_video_is_told_the_address_that_takes_it(serve, clip_mp4, how):
    sent = {"files": {"image": ("v.mp4", clip_mp4)}} if how == "form" else {"content": clip_mp4}
    headers = {} if how == "form" else {"Content-Type": how}
    response = serve().post("/v1/read", **sent, headers=headers)
    assert refusal(response) == (422, "not_an_image")
    name = "'v.mp4'" if how == "form" else "the image"
    assert response.json()["error"]["message"] == f"{name} is a video, not an image; send it to /v1/watch"


@pytest.mark.parametrize(
    ("sent", "begins"),
    [
        ({"content": b"no"}, "the image is not an image of a known format"),
        ({"files": {"image": ("me & you.jpg", b"no")}}, "'me & you.jpg' is not an image of a known format"),
        ({"files": {"image": ("a.jpg", b"")}}, "'a.jpg' is empty (0 bytes)"),
        ({"files": {"image": ("a.png", bomb_png())}}, "'a.png' has 9000 x 9000 pixels"),
    ],
    ids=["body", "form", "empty", "bomb"],
)
def test_an_error_names_the_file_that_it_speaks_of(serve, sent, begins):
    assert serve().post("/v1/read", **sent).json()["error"]["message"].startswith(begins)


def test_an_image_with_too_many_faces_is_told_by_its_name(serve, crowd_png):
    response = serve(max_faces=1).post("/v1/read", files={"image": ("us.png", crowd_png)})
    assert response.json()["error"]["message"].startswith("'us.png' shows 2 faces")


@pytest.mark.parametrize("path", ["/v1/read", "/v1/watch"])
def test_a_form_that_does_not_begin_with_its_boundary_is_told_so(path, serve):
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    response = serve().post(path, content=b"--y\r\n", headers=headers)
    assert refusal(response) == (400, "bad_request")


@pytest.mark.parametrize(
    ("charset", "name", "answer"),
    [
        ("undefined", b"a.png", (400, "bad_request")),
        ("utf-7", b"+2AA-.png", "?.png"),
        ("unicode_escape", rb"\ud800.png", "?.png"),
    ],
)
def test_a_form_in_a_charset_of_its_own_is_read_or_refused(serve, face_png, charset, name, answer):
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="%b"\r\n\r\n'
    headers = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
    client, body = serve(), head % name + face_png + b"\r\n--x--\r\n"
    response = client.post("/v1/read", content=body, headers=headers)
    told = response.json()["images"][0]["name"] if response.is_success else refusal(response)
    assert told == answer
    if not response.is_success:
        assert refusal(client.post("/v1/watch", content=body, headers=headers)) == answer


def test_a_form_without_a_file_is_told_so(serve):
    response = serve().post(
        "/v1/read",
        content=b"--x--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    assert refusal(response) == (400, "bad_request")
    assert "the form holds no file" in response.json()["error"]["message"]


@pytest.mark.parametrize("how", ["told", "untold", "form"])
def test_a_body_over_the_limit_is_refused_however_it_comes(serve, how):
    client, body = serve(max_bytes=1000), b"x" * 1001

    def chunks():
        yield body[:500]
        yield body[500:]

    sent = {"told": {"content": body}, "untold": {"content": chunks()}, "form": {"files": {"image": body}}}
    response = client.post("/v1/read", **sent[how])
    assert refusal(response) == (413, "too_large")
    assert "more than 1,000 bytes" in response.json()["error"]["message"]


def test_an_image_that_unpacks_to_too_many_pixels_is_refused(serve):
    packed = bomb_png()
    assert len(packed) < 100_000
    response = serve().post("/v1/read", content=packed)
    assert refusal(response) == (413, "too_large")
    assert "9000 x 9000 pixels, more than the limit of 50,000,000" in response.json()["error"]["message"]


def test_too_many_images_are_refused(serve, face_png):
    client = serve(max_images=2)
    files = [("image", (f"{i}.png", face_png)) for i in range(3)]
    assert refusal(client.post("/v1/read", files=files)) == (413, "too_many_images")
    assert len(client.post("/v1/read", files=files[:2]).json()["images"]) == 2


def test_too_many_faces_are_refused(serve, face_png, crowd_png):
    client = serve(max_faces=1)
    response = client.post("/v1/read", content=crowd_png)
    assert refusal(response) == (422, "too_many_faces")
    assert "2 faces, more than the limit of 1" in response.json()["error"]["message"]
    assert client.post("/v1/read", content=face_png).status_code == 200


def test_a_request_too_many_is_told_when_to_come_back(serve, face_png):
    client = serve(max_requests=1)
    reads = client.app_state["service"].reads
    with reads.enter():
        response = client.post("/v1/read", content=face_png)
    assert refusal(response) == (429, "busy")
    assert int(response.headers["Retry-After"]) > 0
    assert client.post("/v1/read", content=face_png).status_code == 200
    assert reads.n_inside == 0


def test_a_refused_request_leaves_its_place_to_others(serve):
    client = serve(max_requests=1, max_bytes=10)
    for _ in range(3):
        assert refusal(client.post("/v1/read", content=b"x" * 11)) == (413, "too_large")


def test_a_bug_shows_nothing_of_itself(serve, face_png, monkeypatch):
    client = serve()
    monkeypatch.setattr(client.app_state["service"].engine, "read", lambda *_: 1 / 0)
    response = client.post("/v1/read", content=face_png)
    assert refusal(response) == (500, "internal")
    assert "zero" not in response.text


def test_a_bug_is_answered_with_the_headers_of_every_answer(serve, face_png, monkeypatch):
    client = serve(origins=("https://app.example",))
    monkeypatch.setattr(client.app_state["service"].engine, "read", lambda *_: 1 / 0)
    response = client.post("/v1/read", content=face_png, headers={"Origin": "https://app.example"})
    assert response.status_code == 500
    assert {name: response.headers[name] for name in HEADERS} == {
        **HEADERS,
        "Cross-Origin-Resource-Policy": "cross-origin",
    }
    assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"


@pytest.mark.parametrize("query", ["?as=jpeg", ""])
def test_an_image_too_long_for_jpeg_is_told_of_png(serve, query):
    file, client = io.BytesIO(), serve()
    Image.new("RGB", (65_501, 2)).save(file, "PNG")
    response = client.post(f"/v1/read{query}", content=file.getvalue(), headers={"Accept": "image/jpeg"})
    assert refusal(response) == (406, "not_acceptable")
    says = "the image has 65501 x 2 pixels, and JPEG at most 65,500 a side; ask for image/png, or as=png"
    assert response.json()["error"]["message"] == says
    assert client.post("/v1/read?as=png", content=file.getvalue()).status_code == 200


def all_errors(kind: type[MienError] = MienError):
    yield kind
    for below in kind.__subclasses__():
        yield from all_errors(below)


def test_every_error_has_a_code_and_every_code_a_status():
    assert set(CODES.values()) <= set(STATUSES)
    for kind in all_errors():
        assert next(CODES[one] for one in kind.__mro__ if one in CODES) in STATUSES


def test_the_service_finds_faces_with_the_detector_it_was_started_with(serve, face_png, tmp_path):
    (tmp_path / "own.py").write_text(
        "from mien import Box, Face\n"
        "class Two:\n"
        "    def __init__(self, settings): pass\n"
        "    def find(self, image): return [Face(Box(x, 0.0, x + 40.0, 40.0), 0.5) for x in (0.0, 50.0)]\n"
    )
    detector = f"{tmp_path / 'own.py'}:Two"
    (image,) = serve(detector=detector).post("/v1/read", content=face_png).json()["images"]
    assert [face["box"]["x1"] for face in image["faces"]] == [0, 50]
    response = serve(detector=detector, max_faces=1).post("/v1/read", content=face_png)
    assert refusal(response) == (422, "too_many_faces")


def test_the_service_looks_for_faces_as_small_as_it_was_told(serve, face_png):
    large = Image.new("RGB", (2600, 200), "gray")
    large.paste(Image.open(io.BytesIO(face_png)).resize((100, 100)), (1000, 50))
    (file := io.BytesIO(), large.save(file, "PNG"))
    for settings, n_faces in (({}, 0), ({"min_face": 30}, 1)):
        (image,) = serve(**settings).post("/v1/read", content=file.getvalue()).json()["images"]
        assert len(image["faces"]) == n_faces
