"""V3 at the live server: sixty hostile texts in its own slots, in headless Chromium.

What is typed and what the model answers to it; what runs, circuits and tasks are called; what the server says
of what it does not know or refuses; and labels that are posted and found again. Each payload is read back to
the letter, and nothing runs, asks a foreign address or complains.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import tokenizers
import torch

from sparsecircuits.circuit import Circuit, Label, load_circuit, model_hash, save_circuit
from sparsecircuits.circuit.files import circuit_hash
from sparsecircuits.data import DataConfig, build_corpus
from sparsecircuits.data.tokenizer import Tokenizer, byte_of_character
from sparsecircuits.errors import ConfigError, TaskError
from sparsecircuits.model import Node, SparseGPT
from sparsecircuits.tasks.own import named_task
from sparsecircuits.tasks.pairs import Task, TextPair
from sparsecircuits.train import Run, RunConfig
from sparsecircuits.viz.server import workbench
from sparsecircuits.viz.server.library import Library, runs_below
from tests.prune import planted
from tests.viz.payloads import PAYLOADS, Watched, as_shown
from tests.viz.server.asking import Running, listening
from tests.viz.shown import assert_nothing_foreign, assert_shown, spoken

_FIRST = 256  # the id of the first payload; below it every byte has its own
CONFIG = dataclasses.replace(planted.CONFIG, vocab_size=_FIRST + 61, n_ctx=96, bigram=True)
NODES = [
    Node.parse(f"0.{site}.{i}")
    for site in ("attn.act_in", "attn.q", "attn.k", "attn.v", "attn.resid_delta")
    + ("mlp.act_in", "mlp.post_act", "mlp.resid_delta")
    for i in range(8)
]
NAMES = [str(node) for node in NODES]
CIRCUIT = "all"
#: What the server makes of the first payload as a run's name.
DESK_KEY = "script-window.broken-1-alert-1-script"
#: A task that any run may be pruned for.
PRUNED = "for_while"
#: Payloads that a label may hold.
KEPT = 53
#: All that an error page says.
SAID = ("there is nothing here",)


def _task() -> Task:
    """A task whose prompts begin with the payloads, each in its turn."""
    texts = itertools.cycle(PAYLOADS)

    def pair(_rng: Any, _split: str, _room: int) -> TextPair:
        text = next(texts)
        return TextPair(f"{text}x'", f'{text}x"', "')\n", '")\n', text)

    return Task("hostile", "begins with anything", "contrast", pair, same_last=False)


def _tokenizer(folder: Path) -> Path:
    """One entry per byte, one per payload (which nothing merges to), ``<|endoftext|>``."""
    content = json.loads((folder / "bytes.json").read_text())
    character = {byte: letter for letter, byte in byte_of_character().items()}
    for i, text in enumerate(PAYLOADS):
        content["model"]["vocab"]["".join(character[byte] for byte in text.encode())] = _FIRST + i
    content["added_tokens"][0]["id"] = CONFIG.vocab_size - 1
    path = folder / "hostile.json"
    Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(content))).save(path)
    return path


@torch.no_grad()
def _model() -> SparseGPT:
    """Noise that answers to the digit d with payloads 10d to 10d + 9, the first likeliest."""
    digits = planted.byte_tokenizer().encode("012345")
    model, generator = SparseGPT(CONFIG), torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        parameter.normal_(0, 0.05, generator=generator)
    assert model.bigram_table is not None
    for i in range(60):
        model.bigram_table[digits[i // 10], _FIRST + i] = 20 - i % 10
    return model.eval()


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run whose vocabulary is hostile, with a circuit of all of its nodes."""
    root = tmp_path_factory.mktemp("hostile")
    planted.byte_tokenizer().save(root / "bytes.json")
    (root / "text.txt").write_text("f('abc')\n" * 300)
    data = DataConfig(
        mix={str(root / "text.txt"): 1.0},
        vocab_size=CONFIG.vocab_size,
        train_tokens=2000,
        val_tokens=0,
        tokenizer=str(_tokenizer(root)),
    )
    run = Run.create(root / "run", RunConfig(model=CONFIG), build_corpus(data, root / "run" / "data"))
    run.finish(_model(), {"val_loss": 5.5, "density": 1.0, "tokens": 0})
    save_circuit(_circuit(run, "hostile"), run.circuits / CIRCUIT)
    return run


def _circuit(run: Run, task: str) -> Circuit:
    frozen = {str(node.at): torch.zeros(8) for node in NODES}
    info = {"model_sha256": model_hash(run.model()), "config": {"max_tokens": CONFIG.n_ctx}}
    return Circuit(task, frozenset(NODES), frozen, info=info)


@pytest.fixture(scope="module")
def desk(hostile_run: Run) -> Iterator[Running]:
    """A server of one run under sixty names, for sixty tasks; the circuit's own offers every payload."""
    task = _task()
    tasks = {text: dataclasses.replace(task, name=text) for text in PAYLOADS} | {task.name: task}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workbench, "OFFERED", 60)
        with listening(Library(lambda: [(text, hostile_run) for text in PAYLOADS], tasks=tasks)) as running:
            yield running


def one_name(text: str) -> str:
    """A payload as a folder may be called."""
    return text.replace("\0", "").replace("/", "\u2215")


def nested(text: str) -> str:
    """A payload as a path to a folder that climbs nowhere."""
    return "/".join(part for part in text.replace("\0", "").split("/") if part not in ("", ".", ".."))


#: The payloads in the order in which a folder of that name is found.
LISTED = sorted(PAYLOADS, key=one_name)
NESTED = sorted(PAYLOADS, key=lambda text: Path(nested(text)))


@pytest.fixture(scope="module")
def shelf(hostile_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of sixty folders, each a run; the first has sixty circuits for tasks that nobody knows."""
    root = tmp_path_factory.mktemp("shelf")
    for text in PAYLOADS:
        folder, without = root / one_name(text), shutil.ignore_patterns("circuits")
        shutil.copytree(hostile_run.folder, folder, copy_function=os.link, ignore=without)
        (folder / "circuits" / PRUNED).mkdir(parents=True)  # so that no pruning begins
    circuit = _circuit(hostile_run, "hostile")
    for text in PAYLOADS:
        folder = root / one_name(LISTED[0]) / "circuits" / nested(text)
        save_circuit(dataclasses.replace(circuit, task=text), folder)
    with listening(Library(lambda: runs_below(root))) as running:
        yield running


#: Takes away what our own pages have that could send or lead elsewhere.
_WITHOUT_OURS = """() => {
  for (const form of document.querySelectorAll("form.prune-form")) form.replaceWith(...form.childNodes);
  const inside = document.querySelectorAll("a[href^='/']:not([href^='//'])");
  for (const link of inside) link.removeAttribute("href");
}"""


@pytest.fixture
def window(chromium: Any) -> Iterator[Callable[[Running], Watched]]:
    """A function that opens an empty window; what it has seen is judged when the test is over."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(10_000)
    opened: list[tuple[Watched, Running]] = []

    def open_it(running: Running) -> Watched:
        opened.append((Watched.over(context.new_page()), running))
        return opened[-1][0]

    yield open_it
    for seen, running in opened:
        seen.page.evaluate(_WITHOUT_OURS)
        assert_nothing_foreign(seen.page)
        # The browser itself notes a refusal.
        refused = "Failed to load resource: the server responded with a status of 4"
        seen.complaints = [text for text in seen.complaints if not text.startswith(refused)]
        seen.assert_harmless(f"{running.address}/")
    context.close()


def wait_for_text(page: Any, selector: str, text: str) -> None:
    """Wait until the elements of ``selector`` hold this text, all together."""
    page.wait_for_function(
        "([at, text]) => [...document.querySelectorAll(at)].map((e) => e.textContent).join('') === text",
        arg=[selector, text],
    )


_IN_TURN = """async ([selector, texts, wanted]) => {
  const put = (id, more, event) => document.getElementById(id).dispatchEvent(
    Object.assign(document.getElementById(id), more) && new Event(event, { bubbles: true }));
  const shown = () => [...document.querySelectorAll(selector)].map((e) => e.textContent);
  const found = [];
  for (const [i, text] of texts.entries()) {
    ACT;
    const until = performance.now() + 5000;
    while (shown().join("") !== wanted[i] && performance.now() < until)
      await new Promise((go) => setTimeout(go, 2));
    found.push(shown());
    if (performance.now() >= until) break;
  }
  return found;
}"""
_TYPE = 'put("live-text", { value: text }, "input")'


def in_turn(
    page: Any, act: str, selector: str, wanted: list[str], texts: Sequence[str] = PAYLOADS
) -> list[list[str]]:
    """Do something (JavaScript in ``text`` and ``i``) with each text; what ``selector`` then holds.

    Args:
        page: of the server's.
        act: may ``put(id, properties, event)``.
        selector: of what shows the text.
        wanted: what its elements hold all together at last, which is waited for; the first miss ends it.
        texts: one after another.
    """
    return page.evaluate(_IN_TURN.replace("ACT", act), [selector, list(texts), wanted])


def attributes(page: Any, selector: str, name: str) -> list[str]:
    return page.locator(selector).evaluate_all("(all, name) => all.map((e) => e.getAttribute(name))", name)


def open_dock(seen: Watched, running: Running, node: str = NAMES[0]) -> Any:
    """The circuit's page with a node chosen, as soon as its first question is answered."""
    seen.page.goto(f"{running.address}/c/{DESK_KEY}/{CIRCUIT}#node={node}")
    seen.page.wait_for_selector("#live-tokens small")
    return seen.page


def test_a_typed_prompt_and_its_tokens(window, desk: Running, hostile_run: Run) -> None:
    """Typed, cut into tokens, each with the node's activation."""
    tokenizer = hostile_run.tokenizer()
    page = open_dock(window(desk), desk)
    typed = [text.replace("\r\n", "\n") for text in PAYLOADS]  # as any field has its lines
    tokens = [list(map(tokenizer.text, (tokenizer.eot_id, *tokenizer.encode(text)))) for text in typed]
    wanted = [[as_shown(token) for token in line] for line in tokens]
    chips = "#live-tokens [data-at] .tok.lit:has(+ small)"
    assert in_turn(page, _TYPE, chips, list(map("".join, wanted))) == wanted
    assert_shown(page, chips, tokens[-1])
    in_field = page.evaluate(
        """(texts) => texts.map((text) => {
        const field = document.getElementById("live-text");
        field.value = text;
        return field.value;
    })""",
        list(PAYLOADS),
    )
    assert in_field == typed


def _end(text: str) -> str:
    """The last thirty of what a browser counts as characters."""
    return text.encode("utf-16-le")[-60:].decode("utf-16-le")


def test_the_models_answer_and_the_tasks_prompts(window, desk: Running) -> None:
    """Tokens whose whole text is a payload, the likeliest of three models; prompts to choose from."""
    page = open_dock(window(desk), desk)
    wanted = [[as_shown(text) for text in PAYLOADS[i : i + 10] * 3] for i in range(0, 60, 10)]
    odds = "#live-odds .likeliest .tok"
    assert in_turn(page, _TYPE, odds, list(map("".join, wanted)), "012345") == wanted
    assert_shown(page, odds, PAYLOADS[50:] * 3)
    _, told = desk.post("/api/prompts", {"run": DESK_KEY, "circuit": CIRCUIT})
    prompts = json.loads(told)["prompts"]
    assert {prompt["text"] for prompt in prompts} == {f"{text}x{mark}" for text in PAYLOADS for mark in "'\""}
    ends = [f"pair {one['pair'] + 1}, {one['side']}: …{_end(one['text'])}" for one in prompts]
    assert_shown(page, "#live-prompts option", ["typed", *ends])
    for i in range(0, 120, 11):
        page.locator("#live-prompts").select_option(index=i + 1)
        assert page.locator("#live-text").input_value() == prompts[i]["text"].replace("\r\n", "\n")


def test_lists_of_runs_circuits_and_tasks(window, shelf: Running) -> None:
    page = window(shelf).page
    page.goto(f"{shelf.address}/")
    page.wait_for_selector(".run")
    runs, circuits = [one_name(text) for text in LISTED], [nested(text) for text in NESTED]
    assert_shown(page, ".run h3", runs)
    assert_shown(page, ".run tbody th", circuits)
    assert_shown(page, ".run tbody td:nth-child(2)", [spoken(text) for text in NESTED])
    assert_shown(page, "#prune-run option", runs)
    assert attributes(page, ".run", "aria-label") == runs
    assert attributes(page, "[data-pick]", "aria-label") == [
        f"Compare {runs[0]}, {name}" for name in circuits
    ]
    page.goto(f"{shelf.address}/compare")
    page.wait_for_selector("#notice:not([hidden])")
    assert_shown(page, "#sides option", [f"{runs[0]}: {name}" for name in circuits] * 2)


def test_names_to_the_letter_beside_each_other(window, desk: Running) -> None:
    """Names that no folder could have, in the heads of two circuits' figures, and tasks to prune for."""
    page = window(desk).page
    page.goto(f"{desk.address}/")
    page.wait_for_selector(".run")
    assert_shown(page, ".run h3", PAYLOADS)
    page.evaluate("""() => {
        const own = [...document.querySelectorAll("#prune-task option")].slice(-61, -1);
        for (const option of own) option.className = "own";
    }""")
    assert_shown(page, "#prune-task option.own", [spoken(text) for text in PAYLOADS])
    picks = attributes(page, "[data-pick]", "data-pick")
    page.goto(f"{desk.address}/compare")
    page.wait_for_selector("#figures thead a")
    pairs = [f"{left}|{right}" for left, right in zip(picks[::2], picks[1::2], strict=True)]
    heads = [f"{text}: {CIRCUIT}" for text in PAYLOADS]
    wanted = [list(two) for two in zip(heads[::2], heads[1::2], strict=True)]
    found = in_turn(page, "location.hash = text", "#figures thead a", list(map("".join, wanted)), pairs)
    assert found == wanted


def test_error_pages(window, desk: Running) -> None:
    """An unknown run, an unknown circuit: what was asked for is not even repeated."""
    page = window(desk).page
    for i, text in enumerate(PAYLOADS):
        unknown = quote(text, safe="") if i % 4 < 2 else text  # by us, or as the browser does
        answer = page.goto(
            f"{desk.address}/c/{unknown}/{CIRCUIT}" if i % 2 else f"{desk.address}/c/{DESK_KEY}/{unknown}"
        )
        assert answer.status == 404
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert page.locator("body").inner_text().strip() in SAID


def test_addresses_that_name_nothing(window, desk: Running) -> None:
    """Behind the ``#``, where the page itself reads them, escaped and as they are."""
    seen = window(desk)
    page = open_dock(seen, desk)
    begin = page.url.partition("#")[0]
    for text in (PAYLOADS[47], PAYLOADS[-1]):  # the last is badly escaped
        page.goto("about:blank")
        page.goto(f"{begin}#node={text}")
        page.wait_for_selector("#live-tokens [data-at]")
    page.goto(f"{desk.address}/compare")
    page.wait_for_selector("#figures thead a")
    for text in (*PAYLOADS[::7], PAYLOADS[47], PAYLOADS[-1]):
        for said in (text, quote(text)):
            page.evaluate("(said) => { location.hash = said; }", said)
    page.wait_for_timeout(100)
    seen.assert_harmless(f"{desk.address}/")


def test_refused_questions(window, desk: Running) -> None:
    """A node that is none is named in what the server says, and shown below the drawing."""
    page = open_dock(window(desk), desk)
    page.evaluate("""() => {
        const ask = window.fetch;
        window.fetch = (path, sent) => {
            const told = JSON.parse(sent.body);
            return ask(path, { ...sent, body: JSON.stringify({ ...told, node: told.text }) });
        };
    }""")
    wanted = []
    for text in PAYLOADS:
        with pytest.raises(ConfigError) as refused:
            Node.parse(text.replace("\r\n", "\n"))
        wanted.append(str(refused.value))
        assert repr(text.replace("\r\n", "\n")) in wanted[-1]
    assert in_turn(page, _TYPE, "#live-status.wrong", wanted) == [[text] for text in wanted]


def test_notices_of_tasks_that_nobody_knows(window, shelf: Running) -> None:
    """A circuit of a task that is not there cannot be shown or compared; the notice names the task."""
    page = window(shelf).page
    page.goto(f"{shelf.address}/")
    page.wait_for_selector(".run")
    links = attributes(page, ".run tbody th a", "href")
    page.goto(shelf.address + links[0])
    page.wait_for_selector("#notice:not([hidden])")
    wait_for_text(page, "#title", "This circuit cannot be shown")
    keys = [link.removeprefix("/c/") for link in links]
    wanted = []
    for text in NESTED:
        with pytest.raises(TaskError) as unknown:
            named_task(text)
        assert repr(text) in str(unknown.value)
        wanted.append(str(unknown.value))
    assert page.locator("#notice").evaluate("(e) => e.textContent") == wanted[0]
    page.goto(f"{shelf.address}/compare")
    page.wait_for_selector("#sides select")
    found = in_turn(page, "location.hash = `${text}|${text}`", "#notice", wanted, keys)
    assert found == [[text] for text in wanted]


def test_a_pruning_that_is_refused(window, shelf: Running) -> None:
    page = window(shelf).page
    page.goto(f"{shelf.address}/")
    page.wait_for_selector("#prune-start")
    told = "has a circuit for for_while already; say that it may be replaced"
    wanted = [f"{one_name(text)} {told}" for text in LISTED]
    order = f'''
        put("prune-run", {{ selectedIndex: i }}, "change");
        put("prune-task", {{ value: "{PRUNED}" }}, "change");
        document.getElementById("prune-start").click()'''
    assert in_turn(page, order, "#pruning .notice", wanted) == [[text] for text in wanted]


def test_labels_are_posted_and_found_again(window, desk: Running, hostile_run: Run) -> None:
    """At sixty nodes and in as many groups; what no label may hold is refused and leaves nothing."""
    seen = window(desk)
    page = open_dock(seen, desk)
    sha256 = circuit_hash(load_circuit(hostile_run.circuits / CIRCUIT))
    none = {"nodes": {}, "groups": []}
    asked = {"run": DESK_KEY, "circuit": CIRCUIT, "sha256": sha256, "began": none}
    nodes, groups = {}, []
    for name, text in zip(NAMES, PAYLOADS, strict=False):
        label = {"name": text, "note": text}
        try:
            Label(text, text)
        except ConfigError:
            assert desk.post("/api/labels", {**asked, "labels": {"nodes": {name: label}}})[0] == 422
        else:
            nodes[name] = label
            groups.append({**label, "nodes": [name]})
    assert len(nodes) == KEPT
    assert not load_circuit(hostile_run.circuits / CIRCUIT).labels
    assert desk.post("/api/labels", {**asked, "labels": {"nodes": nodes, "groups": groups}})[0] == 200
    page.goto(page.url.partition("#")[0])
    page.reload()
    page.wait_for_selector("#labels .label-list")
    texts = [label["name"].strip() for label in nodes.values()]
    assert_shown(page, "#labels .label-name", [*texts, *texts])
    assert_shown(page, "#labels .label-note", [*texts, *texts])
    assert page.locator(".label-draft").count() == 0


def test_a_label_is_typed_and_found_again(window, desk: Running) -> None:
    text = PAYLOADS[14]
    page = open_dock(window(desk), desk)
    page.wait_for_function("() => document.querySelector('#live-prompts option')")
    page.locator(".label-edit summary").click()
    page.locator("#label-name").fill(text)
    page.locator("#label-note").fill(text)
    page.locator("#label-save").click()
    for again in (False, True):
        if again:
            page.reload()
        wait_for_text(page, ".label-heading .label-name, .label-heading .label-note", 2 * text)
        assert_shown(page, ".label-heading .label-name, .label-heading .label-note", [text, text])
