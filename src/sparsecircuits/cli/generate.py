"""``sparsecircuits generate``: let a model go on with a text."""

from __future__ import annotations

import dataclasses
import functools
import sys
from typing import Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from sparsecircuits.cli.arguments import checkpoint_of, open_run
from sparsecircuits.cli.report import print_json
from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Config):
    """Let a model go on with a text, until it ends the document or has written enough tokens.

    On a terminal the text appears as it is written; it may go beyond the model's context, of which the last
    tokens are then seen. The same seed gives the same text.

    Example: sparsecircuits generate example --prompt "for item in" --top-p 0.9 --temperature 0.5

    sparsecircuits generate demo/sparse --prompt "def add(" --count 3 --stop "def " --json
    """

    run: Annotated[Positional[str], arg(metavar="RUN")]
    """A run: its folder, its name in runs/ or on the Hub (org/name); example: the one that comes with the
    package."""
    text: Annotated[Positional[str | None], arg(metavar="[PROMPT]")] = None
    """What to go on with, if not given as --prompt; nothing: begin a document."""
    prompt: str | None = None
    """What to go on with."""
    tokens: int = 64
    """Tokens to write at most."""
    temperature: float = 0.8
    """Divides the logits: below 1 likelier tokens, 0 always the likeliest."""
    top_k: int | None = None
    """Draw from so many of the likeliest tokens."""
    top_p: float | None = None
    """Draw from the fewest likeliest tokens whose chances add up to this."""
    seed: int = 0
    """Another seed, another text; sample N of --count has the seed SEED + N - 1."""
    count: int = 1
    """Write so many texts."""
    stop: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="TEXT")] = ()
    """End a text before this, again for each of several."""
    checkpoint: Annotated[str | None, arg(metavar="STEP|latest|best")] = None
    """The model as a checkpoint of the training has it, not the finished one."""
    json: bool = False
    """Print JSON: every text, its tokens, its seed, and why it ended."""

    def validate(self) -> None:
        if self.text is not None and self.prompt is not None:
            raise ConfigError(f"the prompt is given twice: {self.text!r} and --prompt {self.prompt!r}")
        if self.temperature < 0:
            raise ConfigError(f"--temperature is {self.temperature}; it must not be negative")
        for option in ("tokens", "top_k", "count"):
            value = getattr(self, option)
            if value is not None and value < 1:
                raise ConfigError(f"--{option.replace('_', '-')} is {value}; it must be at least 1")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ConfigError(f"--top-p is {self.top_p}; it must be above 0 and at most 1")
        if "" in self.stop:
            raise ConfigError("--stop is an empty text")


def run(options: Options) -> None:
    """Print the prompt and what follows it, once for each sample."""
    from sparsecircuits.model.generate import generate

    prompt = options.text or options.prompt or ""
    settings: dict[str, Any] = {
        key: getattr(options, key)
        for key in ("tokens", "temperature", "top_k", "top_p", "seed", "count", "stop")
    }
    run = open_run(options.run)
    write = functools.partial(
        generate,
        run.model(checkpoint_of(options.checkpoint)).to_sparse(),
        prompt,
        tokenizer=run.tokenizer(),
        **settings,
    )
    if options.json:
        samples = write()
        rows = [dataclasses.asdict(sample) for sample in samples]
        source = {"run": options.run, "checkpoint": options.checkpoint}
        print_json({**source, "prompt": prompt, **settings, "samples": rows})
    elif sys.stdout.isatty():
        stream = _Stream(prompt, options)
        write(watch=stream.show)
        stream.end()
    else:
        for number, sample in enumerate(write()):
            print(_heading(number, options) + prompt + sample.text)


def _heading(number: int, options: Options) -> str:
    """What stands above one of several texts."""
    if options.count == 1:
        return ""
    above = "\n" if number else ""
    return f"{above}--- {number + 1} of {options.count}, seed {options.seed + number}\n"


class _Stream:
    """Prints pieces as they come, each text below its heading."""

    def __init__(self, prompt: str, options: Options) -> None:
        self._prompt, self._options = prompt, options
        self._begun = 0

    def show(self, number: int, piece: str) -> None:
        self._begin(number + 1)
        print(piece, end="", flush=True)

    def end(self) -> None:
        self._begin(self._options.count)
        print()

    def _begin(self, count: int) -> None:
        """Print what stands before the first ``count`` texts, unless it is there: a text may be empty."""
        for number in range(self._begun, count):
            between = "\n" if number else ""
            print(between + _heading(number, self._options) + self._prompt, end="", flush=True)
        self._begun = count
