"""Run a Python module as if a GPU were there, to find what only a GPU would refuse.

    python tests/gpu/pretend_gpu.py -m stages.gradcam --shard 0 ...
    python tests/gpu/pretend_gpu.py script.py ...

torch.cuda.is_available() is true. A tensor on "cuda" says so and is computed on the processor; what a GPU refuses is
refused: an operation over tensors of both devices (DeviceMixError names it), numpy() of a tensor that was not copied back.
Not imitated: speed, memory, streams, autocast on CUDA, kernels' rounding, several GPUs. Threads that start later don't
make tensors on the GPU themselves. Tried with torch 2.11. At the end the standard error says how many operations the GPU
was asked for.
"""

import atexit
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
aten = torch.ops.aten
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
JOINS = {aten.cat.default, aten.stack.default}
MOVES = {aten._to_copy.default, aten.to.dtype_layout, aten.to.device}
operations = 0  # over tensors on the GPU


class DeviceMixError(RuntimeError):
    """An operation over tensors of both devices."""


class OnGPU(torch.Tensor):
    """A tensor that says it is on the GPU. To torch's C++ it is on the processor, so no driver is asked for."""

    @staticmethod
    def __new__(cls, inner):
        outer = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=CPU,
            requires_grad=inner.requires_grad,
        )
        outer.inner = inner
        return outer

    device = property(lambda self: GPU)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    def get_device(self):
        return 0

    def numpy(self, *args, **kwargs):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    __array__ = numpy

    def data_ptr(self):
        return self.inner.data_ptr()

    def __repr__(self):
        return f"OnGPU({self.inner})"

    def __deepcopy__(self, memo):
        copied = OnGPU(self.inner.detach().clone()).requires_grad_(self.requires_grad)
        if isinstance(self, torch.nn.Parameter):
            copied = torch.nn.Parameter(copied, self.requires_grad)
        return memo.setdefault(id(self), copied)

    def __reduce_ex__(self, protocol):
        raise DeviceMixError("a tensor on the GPU is pickled: copy it to the processor first")

    def __tensor_flatten__(self):
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(tensors, meta, size, stride):
        return OnGPU(tensors["inner"])

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _execute(func, args, kwargs or {})


def _tensors(*values) -> list[torch.Tensor]:
    return [value for value in tree_flatten(values)[0] if isinstance(value, torch.Tensor)]


def _refuse_mixing(func, args, kwargs) -> None:
    """A GPU takes numbers (0-d tensors, but not to join them) and, when it is indexed, indices from the processor;
    nothing else.

    In a backward pass torch's C++ makes zeros for what has no gradient (what an index put elsewhere, what of an unbound
    tensor was not used): it makes them on the processor, where to it all tensors are.
    """
    if func in INDEXING | JOINS and torch._C._current_graph_task_id() >= 0:
        return
    given = _tensors(args, kwargs)
    if func in INDEXING and isinstance(args[0], OnGPU):
        given = [args[0], *_tensors(args[2:], kwargs)]
    if any(isinstance(tensor, OnGPU) for tensor in given):
        others = [tensor for tensor in given if not isinstance(tensor, OnGPU) and (tensor.dim() > 0 or func in JOINS)]
        if others:
            shapes = ", ".join(f"{'cuda' if isinstance(t, OnGPU) else 'cpu'}{list(t.shape)}" for t in given)
            raise DeviceMixError(f"{func}: tensors of both devices: {shapes}")


def _execute(func, args, kwargs):
    global operations
    if func is aten._pin_memory.default:
        return args[0]
    if func is aten.is_pinned.default:
        return False
    ours = any(isinstance(tensor, OnGPU) for tensor in _tensors(args, kwargs))
    asked = kwargs.get("device") or next((arg for arg in args if isinstance(arg, torch.device)), None)
    to_gpu = asked is not None and torch.device(asked).type == "cuda"
    operations += ours and func not in MOVES
    if func not in MOVES and func is not aten.copy_.default:
        _refuse_mixing(func, args, kwargs)

    def plain(value):
        if isinstance(value, torch.device):
            return CPU
        return value.inner if isinstance(value, OnGPU) else value

    kwargs_here = {name: value for name, value in kwargs.items() if name != "pin_memory"}
    out = func(*tree_map(plain, args), **tree_map(plain, kwargs_here))
    if func in MOVES:
        on_gpu = to_gpu or (asked is None and ours)
    elif func is aten.copy_.default or func in INDEXING:
        on_gpu = isinstance(args[0], OnGPU)
    else:
        on_gpu = ours or to_gpu

    def put(value):
        return OnGPU(value) if on_gpu and isinstance(value, torch.Tensor) and not isinstance(value, OnGPU) else value

    out = tree_map(put, out)
    if on_gpu and func not in MOVES:
        return return_and_correct_aliasing(func, args, kwargs, out)
    return out


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _execute(func, args, kwargs or {})


def _with_index(value):
    """The device "cuda" with its index, without which torch would ask the driver for the current one."""
    named = isinstance(value, str) and value == "cuda"
    bare = isinstance(value, torch.device) and value.type == "cuda" and value.index is None
    return GPU if named or bare else value


class _Functions(TorchFunctionMode):
    """What torch's C++ would decide by the device that it sees, the processor's, is decided here."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        args, kwargs = tuple(map(_with_index, args)), {name: _with_index(v) for name, v in (kwargs or {}).items()}
        first = args[0] if args else None
        if func in (torch.tensor, torch.as_tensor, torch.asarray) and kwargs.get("device") == GPU:
            rest = {name: value for name, value in kwargs.items() if name != "device"}
            made = func(*args, **rest)
            return made if isinstance(made, OnGPU) else aten._to_copy.default(made, device=GPU)
        if func is torch.Tensor.cuda:
            return first if isinstance(first, OnGPU) else aten._to_copy.default(first, device=GPU)
        if isinstance(first, OnGPU):
            if func is torch.Tensor.tolist:
                return first.inner.tolist()
            if func is torch.Tensor.new_tensor:
                made = torch.tensor(args[1], **{"dtype": first.dtype, **kwargs, "device": CPU})
                return aten._to_copy.default(made, device=GPU)
            if func is torch.Tensor.cpu:
                return aten._to_copy.default(first, device=CPU)
        if func is torch.Tensor.to and any(isinstance(tensor, OnGPU) for tensor in _tensors(args, kwargs)):
            return _moved(first, args[1:], kwargs)
        return func(*args, **kwargs)


def _moved(tensor: torch.Tensor, args: tuple, kwargs: dict) -> torch.Tensor:
    """tensor.to(...), of a tensor on the GPU or to where another one is."""
    like = next((arg for arg in (*args, kwargs.get("other")) if isinstance(arg, torch.Tensor)), None)
    devices = [like.device] if like is not None else [arg for arg in args if isinstance(arg, (str, torch.device))]
    device = torch.device(kwargs.get("device") or next(iter(devices), tensor.device))
    dtypes = [like.dtype] if like is not None else [arg for arg in args if isinstance(arg, torch.dtype)]
    dtype = kwargs.get("dtype") or next(iter(dtypes), tensor.dtype)
    layout = {"memory_format": kwargs["memory_format"]} if kwargs.get("memory_format") is not None else {}
    if device.type == "cpu":
        return aten._to_copy.default(tensor, device=CPU, dtype=dtype, **layout)
    if isinstance(tensor, OnGPU) and dtype == tensor.dtype and not layout and not kwargs.get("copy"):
        return tensor
    return aten._to_copy.default(tensor, device=GPU, dtype=dtype, **layout)


def install() -> None:
    """From here on, in this thread, a GPU is pretended."""
    cuda = torch.cuda
    cuda._lazy_init = lambda: None
    cuda.is_available = lambda: True
    cuda.device_count = lambda: 1
    cuda.current_device = lambda: 0
    cuda.is_bf16_supported = lambda *_, **__: True
    cuda.is_current_stream_capturing = lambda: False
    cuda.get_device_name = lambda *_: "a pretended GPU"
    cuda.get_device_properties = lambda *_: SimpleNamespace(major=6, minor=0)  # too old for triton
    cuda.get_rng_state = lambda *_: torch.zeros(0, dtype=torch.uint8)
    cuda.get_rng_state_all = lambda: []
    cuda.max_memory_allocated = lambda *_: 0
    for name in ("set_device", "synchronize", "empty_cache", "manual_seed", "manual_seed_all"):
        setattr(cuda, name, lambda *_, **__: None)
    for name in ("set_rng_state", "set_rng_state_all", "reset_peak_memory_stats"):
        setattr(cuda, name, lambda *_, **__: None)
    torch.accelerator.current_device_index = lambda: 0  # a loader that pins memory asks for it
    torch.accelerator.set_device_index = lambda *_: None
    torch.inference_mode = torch.no_grad  # wrapped tensors can't be inference tensors
    torch.Tensor.pin_memory = lambda self, *_, **__: self
    torch.__future__.set_swap_module_params_on_conversion(True)
    _Dispatch().__enter__()
    _Functions().__enter__()


if __name__ == "__main__":
    install()
    atexit.register(lambda: print(f"operations on the pretended GPU: {operations}", file=sys.stderr))
    sys.argv = sys.argv[1:]
    sys.path.insert(0, str(Path.cwd()))
    if sys.argv[0] == "-m":
        sys.argv = sys.argv[1:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")
