"""A step's passes as one CUDA graph: a GPU is told once what to do, not operation by operation."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from acclimate.progress import say
from acclimate.training.engine import Engine

WARM_UP = 3
"""Passes before the first capture, in which libraries choose their kernels; what they change is put back."""

Input = Tensor | float | None
Compute = Callable[..., Mapping[str, Tensor]]


class Replayed:
    """Forward and backward passes that a GPU captures once and then replays; elsewhere they are computed as written.

    Small networks keep a GPU waiting for the processor, which launches some hundred operations a step; one replay takes
    their place. Optimizers stay outside, so that their state, and the checkpoints, are what they are without this.

    Parameters
    ----------
    engine
        Replays happen on a GPU, for a process alone, where :attr:`Engine.replays` allows them.
    *trained
        The networks that the passes leave gradients in.
    also
        Whatever else the passes change.
    """

    def __init__(self, engine: Engine, *trained: nn.Module, also: Sequence[Tensor] = ()) -> None:
        self.device, self.trained, self.also = engine.device, trained, also
        self.active = engine.replays and engine.device.type == "cuda" and engine.processes.alone
        self._signature: Hashable = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._stream: torch.cuda.Stream | None = None
        self._places: list[Input] = []
        self._values: dict[str, Tensor] = {}
        self._gradients: list[tuple[nn.Parameter, Tensor]] = []

    def __call__(self, compute: Compute, *inputs: Input, key: Hashable = None) -> Mapping[str, Tensor]:
        """Return what ``compute`` returns of ``inputs``, with the gradients that it leaves.

        Parameters
        ----------
        compute
            Sets the gradients of :attr:`trained` anew and returns tensors by name, on the device. It draws from the
            device's generator alone, waits for nothing, and changes tensors in place only.
        *inputs
            Tensors on the device, numbers, and None. Numbers reach a replayed ``compute`` as tensors of no dimension.
        key
            Whatever else decides what is computed. Another key, or other shapes, make for another capture.

        Returns
        -------
        Mapping
            Scalars are the caller's; other tensors hold until the next call.
        """
        if not self.active:
            return compute(*inputs)
        shapes = (tuple(one.shape) if isinstance(one, Tensor) else one is None for one in inputs)
        signature = (key, *shapes)
        if signature != self._signature:
            self._capture(compute, inputs)
            self._signature = signature
        if self._graph is None:
            return compute(*inputs)
        for place, given in zip(self._places, inputs, strict=True):
            if isinstance(place, Tensor):
                place.copy_(given) if isinstance(given, Tensor) else place.fill_(given)  # type: ignore[arg-type]
        self._graph.replay()
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        return {name: value if value.ndim else value.clone() for name, value in self._values.items()}

    def _capture(self, compute: Compute, inputs: tuple[Input, ...]) -> None:
        """Capture ``compute``; if that cannot be done, say so and compute from now on."""
        first, self._graph = self._stream is None, None
        self._values, self._gradients = {}, []
        self._places = [
            one if one is None else one.clone() if isinstance(one, Tensor) else torch.tensor(one, device=self.device)
            for one in inputs
        ]
        current = torch.cuda.current_stream(self.device)
        self._stream = stream = self._stream or torch.cuda.Stream(self.device)
        stream.wait_stream(current)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.stream(stream), self._unchanged():
                for _ in range(WARM_UP if first else 1):
                    compute(*self._places)
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                values = dict(compute(*self._places))
        except RuntimeError as error:
            self.active = False
            say(f"steps are not replayed: {str(error).splitlines()[0]}")
            return
        finally:
            current.wait_stream(stream)
        parameters = [one for network in self.trained for one in network.parameters()]
        self._gradients = [(one, one.grad) for one in parameters if one.grad is not None]
        self._graph, self._values = graph, {name: value.detach() for name, value in values.items()}

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Put back the networks' buffers, what else may change, and the random states."""
        changing = [one for network in self.trained for one in network.buffers()] + [*self.also]
        before, on_host = [one.clone() for one in changing], torch.get_rng_state()
        with torch.random.fork_rng([self.device]):
            try:
                yield
            finally:
                for one, value in zip(changing, before, strict=True):
                    one.copy_(value)
            drawn = not torch.equal(on_host, torch.get_rng_state())
        if drawn:
            raise RuntimeError("they draw from the processor's generator")
