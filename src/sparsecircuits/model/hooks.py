"""Record and intervene: context managers around ``model(tokens)``.

Everything attaches to :class:`~sparsecircuits.model.sites.Site` modules with ordinary forward hooks
and is taken off again on leaving the context, also after an error. With nothing attached, the
forward is untouched.

>>> with record(model, ["0.mlp.post_act"]) as cache:         # doctest: +SKIP
...     model(tokens)
>>> with intervene(model, {"0.attn.q": lambda x: x * 0}):    # doctest: +SKIP
...     model(tokens)
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager
from typing import Protocol

from torch import Tensor, nn

from sparsecircuits.errors import ConfigError, near_misses
from sparsecircuits.model.gpt import SparseGPT
from sparsecircuits.model.sites import Site


class Hook(Protocol):
    """What :func:`hooked` calls at a site; a returned tensor replaces the activation."""

    def __call__(self, tensor: Tensor, *, hook: Site) -> Tensor | None: ...


@contextmanager
def hooked(model: SparseGPT, fwd_hooks: Iterable[tuple[str, Hook]]) -> Generator[None]:
    """Call each hook at its site while the context lasts; hooks of one site run in the order given.

    Raises:
        ConfigError: a name that is not a hook point of the model.
    """
    sites = model.sites()
    with ExitStack() as stack:
        for name, hook in fwd_hooks:
            if name not in sites:
                raise ConfigError(f"the model has no hook point {name!r}; {near_misses(name, sites)}")
            handle = sites[name].register_forward_hook(_adapt(hook))
            stack.callback(handle.remove)
        yield


@contextmanager
def record(model: SparseGPT, names: Iterable[str] | None = None) -> Generator[dict[str, Tensor]]:
    """Keep the activations of hook points (None: all) of every forward inside the context.

    Yields:
        name -> [batch, pos, width] of the latest forward, with its graph if gradients are on.
    """
    cache: dict[str, Tensor] = {}

    def keep(tensor: Tensor, *, hook: Site) -> None:
        cache[hook.name] = tensor

    with hooked(model, [(name, keep) for name in (model.sites() if names is None else names)]):
        yield cache


@contextmanager
def intervene(model: SparseGPT, changes: Mapping[str, Callable[[Tensor], Tensor]]) -> Generator[None]:
    """Replace the activation [batch, pos, width] of each named hook point by a function of it."""

    def adapt(change: Callable[[Tensor], Tensor]) -> Hook:
        return lambda tensor, *, hook: change(tensor)

    with hooked(model, [(name, adapt(change)) for name, change in changes.items()]):
        yield


def _adapt(hook: Hook) -> Callable[[nn.Module, object, Tensor], Tensor | None]:
    def forward_hook(module: nn.Module, _inputs: object, output: Tensor) -> Tensor | None:
        assert isinstance(module, Site)
        return hook(output, hook=module)

    return forward_hook
