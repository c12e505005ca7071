"""Routes of authors: which path goes where, and what becomes of its texts."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from urllib.parse import quote, urlencode

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.doors.http.raw import read_answer
from provider.doors.http.routes import ABSENT, MOST_FIELDS, Match, RouteTable, read_query
from provider.errors import BadRequest, BadResult
from tests.conftest import PATIENCE, Provider, write

PROGRAM = """
    from dataclasses import dataclass
    from provider.dispatch import Context, OperationError, operation

    TASKS = {1: "tea"}

    @operation(http=["GET /tasks", "GET /tasks/"])
    def tasks(done: bool | None = None, limit: int = 10, tags: list[str] = ()) -> dict:
        return {"done": done, "limit": limit, "tags": list(tags)}

    @operation(http="GET /tasks/{id}")
    def task(id: int) -> str:
        if id not in TASKS:
            raise OperationError(f"there is no task {id}", code=404)
        return TASKS[id]

    @operation(http="POST /tasks", status=201)
    def add(title: str, ratio: float = 1.0) -> dict:
        return {"title": title, "ratio": ratio}

    @operation(http="PUT /tasks/{id}")
    def put(id: int, title: str, call: Context, notify: bool = False) -> list:
        return [id, title, notify, call.operation]

    @operation(http="DELETE /tasks/{id}", status=204)
    def delete(id: int) -> None:
        pass

    @operation(http="GET /tasks/mine")
    def mine() -> str:
        return "mine"

    @operation(http="GET /texts/{text}")
    def text(text: str) -> str:
        return text

    @operation(http="GET /count/{start}")
    def count(start: int):
        yield from range(start)

    @operation(http="POST /number")
    def number(value: int) -> int:
        return value

    @operation(http="POST /whole")
    def whole(value) -> object:
        return value

    @operation(http=["* /raw/{rest:path}", "HEAD /head"], http_raw=True)
    def raw(request):
        if request["variables"].get("rest") == "answer":
            return __import__("json").loads(request["body"])
        return {"status": 203, "headers": [["X-A", "1"], ["x-a", "2"], ["Content-Type", "text/x"]],
                "body": repr({k: v for k, v in request.items() if k != "headers"})}
"""


@pytest.fixture(scope="module")
def house(start_module_provider):
    return start_module_provider(PROGRAM, "--http", "0")


@pytest.fixture(scope="module")
def gateway(house, tmp_path_factory):
    command = [sys.executable, "-m", "provider", "gateway", "--http", "0"]
    process = Provider(command, house.environment, tmp_path_factory.mktemp("gateway"))
    process.wait_for("provider_found")
    yield process
    process.close()


@pytest.fixture(scope="module", params=["host", "gateway"])
def http(request):
    process = request.getfixturevalue("house" if request.param == "host" else "gateway")
    url = process.wait_for("http_open")["url"]
    with httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False) as client:
        yield client


def ask(http, path: str, method: str = "GET", body: bytes = b"", *headers: str) -> tuple[int, str]:
    """A request whose path no client tidies up; status and body."""
    with socket.create_connection((http.base_url.host, http.base_url.port), PATIENCE) as wire:
        lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
        wire.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + body)
        answer = b"".join(iter(lambda: wire.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


def problem(answer) -> tuple[int, str, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["status"] == answer.status_code
    return answer.status_code, told["kind"], told["detail"]


# --- over a socket --------------------------------------------------------------------------------


def test_path_query_and_body_become_arguments(http):
    assert http.get("/tasks/1").json() == "tea"
    assert http.get("/tasks").json() == {"done": None, "limit": 10, "tags": []}
    query = {"limit": "5", "done": "true", "tags": ["a", "b"]}
    assert http.get("/tasks/", params=query).json() == {
        "done": True,
        "limit": 5,
        "tags": ["a", "b"],
    }
    assert http.get("/tasks", params={"tags": "7"}).json()["tags"] == ["7"]
    answer = http.put("/tasks/7", params={"notify": "false"}, json={"title": "x"})
    assert answer.json() == [7, "x", False, "put"]
    answer = http.post("/tasks", params={"ratio": "2"}, json={"title": "y"})
    assert (answer.status_code, answer.json()) == (201, {"title": "y", "ratio": 2.0})
    assert http.post("/tasks", params={"ratio": "1e-3", "title": "5"}).json()["ratio"] == 0.001
    answer = http.delete("/tasks/1")
    assert (answer.status_code, answer.content) == (204, b"")
    assert http.post("/whole", json=[1, {"a": 2}]).json() == [1, {"a": 2}]
    assert http.get("/count/3").json() == [0, 1, 2]
    assert http.get("/count/2", headers={"Accept": "application/x-ndjson"}).text == "0\n1\n"


def test_what_is_written_out_goes_before_a_variable(http):
    assert http.get("/tasks/mine").json() == "mine"
    # No other method is written out there, so it is the variable's.
    assert problem(http.delete("/tasks/mine")) == (
        422,
        "invalid_argument",
        "id: Input should be a valid integer",
    )


def test_errors_of_functions_are_theirs(http):
    assert problem(http.get("/tasks/5")) == (404, "handler_error", "there is no task 5")


@pytest.mark.parametrize(
    ("method", "path", "body", "reason"),
    [
        ("GET", "/tasks/one", None, "id: Input should be a valid integer"),
        ("GET", "/tasks/1.0", None, "id: Input should be a valid integer"),
        ("GET", "/tasks/%2B1", None, "id: Input should be a valid integer"),
        ("GET", "/tasks/01", None, "id: Input should be a valid integer"),
        ("GET", "/tasks/" + "9" * 5000, None, "id: Input should be a valid integer"),
        ("GET", "/tasks?limit=", None, "limit: Input should be a valid integer"),
        ("GET", "/tasks?limit=ten", None, "limit: Input should be a valid integer"),
        ("GET", "/tasks?done=1", None, "done: Input should be a valid boolean"),
        ("GET", "/tasks?limit=1&limit=2", None, "limit: it stands in the query 2 times"),
        ("GET", "/tasks?colour=green", None, "the argument has 'colour'; expected only done,"),
        ("GET", "/tasks/1?id=2", None, "id: it stands in the path and again in the query"),
        ("GET", "/tasks/1?x=2", None, "the query has 'x'; expected only id"),
        ("GET", "/tasks/mine?x=2", None, "the query has 'x'; expected nothing"),
        ("PUT", "/tasks/1", b'{"id": 1, "title": "x"}', "id: it stands in the path and again in"),
        ("PUT", "/tasks/1?title=y", b'{"title": "x"}', "title: it stands in the query and again"),
        ("PUT", "/tasks/1", b"[1]", "the body is a list; expected a map"),
        ("PUT", "/tasks/1", b"{}", "the argument lacks title"),
        ("PUT", "/tasks/1", b'{"title": 5}', "title: Input should be a valid string"),
        ("POST", "/tasks?ratio=1e999", b'{"title": "x"}', "ratio: Input should be a valid number"),
        ("POST", "/tasks?ratio=NaN", b'{"title": "x"}', "ratio: Input should be a valid number"),
        ("POST", "/number", b'"x"', "Input should be a valid integer"),
        ("POST", "/number?value=x", None, "value: Input should be a valid integer"),
        ("DELETE", "/tasks/1", b'{"x": 1}', "id: it stands in the path, and there is nothing"),
    ],
)
def test_what_does_not_fit_is_told_with_its_path(http, method, path, body, reason):
    answer = http.request(method, path, content=body)
    status, kind, detail = problem(answer)
    assert (status, kind) == (422, "invalid_argument")
    assert detail.startswith(reason)


def test_an_empty_body_is_none(http):
    for body in (b"", b"{}", b"null"):
        assert http.request("DELETE", "/tasks/1", content=body).status_code == 204


def test_cbor_and_forms_join_paths_and_queries_too(http):
    import cbor2

    headers = {"Content-Type": "application/cbor"}
    answer = http.put("/tasks/1", content=cbor2.dumps({"title": "x"}), headers=headers)
    assert cbor2.loads(answer.content) == [1, "x", False, "put"]
    answer = http.put("/tasks/1", files={"title": (None, "x")})
    assert answer.json() == [1, "x", False, "put"]
    answer = http.get("/tasks/1", headers={"Accept": "application/cbor"})
    assert cbor2.loads(answer.content) == "tea"
    assert problem(http.put("/tasks/1", content=b"{"))[:2] == (400, "bad_request")
    answer = http.put("/tasks/1", content=b"a=1", headers={"Content-Type": "text/css"})
    assert problem(answer)[:2] == (415, "bad_request")


def test_other_methods_are_told_which_there_are(http):
    answer = http.patch("/tasks")
    assert problem(answer)[:2] == (405, "bad_request")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    answer = http.options("/tasks/1")
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PUT"


def test_head_is_get_without_its_body(http):
    got, answer = http.get("/tasks/1"), http.head("/tasks/1")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == got.headers["content-length"]
    assert problem_of_head(http.head("/whole")) == 405


def problem_of_head(answer) -> int:
    assert answer.content == b""
    return answer.status_code


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nowhere", 404),
        ("/", 404),
        ("/tasks//", 404),
        ("//tasks", 404),
        ("/tasks/1/", 404),
        ("/whole/", 404),
        ("/Tasks", 404),
        ("/tasks%2F1", 404),
        ("/texts/", 404),
        ("/texts/a/b", 404),
        ("/texts/..", 400),
        ("/texts/../tasks", 400),
        ("/texts/%2e%2e", 400),
        ("/texts/%2E./x", 400),
        ("/texts/.", 400),
        ("/texts/..%2F..%2Fetc%2Fpasswd", 400),
        ("/raw/a/../../etc/passwd", 400),
        ("/raw/a%2F..%2Fb", 400),
        ("/texts/%ff", 400),
        ("/texts/%C3%28", 400),
        ("/texts/%", 400),
        ("/texts/%4", 400),
        ("/texts/%zz", 400),
        ("/tasks?limit=%ff", 400),
        ("/tasks?limit=%", 400),
    ],
)
def test_paths_that_lead_nowhere(http, path, status):
    given, body = ask(http, path)
    assert given == status, body
    assert json.loads(body)["status"] == status


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/texts/a%2Fb", "a/b"),
        ("/texts/a+b", "a+b"),
        ("/texts/%2525", "%25"),
        ("/texts/...", "..."),
        ("/texts/a..b", "a..b"),
        ("/texts/%00", "\0"),
        ("/texts/%0d%0aX-Evil:%201", "\r\nX-Evil: 1"),
        ("/texts/gr%C3%BC%C3%9Fe", "grüße"),
        ("/texts/5", "5"),
        ("/texts/{x}", "{x}"),
        ("/texts/a;b=1", "a;b=1"),
    ],
)
def test_texts_arrive_as_they_are_after_percent_decoding(http, path, text):
    assert ask(http, path) == (200, json.dumps(text, ensure_ascii=False))


def test_raw_routes_get_all_and_give_all(http):
    answer = http.request("PROPFIND", "/raw/a%20b/c?x=1&x=2&y", content=b"\xff")
    assert answer.status_code == 203
    assert answer.headers.get_list("x-a") == ["1", "2"]
    assert answer.headers["content-type"] == "text/x"
    told = eval(answer.text)
    assert told == {
        "method": "PROPFIND",
        "path": "/raw/a b/c",
        "query": [["x", "1"], ["x", "2"], ["y", ""]],
        "body": b"\xff",
        "variables": {"rest": "a b/c"},
    }
    assert http.get("/raw/").status_code == 203
    assert http.get("/raw").status_code == 404
    assert http.options("/raw/x").status_code == 203
    assert http.head("/head").status_code == 203
    assert http.head("/head").content == b""


def test_header_injection_by_a_raw_route_is_refused(http):
    evil = {"status": 200, "headers": [["X-A", "1\r\nSet-Cookie: a=b"]], "body": ""}
    answer = http.post("/raw/answer", json=evil)
    status, kind, detail = problem(answer)
    assert (status, kind) == (500, "bad_result")
    assert "the header X-A has a value that cannot be sent" in detail
    assert "set-cookie" not in answer.headers


def test_raw_answers_without_a_body(http):
    answer = http.post("/raw/answer", json={"status": 204})
    assert (answer.status_code, answer.content) == (204, b"")
    assert "content-length" not in answer.headers
    # Nobody has said how long the body is that a HEAD request leaves out.
    answer = http.request("HEAD", "/raw/answer", json={"status": 203})
    assert answer.status_code == 203
    assert "content-length" not in answer.headers
    answer = http.post("/raw/answer", json={"status": 302, "headers": {"Location": "/tasks"}})
    assert (answer.status_code, answer.headers["location"]) == (302, "/tasks")


def test_a_gateway_tells_of_the_routes_and_of_its_own_requests(gateway):
    with httpx.Client(
        base_url=gateway.wait_for("http_open")["url"], timeout=PATIENCE, trust_env=False
    ) as http:
        assert "/tasks/{id}" in http.get("/openapi.json").json()["paths"]
        told = http.get("/metrics").text
        assert 'provider_http_requests_total{status="200"}' in told
        assert "provider_calls_total" not in told


def test_a_body_that_is_no_value_is_too_large_for_a_raw_route(start_provider):
    provider = start_provider(
        """
        from provider.dispatch import operation
        @operation(http="POST /raw", http_raw=True)
        def raw(request): return {"headers": {"X-Key": request["headers"]}}
        @operation(http="PUT /raw", http_raw=True)
        def seen(request): return {"body": " ".join(name for name, _ in request["headers"])}
        """,
        "--http",
        "0",
        PROVIDER_MAX_STRING="1KiB",
        PROVIDER_HTTP_API_KEY="key",
    )
    url = provider.wait_for("ready")["http"]
    headers = {"X-API-Key": "key", "X-Other": "1"}
    with httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False, headers=headers) as http:
        answer = http.post("/raw", content=b"x" * 1025)
        assert problem(answer)[:2] == (413, "too_large")
        assert problem(http.post("/raw", content=b"x" * 1000))[:2] == (500, "bad_result")
        seen = http.put("/raw").text.split()
        assert "x-other" in seen
        assert "x-api-key" not in seen


def test_routes_follow_saves_and_a_clash_keeps_the_old_ones(start_provider):
    provider = start_provider(
        """
        from provider.dispatch import operation
        @operation(http="GET /old")
        def old(): return "old"
        """,
        "--http",
        "0",
    )
    file = provider.environment["PYTHON_DISPATCH"]
    with httpx.Client(
        base_url=provider.wait_for("ready")["http"], timeout=PATIENCE, trust_env=False
    ) as http:
        assert http.get("/old").json() == "old"
        write(
            Path(file),
            """
            from provider.dispatch import operation
            @operation(http="GET /new/{x}")
            def new(x): return x
            """,
        )
        assert http.get("/new/1").json() == "1"
        assert http.get("/old").status_code == 404
        write(
            Path(file),
            """
            from provider.dispatch import operation
            @operation(http="GET /new/{x}")
            def one(x): return "one"
            @operation(http="GET /new/{y}")
            def two(y): return "two"
            """,
        )
        failed = provider.wait_for("reload_failed")["error"]
        assert "operations one (line 3) and two (line 5) both declare" in failed
        assert http.get("/new/1").json() == "1"
        told = http.get("/metrics").text
        assert 'provider_reloads_total{result="failed"} 1.0' in told
        assert "provider_reload_failed 1.0" in told


def test_a_request_after_a_save_is_read_as_the_new_text_has_it(start_provider):
    text = """
        from provider.dispatch import operation
        @operation(http="GET /x/{{x}}", status={status})
        def f(x: {kind}): return x
        """
    provider = start_provider(text.format(kind="int", status=200), "--http", "0")
    url = provider.wait_for("ready")["http"]
    with httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False) as http:
        for kind, status, told in [("str", 201, "5"), ("int", 202, 5), ("str", 203, "5")]:
            new = text.format(kind=kind, status=status)
            write(Path(provider.environment["PYTHON_DISPATCH"]), new)
            answer = http.get("/x/5")
            assert (answer.status_code, answer.json()) == (status, told)


def test_a_bad_route_keeps_a_provider_from_starting(start_provider):
    provider = start_provider(
        """
        from provider.dispatch import operation
        @operation(http="GET /metrics")
        def metrics(): return 1
        """,
        ready=False,
    )
    assert provider.wait() == 3
    assert "the provider answers /metrics itself" in provider.text


# --- the table ------------------------------------------------------------------------------------


def route(path, method="GET", parameters=None, **more):
    template = {"method": method, "path": path, "status": 200, "raw": False, "whole": False}
    return {**template, "parameters": parameters or {}, **more}


def table(*routes):
    return RouteTable([{"name": f"o{n}", "http": [entry]} for n, entry in enumerate(routes)])


def found(table, path, method="GET"):
    match = table.match(method, path.encode())
    return (match.target.operation, dict(match.variables)) if isinstance(match, Match) else match


def test_the_most_exact_route_is_taken():
    routes = table(
        route("/{a}/{b}"), route("/{a}/x"), route("/a/{b}"), route("/a/x"), route("/{a}/{r:path}")
    )
    assert found(routes, "/a/x") == ("o3", {})
    assert found(routes, "/a/y") == ("o2", {"b": "y"})
    assert found(routes, "/b/x") == ("o1", {"a": "b"})
    assert found(routes, "/b/y") == ("o0", {"a": "b", "b": "y"})
    assert found(routes, "/b/y/z") == ("o4", {"a": "b", "r": "y/z"})
    assert found(routes, "/b/") == ("o4", {"a": "b", "r": ""})
    assert found(routes, "*") is None
    assert found(RouteTable(), "/%") is None


def test_a_rest_begins_where_it_stands():
    routes = table(route("/{r:path}"), route("/files/{r:path}", "POST"))
    assert found(routes, "/") == ("o0", {"r": ""})
    assert found(routes, "/files/a/b") == ("o0", {"r": "files/a/b"})
    assert found(routes, "/files/a", "POST") == ("o1", {"r": "a"})
    assert found(routes, "/x", "POST") == ("GET", "HEAD", "OPTIONS")


def test_routes_that_are_none_are_left_out():
    assert table(route("no"), route("/a")).all[0].path == "/a"
    assert RouteTable([{"name": "old"}]).all == []


KINDS = {
    "whole": {"types": ["integer"]},
    "number": {"types": ["number"]},
    "flag": {"types": ["boolean", "null"]},
    "any": {"types": []},
    "text": {"types": ["integer", "string"]},
    "list": {"types": ["array"], "items": ["integer", "null"]},
    "either": {"types": ["array", "string"], "items": ["string"]},
}


@pytest.mark.parametrize(
    ("query", "argument"),
    [
        ("whole=5", {"whole": 5}),
        ("whole=-0", {"whole": 0}),
        ("whole=5.0", {"whole": "5.0"}),
        ("whole=true", {"whole": "true"}),
        ("number=5", {"number": 5}),
        ("number=5.5e1", {"number": 55.0}),
        ("number=.5", {"number": ".5"}),
        ("number=1e999", {"number": "1e999"}),
        ("number=0x10", {"number": "0x10"}),
        ("number=1_0", {"number": "1_0"}),
        ("number=%D9%A3", {"number": "٣"}),
        ("flag=true", {"flag": True}),
        ("flag=True", {"flag": "True"}),
        ("flag=null", {"flag": "null"}),
        ("any=5", {"any": "5"}),
        ("other=5", {"other": "5"}),
        ("text=5", {"text": "5"}),
        ("list=1", {"list": [1]}),
        ("list=1&list=x", {"list": [1, "x"]}),
        ("either=a", {"either": "a"}),
        ("either=a&either=b", {"either": ["a", "b"]}),
        ("a+b=c+d&&=&x", {"a b": "c d", "": "", "x": ""}),
    ],
)
def test_texts_become_what_the_operation_takes(query, argument):
    match = table(route("/x", parameters=KINDS)).match("GET", b"/x")
    given = match.argument(read_query(query.encode()))
    assert given == argument
    assert list(map(type, given.values())) == list(map(type, argument.values()))


def test_nothing_given_is_nothing_sent():
    match = table(route("/x")).match("GET", b"/x")
    assert match.argument([]) is ABSENT
    assert repr(ABSENT) == "ABSENT"
    assert match.argument([], [1]) == [1]
    assert match.argument([("a", "1")], None) == {"a": "1"}


def test_a_query_has_an_end():
    read_query(b"&" * (MOST_FIELDS - 1))
    with pytest.raises(BadRequest, match="more than 1000 fields"):
        read_query(b"&" * MOST_FIELDS)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=8))
def test_queries_arrive_as_they_were_meant(fields):
    assert read_query(urlencode(fields).encode()) == fields


@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_paths_arrive_as_they_were_meant(texts):
    names = [f"v{number}" for number in range(len(texts))]
    routes = table(route("/x/" + "/".join(f"{{{name}}}" for name in names)))
    raw = ("/x/" + "/".join(quote(text, safe="") for text in texts)).encode()
    try:
        match = routes.match("GET", raw)
    except BadRequest:
        assert any(".." in text.split("/") or text == "." for text in texts)
    else:
        assert (
            match is None
            if "" in texts
            else match.variables == dict(zip(names, texts, strict=True))
        )


@given(st.binary(max_size=60))
def test_any_bytes_are_a_path_or_told_why(raw):
    routes = table(route("/{a}"), route("/{a}/{r:path}"))
    try:
        match = routes.match("GET", b"/" + raw)
        read_query(raw)
    except BadRequest as error:
        assert error.message  # noqa: PT017  either will do
    else:
        assert match is None or all(
            "/" not in v or n == "r" or b"%2" in raw for n, v in match.variables.items()
        )


# --- raw answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("text", "it is str; expected a map"),
        ({"code": 200}, "it has 'code'; expected only"),
        ({"status": "200"}, "status is '200'"),
        ({"status": True}, "status is True"),
        ({"status": 100}, "status is 100"),
        ({"status": 600}, "status is 600"),
        ({"body": 5}, "body is int"),
        ({"status": 204, "body": "x"}, "status 204 has no body"),
        ({"headers": "x"}, "headers are no map"),
        ({"headers": [["a"]]}, "headers are no map"),
        ({"headers": [["a", "b"]] * 201}, "it has 201 headers"),
        ({"headers": {"a b": "c"}}, "a name that is none"),
        ({"headers": {"": "c"}}, "a name that is none"),
        ({"headers": {"a\n": "c"}}, "a name that is none"),
        ({"headers": {"a": "b\r\nc: d"}}, "cannot be sent"),
        ({"headers": {"a": "b\n"}}, "cannot be sent"),
        ({"headers": {"a": "b\0"}}, "cannot be sent"),
        ({"headers": {"a": "\u2028"}}, "cannot be sent"),
        ({"headers": {"a": None}}, "cannot be sent"),
        ({"headers": {"a": "x" * 8193}}, "cannot be sent"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "that of the connection"),
        ({"headers": {"Connection": "close"}}, "that of the connection"),
    ],
)
def test_raw_answers_that_are_none_are_refused(told, reason):
    with pytest.raises(BadResult, match=reason):
        read_answer(told)


def test_raw_answers_may_leave_out_what_is_usual():
    assert read_answer({}) == (200, [], b"")
    assert read_answer({"body": "ü", "headers": {"X-N": 5, "Content-Length": "99"}}) == (
        200,
        [(b"x-n", b"5")],
        "ü".encode(),
    )
    assert read_answer({"status": 304, "body": None})[0] == 304
