"""The HTTP service over a real socket, and against whatever schemathesis makes up."""

import dataclasses
import socket
import threading

import pytest
from webclient import serving

from recbole_hm4sr.serve.recommend import Recommender

httpx = pytest.importorskip("httpx", reason="needs httpx of the extra dev")
uvicorn = pytest.importorskip("uvicorn", reason="needs the extra serve")
pytest.importorskip("fastapi_offline", reason="needs the extra serve")

from recbole_hm4sr.serve import body_parts  # noqa: E402
from recbole_hm4sr.serve.examples import make_examples  # noqa: E402
from recbole_hm4sr.serve.service import create_app  # noqa: E402

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def app(hm4sr_run):
    return create_app(Recommender.load(hm4sr_run))


@pytest.fixture(scope="module")
def client(app):
    with serving(app) as address, httpx.Client(base_url=address, timeout=60) as client:
        yield client


def test_a_user_who_has_taken_everything_has_an_empty_list(client, hm4sr_run):
    every = Recommender.load(hm4sr_run).items.tokens[1:].tolist()
    body = as_body([(every, list(range(len(every)))), (every[:1], [1])], k=3)
    users = client.post("/recommend", json=body).json()["users"]
    assert [len(user["items"]) for user in users] == [0, 3]


def as_body(histories, **more):
    named = [
        [{"item": item, "time": t} for item, t in zip(*history, strict=True)]
        for history in histories
    ]
    return {"histories": named, **more}


def items(answer):
    assert answer.status_code == 200, answer.text
    return [[item["item"] for item in user["items"]] for user in answer.json()["users"]]


def test_it_gives_the_models_own_answers(client, expected):
    answer = client.post(
        "/recommend", json=as_body(expected.histories, k=7, exclude_seen=False, explain=True)
    )
    assert items(answer) == expected.top(7)
    best = answer.json()["users"][0]["items"][0]
    assert sum(best["shares"].values()) == pytest.approx(best["score"], rel=1e-4, abs=1e-5)
    assert set(best["shares"]) == {"id", "text", "image"}
    reasons = [
        (item["reason"], {token for token, _ in zip(*history, strict=True)})
        for user, history in zip(answer.json()["users"], expected.histories, strict=True)
        for item in user["items"]
        if "reason" in item
    ]
    assert {reason["kind"] for reason, _ in reasons} >= {"history"}
    for reason, taken in reasons:
        if reason["kind"] == "history":
            assert reason["item"] in taken
            assert reason["title"] == f'Item "{int(reason["item"][1:])}"'
            assert reason["share"] > 0.1
    answer = client.post("/recommend", json=as_body(expected.histories, k=24))
    assert items(answer) == expected.top(24, banned="seen")
    assert set(answer.json()["users"][0]["items"][0]) == {"item", "score"}


def test_unknown_items_and_empty_histories_are_answered(client):
    answer = client.post("/recommend", json=as_body([([], []), (["new"], [5])], k=3)).json()
    assert [user["source"] for user in answer["users"]] == ["popular", "popular"]
    assert [user["unknown_items"] for user in answer["users"]] == [0, 1]
    assert answer["users"][0]["items"] == answer["users"][1]["items"]


def test_candidates_restrict(client):
    body = as_body([(["B001"], [5])], candidates=["B004", "none", "B003"])
    answer = client.post("/recommend", json=body)
    assert set(items(answer)[0]) == {"B003", "B004"}
    assert answer.json()["unknown_candidates"] == 1
    answer = client.post("/recommend", json=as_body([([], [])], candidates=["none"]))
    assert answer.status_code == 404
    assert answer.json() == {"errors": ["none of the candidates is an item of the run"]}


def test_rules_of_a_request_are_obeyed(client):
    body = as_body([(["B001", "B002"], [5, 60])], k=9, exclude_seen=False)
    plain = items(client.post("/recommend", json=body))[0]
    ruled = {
        **body,
        "exclude_items": plain[:1],
        "where": "categories = 'Half_0' and title like 'item%'",
        "max_per": {"categories": 1},
        "show": ["title", "categories"],
    }
    answer = client.post("/recommend", json=ruled).json()["users"][0]["items"]
    # Half_0 is a value as well, so that one list holds one item.
    (best,) = [it for it in plain[1:] if int(it[1:]) < 12][:1]
    number = int(best[1:])
    assert [it["item"] for it in answer] == [best]
    details = {"title": f'Item "{number}"', "categories": [f"Group_{number % 3}", "Half_0"]}
    assert answer[0]["details"] == details


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ({"where": "categories ="}, "where, character 13: there must be a number or a text"),
        ({"where": "price < 5"}, "where, character 1: the column 'price' is not kept for serving"),
        ({"max_per": {"brand": 1}}, "max_per: the column 'brand' is not kept for serving, but "),
        ({"max_per": {"title": 0}}, "body.max_per.title: Input should be greater than or equal"),
        ({"diversity": 1.5}, "body.diversity: Input should be less than or equal to 1"),
        ({"show": ["color"]}, "show: the column 'color' is not kept for serving, but title, cat"),
        ({"where": "x" * 1001}, "body.where: String should have at most 1000 characters"),
    ],
)
def test_wrong_rules_are_refused_with_a_sentence(client, rule, sentence):
    answer = client.post("/recommend", json={**as_body([([], [])]), **rule})
    assert answer.status_code == 422
    assert any(error.startswith(sentence) for error in answer.json()["errors"]), answer.text


def test_health_and_version(client):
    assert client.get("/health").json() == {"status": "ok"}
    version = client.get("/version").json()
    assert client.get("/ready").json() == {"status": "ready", "version": version["served"]}
    assert (version["model"], version["dataset"], version["n_items"]) == ("HM4SR", "toy", 24)
    assert version["timestamp_unit"] == "s"
    assert set(version["fingerprints"]) == {"interactions", "text features", "image features"}


def test_the_openapi_page_needs_no_other_machine(client):
    page = client.get("/docs")
    assert page.status_code == 200
    assert "://" not in page.text.replace(str(client.base_url), "")
    script = client.get("/static-offline-docs/swagger-ui-bundle.js")
    assert script.status_code == 200
    assert set(client.get("/openapi.json").json()["paths"]) == {
        "/recommend",
        "/similar",
        "/health",
        "/ready",
        "/metrics",
        "/version",
    }


def examples_of(content):
    """Name to value of the examples of a body."""
    named = content["application/json"]
    assert "example" not in named or "examples" not in named
    if "example" in named:
        return {"": named["example"]}
    return {name: example["value"] for name, example in named["examples"].items()}


def from_properties(schema, document):
    """The body that a page makes up of a schema: of each property its first example, or default."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "examples" in schema:
        return schema["examples"][0]
    if "default" in schema:
        return schema["default"]
    if schema["type"] == "array":
        return [from_properties(schema["items"], document)]
    return {name: from_properties(each, document) for name, each in schema["properties"].items()}


def test_every_example_of_the_page_works_and_its_answer_is_the_one_shown(client):
    document = client.get("/openapi.json").json()
    tags = {tag["name"] for tag in document["tags"] if tag["description"]}
    tried = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert set(operation["tags"]) <= tags
            assert operation["summary"]
            assert operation["description"]
            if path == "/metrics":
                continue  # no JSON, and another one each time
            bodies = [("", None)]
            if "requestBody" in operation:
                bodies = examples_of(operation["requestBody"]["content"]).items()
            for name, body in bodies:
                answer = client.request(method, path, json=body)
                assert answer.status_code == 200, answer.text
                shown = examples_of(operation["responses"]["200"]["content"])
                assert answer.json() == shown[name]
                tried.append((method, path, name))
    assert tried == [
        ("post", "/recommend", "users"),
        ("post", "/recommend", "candidates"),
        ("post", "/recommend", "rules"),
        ("post", "/recommend", "explain"),
        ("post", "/similar", "items"),
        ("post", "/similar", "rules"),
        ("get", "/health", ""),
        ("get", "/ready", ""),
        ("get", "/version", ""),
    ]


def test_the_examples_are_of_the_runs_own_items(client, app, expected):
    document = client.get("/openapi.json").json()
    content = document["paths"]["/recommend"]["post"]["requestBody"]["content"]
    examples = examples_of(content)
    known = set(expected.tokens)
    for body in examples.values():
        tokens = {it["item"] for history in body["histories"] for it in history}
        assert tokens | set(body.get("candidates", [])) <= known - {"[PAD]"}
    answer = client.post("/recommend", json=examples["users"]).json()
    assert [user["source"] for user in answer["users"]] == ["model", "popular"]
    assert [user["unknown_items"] for user in answer["users"]] == [0, 0]
    answer = client.post("/recommend", json=examples["candidates"]).json()
    assert answer["unknown_candidates"] == 0
    answer = client.post("/recommend", json=examples["explain"]).json()
    assert set(answer["users"][0]["items"][0]["shares"]) == {"id", "text", "image"}


def test_a_body_made_of_the_schemas_own_examples_works(client):
    document = client.get("/openapi.json").json()
    content = document["paths"]["/recommend"]["post"]["requestBody"]["content"]
    body = from_properties(content["application/json"]["schema"], document)
    rules = ["candidates", "exclude_items", "where", "max_per", "diversity", "show"]
    assert list(body) == ["k", *rules, "histories", "exclude_seen", "explain", "at"]
    answer = client.post("/recommend", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["users"][0]["source"] == "model"
    interaction = document["components"]["schemas"]["Interaction"]
    assert [[from_properties(interaction, document)]] == body["histories"]


def test_the_refusals_shown_are_those_that_are_given(client):
    document = client.get("/openapi.json").json()
    responses = document["paths"]["/recommend"]["post"]["responses"]
    shown = {
        int(status): examples_of(response["content"])[""]
        for status, response in responses.items()
        if status not in ("200", "503")
    }
    wrong = [b"{", b'{"histories": [[]], "candidates": ["none"]}', b'{"histories": [[]], "k": 0}']
    given = {}
    for content in (*wrong, b" " * (body_parts.MAX_BODY_BYTES + 1)):
        answer = client.post(
            "/recommend", content=content, headers={"content-type": "application/json"}
        )
        given[answer.status_code] = answer.json()
    assert given == shown


def test_times_of_a_run_in_milliseconds_are_shown_as_such(hm4sr_run, monkeypatch):
    recommender = Recommender.load(hm4sr_run)
    seconds = make_examples(recommender).times
    monkeypatch.setattr(recommender, "columns", dataclasses.replace(recommender.columns, unit="ms"))
    assert make_examples(recommender).times == [1000 * time for time in seconds]


@pytest.mark.parametrize(
    ("content", "status", "sentence"),
    [
        (b"{", 400, "JSON decode error"),
        (b'{"histories": []}', 422, "body.histories: List should have at least 1 item"),
        (b"[]", 422, "body: "),
        (b'{"histories": [[]], "k": 0}', 422, "body.k: Input should be greater than or equal to 1"),
        (b'{"histories": [[]], "k": 100000}', 422, "body.k: Input should be less than or equal"),
        (b'{"histories": [[]], "kk": 1}', 422, "body.kk: Extra inputs are not permitted"),
        (b'{"histories": [[]], "k": NaN}', 422, "body.k: "),
        (b'{"histories": [[{"item": "B001"}]]}', 422, "body.histories.0.0.time: Field required"),
        (
            b'{"histories": [[{"item": 5, "time": 5}]]}',
            422,
            "body.histories.0.0.item: Input should",
        ),
        (
            b'{"histories": [[{"item": "B", "time": 1700000000000}]]}',
            422,
            "histories[0], interaction 0: times must be in seconds, got 1700000000000, which looks "
            "like milliseconds; the run counts in seconds, so divide times by 1000 and round down",
        ),
        (b'{"histories": [[]], "\\ud800": 1}', 422, "unable to parse raw data as a unicode string"),
        (b'{"histories": [[]], "k": "5"}', 422, "body.k: Input should be a valid integer"),
        (b'{"histories": [[]], "k": true}', 422, "body.k: Input should be a valid integer"),
        (b'{"histories": [[]], "k": 2.5}', 422, "body.k: Input should be a valid integer"),
        (b'{"histories": [[{"item": "\\ud800", "time": 5}]]}', 422, "body.histories.0.0.item: "),
    ],
)
def test_wrong_bodies_are_refused_with_a_sentence(client, content, status, sentence):
    answer = client.post(
        "/recommend", content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code == status
    assert any(sentence in error for error in answer.json()["errors"]), answer.text


def test_wrong_addresses_and_methods_are_refused(client):
    assert client.get("/recommend").status_code == 405
    assert client.get("/recommend").headers["allow"] == "POST"
    answer = client.get("/nothing")
    assert (answer.status_code, answer.json()) == (404, {"errors": ["Not Found"]})


def test_too_much_is_refused(client, monkeypatch):
    many = as_body([([], [])] * (body_parts.MAX_USERS + 1))
    assert client.post("/recommend", json=many).status_code == 422
    one = [{"item": "B001", "time": 1}]
    long = {"histories": [one * (body_parts.MAX_HISTORY + 1)]}
    assert client.post("/recommend", json=long).status_code == 422
    monkeypatch.setattr(body_parts, "MAX_INTERACTIONS", 3)
    answer = client.post("/recommend", json={"histories": [one * 2, one * 2]})
    assert answer.status_code == 422
    assert "at most 3 interactions in all, got 4" in answer.json()["errors"][0]


def test_large_bodies_are_refused_stated_or_not(client):
    block = b" " * (1 << 20)
    stated = client.post("/recommend", content=block * 17)
    assert stated.status_code == 413
    chunked = client.post("/recommend", content=(block for _ in range(17)))
    assert chunked.status_code == 413
    assert "at most 16,777,216 bytes" in chunked.json()["errors"][0]


def test_many_at_once_get_what_each_would_alone(client, expected):
    histories = expected.histories[:12]
    alone = [items(client.post("/recommend", json=as_body([it])))[0] for it in histories]
    answers = [None] * len(histories)

    def ask(number):
        body = as_body([histories[number]])
        answers[number] = items(httpx.post(f"{client.base_url}/recommend", json=body, timeout=60))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(histories))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer[0] for answer in answers] == alone


def test_the_command_listens_to_this_machine_alone(monkeypatch, hm4sr_run):
    from recbole_hm4sr import cli

    asked = []

    def run(server, sockets):
        asked.extend(bound.getsockname() for bound in sockets)

    monkeypatch.setattr(uvicorn.Server, "run", run)
    with pytest.raises(SystemExit, match="0"):
        cli.main(["serve", "--run", str(hm4sr_run), "--port=0"])
    assert [host for host, _ in asked] == ["127.0.0.1"]
    assert socket.gethostbyname("localhost") == "127.0.0.1"


def test_schemathesis_finds_no_fault(app):
    schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis of the extra dev")
    hypothesis = pytest.importorskip("hypothesis")
    conditions = ["title like '%1%'", "categories in ('Half_0')", "not (title is null)"]
    moments = ["2020-01-01T00:00:00Z", "2021-05-06", "2022-01-01T10:00:00.5+02:00"]
    schemathesis.openapi.format("moment", hypothesis.strategies.sampled_from(moments))
    schemathesis.openapi.format("where", hypothesis.strategies.sampled_from(conditions))
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    seen = set()
    for operation in schema.get_all_operations():
        case_of = operation.ok().as_strategy()

        @hypothesis.settings(max_examples=30, deadline=None, derandomize=True, database=None)
        @hypothesis.given(case=case_of)
        def check(case):
            answer = case.call()
            if answer.status_code == 422 and "where, character" in answer.text:
                return  # a schema cannot say what a condition is; here and there one is made up
            seen.add((case.path, answer.status_code))
            case.validate_response(answer)

        check()
    answered = {path for path, status in seen if status == 200}
    assert answered >= {"/recommend", "/health", "/ready", "/metrics", "/version"}
    assert {path for path, _ in seen} == {*answered, "/similar"}
    assert all(status < 500 for _, status in seen)
