import re

import pytest

pytest.importorskip("fastapi", reason="needs mien[web]")

from pydantic import ValidationError

from mien.core.draw import COLOURS
from mien.errors import MienError, ModelError
from mien.web import schemas
from mien.web.app import make_app, served
from mien.web.assembly import STATIC
from mien.web.settings import VARIABLE, Settings


def test_the_page_comes_with_all_it_names_and_names_no_other_host(serve):
    client = serve()
    page = client.get("/")
    assert page.headers["Content-Type"].startswith("text/html")
    names = re.findall(r'(?:href|src)="([^"#]+)"', page.text)
    assert names
    for name in names:
        assert name.startswith("static/")  # below whatever address the page has
        assert client.get(name).status_code == 200, name
    for file in STATIC.iterdir():
        text = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|[\"'(]//\w", text), file


def test_the_page_may_load_scripts_and_talk_to_this_server_alone(serve):
    response = serve().get("/")
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script(?! type=\"module\" src=)|\son\w+=|style=", response.text)
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_no_file_outside_the_static_folder_is_served(serve):
    client = serve()
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py"):
        assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/", "/static/app.js"])
@pytest.mark.parametrize(
    "asked", [f"bytes={'9' * 5000}-", "bytes=-0,5-1", "bytes=0-9"], ids=lambda text: text[:12]
)
def test_a_part_of_a_file_is_answered_with_the_whole(serve, path, asked):
    client = serve()
    response = client.get(path, headers={"Range": asked})
    assert (response.status_code, response.content) == (200, client.get(path).content)


def test_the_page_says_what_the_numbers_are_not(serve):
    text = re.sub(r"<[^>]+>|\s+", " ", serve().get("/").text)
    for claim in ("expression that people would see", "What a person feels", "at work or in education"):
        assert claim in re.sub(r"\s+", " ", text)


def test_the_page_says_what_calibration_was_measured_against(serve, tiny_with):
    client = serve(model=tiny_with(uncertain_below=0.42, calibrated_on="the 12 faces of a drawer"))
    page, script = client.get("/").text, (STATIC / "app.js").read_text("utf-8")
    for name in ("calibrated-on", "threshold"):
        assert f'id="{name}"' in page
        assert f'$("{name}").textContent' in script
    assert "people would agree" not in page, "labels were counted, not people asked"
    (served,) = [model for model in client.get("/v1/models").json()["models"] if model["served"]]
    assert (served["uncertain_below"], served["calibrated_on"]) == (0.42, "the 12 faces of a drawer")


def test_the_page_and_the_images_use_the_same_colours():
    text = (STATIC / "draw.js").read_text("utf-8")
    for label, rgb in COLOURS.items():
        assert f'{label}: "#{bytes(rgb).hex()}"' in text


def test_the_description_has_an_example_of_every_answer(serve):
    described = serve().get("/openapi.json").json()
    assert {"/v1/read", "/v1/watch", "/v1/models", "/healthz", "/metrics"} <= set(described["paths"])
    for name in ("ReadAnswer", "JobAnswer", "RowsAnswer", "Image", "Person"):
        example = described["components"]["schemas"][name]["example"]
        getattr(schemas, name).model_validate(example)


def test_the_description_tells_each_way_to_send_images(serve):
    read = serve().get("/openapi.json").json()["paths"]["/v1/read"]["post"]
    ways = read["requestBody"]["content"]
    assert {"image/jpeg", "multipart/form-data", "application/json"} <= set(ways)
    assert ways["application/json"]["schema"]["required"] == ["image"]
    assert ways["application/json"]["schema"]["additionalProperties"] is False
    assert "too_costly" in read["responses"]["422"]["description"]


def test_the_description_tells_every_error_in_the_one_shape(serve):
    described = serve().get("/openapi.json").json()
    assert "HTTPValidationError" not in described["components"]["schemas"]
    told = {(path, *one): answer for path in described["paths"] for one, answer in answers(described, path)}
    for (path, _, status), answer in told.items():
        if not status.startswith("2"):
            assert answer["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorAnswer"), path
    assert {path for path, _, status in told if status == "400"} == {
        path for path in described["paths"] if path.startswith("/v1/")
    }
    assert list(told["/metrics", "get", "200"]["content"]) == ["text/plain"]


def answers(described, path):
    """Method and status, and what is told of them."""
    for method, told in described["paths"][path].items():
        for status, answer in told["responses"].items():
            yield (method, status), answer


def test_the_description_asks_for_a_token_where_the_service_does(serve):
    assert "security" not in serve().get("/openapi.json").json()
    described = serve(token="a-secret-token").get("/openapi.json").json()
    assert described["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}
    assert described["security"] == [{"token": []}]
    paths = described["paths"]
    assert {path for path in paths if paths[path].get("get", {}).get("security") == []} == {"/healthz"}


def test_models_are_listed_with_their_terms_and_the_one_that_serves(serve):
    models = {model["name"]: model for model in serve().get("/v1/models").json()["models"]}
    assert models["tiny"]["served"]
    assert models["tiny"]["licence"] == "CC0-1.0"
    assert not models["fer2013-medium"]["served"]


def test_models_are_listed_under_the_names_that_find_them(serve, copied_models):
    copied_models("one", "two")
    models = serve(model="one").get("/v1/models").json()["models"]
    assert [model["name"] for model in models if model["served"]] == ["one"]
    names = [model["name"] for model in models]
    assert names.count("one") == names.count("two") == 1
    assert "tiny" not in names


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/static/app.js", "/v1/models", "/openapi.json", "/nothing"]
)
def test_head_tells_what_get_would_without_the_body(serve, path):
    client = serve()
    got, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    lasting = {"content-type", "content-length", "x-content-type-options"}
    assert {name: head.headers.get(name) for name in lasting} == {
        name: got.headers.get(name) for name in lasting
    }


def test_head_of_what_cannot_be_got_is_not_allowed(serve):
    assert serve().head("/v1/read").status_code == 405


@pytest.mark.parametrize("is_taken_off", [True, False], ids=["taken off", "passed on"])
def test_a_proxy_may_serve_it_under_a_prefix(serve, clip_mp4, is_taken_off):
    client = serve(root_path="/some/faces/", token="a-secret-token")
    prefix, headers = "" if is_taken_off else "/some/faces", {"Authorization": "Bearer a-secret-token"}
    assert client.get(f"{prefix}/").status_code == client.get(f"{prefix}/static/app.js").status_code == 200
    assert client.get(f"{prefix}/healthz").status_code == 200
    assert client.get(f"{prefix}/v1/models").status_code == 401
    described = client.get(f"{prefix}/openapi.json").json()
    assert (described["servers"], "/v1/read" in described["paths"]) == ([{"url": "/some/faces"}], True)
    started = client.post(f"{prefix}/v1/watch", content=clip_mp4, headers=headers)
    assert started.headers["Location"] == f"/some/faces/v1/watch/{started.json()['id']}"
    live = f"ws://127.0.0.1:8000{prefix}/v1/live"
    with client.websocket_connect(live, headers=headers) as socket:
        socket.send_bytes(b"no image")
        assert socket.receive_json()["error"]["code"] == "not_an_image"


def test_the_prefix_alone_leads_to_the_page(serve):
    response = serve(root_path="/faces").get("/faces", follow_redirects=False)
    assert (response.status_code, response.headers["Location"]) == (307, "/faces/")


def test_the_scripts_name_no_address_from_the_root():
    for script in STATIC.glob("*.js"):
        assert not re.search(r"[\"'`]/(v1|static)/", script.read_text("utf-8")), script


@pytest.mark.parametrize(
    "settings",
    [
        {"root_path": "faces"},
        {"root_path": "/a b"},
        {"root_path": "/v1"},
        {"root_path": "/static/x"},
        {"origins": ["app.example"]},
        {"origins": ["https://app.example/page"]},
        {"origins": ["*"]},
        {"origins": ["null"]},
    ],
    ids=str,
)
def test_a_prefix_or_an_origin_that_could_not_work_is_refused(settings):
    with pytest.raises(ValidationError, match="must be "):
        Settings(**settings)


def test_health_needs_no_model_and_no_token(serve):
    assert serve(token="a-secret-token").get("/healthz").json()["status"] == "ok"


def test_figures_count_requests_faces_and_batches(serve, face_png):
    client = serve()
    client.post("/v1/read", content=face_png)
    client.post("/v1/read", content=b"no")
    client.get("/nothing-here")
    text = client.get("/metrics").text
    assert 'mien_requests_total{method="POST",route="/v1/read",status="200"} 1.0' in text
    assert 'mien_requests_total{method="POST",route="/v1/read",status="422"} 1.0' in text
    assert 'route="other",status="404"' in text
    assert "nothing-here" not in text
    assert "mien_faces_total 1.0" in text
    assert "mien_batch_faces_count 1.0" in text


def test_made_up_methods_and_addresses_add_no_figures(serve):
    client = serve()
    for i in range(50):
        client.request(f"M{i}", f"/made-up-{i}", headers={"Host": "evil.example"})
        client.request(f"M{i}", f"/v1/watch/{i}")
    client.head("/healthz")
    text = client.get("/metrics").text
    assert text.count("mien_requests_total{") == 3
    assert 'mien_requests_total{method="other",route="other",status="421"} 50.0' in text
    assert 'mien_requests_total{method="HEAD",route="/healthz",status="200"} 1.0' in text


def test_an_unknown_model_is_told_before_anything_is_served(serve):
    with pytest.raises(ModelError, match="no model named 'tinny'; did you mean 'tiny'"):
        serve(model="tinny")


def test_settings_come_from_the_environment_and_mistakes_are_listed_without_the_token(monkeypatch, tiny_home):
    monkeypatch.setenv("MIEN_HOME", str(tiny_home))
    monkeypatch.setenv(VARIABLE, '{"model": "tiny"}')
    assert served().title == "mien"
    monkeypatch.setenv(VARIABLE, '{"max_faces": 0, "token": "s e c", "facs": 1}')
    with pytest.raises(MienError, match=r"token: must be 8 .*; max_faces: .*; facs: ") as caught:
        served()
    assert "s e c" not in str(caught.value)
    monkeypatch.setenv(VARIABLE, "{")
    with pytest.raises(MienError, match="must hold settings as JSON"):
        served()


def test_settings_cannot_be_misspelt():
    with pytest.raises(ValidationError):
        Settings(max_face=3)
    assert make_app  # the factory takes the settings themselves too
