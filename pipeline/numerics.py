"""How torch computes: on so many threads, float32 in all its digits, and on a GPU by algorithms that repeat themselves
where that is asked for."""

import os


def configure_torch(threads: int, deterministic: bool = False) -> None:
    """Set it for this process. On GPUs of 2020 and later torch's convolutions else take float32 with 10 binary digits
    (TF32).

    deterministic: the same bytes again on the same GPU, more slowly, and an error where an operation has no such
    algorithm; to be set before a GPU is used.
    """
    import torch

    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    if deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # cuBLAS repeats itself with a workspace of its own alone
    torch.use_deterministic_algorithms(deterministic)
