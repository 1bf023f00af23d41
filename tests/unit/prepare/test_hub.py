"""What is wrong with an encoder's name or folder is one sentence, at once and without a network."""

import http.server
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import threading

import pytest

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.prepare.encode.feature_job import EncoderSpec
from recbole_hm4sr.prepare.encode.hub import require_model
from recbole_hm4sr.prepare.encode.image_encoders import encode_images
from recbole_hm4sr.prepare.encode.text_encoders import encode_texts

HAS_MODELS = all(importlib.util.find_spec(name) for name in ("transformers", "PIL"))
pytestmark = pytest.mark.skipif(
    not HAS_MODELS, reason="the extras text and image (transformers, pillow) are not installed"
)
SIZES = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
WHOLE = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """The folder above ``bert``, which reads texts, and ``vit``, which reads images."""
    import transformers as hf
    from tokenizers import Tokenizer, models

    above = tmp_path_factory.mktemp("encoders")
    hf.BertModel(hf.BertConfig(**SIZES, vocab_size=3)).save_pretrained(above / "bert")
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "w": 2}, unk_token="[UNK]"))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(above / "bert")
    vit = hf.ViTConfig(**SIZES, image_size=16, patch_size=8)
    hf.ViTModel(vit).save_pretrained(above / "vit")
    hf.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(above / "vit")
    return above


def encode_text(folder):
    return encode_texts(["w"], encoder=EncoderSpec(name=str(folder), pooling="cls"))


def encode_image(folder):
    return encode_images([], encoder=EncoderSpec(name=str(folder)))


def test_an_encoder_of_the_other_kind_is_named_as_such(encoders):
    assert encode_text(encoders / "bert").shape == (1, 16)
    with pytest.raises(
        ConfigError,
        match=r"must read texts, but .*vit' \(vit\) reads images; hm4sr encode image is for such$",
    ):
        encode_text(encoders / "vit")
    with pytest.raises(
        ConfigError,
        match=r"must read images, but .*bert' \(bert\) reads texts; hm4sr encode text is for such$",
    ):
        encode_image(encoders / "bert")
    with pytest.raises(
        ConfigError, match=r"must read images, and tfidf-svd reads texts; give --encoder a model"
    ):
        encode_image("tfidf-svd")


@pytest.mark.parametrize(
    ("kept", "sentence"),
    [
        (("config.json", *WHOLE[2:]), "its folder has no weights, such as model.safetensors$"),
        (WHOLE[1:], "its folder has no config.json$"),
        (WHOLE[:2], "its tokenizer knows no word$|^cannot read the encoder [^\n]*tokenizer"),
        ((), "its folder has no config.json$"),
    ],
)
def test_a_folder_without_a_part_of_an_encoder(encoders, tmp_path, kept, sentence):
    for name in kept:
        shutil.copy(encoders / "bert" / name, tmp_path)
    with pytest.raises(DataError, match=sentence) as raised:
        encode_text(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_vision_model_without_its_preprocessing(encoders, tmp_path):
    for name in ("config.json", "model.safetensors"):
        shutil.copy(encoders / "vit" / name, tmp_path)
    with pytest.raises(
        DataError, match=r"^cannot read the encoder .*(image processor|preprocessor_config)"
    ) as raised:
        encode_image(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["./no-such-folder", "a/b/c", "no such"])
def test_a_name_that_is_none_of_the_hubs(name):
    with pytest.raises(
        DataError, match=rf"there is no folder '{name}', and no public model of that name$"
    ):
        require_model(name, "texts")


def test_offline_means_the_cache(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        DataError,
        match=r"with HF_HUB_OFFLINE set the encoder must be in the hub's cache, which it is not; "
        "give --encoder the folder of a copy$",
    ):
        require_model("some/model-that-nobody-has", "texts")


# --- the hub of these tests -----------------------------------------------------------------------


def ask(endpoint, home):
    """What ``require_model`` says in a process whose hub is at an address of this machine."""
    code = """if True:
        from recbole_hm4sr.base.errors import DataError
        from recbole_hm4sr.prepare.encode.hub import import_transformers, require_model
        import_transformers("text")
        try:
            require_model("some/model", "texts")
        except DataError as error:
            print(error)
    """
    hub = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1"}
    variables = {**os.environ, **hub}
    variables = {name: value for name, value in variables.items() if "OFFLINE" not in name}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, env=variables, capture_output=True, text=True, check=True)
    assert "Retry" not in done.stderr
    return done.stdout.strip()


def test_without_a_network_the_way_out_is_named(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
        said = ask(endpoint, tmp_path)
    assert said.startswith(f"there is no folder 'some/model', and {endpoint} cannot be asked")
    assert said.endswith(
        "set HF_HUB_OFFLINE=1 if it is in the hub's cache, or give --encoder the folder of a copy"
    )


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (404, "RepoNotFound", "no public model of that name"),
        (403, "GatedRepo", "those alone who have asked for it"),
        (503, "", "cannot be asked for such a model: "),
    ],
)
def test_the_hub_is_asked_once(tmp_path, status, code, sentence):
    seen = []

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            seen.append(self.path)
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *words):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        said = ask(f"http://127.0.0.1:{server.server_port}", tmp_path)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert sentence in said
    assert seen == ["/some/model/resolve/main/config.json"]
