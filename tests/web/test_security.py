import pytest

pytest.importorskip("fastapi", reason="needs mien[web]")

from starlette.testclient import WebSocketDenialResponse

TOKEN = "a-secret-token"
LIVE = "ws://127.0.0.1:8000/v1/live"
CLOSED = [
    "/v1/models",
    "/v1/watch/some",
    "/v1/watch/some/rows",
    "/metrics",
    "/static/../v1/models",
    "/nothing",
]


@pytest.mark.parametrize("path", ["/v1/nope", "/static/app.js", "/v1/read", "/"])
def test_a_websocket_where_there_is_none_is_refused_in_the_shape_of_every_error(serve, path):
    with pytest.raises(WebSocketDenialResponse) as refused:
        serve().websocket_connect(f"ws://127.0.0.1:8000{path}").__enter__()
    assert refused.value.status_code == 404
    says = {"code": "not_found", "message": "there is no WebSocket at this address"}
    assert refused.value.json() == {"error": says}


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "localhost.evil.example", "", "a b", "::"]
)
def test_a_name_that_is_not_this_machines_is_refused(serve, host):
    response = serve().get("/healthz", headers={"Host": host})
    assert (response.status_code, response.json()["error"]["code"]) == (421, "wrong_host")


def test_the_refusal_of_a_name_tells_what_to_add(serve):
    message = serve().get("/healthz", headers={"Host": "foo.example:8443"}).json()["error"]["message"]
    assert message == "this service is not called 'foo.example:8443'; add --allow-host foo.example"


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000", "192.168.1.7", "faces.example:443"]
)
def test_localhost_addresses_and_allowed_names_are_answered(serve, host):
    client = serve(hosts=("Faces.example",))
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 422),
        ("http://127.0.0.1:8000", 422),
        ("https://faces.example", 422),
        ("http://127.0.0.1:9000", 403),
        ("http://localhost:8000", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
        ("http://[::1", 403),
        ("//[x]", 403),
        ("", 403),
    ],
)
def test_a_request_of_another_sites_page_is_refused(serve, origin, status):
    client = serve(hosts=("faces.example",))
    response = client.post("/v1/read", content=b"x", headers={} if origin is None else {"Origin": origin})
    assert response.status_code == status
    assert "Access-Control-Allow-Origin" not in response.headers


APP = {"Origin": "https://App.example"}


def test_pages_of_an_allowed_site_may_use_it(serve, face_png):
    client = serve(origins=("https://app.example/",), token=TOKEN)
    refused = client.post("/v1/read", content=face_png, headers=APP)
    read = client.post("/v1/read", content=face_png, headers={**APP, "Authorization": f"Bearer {TOKEN}"})
    assert (refused.status_code, read.status_code) == (401, 200)
    for response in (refused, read):  # a page may read errors too
        assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert response.headers["Vary"] == "Origin"


def test_a_browser_is_told_what_a_page_may_send_before_it_has_a_token(serve):
    client = serve(origins=("https://app.example",), token=TOKEN)
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    answer = client.options("/v1/read", headers={**APP, **asked})
    assert (answer.status_code, answer.content) == (204, b"")
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert client.options("/v1/read", headers={"Origin": "https://evil.example", **asked}).status_code == 403
    assert client.options("/v1/read", headers=APP).status_code == 401


def test_another_site_than_the_allowed_one_stays_out(serve, face_png):
    client = serve(origins=("https://app.example",))
    for origin in ("http://app.example", "https://app.example:444", "https://app.example.evil.example"):
        response = client.post("/v1/read", content=face_png, headers={"Origin": origin})
        assert response.status_code == 403
        assert "Access-Control-Allow-Origin" not in response.headers
    own = client.get("/healthz")
    assert (own.headers["Cross-Origin-Resource-Policy"], own.headers["Vary"]) == ("same-origin", "Origin")


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("https://app.example:443/", "https://app.example"),
        ("http://App.example:80", "http://app.example"),
        ("http://app.example:443", "http://app.example:443"),
        ("https://app.example:8443", "https://app.example:8443"),
    ],
)
def test_a_site_may_be_named_with_the_port_that_browsers_leave_out(serve, given, sent):
    response = serve(origins=(given,)).get("/v1/models", headers={"Origin": sent})
    assert response.headers["Access-Control-Allow-Origin"] == sent


def test_a_socket_of_an_allowed_sites_page_is_open(serve):
    with serve(origins=("https://app.example",)).websocket_connect(LIVE, headers=APP) as socket:
        assert socket.accepted_subprotocol is None


def test_a_socket_that_another_sites_page_opens_is_refused(serve):
    client = serve()
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        client.websocket_connect(LIVE, headers={"Origin": "https://evil.example"}),
    ):
        pass
    assert refused.value.status_code == 403


@pytest.mark.parametrize("path", CLOSED)
@pytest.mark.parametrize(
    "given", [None, "Bearer wrong-token", "Bearer a-secret-token2", f"Basic {TOKEN}", "Bearer", "Bearer ü"]
)
def test_nothing_of_images_is_told_without_the_token(serve, path, given):
    headers = {} if given is None else {"Authorization": given.encode()}
    response = serve(token=TOKEN).get(path, headers=headers)
    if path.startswith("/static"):
        path = "/v1/models"  # the client resolves it
    assert (response.status_code, response.json()["error"]["code"]) == (401, "no_token")
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_the_token_opens_the_service(serve, face_png):
    client, headers = serve(token=TOKEN), {"Authorization": f"Bearer {TOKEN}"}
    assert client.get("/v1/models", headers=headers).status_code == 200
    assert client.post("/v1/read", content=face_png, headers=headers).status_code == 200
    assert client.get("/").status_code == client.get("/static/app.js").status_code == 200


def test_the_token_opens_a_socket_as_header_or_as_subprotocol(serve):
    client = serve(token=TOKEN)
    for protocols in (["mien-v1"], ["mien-v1", "bearer.wrong-token"], None):
        with (
            pytest.raises(WebSocketDenialResponse) as refused,
            client.websocket_connect(LIVE, subprotocols=protocols),
        ):
            pass
        assert refused.value.status_code == 401
    with client.websocket_connect(LIVE, subprotocols=["mien-v1", f"bearer.{TOKEN}"]) as socket:
        assert socket.accepted_subprotocol == "mien-v1"
    with client.websocket_connect(LIVE, headers={"Authorization": f"Bearer {TOKEN}"}) as socket:
        assert socket.accepted_subprotocol is None
