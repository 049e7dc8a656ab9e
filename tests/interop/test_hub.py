"""To a Hub of our own and back: nothing is lost, nothing else goes, and what is here never asks it."""

from __future__ import annotations

import errno
import hashlib
import inspect
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants as constants
import pytest
import torch

from sparsecircuits import SparseGPT, load_circuit, load_run
from sparsecircuits.circuit.files import circuit_hash
from sparsecircuits.errors import CheckpointError, ConfigError, HubError
from sparsecircuits.interop import fetch, push_run
from sparsecircuits.model import GPTConfig
from sparsecircuits.train import Run
from tests.interop.hub_server import Hub, Repo, environment, use

# The library's own large-file upload still hands its client a file in the older way.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

NAME = "org/quotes"
TASKS = ("bracket_counting", "set_or_string", "single_double_quote")


def digest(model: SparseGPT) -> str:
    """Over every bit of the state dict."""
    parts = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        parts.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode() + tensor.numpy().tobytes())
    return parts.hexdigest()


def tiny() -> SparseGPT:
    return SparseGPT(GPTConfig(vocab_size=300, n_layer=1, d_model=8, d_head=4, n_ctx=16, bigram=False))


@pytest.fixture
def pushed(hub: Hub, example: Run) -> Hub:
    """The Hub with the example on it; what was asked for that is forgotten."""
    example.push_to_hub(NAME, license="apache-2.0", message="first")
    hub.requests.clear()
    return hub


LOAD = f"""
import hashlib
from sparsecircuits import SparseGPT, load_circuit, load_run
from sparsecircuits.circuit.files import circuit_hash
{inspect.getsource(digest)}
model = SparseGPT.from_pretrained({NAME!r})
print(digest(model))
run = load_run({NAME!r})
print(digest(run.model()))
print(run.tokenizer().hash)
for path in sorted(run.circuits.iterdir()):
    print(path.name, circuit_hash(load_circuit(path)))
"""


def test_a_fresh_process_with_an_empty_cache_gets_the_same_run(
    pushed: Hub, example: Run, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        env=environment(pushed, tmp_path / "home", None),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    same = digest(example.model())
    circuits = [f"{task} {circuit_hash(load_circuit(example.circuits / task))}" for task in TASKS]
    assert done.stdout.splitlines() == [same, same, example.tokenizer().hash, *circuits]
    assert list((tmp_path / "home" / "hub").glob("models--org--quotes/snapshots/*/run.json"))


def test_what_is_on_the_hub_is_what_was_here(pushed: Hub, example: Run) -> None:
    files = pushed.repos[NAME].files()
    for path in example.folder.rglob("*"):
        name = path.relative_to(example.folder).as_posix()
        if path.is_file() and name not in ("README.md", "run.json"):
            assert files.pop(name) == path.read_bytes()
    assert set(files) == {"README.md", "run.json", "files.json"}
    assert files["README.md"].startswith(b"---\nlicense: apache-2.0\n")
    assert pushed.repos[NAME].messages == ["initial commit", "first"]
    assert not pushed.repos[NAME].private


def test_a_second_look_fetches_nothing(pushed: Hub) -> None:
    first = load_run(NAME)
    assert (first.name, first.origin) == (NAME, NAME)
    assert any("/large/" in request for request in pushed.requests)
    pushed.requests.clear()
    assert load_run(NAME).folder == first.folder
    assert not [request for request in pushed.requests if "/large/" in request or "GET /org" in request]


#: Fits a pattern of ours only where * stands for more than one part of a path.
DEEPER = "circuits/set_or_string/theirs/card.json"


def test_pushed_again_it_is_replaced(hub: Hub, example: Run, tmp_path: Path) -> None:
    run = load_run(shutil.copytree(example.folder, tmp_path / "run"))
    run.push_to_hub(NAME)
    hub.repos[NAME].commit(
        "main", {**hub.repos[NAME].files(), "theirs.txt": b"kept", DEEPER: b"{}"}, "by hand"
    )
    shutil.rmtree(run.circuits / "set_or_string")
    result = push_run(run, NAME, card="---\n{}\n---\nmine")
    files = hub.repos[NAME].files()
    assert [name for name in files if "set_or_string" in name] == [DEEPER]
    assert files["theirs.txt"] == b"kept"
    assert files["README.md"] == b"---\n{}\n---\nmine"
    assert set(result.files) == set(files) - {"theirs.txt", DEEPER}
    assert result.commit == hub.repos[NAME].branches["main"]
    assert load_run(NAME).folder.name == result.commit


def test_checkpoints_go_only_when_asked_for(hub: Hub, example: Run, tmp_path: Path) -> None:
    run = load_run(shutil.copytree(example.folder, tmp_path / "run"))
    step = run.checkpoints / "step_000200"
    step.mkdir(parents=True)
    shutil.copy(example.folder / "model" / "model.safetensors", step / "optimizer.safetensors")
    (run.folder / "data").mkdir()
    (run.folder / "data" / "train.bin").write_bytes(b"corpus")
    run.push_to_hub(NAME)
    assert not [name for name in hub.repos[NAME].files() if "step_" in name]
    run.push_to_hub(NAME, checkpoints=True)
    assert "checkpoints/step_000200/optimizer.safetensors" in hub.repos[NAME].files()
    assert not (load_run(NAME).checkpoints).exists()
    assert (fetch(NAME, checkpoints=True) / "checkpoints/step_000200/optimizer.safetensors").is_file()
    assert not [name for name in hub.repos[NAME].files() if "train.bin" in name]


def test_a_model_alone(hub: Hub) -> None:
    model = tiny()
    model.push_to_hub("org/tiny")
    assert set(hub.repos["org/tiny"].files()) == {
        "README.md",
        "config.json",
        "model.safetensors",
        "files.json",
    }
    assert digest(SparseGPT.from_pretrained("org/tiny")) == digest(model)
    with pytest.raises(CheckpointError, match=r"org/tiny: a model alone, not a run: it holds no run\.json"):
        load_run("org/tiny")


def test_revisions(hub: Hub) -> None:
    models = [tiny() for _ in range(2)]
    with torch.no_grad():
        models[1].lm_head.weight.add_(1.0)
    old = models[0].push_to_hub("org/tiny").commit
    models[1].push_to_hub("org/tiny@next")
    models[1].push_to_hub("org/tiny", revision="next")  # the branch is there by now
    assert set(hub.repos["org/tiny"].branches) == {"main", "next"}
    same = digest(models[0]), digest(models[1])
    assert digest(SparseGPT.from_pretrained("org/tiny")) == same[0]
    assert digest(SparseGPT.from_pretrained("org/tiny", revision="next")) == same[1]
    assert digest(SparseGPT.from_pretrained("org/tiny@next")) == same[1]
    assert digest(SparseGPT.from_pretrained("org/tiny", revision=old)) == same[0]
    with pytest.raises(HubError, match="org/tiny: no revision 'gone' on the Hub"):
        SparseGPT.from_pretrained("org/tiny@gone")


def test_private(hub: Hub, example: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    example.push_to_hub(NAME, private=True)
    assert hub.repos[NAME].private
    use(hub, tmp_path / "other", monkeypatch, None)
    with pytest.raises(HubError, match=r"org/quotes: no such model on the Hub \(http.*or it is private"):
        load_run(NAME)
    assert load_run(NAME, token="reader").config == example.config
    use(hub, tmp_path / "third", monkeypatch, "reader")
    assert load_run(NAME).config == example.config


def test_nothing_private_becomes_public(hub: Hub, example: Run) -> None:
    hub.repos[NAME] = Repo(private=False)
    with pytest.raises(HubError, match="org/quotes: the repository is public; nothing was pushed"):
        example.push_to_hub(NAME, private=True)
    assert hub.repos[NAME].files() == {}


@pytest.mark.parametrize(("token", "code"), [(None, 401), ("reader", 403)])
def test_who_may_not_write(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, token: str, code: int
) -> None:
    hub.repos["org/tiny"] = Repo()
    use(hub, tmp_path / "cache", monkeypatch, token)
    with pytest.raises(
        HubError, match=rf"the Hub refuses \({code}\): .*needs a token that may do this"
    ) as error:
        tiny().push_to_hub("org/tiny")
    assert "\n" not in str(error.value)


def test_a_gated_model(pushed: Hub) -> None:
    pushed.gated.add(NAME)
    with pytest.raises(HubError, match="org/quotes: its owner must let you in; ask at http"):
        load_run(NAME)


def test_a_wrong_name_says_both(hub: Hub) -> None:
    for load in (SparseGPT.from_pretrained, load_run):
        with pytest.raises(
            HubError, match="no folder 'org/qoutes' here, and on the Hub: org/qoutes: no such"
        ):
            load("org/qoutes")
    assert hub.requests


def test_only_a_name_of_the_hub_is_pushed_to(hub: Hub, example: Run) -> None:
    for name in ("quotes", "./org/quotes", "/tmp/quotes"):
        with pytest.raises(ConfigError, match="is no name on the Hub"):
            example.push_to_hub(name)
    assert hub.requests == []


def test_an_unfinished_run_is_not_pushed(hub: Hub, example: Run, tmp_path: Path) -> None:
    run = load_run(shutil.copytree(example.folder, tmp_path / "run"))
    shutil.rmtree(run.folder / "model")
    with pytest.raises(CheckpointError, match="training has not finished"):
        run.push_to_hub(NAME)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("model/model.safetensors", 4000),
        ("circuits/set_or_string/circuit.safetensors", 900),
        ("tokenizer.json", 99),
    ],
)
def test_damage_on_the_way_is_noticed(pushed: Hub, name: str, at: int) -> None:
    """One bit of one file, which is as long as before."""
    files = pushed.repos[NAME].files()
    data = bytearray(files[name])
    data[at] ^= 1
    pushed.repos[NAME].commit("main", {**files, name: bytes(data)}, "damage")
    with pytest.raises(CheckpointError, match=rf"org/quotes: .*{name}: damaged: sha256 .* to fetch it anew"):
        load_run(NAME)


def test_a_file_that_is_cut_off(pushed: Hub) -> None:
    files = pushed.repos[NAME].files()
    cut = files["model/model.safetensors"][:-1000]
    listless = {name: data for name, data in files.items() if name != "files.json"}
    pushed.repos[NAME].commit("main", {**listless, "model/model.safetensors": cut}, "no list, a cut file")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: "):
        load_run(NAME).model()


def test_other_peoples_models_are_refused_before_their_weights(hub: Hub) -> None:
    hub.repos["org/other"] = Repo()
    config = json.dumps({"model_type": "gpt2"}).encode()
    hub.repos["org/other"].commit("main", {"config.json": config, "model.safetensors": b"x" * 1000}, "theirs")
    with pytest.raises(
        CheckpointError, match=r"org/other: no model of sparsecircuits: it holds neither run\.json"
    ):
        SparseGPT.from_pretrained("org/other")
    assert not [request for request in hub.requests if "model.safetensors" in request]


def test_code_and_pickles_do_not_come(pushed: Hub) -> None:
    files = pushed.repos[NAME].files()
    more = {"modeling.py": b"raise SystemExit", "model/pytorch_model.bin": b"x", "tasks/own.py": b"x"}
    pushed.repos[NAME].commit("main", {**files, **more}, "more")
    folder = load_run(NAME).folder
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} == {".json", ".safetensors", ".md"}


def test_offline(pushed: Hub, monkeypatch: pytest.MonkeyPatch, example: Run) -> None:
    folder = load_run(NAME).folder
    pushed.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    run = load_run(NAME)
    assert run.folder == folder
    assert digest(run.model()) == digest(example.model())
    with pytest.raises(
        HubError, match="org/else: not in the cache, and HF_HUB_OFFLINE keeps from the network"
    ):
        load_run("org/else")
    with pytest.raises(
        HubError, match="org/quotes: nothing is sent, as HF_HUB_OFFLINE keeps from the network"
    ):
        run.push_to_hub(NAME)
    assert pushed.requests == []


def test_no_answer(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        hub.url = f"http://127.0.0.1:{free.getsockname()[1]}"
    use(hub, tmp_path / "cache", monkeypatch, "writer")
    with pytest.raises(HubError, match="org/tiny: not in the cache, and no answer from the Hub"):
        SparseGPT.from_pretrained("org/tiny")
    with pytest.raises(HubError, match="org/tiny: no answer from the Hub"):
        tiny().push_to_hub("org/tiny")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_cache_that_cannot_be_written_is_no_silent_hub(
    hub: Hub, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "/cache/blobs/a")

    monkeypatch.setattr("huggingface_hub.HfApi.snapshot_download", full)
    with pytest.raises(HubError, match=f"^org/tiny: {os.strerror(number)}: /cache/blobs/a$"):
        fetch("org/tiny")


def test_what_is_here_never_asks(hub: Hub, example: Run, tmp_path: Path) -> None:
    """Folders that are here, by any spelling, and paths that are not here."""
    shutil.copytree(example.folder, "org/quotes")
    for source in ("org/quotes", "./org/quotes", Path("org/quotes"), str(tmp_path / "org" / "quotes")):
        assert load_run(source).origin is None
        SparseGPT.from_pretrained(source)
    for source in ("./org/other", "org/other", "other", "a/b/c", "~/quotes", "/no/quotes", Path("me/quotes")):
        for load in (load_run, SparseGPT.from_pretrained):
            with pytest.raises(CheckpointError, match="no (run|model) here"):
                load(source)
    with pytest.raises(CheckpointError, match="a folder has no revision 'v1'"):
        load_run("org/quotes", revision="v1")
    assert hub.requests == []


def test_a_runs_folder_is_read_whatever_was_imported(example: Run) -> None:
    read = f"SparseGPT.from_pretrained({str(example.folder)!r}).config.weight_count"
    code = f"from sparsecircuits import SparseGPT; print({read})"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert int(told) == sum(weight.numel() for weight in example.model().parameters())
