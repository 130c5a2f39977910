"""The service, asked as programs ask it: what it answers, and what it refuses."""

from __future__ import annotations

import asyncio
import csv
import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from acclimate.pipeline.export import export
from acclimate.runs.adaptation import Adaptation

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("multipart", reason="the extra serve is not installed")

from fastapi import FastAPI
from fastapi.testclient import TestClient as AnyClient

from acclimate.serving.batching import AT_ONCE, Batcher, BusyError
from acclimate.serving.model import Model, RunModel, open_model
from acclimate.serving.web import Limits, create_app

RANDOM = np.random.default_rng(0)


def asked(app: FastAPI) -> AnyClient:
    """Return a client that calls the service by this machine's own name."""
    return AnyClient(app, base_url="http://localhost")


def png(height: int = 20, width: int = 30) -> bytes:
    file = io.BytesIO()
    Image.fromarray(RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def several(*contents: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", (f"{number}.png", content)) for number, content in enumerate(contents)]


@pytest.fixture(scope="module")
def model(finished: Adaptation) -> Model:
    return open_model(finished.run.path)


@pytest.fixture(scope="module")
def client(model: Model) -> Iterator[AnyClient]:
    with asked(create_app(model, limits=Limits(bytes=200_000, images=4, pixels=10_000))) as client:
        yield client


class TestAnswers:
    def test_it_says_what_predict_says(
        self, client: AnyClient, finished: Adaptation, run_cli: Callable[..., Any], tmp_path: Path
    ) -> None:
        files = [tmp_path / f"{number}.png" for number in range(3)]
        for file in files:
            file.write_bytes(png())
        _, out, _ = run_cli("predict", finished.run.path, *files)
        rows = list(csv.DictReader(io.StringIO(out)))
        found = client.post("/predict", files=several(*(file.read_bytes() for file in files))).json()["predictions"]
        assert [one["file"] for one in found] == ["0.png", "1.png", "2.png"]
        for row, one in zip(rows, found, strict=True):
            assert one["class"] == row["class"]
            assert one["probability"] == pytest.approx(float(row["probability"]), abs=1e-5)
            assert one["top"][0] == {"class": one["class"], "probability": one["probability"]}
            assert [part["probability"] for part in one["top"]] == sorted(
                (part["probability"] for part in one["top"]), reverse=True
            )
            assert not one["abstains"]
            assert "likeness" not in one

    def test_it_abstains(self, client: AnyClient) -> None:
        (found,) = client.post("/predict?abstain=1", files=several(png())).json()["predictions"]
        assert found["class"] is None
        assert found["abstains"]
        assert found["top"][0]["class"] in "0123456789"

    def test_it_tells_how_like_the_target_images_are(self, client: AnyClient, finished: Adaptation) -> None:
        pixels = finished.target.images("test").pixels[:1]
        file = io.BytesIO()
        Image.fromarray(pixels[0].permute(1, 2, 0).numpy()).save(file, "PNG")
        (found,) = client.post("/predict?likeness=true", files=several(file.getvalue())).json()["predictions"]
        assert 0 <= found["likeness"] <= 1
        assert "target" in found["likeness_in_words"]

    @pytest.mark.parametrize("to", ["target", "source"])
    def test_it_redraws(self, to: str, client: AnyClient, model: Model, finished: Adaptation) -> None:
        content = png()
        response = client.post(f"/translate?to={to}", files={"file": ("a.png", content)})
        assert response.headers["content-type"] == "image/png"
        size, translator = finished.config.image_size, finished.translator()
        pixels = model.read(content, "a.png", 10_000)[None]
        redrawn = {"target": translator(pixels)[0].int(), "source": translator.back(pixels)[0].int()}
        seen = torch.from_numpy(np.array(Image.open(io.BytesIO(response.content)))).permute(2, 0, 1).int()
        assert seen.shape == (3, size, size)
        off = {name: int((seen - image).abs().max()) for name, image in redrawn.items()}
        assert off.pop(to) <= 1  # rounded, and computed by other threads
        assert min(off.values()) > 1

    def test_the_rest(self, client: AnyClient, finished: Adaptation) -> None:
        assert client.get("/health").json()["status"] == "ok"
        told = client.get("/model").json()
        assert told["about"]["classes"] == list(finished.task.classes)
        assert told["card"].startswith("---\nlibrary_name")
        assert told["redraws_as"] == ["target", "source"]
        assert set(client.get("/openapi.json").json()["paths"]) == {"/predict", "/translate", "/health", "/model"}
        for page in ("/", "/docs"):
            response = client.get(page)
            assert response.headers["content-type"].startswith("text/html")
            assert "default-src 'self'" in response.headers["content-security-policy"]
            assert not re.search(r"(src|href)=\"?(https?:)?//", response.text)

    def test_an_exported_folder_says_the_same(self, client: AnyClient, finished: Adaptation, tmp_path: Path) -> None:
        pytest.importorskip("onnxruntime", reason="the extra export is not installed")
        export(finished, tmp_path / "out")
        model, files = open_model(tmp_path / "out", threads=1), several(png(), png())
        assert model.engine == "onnxruntime"
        with asked(create_app(model)) as exported:
            found, wanted = (one.post("/predict", files=files).json()["predictions"] for one in (exported, client))
            for one, other in zip(found, wanted, strict=True):
                assert one["class"] == other["class"]
                assert one["probability"] == pytest.approx(other["probability"], abs=2e-3)
            assert exported.post("/predict?likeness=true", files=files).status_code == 409
            assert exported.post("/translate", files={"file": ("a.png", png())}).status_code == 409
            assert exported.get("/model").json()["card"] == (tmp_path / "out" / "README.md").read_text()


class TestRefusals:
    @pytest.mark.parametrize(
        ("files", "status", "told"),
        [
            (several(b"no image"), 422, "0.png: not a readable image"),
            (several(b""), 422, "0.png: not a readable image, it is empty"),
            (several(png(), png()[:300]), 422, "1.png: "),
            (several(png(200, 200)), 422, "0.png: 200x200 pixels; the limit is 10,000"),
            (several(*[png()] * 5), 413, "5 images; the limit of a request is 4"),
            (several(bytes(300_000)), 413, "the request is too large; the limit is 200,000 bytes"),
            ([("other", ("a.png", b"x"))], 422, "body.files: Field required"),
        ],
    )
    def test_bad_uploads(self, files: Any, status: int, told: str, client: AnyClient) -> None:
        response = client.post("/predict", files=files)
        assert response.status_code == status
        assert response.json()["detail"].startswith(told)
        assert "\n" not in response.json()["detail"]
        assert client.post("/predict", files=several(png())).status_code == 200

    def test_more_bytes_than_it_was_told(self, client: AnyClient) -> None:
        def parts() -> Iterator[bytes]:
            yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
            for _ in range(10):
                yield bytes(50_000)

        response = client.post("/predict", content=parts(), headers={"Content-Type": "multipart/form-data; boundary=x"})
        assert (response.status_code, response.json()["detail"][:24]) == (413, "the request is too large")

    @pytest.mark.parametrize("body", [b"", b"garbage", b"--x\r\nContent-Disposition: form-data\r\n\r\n"])
    def test_malformed_bodies(self, body: bytes, client: AnyClient) -> None:
        response = client.post("/predict", content=body, headers={"Content-Type": "multipart/form-data; boundary=x"})
        assert 400 <= response.status_code < 500
        assert isinstance(response.json()["detail"], str)

    @pytest.mark.parametrize(
        ("path", "status"), [("/predict?abstain=2", 422), ("/translate?to=mars", 422), ("/x", 404)]
    )
    def test_bad_questions(self, path: str, status: int, client: AnyClient) -> None:
        response = client.post(path, files=several(png()))
        assert response.status_code == status
        assert isinstance(response.json()["detail"], str)

    def test_another_name_than_this_machines(self, client: AnyClient, model: Model) -> None:
        assert client.get("/health", headers={"Host": "evil.example"}).status_code == 400
        for own in ("localhost:8000", "127.0.0.1", "[::1]:8000"):
            assert client.get("/health", headers={"Host": own}).status_code == 200
        open_to_all = asked(create_app(model, any_host=True))
        assert open_to_all.get("/health", headers={"Host": "models.example"}).status_code == 200

    def test_a_token(self, model: Model) -> None:
        with asked(create_app(model, token="secret")) as client:
            for path in ("/predict", "/translate"):
                assert client.post(path, files=several(png())).status_code == 401
                wrong = {"Authorization": "Bearer wrong"}
                assert client.post(path, files=several(png()), headers=wrong).status_code == 401
            assert client.get("/model").status_code == 401
            assert client.get("/openapi.json").status_code == 401
            assert client.get("/health").status_code == 200
            assert 'id="token"' in client.get("/").text
            right = {"Authorization": "Bearer secret"}
            assert client.post("/predict", files=several(png()), headers=right).status_code == 200

    def test_too_many_waiting(self, model: Model) -> None:
        with asked(create_app(model, limits=Limits(waiting=1))) as client:
            response = client.post("/predict", files=several(png(), png()))
            assert (response.status_code, response.headers["retry-after"]) == (503, "1")

    def test_without_the_token_nothing_is_read(self, model: Model) -> None:
        answers: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            raise AssertionError("the body was asked for")

        async def send(message: Any) -> None:
            answers.append(message)

        scope = {"type": "http", "method": "POST", "path": "/predict", "query_string": b"", "headers": []}
        asyncio.run(create_app(model, token="secret")(scope, receive, send))
        assert answers[0]["status"] == 401

    def test_redrawing_has_a_limit_and_holds_nobody_up(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        begun, go_on = threading.Event(), threading.Event()

        def slow(*_: object) -> bytes:
            begun.set()
            assert go_on.wait(30)
            return png()

        monkeypatch.setattr(model, "redraw", slow)
        with asked(create_app(model, limits=Limits(redrawing=1))) as client, ThreadPoolExecutor() as pool:
            first = pool.submit(client.post, "/translate", files={"file": png()})
            assert begun.wait(30)
            assert client.post("/translate", files={"file": png()}).status_code == 503
            assert client.post("/predict", files=several(png())).status_code == 200
            go_on.set()
            assert first.result().status_code == 200
            assert client.post("/translate", files={"file": png()}).status_code == 200


class TestBatching:
    def test_what_waits_meanwhile_becomes_one_batch(self) -> None:
        sizes, ready = [], threading.Event()

        def compute(images: Tensor) -> Tensor:
            if not sizes:
                ready.wait(10)
            sizes.append(len(images))
            return images * 2

        async def ask() -> list[Tensor]:
            with ThreadPoolExecutor(1) as executor:
                batcher = Batcher(compute, executor, 1000)
                first = asyncio.create_task(batcher(torch.tensor([0.0])))
                await asyncio.sleep(0.05)
                others = [asyncio.create_task(batcher(torch.full((count,), float(count)))) for count in (1, 2, 3)]
                await asyncio.sleep(0.05)
                ready.set()
                return [await first, *[await one for one in others]]

        answers = asyncio.run(ask())
        assert sizes == [1, 6]
        assert [one.tolist() for one in answers] == [[0.0], [2.0], [4.0, 4.0], [6.0] * 3]

    def test_batches_are_bounded_and_nothing_is_lost(self) -> None:
        sizes = []

        def compute(images: Tensor) -> Tensor:
            sizes.append(len(images))
            time.sleep(0.01)
            return images + 1

        async def ask() -> list[Tensor]:
            with ThreadPoolExecutor(1) as executor:
                batcher = Batcher(compute, executor, 10_000)
                return await asyncio.gather(*(batcher(torch.full((100,), float(n))) for n in range(20)))

        answers = asyncio.run(ask())
        assert [one.unique().tolist() for one in answers] == [[n + 1.0] for n in range(20)]
        assert max(sizes) <= AT_ONCE

    def test_an_error_reaches_those_who_wait_and_the_next_are_served(self) -> None:
        def compute(images: Tensor) -> Tensor:
            if bool((images < 0).any()):
                raise ValueError("negative")
            return images

        async def ask() -> None:
            with ThreadPoolExecutor(1) as executor:
                batcher = Batcher(compute, executor, 10)
                with pytest.raises(ValueError, match="negative"):
                    await batcher(torch.tensor([-1.0]))
                assert (await batcher(torch.tensor([1.0]))).tolist() == [1.0]
                with pytest.raises(BusyError):
                    await batcher(torch.zeros(11))

        asyncio.run(ask())


def test_what_is_no_model(tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "model.onnx").write_bytes(b"junk")
    code, _, told = run_cli("serve", tmp_path / "bad")
    assert (code, "holds no model that acclimate exported" in told) == (2, True)
    code, _, told = run_cli("serve", tmp_path / "nowhere")
    assert code == 2
    assert "nowhere" in told


def test_a_run_without_images_of_the_target_and_without_a_translator(finished: Adaptation, monkeypatch: Any) -> None:
    monkeypatch.setattr("acclimate.serving.model.familiarity_if_known", lambda _run: None)
    with asked(create_app(RunModel(finished))) as client:
        response = client.post("/predict?likeness=true", files=several(png()))
        assert (response.status_code, response.json()["detail"][:25]) == (409, "this model has no images ")


@pytest.fixture
def started(finished: Adaptation) -> Iterator[tuple[subprocess.Popen[str], str]]:
    arguments = [sys.executable, "-m", "acclimate", "serve", str(finished.run.path), "--port", "0", "--threads", "1"]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=dict(os.environ, COLUMNS="200"))
    assert process.stderr
    for line in process.stderr:
        if found := re.search(r"http://\S+", line):
            break
    else:
        raise AssertionError("it did not start")
    yield process, found[0]
    process.kill()
    process.wait()
    process.stderr.close()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_when_told_to_and_answers_first(
    started: tuple[subprocess.Popen[str], str], how: signal.Signals
) -> None:
    process, address = started
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n' + png() + b"\r\n--x--\r\n"
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[:100])
    time.sleep(0.3)
    process.send_signal(how)
    time.sleep(0.3)
    assert process.poll() is None
    connection.send(body[100:])
    answer = connection.getresponse()
    assert (answer.status, len(json.load(answer)["predictions"])) == (200, 1)
    connection.close()
    assert process.wait(30) == 0
    assert process.stderr
    assert process.stderr.read().splitlines()[-1] == "stopped"
